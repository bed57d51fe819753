package worker

import (
	"context"
	"crypto/rand"
	"encoding/hex"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
)

// withTrace makes a call a child span of the first traced operation in the batch. A call
// has one traceparent, and may be for several operations.
func withTrace(ctx context.Context, group []*item) context.Context {
	for _, it := range group {
		if tp := it.job.op.Trace; tasks.ValidTraceparent(tp) {
			return apiclient.WithTraceparent(ctx, childSpan(tp))
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
