package record_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/record"
)

func quota(t *testing.T, b *bundle) {
	take := func(op string, n int, q record.Quota) (bool, time.Duration) {
		ok, after, err := b.r.TakeQuota(t.Context(), "hr", op, n, q)
		require.NoError(t, err)
		return ok, after
	}
	q := record.Quota{Hourly: 10, Daily: 12}
	taken := func(op string, n int, q record.Quota) bool { ok, _ := take(op, n, q); return ok }
	require.True(t, taken("a", 7, q))
	require.True(t, taken("a", 7, q), "it is counted once")
	require.False(t, taken("a", 10, q), "another content with its idempotency key is not what was counted: that one was never accepted")
	require.True(t, taken("b", 3, q))
	ok, after := take("c", 1, q)
	require.False(t, ok)
	require.Greater(t, after, 58*time.Minute)
	require.LessOrEqual(t, after, time.Hour)
	ok, after = take("c", 3, record.Quota{Daily: 12})
	require.False(t, ok)
	require.Greater(t, after, 23*time.Hour)
	ok, after = take("c", 13, q)
	require.False(t, ok)
	require.Zero(t, after, "it never will be")
	require.True(t, taken("c", 2, record.Quota{Daily: 12}))
	require.False(t, taken("d", 1, record.Quota{Daily: 12}))
	require.True(t, taken("d", 100000, record.Quota{}))
	ok, _, err := b.r.TakeQuota(t.Context(), "it", "e", 10, q)
	require.NoError(t, err)
	require.True(t, ok, "another key has its own")
}
