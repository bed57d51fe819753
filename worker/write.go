package worker

import (
	"slices"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/trail"
)

// transition is the next state of one desktop, with what is recorded beside it.
type transition struct {
	to       tasks.State
	attempts int
	note     tasks.Note
	failure  *tasks.Failure
	detail   string        // what a reading showed, for the trail
	delay    time.Duration // until the next try; 0: there is none
}

// moveTo changes only the state of an item's desktop.
func (it *item) moveTo(state tasks.State, delay time.Duration) transition {
	return transition{to: state, attempts: it.desktop.Attempts, note: it.desktop.Note, delay: delay}
}

// settle writes the transitions of a group with the call, releases its desktops, and
// answers its items.
func (s *sender) settle(b *batch, group []*item, call *record.Call, of func(*item) transition) {
	delays := make(map[*item]time.Duration, len(group))
	for _, it := range s.write(b, group, call, func(it *item) (transition, bool) {
		t := of(it)
		delays[it] = t.delay
		return t, true
	}) {
		it.settled(delays[it])
	}
}

// write writes the transitions of those items of a group for which of returns true, with the
// call, and releases the group. It returns the items that are now as wanted. It retries
// while Redis is away, because what is known of a call must not be lost. An item whose
// desktop was moved by others (a cancel) is answered and not returned.
func (s *sender) write(b *batch, group []*item, call *record.Call, of func(*item) (transition, bool)) []*item {
	claim := b.claim
	claim.Desktops = idsOf(group)
	return s.apply(s.gather(group, call, of), claim)
}

// apply writes what was gathered. A desktop that was being sent, and is not so in the record,
// is moved once more from its state before begin: a failover may have lost that write,
// and what is known of the call has to win.
func (s *sender) apply(w writing, extras ...record.Extra) []*item {
	if len(w.changes) == 0 {
		return w.unmoved
	}
	applied, err := s.committer.commit(s.inFlight, w.changes, extras...)
	if err != nil {
		return w.unmoved // the process is ending; what was being sent is resolved by reading
	}
	lost, of := w.fromUnsent(applied)
	for i, again := range s.restore(lost) {
		for n, it := range lost.items[i] {
			if again.Desktops[n].ID != "" {
				applied[of[i]].Desktops[slices.Index(w.items[of[i]], it)] = again.Desktops[n]
			}
		}
	}
	return w.absorb(applied)
}

// fromUnsent gathers the moves that did not apply to desktops that were being sent, to be
// made from their state before begin. of[i] is the index of the change in w.
func (w writing) fromUnsent(applied []record.Applied) (lost writing, of []int) {
	for i, items := range w.items {
		change := w.changes[i]
		change.Moves, change.Call = nil, nil
		var moved []*item
		for n, it := range items {
			m := w.changes[i].Moves[n]
			if applied[i].Desktops[n].ID == "" && m.Desktop.State == tasks.StateSending && it.unsent.desktop.State.CanMove(m.To) {
				m.Desktop, m.Before = it.unsent.desktop, it.unsent.before
				change.Moves, moved = append(change.Moves, m), append(moved, it)
			}
		}
		if len(moved) > 0 {
			lost.changes, lost.items, of = append(lost.changes, change), append(lost.items, moved), append(of, i)
		}
	}
	return lost, of
}

// restore writes what a failover may have lost. It changes nothing if nothing was lost.
func (s *sender) restore(w writing) []record.Applied {
	if len(w.changes) == 0 {
		return nil
	}
	applied, err := s.committer.commit(s.inFlight, w.changes)
	if err != nil {
		return nil // the process is ending
	}
	n := 0
	for _, a := range applied {
		for _, d := range a.Desktops {
			if d.ID != "" {
				n++
			}
		}
	}
	if n > 0 {
		s.log.Warn().Int("desktops", n).Msg("Redis had lost that a call began; what is known of the call was recorded again")
	}
	return applied
}

// writing is a group's moves in the shape of the record.
type writing struct {
	changes []record.Change
	items   [][]*item // per change, per move
	unmoved []*item   // items that stay as they are
}

// gather turns transitions into changes, one for each job, and adds the call to the first
// change of each operation.
func (s *sender) gather(group []*item, call *record.Call, of func(*item) (transition, bool)) writing {
	var w writing
	index := map[*job]int{}
	lookAt := time.Now().Add(s.cfg.FirstLook)
	indexOf := func(j *job) int {
		i, known := index[j]
		if !known {
			i = len(w.changes)
			index[j] = i
			n := min(j.size, len(group))
			w.changes = append(w.changes, record.Change{
				Operation: j.op, Chunk: j.chunk, By: s.cfg.ID, LookAt: lookAt, Moves: make([]record.Move, 0, n),
			})
			w.items = append(w.items, make([]*item, 0, n))
		}
		return i
	}
	for _, it := range group {
		t, ok := of(it)
		if !ok {
			w.unmoved = append(w.unmoved, it)
			if call != nil {
				indexOf(it.job) // its operation records the call all the same
			}
			continue
		}
		callID := it.desktop.CallID
		if call != nil {
			callID = call.ID
		}
		i := indexOf(it.job)
		w.changes[i].Moves = append(w.changes[i].Moves, record.Move{
			Desktop: it.desktop, To: t.to, Attempts: t.attempts, Note: t.note, CallID: callID, Failure: t.failure,
			Detail: t.detail, Before: it.before,
		})
		it.before = nil // it is recorded once
		w.items[i] = append(w.items[i], it)
	}
	if call != nil {
		w.addCall(*call, group)
	}
	return w
}

// addCall adds a call to each operation that it touched, with that operation's desktops.
func (w *writing) addCall(call record.Call, group []*item) {
	for i := range w.changes {
		op := w.changes[i].Operation.ID
		if slices.ContainsFunc(w.changes[:i], func(c record.Change) bool { return c.Operation.ID == op }) {
			continue
		}
		places := make([]int, 0, len(group))
		for _, it := range group {
			if it.job.op.ID == op {
				places = append(places, it.desktop.Place())
			}
		}
		c := call
		c.Desktops = trail.Ranges(places)
		w.changes[i].Call = &c
	}
}

// absorb updates the items from what was written, and answers those whose desktops had been
// moved by others. It returns the rest.
func (w writing) absorb(applied []record.Applied) []*item {
	out := w.unmoved
	for i, items := range w.items {
		for n, it := range items {
			if d := applied[i].Desktops[n]; d.ID != "" {
				it.desktop = d
				out = append(out, it)
			} else {
				it.settled(0)
			}
		}
	}
	return out
}

func idsOf(items []*item) []string {
	out := make([]string, len(items))
	for i, it := range items {
		out[i] = it.desktop.ID
	}
	return out
}
