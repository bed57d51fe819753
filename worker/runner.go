package worker

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/tasks/record"
)

// Times of runners; others in tests.
const (
	// idleAfter is how long a project is served after its last work, or the last ring: longer than
	// record.RingLasts, also than that of earlier versions, as work may be queued without a ring
	// for that long.
	idleAfter = 25 * time.Second
	// dueSoon is how far away work may be for which a project is still served. asynq takes a
	// task up to a second early.
	dueSoon = 5 * time.Second
	// headStart is how long urgent work that makes a project be served has the worker's CPU before
	// the servers of the other queues start.
	headStart = 20 * time.Millisecond
	// leftAfter is how long the first worker has to take what was rung for, before the others look
	// whether it is left.
	leftAfter = 100 * time.Millisecond
	// lateAfter is how late work has to be for another worker to take it for left, times its rank.
	lateAfter = 5 * time.Second
	// helpAbove is how many tasks have to be left for each further worker that begins.
	helpAbove = 20
)

// runner serves a project while it has work: it takes tasks from the project's queues, and
// opens the gate of its follower. An idle project costs nothing.
//
// On the first worker (see ranks) it begins when the bell rings for the project or when work is
// due that it has seen. Elsewhere it looks then, a moment later, and begins if the work was left:
// the first may have its hands full, or not run. It looks again when the ring lasts no more, for
// what was queued without one.
//
// It ends when the project was idle for idleAfter and a last look finds nothing that is due soon;
// what is due later sets a timer. What comes after that look has begun makes it look again, and so
// does the end of the servers: a task may have slipped in, or gone back to its queue.
type runner struct {
	project   string
	looks     *reader[record.Work] // of all runners
	log       zerolog.Logger
	newServer func(record.Queue) *queueServer
	gate      *gate
	rank      func() int // how many workers come before this one
	mayWork   func() bool
	// The constants of the same names; others in tests.
	idleAfter, dueSoon, leftAfter, lateAfter time.Duration

	signal chan struct{} // holds one token after a change of the fields below, of the rank or of mayWork

	mu       sync.Mutex
	wanted   bool      // off: begin; on: look again before the end
	urgent   bool      // off: begin with the urgent queue
	due      time.Time // off: when work is due; zero: not known
	lookAt   time.Time // off: when to look; zero: not
	lookNext time.Time // when to look after that, or after the end
	lastWork time.Time // or the last ring, on the first worker
	inHand   int       // handlers
	on       []*queueServer
	ending   sync.WaitGroup // servers that are shutting down
}

// queuesOf are a project's queues, in the order in which they are served.
var queuesOf = []record.Queue{record.UrgentQueue, record.SmallQueue, record.BulkQueue}

// ring makes the project be served, or looked at, and the server of a queue look into it at once.
func (r *runner) ring(q record.Queue) {
	rank, now := r.rank(), time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if rank == 0 || r.on != nil {
		r.wanted, r.urgent = true, r.on == nil && (r.urgent || q == record.UrgentQueue)
	} else {
		r.lookAt = earliest(r.lookAt, now.Add(r.leftAfter))
	}
	if rank == 0 {
		r.lastWork = now
	} else {
		r.lookNext = now.Add(record.RingLasts + r.leftAfter)
	}
	for _, s := range r.on {
		s.stir()
		if s.queue == q {
			offer(s.rung, struct{}{})
		}
	}
	offer(r.signal, struct{}{})
}

// dueAt makes the project be served, or looked at, when work is due that the caller has seen.
func (r *runner) dueAt(t time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.on != nil {
		r.wanted = true
		return
	}
	if r.due.IsZero() || t.Before(r.due) {
		r.due = t
		offer(r.signal, struct{}{})
	}
}

// mustLook reports whether the caller has to look for work now. Otherwise the runner looks again:
// before its end if the project is served, and in a moment if other workers come first.
func (r *runner) mustLook() bool {
	rank := r.rank()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.on != nil:
		r.wanted = true
		return false
	case rank > 0:
		r.lookAt = earliest(r.lookAt, time.Now().Add(r.leftAfter))
		offer(r.signal, struct{}{})
		return false
	}
	return true
}

// begin and end frame a handler of the project.
func (r *runner) begin() { r.count(1) }
func (r *runner) end()   { r.count(-1) }

func (r *runner) count(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inHand += n
	r.lastWork = time.Now()
}

// run serves the project whenever it has work, until ctx ends. Then stop has to follow.
func (r *runner) run(ctx context.Context) {
	for r.rest(ctx) {
		if err := r.serve(ctx); err != nil {
			r.log.Error().Err(err).Msg("the project's queues cannot be served; retrying")
			if !wait(ctx, time.Second) {
				return
			}
			continue
		}
		for !r.idle(ctx) {
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// rest waits for work; false: ctx has ended.
func (r *runner) rest(ctx context.Context) bool {
	for ctx.Err() == nil {
		rank := r.rank()
		r.mu.Lock()
		wanted, beginAt, lookAt := r.wanted, time.Time{}, r.lookAt
		switch {
		case r.due.IsZero():
		case rank == 0:
			beginAt = r.due.Add(-time.Second) // asynq takes it a second early
		default:
			lookAt = earliest(lookAt, r.due.Add(r.lateFor(rank)))
		}
		r.mu.Unlock()
		now := time.Now()
		if !r.mayWork() {
			wanted, beginAt, lookAt = false, time.Time{}, time.Time{}
		}
		if wanted || !beginAt.IsZero() && !beginAt.After(now) {
			return true
		}
		if !lookAt.IsZero() && !lookAt.After(now) {
			r.lookWhile(ctx, rank)
			continue
		}
		var timer <-chan time.Time
		if next := earliest(beginAt, lookAt); !next.IsZero() {
			timer = time.After(next.Sub(now))
		}
		select {
		case <-ctx.Done():
		case <-timer:
		case <-r.signal:
		}
	}
	return false
}

// lookWhile looks for work while the project is not served, and notes what to do next. What comes
// meanwhile counts, too.
func (r *runner) lookWhile(ctx context.Context, rank int) {
	r.mu.Lock()
	r.due, r.lookAt, r.lookNext = time.Time{}, r.lookNext, time.Time{}
	r.mu.Unlock()
	work, err := r.look(ctx)
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil:
		r.lookAt = earliest(r.lookAt, now.Add(time.Second))
	case r.left(work, rank, now):
		r.wanted = true
	case work.Waiting > 0:
		r.due = earliest(r.due, now) // those that come before this worker suffice, for now
	default:
		r.due = earliest(r.due, work.Due)
	}
}

// left reports whether work is left to a worker of a rank.
func (r *runner) left(w record.Work, rank int, now time.Time) bool {
	switch {
	case rank == 0:
		return !w.Due.IsZero() && w.Due.Before(now.Add(r.dueSoon))
	case w.Waiting > 0:
		return w.Waiting > (rank-1)*helpAbove
	}
	return !w.Due.IsZero() && !now.Before(w.Due.Add(r.lateFor(rank)))
}

// lateFor is how late work has to be for a worker of a rank to take it for left.
func (r *runner) lateFor(rank int) time.Duration { return time.Duration(rank) * r.lateAfter }

// earliest returns the earlier of two times, of which the zero one does not count.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// serve starts a server for each queue.
func (r *runner) serve(ctx context.Context) error {
	r.mu.Lock()
	urgent := r.urgent
	r.wanted, r.urgent, r.due, r.lookAt, r.lastWork = false, false, time.Time{}, time.Time{}, time.Now()
	r.mu.Unlock()
	for _, q := range queuesOf {
		if err := r.start(q); err != nil {
			return err
		}
		if q == record.UrgentQueue && urgent {
			wait(ctx, headStart)
		}
	}
	r.gate.open()
	return nil
}

func (r *runner) start(q record.Queue) error {
	s := r.newServer(q)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := s.start(); err != nil { // asynq reports only a server that was started before
		r.wanted = true
		r.ending.Go(r.retire())
		return err
	}
	r.on = append(r.on, s)
	return nil
}

// idle waits until the project may be idle, and ends the servers if a look confirms it, or if the
// worker may not work any more.
func (r *runner) idle(ctx context.Context) bool {
	r.mu.Lock()
	left := time.Until(r.lastWork.Add(r.idleAfter))
	r.mu.Unlock()
	if !wait(ctx, left) {
		return false
	}
	r.mu.Lock()
	if !r.mayWork() { // what is in hand goes on
		r.wanted = true
		r.gate.close()
		r.ending.Go(r.retire())
		r.mu.Unlock()
		return true
	}
	if r.inHand > 0 || time.Since(r.lastWork) < r.idleAfter {
		if r.inHand > 0 {
			r.lastWork = time.Now()
		}
		r.mu.Unlock()
		return false
	}
	r.wanted = false
	r.mu.Unlock()
	work, err := r.look(ctx)
	rank := r.rank()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || r.wanted || r.inHand > 0 || r.left(work, rank, time.Now()) {
		r.lastWork = time.Now()
		return false
	}
	r.due, r.lookAt, r.lookNext = work.Due, r.lookNext, time.Time{}
	r.gate.close()
	over := r.retire()
	r.ending.Go(func() {
		over()
		if work, err := r.look(ctx); err != nil {
			r.ring("")
		} else if !work.Due.IsZero() {
			r.dueAt(work.Due)
		}
	})
	return true
}

func (r *runner) look(ctx context.Context) (record.Work, error) {
	work, err := r.looks.read(ctx, []string{r.project})
	return work[r.project], err
}

// retire forgets the servers. The function that it returns ends them.
func (r *runner) retire() (end func()) {
	servers := r.on
	r.on = nil
	return func() {
		stopAll(servers)
		shutDown(servers)
	}
}

// stop makes a runner that runs no more take no more tasks, and shutDown ends its servers.
func (r *runner) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	stopAll(r.on)
}

func (r *runner) shutDown() {
	shutDown(r.on)
	r.ending.Wait()
}
