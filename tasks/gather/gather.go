// Package gather lets callers that come at the same time share a round trip.
package gather

import (
	"context"
	"sync"
)

// Group does things together: while as many rounds as allowed are under way, what comes is gathered
// for the next one. Alone a thing waits for nothing. Together must be set. The fields must not change
// after the first Do.
type Group[T any] struct {
	// Together does some things, in the order in which they came, and leaves the results in them.
	// Each of the callers gets its error. ctx has the values of the context of one of the callers,
	// and does not end.
	Together func(ctx context.Context, some []*T) error
	// Size of a thing; nil: each has size 1.
	Size func(*T) int
	// Most is the largest size of a round, but one thing alone may be larger; 0: no limit.
	Most int
	// AtOnce is the number of rounds that may be under way; 0 is 1.
	AtOnce int

	mu      sync.Mutex
	waiting []*thing[T]
	rounds  int
}

type thing[T any] struct {
	of   *T
	done chan error // gets one
}

// Do returns when x was done, with others or alone. If ctx ends first, it returns the cause; x is
// done all the same, so the caller must not look at it any more.
func (g *Group[T]) Do(ctx context.Context, x *T) error {
	t := &thing[T]{x, make(chan error, 1)}
	g.mu.Lock()
	g.waiting = append(g.waiting, t)
	if g.rounds < max(1, g.AtOnce) {
		g.rounds++
		go g.run(context.WithoutCancel(ctx))
	}
	g.mu.Unlock()
	select {
	case err := <-t.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run makes rounds until nothing waits.
func (g *Group[T]) run(ctx context.Context) {
	for {
		some := g.next()
		if len(some) == 0 {
			return
		}
		xs := make([]*T, len(some))
		for i, t := range some {
			xs[i] = t.of
		}
		err := g.Together(ctx, xs)
		for _, t := range some {
			t.done <- err
		}
	}
}

// next takes what the next round does. If nothing waits, the caller makes no more rounds.
func (g *Group[T]) next() []*thing[T] {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, size := 0, 0
	for ; n < len(g.waiting); n++ {
		of := 1
		if g.Size != nil {
			of = g.Size(g.waiting[n].of)
		}
		if size += of; g.Most > 0 && size > g.Most && n > 0 {
			break
		}
	}
	if n == 0 {
		g.rounds--
	}
	some := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	return some
}
