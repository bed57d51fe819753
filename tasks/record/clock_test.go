package record_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/record"
)

// The time is behind by what a reply took, and never ahead, however often it is read.
func TestClock(t *testing.T) {
	t.Parallel()
	var c record.Clock
	at := time.Date(2026, 11, 30, 18, 0, 0, 0, time.UTC)
	c.Set(at)
	first := c.Now()
	require.False(t, first.Before(at))
	require.False(t, c.Now().Before(first))
	c.Set(at.Add(-time.Hour))
	require.True(t, c.Now().Before(first))
}
