package spans_test

import (
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/spans"
)

// unasked does what a desktop's way does, without spans.
func unasked(t testing.TB) func() {
	var m *spans.Maker
	ctx, now := t.Context(), time.Now()
	op := tasks.Operation{ID: "op", Project: "hq", Trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
	return func() {
		_, request := m.Request(ctx, spans.Context{}, now, "POST", "/v1/operations", "id")
		m.Accept(ctx, &op.Trace, &op.Tracestate).Accepted(op, false, nil)
		request.Answered(202, "")
		in, chunk := m.Chunk(ctx, op, 1, "worker")
		m.Reading(nil, "desktops", spans.BeforeCall, "hq", 100).Read("")
		m.Call(nil, false, "hq", "call", 100).Called(tasks.Call{Status: 200}, "")
		chunk.Handled(nil)
		spans.Current(in)
		m.Confirm(op, 1, now, nil, nil)
		m.Ended(op)
	}
}

func TestNoSpansCostNothing(t *testing.T) {
	require.Zero(t, testing.AllocsPerRun(100, unasked(t)))
}

func BenchmarkNoSpans(b *testing.B) {
	way := unasked(b)
	b.ReportAllocs()
	for b.Loop() {
		way()
	}
}

// The page lists every attribute.
func TestThePageHasEveryAttribute(t *testing.T) {
	code, err := os.ReadFile("spans.go")
	require.NoError(t, err)
	page, err := os.ReadFile("../../docs/traces.md")
	require.NoError(t, err)
	keys := regexp.MustCompile(`attribute\.Key\("([^"]+)"\)`).FindAllSubmatch(code, -1)
	require.Greater(t, len(keys), 15)
	for _, k := range keys {
		require.Contains(t, string(page), "`"+string(k[1])+"`")
	}
}
