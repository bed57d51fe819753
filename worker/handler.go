package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/queue"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/spans"
)

// retryError ends a task that is to run again after a delay. It does not count as a failure:
// attempts are counted in the record, not by asynq.
type retryError struct{ after time.Duration }

func (e *retryError) Error() string {
	return fmt.Sprintf("desktops left to do; retrying in %s", e.after.Round(time.Millisecond))
}

// faultDelay is the delay of a task after an error of Redis or of ours.
const faultDelay = 2 * time.Second

func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	if r, ok := errors.AsType[*retryError](err); ok {
		return r.after
	}
	return jitter(faultDelay)
}

// isFailure makes asynq count only errors that can never pass. Otherwise it would some day
// archive a chunk with work left.
func isFailure(err error) bool { return errors.Is(err, asynq.SkipRetry) }

// maxWait is how long a handler waits for its desktops before its task returns to the queue.
// It limits how old the handler's copy of the chunk becomes.
const maxWait = 5 * time.Minute

// handler runs the chunks of one of a project's queues.
type handler struct {
	sender   *sender
	queue    string
	handled  *handled
	beginner *beginner
	runner   *runner
}

// ProcessTask works on a chunk. Desktops with an unknown outcome are resolved, queued ones go
// through the lane, and if any are left the task runs again.
func (h *handler) ProcessTask(ctx context.Context, t *asynq.Task) error {
	h.runner.begin()
	defer h.runner.end()
	p, err := queue.DecodePayload(t.Payload())
	if err == nil && p.Project != h.sender.project.Alias {
		err = &queue.PayloadError{Reason: fmt.Sprintf("project %q in a queue of project %q", p.Project, h.sender.project.Alias)}
	}
	if err != nil {
		return h.reject(ctx, t, err)
	}
	h.sender.lanes.arriving.Add(1)
	arrived := sync.OnceFunc(func() { h.sender.lanes.arriving.Add(-1) })
	defer arrived()
	run := h.handled.begin(p)
	defer h.handled.end(run)
	c, err := h.beginner.begin(ctx, run)
	if err != nil && !errors.Is(err, tasks.ErrNotFound) {
		return err
	}
	if err != nil {
		h.sender.log.Warn().Err(err).Str("task", p.TaskID()).Msg("dropped a task whose operation is not in the record")
		return nil
	}
	if p.Generation < c.Generation {
		return nil // the reconciler has enqueued the chunk again; this is the old task
	}
	if early := c.Operation.NotBefore.Sub(h.sender.clock.Now()); early > 0 {
		return &retryError{after: early} // asynq cuts times to seconds
	}
	ctx, span := h.sender.cfg.Spans.Chunk(ctx, c.Operation.Operation, c.Number, h.sender.cfg.ID)
	after, err := h.work(ctx, c, arrived)
	span.Handled(err)
	if err != nil {
		return err
	}
	if after > 0 {
		return &retryError{after: after}
	}
	return nil
}

// work does what is left of a chunk; after > 0 asks for another run. It calls arrived when
// the desktops are in the lane.
func (h *handler) work(ctx context.Context, c record.Chunk, arrived func()) (after time.Duration, err error) {
	queued, unknown := inState(c.Desktops, tasks.StateQueued), inState(c.Desktops, tasks.StateSending)
	longest := min(maxWait, c.Operation.Deadline.Sub(h.sender.clock.Now()))
	ctx, cancel := context.WithTimeoutCause(ctx, longest, errors.New("the handler waited long enough"))
	defer cancel()
	if len(unknown) > 0 {
		again, retryAfter, err := h.sender.resolve(ctx, c.Operation, c.Number, unknown)
		if err != nil && ctx.Err() == nil {
			return 0, err
		}
		queued, after = append(queued, again...), retryAfter
	}
	if op := c.Operation; len(queued) > 0 && !op.LooksUp(c.Number) && (op.AwaitsApproval() || h.sender.clock.Now().Before(op.Deadline)) {
		cleared, again, err := h.sender.clear(ctx, &c.Operation)
		if err != nil {
			return 0, err
		}
		if !cleared {
			return sooner(after, again), nil // an approval enqueues the chunk again
		}
		if queued, again, err = h.sender.confirmed(ctx, c.Operation, queued); err != nil {
			return 0, err
		}
		after = sooner(after, again)
		now := time.Now()
		if blackout := h.sender.blackout(c.Operation, now); blackout != nil {
			queued, after = nil, sooner(after, untilOver(blackout, now))
		} else if c.Operation.CanaryPending() {
			if queued, again, err = h.canary(ctx, c, queued, arrived); err != nil {
				return 0, err
			}
			after = sooner(after, again)
		}
	}
	if c.Operation.LooksUp(c.Number) && len(queued) > 0 && h.sender.clock.Now().Before(c.Operation.Deadline) {
		arrived()
		queued = nil
		if after, err = h.sender.lookUp(ctx, c.Operation.ID); err != nil {
			return 0, err
		}
	}
	if len(queued) > 0 && h.sender.clock.Now().Before(c.Operation.Deadline) {
		after = sooner(after, h.send(ctx, c, queued, arrived))
	}
	if h.sender.clock.Now().Before(c.Operation.Deadline) {
		return min(after, max(c.Operation.Deadline.Sub(h.sender.clock.Now()), immediately)), nil
	}
	return h.sender.expire(c)
}

// send puts desktops of a chunk into the lane and waits for their answers.
func (h *handler) send(ctx context.Context, c record.Chunk, queued []record.Row, arrived func()) (after time.Duration) {
	j, items := newJob(c.Operation, c.Number, queued, time.Now())
	j.span = spans.Current(ctx)
	h.sender.lanes.put(items)
	arrived()
	select {
	case <-j.done:
	case <-ctx.Done():
		h.sender.lanes.withdraw(j)
		<-j.done
	}
	return j.delay
}

// sooner returns the shorter of two delays; 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// reject records a task that cannot be read. It is not retried: asynq archives it, and the
// reconciler enqueues the chunk that it may have been for.
func (h *handler) reject(ctx context.Context, t *asynq.Task, reason error) error {
	id, _ := asynq.GetTaskID(ctx)
	h.sender.log.Error().Err(reason).Str("queue", h.queue).Str("task", id).Msg("a task cannot be read; it was recorded and is not retried")
	rejected := record.Rejected{Queue: h.queue, TaskID: id, Payload: string(t.Payload()), Reason: reason.Error(), At: time.Now()}
	if err := h.sender.record.Reject(ctx, rejected); err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", reason, asynq.SkipRetry)
}

// handled knows the runs of chunks that handlers have in hand. It collects those that are
// done, which the next read of a chunk takes off the worker's list; Keep takes off the
// rest. A chunk may run again before that, so each run has a mark of its own.
type handled struct {
	mu   sync.Mutex
	runs int
	open map[string]record.Run // by mark
	done []record.Run
}

func newHandled() *handled { return &handled{open: map[string]record.Run{}} }

func (h *handled) begin(p queue.Payload) record.Run {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.runs++
	run := record.Run{Payload: p, Mark: strconv.FormatInt(int64(h.runs), 36)}
	h.open[run.Mark] = run
	return run
}

func (h *handled) end(run record.Run) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.open, run.Mark)
	h.done = append(h.done, run)
}

// popDone returns the runs that have ended since the last call.
func (h *handled) popDone() []record.Run {
	h.mu.Lock()
	defer h.mu.Unlock()
	done := h.done
	h.done = nil
	return done
}

// inHand returns the runs that have begun and not ended.
func (h *handled) inHand() []record.Run {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.open))
}
