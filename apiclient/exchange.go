package apiclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync/atomic"
	"time"
)

// A page of 100 desktops is about half a megabyte.
const maxReplyBytes = 4 << 20

var errReplyTooLarge = fmt.Errorf("the reply is larger than %d bytes", maxReplyBytes)

// reply is what came back for one request.
type reply struct {
	status  int    // 0: nothing came
	host    string // that answered
	header  http.Header
	body    []byte
	err     error    // why the reply is missing or not whole
	left    bool     // whether any of the request may have been sent
	secrets []string // what the request carried, not to be repeated in a text
}

// exchange sends req once and reads the reply to its end, both within timeout.
//
// It speaks to the RoundTripper and not to an http.Client, so that no redirect
// is ever followed and no cookie kept.
//
// net/http itself may send a request a second time, but a POST only when no
// byte of the first try was written (nothingWrittenError in transport.go) or
// when HTTP/2 guarantees that it was not processed (REFUSED_STREAM, GOAWAY).
// An Idempotency-Key header would lift that restriction: never set one.
func exchange(transport http.RoundTripper, req *http.Request, timeout time.Duration) reply {
	r := reply{secrets: secretsOf(req.Header), host: answers(transport, req)}
	ctx, cancel := context.WithTimeoutCause(req.Context(), timeout,
		fmt.Errorf("time-out of %s: %w", timeout, context.DeadlineExceeded))
	defer cancel()
	if ctx.Err() != nil {
		r.err = because(ctx, nil)
		return r
	}
	way := newDeparture(transport)
	req = req.WithContext(httptrace.WithClientTrace(ctx, way.trace()))
	late := guardBody(req)
	resp, err := transport.RoundTrip(req)
	if err != nil && late() {
		r.err = ErrTooLate
		return r
	}
	if err != nil {
		r.left, r.err = way.left(), because(ctx, err)
		return r
	}
	defer func() { _ = resp.Body.Close() }()
	r.left, r.status, r.header = true, resp.StatusCode, resp.Header
	r.body, err = io.ReadAll(io.LimitReader(resp.Body, maxReplyBytes+1))
	switch {
	case err != nil:
		r.err = because(ctx, err)
	case len(r.body) > maxReplyBytes:
		r.err = errReplyTooLarge
	}
	return r
}

// net/textproto quotes the line, which may hold a token.
var errBadHeaders = errors.New("the headers of the reply are malformed")

// because prefers the reason why the context ended to what the transport made
// of it, and stays recognisable as context.Canceled or DeadlineExceeded.
func because(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		if _, ok := errors.AsType[textproto.ProtocolError](err); ok {
			return errBadHeaders
		}
		return err
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, ctx.Err()) {
		return cause
	}
	return fmt.Errorf("%w: %w", ctx.Err(), cause)
}

// departure watches whether a request may have left. The border is GotConn and
// not WroteHeaders: HTTP/2 writes in another goroutine, which may still be at
// it when RoundTrip has given up. A GetConn after a GotConn is a second try of
// net/http, the proof that the first one left nothing (see exchange).
type departure struct{ state atomic.Int32 }

func newDeparture(transport http.RoundTripper) *departure {
	var d departure
	if _, ok := transport.(*http.Transport); ok {
		d.state.Store(departureWaiting)
	}
	return &d
}

const (
	departureUnknown int32 = iota // a RoundTripper that may not report: assume the worst
	departureWaiting
	departureLeft
)

func (d *departure) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn: func(string) { d.state.Store(departureWaiting) },
		GotConn: func(httptrace.GotConnInfo) { d.state.Store(departureLeft) },
	}
}

func (d *departure) left() bool { return d.state.Load() != departureWaiting }
