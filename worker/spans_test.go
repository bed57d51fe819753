package worker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/spans"
	"github.com/detachd/detachd/worker"
)

// keptSpans keeps the spans of a worker.
func keptSpans() (*tracetest.SpanRecorder, *spans.Maker) {
	kept := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(kept))
	return kept, spans.New(provider.Tracer("test"))
}

// A call for several operations is in the trace of one and linked to the handlers of the others,
// and these are linked to it. Those that are not traced, or not sampled, have no spans.
func TestSpansOfCallsForSeveralOperations(t *testing.T) {
	t.Parallel()
	kept, maker := keptSpans()
	s := newEnv(t, fakecloud.Config{Latency: 50 * time.Millisecond})
	s.sweptElsewhere()
	const unsampled = "00-0000000000000000000000000000beef-00000000000000ff-00"
	var ops []record.Operation
	for i, id := range ids(60) {
		req := tasks.Request{Desktops: []string{id}}
		switch i % 3 {
		case 0:
			_, span := maker.Command(t.Context(), "sender")
			req.Trace = span.Context().Traceparent
			span.Exited(0)
		case 1:
			req.Trace = unsampled
		}
		ops = append(ops, s.enqueue(req))
	}
	w := s.start(func(cfg *worker.Config) { cfg.Spans, cfg.Projects[0].MaxInFlight = maker, 1 })
	parts := map[string][]string{} // the sampled traces that a call is for
	sent := map[string]string{}
	for _, op := range ops {
		s.ended(op)
		calls, err := s.record.Calls(t.Context(), op.ID)
		require.NoError(t, err)
		require.Len(t, calls, 1)
		sent[calls[0].ID] = calls[0].Trace
		if op.Trace != "" && op.Trace != unsampled {
			parts[calls[0].ID] = append(parts[calls[0].ID], tasks.TraceID(op.Trace))
		}
	}
	w.Stop()

	handlers := map[string]string{}           // trace, by span
	linkedFrom := map[string][]string{}       // traces of handlers, by span
	var calls, readings, confirmed, ended int // spans
	for _, x := range kept.Ended() {
		require.NotEqual(t, tasks.TraceID(unsampled), x.SpanContext().TraceID().String())
		if x.Name() == "handle chunk" {
			handlers[x.SpanContext().SpanID().String()] = x.SpanContext().TraceID().String()
			for _, l := range x.Links() {
				id := l.SpanContext.SpanID().String()
				linkedFrom[id] = append(linkedFrom[id], x.SpanContext().TraceID().String())
			}
		}
	}
	shared := 0
	for _, x := range kept.Ended() {
		span, trace := x.SpanContext().SpanID().String(), x.SpanContext().TraceID().String()
		switch x.Name() {
		case "detach call":
			calls++
			id := ""
			for _, a := range x.Attributes() {
				if a.Key == "detachd.call" {
					id = a.Value.AsString()
				}
			}
			require.Equal(t, "00-"+trace+"-"+span+"-01", sent[id], "the record, and so the cloud, has the span")
			require.Equal(t, trace, handlers[x.Parent().SpanID().String()])
			var linked []string
			for _, l := range x.Links() {
				linked = append(linked, handlers[l.SpanContext.SpanID().String()])
			}
			require.ElementsMatch(t, parts[id], append(slices.Clone(linked), trace))
			require.ElementsMatch(t, linked, linkedFrom[span])
			if len(linked) > 0 {
				shared++
			}
		case "read desktops":
			readings++
		case "confirm":
			confirmed++
			require.NotEmpty(t, x.Links())
		case "operation":
			ended++
		}
	}
	require.Equal(t, len(parts), calls)
	require.NotZero(t, shared, "calls for several operations")
	require.GreaterOrEqual(t, readings, calls)
	require.Equal(t, []int{20, 20}, []int{confirmed, ended})
}
