package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/trail"
)

// verdict is what becomes of one desktop.
type verdict struct {
	to       tasks.State
	attempts int
	note     tasks.Note
	failure  *tasks.Failure
	detail   string        // what the desktop was seen as, for the trail
	delay    time.Duration // until it is to be looked at again; 0: nothing left to do
}

// settle writes verdicts with the call, gives the desktops back and answers the
// items.
func (s *sender) settle(b *batch, group []*item, call *record.Call, of func(*item) verdict) {
	decide := func(it *item) (verdict, bool) {
		v := of(it)
		it.delay = v.delay
		return v, true
	}
	for _, it := range s.write(b, group, call, decide, true) {
		it.settled(it.delay)
	}
}

// write takes those of a group for which of says so to their verdict, in the
// record, and returns the items that are now as wanted. It does not give up
// while Redis is away: what is known of a call must not be lost. An item that
// somebody else moved (a cancel) is answered and left out.
func (s *sender) write(b *batch, group []*item, call *record.Call, of func(*item) (verdict, bool), release bool) []*item {
	var extras []record.Extra
	if release {
		c := b.claim
		c.Desktops = idsOf(group)
		extras = append(extras, c)
	}
	return s.apply(s.gather(group, call, of), extras...)
}

// apply writes what was gathered. What was being sent and is not so in the record is
// tried once more from what it was before the call began: a failover may have lost the
// beginning, and what is known of the call has to win.
func (s *sender) apply(w writing, extras ...record.Extra) []*item {
	if len(w.changes) == 0 {
		return w.as
	}
	now := s.now() // once: a write that is repeated must be the same
	applied, err := persist(s.ctx, s.log, func() ([]record.Applied, error) {
		return s.record.Apply(s.ctx, now, w.changes, extras...)
	})
	if err != nil {
		return w.as // the process is ending; what was being sent is resolved by reading
	}
	older, at := w.fromBefore(applied)
	for i, again := range s.restore(older) {
		into := &applied[at[i]]
		into.Ended = into.Ended || again.Ended
		for n, it := range older.members[i] {
			if again.Desktops[n].ID != "" {
				into.Desktops[slices.Index(w.members[at[i]], it)] = again.Desktops[n]
			}
		}
	}
	return s.take(w, applied)
}

// fromBefore gathers the moves of desktops that were being sent and were not found so,
// from what these were before the call began; at says which of w's changes each is of.
func (w writing) fromBefore(applied []record.Applied) (older writing, at []int) {
	for i, its := range w.members {
		ch := w.changes[i]
		ch.Moves, ch.Call = nil, nil
		var moved []*item
		for n, it := range its {
			m := w.changes[i].Moves[n]
			if applied[i].Desktops[n].ID == "" && m.Desktop.State == tasks.StateSending && it.was.State.CanMove(m.To) {
				m.Desktop, m.Before = it.was, it.wasRead
				ch.Moves, moved = append(ch.Moves, m), append(moved, it)
			}
		}
		if len(moved) > 0 {
			older.changes, older.members, at = append(older.changes, ch), append(older.members, moved), append(at, i)
		}
	}
	return older, at
}

// restore writes what a failover may have lost, and nothing where it has not.
func (s *sender) restore(w writing) []record.Applied {
	if len(w.changes) == 0 {
		return nil
	}
	now := s.now()
	applied, err := persist(s.ctx, s.log, func() ([]record.Applied, error) { return s.record.Apply(s.ctx, now, w.changes) })
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
		s.log.Warn().Str("project", s.project.Alias).Int("desktops", n).Msg("Redis had lost that a call began; what is known of the call was written all the same")
	}
	return applied
}

// writing is a group's moves as the record wants them.
type writing struct {
	changes []record.Change
	members [][]*item // per change, per move
	as      []*item   // items that stay as they are
}

// gather turns verdicts into changes, one for each job, and puts the call into
// the first change of each operation.
func (s *sender) gather(group []*item, call *record.Call, of func(*item) (verdict, bool)) writing {
	var w writing
	var jobs []*job
	lookAt := s.now().Add(s.firstLook)
	indexOf := func(j *job) int {
		i := len(jobs) - 1 // items of a job mostly follow each other
		for ; i >= 0 && jobs[i] != j; i-- {
		}
		if i < 0 {
			i = len(jobs)
			jobs = append(jobs, j)
			w.changes = append(w.changes, record.Change{Operation: j.op, Chunk: j.chunk, By: s.worker, LookAt: lookAt})
			w.members = append(w.members, nil)
		}
		return i
	}
	for _, it := range group {
		v, ok := of(it)
		if !ok {
			w.as = append(w.as, it)
			if call == nil {
				continue
			}
		}
		i := indexOf(it.job)
		if !ok {
			continue // its operation records the call all the same
		}
		callID := it.desktop.CallID
		if call != nil {
			callID = call.ID
		}
		w.changes[i].Moves = append(w.changes[i].Moves, record.Move{
			Desktop: it.desktop, To: v.to, Attempts: v.attempts, Note: v.note, CallID: callID, Failure: v.failure,
			Detail: v.detail, Before: it.before,
		})
		it.before = nil // once is enough
		w.members[i] = append(w.members[i], it)
	}
	if call != nil {
		w.enter(*call, group)
	}
	return w
}

// enter puts a call into each operation that it touched, with that operation's
// desktops.
func (w *writing) enter(call record.Call, group []*item) {
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

// take brings items up to what was written of them, and answers those that
// somebody else had moved.
func (s *sender) take(w writing, applied []record.Applied) []*item {
	out := w.as
	for i, its := range w.members {
		if applied[i].Ended {
			s.ended(w.changes[i].Operation.ID)
		}
		tellMoves(s.observer, w.changes[i], applied[i])
		for n, it := range its {
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

// persist repeats a write until Redis takes it or ctx ends.
func persist[T any](ctx context.Context, log zerolog.Logger, write func() (T, error)) (T, error) {
	for attempt := 0; ; attempt++ {
		v, err := write()
		var paused *record.PausedError
		if err == nil || errors.Is(err, record.ErrIllegalMove) || errors.As(err, &paused) {
			return v, err
		}
		if attempt == 0 {
			log.Warn().Err(err).Msg("the record cannot be written; trying until it can")
		}
		if !wait(ctx, backoff(50*time.Millisecond, 2*time.Second, attempt)) {
			return v, err
		}
	}
}

func without(items, some []*item) []*item {
	return slices.DeleteFunc(slices.Clone(items), func(it *item) bool { return slices.Contains(some, it) })
}

func idsOf(items []*item) []string {
	out := make([]string, len(items))
	for i, it := range items {
		out[i] = it.desktop.ID
	}
	return out
}
