package worker

import (
	"cmp"
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"time"

	"github.com/rs/xid"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
)

// sender makes the calls of one project.
type sender struct {
	project     Project
	worker      string
	record      *tasks.Record
	log         zerolog.Logger
	maxAttempts int
	backoff     func(attempt int) time.Duration
	now         func() time.Time
	lanes       *lanes
	admit       func(ctx context.Context) error
	ended       func(op string) // an operation's last open work was done
	health      *health
	slots       chan struct{} // capacity: calls in flight

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
	// claimMargin is how much longer a claim lasts than the wait for a slot and
	// the call that it is for.
	claimMargin = 10 * time.Second
	// recheckPause is how often a closed gate is looked at again, so that
	// resuming a project takes effect soon.
	recheckPause = time.Second
)

// batch is what one call slot works on: at first one group, the whole batch;
// more when it had to be split.
type batch struct {
	claim  tasks.Claim
	groups [][]*item // still to be called, the next one last
	calls  int
	open   map[*item]bool // not yet answered
	pause  time.Duration
}

func (b *batch) push(group []*item) {
	if len(group) > 0 {
		b.groups = append(b.groups, group)
	}
}

func (b *batch) answer(it *item, retryAfter time.Duration) {
	if b.open[it] {
		delete(b.open, it)
		it.answer(retryAfter)
	}
}

// send makes the call for a batch, and those that splitting it takes, and
// answers every item. Panics are contained: what was being sent is found in the
// record and resolved by reading.
func (s *sender) send(items []*item) (pause time.Duration) {
	b := &batch{claim: tasks.Claim{Project: s.project.Alias, Holder: s.worker + "/" + xid.New().String()}, open: map[*item]bool{}}
	for _, it := range items {
		b.open[it] = true
	}
	defer func() {
		if p := recover(); p != nil {
			s.log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Str("project", s.project.Alias).Msg("sending a batch panicked")
			s.release(b.claim, items)
		}
		for it := range b.open {
			b.answer(it, jitter(30*time.Second))
		}
		pause = b.pause
	}()
	b.push(items)
	for len(b.groups) > 0 {
		group := b.groups[len(b.groups)-1]
		b.groups = b.groups[:len(b.groups)-1]
		if b.calls > 0 && s.admit(s.dispatch) != nil {
			s.giveBack(b, group) // the worker is stopping: no new calls
			return 0
		}
		b.calls++
		s.callGroup(b, group)
	}
	return b.pause
}

// callGroup takes one group through claim, "sending", the call and its outcome.
func (s *sender) callGroup(b *batch, group []*item) {
	group, ok := s.claim(b, group)
	if !ok || len(group) == 0 {
		return
	}
	callID := xid.New().String()
	claimedAt := time.Now()
	claimed := group
	if group = s.markSending(b, claimed, callID); len(group) < len(claimed) {
		s.release(b.claim, without(claimed, group))
	}
	if len(group) == 0 {
		return
	}
	// The slot is held for the call alone, so that the record is written for one
	// batch while others are on the wire.
	select {
	case s.slots <- struct{}{}:
	case <-s.ctx.Done():
		return
	}
	// A process that waited or was frozen for so long may soon no longer hold
	// the desktops.
	if time.Since(claimedAt) > s.project.CallTimeout {
		<-s.slots
		s.settle(b, group, nil, func(it *item) verdict {
			return verdict{to: tasks.Queued, attempts: it.desktop.Attempts, note: it.desktop.Note, delay: immediately}
		})
		return
	}
	call, res, err := s.detach(group, callID)
	<-s.slots
	if err != nil {
		s.onError(b, group, call, err)
	} else {
		s.health.good()
		s.onAnswer(b, group, call, res)
	}
	s.logCall(group, call, err)
}

// detach makes one request.
func (s *sender) detach(group []*item, callID string) (*tasks.Call, *apiclient.DetachResult, error) {
	ctx, cancel := context.WithTimeoutCause(s.ctx, s.project.CallTimeout, errors.New("the call took longer than call_timeout"))
	defer cancel()
	req := apiclient.DetachRequest{DesktopIDs: idsOf(group), ShutoffAfterDetach: &group[0].job.op.ShutoffAfterDetach}
	start := s.now()
	res, err := s.project.API.Detach(ctx, req)
	return newCall(callID, s.worker, start, s.now().Sub(start), len(group), res, err), res, err
}

// lease is how long desktops are claimed for: the wait for a slot, which gives
// up after one CallTimeout, and the call.
func (s *sender) lease() time.Duration { return 2*s.project.CallTimeout + claimMargin }

// claim drops what another call has in hand. ok is false when the gate is
// closed or Redis is away; everything then goes back to its lane.
func (s *sender) claim(b *batch, group []*item) (mine []*item, ok bool) {
	c := b.claim
	c.Desktops = idsOf(group)
	got, err := s.record.Claim(s.ctx, c, s.lease())
	if err != nil {
		b.pause = recheckPause
		if paused := (*tasks.PausedError)(nil); errors.As(err, &paused) {
			if paused.For > 0 {
				b.pause = min(paused.For, recheckPause)
			}
		} else {
			s.log.Warn().Err(err).Str("project", s.project.Alias).Msg("the record cannot be reached; waiting")
		}
		s.giveBack(b, group)
		return nil, false
	}
	for i, it := range group {
		if got[i] {
			mine = append(mine, it)
		} else {
			b.answer(it, jitter(busyDelay))
		}
	}
	return mine, true
}

// giveBack returns a group, and all that is left of the batch, to the lane.
func (s *sender) giveBack(b *batch, group []*item) {
	for _, g := range b.groups {
		group = append(group, g...)
	}
	b.groups = nil
	var back []*item
	group = s.write(b, group, nil, func(it *item) (verdict, bool) {
		return verdict{to: tasks.Queued, attempts: it.desktop.Attempts, note: it.desktop.Note}, it.desktop.State == tasks.Sending
	}, true)
	for _, it := range group {
		if b.open[it] {
			delete(b.open, it)
			back = append(back, it)
		}
	}
	s.lanes.putBack(back)
}

// markSending writes that the request is about to leave; what is no longer
// queued (it was cancelled) is dropped.
func (s *sender) markSending(b *batch, group []*item, callID string) []*item {
	call := &tasks.Call{ID: callID, At: s.now(), Size: len(group), Worker: s.worker}
	moved := s.write(b, group, call, func(it *item) (verdict, bool) {
		return verdict{to: tasks.Sending, attempts: it.desktop.Attempts, note: it.desktop.Note}, it.desktop.State == tasks.Queued
	}, false)
	return moved
}

// release gives items of a claim back ahead of its end.
func (s *sender) release(c tasks.Claim, items []*item) {
	c.Desktops = idsOf(items)
	if err := s.record.Release(s.ctx, c); err != nil {
		s.log.Warn().Err(err).Msg("claims were not released; they end by themselves")
	}
}

// verdict is what becomes of one desktop.
type verdict struct {
	to       tasks.State
	attempts int
	note     tasks.Note
	failure  *tasks.Failure
	delay    time.Duration // until it is to be looked at again; 0: nothing left to do
}

// settle writes verdicts with the call, gives the desktops back and answers the
// items.
func (s *sender) settle(b *batch, group []*item, call *tasks.Call, of func(*item) verdict) {
	verdicts := make(map[*item]verdict, len(group))
	for _, it := range group {
		verdicts[it] = of(it)
	}
	for _, it := range s.write(b, group, call, func(it *item) (verdict, bool) { return verdicts[it], true }, true) {
		b.answer(it, verdicts[it].delay)
	}
}

// write takes those of a group for which of says so to their verdict, in the
// record, and returns the items that are now as wanted. It does not give up
// while Redis is away: what is known of a call must not be lost. An item that
// somebody else moved (a cancel) is answered and left out.
func (s *sender) write(b *batch, group []*item, call *tasks.Call, of func(*item) (verdict, bool), release bool) []*item {
	type place struct {
		op    string
		chunk int
	}
	var out []*item
	at := map[place]int{}
	var changes []tasks.Change
	var members [][]*item
	byOp := map[string][]tasks.Desktop{}
	for _, it := range group {
		byOp[it.job.op.ID] = append(byOp[it.job.op.ID], it.desktop)
		v, ok := of(it)
		if !ok {
			out = append(out, it)
			continue
		}
		k := place{it.job.op.ID, it.job.chunk}
		i, seen := at[k]
		if !seen {
			i = len(changes)
			at[k] = i
			changes = append(changes, tasks.Change{Operation: it.job.op, Chunk: it.job.chunk})
			members = append(members, nil)
		}
		callID := it.desktop.CallID
		if call != nil {
			callID = call.ID
		}
		changes[i].Moves = append(changes[i].Moves, tasks.Move{
			Desktop: it.desktop, To: v.to, Attempts: v.attempts, Note: v.note, CallID: callID, Failure: v.failure,
		})
		members[i] = append(members[i], it)
	}
	if call != nil {
		changes = withCall(changes, *call, byOp, group)
	}
	if len(changes) == 0 {
		return out
	}
	var claims []tasks.Claim
	if release {
		c := b.claim
		c.Desktops = idsOf(group)
		claims = []tasks.Claim{c}
	}
	done, err := persist(s.ctx, s.log, func() ([]tasks.Applied, error) {
		return s.record.Apply(s.ctx, s.now(), changes, claims...)
	})
	if err != nil {
		return out // the process is ending; what was being sent is resolved by reading
	}
	for i, its := range members {
		if done[i].Ended {
			s.ended(changes[i].Operation.ID)
		}
		for n, it := range its {
			if d := done[i].Desktops[n]; d.ID != "" {
				it.desktop = d
				out = append(out, it)
			} else {
				b.answer(it, 0)
			}
		}
	}
	return out
}

// withCall writes a call once into each operation that it touched, with that
// operation's desktops.
func withCall(changes []tasks.Change, call tasks.Call, byOp map[string][]tasks.Desktop, group []*item) []tasks.Change {
	written := map[string]bool{}
	entry := func(op string) *tasks.Call {
		written[op] = true
		c := call
		c.Desktops = tasks.Places(byOp[op])
		return &c
	}
	for i := range changes {
		if op := changes[i].Operation.ID; !written[op] {
			changes[i].Call = entry(op)
		}
	}
	for _, it := range group {
		if op := it.job.op.ID; !written[op] {
			changes = append(changes, tasks.Change{Operation: it.job.op, Chunk: it.job.chunk, Call: entry(op)})
		}
	}
	return changes
}

// persist repeats a write until Redis takes it or ctx ends.
func persist[T any](ctx context.Context, log zerolog.Logger, write func() (T, error)) (T, error) {
	for attempt := 0; ; attempt++ {
		v, err := write()
		if err == nil || errors.Is(err, tasks.ErrIllegalMove) {
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

func newCall(id, worker string, at time.Time, took time.Duration, size int, res *apiclient.DetachResult, err error) *tasks.Call {
	c := &tasks.Call{ID: id, At: at, Duration: took, Size: size, Worker: worker, Answered: true}
	if err == nil {
		c.Status, c.RequestID, c.JobID, c.SuccessJobIDs = res.Status, res.RequestID, res.JobID, res.SuccessJobIDs
		return c
	}
	e := asAPIError(err)
	c.Status, c.RequestID, c.Code, c.Message = e.Status, e.RequestID, e.Code, e.Message
	c.Answered = e.Status != 0
	return c
}

// asAPIError gives an error the client's shape, so that every failure has a
// code and a text.
func asAPIError(err error) apiclient.Error {
	var e *apiclient.Error
	if !errors.As(err, &e) {
		return apiclient.Error{Code: "NO_REPLY", Message: err.Error()}
	}
	out := *e
	if out.Code == "" && out.Status != 0 {
		out.Code = "HTTP_" + itoa(out.Status)
	}
	out.Code = cmp.Or(out.Code, "NO_REPLY")
	if out.Message == "" && out.Err != nil {
		out.Message = out.Err.Error()
	}
	return out
}

func (s *sender) logCall(group []*item, call *tasks.Call, err error) {
	ops := make([]string, 0, 1)
	for _, it := range group {
		ops = append(ops, it.job.op.ID)
	}
	slices.Sort(ops)
	ops = slices.Compact(ops)
	ev := s.log.Info()
	if err != nil {
		ev = s.log.Warn().Err(err).Str("class", string(classifyCall(err)))
	}
	if len(ops) > 5 {
		ev = ev.Int("more_operations", len(ops)-5)
		ops = ops[:5]
	}
	ev.Str("project", s.project.Alias).Str("call", call.ID).Strs("operations", ops).Int("desktops", len(group)).
		Int("status", call.Status).Str("code", call.Code).Str("request_id", call.RequestID).Str("job_id", call.JobID).
		Dur("took", call.Duration).Msg("detach call")
}
