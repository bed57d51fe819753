package worker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Only a worker that has beaten for as long as dead workers are silent judges others.
func TestWhoMayJudge(t *testing.T) {
	t.Parallel()
	h := &heart{deadAfter: 8 * time.Second}
	at := func(s int) time.Time { return time.Unix(1_000_000, 0).Add(time.Duration(s) * time.Second) }
	require.False(t, h.mayJudge(at(0)), "no beat yet")
	for s := 0; s <= 8; s += 2 {
		h.beaten(at(s))
		require.Equal(t, s == 8, h.mayJudge(at(s)), s)
	}
	require.True(t, h.mayJudge(at(11)))
	require.False(t, h.mayJudge(at(13)), "deaf, or frozen, for longer than half of the time")
	h.beaten(at(13))
	for s := 14; s <= 22; s += 2 {
		h.beaten(at(s))
		require.Equal(t, s >= 21, h.mayJudge(at(s)), s)
	}
}
