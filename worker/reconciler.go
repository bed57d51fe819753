package worker

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/tasks/record"
)

const (
	expireInterval = time.Minute
	sweepSize      = 200 // operations looked at in one sweep
	sweepChunks    = 500 // chunks whose tasks are looked up in one sweep, within lookWithin
	lookWithin     = time.Second
	youngerThan    = 5 * time.Second
	redriveWithin  = time.Second
	expireWithin   = time.Second
	unservedWithin = time.Second
	inHandRead     = 100 // chunks of a dead worker that are read at a time
	enqueuedAtOnce = 8   // of those
)

// inspector is what the reconciler asks asynq.
type inspector interface {
	GetTaskInfo(queue, id string) (*asynq.TaskInfo, error)
}

// reconciler enqueues anew what dead workers had in hand, and, on one worker at a time,
// looks for chunks with work left whose task is nowhere: a producer died between
// recording and enqueuing, or the queue lost it.
type reconciler struct {
	worker   string
	projects []string
	record   *record.Record
	producer *record.Producer
	asynq    inspector
	handled  *handled
	heart    *heart
	unserved *unserved
	log      zerolog.Logger
	now      func() time.Time
	// The times of the constants of the same names; tests hurry.
	youngerThan time.Duration

	offset     int // where the next sweep goes on
	cursor     record.RepairCursor
	stuck      map[string]bool // active tasks that were in no worker's hand at the last look
	nextExpire time.Time
}

// repeat does something at the interval of beats until ctx ends. Errors are those of
// Redis; the next round tries again.
func (r *reconciler) repeat(ctx context.Context, round func(context.Context) error) {
	for {
		if err := round(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn().Err(err).Msg("reconciling failed; trying again")
		}
		if !wait(ctx, r.heart.beatInterval) {
			return
		}
	}
}

// watch keeps the list of what this worker has in hand true, and enqueues anew what dead
// workers have on theirs.
func (r *reconciler) watch(ctx context.Context) error {
	if err := r.record.Serves(ctx, r.worker, r.projects...); err != nil {
		return err
	}
	r.handled.take() // Keep takes them off
	if err := r.record.Keep(ctx, r.worker, r.handled.inHand); err != nil {
		return err
	}
	workers, err := r.record.Workers(ctx)
	if err != nil || !r.heart.mayJudge(time.Now()) { // asked last: the process may have been frozen meanwhile
		return err
	}
	for _, w := range workers {
		if w.ID != r.worker && w.Silent >= r.heart.deadAfter {
			n, err := r.takeOver(ctx, w.ID)
			if err != nil {
				return err
			}
			r.log.Warn().Str("dead_worker", w.ID).Dur("silent", w.Silent).Int("chunks", n).Msg("a worker died; what it had in hand was enqueued anew")
		}
	}
	return nil
}

// takeOver enqueues anew what a dead worker had in hand. Should it live after all,
// nothing comes of it: what it has claimed stays its own, and a second run of a chunk
// finds what the first has written. It returns how many chunks that were.
func (r *reconciler) takeOver(ctx context.Context, worker string) (chunks int, err error) {
	runs, err := r.record.InHand(ctx, worker)
	if err != nil {
		return 0, err
	}
	for some := range slices.Chunk(runs, inHandRead) {
		left, err := r.record.InWork(ctx, some)
		if err != nil {
			return 0, err
		}
		left = slices.DeleteFunc(left, func(c record.Chunk) bool { return !hasWork(c) })
		chunks += len(left)
		if err := forEach(enqueuedAtOnce, left, func(c record.Chunk) error {
			return r.producer.Regenerate(ctx, record.OpenChunk{Operation: c.Operation, Number: c.Number, Generation: c.Generation})
		}); err != nil {
			return 0, err
		}
	}
	return chunks, r.record.Leave(ctx, worker)
}

// forEach does something for each of a list, a few at a time, and joins the errors.
func forEach[T any](atOnce int, list []T, do func(T) error) error {
	var all sync.WaitGroup
	errs := make([]error, len(list))
	places := make(chan struct{}, atOnce)
	for i, x := range list {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			errs[i] = do(x)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func hasWork(c record.Chunk) bool {
	return slices.ContainsFunc(c.Desktops, func(d record.Row) bool { return d.State.Open() })
}

// lead does what one worker at a time does for all.
func (r *reconciler) lead(ctx context.Context) error {
	lead, err := r.record.Lead(ctx, r.worker, 3*r.heart.beatInterval)
	if err != nil || !lead {
		return err
	}
	if err := r.sweep(ctx); err != nil {
		return err
	}
	if n, err := r.producer.AdvanceRedrives(ctx, redriveWithin); err != nil {
		return err
	} else if n > 0 {
		r.log.Info().Int("desktops", n).Msg("redrives queued failed desktops again")
	}
	if err := r.repair(ctx); err != nil {
		return err
	}
	if now := r.now(); !now.Before(r.nextExpire) {
		n, err := r.record.Expire(ctx, now, 10_000, expireWithin)
		if err != nil {
			return err
		}
		if n > 0 {
			r.log.Info().Int("operations", n).Msg("operations whose retention is over were removed")
			return nil // there may be more
		}
		r.nextExpire = now.Add(expireInterval)
	}
	return nil
}

// repair makes the next step of the walk through the record: one a round, so that urgent
// work does not wait for it.
func (r *reconciler) repair(ctx context.Context) error {
	next, repaired, _, err := r.record.RepairStep(ctx, r.now(), r.cursor)
	if err != nil {
		return err
	}
	if r.cursor = next; repaired.Total() > 0 {
		r.log.Warn().Interface("repaired", repaired).Msg("a part of the record had been lost, or was left over; it was repaired from the operations themselves")
	}
	return nil
}

// sweep looks at some of the open chunks that no worker has in hand; those of silent
// workers are left to takeOver. Chunks whose task is active although nobody has them
// come first: seen so twice, they are stuck.
func (r *reconciler) sweep(ctx context.Context) error {
	now := r.now()
	swept, err := r.record.Sweep(ctx, now, r.offset, sweepSize, time.Second)
	logEnded(r.log, swept.Ended)
	if err != nil {
		return err
	}
	r.offset = swept.Next
	if err := r.unserved.pass(ctx, swept.Chunks, unservedWithin); err != nil {
		return err
	}
	workers, err := r.record.Workers(ctx)
	if err != nil {
		return err
	}
	names := make([]string, len(workers))
	for i, w := range workers {
		names[i] = w.ID
	}
	runs, err := r.record.InHand(ctx, names...)
	if err != nil {
		return err
	}
	held := make(map[string]bool, len(runs))
	for _, p := range runs {
		held[p.TaskID()] = true
	}
	chunks := slices.DeleteFunc(swept.Chunks, func(c record.OpenChunk) bool {
		return held[c.TaskID()] || now.Sub(c.Operation.AcceptedAt) < r.youngerThan
	})
	// Suspicious ones first, then a sample: a long queue is looked through over
	// several sweeps.
	rand.Shuffle(len(chunks), func(i, j int) { chunks[i], chunks[j] = chunks[j], chunks[i] })
	slices.SortStableFunc(chunks, func(a, b record.OpenChunk) int {
		return cmp.Compare(rank(r.stuck[a.TaskID()]), rank(r.stuck[b.TaskID()]))
	})
	stuck := map[string]bool{}
	begun := time.Now()
	for _, c := range chunks[:min(len(chunks), sweepChunks)] {
		if time.Since(begun) > lookWithin {
			break
		}
		if err := r.look(ctx, c, stuck); err != nil {
			return err
		}
	}
	r.stuck = stuck
	return nil
}

func rank(suspicious bool) int {
	if suspicious {
		return 0
	}
	return 1
}

// look finds a chunk's task and enqueues the chunk if there is none that will
// run.
func (r *reconciler) look(ctx context.Context, c record.OpenChunk, stuck map[string]bool) error {
	info, err := r.asynq.GetTaskInfo(r.record.QueueOf(c.Operation, c.Number), c.TaskID())
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound), errors.Is(err, asynq.ErrQueueNotFound):
		r.log.Warn().Str("task", c.TaskID()).Msg("an open chunk had no task; it was enqueued")
		return r.producer.Redispatch(ctx, c)
	case err != nil:
		return err
	case info.State == asynq.TaskStateArchived || info.State == asynq.TaskStateCompleted:
		return r.producer.Regenerate(ctx, c)
	case info.State == asynq.TaskStateActive:
		// In no living worker's hand: it was taken a moment ago, or asynq keeps
		// it active for ever (its own recovery misses tasks without a lease).
		// Seen twice in a row it is the latter.
		if !r.stuck[c.TaskID()] {
			stuck[c.TaskID()] = true
			return nil
		}
		r.log.Warn().Str("task", c.TaskID()).Msg("an active task was in no worker's hand; its chunk was enqueued anew")
		return r.producer.Regenerate(ctx, c)
	}
	return nil
}
