package worker

import (
	"context"
	"crypto/rand"
	"encoding/hex"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
)

// spanOf returns the traceparent of a call: a child span of the first traced operation in
// it, or "". A call has one, and may be for several operations.
func spanOf(group []*item) string {
	for _, it := range group {
		if parent := tasks.Traceparent(it.job.op.Trace); parent != "" {
			return childSpan(parent)
		}
	}
	return ""
}

// withSpan makes the request of a call carry its span, and the tracestate of the operation
// that it continues.
func withSpan(ctx context.Context, group []*item, span string) context.Context {
	for _, it := range group {
		if op := it.job.op; span != "" && tasks.TraceID(op.Trace) == tasks.TraceID(span) {
			return apiclient.WithTrace(ctx, span, op.Tracestate)
		}
	}
	return ctx
}

// childSpan returns a traceparent with another span id.
func childSpan(traceparent string) string {
	var span [8]byte
	_, _ = rand.Read(span[:]) // it never fails
	span[0] |= 1              // all zeros would be invalid
	return traceparent[:36] + hex.EncodeToString(span[:]) + traceparent[52:]
}

// spanID returns the span of a traceparent of version 00.
func spanID(traceparent string) string { return traceparent[36:52] }
