package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/drill"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/queue"
	"github.com/detachd/detachd/tasks/record"
)

// verdict is the result of a run.
type verdict struct {
	Kind                        string
	Events                      []period
	Acknowledged, Desktops      int // operations, and desktops of them
	Replicated                  int // of those, acknowledged when a replica had it
	Marked, MarkedLost          int // of those, acknowledged with one copy, and those of them that are not in the record
	Detached, Calls             int
	Forgotten                   int            // detached, and then on hold, as an heir has it: a failover lost the result
	Refused                     map[string]int // answers that were not 202, by status and code
	slowestAnswers, slowestEnds []time.Duration

	// What must not happen, by operation or desktop.
	Lost          []string // acknowledged as replicated, and not in the record, or not every row
	NeverFinished []string // acknowledged
	Twice         []string // sent again though detached
	Wrong         []string // another person than the leaver was removed
	Unproven      []string // recorded otherwise than it is in the cloud
	AtOnce        []string // in two calls at once
}

func (v *verdict) violations() drill.Violations {
	return drill.Violations{
		{What: "lost", IDs: v.Lost}, {What: "never finished", IDs: v.NeverFinished}, {What: "twice: sent though detached", IDs: v.Twice},
		{What: "wrong person removed", IDs: v.Wrong}, {What: "unproven", IDs: v.Unproven}, {What: "in two calls at once", IDs: v.AtOnce},
	}
}

// judge waits until all that was acknowledged is finished, and compares the record with
// what the cloud knows.
func (e *env) judge(ctx context.Context) error {
	v := &e.verdict
	rows := map[string]record.Row{}
	until := time.Now().Add(e.Patience)
	for i := range e.acks {
		if err := e.judgeOperation(ctx, &e.acks[i], until, rows); err != nil {
			return err
		}
	}
	for _, d := range e.Cloud.Desktops(drill.ProjectID) {
		if row, known := rows[d.ID]; known {
			e.judgeRow(row, d)
		}
		if e.Cloud.DetachedInVain(drill.ProjectID, d.ID) > 0 {
			v.Twice = append(v.Twice, e.story(d.ID))
		}
	}
	for _, r := range e.Cloud.Removals(drill.ProjectID) {
		if r.User.Name != drill.Leaver {
			v.Wrong = append(v.Wrong, e.story(r.DesktopID))
		}
	}
	v.AtOnce = e.Cloud.InTwoCallsAtOnce()
	v.Calls = e.Cloud.Calls()
	for _, p := range v.Events {
		answer, end := e.slowest(p)
		v.slowestAnswers, v.slowestEnds = append(v.slowestAnswers, answer), append(v.slowestEnds, end)
	}
	return nil
}

// judgeOperation waits until an operation is finished and adds its rows.
func (e *env) judgeOperation(ctx context.Context, a *ack, until time.Time, rows map[string]record.Row) error {
	v := &e.verdict
	v.Acknowledged++
	v.Desktops += len(a.desktops)
	marked := a.durability == tasks.OneCopy
	if marked {
		v.Marked++
	} else if a.durability == tasks.OnReplica {
		v.Replicated++
	}
	var op record.Operation
	err := drill.Until(ctx, 100*time.Millisecond, func() (_ bool, err error) {
		op, err = e.Record.Operation(ctx, a.op.ID)
		return op.Sealed() || time.Now().After(until), err
	})
	switch {
	case errors.Is(err, tasks.ErrNotFound):
		a.lost = true
		if marked {
			v.MarkedLost++
		} else {
			v.Lost = append(v.Lost, e.name(a))
		}
		return nil
	case err != nil:
		return err
	case !op.Sealed():
		return e.neverFinished(ctx, a, op)
	}
	a.op = op.Operation
	return e.addRows(ctx, a, op, rows)
}

// neverFinished notes an operation, and whether Redis still has what would continue it.
func (e *env) neverFinished(ctx context.Context, a *ack, op record.Operation) error {
	var names []string
	for _, p := range e.Processes() {
		names = append(names, p.Name)
	}
	runs, err := e.Record.InHand(ctx, names...)
	if err != nil {
		return err
	}
	inHand := slices.ContainsFunc(runs, func(p queue.Payload) bool { return p.Operation == op.ID })
	listed := e.Redis.ZScore(ctx, record.DefaultPrefix+":open", op.ID).Err() == nil
	e.verdict.NeverFinished = append(e.verdict.NeverFinished, fmt.Sprintf("%s, in the list of open ones: %t, claimed by a worker: %t; %+v",
		e.name(a), listed, inHand, op.Counts))
	return nil
}

func (e *env) addRows(ctx context.Context, a *ack, op record.Operation, rows map[string]record.Row) error {
	es, err := e.Record.Evidence(ctx, op, 0, op.Chunks())
	if err != nil {
		return err
	}
	for _, x := range es {
		if err := x.Check(); err != nil {
			e.verdict.Unproven = append(e.verdict.Unproven, err.Error())
		}
		for _, d := range x.Desktops {
			rows[d.ID] = d
		}
	}
	for _, id := range a.desktops {
		if _, known := rows[id]; !known {
			e.verdict.Lost = append(e.verdict.Lost, fmt.Sprintf("desktop %s of %s", id, e.name(a)))
		}
	}
	return nil
}

// name is an operation, and when it was acknowledged.
func (e *env) name(a *ack) string {
	when := "between events"
	for _, p := range e.verdict.Events {
		if !a.acked.Before(p.at) && a.acked.Before(p.over) {
			when = fmt.Sprintf("acknowledged %.1f s after %s", a.acked.Sub(p.at).Seconds(), p.name)
		}
	}
	return fmt.Sprintf("%s (%s, at %s, durability %q)", a.op.ID, when, clock(a.acked), a.durability)
}

// story is what is known of a desktop.
func (e *env) story(id string) string {
	var b strings.Builder
	b.WriteString(id)
	for i := range e.acks {
		if slices.Contains(e.acks[i].desktops, id) {
			fmt.Fprintf(&b, " of %s", e.name(&e.acks[i]))
		}
	}
	for _, r := range e.Cloud.Requests() {
		if r.Op == fakecloud.OpDetach && slices.Contains(r.DesktopIDs, id) {
			fmt.Fprintf(&b, "; sent at %s, answered %d", clock(r.Time), r.Status)
		}
	}
	for _, r := range e.Cloud.Removals(drill.ProjectID) {
		if r.DesktopID == id {
			fmt.Fprintf(&b, "; %s removed at %s", r.User.Name, clock(r.Time))
		}
	}
	return b.String()
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

func (e *env) judgeRow(row record.Row, d fakecloud.Desktop) {
	v := &e.verdict
	switch {
	case row.State == tasks.StateHeld && row.Failure != nil && row.Failure.Code == "OTHER_USER" && drill.On(d, drill.Heir):
		v.Forgotten++
	case row.State != tasks.StateDetached || drill.On(d, drill.Leaver):
		v.Unproven = append(v.Unproven, fmt.Sprintf("%s: %s %+v", d.ID, row.State, row.Failure))
	default:
		v.Detached++
	}
	if drill.Shared.Has(d.ID) && !drill.On(d, drill.Colleague) {
		v.Wrong = append(v.Wrong, d.ID)
	}
}

// slowest is how long the operations that were submitted, or not answered yet, in an
// event took until they were acknowledged, and until they were finished.
func (e *env) slowest(p period) (answer, end time.Duration) {
	for _, a := range e.acks {
		if a.posted.After(p.over) || a.acked.Before(p.at) {
			continue
		}
		answer = max(answer, a.acked.Sub(a.posted))
		if !a.lost && a.op.Done() {
			end = max(end, a.op.EndedAt.Sub(a.posted))
		}
	}
	return answer, end
}

func (v *verdict) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s: %d operations of %d desktops acknowledged, %d of them as replicated, %d as one_copy (%d of those lost); "+
		"%d desktops confirmed detached by %d calls\n",
		v.Kind, v.Acknowledged, v.Desktops, v.Replicated, v.Marked, v.MarkedLost, v.Detached, v.Calls)
	fmt.Fprintf(w, "    on hold, as an heir had it when Redis had lost the result of the call: %d\n", v.Forgotten)
	for _, what := range slices.Sorted(maps.Keys(v.Refused)) {
		fmt.Fprintf(w, "    answered %q, and submitted again: %d\n", what, v.Refused[what])
	}
	fmt.Fprintf(w, "\n%-28s%16s%16s%16s\n", "seconds, by event at", "whole again", "slowest answer", "slowest end")
	for i, p := range v.Events {
		fmt.Fprintf(w, "%-28s%16.1f%16.1f%16.1f\n",
			p.name+" "+clock(p.at), p.over.Sub(p.at).Seconds(), v.slowestAnswers[i].Seconds(), v.slowestEnds[i].Seconds())
	}
	fmt.Fprintln(w)
	v.violations().Print(w)
}
