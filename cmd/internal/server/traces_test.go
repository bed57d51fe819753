package server

import (
	"testing"

	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/spans"
)

// Operations and undos continue the span in which they were accepted. A replay keeps the first
// and is linked to it, and a problem has the trace of its request. Requests for metrics, and those
// without a key, have no span.
func TestOperationsContinueTheirSpans(t *testing.T) {
	t.Parallel()
	kept := tracetest.NewSpanRecorder()
	maker := spans.New(sdk.NewTracerProvider(sdk.WithSpanProcessor(kept)).Tracer("test"))
	b := newBench(t, func(c *Config) { c.Spans = maker })
	last := func(name string) sdk.ReadOnlySpan {
		t.Helper()
		ended := kept.Ended()
		for i := len(ended) - 1; i >= 0; i-- {
			if ended[i].Name() == name {
				return ended[i]
			}
		}
		require.Fail(t, "no span "+name)
		return nil
	}
	const body = `{"project":"hq","desktops":["d1"]}`
	trace := b.do(b.key[access.Producer], "POST", "/v1/operations", body, "Idempotency-Key", "k").json(t)["trace"].(string)
	first := last("accept operation")
	require.Equal(t, []string{first.SpanContext().TraceID().String(), first.SpanContext().SpanID().String()},
		[]string{tasks.TraceID(trace), tasks.SpanID(trace)})
	require.Equal(t, last("POST /v1/operations").SpanContext().SpanID(), first.Parent().SpanID())

	again := b.do(b.key[access.Producer], "POST", "/v1/operations", body, "Idempotency-Key", "k")
	require.Equal(t, "true", again.header.Get("Idempotent-Replayed"))
	require.Equal(t, trace, again.json(t)["trace"])
	require.NotEqual(t, first.SpanContext(), last("accept operation").SpanContext())
	require.Equal(t, first.SpanContext().SpanID(), last("accept operation").Links()[0].SpanContext.SpanID())

	undo := b.do(b.key[access.Operator], "POST", "/v1/operations/"+b.detached("d2")+":undo", `{"reason":"she stays"}`).json(t)
	require.Equal(t, last("accept operation").SpanContext().SpanID().String(), tasks.SpanID(undo["trace"].(string)))

	p := b.do(b.key[access.Viewer], "GET", "/v1/operations/nowhere", "").problem(t)
	require.Equal(t, last("GET /v1/operations/{id}").SpanContext().TraceID().String(), p.TraceID)

	n := len(kept.Ended())
	b.do(b.key[access.Viewer], "GET", "/metrics", "")
	b.do("dk_nobody", "GET", "/v1/operations", "")
	require.Len(t, kept.Ended(), n)
}
