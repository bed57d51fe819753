package fakecloud

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is a Cloud that listens on a TCP address. After Stop, Restart serves the same
// desktops at the same address.
type Server struct {
	*Cloud
	URL string // http://host:port

	addr string

	mu      sync.Mutex // held by Stop and Restart
	running *running   // nil: stopped
}

// running holds what Stop has to end.
type running struct {
	http   *http.Server
	cancel context.CancelFunc
	loop   sync.WaitGroup
	open   requests
}

// Serve starts a cloud at addr, such as "127.0.0.1:0" for any free port. The caller closes
// it. An error means that it cannot listen there.
func Serve(cfg Config, addr string) (*Server, error) {
	s := &Server{Cloud: New(cfg), addr: addr}
	if err := s.Restart(); err != nil {
		return nil, err
	}
	return s, nil
}

// Restart starts a stopped server at its previous address. It does nothing if the server
// runs.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		return nil
	}
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		return fmt.Errorf("fakecloud: %w", err)
	}
	if s.URL == "" { // written only once, because it is read without the lock
		s.addr = l.Addr().String()
		s.URL = "http://" + s.addr
	}
	ctx, cancel := context.WithCancel(context.Background())
	run := &running{cancel: cancel}
	run.http = &http.Server{
		Handler:           run.open.track(s.Cloud),
		ReadHeaderTimeout: time.Minute,
		BaseContext:       func(net.Listener) context.Context { return context.WithValue(ctx, stopKey{}, ctx.Done()) },
	}
	run.loop.Go(func() { _ = run.http.Serve(l) }) // ends with ErrServerClosed
	s.running = run
	return nil
}

// stopKey is the context key of the channel that Stop closes. The context of a request also
// ends with its client.
type stopKey struct{}

// stopped returns a channel that is closed when the server of a request stops; nil without
// a Server.
func stopped(request context.Context) <-chan struct{} {
	done, _ := request.Value(stopKey{}).(<-chan struct{})
	return done
}

// Stop closes the listener and every connection, and returns when no request is in
// progress. Detach calls that wait for their latency take effect; requests that hang end.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return
	}
	run := s.running
	s.running = nil
	_ = run.http.Close() // errors of closed connections do not matter
	run.cancel()
	run.loop.Wait()
	_ = run.http.Close() // again, for a connection that was just being accepted
	run.open.finish()
}

// Close stops the server for good. It may be called more than once.
func (s *Server) Close() { s.Stop() }

// requests counts the requests in progress; http.Server.Close does not wait for them.
type requests struct {
	mu     sync.Mutex
	n      int
	closed bool
	none   chan struct{} // made by track; closed when closed and n is 0
}

// track wraps h so that finish waits for its requests.
func (q *requests) track(h http.Handler) http.Handler {
	q.none = make(chan struct{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !q.enter() {
			panic(http.ErrAbortHandler) // read before Stop, too late for an effect
		}
		defer q.leave()
		h.ServeHTTP(w, r)
	})
}

func (q *requests) enter() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.n++
	return true
}

func (q *requests) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.n--
	if q.closed && q.n == 0 {
		close(q.none)
	}
}

// finish rejects new requests and returns when none is in progress. It is called once.
func (q *requests) finish() {
	q.mu.Lock()
	q.closed = true
	if q.n == 0 {
		close(q.none)
	}
	q.mu.Unlock()
	<-q.none
}
