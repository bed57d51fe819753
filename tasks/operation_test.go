package tasks_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
)

func TestSealed(t *testing.T) {
	t.Parallel()
	require.False(t, tasks.Operation{}.Sealed())
	require.False(t, tasks.Operation{EndedAt: time.Now()}.Sealed(), "its trail is still to be sealed")
	require.False(t, tasks.Operation{Seal: "ab"}.Sealed(), "it was taken up again")
	require.True(t, tasks.Operation{EndedAt: time.Now(), Seal: "ab"}.Sealed())
}
