package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks/api"
)

// insideKey is the context's key of who asks from within the process. Nothing that
// comes over a network has it.
type insideKey struct{}

// Inside gives clients of a server in the same process, without a network: the
// dashboard's, and the command line's when it is told no server. What they may
// do is decided by the same table of routes as for everybody else.
type Inside struct {
	handler http.Handler
	local   bool
}

// LocalError is why a server of a Config with Local did not answer, as it came
// about there and not as others are told: in place of a problem, of a fault of the
// way there, and of an answer that breaks off.
type LocalError struct{ Err error }

func (e *LocalError) Error() string { return e.Err.Error() }
func (e *LocalError) Unwrap() error { return e.Err }

// tellKey is the context's key of the func that tells a client inside of an error.
type tellKey struct{}

// tellInside gives the client inside the error itself.
func (r *request) tellInside(err error) bool {
	tell, inside := r.Context().Value(tellKey{}).(func(error))
	if inside {
		tell(&LocalError{err})
	}
	return inside
}

// NewInside makes a server and gives its clients.
func NewInside(cfg Config) *Inside {
	cfg.Pages, cfg.Metrics = nil, nil
	return &Inside{newServer(cfg), cfg.Local}
}

// As gives a client that asks as the holder of a key does. The key is taken as it
// is: that it is valid is the caller's to know.
func (in *Inside) As(key access.Key) *api.Client {
	c, err := api.New(api.Config{Server: "http://inside", HTTP: &http.Client{Transport: transport{in.handler, key, in.local}}})
	if err != nil {
		panic(err) // the address is right
	}
	return c
}

// transport has a handler answer. The answer streams.
type transport struct {
	handler http.Handler
	key     access.Key
	local   bool
}

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(context.WithValue(req.Context(), insideKey{}, t.key))
	from, to := io.Pipe()
	w := &pipeWriter{header: http.Header{}, body: to, begun: make(chan struct{})}
	if t.local {
		ctx = context.WithValue(ctx, tellKey{}, w.fail)
	}
	in := req.Clone(ctx)
	in.RequestURI = in.URL.RequestURI()
	if in.Body == nil {
		in.Body = http.NoBody
	}
	// Who no longer reads is waited for no longer, even if the body is never closed.
	context.AfterFunc(ctx, func() { _ = to.CloseWithError(context.Cause(ctx)) })
	go func() {
		defer cancel()
		defer func() {
			if p := recover(); p != nil {
				w.fail(errors.New("the answer broke off"))
				return
			}
			w.WriteHeader(http.StatusOK)
			_ = to.Close()
		}()
		t.handler.ServeHTTP(w, in)
	}()
	select {
	case <-w.begun:
	case <-ctx.Done():
		// The handler may have ended by then; what it said counts.
		select {
		case <-w.begun:
		default:
			_ = from.CloseWithError(ctx.Err())
			if t.local {
				return nil, &LocalError{context.Cause(ctx)}
			}
			return nil, context.Cause(ctx)
		}
	}
	if w.err != nil {
		return nil, w.err
	}
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: body{from, cancel}, ContentLength: -1, Request: req,
	}, nil
}

// body ends the handler when it is closed.
type body struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (b body) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}

// pipeWriter is an http.ResponseWriter.
type pipeWriter struct {
	header http.Header
	body   *io.PipeWriter

	once   sync.Once
	begun  chan struct{} // closed once the following are set
	status int
	sent   http.Header
	err    error
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.begun)
	})
}

func (w *pipeWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// Flush makes it an http.Flusher; there is nothing to flush.
func (w *pipeWriter) Flush() { w.WriteHeader(http.StatusOK) }

// fail breaks the answer off.
func (w *pipeWriter) fail(err error) {
	w.once.Do(func() {
		w.err = err
		close(w.begun)
	})
	_ = w.body.CloseWithError(err)
}
