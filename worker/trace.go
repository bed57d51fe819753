package worker

import (
	"context"
	"crypto/rand"
	"encoding/hex"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
)

// traced has a call carry the trace of the first operation in it that has one, as
// a span of its own. A call has one traceparent, and may be for several operations.
func traced(ctx context.Context, group []*item) context.Context {
	for _, it := range group {
		if tp := it.job.op.Trace; tasks.ValidTraceparent(tp) {
			return apiclient.WithTraceparent(ctx, childSpan(tp))
		}
	}
	return ctx
}

// childSpan gives a traceparent another span id.
func childSpan(traceparent string) string {
	var span [8]byte
	_, _ = rand.Read(span[:]) // it never fails
	span[0] |= 1              // all zeros would be invalid
	return traceparent[:36] + hex.EncodeToString(span[:]) + traceparent[52:]
}
