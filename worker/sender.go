package worker

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rs/xid"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// sender makes the calls of one project, bulk or urgent.
type sender struct {
	*shared
	priority priority // of its requests, among all of the credential
	lanes    *lanes
	reader   *reader[*apiclient.Desktop]
	slots    chan struct{} // capacity: calls at a time
	took     atomic.Int64  // duration of the last call
	noUndo   atomic.Bool   // the last undo was refused for lack of a permission
}

var errSlowCall = errors.New("the call took longer than call_timeout")

// maxIsolationCalls is the limit of calls for splitting one batch. Two bad desktops among
// 100 take at most 2·7 splits of two calls. Desktops that are not isolated by then are
// retried later, in smaller calls.
const maxIsolationCalls = 64

// batch is the work of one call slot: one group at first, more when it had to be split.
type batch struct {
	claim    record.Claim
	begun    time.Time // when it was taken from its lane
	leave    time.Time // when begin renewed the claim for the call: its lease counts from then
	groups   [][]*item // still to be called, in this order
	calls    int
	admitted bool            // it has a permit and a slot for a call, not used yet
	claimed  bool            // what was not sent must be released
	deniedAt time.Time       // when a call was first denied without naming a desktop
	recalls  *record.Recalls // with which its desktops were last compared
	back     []*item         // to be put back when the batch is over: then another batch may take them
	pause    time.Duration
}

func (b *batch) push(groups ...[]*item) {
	for _, group := range groups {
		if len(group) > 0 {
			b.groups = append(b.groups, group)
		}
	}
}

// admitFull is admit for the next batch of the lanes. Where calls are limited, one that is not
// full waits until it is, or until its permit would be lost, but never longer than from one
// permit to the next. Urgent desktops do not wait.
func (s *sender) admitFull(ctx context.Context) error {
	patience := s.limit.between(callRequest)
	if patience == 0 || s.priority == urgentFirst {
		return s.admit(ctx)
	}
	waiting, end := s.lanes.untilFull(ctx, patience)
	defer end()
	if err := s.limit.acquire(waiting, callRequest, notFull); err == nil {
		return s.takeSlot(ctx)
	}
	return s.admit(ctx)
}

// admit waits for the permit for a call, and then for a slot: only what can go on holds a slot.
func (s *sender) admit(ctx context.Context) error {
	if err := s.limit.acquire(ctx, callRequest, s.priority); err != nil {
		return err
	}
	return s.takeSlot(ctx)
}

// takeSlot waits for a slot for a call that has its permit.
func (s *sender) takeSlot(ctx context.Context) error {
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		s.limit.giveBack(callRequest)
		return ctx.Err()
	}
}

// unadmit gives back what admit got and no call used.
func (s *sender) unadmit() {
	<-s.slots
	s.limit.giveBack(callRequest)
}

// send makes the call for a batch that was admitted, and further calls if it has to be split,
// none of them after newCalls has ended. It answers every item. If it panics, the next
// worker finds in the record what was being sent, and resolves it by reading.
func (s *sender) send(newCalls context.Context, items []*item) (pause time.Duration) {
	b := &batch{begun: time.Now(), admitted: true, claim: s.claims.newClaim()}
	for _, it := range items {
		it.sending = true
	}
	defer func() {
		if p := recover(); p != nil {
			s.log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("sending a batch panicked")
			s.claims.release(b.claim, items)
		}
		for _, it := range items {
			it.settled(jitter(30 * time.Second))
		}
		if b.admitted {
			s.unadmit()
		}
		s.lanes.putBack(b.back)
		pause = b.pause
	}()
	b.push(items)
	for len(b.groups) > 0 {
		group := b.groups[0]
		b.groups = b.groups[1:]
		if !b.admitted {
			if s.admit(newCalls) != nil {
				s.giveBack(b, group, nil) // the worker is stopping
				return 0
			}
			b.admitted = true
		}
		s.callGroup(b, group)
	}
	return b.pause
}

// callGroup takes one group through its steps: claim and reading, "sending", the call, and
// its outcome. If no call is made, the next group uses the permit and the slot.
func (s *sender) callGroup(b *batch, group []*item) {
	if s.waitForBlackout(b, group) {
		return
	}
	ready := s.check(b, group)
	b.push(ready.later...)
	call := record.Call{Call: tasks.Call{
		ID: xid.New().String(), At: time.Now(), Size: len(ready.send), Worker: s.cfg.ID, Trace: spanOf(ready.send),
	}}
	if group = ready.send; len(group) > 0 {
		group = s.begin(b, group, call)
	}
	if ready.settle != nil {
		ready.settle()
	}
	if len(group) == 0 {
		return
	}
	out := s.leave(b, group, call)
	if errors.Is(out.err, apiclient.ErrTooLate) { // the record was slow, the process was frozen, or the way to the cloud was slow
		s.settle(b, group, notSent(out.call, "the reading had grown old before the call could leave"), func(it *item) transition {
			return it.moveTo(tasks.StateQueued, immediately)
		})
		return
	}
	b.calls++
	s.reportCall(b, group, out)
	if out.err != nil {
		s.onError(b, group, out)
		return
	}
	s.noteGood(group)
	s.onAnswer(b, group, out)
}

// leave makes one request, and gives the slot back even if it panics. The request ends
// callMargin before the claim does, and is not sent once its readings are old.
func (s *sender) leave(b *batch, group []*item, call record.Call) outcome {
	b.admitted = false
	defer func() { <-s.slots }()
	ctx, cancel := context.WithDeadlineCause(s.inFlight, b.leave.Add(s.project.CallTimeout), errSlowCall)
	defer cancel()
	span := s.cfg.Spans.Call(s.partsOf(group), isUndo(group), s.project.Alias, call.ID, len(group))
	if span != nil {
		call.Trace = span.Context().Traceparent
	} else if len(group) < call.Size { // the operation that the span continues may be gone
		call.Trace = spanOf(group)
	}
	ctx = apiclient.LeaveBy(withSpan(ctx, group, call.Trace), oldestReading(group).Add(freshReading))
	call.At, call.Size = time.Now(), len(group)
	res, err := s.request(ctx, group)
	took := time.Since(call.At)
	call.DurationMS = took.Milliseconds()
	s.took.Store(int64(took))
	out := s.outcomeOf(call, res, err)
	span.Called(out.call.Call, out.class)
	return out
}

// linger is a quarter of what a batch takes, a reading and a call: filling it costs little beside the
// call that it saves.
func (s *sender) linger() time.Duration {
	const most = 25 * time.Millisecond
	if took := time.Duration(s.took.Load()); took > 0 {
		return min(took/2, most)
	}
	return most // of the first calls nothing is known
}

// begin renews the claim of a group, for as long as the call can have an effect, and
// records the call as leaving, in one round trip. It returns the items of the call. Desktops
// that another call has claimed since are rolled back; if the project is paused, or somebody was
// recalled since check, all are.
// A crash before that leaves desktops in "sending" that were never sent, and the next
// reading finds them attached.
func (s *sender) begin(b *batch, group []*item, call record.Call) (mine []*item) {
	if s.waitForBlackout(b, group) {
		return nil // the reading took long
	}
	for _, it := range group {
		it.unsent = recorded{it.desktop, it.before}
	}
	w := s.gather(group, &call, func(it *item) (transition, bool) {
		return it.moveTo(tasks.StateSending, 0), it.desktop.State == tasks.StateQueued
	})
	claim := b.claim
	claim.Desktops = idsOf(group)
	now := time.Now()
	done, err := persist(s.inFlight, s.log, func() (record.Renewed, error) {
		b.leave = time.Now()
		return s.record.ApplyRenewing(s.inFlight, now, w.changes, claim, s.project.CallTimeout+s.cfg.CallMargin)
	})
	paused, isPaused := errors.AsType[*record.PausedError](err)
	if err != nil && !isPaused {
		return nil // the process is ending
	}
	s.committer.brakes.note(w.changes, done.Applied)
	moved := w.absorb(done.Applied)
	switch {
	case isPaused:
		b.pause = recheckAfter(paused)
		s.giveBack(b, moved, notSent(&call, paused.Error()))
		return nil
	case done.Copies == record.Unacknowledged:
		b.pause = recheckInterval
		s.log.Warn().Int("desktops", len(moved)).
			Msg("no call is made: Redis' replica does not acknowledge writes, or is disconnected, " +
				"and after a failover it would not know of the call; retrying")
		s.giveBack(b, moved, notSent(&call, "Redis' replica did not acknowledge that the call was about to leave"))
		return nil
	case !b.recalls.Current(done):
		s.giveBack(b, moved, notSent(&call, "a person was recalled meanwhile: who is to lose these desktops is compared again"))
		return nil
	case len(moved) < len(group):
		_, others := split(group, idsOf(moved))
		s.claims.release(b.claim, others)
	}
	var lost []string
	for i, still := range done.Still {
		if !still {
			lost = append(lost, claim.Desktops[i])
		}
	}
	moved = s.leaveStopped(b, w, done.Applied, moved, call)
	busy, mine := split(moved, lost)
	if len(busy) > 0 {
		var rolledBack *record.Call // the outcome of the call will say which desktops were in it
		if len(mine) == 0 {
			rolledBack = notSent(&call, "every desktop was in another call")
		}
		s.settle(b, busy, rolledBack, func(it *item) transition { return it.moveTo(tasks.StateQueued, jitter(busyDelay)) })
	}
	return mine
}

// leaveStopped queues again what was in a call before, and whose operation was stopped since: no
// further call of it may begin. It returns the others.
func (s *sender) leaveStopped(b *batch, w writing, applied []record.Applied, group []*item, call record.Call) (others []*item) {
	stopped := map[string]bool{}
	for i, a := range applied {
		if a.Brake == record.BrakeStopped {
			stopped[w.changes[i].Operation.ID] = true
		}
	}
	if len(stopped) == 0 {
		return group
	}
	var back []*item
	for _, it := range group {
		if stopped[it.job.op.ID] {
			back = append(back, it)
		} else {
			others = append(others, it)
		}
	}
	s.settle(b, back, notSent(&call, "the operation was stopped meanwhile"), func(it *item) transition {
		return it.moveTo(tasks.StateQueued, immediately)
	})
	return others
}

// giveBack returns a group, and all that is left of the batch, to the lane, and spends no
// attempts. call is recorded with it, if there is one.
func (s *sender) giveBack(b *batch, group []*item, call *record.Call) {
	// Into a slice of its own: groups are parts of one array.
	group = slices.Concat(append([][]*item{group}, b.groups...)...)
	b.groups = nil
	group = s.write(b, group, call, requeued)
	if b.claimed {
		s.claims.release(b.claim, group)
	}
	for _, it := range group {
		it.readAt = time.Time{} // another call may be next, and the next batch may mix what this one kept apart
		if it.sending {
			it.sending = false
			b.back = append(b.back, it)
		}
	}
}
