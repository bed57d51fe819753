package apiclient

import (
	"context"
	"net/http"
)

const headerTraceparent = "Traceparent"

type traceparentKey struct{}

// WithTraceparent has the API requests made with the returned context carry a
// header traceparent (W3C Trace Context). It is not signed, as what is on the way
// may set it anew; and requests for tokens do not carry it. What cannot stand in a
// header is left out.
func WithTraceparent(ctx context.Context, traceparent string) context.Context {
	return context.WithValue(ctx, traceparentKey{}, traceparent)
}

func setTraceparent(ctx context.Context, h http.Header) {
	if tp, _ := ctx.Value(traceparentKey{}).(string); tp != "" && validHeader(tp) {
		h.Set(headerTraceparent, tp)
	}
}
