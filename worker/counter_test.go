package worker

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// lossy lets what is sent to Redis be done, and loses some replies.
type lossy struct{ lose atomic.Int32 }

var errLost = errors.New("the reply was lost")

func (l *lossy) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (l *lossy) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (l *lossy) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") || l.lose.Add(-1) < 0 {
			return err
		}
		for _, cmd := range cmds {
			cmd.SetErr(errLost)
		}
		return errLost
	}
}

func testCounter(t *testing.T, rdb redis.UniversalClient) (*counter, *record.Record) {
	t.Helper()
	rec := record.New(rdb, record.Config{})
	return newCounter(rec, "worker-1", zerolog.Nop()), rec
}

func countedCalls(t *testing.T, rec *record.Record, now time.Time) (out []int) {
	t.Helper()
	all, err := rec.Stats(t.Context(), []string{"hq", "branch"}, tasks.LastDay, now)
	require.NoError(t, err)
	for _, s := range all {
		n := 0
		for _, b := range s.Buckets {
			n += b.Calls
		}
		out = append(out, n)
	}
	return out
}

// A flush whose reply is lost has counted; sent again it does not count twice, and
// what came meanwhile is not lost with it.
func TestFlushWhoseReplyIsLost(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	c, rec := testCounter(t, rdb)
	c.Call(SeenCall{Project: "hq"})
	require.NoError(t, c.flush(t.Context()), "the script is known now")
	l := &lossy{}
	rdb.AddHook(l)
	for range 3 {
		c.Call(SeenCall{Project: "hq"})
		c.Call(SeenCall{Project: "branch"})
		l.lose.Store(1)
		require.ErrorIs(t, c.flush(t.Context()), errLost)
	}
	require.NoError(t, c.flush(t.Context()))
	require.NoError(t, c.flush(t.Context()))
	require.Equal(t, []int{4, 3}, countedCalls(t, rec, time.Now()))
}

// While Redis is away counts are kept, by the minute, the latest of them.
func TestCountsAreKeptWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	c, rec := testCounter(t, rdb)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c.now, c.kept = func() time.Time { return now }, 10
	server.Stop()
	for range 2 {
		now = now.Add(time.Minute)
		c.Call(SeenCall{Project: "hq", Class: tasks.ClassThrottled})
		require.Error(t, c.flush(t.Context()))
	}
	require.Len(t, c.sending, 1, "the first is being sent")
	for range 20 {
		now = now.Add(time.Minute)
		c.Call(SeenCall{Project: "hq"})
	}
	require.Len(t, c.counts, 10)
	require.NoError(t, server.Restart())
	require.Eventually(t, func() bool { return c.flush(t.Context()) == nil }, time.Minute, 10*time.Millisecond, "the client notices within a second")
	require.Equal(t, []int{11, 0}, countedCalls(t, rec, now))
	all, err := rec.Stats(t.Context(), []string{"hq"}, tasks.LastDay, now)
	require.NoError(t, err)
	require.Equal(t, 1, all[0].Throttled, "in the minute in which it was")
}
