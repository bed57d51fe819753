package worker

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// callsOf runs a dispatcher of a limit, and gives the sizes of the batches that leave.
func callsOf(t *testing.T, limit *limiter, p priority) (*lanes, <-chan int) {
	t.Helper()
	s := &sender{shared: &shared{limit: limit}, priority: p, lanes: newLanes(), slots: make(chan struct{}, 10)}
	sizes := make(chan int, 100)
	d := &dispatcher{lanes: s.lanes, batches: make(chan struct{}, 20), admit: s.admitFull, unadmit: s.unadmit, linger: s.linger}
	d.send = func(_ context.Context, batch []*item) time.Duration {
		<-s.slots
		for _, it := range batch {
			it.answer(0)
		}
		sizes <- len(batch)
		return 0
	}
	ctx, end := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() { defer close(over); d.run(ctx) }()
	t.Cleanup(func() { end(); <-over })
	return s.lanes, sizes
}

// arrive puts n operations of one desktop each into lanes.
func arrive(l *lanes, n int, since time.Time) {
	for i := range n {
		id := fmt.Sprint(since.UnixNano(), "-", i)
		_, items := newJob(record.Operation{Operation: tasks.Operation{ID: id}}, 0, []record.Row{{Desktop: tasks.Desktop{ID: id}}}, since)
		l.put(items)
	}
}

// Near the limit a call leaves when it is full, or when its permit would else be lost, or when a
// desktop has waited from one permit to the next. The urgent lane does not wait for any of it.
func TestCallsNearTheLimitWaitUntilTheyAreFull(t *testing.T) {
	t.Parallel()
	limit := newLimiter(redistest.Mini(t), "p:{cred:c}", 1, 0, 20, zerolog.Nop())
	turns := limit.kinds[callRequest]
	var passed atomic.Int64
	turns.fake, turns.now = true, func() time.Time { return begin.Add(time.Duration(passed.Load())) }
	l, sizes := callsOf(t, limit, beforeCall)
	urgent, urgentSizes := callsOf(t, limit, urgentFirst)

	arrive(l, 1, time.Now())
	require.Equal(t, 1, <-sizes, "after a rest nothing waits")
	for range 6 {
		arrive(l, 50, time.Now())
	}
	for range 3 {
		require.Equal(t, 100, <-sizes)
	}
	arrive(l, 60, time.Now())
	arrive(urgent, 1, time.Now())
	require.Equal(t, 1, <-urgentSizes)
	require.Empty(t, sizes)

	passed.Add(int64(time.Hour))
	turns.signal()
	require.Equal(t, 60, <-sizes, "nobody else used the limit")

	arrive(l, 1, time.Now().Add(-time.Minute))
	require.Equal(t, 1, <-sizes, "it has waited")
}

// Without a limit nothing waits.
func TestCallsWithoutALimitDoNotWaitUntilTheyAreFull(t *testing.T) {
	t.Parallel()
	l, sizes := callsOf(t, newLimiter(nil, "p:{cred:c}", 0, 0, 0, zerolog.Nop()), beforeCall)
	for range 3 {
		arrive(l, 1, time.Now())
		require.Equal(t, 1, <-sizes)
	}
}
