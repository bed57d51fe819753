package tasks_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
)

func TestValidTraceparent(t *testing.T) {
	t.Parallel()
	for text, valid := range map[string]bool{
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01": true,
		"": false,
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01":   false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01":   false,
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01":   false,
		"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01":   false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x": false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n": false,
	} {
		require.Equal(t, valid, tasks.ValidTraceparent(text), text)
	}
}
