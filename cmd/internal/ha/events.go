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

// event is what may happen to a set. bulk is a large operation that is under way.
// Each event leaves the set whole.
type event struct {
	on string // that kind of set only; empty: any
	do func(s *stage, ctx context.Context, bulk tasks.Operation) error
}

var events = map[string]event{
	"kill":    {do: (*stage).kill},
	"cut":     {do: (*stage).cut},
	"freeze":  {do: (*stage).freeze},
	"restart": {do: (*stage).restart},
	"migrate": {do: (*stage).migrate, on: "cluster"},
}

// period is an event that happened.
type period struct {
	name     string
	at, over time.Time // over: the set is whole again
}

// happen lets all events happen, each when a large operation is under way.
func (s *stage) happen(ctx context.Context) error {
	for _, name := range s.Events {
		bulk, err := s.hand(ctx, s.rand, s.Bulk)
		if err != nil {
			return err
		}
		if err := drill.Wait(ctx, s.upTo(1500*time.Millisecond)); err != nil {
			return err
		}
		e := period{name: name, at: time.Now()}
		if err := events[name].do(s, ctx, bulk); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := s.set.Await(ctx); err != nil {
			return fmt.Errorf("after %s: %w", name, err)
		}
		if err := s.running(); err != nil {
			return err
		}
		e.over = time.Now()
		s.verdict.Events = append(s.verdict.Events, e)
		fmt.Fprintf(s.Progress, "%s, %s: whole again after %.1f s\n", s.Kind, name, e.over.Sub(e.at).Seconds())
		if err := drill.Wait(ctx, time.Second+s.upTo(time.Second)); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) upTo(d time.Duration) time.Duration { return time.Duration(s.rand.Int64N(int64(d))) }

// some draws a primary.
func (s *stage) some(ctx context.Context) (*redistest.Server, error) {
	list, err := s.set.Primaries(ctx)
	if err != nil {
		return nil, err
	}
	return list[s.rand.IntN(len(list))], nil
}

// kill ends a primary as a crash would, and starts it again when all goes on without
// it.
func (s *stage) kill(ctx context.Context, _ tasks.Operation) error {
	primary, err := s.some(ctx)
	if err != nil {
		return err
	}
	return s.replace(ctx, primary)
}

func (s *stage) replace(ctx context.Context, primary *redistest.Server) error {
	primary.Kill()
	if err := s.set.AwaitFailover(ctx, primary); err != nil {
		return err
	}
	// Only now: the dead one would tell clients where the other is.
	if err := s.answered(ctx); err != nil {
		return err
	}
	return primary.Restart()
}

// answered waits until an operation that is posted from now on is acknowledged.
func (s *stage) answered(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.Patience, fmt.Errorf("nothing was acknowledged within %s of the failover", s.Patience))
	defer cancel()
	_, err := s.hand(ctx, s.rand, 1)
	return err
}

// cut has a primary without replicas for some seconds, in which it answers, and then
// ends it as a crash would: what it was given in between is nowhere.
func (s *stage) cut(ctx context.Context, _ tasks.Operation) error {
	primary, err := s.some(ctx)
	if err != nil {
		return err
	}
	if err := s.set.Cut(ctx, primary); err != nil {
		return err
	}
	if err := drill.Wait(ctx, 2*time.Second+s.upTo(2*time.Second)); err != nil {
		return err
	}
	return s.replace(ctx, primary)
}

// freeze stops a primary for so long that another takes its place, and lets it go on
// as if it was still primary.
func (s *stage) freeze(ctx context.Context, _ tasks.Operation) error {
	primary, err := s.some(ctx)
	if err != nil {
		return err
	}
	if err := primary.Freeze(); err != nil {
		return err
	}
	if err := drill.Wait(ctx, 5*time.Second+s.upTo(5*time.Second)); err != nil {
		return err
	}
	return primary.Thaw()
}

// restart ends every process of Redis in good order and starts all of them again.
func (s *stage) restart(ctx context.Context, _ tasks.Operation) error {
	s.set.Stop()
	if err := drill.Wait(ctx, s.upTo(3*time.Second)); err != nil {
		return err
	}
	return s.set.Restart()
}

// migrate moves the slot of the large operation to another primary, key by key,
// while it is worked on.
func (s *stage) migrate(ctx context.Context, bulk tasks.Operation) error {
	key := "{" + bulk.ID + "}"
	from, err := s.set.Primary(ctx, key)
	if err != nil {
		return err
	}
	list, err := s.set.Primaries(ctx)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(n *redistest.Server) bool { return n == from })
	return s.set.Migrate(ctx, key, list[s.rand.IntN(len(list))], 100*time.Millisecond)
}
