package gather_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/gather"
)

// What comes while a round is under way is done in the next one, in order and within the limit.
func TestRounds(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		most  int
		sizes []int
		want  [][]int
	}{
		"no limit": {0, []int{1, 2, 3, 4}, [][]int{{1}, {2, 3, 4}}},
		"limit":    {5, []int{1, 2, 3, 4}, [][]int{{1}, {2, 3}, {4}}},
		"larger":   {5, []int{1, 9, 2, 9}, [][]int{{1}, {9}, {2}, {9}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begun := make(chan struct{})
				var rounds [][]int
				g := gather.Group[int]{Most: x.most, Size: func(n *int) int { return *n }, Together: func(_ context.Context, some []*int) error {
					if len(rounds) == 0 {
						<-begun
					}
					var round []int
					for _, n := range some {
						round = append(round, *n)
					}
					rounds = append(rounds, round)
					return nil
				}}
				var all sync.WaitGroup
				for _, n := range x.sizes {
					all.Go(func() { require.NoError(t, g.Do(t.Context(), &n)) })
					synctest.Wait() // it is in the first round, or waits
				}
				close(begun)
				all.Wait()
				require.Equal(t, x.want, rounds)
			})
		})
	}
}

// No more rounds than allowed are under way, and everything is done once.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	const atOnce = 3
	var under, most, done atomic.Int64
	g := gather.Group[int]{Most: 2, AtOnce: atOnce, Together: func(_ context.Context, some []*int) error {
		n := under.Add(1)
		for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
		}
		for _, x := range some {
			*x++
			done.Add(1)
		}
		under.Add(-1)
		return nil
	}}
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			x := 0
			if err := g.Do(t.Context(), &x); err != nil || x != 1 {
				t.Errorf("done %d times, %v", x, err)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 1000, done.Load())
	require.LessOrEqual(t, most.Load(), int64(atOnce))
}

// A caller whose context ends waits no longer; what it wanted is done, in a context that goes on.
func TestCallerLeaves(t *testing.T) {
	t.Parallel()
	errLeft := errors.New("left")
	go1, did := make(chan struct{}), make(chan error, 1)
	g := gather.Group[int]{Together: func(ctx context.Context, _ []*int) error {
		<-go1
		did <- ctx.Err()
		return nil
	}}
	ctx, leave := context.WithCancelCause(t.Context())
	leave(errLeft)
	x := 0
	require.ErrorIs(t, g.Do(ctx, &x), errLeft)
	close(go1)
	require.NoError(t, <-did)
}

// All callers of a round get its error, and the next round another.
func TestErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin, round := make(chan struct{}), 0
		g := gather.Group[int]{Together: func(context.Context, []*int) error {
			<-begin
			round++
			return fmt.Errorf("round %d", round)
		}}
		errs := make([]error, 3)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() { errs[i] = g.Do(t.Context(), &i) })
			synctest.Wait()
		}
		close(begin)
		all.Wait()
		require.EqualError(t, errs[0], "round 1")
		require.EqualError(t, errs[1], "round 2")
		require.EqualError(t, errs[2], "round 2")
	})
}
