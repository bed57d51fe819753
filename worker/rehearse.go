package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/tasks/queue"
	"github.com/detachd/detachd/tasks/record"
)

// Rehearsed has the error of each thing that a worker does with Redis; nil: it works.
type Rehearsed struct {
	Claims error // scripts of several keys that claim desktops
	Limits error // the script that lets a request through
	Bell   error // a stream is written and read
	Queue  error // a task is enqueued, taken, and done
	Cancel error // asynq's channel is published to
	Clean  error // what was written is removed

	Replicas                error // waiting for a write; nil also without a replica
	Connected, Acknowledged int   // replicas: connected, and those that had the write in time
}

// taskWithin bounds how long a task may take through an idle queue.
const taskWithin = 10 * time.Second

// Rehearse does once what workers and producers do all the time, with keys of its own that it
// removes again. If Redis answers at all it takes at most 20 s.
func Rehearse(ctx context.Context, rdb redis.UniversalClient, rec *record.Record) Rehearsed {
	x, task := rec.Rehearse(), "rehearsal"
	var out Rehearsed
	out.Claims = x.Claim(ctx)
	out.Bell = x.Bell(ctx)
	out.Limits = rehearseLimit(ctx, rdb, x.LimitKey())
	out.Queue = rehearseQueue(ctx, rdb, x.Queue(), task)
	out.Cancel = asynq.NewInspectorFromRedisClient(rdb).CancelProcessing(x.Queue()) // no task has that id
	out.Connected, out.Acknowledged, out.Replicas = x.Replicas(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second) // even after ctx has ended
	defer cancel()
	out.Clean = x.Clean(ctx, task)
	return out
}

// rehearseLimit lets one request through.
func rehearseLimit(ctx context.Context, rdb redis.UniversalClient, key string) error {
	q := newLimiter(rdb, key, 60, 0, defaultBurst, zerolog.Nop()).kinds[callRequest]
	q.lineUp(beforeCall)
	got, err := q.run(ctx)
	if err != nil {
		return fmt.Errorf("taking from a limit: %w", err)
	}
	if got.through != 1 {
		return fmt.Errorf("taking from a limit: %d requests were let through instead of 1", got.through)
	}
	return nil
}

// rehearseQueue puts one task through a queue, with a server of asynq like those of workers.
// asynq reports errors of that only in its log.
func rehearseQueue(ctx context.Context, rdb redis.UniversalClient, name, task string) error {
	client := asynq.NewClientFromRedisClient(rdb)
	opts := []asynq.Option{asynq.Queue(name), asynq.TaskID(task), asynq.MaxRetry(1), asynq.Timeout(taskWithin)}
	if _, err := client.EnqueueContext(ctx, asynq.NewTask(queue.TaskType, nil), opts...); err != nil {
		return fmt.Errorf("enqueuing a task: %w", err)
	}
	log := &firstError{asynqLog: asynqLog{zerolog.Nop()}, errs: make(chan error, 1)}
	server := asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency: 1, Queues: map[string]int{name: 1}, TaskCheckInterval: 50 * time.Millisecond,
		ShutdownTimeout: time.Second, Logger: log, LogLevel: asynq.ErrorLevel,
	})
	done := make(chan struct{})
	once := sync.OnceFunc(func() { close(done) })
	if err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { once(); return nil })); err != nil {
		return fmt.Errorf("starting to take tasks: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, taskWithin, fmt.Errorf("it did not come out of the queue within %s", taskWithin))
	defer cancel()
	var err error
	select {
	case <-done:
	case err = <-log.errs:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	server.Shutdown() // waits until the task is done
	if err == nil {
		select {
		case err = <-log.errs:
		default:
		}
	}
	if err != nil {
		return fmt.Errorf("taking a task: %w", err)
	}
	return nil
}

// firstError is a log of asynq that keeps the first error.
type firstError struct {
	asynqLog
	errs chan error
}

func (l *firstError) Error(args ...any) {
	offer(l.errs, errors.New(fmt.Sprint(args...)))
}

// refusedKeys are parts of the errors of servers that let a script use only keys given as
// KEYS: Dragonfly, proxies of clusters, and Redis Cluster for a key on another node.
var refusedKeys = []string{"undeclared key", "KEYS array", "KEYS[", "non local key", "keys that do not hash to the same slot"}

// RefusesKeysOfScripts reports whether an error is the refusal of a script that builds names
// of keys from ARGV. asynq's scripts do, so no work can be queued on such a server.
func RefusesKeysOfScripts(err error) bool {
	return err != nil && slices.ContainsFunc(refusedKeys, func(part string) bool { return strings.Contains(err.Error(), part) })
}
