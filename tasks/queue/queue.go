package queue

import (
	"context"
	"errors"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// Name returns the name of a project's queue of a kind.
func Name(prefix, project, kind string) string { return prefix + ":" + project + ":" + kind }

// Options that override asynq's defaults: asynq must never give up a chunk, because the
// record counts attempts and deadlines, and a handler may wait long for a call slot.
const (
	maxRetry = 1 << 30
	timeout  = time.Hour
)

// Client enqueues tasks.
type Client struct{ asynq *asynq.Client }

// NewClient returns a Client that uses rdb, which the caller closes.
func NewClient(rdb redis.UniversalClient) Client { return Client{asynq.NewClientFromRedisClient(rdb)} }

// Enqueue enqueues a task for at; a zero time is now. If the task exists already it returns
// nil, because the reply to an earlier try may have been lost.
func (c Client) Enqueue(ctx context.Context, queue string, p Payload, at time.Time) error {
	opts := []asynq.Option{asynq.Queue(queue), asynq.TaskID(p.TaskID()), asynq.MaxRetry(maxRetry), asynq.Timeout(timeout)}
	if !at.IsZero() {
		opts = append(opts, asynq.ProcessAt(at))
	}
	_, err := c.asynq.EnqueueContext(ctx, asynq.NewTask(TaskType, p.encode()), opts...)
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		return nil
	}
	return err
}
