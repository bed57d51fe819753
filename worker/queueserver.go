package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/tasks/record"
)

// queueServer takes the tasks of one queue. It serves once: an asynq.Server cannot be started
// again.
type queueServer struct {
	queue   record.Queue
	asynq   *asynq.Server
	handler asynq.Handler
	rung    chan struct{} // holds one token when the queue is to be looked into at once
	over    chan struct{} // closed when no more tasks are taken
	stirred atomic.Int64  // when a task was last taken, or the bell rang, in ns
}

func (s *queueServer) start() error {
	s.stir()
	return s.asynq.Start(s.handler)
}

// stir makes the queue be polled often for a while: what follows a ring may not be rung for.
func (s *queueServer) stir() { s.stirred.Store(time.Now().UnixNano()) }

// quiet reports whether nothing was queued lately without a ring.
func (s *queueServer) quiet() bool {
	return time.Since(time.Unix(0, s.stirred.Load())) > record.RingLasts+time.Second
}

// stopAll makes servers take no more tasks.
func stopAll(servers []*queueServer) {
	for _, s := range servers {
		close(s.over)
		s.asynq.Stop()
	}
}

// shutDown ends servers when their handlers have ended, or at the latest after asynq's
// ShutdownTimeout.
func shutDown(servers []*queueServer) {
	var all sync.WaitGroup
	for _, s := range servers {
		all.Go(s.asynq.Shutdown)
	}
	all.Wait()
}

// emptyPoll is asynq's own sleep after it found its queue empty; bellRedis does the waiting.
const emptyPoll = time.Millisecond

// quietPolls is how much less often a quiet queue is polled. A ring finds its work at once, and so
// does what becomes due; this is for what was queued by an earlier version, which rings less often.
const quietPolls = 10

// bellRedis is the client of the server of one queue. When asynq finds the queue empty it hears
// so only after the poll interval, or when the bell has rung for the queue.
type bellRedis struct {
	pacedRedis
	server *queueServer
	poll   time.Duration
}

// EvalSha also runs the script that takes a task, the only one with the key of paused queues, and
// the one that makes tasks wait that are due. The wait comes after the script, because asynq
// computes the end of the task's lease before.
func (r bellRedis) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	cmd := r.pacedRedis.EvalSha(ctx, sha, keys, args...)
	if len(keys) < 2 {
		return cmd
	}
	switch takes, now := strings.HasSuffix(keys[1], ":paused"), strings.HasSuffix(keys[1], ":pending"); {
	case takes && errors.Is(cmd.Err(), redis.Nil):
		r.rest()
	case takes && cmd.Err() == nil:
		r.server.stir()
	case now && isLater(keys[0]):
		if n, err := cmd.Int(); err == nil && n > 0 {
			r.server.stir()
			offer(r.server.rung, struct{}{})
		}
	}
	return cmd
}

func isLater(key string) bool {
	return strings.HasSuffix(key, ":scheduled") || strings.HasSuffix(key, ":retry")
}

// rest waits for the next poll.
func (r bellRedis) rest() {
	poll := r.poll
	if r.server.quiet() {
		poll *= quietPolls
	}
	timer := time.NewTimer(poll/2 + rand.N(poll))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.server.rung:
	case <-r.server.over:
	}
}

// gate lets a loop through while it is open.
type gate struct {
	mu     sync.Mutex
	opened chan struct{} // closed while the gate is open
}

func newGate() *gate { return &gate{opened: make(chan struct{})} }

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.isOpen() {
		close(g.opened)
	}
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isOpen() {
		g.opened = make(chan struct{})
	}
}

func (g *gate) isOpen() bool {
	select {
	case <-g.opened:
		return true
	default:
		return false
	}
}

// pass waits until the gate is open; false if ctx ended first.
func (g *gate) pass(ctx context.Context) bool {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	select {
	case <-opened:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
