package tasks_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/redistest"
)

// A request that is sent again comes with another trace: it is the same request.
func TestTraceIsNoContent(t *testing.T) {
	t.Parallel()
	p, err := tasks.NewProducer(redistest.Mini(t), tasks.ProducerConfig{Projects: []string{"hq"}})
	require.NoError(t, err)
	req := tasks.Request{Project: "hq", Desktops: []string{"d1"}, IdempotencyKey: "k", Trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
	first, err := p.Enqueue(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, req.Trace, first.Trace)
	req.Trace = "00-00000000000000000000000000000001-0000000000000001-00"
	again, err := p.Enqueue(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, first.ID, again.ID)
	require.Equal(t, first.Trace, again.Trace)
	req.Trace, req.IdempotencyKey = "00-1-2-3", ""
	_, err = p.Enqueue(t.Context(), req)
	require.ErrorContains(t, err, "traceparent")
}

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
