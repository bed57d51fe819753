package queue

import (
	"context"
	"errors"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// Name is the queue of a kind of a project.
func Name(prefix, project, kind string) string { return prefix + ":" + project + ":" + kind }

// Options that asynq must be given, or its own defaults apply: it must
// never give up a chunk (attempts and deadlines are counted in the record), and
// a handler may wait long for a free call slot.
const (
	maxRetry = 1 << 30
	timeout  = time.Hour
)

// Client enqueues.
type Client struct{ asynq *asynq.Client }

// NewClient makes one. The caller keeps rdb and closes it.
func NewClient(rdb redis.UniversalClient) Client { return Client{asynq.NewClientFromRedisClient(rdb)} }

// Enqueue enqueues a task for a time, the zero one being now. A task of that name that
// is there already counts as success: a reply may have been lost.
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
