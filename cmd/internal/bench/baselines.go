package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/apiclient"
)

// readAndCall is what every baseline does for a batch: nothing is detached that was
// not read first.
func readAndCall(ctx context.Context, c *cloud, ids []string) error {
	found, err := c.Desktops(ctx, ids)
	if err != nil {
		return err
	}
	if len(found) != len(ids) {
		return fmt.Errorf("%d of %d desktops exist", len(found), len(ids))
	}
	_, err = c.Detach(ctx, apiclient.DetachRequest{DesktopIDs: ids})
	return err
}

// limit is the time of the same readings and calls made by a bare loop.
func limit(ctx context.Context, c *cloud, desktops int) (time.Duration, error) {
	ids := desktopIDs(0, desktops)
	var next atomic.Int64
	errs := make([]error, inFlight)
	start := time.Now()
	var all sync.WaitGroup
	for n := range inFlight {
		all.Go(func() {
			for errs[n] == nil {
				first := int(next.Add(1)-1) * 100
				if first >= len(ids) {
					return
				}
				errs[n] = readAndCall(ctx, c, ids[first:min(first+100, len(ids))])
			}
		})
	}
	all.Wait()
	return time.Since(start), errors.Join(errs...)
}

// asynqTasks runs tasks that each carry desktop ids, and make one reading and one
// call with them, in plain asynq, and returns the time from the worker's start to the
// last call's end.
func asynqTasks(ctx context.Context, rdb redis.UniversalClient, c *cloud, desktops, each int, group bool) (time.Duration, error) {
	client := asynq.NewClientFromRedisClient(rdb)
	ids := desktopIDs(0, desktops)
	for first := 0; first < len(ids); first += each {
		payload, err := json.Marshal(ids[first:min(first+each, len(ids))])
		if err != nil {
			return 0, err
		}
		opts := []asynq.Option{asynq.Queue("baseline"), asynq.MaxRetry(3), asynq.Timeout(time.Minute)}
		if group {
			opts = append(opts, asynq.Group("g"))
		}
		if _, err := client.EnqueueContext(ctx, asynq.NewTask("baseline", payload), opts...); err != nil {
			return 0, err
		}
	}
	var done atomic.Int64
	finished := make(chan struct{})
	failed := make(chan error, 1)
	cfg := asynq.Config{
		Concurrency: inFlight, Queues: map[string]int{"baseline": 1}, TaskCheckInterval: 200 * time.Millisecond, LogLevel: asynq.ErrorLevel,
	}
	if group {
		cfg.GroupAggregator = asynq.GroupAggregatorFunc(merge)
		cfg.GroupMaxSize, cfg.GroupGracePeriod, cfg.GroupMaxDelay = 100, time.Second, 5*time.Second
	}
	server := asynq.NewServerFromRedisClient(rdb, cfg)
	start := time.Now()
	err := server.Start(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		var batch []string
		if err := json.Unmarshal(t.Payload(), &batch); err != nil {
			return err
		}
		if err := readAndCall(ctx, c, batch); err != nil {
			select {
			case failed <- err:
			default:
			}
			return err
		}
		if done.Add(int64(len(batch))) == int64(desktops) {
			close(finished)
		}
		return nil
	}))
	if err != nil {
		return 0, err
	}
	defer server.Shutdown()
	select {
	case <-finished:
		return time.Since(start), nil
	case err := <-failed:
		return 0, err
	case <-ctx.Done():
		return 0, fmt.Errorf("the baseline did %d of %d desktops in time", done.Load(), desktops)
	}
}

func merge(_ string, ts []*asynq.Task) *asynq.Task {
	var all []string
	for _, t := range ts {
		var ids []string
		if json.Unmarshal(t.Payload(), &ids) == nil {
			all = append(all, ids...)
		}
	}
	payload, _ := json.Marshal(all) // strings always marshal
	return asynq.NewTask("baseline", payload)
}
