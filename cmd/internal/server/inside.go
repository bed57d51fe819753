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

// insideKey is the context key of an insideCaller. Requests from the network never have it.
type insideKey struct{}

// insideCaller is who asks within the process.
type insideCaller struct {
	key    access.Key
	origin Origin
}

// Inside makes clients of a server in the same process, without a network: for the
// dashboard, and for the command line without a server. The table of routes decides what
// they may do, as for all clients.
type Inside struct {
	handler http.Handler
	local   bool
}

// LocalError is the original error of a server whose Config has Local. Clients get it in
// place of a problem, of a transport error, and of an answer that is cut off.
type LocalError struct{ Err error }

func (e *LocalError) Error() string { return e.Err.Error() }
func (e *LocalError) Unwrap() error { return e.Err }

// failKey is the context key of the func that passes an error to an in-process client.
type failKey struct{}

// failInside passes the error itself to the in-process client; false if there is none.
func (r *request) failInside(err error) bool {
	fail, inside := r.Context().Value(failKey{}).(func(error))
	if inside {
		fail(&LocalError{err})
	}
	return inside
}

// NewInside makes a server for clients in the same process.
func NewInside(cfg Config) *Inside {
	cfg.Pages, cfg.Metrics = nil, nil
	return &Inside{newServer(cfg), cfg.Local}
}

// As makes a client with the rights of a key, for requests from an origin. The caller must
// know that the key is valid.
func (in *Inside) As(key access.Key, from Origin) *api.Client {
	to := transport{in.handler, insideCaller{key, from}, in.local}
	c, err := api.New(api.Config{Server: "http://inside", HTTP: &http.Client{Transport: to}})
	if err != nil {
		panic(err) // the address is valid
	}
	return c
}

// transport is a RoundTripper that calls a handler. The answer streams.
type transport struct {
	handler http.Handler
	caller  insideCaller
	local   bool
}

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(context.WithValue(req.Context(), insideKey{}, t.caller))
	from, to := io.Pipe()
	w := &pipeWriter{header: http.Header{}, body: to, begun: make(chan struct{})}
	if t.local {
		ctx = context.WithValue(ctx, failKey{}, w.fail)
	}
	in := req.Clone(ctx)
	in.RequestURI = in.URL.RequestURI()
	if in.Body == nil {
		in.Body = http.NoBody
	}
	// Stop waiting for a caller whose context has ended, even if it never closes the body.
	context.AfterFunc(ctx, func() { _ = to.CloseWithError(context.Cause(ctx)) })
	go func() {
		defer cancel()
		defer func() {
			if p := recover(); p != nil {
				w.fail(errors.New("the answer was cut off"))
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
		// If the handler has ended by then, its answer counts.
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
	begun  chan struct{} // closed when the following are set
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

// fail cuts the answer off.
func (w *pipeWriter) fail(err error) {
	w.once.Do(func() {
		w.err = err
		close(w.begun)
	})
	_ = w.body.CloseWithError(err)
}
