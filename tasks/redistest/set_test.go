package redistest_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/redistest"
)

// eventually polls until Redis takes a command, as it does not while it fails over.
func eventually(t *testing.T, what string, do func() bool) {
	t.Helper()
	require.Eventually(t, do, time.Minute, 20*time.Millisecond, what)
}

func client(t *testing.T, s *redistest.Set) redis.UniversalClient {
	c := s.Client()
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// What was given to a primary that is cut off is gone after its death, what was
// given before is not, and the set is whole again when it is back.
func testDeath(t *testing.T, s *redistest.Set) {
	ctx := t.Context()
	rdb := client(t, s)
	require.NoError(t, rdb.Set(ctx, "{k}before", 1, 0).Err())
	primary, err := s.Primary(ctx, "{k}")
	require.NoError(t, err)
	direct := primary.Client(t)
	require.NoError(t, direct.Do(ctx, "wait", 1, 5000).Err())
	require.NoError(t, s.Cut(ctx, primary))
	require.NoError(t, direct.Set(ctx, "{k}cut off", 1, 0).Err())
	replicas, err := direct.Do(ctx, "wait", 1, 2500).Int() // they come back within a second if they may
	require.NoError(t, err)
	require.Zero(t, replicas)
	primary.Kill()
	eventually(t, "failover", func() bool { return rdb.Set(ctx, "{k}after", 1, 0).Err() == nil })
	require.NoError(t, primary.Restart())
	require.NoError(t, s.Await(ctx))
	n, err := rdb.Exists(ctx, "{k}before", "{k}after").Result()
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	n, err = rdb.Exists(ctx, "{k}cut off").Result()
	require.NoError(t, err)
	require.Zero(t, n)
	another, err := s.Primary(ctx, "{k}")
	require.NoError(t, err)
	require.NotSame(t, primary, another)
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	testDeath(t, redistest.StartSentinel(t))
}

func TestSharded(t *testing.T) {
	t.Parallel()
	s := redistest.StartSharded(t)
	testDeath(t, s)
	ctx := t.Context()
	rdb := client(t, s)
	from, err := s.Primary(ctx, "{k}")
	require.NoError(t, err)
	all, err := s.Primaries(ctx)
	require.NoError(t, err)
	require.Len(t, all, 3)
	for _, to := range all {
		if to == from {
			continue
		}
		require.NoError(t, s.Migrate(ctx, "{k}", to, time.Millisecond))
		now, err := s.Primary(ctx, "{k}")
		require.NoError(t, err)
		require.Same(t, to, now)
	}
	n, err := rdb.Exists(ctx, "{k}before", "{k}after").Result()
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	s.Stop()
	require.NoError(t, s.Restart())
	require.NoError(t, s.Await(ctx))
	eventually(t, "restart", func() bool {
		n, err := rdb.Exists(context.Background(), "{k}before", "{k}after").Result()
		return err == nil && n == 2
	})
}
