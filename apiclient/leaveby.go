package apiclient

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// ErrTooLate is the cause of an *Error for a call that was not sent before the time of
// LeaveBy. Nothing was executed: the API never got the whole request.
var ErrTooLate = errors.New("the request could not be sent in time")

type leaveByKey struct{}

// LeaveBy returns a context under which a call with a body is not sent after t by this
// machine's clocks, for example because a token, a connection or a handshake took too
// long, or the process was frozen. The clocks are read just before the body is written;
// only the time until the kernel has the body remains unchecked.
func LeaveBy(ctx context.Context, t time.Time) context.Context {
	return context.WithValue(ctx, leaveByKey{}, t)
}

// guardBody blocks the body of a request after the time of LeaveBy. late reports whether
// it did.
//
// The headers have been sent by then. Without the announced body the request cannot be
// executed: an HTTP/1 connection is closed, an HTTP/2 stream is reset.
func guardBody(req *http.Request) (late func() bool) {
	t, limited := req.Context().Value(leaveByKey{}).(time.Time)
	if !limited || req.Body == nil || req.GetBody == nil {
		return func() bool { return false }
	}
	var tooLate atomic.Bool
	guard := func(body io.ReadCloser) io.ReadCloser {
		return &guardedBody{ReadCloser: body, leaveBy: t, tooLate: &tooLate}
	}
	get := req.GetBody
	req.Body = guard(req.Body)
	req.GetBody = func() (io.ReadCloser, error) {
		if tooLate.Load() {
			return nil, ErrTooLate // net/http would retry for ever
		}
		body, err := get()
		if err != nil {
			return nil, err
		}
		return guard(body), nil
	}
	return tooLate.Load
}

// guardedBody is a body whose first Read fails after leaveBy.
type guardedBody struct {
	io.ReadCloser
	leaveBy time.Time
	started bool
	tooLate *atomic.Bool
}

func (b *guardedBody) Read(p []byte) (int, error) {
	if !b.started && passed(b.leaveBy, time.Now()) {
		b.tooLate.Store(true)
		return 0, ErrTooLate
	}
	b.started = true
	return b.ReadCloser.Read(p)
}

// passed reports whether t has passed by either clock: the monotonic clock may stop while
// a machine is paused, the wall clock may be set back.
func passed(t, now time.Time) bool { return now.After(t) || now.Round(0).After(t.Round(0)) }
