package apiclient

import (
	"context"
	"net/http"
)

// Names as in http.Header. They are not signed, because proxies may replace them.
const (
	headerTraceparent = "Traceparent"
	headerTracestate  = "Tracestate"
)

type traceKey struct{}

type trace struct{ parent, state string }

// WithTrace returns a context whose API requests have the headers traceparent and, unless
// it is empty, tracestate (W3C Trace Context). They are not signed, and requests for tokens
// do not have them. A value that is invalid in a header is skipped.
func WithTrace(ctx context.Context, traceparent, tracestate string) context.Context {
	return context.WithValue(ctx, traceKey{}, trace{traceparent, tracestate})
}

func setTrace(ctx context.Context, h http.Header) {
	t, _ := ctx.Value(traceKey{}).(trace)
	if t.parent == "" || !validHeader(t.parent) {
		return
	}
	h.Set(headerTraceparent, t.parent)
	if t.state != "" && validHeader(t.state) {
		h.Set(headerTracestate, t.state)
	}
}
