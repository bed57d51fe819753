package fakecloud

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is a Cloud that listens. Stop and Restart cut it off and bring it
// back, with its desktops, at the same address.
type Server struct {
	*Cloud
	URL string // http://host:port

	addr string

	mu      sync.Mutex // held by Stop and Restart
	running *running   // nil: stopped
}

// running is what a started server has to end.
type running struct {
	http   *http.Server
	cancel context.CancelFunc
	loop   sync.WaitGroup
	open   requests
}

// Serve starts a cloud at addr, such as "127.0.0.1:0". The caller has to Close
// it.
func Serve(cfg Config, addr string) (*Server, error) {
	s := &Server{Cloud: New(cfg), addr: addr}
	if err := s.Restart(); err != nil {
		return nil, err
	}
	return s, nil
}

// Restart starts a stopped server at the address it had.
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
	if s.URL == "" { // never written again, as it is read without the lock
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

// stopKey finds what is closed by Stop in the contexts of requests, which end with
// their clients, too.
type stopKey struct{}

// stopped is closed when the server of a request stops; nil: it has none.
func stopped(request context.Context) <-chan struct{} {
	done, _ := request.Value(stopKey{}).(<-chan struct{})
	return done
}

// Stop closes the listener and every connection, whatever is going on there,
// and returns when no request is being worked on. Detach calls that wait for
// their latency take effect; what hangs ends.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return
	}
	run := s.running
	s.running = nil
	_ = run.http.Close() // of connections that are cut off no error matters
	run.cancel()
	run.loop.Wait()
	_ = run.http.Close() // a connection that was being accepted meanwhile
	run.open.finish()
}

// Close stops the server for good. It may be called more than once.
func (s *Server) Close() { s.Stop() }

// requests are those being worked on; http.Server.Close does not wait for them.
type requests struct {
	mu     sync.Mutex
	n      int
	closed bool
	none   chan struct{} // made by track; closed when closed and n is 0
}

// track has h's requests waited for.
func (q *requests) track(h http.Handler) http.Handler {
	q.none = make(chan struct{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !q.enter() {
			panic(http.ErrAbortHandler) // read before the cut, too late for an effect
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

// finish lets no more requests in and returns when there are none. It is called
// once.
func (q *requests) finish() {
	q.mu.Lock()
	q.closed = true
	if q.n == 0 {
		close(q.none)
	}
	q.mu.Unlock()
	<-q.none
}
