package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/trail"
)

// verdict is what came of a run.
type verdict struct {
	Kills, Freezes, Troubles int
	Outages                  map[string]int // of Redis, by kind
	Away                     time.Duration  // how long they were in all
	Operations, Desktops     int
	Heirs                    int // desktops that somebody has as soon as the leaver is off
	Detached, Held           int
	Calls, Reads             int
	CalledDead               int // workers, rightly or not
	Recovery                 map[string][]time.Duration

	// What must not happen, by desktop.
	Lost          []string // accepted, and without a row or without an end
	RecordedTwice []string // in two rows, or counts and trail that say otherwise
	SentAgain     []string // although it was detached
	WrongPerson   []string // lost a desktop, or would have, if the call had come through
	HeirsCutOff   []string // given to them after the leaver was off, and taken again
	Unproven      []string // called detached and is not so, or not ended as it should
	Nowhere       []string // ids that are no desktop's, and were sent, or not held as such
	Overlapping   []string // in two calls at once
	Living        []string // workers that were called dead
}

func (v *verdict) forbidden() []struct {
	what string
	ids  []string
} {
	return []struct {
		what string
		ids  []string
	}{
		{"lost", v.Lost}, {"recorded twice", v.RecordedTwice}, {"sent again though detached", v.SentAgain},
		{"wrong person", v.WrongPerson}, {"heirs cut off", v.HeirsCutOff}, {"unproven", v.Unproven},
		{"nowhere, and not held", v.Nowhere}, {"in two calls at once", v.Overlapping},
		{"living workers called dead", v.Living},
	}
}

func (v *verdict) bad() (n int) {
	for _, f := range v.forbidden() {
		n += len(f.ids)
	}
	return n
}

// judge holds the record against what the cloud knows.
func (s *stage) judge(ctx context.Context) error {
	v, rec := &s.verdict, s.record
	rows := map[string]record.Row{}
	for _, op := range s.ops {
		v.Operations++
		es, err := rec.Evidence(ctx, op, 0, op.Chunks())
		if err != nil {
			return err
		}
		counts := map[tasks.State]int{}
		var chains []trail.Chain
		for _, e := range es {
			chains = append(chains, e.Chain)
			if err := e.Check(); err != nil {
				v.RecordedTwice = append(v.RecordedTwice, err.Error())
			}
			for _, d := range e.Desktops {
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
	}
	for _, d := range s.cloud.Desktops(projectID) {
		v.Desktops++
		if strings.Contains(d.ID, givenAway) {
			v.Heirs++
		}
		row, known := rows[d.ID]
		if !known || row.State.Open() || row.State == tasks.StateAccepted {
			v.Lost = append(v.Lost, d.ID)
			continue
		}
		s.judgeRow(row, d)
		if s.cloud.DetachedInVain(projectID, d.ID) > 0 {
			v.SentAgain = append(v.SentAgain, d.ID)
		}
	}
	for _, id := range s.missing {
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
	for _, r := range s.cloud.Removals(projectID) {
		switch r.User.Name {
		case leaver:
		case heir:
			v.HeirsCutOff = append(v.HeirsCutOff, r.DesktopID)
		default:
			v.WrongPerson = append(v.WrongPerson, r.DesktopID)
		}
	}
	for _, r := range s.cloud.Requests() {
		switch r.Op {
		case fakecloud.OpDetail:
			v.Reads++
		case fakecloud.OpDetach:
			v.Calls++
			for _, id := range r.DesktopIDs {
				switch {
				case strings.HasPrefix(id, "passed-on-"):
					v.WrongPerson = append(v.WrongPerson, id)
				case strings.HasPrefix(id, nowhere):
					v.Nowhere = append(v.Nowhere, id+" was sent")
				}
			}
		}
	}
	v.Overlapping = s.cloud.InTwoCallsAtOnce()
	return s.judgeDeaths()
}

// judgeDeaths looks through the workers' log for living workers that were called
// dead. Who was frozen for a part of its silence was rightly taken for dead.
func (s *stage) judgeDeaths() error {
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range bytes.Lines(text) {
		var e struct {
			Dead   string    `json:"dead_worker"`
			Silent float64   `json:"silent"` // ms
			Time   time.Time `json:"time"`   // to the second
		}
		if json.Unmarshal(line, &e) != nil || e.Dead == "" { // a kill may cut a line off
			continue
		}
		s.verdict.CalledDead++
		silence := period{from: e.Time.Add(-time.Duration(e.Silent * float64(time.Millisecond))), to: e.Time.Add(time.Second)}
		if i := slices.IndexFunc(s.processes, func(w *process) bool { return w.id == e.Dead }); i < 0 || s.processes[i].lived(silence) {
			s.verdict.Living = append(s.verdict.Living, fmt.Sprintf("%s at %s after %.1f s", e.Dead, e.Time.Format(time.TimeOnly), e.Silent/1000))
		}
	}
	return nil
}

func (s *stage) judgeRow(row record.Row, d fakecloud.Desktop) {
	v := &s.verdict
	on := func(name string) bool {
		return slices.ContainsFunc(d.Users, func(u fakecloud.User) bool { return u.Name == name })
	}
	switch {
	case strings.HasPrefix(d.ID, "passed-on-"):
		if row.State != tasks.StateHeld || !on(somebody) {
			v.Unproven = append(v.Unproven, d.ID)
		}
		v.Held++
	case row.State != tasks.StateDetached || on(leaver):
		v.Unproven = append(v.Unproven, fmt.Sprintf("%s: %s %+v", d.ID, row.State, row.Failure))
	default:
		v.Detached++
	}
	if strings.HasPrefix(d.ID, "shared-") && !on(colleague) {
		v.WrongPerson = append(v.WrongPerson, d.ID)
	}
}

func (v *verdict) print(w io.Writer) {
	fmt.Fprintf(w, "\n%d desktops of %d operations: %d proven detached, %d held, as somebody else has them or there is no such desktop\n", v.Desktops, v.Operations, v.Detached, v.Held)
	fmt.Fprintf(w, "%d of the desktops were somebody else's as soon as the leaver was off\n", v.Heirs)
	fmt.Fprintf(w, "%d workers killed with SIGKILL, %d frozen; %d troubles of the cloud; %d detach calls, %d readings\n", v.Kills, v.Freezes, v.Troubles, v.Calls, v.Reads)
	n := 0
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(v.Outages)) {
		n += v.Outages[kind]
		kinds = append(kinds, fmt.Sprint(v.Outages[kind], " ", kind))
	}
	fmt.Fprintf(w, "Redis was away %d times, for %s in all (%s); workers were called dead %d times\n\n", n, v.Away.Round(time.Second), strings.Join(kinds, ", "), v.CalledDead)
	for _, f := range v.forbidden() {
		fmt.Fprintf(w, "%-28s%d\n", f.what, len(f.ids))
		for _, id := range f.ids[:min(5, len(f.ids))] {
			fmt.Fprintf(w, "    %s\n", id)
		}
	}
	fmt.Fprintf(w, "\n%-28s%6s%8s%8s%8s\n", "recovery, in seconds", "n", "median", "p95", "worst")
	for _, what := range []string{"worker", "redis", "cloud cut off"} {
		list := slices.Sorted(slices.Values(v.Recovery[what]))
		if len(list) == 0 {
			continue
		}
		at := func(q float64) float64 { return list[int(q*float64(len(list)-1))].Seconds() }
		fmt.Fprintf(w, "%-28s%6d%8.1f%8.1f%8.1f\n", what, len(list), at(0.5), at(0.95), at(1))
	}
}
