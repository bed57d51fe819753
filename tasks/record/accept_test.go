package record_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/queue"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
	"github.com/stretchr/testify/require"
)

func TestOneContentInTwoSpellingsIsOneOperation(t *testing.T) {
	t.Parallel()
	const (
		someID    = "7d0f0001-0000-4000-8000-0000000000ab"
		composed  = "zo\u00eb"
		separated = "zoe\u0308"
	)
	p, err := record.NewProducer(redistest.Mini(t), record.ProducerConfig{Projects: []string{"hq"}})
	require.NoError(t, err)
	upper := strings.ToUpper(someID)
	first, err := p.Enqueue(t.Context(), tasks.Request{
		Project: "hq", Desktops: []string{"{" + upper + "}"}, Users: []string{separated}, Expect: map[string][]string{upper: {separated}}, IdempotencyKey: "k",
	})
	require.NoError(t, err)
	again, err := p.Enqueue(t.Context(), tasks.Request{
		Project: "hq", Desktops: []string{someID}, Users: []string{composed}, Expect: map[string][]string{someID: {composed}}, IdempotencyKey: "k",
	})
	require.NoError(t, err)
	require.Equal(t, first.ID, again.ID)
	rows, _, err := p.Record.Desktops(t.Context(), first, tasks.DesktopFilter{}, 10, "")
	require.NoError(t, err)
	require.Equal(t, []string{someID, tasks.UserRow(composed)}, []string{rows[0].ID, rows[1].ID})
	require.Equal(t, []string{composed}, rows[0].Expect)
	for _, text := range []string{"{" + upper + "}", separated} {
		found, _, err := p.Record.Search(t.Context(), text, 10, "")
		require.NoError(t, err)
		require.NotEmpty(t, found, "found however it is spelled: %q", text)
	}
}

// A request that is sent again comes with another trace: it is the same request.
func TestTraceIsNoContent(t *testing.T) {
	t.Parallel()
	p, err := record.NewProducer(redistest.Mini(t), record.ProducerConfig{Projects: []string{"hq"}})
	require.NoError(t, err)
	req := tasks.Request{Project: "hq", Desktops: []string{"d1"}, IdempotencyKey: "k", Trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Tracestate: "rojo=1"}
	first, err := p.Enqueue(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, req.Trace, first.Trace)
	require.Equal(t, req.Tracestate, first.Tracestate)
	req.Trace, req.Tracestate = "00-00000000000000000000000000000001-0000000000000001-00", ""
	again, err := p.Enqueue(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, first.ID, again.ID)
	require.Equal(t, first.Trace, again.Trace)
	require.Equal(t, first.Tracestate, again.Tracestate)
	req.Trace, req.Tracestate, req.IdempotencyKey = "00-1-2-3", "\n", ""
	_, err = p.Enqueue(t.Context(), req)
	require.ErrorContains(t, err, "traceparent")
	require.ErrorContains(t, err, "tracestate")
}

func TestAPayloadCanNameEveryChunk(t *testing.T) {
	t.Parallel()
	largest := record.Operation{Operation: tasks.Operation{Total: tasks.MaxDesktops + tasks.MaxLookups, Users: tasks.MaxLookups}}
	require.Equal(t, 1100, largest.Chunks())
	for _, chunk := range []int{0, largest.Chunks() - 1, 10 * largest.Chunks()} { // users may have many desktops, which are more chunks
		p, err := queue.DecodePayload(fmt.Appendf(nil, `{"v":1,"op":"o","project":"hq","chunk":%d}`, chunk))
		require.NoError(t, err)
		require.Equal(t, chunk, p.Chunk)
	}
}
