package schedules

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/detachd/detachd/cmd/internal/sources"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// run is one attempt at a tick, or at a run that a person asked for.
type run struct {
	*Ticker

	schedule tasks.Schedule
	ticks    record.Ticks
	tick     tasks.ScheduleTick  // not of a run that was asked for
	ask      *record.ScheduleAsk // nil: it is a tick
	trying   string
	reader   *reader

	state record.ScheduleState
	due   due
}

// do makes the attempt: it reads the state, decides, reads the source, makes the operations, and
// writes what became of it. It may die anywhere: the next attempt makes the same operations.
func (r *run) do(ctx context.Context) outcome {
	if r.ask == nil {
		r.tick = latest(r.clock.Now(), r.ticks, r.tick)
	}
	state, mine, err := r.read(ctx)
	now := r.clock.Now()
	switch {
	case err != nil:
		r.failed(ctx, err, "the state of a schedule cannot be read, it waits")
		return outcome{look: now.Add(r.cfg.Every)}
	case state.Since.IsZero():
		return outcome{lost: true}
	case !mine:
		return outcome{look: now.Add(r.cfg.Lease)}
	}
	r.state = state
	switch {
	case r.ask != nil && recorded(state, r.ask.ID): // by another process, after this one had read that it is asked for
		return outcome{}
	case r.ask == nil:
		if r.due = ticksDue(now, r.ticks, state); r.due.tick.ID == "" {
			return outcome{tick: r.due.next}
		}
		if r.due.tick.At.After(r.tick.At) { // its time has come since, and others may be at it
			return outcome{tick: r.due.tick}
		}
		r.tick = r.due.tick
	}
	x, err := r.judge(ctx, now)
	if err != nil {
		r.failed(ctx, err, "the operations of a schedule cannot be read, a run waits")
		return outcome{look: now.Add(r.cfg.Every)}
	}
	if x.Run.Result == "" {
		if again := r.make(ctx, &x); !again.IsZero() {
			return outcome{look: again, retry: r.id()}
		}
	}
	return r.commit(ctx, x)
}

// judge decides about the run as far as its source does not matter; no result: it does.
func (r *run) judge(ctx context.Context, now time.Time) (record.ScheduleResult, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.StepTimeout)
	defer cancel()
	before, err := r.madeAt(ctx, r.due.before)
	if err != nil {
		return record.ScheduleResult{}, err
	}
	if len(before) > 0 {
		r.due = due{tick: r.due.before, missed: r.due.missed - 1, next: r.due.tick}
		r.tick = r.due.tick
		return r.unwritten(before), nil
	}
	made, err := r.lastMade(ctx)
	if err != nil {
		return record.ScheduleResult{}, err
	}
	f := facts{
		now: now, schedule: r.schedule, state: r.state, due: r.due, made: made, trying: r.trying == r.id(), known: r.knows(r.schedule),
	}
	x := record.ScheduleResult{Tick: r.tick, Shifted: r.due.shifted, Run: tasks.ScheduleRun{
		ID: r.id(), Scheduled: r.tick.At, At: now, Mark: r.tick.Mark, Missed: r.due.missed,
	}}
	if r.ask != nil {
		d := overlap(f)
		x.Run.Result, x.Run.Why, x.Run.Scheduled, x.Run.By, x.Run.Note = d.result, d.why, r.ask.At, r.ask.By, r.ask.Note
		return x, nil
	}
	d := decide(f)
	x.Run.Result, x.Run.Why, x.Pause = d.result, d.why, d.pause
	if d.result != "" {
		made, err := r.madeAt(ctx, r.tick)
		if err != nil || len(made) > 0 {
			return r.unwritten(made), err
		}
	}
	return x, nil
}

// unwritten is the result of a tick whose process died after it made the operations.
func (r *run) unwritten(made []record.Operation) record.ScheduleResult {
	x := record.ScheduleResult{Tick: r.tick, Shifted: r.due.shifted, Run: tasks.ScheduleRun{
		ID: r.id(), Scheduled: r.tick.At, Mark: r.tick.Mark, Missed: r.due.missed, Result: tasks.RunStarted,
		Why: "its worker died before it could write this",
	}}
	for _, op := range made {
		x.Run.At = op.AcceptedAt
		x.Run.Operations = append(x.Run.Operations, op.ID)
		x.Run.Rows += op.Total
	}
	return x
}

// madeAt reads the operations that some process made at a tick. Those of lists with a content
// of their own are not found: they are made once whatever asks for them.
func (r *run) madeAt(ctx context.Context, tick tasks.ScheduleTick) (out []record.Operation, err error) {
	for tick.ID != "" {
		id := record.OperationID(tasks.ScheduleRequester(r.schedule.Name), key(tick.ID, len(out)))
		op, err := r.record.Operation(ctx, id)
		switch {
		case errors.Is(err, tasks.ErrNotFound):
			return out, nil
		case err != nil:
			return nil, err
		}
		out = append(out, op)
	}
	return nil, nil
}

// key is the idempotency key of one of the operations of a tick, or of a list.
func key(of string, n int) string {
	if n == 0 {
		return of
	}
	return fmt.Sprintf("%s/%d", of, n)
}

// stay is the list of those who stay; empty: the source is another.
func (r *run) stay() string {
	if n := r.schedule.Source.NotIn; n != nil {
		return n.File
	}
	return ""
}

func (r *run) id() string {
	if r.ask != nil {
		return r.ask.ID
	}
	return r.tick.ID
}

// failed logs an error after which there is another attempt.
func (r *run) failed(ctx context.Context, err error, what string) {
	if ctx.Err() == nil {
		r.cfg.Log.Warn().Err(err).Str("schedule", r.schedule.Name).Str("run", r.id()).Msg("schedules: " + what)
	}
}

func (r *run) read(ctx context.Context) (record.ScheduleState, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.StepTimeout)
	defer cancel()
	return r.record.BeginScheduleRun(ctx, r.schedule.Name, r.cfg.Worker, r.tick, r.cfg.Lease)
}

// lastMade reads the operations of the last run that made some, if something depends on them.
func (r *run) lastMade(ctx context.Context) ([]record.Operation, error) {
	if r.schedule.Overlap == tasks.OverlapAllow && !r.schedule.PauseOnFailure {
		return nil, nil
	}
	return r.record.OperationsOf(ctx, r.state.Made)
}

// make reads the source and makes the operations. again, unless zero, is when there is another
// attempt, and nothing is to be written yet.
func (r *run) make(ctx context.Context, x *record.ScheduleResult) (again time.Time) {
	kept, cancel := context.WithCancel(ctx)
	go r.keep(kept)
	defer cancel()
	found, err := r.source(ctx)
	if err == nil {
		err = r.operations(ctx, found, x)
	}
	later := r.clock.Now().Add(r.cfg.Retry)
	switch {
	case ctx.Err() != nil:
		return later
	case errors.Is(err, sources.ErrNotReady) && later.Before(r.giveUp()):
		r.cfg.Log.Info().Err(err).Str("schedule", r.schedule.Name).Str("run", r.id()).Msg("schedules: a run waits for its source")
		return later
	case err != nil:
		x.Run.Result, x.Run.Why = tasks.RunFailed, err.Error()
		if r.schedule.PauseOnFailure {
			x.Pause = &tasks.SchedulePause{By: tasks.PausedItself, At: x.Run.At, Note: "the run " + r.id() + " failed: " + err.Error()}
		}
		return time.Time{}
	}
	x.Read, x.Stay = true, r.stay()
	x.Run.Result = tasks.RunStarted
	if len(x.Run.Operations) == 0 {
		x.Run.Result = tasks.RunNothing
		x.Run.Why = cmp.Or(x.Run.Why, "the source names nobody")
	}
	return time.Time{}
}

// keep keeps others from the run until ctx ends.
func (r *run) keep(ctx context.Context) {
	every := time.NewTicker(r.cfg.Lease / 3)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			_, _, _ = r.read(ctx) // if it fails, another process may read the source too
		case <-ctx.Done():
			return
		}
	}
}

// askedFor is how long a source is tried for a person who waits.
const askedFor = 10 * time.Minute

// giveUp is when a source that is not ready fails the run.
func (r *run) giveUp() time.Time {
	if r.ask != nil {
		return r.ask.At.Add(askedFor)
	}
	end := r.tick.At.Add(time.Duration(r.schedule.CatchUp))
	if next := r.due.next; next.ID != "" && next.At.Before(end) {
		end = next.At
	}
	return end
}

// reader is what reads the source of a schedule. It is shared by the runs of the schedule in
// this process: what hangs, hangs once.
type reader struct{ busy atomic.Bool }

var errStuck = errors.New("the source was asked before and has not answered yet: see whether its file system or its cloud hangs")

// source reads the source. It returns when the time is up, even if the source does not.
func (r *run) source(ctx context.Context) (sources.Found, error) {
	if !r.reader.busy.CompareAndSwap(false, true) {
		return sources.Found{}, errStuck
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.ReadTimeout, fmt.Errorf("the source did not answer within %s", r.cfg.ReadTimeout))
	defer cancel() // not where it answers: what has answered would look as if it had been given up
	type answer struct {
		found sources.Found
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		var a answer
		defer func() {
			if p := recover(); p != nil {
				a = answer{err: fmt.Errorf("reading the source failed in a way that must not happen, report it: %v", p)}
			}
			r.reader.busy.Store(false)
			answers <- a
		}()
		a.found, a.err = r.cfg.Source.Read(ctx, r.schedule, r.state.RowsOf(r.stay()))
	}()
	slow := time.AfterFunc(r.cfg.SlowAfter, func() { r.slow.Add(1) })
	defer func() {
		if !slow.Stop() {
			r.slow.Add(-1)
		}
	}()
	select {
	case a := <-answers:
		return a.found, a.err
	case <-ctx.Done():
		return sources.Found{}, context.Cause(ctx)
	}
}

// operations makes the operations of what was found, and completes the result. A list that has
// run before makes none.
func (r *run) operations(ctx context.Context, found sources.Found, x *record.ScheduleResult) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.RunTimeout,
		fmt.Errorf("%w: Redis took the operations too slowly, not within %s", sources.ErrNotReady, r.cfg.RunTimeout))
	defer cancel()
	x.Run.Rows, x.Run.Why = found.Rows, found.Note
	for _, l := range found.Lists {
		if l.SHA256 != "" && l.Err == nil {
			x.Lists = append(x.Lists, l.SHA256)
		}
	}
	before, err := r.record.ListsRun(ctx, r.schedule.Name, x.Lists)
	if err != nil {
		return fmt.Errorf("%w: %w", sources.ErrNotReady, err)
	}
	ran := map[string]bool{}
	for i, sha := range x.Lists {
		ran[sha] = before[i]
	}
	errs := []error{found.Err()}
	for _, l := range found.Lists {
		if l.Err != nil || ran[l.SHA256] {
			continue
		}
		if err := r.list(ctx, l, x); err != nil {
			if l.File != "" {
				err = fmt.Errorf("%s: %w", l.File, err)
			}
			errs = append(errs, err)
			x.Lists = slices.DeleteFunc(x.Lists, func(sha string) bool { return sha == l.SHA256 })
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if len(x.Run.Operations) == 0 && len(x.Lists) > 0 {
		x.Run.Why = cmp.Or(x.Run.Why, whyNothing(found.Lists))
	}
	return nil
}

// whyNothing says why lists made no operation. An empty list has not "run before": its leavers may be
// in another column or file.
func whyNothing(lists []sources.List) string {
	empty := 0
	for _, l := range lists {
		if len(l.Requests) == 0 {
			empty++
		}
	}
	switch empty {
	case 0:
		return "each list has run before"
	case len(lists):
		return "no list names anybody"
	}
	return fmt.Sprintf("each list has run before, or names nobody (%d)", empty)
}

// list makes the operations of a list: all, or none.
func (r *run) list(ctx context.Context, l sources.List, x *record.ScheduleResult) error {
	requests := make([]tasks.Request, len(l.Requests))
	for i, q := range l.Requests {
		q.IdempotencyKey = key(r.id(), i)
		if l.SHA256 != "" {
			q.IdempotencyKey = key(r.schedule.Name+"#"+l.SHA256, i)
		}
		requests[i] = q
	}
	if len(requests) > 1 {
		for _, q := range requests {
			if err := r.cfg.Producer.Refusal(ctx, q); err != nil {
				return refusal(err)
			}
		}
	}
	for _, q := range requests {
		op, err := r.enqueue(ctx, q)
		if err != nil {
			return err
		}
		if l.SHA256 != "" && op.Replayed && op.AcceptedAt.Before(r.state.Since) {
			continue // of a run before the schedule was added or resumed
		}
		x.Run.Operations = append(x.Run.Operations, op.ID)
	}
	return nil
}

// enqueue makes an operation, or returns the one that another attempt has made.
func (r *run) enqueue(ctx context.Context, q tasks.Request) (record.Operation, error) {
	var entry tasks.AuditEvent
	span := r.cfg.Spans.Accept(ctx, &q.Trace, &q.Tracestate)
	op, err := r.cfg.Producer.Enqueue(ctx, q, func(id string) (err error) {
		entry, err = r.record.AppendAudit(ctx, tasks.AuditEvent{
			At: time.Now(), Action: tasks.AuditOperationCreated, Outcome: tasks.AuditStarted, KeyName: q.RequestedBy, Owner: q.Owner,
			Project: q.Project, Target: id, Reason: q.Reason, Detail: r.id(),
		})
		return err
	})
	span.Accepted(op.Operation, op.Replayed, err)
	if errors.Is(err, tasks.ErrKeyReused) {
		// Another process has made it of what it read, or an earlier schedule of the name has. Until that
		// is accepted, nobody knows.
		op, err = r.record.Operation(ctx, record.OperationID(q.RequestedBy, q.IdempotencyKey))
		op.Replayed = true
	}
	if err != nil {
		r.auditFailure(ctx, entry)
		return op, refusal(err)
	}
	if op.Project != q.Project {
		return op, fmt.Errorf("an earlier schedule of this name ran this list for project %s, and nothing was made for %s: "+
			"add the schedule under another name", op.Project, q.Project)
	}
	return op, nil
}

// auditFailure writes that an action whose entry was written has failed.
func (r *run) auditFailure(ctx context.Context, e tasks.AuditEvent) {
	if e.Seq == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.StepTimeout)
	defer cancel()
	e.At, e.Outcome, e.OfSeq = time.Now(), tasks.AuditFailed, e.Seq
	if _, err := r.record.AppendAudit(ctx, e); err != nil {
		r.failed(ctx, err, "the audit log lacks that an operation was not made")
	}
}

// refusal is an error of an operation that was not made: another attempt may make it, unless it
// was refused for what it asks.
func refusal(err error) error {
	var invalid *tasks.ValidationError
	var protected *tasks.ProtectedError
	if errors.As(err, &invalid) || errors.As(err, &protected) {
		return err
	}
	return fmt.Errorf("%w: %w", sources.ErrNotReady, err)
}

// commit writes what became of the run. If the schedule has changed meanwhile it reads it again.
func (r *run) commit(ctx context.Context, x record.ScheduleResult) outcome {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.StepTimeout) // also if the process is to stop
	defer cancel()
	state := r.state
	for {
		written, err := r.record.CommitScheduleRun(end, r.schedule.Name, state, x)
		switch {
		case errors.Is(err, tasks.ErrNoSchedule):
			return outcome{lost: true}
		case err != nil:
			r.failed(ctx, err, "a run cannot be recorded, it is repeated")
			return outcome{look: r.clock.Now().Add(r.cfg.Every), retry: r.id()}
		case written:
			r.tell(x)
			return outcome{tick: r.due.next}
		}
		if state, _, err = r.read(end); err != nil {
			r.failed(ctx, err, "a run cannot be recorded, it is repeated")
			return outcome{look: r.clock.Now().Add(r.cfg.Every), retry: r.id()}
		}
		if recorded(state, x.Run.ID) {
			return outcome{tick: r.due.next}
		}
	}
}

// recorded reports that another process has written the run.
func recorded(state record.ScheduleState, id string) bool {
	return slices.ContainsFunc(state.Runs, func(run tasks.ScheduleRun) bool { return run.ID == id })
}

// tell logs a run.
func (r *run) tell(x record.ScheduleResult) {
	line := r.cfg.Log.Info()
	if x.Run.Result == tasks.RunFailed || x.Run.Result == tasks.RunMissed || x.Run.Missed > 0 || x.Pause != nil {
		line = r.cfg.Log.Warn()
	}
	line = line.Str("schedule", r.schedule.Name).Str("run", x.Run.ID).Str("result", string(x.Run.Result))
	if x.Run.Why != "" {
		line = line.Str("why", x.Run.Why)
	}
	if len(x.Run.Operations) > 0 {
		line = line.Strs("operations", x.Run.Operations).Int("rows", x.Run.Rows)
	}
	if x.Run.Missed > 0 {
		line = line.Int("missed_before", x.Run.Missed)
	}
	if x.Pause != nil {
		line = line.Bool("paused", true)
	}
	line.Msg("schedule")
}
