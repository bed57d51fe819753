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
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/queue"
	"github.com/detachd/detachd/tasks/record"
)

// retryError ends a task that is to run again after a delay. It is no failure:
// asynq's own count of retries stays where it is, attempts are counted in the
// record.
type retryError struct{ after time.Duration }

func (e *retryError) Error() string {
	return fmt.Sprintf("desktops left to do, again in %s", e.after.Round(time.Millisecond))
}

// trouble is when a task is tried again after an error of ours or of Redis.
const trouble = 2 * time.Second

func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	if r := (*retryError)(nil); errors.As(err, &r) {
		return r.after
	}
	return jitter(trouble)
}

// isFailure tells asynq what to count: nothing but what can never succeed, or a
// chunk would be archived some day with work left.
func isFailure(err error) bool { return errors.Is(err, asynq.SkipRetry) }

// maxWait is how long a handler waits for its desktops before it goes back to
// the queue; it bounds how stale what it holds can get.
const maxWait = 5 * time.Minute

// handler runs the chunks of one of a project's queues.
type handler struct {
	sender  *sender
	worker  string
	queue   string
	record  *record.Record
	log     zerolog.Logger
	now     func() time.Time
	handled *handled
}

// ProcessTask works on a chunk: what is unknown is resolved, what is queued
// goes through the lane, and if something is left the task runs again.
func (h *handler) ProcessTask(ctx context.Context, t *asynq.Task) error {
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
	done := h.handled.take()
	run := h.handled.begin(p)
	defer h.handled.end(run)
	c, err := h.record.Begin(ctx, h.worker, run, done)
	if err != nil && !errors.Is(err, tasks.ErrNotFound) {
		return err
	}
	if err != nil {
		h.log.Warn().Err(err).Str("task", p.TaskID()).Msg("a task of an operation that is not in the record was dropped")
		return nil
	}
	if p.Generation < c.Generation {
		return nil // a reconciler enqueued the chunk anew; this is the old task
	}
	if early := c.Operation.NotBefore.Sub(h.now()); early > 0 {
		return &retryError{after: early} // asynq cuts times to seconds
	}
	after, err := h.work(ctx, c, arrived)
	if err != nil {
		return err
	}
	if after > 0 {
		return &retryError{after: after}
	}
	return nil
}

// work does what is left to do of a chunk; after > 0 asks for another run.
// arrived is called when its desktops are in the lane.
func (h *handler) work(ctx context.Context, c record.Chunk, arrived func()) (after time.Duration, err error) {
	queued, unknown := inState(c.Desktops, tasks.StateQueued), inState(c.Desktops, tasks.StateSending)
	ctx, cancel := context.WithDeadlineCause(ctx, earlier(h.now().Add(maxWait), c.Operation.Deadline), errors.New("waited long enough"))
	defer cancel()
	if len(unknown) > 0 {
		again, retryAfter, err := h.sender.resolve(ctx, c.Operation, c.Number, unknown)
		if err != nil && ctx.Err() == nil {
			return 0, err
		}
		queued, after = append(queued, again...), retryAfter
	}
	if c.Operation.LooksUp(c.Number) && len(queued) > 0 && h.now().Before(c.Operation.Deadline) {
		arrived()
		queued = nil
		if after, err = h.sender.lookUp(ctx, c.Operation.ID); err != nil {
			return 0, err
		}
	}
	if len(queued) > 0 && h.now().Before(c.Operation.Deadline) {
		j, items := newJob(c.Operation, c.Number, queued, h.now())
		h.sender.lanes.put(items)
		arrived()
		select {
		case <-j.done:
		case <-ctx.Done():
			h.sender.lanes.withdraw(j)
			<-j.done
		}
		after = sooner(after, j.delay)
	}
	if h.now().Before(c.Operation.Deadline) {
		return min(after, max(time.Until(c.Operation.Deadline), immediately)), nil
	}
	return h.sender.expire(c)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// sooner gives the shorter of two delays, 0 meaning none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// reject records a task that cannot be read. It is not tried again: asynq
// archives it, and the chunk that it may have been for is enqueued anew by a
// reconciler.
func (h *handler) reject(ctx context.Context, t *asynq.Task, reason error) error {
	id, _ := asynq.GetTaskID(ctx)
	h.log.Error().Err(reason).Str("queue", h.queue).Str("task", id).Msg("a task cannot be read; it is recorded and not tried again")
	err := h.record.Reject(ctx, record.Rejected{Queue: h.queue, TaskID: id, Payload: string(t.Payload()), Reason: reason.Error(), At: h.now()})
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", reason, asynq.SkipRetry)
}

// handled knows the runs of chunks that the handlers have in hand, and collects those
// that they are done with, to be taken off the worker's list along with the next read.
// What does not come off so, Keep takes off. A chunk may run again before that: each run
// has a mark of its own.
type handled struct {
	mu   sync.Mutex
	runs int
	now  map[string]record.Run // by mark
	done []record.Run
}

func newHandled() *handled { return &handled{now: map[string]record.Run{}} }

func (h *handled) begin(p queue.Payload) record.Run {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.runs++
	run := record.Run{Payload: p, Mark: strconv.FormatInt(int64(h.runs), 36)}
	h.now[run.Mark] = run
	return run
}

func (h *handled) end(run record.Run) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.now, run.Mark)
	h.done = append(h.done, run)
}

func (h *handled) take() []record.Run {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := h.done
	h.done = nil
	return out
}

// inHand are the runs that have begun and not ended.
func (h *handled) inHand() []record.Run {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.now))
}
