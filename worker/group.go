package worker

import (
	"context"
	"runtime/pprof"
	"sync"
)

// runnable is a goroutine of the worker; run returns when its context ends.
type runnable struct {
	name string // in goroutine profiles
	run  func(ctx context.Context)
}

// group is goroutines that start and end together.
type group struct {
	end     context.CancelFunc // nil: not started
	running sync.WaitGroup
}

func (g *group) start(ctx context.Context, list []runnable) {
	ctx, g.end = context.WithCancel(ctx)
	for _, r := range list {
		g.running.Go(func() { pprof.Do(ctx, pprof.Labels("goroutine", r.name), r.run) })
	}
}

// stop ends the goroutines and waits for them.
func (g *group) stop() {
	if g.end != nil {
		g.end()
	}
	g.running.Wait()
}
