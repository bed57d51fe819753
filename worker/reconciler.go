package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redisfault"
	"github.com/detachd/detachd/tasks/spans"
)

const (
	expireInterval = time.Minute
	minAge         = 5 * time.Second  // of operations that are swept
	ringAfter      = 20 * time.Second // between two rings for a project whose operations are swept
	sweepSize      = 200              // operations in one sweep
	sweepChunks    = 500              // chunks whose tasks are looked up in one sweep
	inHandRead     = 100              // chunks of a dead worker that are read at a time
	enqueuedAtOnce = 8                // of those
	servesRounds   = 5                // between two announcements of the worker's projects
	repairRest     = 10               // rounds
	repairFirst    = 50               // steps of the walk in a round, until it has looked at all operations

	// Budgets of one round, so that no part of it delays the others for long.
	inspectBudget  = time.Second
	redriveBudget  = time.Second
	cancelBudget   = time.Second
	expireBudget   = time.Second
	unservedBudget = time.Second
)

// inspector is the part of asynq that the reconciler uses.
type inspector interface {
	GetTaskInfo(queue, id string) (*asynq.TaskInfo, error)
}

// reconciler enqueues the chunks that dead workers had in hand. On one worker at a time, the
// leader, it also looks for chunks with work left and without a task, because a producer
// died between recording and enqueuing, or the queue lost the task.
type reconciler struct {
	worker   string
	projects []string
	record   *record.Record
	producer *record.Producer
	asynq    inspector
	handled  *handled
	heart    *heart
	ranks    *ranks
	unserved *unserved
	log      zerolog.Logger
	spans    *spans.Maker
	// The constants of the same names; shorter in tests.
	minAge, ringAfter time.Duration

	offset     int // of the next sweep
	swept      record.Swept
	cursor     record.RepairCursor
	repairs    int             // in this walk
	stuck      map[string]bool // active tasks that no worker had in hand in the last sweep
	nextRepair time.Time
	nextExpire time.Time
	rung       map[string]time.Time // by project: see ringAgain
	watched    int                  // rounds
}

// repeat runs rounds at the interval of beats until ctx ends. After an error, of Redis, the
// next round tries again.
func (r *reconciler) repeat(ctx context.Context, round func(context.Context) error) {
	for {
		if err := round(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn().Err(err).Msg("reconciling failed; retrying")
		}
		if !wait(ctx, r.heart.beatInterval) {
			return
		}
	}
}

// watch corrects the list of what this worker has in hand, and enqueues what dead workers
// have on theirs.
func (r *reconciler) watch(ctx context.Context) error {
	// Redis may have lost the entry. Then others take the worker for one that serves all projects.
	if r.watched++; r.watched%servesRounds == 0 {
		if err := r.record.Serves(ctx, r.worker, r.projects...); err != nil {
			return err
		}
	}
	r.handled.popDone() // Keep takes them off
	if err := r.record.Keep(ctx, r.worker, r.handled.inHand); err != nil {
		return err
	}
	workers, err := r.rank(ctx)
	if err != nil || !r.heart.mayJudge(time.Now()) { // last, because the process may have been frozen meanwhile
		return err
	}
	for _, w := range workers {
		if w.ID != r.worker && w.Silent >= r.heart.deadAfter {
			n, err := r.takeOver(ctx, w.ID)
			if err != nil {
				return err
			}
			r.log.Warn().Str("dead_worker", w.ID).Dur("silent", w.Silent).Int("chunks", n).
				Msg("a worker died; the chunks that it had in hand were enqueued again")
			// Maybe it alone knew when other tasks and readings are due.
			if err := r.record.Ring(ctx, record.Ring{}); err != nil {
				return err
			}
		}
	}
	return nil
}

// rank lists the workers, and determines the ranks among those that beat.
func (r *reconciler) rank(ctx context.Context) ([]tasks.Worker, error) {
	workers, err := r.record.Workers(ctx)
	if err == nil {
		err = r.ranks.update(ctx, workers, r.heart.deadAfter/2)
	}
	return workers, err
}

// takeOver enqueues the chunks that a dead worker had in hand, and returns their number. It
// does no harm if the worker lives after all: its claims stay its own, and a second run of
// a chunk finds what the first has written.
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
		left = slices.DeleteFunc(left, func(c record.Chunk) bool {
			return !slices.ContainsFunc(c.Desktops, func(d record.Row) bool { return d.State.Open() })
		})
		chunks += len(left)
		if err := forEach(enqueuedAtOnce, left, func(c record.Chunk) error {
			return r.producer.Regenerate(ctx, openChunk(c))
		}); err != nil {
			return 0, err
		}
	}
	return chunks, r.record.Leave(ctx, worker)
}

func openChunk(c record.Chunk) record.OpenChunk {
	return record.OpenChunk{Operation: &c.Operation, Number: c.Number, Generation: c.Generation}
}

// forEach runs do for each of a list, atOnce at a time, and joins the errors.
func forEach[T any](atOnce int, list []T, do func(T) error) error {
	var all sync.WaitGroup
	errs := make([]error, len(list))
	slots := make(chan struct{}, atOnce)
	for i, x := range list {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			errs[i] = do(x)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// lead does the rounds of the leader. A part that fails keeps no other from its work, unless Redis is away.
func (r *reconciler) lead(ctx context.Context) error {
	if !r.heart.mayWork() {
		return nil
	}
	lead, err := r.record.Lead(ctx, r.worker, 3*r.heart.beatInterval)
	if err != nil || !lead {
		return err
	}
	var failed []error
	for _, part := range []struct {
		undone string
		do     func(context.Context) error
	}{
		{"cancellations did not go on", r.cancel},
		{"lost tasks were not looked for", r.sweep},
		{"what nobody serves was not ended", r.endUnserved},
		{"bulk retries did not go on", r.redrive},
		{"the record was not repaired", r.repair},
		{"expired operations were not removed", r.expire},
	} {
		err := part.do(ctx)
		if err == nil {
			continue
		}
		failed = append(failed, fmt.Errorf("%s: %w", part.undone, err))
		if f := redisfault.Of(err); ctx.Err() != nil || f != nil && f.Code == redisfault.Away {
			break
		}
	}
	return errors.Join(failed...)
}

func (r *reconciler) cancel(ctx context.Context) error {
	n, err := r.producer.AdvanceCancellations(ctx, cancelBudget)
	if n > 0 {
		r.log.Info().Int("desktops", n).Msg("cancellations cancelled desktops")
	}
	return err
}

func (r *reconciler) redrive(ctx context.Context) error {
	n, err := r.producer.AdvanceRedrives(ctx, redriveBudget)
	if n > 0 {
		r.log.Info().Int("desktops", n).Msg("bulk retries queued failed desktops again")
	}
	return err
}

// endUnserved lets time run out for what the sweep of the round has found and nobody serves.
func (r *reconciler) endUnserved(ctx context.Context) error {
	if len(r.swept.Open) == 0 {
		return nil
	}
	return r.unserved.pass(ctx, r.swept.Chunks, unservedBudget)
}

// expire removes operations whose retention is over.
func (r *reconciler) expire(ctx context.Context) error {
	now := time.Now()
	if now.Before(r.nextExpire) {
		return nil
	}
	n, err := r.record.Expire(ctx, now, 10_000, expireBudget)
	if err != nil {
		return err
	}
	if n > 0 {
		r.log.Info().Int("operations", n).Msg("removed operations whose retention is over")
		return nil // there may be more
	}
	r.nextExpire = now.Add(expireInterval)
	return nil
}

// repair goes on with the walk through the record. While operations are left it takes several steps:
// one that was lost from the open list waits for them. The rest has one step a round, so that urgent
// work does not wait for it. It rests after a walk that found nothing to repair.
func (r *reconciler) repair(ctx context.Context) error {
	now := time.Now()
	if now.Before(r.nextRepair) {
		return nil
	}
	for range repairFirst {
		next, repaired, ended, err := r.record.RepairStep(ctx, now, r.cursor)
		if err != nil {
			return err
		}
		if r.cursor = next; repaired.Total() > 0 {
			r.log.Warn().Interface("repaired", repaired).Msg("repaired a lost or left-over part of the record, from the operations themselves")
		}
		r.repairs += repaired.Total()
		if ended {
			if r.repairs == 0 {
				r.nextRepair = now.Add(repairRest * r.heart.beatInterval)
			}
			r.repairs = 0
			return nil
		}
		if !next.OperationsLeft() {
			return nil
		}
	}
	return nil
}

// sweep inspects the tasks of some open chunks that no worker has in hand; chunks of silent
// workers are the business of takeOver. Suspects come first: chunks whose task was active
// in the last sweep although no worker had it.
func (r *reconciler) sweep(ctx context.Context) error {
	now := time.Now()
	swept, err := r.record.Sweep(ctx, now, r.offset, sweepSize, time.Second)
	r.swept = swept
	logEnded(r.log, r.spans, swept.Ended)
	if err != nil {
		return err
	}
	r.offset = swept.Next
	if err := r.ringAgain(ctx, swept.Open, now); err != nil {
		return err
	}
	if len(swept.Open) == 0 {
		r.stuck = nil
		return nil // so that it costs one command while there is nothing to do
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
	inHand := make(map[string]bool, len(runs))
	for _, run := range runs {
		inHand[run.TaskID()] = true
	}
	chunks := slices.DeleteFunc(slices.Clone(swept.Chunks), func(c record.OpenChunk) bool {
		return inHand[c.TaskID()] || now.Sub(c.Operation.AcceptedAt) < r.minAge
	})
	// After the suspects a sample: a long queue takes several sweeps.
	rand.Shuffle(len(chunks), func(i, j int) { chunks[i], chunks[j] = chunks[j], chunks[i] })
	first := 0
	for i, c := range chunks {
		if r.stuck[c.TaskID()] {
			chunks[first], chunks[i] = chunks[i], chunks[first]
			first++
		}
	}
	stuck := map[string]bool{}
	begun := time.Now()
	for _, c := range chunks[:min(len(chunks), sweepChunks)] {
		if time.Since(begun) > inspectBudget {
			break
		}
		if err := r.inspect(ctx, c, stuck); err != nil {
			return err
		}
	}
	r.stuck = stuck
	return nil
}

// ringAgain makes workers look at the queues of projects with operations that should be at work,
// in case the ring for one was lost.
func (r *reconciler) ringAgain(ctx context.Context, open []record.Operation, now time.Time) error {
	var rings []record.Ring
	for _, op := range open {
		if op.AwaitsApproval() || now.Before(op.NotBefore) || now.Sub(op.AcceptedAt) < r.minAge || now.Sub(r.rung[op.Project]) < r.ringAfter {
			continue
		}
		r.rung[op.Project] = now
		rings = append(rings, record.Ring{Project: op.Project})
	}
	if len(rings) == 0 {
		return nil
	}
	return r.record.Ring(ctx, rings...)
}

// inspect finds the task of a chunk, and enqueues the chunk if there is none that will run.
func (r *reconciler) inspect(ctx context.Context, c record.OpenChunk, stuck map[string]bool) error {
	info, err := r.asynq.GetTaskInfo(r.record.QueueOf(*c.Operation, c.Number), c.TaskID())
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound), errors.Is(err, asynq.ErrQueueNotFound):
		r.log.Warn().Str("task", c.TaskID()).Msg("an open chunk had no task; it was enqueued")
		return r.producer.Redispatch(ctx, c)
	case err != nil:
		return err
	case info.State == asynq.TaskStateArchived || info.State == asynq.TaskStateCompleted:
		return r.producer.Regenerate(ctx, c)
	case info.State == asynq.TaskStateActive:
		// No living worker has it in hand. Either it was taken a moment ago, or asynq
		// keeps it active for ever, because its recovery misses tasks without a lease.
		// Twice in a row means the latter.
		if !r.stuck[c.TaskID()] {
			stuck[c.TaskID()] = true
			return nil
		}
		r.log.Warn().Str("task", c.TaskID()).Msg("no worker had an active task in hand; its chunk was enqueued again")
		return r.producer.Regenerate(ctx, c)
	}
	return nil
}
