package worker

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/tasks"
)

// Times of the reconciler. A worker that is killed is silent for deadAfter, is
// noticed within another beat, and its chunks are in the queue again: well
// within 15 s.
const (
	beatInterval   = 2 * time.Second
	deadAfter      = 7 * time.Second
	expireInterval = time.Minute
	sweepSize      = 200 // operations looked at in one sweep
	sweepChunks    = 500 // chunks whose tasks are looked up in one sweep
	youngerThan    = 5 * time.Second
	redriveWithin  = time.Second // of a beat, for all redrives
	expireWithin   = time.Second
	unservedWithin = time.Second
	repairWithin   = 200 * time.Millisecond
)

// inspector is what the reconciler asks asynq.
type inspector interface {
	GetTaskInfo(queue, id string) (*asynq.TaskInfo, error)
}

// reconciler says that the worker is alive, takes up what dead workers had in
// hand, and, on one worker at a time, looks for chunks with work left whose
// task is nowhere: a producer died between recording and enqueuing, or the
// queue lost it.
type reconciler struct {
	worker   string
	projects []string
	record   *tasks.Record
	producer *tasks.Producer
	asynq    inspector
	handled  *handled
	unserved *unserved
	log      zerolog.Logger
	now      func() time.Time
	// The times of the constants of the same names; tests hurry.
	beatInterval, deadAfter, youngerThan time.Duration

	offset     int // where the next sweep goes on
	cursor     tasks.RepairCursor
	stuck      map[string]bool // active tasks that were in no worker's hand at the last look
	nextExpire time.Time
}

// run beats until ctx ends. Errors are those of Redis; the next beat tries
// again.
func (r *reconciler) run(ctx context.Context) {
	for {
		if err := r.tick(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn().Err(err).Msg("reconciling failed; trying again")
		}
		if !wait(ctx, r.beatInterval) {
			return
		}
	}
}

func (r *reconciler) tick(ctx context.Context) error {
	if err := errors.Join(r.record.Beat(ctx, r.worker), r.record.Serves(ctx, r.worker, r.projects...)); err != nil {
		return err
	}
	done := r.handled.take()
	if err := r.record.End(ctx, r.worker, done); err != nil {
		r.handled.add(done...)
		return err
	}
	alive, err := r.takeOver(ctx)
	if err != nil {
		return err
	}
	lead, err := r.record.Lead(ctx, r.worker, 3*r.beatInterval)
	if err != nil || !lead {
		return err
	}
	if err := r.sweep(ctx, alive); err != nil {
		return err
	}
	if n, err := r.producer.AdvanceRedrives(ctx, redriveWithin); err != nil {
		return err
	} else if n > 0 {
		r.log.Info().Int("desktops", n).Msg("failed desktops were taken up again by redrives")
	}
	if err := r.repair(ctx); err != nil {
		return err
	}
	if now := r.now(); !now.Before(r.nextExpire) {
		r.nextExpire = now.Add(expireInterval)
		n, err := r.record.Expire(ctx, now, 10_000, expireWithin)
		if err != nil {
			return err
		}
		if n > 0 {
			r.log.Info().Int("operations", n).Msg("operations whose retention is over were removed")
		}
	}
	return nil
}

// repair goes on with the walk through the record for a while.
func (r *reconciler) repair(ctx context.Context) error {
	for begun := time.Now(); time.Since(begun) < repairWithin; {
		next, repaired, ended, err := r.record.RepairStep(ctx, r.now(), r.cursor)
		if err != nil {
			return err
		}
		if r.cursor = next; repaired.Total() > 0 {
			r.log.Warn().Interface("repaired", repaired).Msg("a part of the record had been lost, or was left over; it was repaired from the operations themselves")
		}
		if ended {
			return nil
		}
	}
	return nil
}

// takeOver enqueues anew what dead workers had in hand, and returns the workers
// that live.
func (r *reconciler) takeOver(ctx context.Context) (alive []string, err error) {
	workers, err := r.record.Workers(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range workers {
		if w.Silent < r.deadAfter || w.ID == r.worker {
			alive = append(alive, w.ID)
			continue
		}
		chunks, err := r.record.InHand(ctx, w.ID)
		if err != nil {
			return nil, err
		}
		for _, p := range chunks {
			c, err := r.record.Chunk(ctx, p.Operation, p.Chunk)
			if errors.Is(err, tasks.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if c.Generation != p.Generation || !hasWork(c) {
				continue
			}
			if err := r.producer.Regenerate(ctx, tasks.OpenChunk{Operation: c.Operation, Number: c.Number, Generation: c.Generation}); err != nil {
				return nil, err
			}
		}
		if err := r.record.Leave(ctx, w.ID); err != nil {
			return nil, err
		}
		r.log.Warn().Str("dead_worker", w.ID).Dur("silent", w.Silent).Int("chunks", len(chunks)).Msg("a worker died; what it had in hand was taken up")
	}
	return alive, nil
}

func hasWork(c tasks.Chunk) bool {
	for _, d := range c.Desktops {
		if d.State.Open() {
			return true
		}
	}
	return false
}

// sweep looks at some of the open chunks that no living worker has in hand.
// Those that are active although nobody has them come first: seen so twice,
// they are stuck.
func (r *reconciler) sweep(ctx context.Context, alive []string) error {
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
	held := map[string]bool{}
	for _, w := range alive {
		ps, err := r.record.InHand(ctx, w)
		if err != nil {
			return err
		}
		for _, p := range ps {
			held[p.TaskID()] = true
		}
	}
	chunks := slices.DeleteFunc(swept.Chunks, func(c tasks.OpenChunk) bool {
		return held[c.TaskID()] || now.Sub(c.Operation.AcceptedAt) < r.youngerThan
	})
	// Suspicious ones first, then a sample: a long queue is looked through over
	// several sweeps.
	rand.Shuffle(len(chunks), func(i, j int) { chunks[i], chunks[j] = chunks[j], chunks[i] })
	slices.SortStableFunc(chunks, func(a, b tasks.OpenChunk) int {
		return cmp.Compare(rank(r.stuck[a.TaskID()]), rank(r.stuck[b.TaskID()]))
	})
	stuck := map[string]bool{}
	for _, c := range chunks[:min(len(chunks), sweepChunks)] {
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
func (r *reconciler) look(ctx context.Context, c tasks.OpenChunk, stuck map[string]bool) error {
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
