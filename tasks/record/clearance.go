package record

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/tasks"
)

// Usage is the window of a project when an operation asked to be in it.
type Usage struct {
	Cleared  bool // the operation is in it
	Project  int  // desktops of the project in the window, without those of this operation if it is new
	BySource int  // of these, of the operation's source
}

var scriptReserve = script("reserve", "clock")

// Reserve puts n desktops of an operation into its project's sliding window, unless more than
// allowed would then be in it; allowed < 0: whatever is in it. An operation that is in the window
// already adds what a retry or a look-up has added to it since. So a call must not begin before
// Reserve has cleared its operations, and repeating it is harmless.
func (r *Record) Reserve(ctx context.Context, op Operation, n, allowed int, window time.Duration) (Usage, error) {
	call := &scriptCall{
		script: scriptReserve, keys: []string{r.keys.window(op.Project), r.keys.reserved(op.Project)},
		args: []any{op.ID, n, op.RequestedBy, allowed, window.Milliseconds(), op.Asked(), op.desktops()},
	}
	for {
		if _, err := r.durably(ctx, []*scriptCall{call}, nil); err != nil {
			return Usage{}, fmt.Errorf("clearing operation %s: %w", op.ID, err)
		}
		v, err := call.reply.Int64Slice()
		if err != nil || len(v) != 3 {
			return Usage{}, fmt.Errorf("clearing operation %s: unexpected reply %v: %w", op.ID, v, err)
		}
		if v[0] >= 0 {
			return Usage{Cleared: v[0] == 1, Project: int(v[1]), BySource: int(v[2])}, nil
		}
	}
}

// LookUpsLeft reports whether rows of an operation are still to be looked up. Until then it
// is not known how many desktops it asks for.
func (r *Record) LookUpsLeft(ctx context.Context, op Operation) (bool, error) {
	first, end := op.lookupChunks()
	if first == end {
		return false, nil
	}
	fields := make([]string, 0, end-first)
	for _, n := range chunkRange(first, end) {
		fields = append(fields, fmt.Sprint(n))
	}
	left, err := r.rdb.HMGet(ctx, r.keys.open(op.ID), fields...).Result()
	if err != nil {
		return false, fmt.Errorf("reading the look-ups left of operation %s: %w", op.ID, err)
	}
	return sumOf(left) > 0, nil
}

func sumOf(values []any) (n int64) {
	for _, v := range values {
		n += number(v)
	}
	return n
}

var scriptClearance = script("clearance", "brake")

// decide writes a clearance; false if it has changed since op was read, another plan than that of
// the answer pins the rows, or a retry has added to what a question is about.
func (r *Record) decide(ctx context.Context, op Operation, next tasks.Clearance, deadline time.Time) (bool, error) {
	until := ""
	if !deadline.IsZero() {
		until = formatMS(deadline)
	}
	requeued := ""
	if next.State == tasks.ClearanceWaiting {
		requeued = strconv.Itoa(op.requeued)
	}
	call := &scriptCall{
		script: scriptClearance, keys: []string{r.keys.op(op.ID)}, args: []any{op.clearance, mustJSON(next), until, next.Plan, requeued},
	}
	if _, err := r.durably(ctx, []*scriptCall{call}, nil); err != nil {
		return false, fmt.Errorf("writing the clearance of operation %s: %w", op.ID, err)
	}
	n, err := call.reply.Int()
	return n == 1, err
}

// AskApproval makes an operation wait for a person, and lists it; asked is false if another
// worker was faster, or the operation has been decided on or retried since op was read.
func (r *Record) AskApproval(ctx context.Context, op Operation, c tasks.Clearance) (asked bool, err error) {
	c.State = tasks.ClearanceWaiting
	if asked, err = r.decide(ctx, op, c, time.Time{}); err != nil || !asked {
		return asked, err
	}
	return true, r.await(ctx, []Operation{op}) // a sweep lists it if this process dies
}

// await enters operations into the lists of those that wait. One that was answered, or has ended, since it
// was read leaves them again: who did that may have taken it off before it was entered.
func (r *Record) await(ctx context.Context, ops []Operation) error {
	if len(ops) == 0 {
		return nil
	}
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, op := range ops {
			for _, project := range []string{"", op.Project} {
				p.ZAddNX(ctx, r.keys.waiting(project), redis.Z{Score: float64(op.AcceptedAt.UnixMilli()), Member: op.ID})
			}
		}
		return nil
	})
	if err == nil {
		ops, err = r.operations(ctx, idsOf(ops))
	}
	if ops = slices.DeleteFunc(ops, Operation.AwaitsApproval); err == nil && len(ops) > 0 {
		_, err = r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, op := range ops {
				r.unwait(ctx, p, op)
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("listing operations as waiting: %w", err)
	}
	return nil
}

// unwait takes an operation off the lists of those that wait.
func (r *Record) unwait(ctx context.Context, p redis.Pipeliner, op Operation) {
	for _, project := range []string{"", op.Project} {
		p.ZRem(ctx, r.keys.waiting(project), op.ID)
	}
}

// Approve lets an operation that waits begin. Its deadline counts from now on. With a plan,
// its rows are first pinned to what the plan read. The error is ErrNotWaiting if it does not
// wait, or no longer, *SamePersonError if another person must approve it, and ErrNoPlan,
// ErrPlanExpired or ErrPlanChanged if it is about the plan.
func (p *Producer) Approve(ctx context.Context, op Operation, a tasks.Approval) (Operation, error) {
	if !op.AwaitsApproval() {
		return op, notWaiting(op)
	}
	now := p.now()
	deadline := now.Add(op.Deadline.Sub(op.Begins()))
	plan, err := p.Record.planToApprove(ctx, now, op, a)
	if err != nil {
		return op, err
	}
	if err := p.Record.mayApprove(ctx, op, a); err != nil {
		return op, err
	}
	if err := p.pin(ctx, op, plan, a); err != nil {
		return op, err
	}
	op, err = p.answer(ctx, op, tasks.ClearanceApproved, a, deadline)
	if err != nil {
		return op, err
	}
	op.Deadline = time.UnixMilli(deadline.UnixMilli()).UTC()
	_ = p.Continue(ctx, op) // a sweep enqueues what could not be enqueued here
	return op, nil
}

// mayApprove refuses the person who asked for an operation, if it takes two. Otherwise it
// reserves at once: a person cannot approve one small operation after another and exceed
// what is allowed alone.
func (r *Record) mayApprove(ctx context.Context, op Operation, a tasks.Approval) error {
	c := *op.Clearance
	if !op.SamePerson(a.By, a.Owner) {
		return nil
	}
	refused := &tasks.SamePersonError{Asked: cmp.Or(op.Owner, op.RequestedBy, "you"), Desktops: c.Desktops, Above: c.SecondPersonAbove}
	if c.Desktops > c.SecondPersonAbove {
		return refused
	}
	if c.Why != tasks.WhyLimit { // it is in the window, or does not count
		return nil
	}
	usage, err := r.Reserve(ctx, op, c.Desktops, c.SecondPersonAbove, time.Duration(c.WindowS)*time.Second)
	if err == nil && !usage.Cleared {
		return refused
	}
	return err
}

// Reject cancels an operation that waits: everything that was not sent. by is the person.
// The error is ErrNotWaiting if it does not wait, or no longer.
func (p *Producer) Reject(ctx context.Context, op Operation, by, reason string) (Operation, error) {
	return p.reject(ctx, op, tasks.ClearanceRejected, by, reason)
}

// ExpireApproval is Reject when nobody has answered in time.
func (p *Producer) ExpireApproval(ctx context.Context, op Operation, by string) (Operation, error) {
	return p.reject(ctx, op, tasks.ClearanceExpired, by, "nobody approved it in time")
}

func (p *Producer) reject(ctx context.Context, op Operation, state tasks.ClearanceState, by, reason string) (Operation, error) {
	op, err := p.answer(ctx, op, state, tasks.Approval{By: by, Reason: reason}, time.Time{})
	if err != nil {
		return op, err
	}
	_, _, err = p.Record.Cancel(ctx, op, p.now(), by)
	return op, err
}

func (p *Producer) answer(
	ctx context.Context, op Operation, state tasks.ClearanceState, a tasks.Approval, deadline time.Time,
) (Operation, error) {
	if !op.AwaitsApproval() {
		return op, notWaiting(op)
	}
	next := *op.Clearance
	next.State, next.DecidedAt, next.DecidedBy, next.Reason = state, p.now().UTC(), a.By, a.Reason
	next.Plan = a.Plan
	written, err := p.Record.decide(ctx, op, next, deadline)
	switch {
	case err != nil:
		return op, err
	case !written:
		return op, notWaiting(op)
	}
	op.Clearance = &next
	if op.Stopped() != "" {
		op.brake = nil // released, or of no use any more
	}
	// It has been answered: if this fails, a sweep does it.
	_, _ = p.Record.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error { p.Record.unwait(ctx, pipe, op); return nil })
	return op, nil
}

func notWaiting(op Operation) error {
	return fmt.Errorf("operation %s: %w", op.ID, tasks.ErrNotWaiting)
}
