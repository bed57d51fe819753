package server

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// waitFor returns when n wait for a turn.
func (t *Turns) waitFor(n int) {
	for {
		t.mu.Lock()
		there := len(t.waiting)
		t.mu.Unlock()
		if there == n {
			return
		}
		runtime.Gosched()
	}
}

func TestNoKeyTakesAllTurns(t *testing.T) {
	t.Parallel()
	turns := NewTurns(4)
	var held []func()
	for range 2 {
		release, ok := turns.try("greedy")
		require.True(t, ok)
		held = append(held, release)
	}
	_, ok := turns.try("greedy")
	require.False(t, ok, "its half")
	for _, key := range []string{"other", "third"} {
		release, ok := turns.try(key)
		require.True(t, ok)
		held = append(held, release)
	}
	_, ok = turns.try("fourth")
	require.False(t, ok, "all are taken")

	got := make(chan string)
	var ended sync.WaitGroup
	for i, key := range []string{"greedy", "other", "fourth"} {
		ended.Go(func() {
			release, err := turns.Acquire(context.Background(), key)
			if err == nil {
				got <- key
				release()
			}
		})
		turns.waitFor(i + 1)
	}
	held[0]()
	require.Equal(t, "fourth", <-got, "it has none, and the other two have one each")
	require.Equal(t, "greedy", <-got, "the first of those with as many")
	require.Equal(t, "other", <-got)
	ended.Wait()
	for _, release := range held[1:] {
		release()
	}
	require.Zero(t, turns.taken)
	require.Empty(t, turns.byKey)
}

func TestWhoStopsWaitingTakesNoTurn(t *testing.T) {
	t.Parallel()
	turns := NewTurns(2)
	first, err := turns.Acquire(t.Context(), "a")
	require.NoError(t, err)
	gone := errors.New("gone")
	ctx, leave := context.WithCancelCause(t.Context())
	failed := make(chan error)
	go func() {
		_, err := turns.Acquire(ctx, "a")
		failed <- err
	}()
	turns.waitFor(1)
	leave(gone)
	require.ErrorIs(t, <-failed, gone)
	first()
	require.Zero(t, turns.taken)
}

// Whatever the order, nobody has more than allowed and all get a turn.
func TestTurnsUnderLoad(t *testing.T) {
	t.Parallel()
	turns := NewTurns(4)
	var mu sync.Mutex
	var all int
	most, of := 0, map[string]int{}
	var work sync.WaitGroup
	for i := range 300 {
		key := string(rune('a' + i%3))
		work.Go(func() {
			release, err := turns.Acquire(context.Background(), key)
			if err != nil {
				panic(err)
			}
			mu.Lock()
			all++
			of[key]++
			most = max(most, all, 2*of[key])
			mu.Unlock()
			mu.Lock()
			all--
			of[key]--
			mu.Unlock()
			release()
		})
	}
	work.Wait()
	require.LessOrEqual(t, most, 4)
	require.Zero(t, turns.taken)
}
