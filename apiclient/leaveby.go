package apiclient

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// ErrTooLate is the cause of an *Error of a call that did not leave before the time that
// LeaveBy gave. Nothing was executed: the API never got the whole request.
var ErrTooLate = errors.New("the request could not leave in time, and was not sent")

type leaveByKey struct{}

// LeaveBy gives a context under which a call that has a body is not sent after t, by
// this machine's clocks: when a token, a connection or a handshake takes until then, or
// when the process is frozen meanwhile. t is looked at as the body is about to be
// written. What remains is the time from that look until the kernel has the body.
func LeaveBy(ctx context.Context, t time.Time) context.Context {
	return context.WithValue(ctx, leaveByKey{}, t)
}

// guardBody holds the body of a request back after the time that LeaveBy gave. late
// tells whether it did.
//
// The headers are gone by then. Without the body that they announce nobody can carry the
// request out: HTTP/1's connection is closed, HTTP/2's stream is reset.
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
			return nil, ErrTooLate // net/http would try again, and for ever
		}
		body, err := get()
		if err != nil {
			return nil, err
		}
		return guard(body), nil
	}
	return tooLate.Load
}

// guardedBody is a body that cannot be begun after a time.
type guardedBody struct {
	io.ReadCloser
	leaveBy time.Time
	begun   bool
	tooLate *atomic.Bool
}

func (b *guardedBody) Read(p []byte) (int, error) {
	if !b.begun && passed(b.leaveBy, time.Now()) {
		b.tooLate.Store(true)
		return 0, ErrTooLate
	}
	b.begun = true
	return b.ReadCloser.Read(p)
}

// passed says that t has passed by either of the clocks: the monotonic one may stand
// still while a machine is paused, the other may be set back.
func passed(t, now time.Time) bool { return now.After(t) || now.Round(0).After(t.Round(0)) }
