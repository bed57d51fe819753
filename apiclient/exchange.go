package apiclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"sync/atomic"
	"time"
)

// maxReplyBytes is ample: a page of 100 desktops is about half a megabyte.
const maxReplyBytes = 4 << 20

var errReplyTooLarge = fmt.Errorf("the reply is larger than %d bytes", maxReplyBytes)

// reply is the reply to one request.
type reply struct {
	status  int    // 0: no reply
	host    string // that answered
	header  http.Header
	body    []byte
	err     error    // why the reply is missing or incomplete
	left    bool     // whether any part of the request may have been sent
	secrets []string // of the request and the reply, to be redacted from texts
	buffer  *bytes.Buffer
}

// buffers are those of bodies: a list of 100 desktops would grow a new one to some 100 KB each time.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

const maxKept = 1 << 20 // bytes of a buffer that is kept

// done gives the body's buffer to the next reply. Nothing that was decoded refers to it.
func (r reply) done() {
	if r.buffer != nil && r.buffer.Cap() <= maxKept {
		buffers.Put(r.buffer)
	}
}

// exchange sends req once and reads the whole reply within timeout.
//
// It uses the RoundTripper directly instead of an http.Client, so that redirects are never
// followed and cookies never kept.
//
// net/http may send a request a second time by itself, but a POST only if no byte of it
// was written (nothingWrittenError in transport.go) or if HTTP/2 guarantees that it was not
// processed (REFUSED_STREAM, GOAWAY). An Idempotency-Key header would lift that
// restriction: never set one.
func exchange(transport http.RoundTripper, req *http.Request, timeout time.Duration) reply {
	r := reply{secrets: secretsOf(req.Header), host: answeringHost(transport, req)}
	ctx, cancel := context.WithTimeoutCause(req.Context(), timeout,
		fmt.Errorf("time-out of %s: %w", timeout, context.DeadlineExceeded))
	defer cancel()
	if ctx.Err() != nil {
		r.err = contextCause(ctx, nil)
		return r
	}
	departure := newDeparture(transport)
	req = req.WithContext(httptrace.WithClientTrace(ctx, departure.trace()))
	late := guardBody(req)
	resp, err := transport.RoundTrip(req)
	if err != nil && late() {
		r.err = ErrTooLate
		return r
	}
	if err != nil {
		r.left, r.err = departure.left(), contextCause(ctx, err)
		return r
	}
	defer func() { _ = resp.Body.Close() }()
	r.left, r.status, r.header = true, resp.StatusCode, resp.Header
	r.buffer = buffers.Get().(*bytes.Buffer)
	r.buffer.Reset()
	_, err = r.buffer.ReadFrom(io.LimitReader(resp.Body, maxReplyBytes+1))
	r.body = r.buffer.Bytes()
	switch {
	case err != nil:
		r.err = contextCause(ctx, err)
	case len(r.body) > maxReplyBytes:
		r.err = errReplyTooLarge
	}
	return r
}

// errBadHeaders replaces the error of net/textproto, which quotes the line: it may contain
// a token.
var errBadHeaders = errors.New("the headers of the reply are malformed")

// contextCause returns the cause of ctx's end if it has ended, wrapped so that errors.Is
// finds context.Canceled or DeadlineExceeded; else err of the transport.
func contextCause(ctx context.Context, err error) error {
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

// departure records whether a request may have been sent. It counts from GotConn, not
// WroteHeaders: HTTP/2 writes in another goroutine, which may still be writing after
// RoundTrip has returned. A GetConn after a GotConn is a second try of net/http and proves
// that the first one sent nothing (see exchange).
type departure struct{ state atomic.Int32 }

func newDeparture(transport http.RoundTripper) *departure {
	var d departure
	if _, ok := transport.(*http.Transport); ok {
		d.state.Store(departureWaiting)
	}
	return &d
}

const (
	departureUnknown int32 = iota // the RoundTripper may not call the trace: assume the worst
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
