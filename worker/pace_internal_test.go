package worker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// answers is a Redis of which only scripts are asked.
type answers struct {
	redis.UniversalClient
	of func(sha string) error
}

func (a answers) EvalSha(ctx context.Context, sha string, _ []string, _ ...any) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(a.of(sha))
	return cmd
}

type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

func ask(c redis.UniversalClient, sha, queue string) error {
	return c.EvalSha(context.Background(), sha, []string{"asynq:{" + queue + "}:pending"}).Err()
}

const outOfMemory = reply("OOM command not allowed")

// However many loops ask, what it refuses in a minute is bounded;
// what it does not refuse is not held up.
func TestPaceBoundsRefusals(t *testing.T) {
	t.Parallel()
	for loops := 1; loops <= 30; loops++ {
		synctest.Test(t, func(t *testing.T) {
			var refused, healthy atomic.Int64
			p := newPace(zerolog.Nop())
			c := pacedRedis{answers{of: func(sha string) error {
				if sha == "dequeue" {
					refused.Add(1)
					return outOfMemory
				}
				healthy.Add(1)
				return redis.Nil
			}}, p}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			var all sync.WaitGroup
			for range loops {
				all.Go(func() {
					for ctx.Err() == nil {
						_ = ask(c, "dequeue", "bulk")
					}
				})
				all.Go(func() {
					for wait(ctx, 100*time.Millisecond) {
						begun := time.Now()
						_ = ask(c, "forward", "bulk")
						if time.Since(begun) != 0 {
							t.Error("a healthy command was held up")
						}
					}
				})
			}
			<-ctx.Done()
			p.end()
			all.Wait()
			require.LessOrEqual(t, int(refused.Load()), int(time.Minute/refusedPause)+loops+3, "one a turn, and each loop once before it knows")
			require.GreaterOrEqual(t, int(healthy.Load()), loops*590)
		})
	}
}

// When Redis takes commands again, all loops go on within a second, whatever their number.
func TestPaceEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var says error = outOfMemory
		p := newPace(zerolog.Nop())
		c := pacedRedis{answers{of: func(string) error { return says }}, p}
		queues := make([]string, 60)
		for i := range queues {
			queues[i] = string(rune('A' + i))
			require.ErrorIs(t, ask(c, "dequeue", queues[i]), outOfMemory)
		}
		says = nil
		begun := time.Now()
		done := make(chan error, len(queues))
		for _, q := range queues {
			go func() { done <- ask(c, "dequeue", q) }()
		}
		for range queues {
			require.NoError(t, <-done)
		}
		require.Less(t, time.Since(begun), time.Second)
		require.Empty(t, p.refused)
		require.NoError(t, ask(c, "dequeue", "A"))
		require.Less(t, time.Since(begun), time.Second)
	})
}

// Who waits for a turn is let go by the end of the command's context, and by the end of
// the worker.
func TestPaceLetsGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPace(zerolog.Nop())
		c := pacedRedis{answers{of: func(string) error { return outOfMemory }}, p}
		require.ErrorIs(t, ask(c, "dequeue", "A"), outOfMemory)
		require.ErrorIs(t, ask(c, "dequeue", "A"), outOfMemory)
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		require.ErrorIs(t, c.EvalSha(ctx, "dequeue", []string{"asynq:{A}:pending"}).Err(), context.DeadlineExceeded)
		begun := time.Now()
		done := make(chan error, 9)
		for range cap(done) {
			go func() { done <- ask(c, "dequeue", "A") }()
		}
		synctest.Wait()
		p.end()
		for range cap(done) {
			require.ErrorIs(t, <-done, outOfMemory)
		}
		require.Zero(t, time.Since(begun))
	})
}

func TestPaceKnowsRefusals(t *testing.T) {
	t.Parallel()
	for _, err := range []error{nil, redis.Nil, reply("NOT FOUND"), reply("NOSCRIPT No matching script"), errors.New("a handler's")} {
		require.False(t, refuses(err), "%v", err)
	}
	for _, err := range []error{outOfMemory, reply("ERR no"), reply("WRONGTYPE no"), redis.ErrPoolTimeout, reply("READONLY no")} {
		require.True(t, refuses(err), "%v", err)
	}
}

// Answers of something else pause a project for longer each time, until the API answers again. Those
// to requests that were under way when the pause began count as one.
func TestPausesForWhatIsNotTheAPIGrow(t *testing.T) {
	t.Parallel()
	var h health
	now := time.Now()
	for _, seconds := range []time.Duration{5, 10, 20, 40, 60, 60} {
		d := h.foreign(now)
		require.Equal(t, seconds*time.Second, d)
		require.Equal(t, d-time.Second, h.foreign(now.Add(time.Second)), "until the same end")
		now = now.Add(d)
	}
	h.good(now)
	require.Equal(t, 5*time.Second, h.foreign(now))
}
