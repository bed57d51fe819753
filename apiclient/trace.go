package apiclient

import (
	"context"
	"net/http"
)

const headerTraceparent = "Traceparent"

type traceparentKey struct{}

// WithTraceparent returns a context whose API requests have a traceparent header (W3C
// Trace Context). The header is not signed, because proxies may replace it, and requests
// for tokens do not have it. A value that is invalid in a header is skipped.
func WithTraceparent(ctx context.Context, traceparent string) context.Context {
	return context.WithValue(ctx, traceparentKey{}, traceparent)
}

func setTraceparent(ctx context.Context, h http.Header) {
	if tp, _ := ctx.Value(traceparentKey{}).(string); tp != "" && validHeader(tp) {
		h.Set(headerTraceparent, tp)
	}
}
