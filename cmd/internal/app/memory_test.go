package app

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

// Not parallel: it is about the process.
func TestGOGCHasPrecedence(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	t.Setenv("GOGC", "50")
	GrowHeap()
	require.Equal(t, 100, debug.SetGCPercent(100))
	t.Setenv("GOGC", "")
	GrowHeap()
	require.Equal(t, heapGrowth, debug.SetGCPercent(100))
}
