package worker

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rs/xid"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker/policy"
)

// sender makes the calls of one project.
type sender struct {
	project                  Project
	worker                   string
	record                   *record.Record
	log                      zerolog.Logger
	maxAttempts              int
	policy                   policy.Rules
	firstLook, confirmWithin time.Duration // see Config
	callMargin               time.Duration // the same
	reader                   *reader
	producer                 *record.Producer
	backoff                  func(attempt int) time.Duration
	now                      func() time.Time
	lanes                    *lanes
	limit                    *limiter
	priority                 priority // of its requests, before others of the credential
	directory                *directory
	hints                    *hinter
	ended                    func(op string) // an operation's last open work was done
	health, readHealth       *health         // of calls, of readings
	observer                 Observer
	slots                    chan struct{} // capacity: batches that are read and called at a time
	took                     atomic.Int64  // the last call's duration

	// dispatch ends when no new call may be made; ctx, which carries Redis and
	// API calls, outlives it, so that a call in flight is recorded.
	dispatch, ctx context.Context
}

const (
	// maxIsolationCalls bounds the calls that splitting one batch may cost: two
	// spoilers among 100 take at most 2·7 splits of two calls. What is not
	// isolated by then is tried again later, in smaller calls.
	maxIsolationCalls = 64
	// busyDelay is the time until a desktop that is in another call is looked
	// at again.
	busyDelay = time.Second
	// claimLease is how long desktops are claimed that are not in a call yet: if the
	// worker dies they go on soon. A reading that takes longer does no harm: begin
	// finds out whether another has claimed them since.
	claimLease = 10 * time.Second
	// recheckPause is how often a closed gate is looked at again, so that
	// resuming a project takes effect soon.
	recheckPause = time.Second
)

// batch is what one call slot works on: at first one group, the whole batch;
// more when it had to be split.
type batch struct {
	claim    record.Claim
	begun    time.Time // when it was taken from its lane
	leave    time.Time // from when on the claim counts that begin renewed for the call
	groups   [][]*item // still to be called, in their order
	calls    int
	admitted bool      // it holds a call's token and a slot, not used yet
	claimed  bool      // by check: to be given back with what was not sent
	deniedAt time.Time // when a call of it was first refused without a desktop being named
	back     []*item   // to be put back when the batch is over: then another may take them
	pause    time.Duration
}

func (b *batch) push(group []*item) {
	if len(group) > 0 {
		b.groups = append(b.groups, group)
	}
}

// admit waits for a call's token and a free slot, in this order: a slot is only held
// by what can go on.
func (s *sender) admit(ctx context.Context) error {
	if err := s.limit.take(ctx, callRequest, s.priority); err != nil {
		return err
	}
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

// send makes the call for a batch that was admitted, and those that splitting it
// takes, and answers every item. Panics are contained: what was being sent is found in the
// record and resolved by reading.
func (s *sender) send(items []*item) (pause time.Duration) {
	b := &batch{begun: s.now(), admitted: true, claim: record.Claim{Project: s.project.Alias, Holder: s.worker + "/" + xid.New().String()}}
	for _, it := range items {
		it.sending = true
	}
	defer func() {
		if p := recover(); p != nil {
			s.log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Str("project", s.project.Alias).Msg("sending a batch panicked")
			s.release(b.claim, items)
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
			if s.admit(s.dispatch) != nil {
				s.giveBack(b, group, nil) // the worker is stopping: no new calls
				return 0
			}
			b.admitted = true
		}
		s.callGroup(b, group)
	}
	return b.pause
}

// callGroup takes one group through claim and reading, "sending", the call, and its
// outcome. What was admitted and makes no call is left to the next group.
func (s *sender) callGroup(b *batch, group []*item) {
	group, ok := s.check(b, group)
	if !ok || len(group) == 0 {
		return
	}
	callID := xid.New().String()
	if group, ok = s.begin(b, group, callID); !ok || len(group) == 0 {
		return
	}
	b.calls++
	call, res, err := s.detach(b, group, callID)
	switch {
	case errors.Is(err, apiclient.ErrTooLate): // the record could not be written, the process was frozen, or the way to the cloud was slow
		b.calls--
		s.settle(b, group, notSent(call, "the reading had grown old before the call could leave"), func(it *item) verdict {
			return verdict{to: tasks.StateQueued, attempts: it.desktop.Attempts, note: it.desktop.Note, delay: immediately}
		})
		return
	case err != nil:
		s.tellCall(b, group, call, err)
		s.onError(b, group, call, err)
	default:
		s.tellCall(b, group, call, nil)
		s.health.good(s.now())
		s.onAnswer(b, group, call, res)
	}
	s.logCall(group, call, err)
}

// detach makes one request and gives the slot back, even if it panics. The request is
// over when the claim still lasts for callMargin, and it does not leave at all once the
// readings that it is based on are old.
func (s *sender) detach(b *batch, group []*item, callID string) (*record.Call, *apiclient.DetachResult, error) {
	b.admitted = false
	defer func() { <-s.slots }()
	ctx, cancel := context.WithDeadlineCause(s.ctx, b.leave.Add(s.project.CallTimeout), errors.New("the call took longer than call_timeout"))
	defer cancel()
	ctx = apiclient.LeaveBy(traced(ctx, group), oldestReading(group).Add(freshReading))
	start := s.now()
	var res *apiclient.DetachResult
	var err error
	if group[0].leavers != nil {
		users := make([]apiclient.UserDetach, len(group))
		for i, it := range group {
			users[i] = apiclient.UserDetach{DesktopID: it.desktop.ID, Users: it.leavers}
		}
		res, err = s.project.API.DetachUsers(ctx, users)
	} else {
		res, err = s.project.API.Detach(ctx, apiclient.DetachRequest{DesktopIDs: idsOf(group), ShutoffAfterDetach: &group[0].job.op.ShutoffAfterDetach})
	}
	took := s.now().Sub(start)
	s.took.Store(int64(took))
	return newCall(callID, s.worker, start, took, len(group), res, err), res, err
}

// linger is a quarter of a call: what filling a batch costs is little beside
// the call that it saves.
func (s *sender) linger() time.Duration {
	return min(time.Duration(s.took.Load())/4, 25*time.Millisecond)
}

// begin renews the claim of a group, for as long as its call can have an effect, and
// writes that the request is about to leave, in one round trip. Both are undone for what
// another has claimed since and, when the project's gate is closed, for everything; ok is
// false then. Until they are, a crash leaves desktops "sending" that never left, and
// reading them shows it.
func (s *sender) begin(b *batch, group []*item, callID string) (mine []*item, ok bool) {
	for _, it := range group {
		it.was, it.wasRead = it.desktop, it.before
	}
	call := &record.Call{Call: tasks.Call{ID: callID, At: s.now(), Size: len(group), Worker: s.worker}}
	w := s.gather(group, call, func(it *item) (verdict, bool) {
		return verdict{to: tasks.StateSending, attempts: it.desktop.Attempts, note: it.desktop.Note}, it.desktop.State == tasks.StateQueued
	})
	claim := b.claim
	claim.Desktops = idsOf(group)
	now := s.now()
	done, err := persist(s.ctx, s.log, func() (record.Renewed, error) {
		b.leave = time.Now()
		return s.record.ApplyRenewing(s.ctx, now, w.changes, claim, s.project.CallTimeout+s.callMargin)
	})
	paused := (*record.PausedError)(nil)
	if err != nil && !errors.As(err, &paused) {
		return nil, false // the process is ending
	}
	moved := s.take(w, done.Applied)
	if paused != nil {
		b.pause = pauseOf(paused)
		s.giveBack(b, moved, notSent(call, paused.Error()))
		return nil, false
	}
	if done.Copies == record.Unacknowledged {
		b.pause = recheckPause
		s.log.Warn().Str("project", s.project.Alias).Int("desktops", len(moved)).
			Msg("no call is made: Redis' replica does not acknowledge writes, or is not connected any more, and if it took over it would not know of the call; trying again")
		s.giveBack(b, moved, notSent(call, "Redis' replica did not acknowledge that the call was about to leave"))
		return nil, false
	}
	if len(moved) < len(group) {
		s.release(b.claim, without(group, moved))
	}
	if !slices.Contains(done.Still, false) {
		return moved, true
	}
	held := make(map[string]bool, len(group))
	for i, id := range claim.Desktops {
		held[id] = done.Still[i]
	}
	var busy []*item
	for _, it := range moved {
		if held[it.desktop.ID] {
			mine = append(mine, it)
		} else {
			busy = append(busy, it)
		}
	}
	if len(busy) > 0 {
		if len(mine) > 0 {
			call = nil // the outcome of the call will tell whom it was for
		} else {
			call = notSent(call, "every desktop was in another call")
		}
		s.settle(b, busy, call, func(it *item) verdict {
			return verdict{to: tasks.StateQueued, attempts: it.desktop.Attempts, note: it.desktop.Note, delay: jitter(busyDelay)}
		})
	}
	return mine, true
}

// pauseOf is when a closed gate is to be looked at again.
func pauseOf(p *record.PausedError) time.Duration {
	if p.For > 0 {
		return min(p.For, recheckPause)
	}
	return recheckPause
}

// afterPause is when a task that met a closed gate runs again: soon enough for
// resuming the project to take effect, and seldom enough for many of them.
func afterPause(p *record.PausedError) time.Duration {
	const longest = 5 * time.Second
	if p.For > 0 {
		return jitter(min(p.For, longest))
	}
	return jitter(longest)
}

// notSent turns a call that was about to leave into one that did not.
func notSent(call *record.Call, why string) *record.Call {
	c := *call
	c.Code, c.Message = "NOT_SENT", why
	return &c
}

// giveBack takes a group, and all that is left of the batch, back to the lane,
// attempts unspent. call, if there is one, is recorded with it.
func (s *sender) giveBack(b *batch, group []*item, call *record.Call) {
	// Into a slice of its own: groups are parts of one array.
	group = slices.Concat(append([][]*item{group}, b.groups...)...)
	b.groups = nil
	group = s.write(b, group, call, func(it *item) (verdict, bool) {
		return verdict{to: tasks.StateQueued, attempts: it.desktop.Attempts, note: it.desktop.Note}, it.desktop.State == tasks.StateSending
	}, true)
	if b.claimed {
		s.release(b.claim, group)
	}
	for _, it := range group {
		it.readAt = time.Time{} // another may have it next, and the next batch may mix those that this one kept apart
		if it.sending {
			it.sending = false
			b.back = append(b.back, it)
		}
	}
}

// release gives items of a claim back ahead of its end.
func (s *sender) release(c record.Claim, items []*item) {
	c.Desktops = idsOf(items)
	if err := s.record.Release(s.ctx, c); err != nil {
		s.log.Warn().Err(err).Msg("claims were not released; they end by themselves")
	}
}
