package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/detachd/detachd/cmd/internal/drill"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/redistest"
)

// event is what may happen to a set, or to one of its primaries. bulk is a large
// operation that is under way. Each event leaves the set whole.
type event struct {
	on string // that kind of set only; empty: any
	do func(e *env, ctx context.Context, primary *redistest.Server, bulk tasks.Operation) error
}

var events = map[string]event{
	"kill":    {do: (*env).kill},
	"cut":     {do: (*env).cut},
	"freeze":  {do: (*env).freeze},
	"restart": {do: (*env).restart},
	"migrate": {do: (*env).migrate, on: "cluster"},
}

// period is an event that happened.
type period struct {
	name     string
	at, over time.Time // over: the set is whole again
}

// happen makes all events happen, each while a large operation is under way.
func (e *env) happen(ctx context.Context) error {
	for _, name := range e.Events {
		bulk, err := e.submit(ctx, e.rand, e.Bulk)
		if err != nil {
			return err
		}
		if err := drill.Wait(ctx, e.upTo(1500*time.Millisecond)); err != nil {
			return err
		}
		primaries, err := e.set.Primaries(ctx)
		if err != nil {
			return err
		}
		p := period{name: name, at: time.Now()}
		if err := events[name].do(e, ctx, primaries[e.rand.IntN(len(primaries))], bulk); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := e.set.Await(ctx); err != nil {
			return fmt.Errorf("after %s: %w", name, err)
		}
		p.over = time.Now()
		e.verdict.Events = append(e.verdict.Events, p)
		fmt.Fprintf(e.Progress, "%s, %s: whole again after %.1f s\n", e.Kind, name, p.over.Sub(p.at).Seconds())
		if err := drill.Wait(ctx, time.Second+e.upTo(time.Second)); err != nil {
			return err
		}
	}
	return nil
}

func (e *env) upTo(d time.Duration) time.Duration { return time.Duration(e.rand.Int64N(int64(d))) }

// kill ends a primary as a crash would, and starts it again when another has taken its
// place.
func (e *env) kill(ctx context.Context, primary *redistest.Server, _ tasks.Operation) error {
	primary.Kill()
	if err := e.set.AwaitFailover(ctx, primary); err != nil {
		return err
	}
	// Not before: the dead one would tell clients where the other is.
	if err := e.answered(ctx); err != nil {
		return err
	}
	return primary.Restart()
}

// answered waits until an operation that is submitted from now on is acknowledged.
func (e *env) answered(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, e.Patience, fmt.Errorf("nothing was acknowledged within %s of the failover", e.Patience))
	defer cancel()
	_, err := e.submit(ctx, e.rand, 1)
	return err
}

// cut separates a primary, which goes on answering, from its replicas for some seconds,
// and then ends it as a crash would: what it was given in between is lost.
func (e *env) cut(ctx context.Context, primary *redistest.Server, bulk tasks.Operation) error {
	if err := e.set.Cut(ctx, primary); err != nil {
		return err
	}
	if err := drill.Wait(ctx, 2*time.Second+e.upTo(2*time.Second)); err != nil {
		return err
	}
	return e.kill(ctx, primary, bulk)
}

// freeze stops a primary for so long that another takes its place, and lets it go on
// as if it was still primary.
func (e *env) freeze(ctx context.Context, primary *redistest.Server, _ tasks.Operation) error {
	if err := primary.Freeze(); err != nil {
		return err
	}
	if err := drill.Wait(ctx, 5*time.Second+e.upTo(5*time.Second)); err != nil {
		return err
	}
	return primary.Thaw()
}

// restart shuts all Redis processes down and starts them again.
func (e *env) restart(ctx context.Context, _ *redistest.Server, _ tasks.Operation) error {
	e.set.Stop()
	if err := drill.Wait(ctx, e.upTo(3*time.Second)); err != nil {
		return err
	}
	return e.set.Restart()
}

// migrate moves the slot of the large operation to another primary, key by key,
// while it is worked on.
func (e *env) migrate(ctx context.Context, _ *redistest.Server, bulk tasks.Operation) error {
	key := "{" + bulk.ID + "}"
	from, err := e.set.Primary(ctx, key)
	if err != nil {
		return err
	}
	list, err := e.set.Primaries(ctx)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(n *redistest.Server) bool { return n == from })
	return e.set.Migrate(ctx, key, list[e.rand.IntN(len(list))], 100*time.Millisecond)
}
