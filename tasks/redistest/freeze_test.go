package redistest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A frozen redis-server answers nothing, and then everything that it was asked.
func TestFreeze(t *testing.T) {
	t.Parallel()
	s := Start(t)
	c := s.Client(t)
	require.NoError(t, c.Ping(t.Context()).Err())
	require.NoError(t, s.Freeze())
	got := make(chan error, 1)
	go func() { got <- c.Set(context.Background(), "a", "1", 0).Err() }()
	select {
	case err := <-got:
		t.Fatalf("it answered: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	require.NoError(t, s.Thaw())
	require.NoError(t, <-got)
	require.NoError(t, s.Freeze())
	s.Kill() // ends a frozen process, too
	require.Error(t, s.Thaw())
}
