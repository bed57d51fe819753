package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker"
)

// singles is B3: operations of one desktop that wait when the worker starts. Its time is that of
// the baselines: until the cloud has answered for each desktop.
func singles(e *env) ([]figure, error) {
	const n = 1000
	var calls []float64
	took, err := turns(longTurns,
		e.timed(n, 50*time.Millisecond, func(c *cloud) (time.Duration, error) { return asynqTasks(e.ctx, e.rdb, c, n, 1, false) }),
		e.timed(n, 50*time.Millisecond, func(c *cloud) (time.Duration, error) { return asynqTasks(e.ctx, e.rdb, c, n, 1, true) }),
		e.timed(n, 50*time.Millisecond, func(c *cloud) (time.Duration, error) {
			took, made, err := e.singles(c, n, 0)
			calls = append(calls, float64(made))
			return took, err
		}))
	if err != nil {
		return nil, err
	}
	const perMinute = 100 // as the cloud publishes it
	var limited int64
	slow, err := e.on(n, 50*time.Millisecond, func(c *cloud) (took time.Duration, err error) {
		took, limited, err = e.singles(c, n, perMinute)
		return took, err
	})
	if err != nil {
		return nil, err
	}
	ours, naive, group, most := medianSeconds(took[2]), ratios(took[0], took[2]), ratios(took[1], took[2]), slices.Max(calls)
	return []figure{
		{"B3 1,000 one-desktop operations", ours, naive.of(longTurns, "naive "+medianSeconds(took[0])),
			naive.median, ">= 12x", naive.median >= 12},
		{"B3 the same", ours, group.of(longTurns, "group "+medianSeconds(took[1])), group.median, ">= 25x", group.median >= 25},
		{"B3 API calls, the most of any turn", fmt.Sprintf("%.0f", most), "naive 1000", n / most, "<= 50 calls", most <= 50},
		{"B3 API calls at 100 calls a minute", strconv.FormatInt(limited, 10), "in " + seconds(slow), float64(limited) / 11,
			"<= 11 calls", limited <= 11},
	}, nil
}

// singles runs n operations of one desktop each with a limit of calls a minute; 0: none.
func (e *env) singles(c *cloud, n, perMinute int) (took time.Duration, calls int64, err error) {
	ids, err := e.enqueue(n, 1)
	if err != nil {
		return 0, 0, err
	}
	api := &answering{counting: counting{Client: c.Client}, over: make(chan struct{})}
	api.left.Store(int64(n))
	start := time.Now()
	w, err := newWorker(e.rdb, "bench-worker", api, 0, func(cfg *worker.Config) { cfg.Projects[0].CallsPerMinute = perMinute })
	if err != nil {
		return 0, 0, err
	}
	if err := w.Start(e.ctx); err != nil {
		return 0, 0, err
	}
	defer w.Stop()
	select {
	case <-api.over:
	case <-e.ctx.Done():
		return 0, 0, e.ctx.Err()
	}
	took = time.Since(start)
	all, err := e.until(often, ids, record.Operation.Done)
	if err == nil && all.Detached != n {
		err = fmt.Errorf("%d of %d desktops were detached", all.Detached, n)
	}
	return took, api.calls.Load(), err
}

// answering tells when the cloud has answered for all desktops.
type answering struct {
	counting
	left atomic.Int64
	over chan struct{}
}

func (a *answering) Detach(ctx context.Context, req apiclient.DetachRequest) (*apiclient.DetachResult, error) {
	res, err := a.counting.Detach(ctx, req)
	if err == nil && a.left.Add(-int64(len(req.DesktopIDs))) == 0 {
		close(a.over)
	}
	return res, err
}
