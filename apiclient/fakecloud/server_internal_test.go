package fakecloud

import (
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFinishWaitsForRequests(t *testing.T) {
	t.Parallel()
	q := &requests{none: make(chan struct{})}
	require.True(t, q.enter())
	var done atomic.Bool
	go func() {
		for q.enter() { // until finish has begun
			q.leave()
			runtime.Gosched()
		}
		done.Store(true)
		q.leave()
	}()
	q.finish()
	require.True(t, done.Load())
	require.False(t, q.enter(), "nobody gets in afterwards")
}
