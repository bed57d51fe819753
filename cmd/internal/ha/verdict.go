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

// verdict is what came of a run.
type verdict struct {
	Kind                        string
	Events                      []period
	Acknowledged, Desktops      int // operations, and desktops of them
	Replicated                  int // of those, acknowledged when a replica had it
	Marked, MarkedLost          int // of those, acknowledged with one copy, and those of them that are not in the record
	Detached, Calls             int
	Forgotten                   int            // detached, and then held, as an heir has it: a failover lost that it was done
	Refused                     map[string]int // answers that were not 202, by status and code
	slowestAnswers, slowestEnds []time.Duration

	// What must not happen, by operation or desktop.
	Lost       []string // acknowledged as replicated, and not in the record, or not every row
	NeverEnded []string
	Twice      []string // sent again though detached
	Wrong      []string // somebody who is not the leaver was removed
	Unproven   []string // ended otherwise than it is in the cloud
	AtOnce     []string // in two calls at once
}

func (v *verdict) forbidden() []struct {
	what string
	ids  []string
} {
	return []struct {
		what string
		ids  []string
	}{
		{"lost", v.Lost}, {"never ended", v.NeverEnded}, {"twice: sent though detached", v.Twice},
		{"wrong person removed", v.Wrong}, {"unproven", v.Unproven}, {"in two calls at once", v.AtOnce},
	}
}

func (v *verdict) bad() (n int) {
	for _, f := range v.forbidden() {
		n += len(f.ids)
	}
	return n
}

// judge waits until all that was acknowledged has ended, and holds the record against
// what the cloud knows.
func (s *stage) judge(ctx context.Context) error {
	v := &s.verdict
	v.Kind = s.Kind
	rows := map[string]record.Row{}
	until := time.Now().Add(s.Patience)
	for i := range s.acks {
		if err := s.judgeOperation(ctx, &s.acks[i], until, rows); err != nil {
			return err
		}
	}
	for _, d := range s.cloud.Desktops(projectID) {
		if row, known := rows[d.ID]; known {
			s.judgeRow(row, d)
		}
		if s.cloud.DetachedInVain(projectID, d.ID) > 0 {
			v.Twice = append(v.Twice, s.story(d.ID))
		}
	}
	for _, r := range s.cloud.Removals(projectID) {
		if r.User.Name != leaver {
			v.Wrong = append(v.Wrong, s.story(r.DesktopID))
		}
	}
	v.AtOnce = s.cloud.InTwoCallsAtOnce()
	v.Calls = s.cloud.Calls()
	for _, e := range v.Events {
		answer, end := s.slowest(e)
		v.slowestAnswers, v.slowestEnds = append(v.slowestAnswers, answer), append(v.slowestEnds, end)
	}
	return nil
}

// judgeOperation waits for the end of an operation and adds its rows.
func (s *stage) judgeOperation(ctx context.Context, a *ack, until time.Time, rows map[string]record.Row) error {
	v := &s.verdict
	v.Acknowledged++
	v.Desktops += len(a.desktops)
	marked := a.durability == tasks.OneCopy
	if marked {
		v.Marked++
	} else if a.durability == tasks.OnReplica {
		v.Replicated++
	}
	for {
		op, err := s.record.Operation(ctx, a.op.ID)
		switch {
		case errors.Is(err, tasks.ErrNotFound):
			a.lost = true
			if marked {
				v.MarkedLost++
			} else {
				v.Lost = append(v.Lost, s.name(a))
			}
			return nil
		case err != nil:
			return err
		case op.Sealed():
			a.op = op.Operation
			return s.addRows(ctx, a, op, rows)
		case time.Now().After(until):
			return s.neverEnded(ctx, a, op)
		}
		if err := errors.Join(s.running(), drill.Wait(ctx, 100*time.Millisecond)); err != nil {
			return err
		}
	}
}

// neverEnded notes an operation, and where Redis has it that could move it on.
func (s *stage) neverEnded(ctx context.Context, a *ack, op record.Operation) error {
	var names []string
	for _, p := range s.processes {
		names = append(names, p.Name)
	}
	runs, err := s.record.InHand(ctx, names...)
	if err != nil {
		return err
	}
	held := slices.ContainsFunc(runs, func(p queue.Payload) bool { return p.Operation == op.ID })
	listed := s.rdb.ZScore(ctx, record.DefaultPrefix+":open", op.ID).Err() == nil
	s.verdict.NeverEnded = append(s.verdict.NeverEnded, fmt.Sprintf("%s, in the list of open ones: %t, in a worker's hand: %t; %+v", s.name(a), listed, held, op.Counts))
	return nil
}

func (s *stage) addRows(ctx context.Context, a *ack, op record.Operation, rows map[string]record.Row) error {
	es, err := s.record.Evidence(ctx, op, 0, op.Chunks())
	if err != nil {
		return err
	}
	for _, e := range es {
		if err := e.Check(); err != nil {
			s.verdict.Unproven = append(s.verdict.Unproven, err.Error())
		}
		for _, d := range e.Desktops {
			rows[d.ID] = d
		}
	}
	for _, id := range a.desktops {
		if _, known := rows[id]; !known {
			s.verdict.Lost = append(s.verdict.Lost, fmt.Sprintf("desktop %s of %s", id, s.name(a)))
		}
	}
	return nil
}

// name is an operation, and when it was acknowledged.
func (s *stage) name(a *ack) string {
	when := "between events"
	for _, e := range s.verdict.Events {
		if !a.acked.Before(e.at) && a.acked.Before(e.over) {
			when = fmt.Sprintf("acknowledged %.1f s after %s", a.acked.Sub(e.at).Seconds(), e.name)
		}
	}
	return fmt.Sprintf("%s (%s, at %s, durability %q)", a.op.ID, when, clock(a.acked), a.durability)
}

// story is what is known of a desktop.
func (s *stage) story(id string) string {
	var b strings.Builder
	b.WriteString(id)
	for i := range s.acks {
		if slices.Contains(s.acks[i].desktops, id) {
			fmt.Fprintf(&b, " of %s", s.name(&s.acks[i]))
		}
	}
	for _, r := range s.cloud.Requests() {
		if r.Op == fakecloud.OpDetach && slices.Contains(r.DesktopIDs, id) {
			fmt.Fprintf(&b, "; sent at %s, answered %d", clock(r.Time), r.Status)
		}
	}
	for _, r := range s.cloud.Removals(projectID) {
		if r.DesktopID == id {
			fmt.Fprintf(&b, "; %s removed at %s", r.User.Name, clock(r.Time))
		}
	}
	return b.String()
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

func (s *stage) judgeRow(row record.Row, d fakecloud.Desktop) {
	v := &s.verdict
	on := func(name string) bool {
		return slices.ContainsFunc(d.Users, func(u fakecloud.User) bool { return u.Name == name })
	}
	switch {
	case row.State == tasks.StateHeld && row.Failure != nil && row.Failure.Code == "OTHER_USER" && on(heir):
		v.Forgotten++
	case row.State != tasks.StateDetached || on(leaver):
		v.Unproven = append(v.Unproven, fmt.Sprintf("%s: %s %+v", d.ID, row.State, row.Failure))
	default:
		v.Detached++
	}
	if strings.HasPrefix(d.ID, "shared-") && !on(colleague) {
		v.Wrong = append(v.Wrong, d.ID)
	}
}

// slowest is how long the operations that were posted, or not answered yet, in an
// event took until they were acknowledged, and until they ended.
func (s *stage) slowest(e period) (answer, end time.Duration) {
	for _, a := range s.acks {
		if a.posted.After(e.over) || a.acked.Before(e.at) {
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
	fmt.Fprintf(w, "\n%s: %d operations of %d desktops acknowledged, %d of them as replicated, %d as one_copy (%d of those lost); %d desktops proven detached by %d calls\n",
		v.Kind, v.Acknowledged, v.Desktops, v.Replicated, v.Marked, v.MarkedLost, v.Detached, v.Calls)
	fmt.Fprintf(w, "    held, as an heir had it when Redis had forgotten the call: %d\n", v.Forgotten)
	for _, what := range slices.Sorted(maps.Keys(v.Refused)) {
		fmt.Fprintf(w, "    answered %q, and posted again: %d\n", what, v.Refused[what])
	}
	fmt.Fprintf(w, "\n%-28s%16s%16s%16s\n", "seconds, by event at", "whole again", "slowest answer", "slowest end")
	for i, e := range v.Events {
		fmt.Fprintf(w, "%-28s%16.1f%16.1f%16.1f\n", e.name+" "+clock(e.at), e.over.Sub(e.at).Seconds(), v.slowestAnswers[i].Seconds(), v.slowestEnds[i].Seconds())
	}
	fmt.Fprintln(w)
	for _, f := range v.forbidden() {
		fmt.Fprintf(w, "%-28s%d\n", f.what, len(f.ids))
		for _, id := range f.ids[:min(8, len(f.ids))] {
			fmt.Fprintf(w, "    %s\n", id)
		}
	}
}
