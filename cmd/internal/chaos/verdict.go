package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/drill"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/trail"
)

// verdict is the result of a run.
type verdict struct {
	Kills, Freezes       int
	Disturbances         int            // of the cloud
	Outages              map[string]int // of Redis, by kind
	Away                 time.Duration  // in all outages
	Operations, Desktops int
	Approved             int // operations and undos
	Undos, GivenBack     int // operations, and desktops
	Kept                 int // desktops that an undo put on hold
	Ticks, TicksRan      int // of schedules
	TicksMissed          int
	TicksSkipped         int
	Asked                int // runs of schedules, by people
	KilledAtTick         int // workers
	Heirs                int // desktops that somebody has as soon as the leaver is detached
	Detached, Held       int
	Calls, Attaches      int
	Reads                int
	CalledDead           int // workers, rightly or not
	Recovery             map[string][]time.Duration

	// What must not happen, by desktop.
	Lost          []string // accepted, and without a row or never finished
	RecordedTwice []string // in two rows, or counts and trail that say otherwise
	SentAgain     []string // although it was detached
	WrongPerson   []string // lost a desktop, or would have, if the call had arrived
	HeirsCutOff   []string // lost a desktop that they got after the leaver
	Unproven      []string // called detached and is not, or not finished as it should be
	Nowhere       []string // ids that no desktop has, and were sent, or not put on hold for that
	Overlapping   []string // in two calls at once
	Living        []string // workers that were called dead
	Unapproved    []string // in a call before an approval, or more than pass without one
	GivenWrong    []string // given to somebody who had not lost them, or would have been, if the call had arrived
	GivenTwice    []string
	Cleared       []string // given back without the data
	TicksLost     []string // neither run nor counted, or missed without a reason
	TicksDoubled  []string // operations of schedules that are of no tick, or of one that has another
	Miscounted    []string // schedules that say something else of their ticks than there was
}

func (v *verdict) violations() drill.Violations {
	return drill.Violations{
		{What: "lost", IDs: v.Lost}, {What: "recorded twice", IDs: v.RecordedTwice}, {What: "sent again though detached", IDs: v.SentAgain},
		{What: "wrong person", IDs: v.WrongPerson}, {What: "heirs cut off", IDs: v.HeirsCutOff}, {What: "unproven", IDs: v.Unproven},
		{What: "nowhere, and not on hold", IDs: v.Nowhere}, {What: "in two calls at once", IDs: v.Overlapping},
		{What: "living workers called dead", IDs: v.Living}, {What: "sent without an approval", IDs: v.Unapproved},
		{What: "given to the wrong person", IDs: v.GivenWrong}, {What: "given back twice", IDs: v.GivenTwice},
		{What: "given back without the data", IDs: v.Cleared},
		{What: "ticks lost", IDs: v.TicksLost}, {What: "ticks doubled", IDs: v.TicksDoubled},
		{What: "ticks miscounted", IDs: v.Miscounted},
	}
}

// judge compares the record with what the cloud knows.
func (e *env) judge(ctx context.Context) (err error) {
	v, rows := &e.verdict, map[string]record.Row{}
	v.Operations = len(e.ops)
	for _, op := range e.ops {
		if err := e.judgeOperation(ctx, op, rows); err != nil {
			return err
		}
	}
	given, err := e.judgeUndos(ctx, rows)
	if err != nil {
		return err
	}
	for _, d := range e.Cloud.Desktops(drill.ProjectID) {
		if e.scheduleOf(d.ID) == nil {
			e.judgeDesktop(d, rows, given)
		}
	}
	for _, id := range e.missing {
		e.judgeMissing(id, rows)
	}
	e.judgeCalls()
	e.judgeApprovals(rows)
	if err := e.judgeSchedules(ctx); err != nil {
		return err
	}
	v.CalledDead, v.Living, err = e.CalledDead()
	return err
}

// judgeOperation adds the rows of an operation, which must fit its counts, its trail
// and its seal.
func (e *env) judgeOperation(ctx context.Context, op record.Operation, rows map[string]record.Row) error {
	v := &e.verdict
	es, err := e.Record.Evidence(ctx, op, 0, op.Chunks())
	if err != nil {
		return err
	}
	counts := map[tasks.State]int{}
	var chains []trail.Chain
	for _, x := range es {
		chains = append(chains, x.Chain)
		if err := x.Check(); err != nil {
			v.RecordedTwice = append(v.RecordedTwice, err.Error())
		}
		for _, d := range x.Desktops {
			if _, twice := rows[d.ID]; twice {
				v.RecordedTwice = append(v.RecordedTwice, d.ID)
			}
			rows[d.ID] = d
			counts[d.State]++
		}
	}
	if trail.Head(chains) != op.Seal {
		v.RecordedTwice = append(v.RecordedTwice, "the trail of "+op.ID)
	}
	c := op.Counts
	if c.Detached != counts[tasks.StateDetached] || c.Held != counts[tasks.StateHeld] || c.Failed != counts[tasks.StateFailed] ||
		c.Queued+c.Sending+c.Accepted+c.Cancelled != 0 {
		v.RecordedTwice = append(v.RecordedTwice, fmt.Sprintf("the counts of %s: %+v", op.ID, c))
	}
	return nil
}

func (e *env) judgeDesktop(d fakecloud.Desktop, rows map[string]record.Row, given map[string][]string) {
	v := &e.verdict
	v.Desktops++
	if strings.Contains(d.ID, drill.GivenAway.Name+"-") {
		v.Heirs++
	}
	row, known := rows[d.ID]
	if !known || row.State.Open() || row.State == tasks.StateAccepted {
		v.Lost = append(v.Lost, d.ID)
		return
	}
	switch {
	case drill.PassedOn.Has(d.ID):
		if row.State != tasks.StateHeld || !drill.On(d, drill.Somebody) {
			v.Unproven = append(v.Unproven, d.ID)
		}
		v.Held++
	case row.State != tasks.StateDetached || drill.On(d, drill.Leaver) != (len(given[d.ID]) > 0):
		v.Unproven = append(v.Unproven, fmt.Sprintf("%s: %s %+v", d.ID, row.State, row.Failure))
	default:
		v.Detached++
	}
	if drill.Shared.Has(d.ID) && !drill.On(d, drill.Colleague) {
		v.WrongPerson = append(v.WrongPerson, d.ID)
	}
	if e.Cloud.DetachedInVain(drill.ProjectID, d.ID) > 0 {
		v.SentAgain = append(v.SentAgain, d.ID)
	}
}

// judgeMissing is about an id that no desktop has.
func (e *env) judgeMissing(id string, rows map[string]record.Row) {
	v := &e.verdict
	v.Desktops++
	row, known := rows[id]
	switch {
	case !known:
		v.Lost = append(v.Lost, id)
	case row.State != tasks.StateHeld || row.Failure == nil || row.Failure.Code != "NOT_FOUND":
		v.Nowhere = append(v.Nowhere, fmt.Sprintf("%s: %s %+v", id, row.State, row.Failure))
	default:
		v.Held++
	}
}

// judgeCalls looks at what the cloud was asked for, and what it did to people.
func (e *env) judgeCalls() {
	v := &e.verdict
	lost := map[string]bool{}
	for _, r := range e.Cloud.Removals(drill.ProjectID) {
		switch r.User.Name {
		case drill.Leaver:
			if lost[r.DesktopID] {
				v.SentAgain = append(v.SentAgain, r.DesktopID) // after it was given back
			}
			lost[r.DesktopID] = true
		case drill.Heir:
			v.HeirsCutOff = append(v.HeirsCutOff, r.DesktopID)
		default:
			v.WrongPerson = append(v.WrongPerson, r.DesktopID)
		}
	}
	for _, r := range e.Cloud.Requests() {
		switch r.Op {
		case fakecloud.OpDetail:
			v.Reads++
		case fakecloud.OpDetach:
			v.Calls++
			for _, id := range r.DesktopIDs {
				switch {
				case drill.PassedOn.Has(id):
					v.WrongPerson = append(v.WrongPerson, id)
				case drill.Nowhere.Has(id):
					v.Nowhere = append(v.Nowhere, id+" was sent")
				}
			}
		}
	}
	v.Overlapping = e.Cloud.InTwoCallsAtOnce()
}

// judgeApprovals looks for calls of operations that nobody had approved yet.
func (e *env) judgeApprovals(rows map[string]record.Row) {
	v := &e.verdict
	ops := map[string]*tasks.Clearance{}
	for _, op := range e.ops {
		if ops[op.ID] = op.Clearance; op.Clearance != nil {
			v.Approved++
		}
	}
	passed := map[string]bool{}
	for _, r := range e.Cloud.Requests() {
		if r.Op != fakecloud.OpDetach {
			continue
		}
		for _, id := range r.DesktopIDs {
			row, known := rows[id]
			switch c := ops[row.OperationID]; {
			case !known: // of a schedule
			case c == nil:
				passed[id] = true
			case c.Why == tasks.WhyLimit && r.Time.Before(c.DecidedAt): // a canary asks after its calls
				v.Unapproved = append(v.Unapproved, id)
			}
		}
	}
	if len(passed) > e.unapproved() {
		v.Unapproved = append(v.Unapproved, fmt.Sprintf("%d desktops, more than %d", len(passed), e.unapproved()))
	}
}

func (v *verdict) print(w io.Writer) {
	fmt.Fprintf(w, "\n%d desktops of %d operations: %d confirmed detached, %d on hold: another person has them or they do not exist\n",
		v.Desktops, v.Operations, v.Detached, v.Held)
	fmt.Fprintf(w, "%d of the desktops were somebody else's as soon as the leaver was detached\n", v.Heirs)
	fmt.Fprintf(w, "%d workers killed with SIGKILL, %d frozen; the cloud disturbed %d times; %d detach calls, %d readings\n",
		v.Kills, v.Freezes, v.Disturbances, v.Calls, v.Reads)
	fmt.Fprintf(w, "%d undos gave %d desktops back by %d calls, and put %d on hold; %d operations and undos waited for an approval\n",
		v.Undos, v.GivenBack, v.Attaches, v.Kept, v.Approved)
	fmt.Fprintf(w, "%d ticks of schedules: %d ran, %d were missed, %d skipped; %d runs were asked for; %d of the workers died at a tick\n",
		v.Ticks, v.TicksRan, v.TicksMissed, v.TicksSkipped, v.Asked, v.KilledAtTick)
	n := 0
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(v.Outages)) {
		n += v.Outages[kind]
		kinds = append(kinds, fmt.Sprint(v.Outages[kind], " ", kind))
	}
	fmt.Fprintf(w, "Redis was away %d times, for %s in all (%s); workers were called dead %d times\n\n",
		n, v.Away.Round(time.Second), strings.Join(kinds, ", "), v.CalledDead)
	v.violations().Print(w)
	fmt.Fprintf(w, "\n%-28s%6s%8s%8s%8s\n", "recovery, in seconds", "n", "median", "p95", "worst")
	for _, what := range []string{"worker", "redis", "cloud cut off"} {
		if list := v.Recovery[what]; len(list) > 0 {
			at := func(q float64) float64 { return drill.Quantile(list, q).Seconds() }
			fmt.Fprintf(w, "%-28s%6d%8.1f%8.1f%8.1f\n", what, len(list), at(0.5), at(0.95), at(1))
		}
	}
}
