package worker

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/tasks/record"
)

// Times of runners; shorter in tests.
const (
	// idleAfter is how long a project is served after its last work, or the last ring: longer
	// than record.RingLasts, as work may be queued without a ring for that long.
	idleAfter = time.Minute
	// dueSoon is how far away work may be for which a project is still served. asynq takes a
	// task up to a second early.
	dueSoon = 5 * time.Second
)

// runner serves a project while it has work: it takes tasks from the project's queues, and
// opens the gate of its follower. An idle project costs nothing.
//
// It begins when the bell rings for the project or when work is due that it has seen. It ends
// when the project was idle for idleAfter and a last look finds nothing that is due soon; what
// is due later sets a timer. What comes after that look has begun makes it look again, and so
// does the end of the servers: a task may have slipped in, or gone back to its queue.
type runner struct {
	project   string
	record    *record.Record
	log       zerolog.Logger
	newServer func(record.Queue) *queueServer
	gate      *gate
	// The constants of the same names; shorter in tests.
	idleAfter, dueSoon time.Duration

	signal chan struct{} // holds one token after a change of the fields below

	mu       sync.Mutex
	wanted   bool      // off: begin; on: look again before the end
	due      time.Time // off: when to begin; zero: not known
	lastWork time.Time // or the last ring
	inHand   int       // handlers
	on       []*queueServer
	ending   sync.WaitGroup // servers that are shutting down
}

// queuesOf are a project's queues, in the order in which they are served.
var queuesOf = []record.Queue{record.UrgentQueue, record.SmallQueue, record.BulkQueue}

// ring begins to serve the project, and makes the server of a queue look into it at once.
func (r *runner) ring(q record.Queue) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wanted, r.lastWork = true, time.Now()
	for _, s := range r.on {
		if s.queue == q {
			offer(s.rung, struct{}{})
		}
	}
	offer(r.signal, struct{}{})
}

// dueAt makes the project be served when work is due that the caller has seen.
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

// asleep reports whether the project is not served. If it is, its end looks again for work.
func (r *runner) asleep() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.on != nil {
		r.wanted = true
	}
	return r.on == nil
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
		if err := r.serve(); err != nil {
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
	for {
		r.mu.Lock()
		wanted, due := r.wanted, r.due
		r.mu.Unlock()
		var timer <-chan time.Time
		if !due.IsZero() {
			until := time.Until(due.Add(-time.Second)) // asynq takes it a second early
			wanted = wanted || until <= 0
			timer = time.After(until)
		}
		if wanted {
			return ctx.Err() == nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-timer:
		case <-r.signal:
		}
	}
}

// serve starts a server for each queue.
func (r *runner) serve() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wanted, r.due, r.lastWork = false, time.Time{}, time.Now()
	for _, q := range queuesOf {
		s := r.newServer(q)
		if err := s.start(); err != nil { // asynq reports only a server that was started before
			r.wanted = true
			r.ending.Go(r.retire())
			return err
		}
		r.on = append(r.on, s)
	}
	r.gate.open()
	return nil
}

// idle waits until the project may be idle, and ends the servers if a look confirms it.
func (r *runner) idle(ctx context.Context) bool {
	r.mu.Lock()
	left := time.Until(r.lastWork.Add(r.idleAfter))
	r.mu.Unlock()
	if !wait(ctx, left) {
		return false
	}
	r.mu.Lock()
	if r.inHand > 0 || time.Since(r.lastWork) < r.idleAfter {
		if r.inHand > 0 {
			r.lastWork = time.Now()
		}
		r.mu.Unlock()
		return false
	}
	r.wanted = false
	r.mu.Unlock()
	due, err := r.look(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || r.wanted || r.inHand > 0 || !due.IsZero() && time.Until(due) < r.dueSoon {
		r.lastWork = time.Now()
		return false
	}
	r.due = due
	r.gate.close()
	over := r.retire()
	r.ending.Go(func() {
		over()
		if due, err := r.look(ctx); err != nil {
			r.ring("")
		} else if !due.IsZero() {
			r.dueAt(due)
		}
	})
	return true
}

func (r *runner) look(ctx context.Context) (time.Time, error) {
	due, err := r.record.Due(ctx, []string{r.project})
	if err != nil {
		return time.Time{}, err
	}
	return due[0], nil
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
