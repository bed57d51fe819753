package server

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

const (
	// maxStreams and maxStreamsOfKey limit the open streams of events in this process.
	maxStreams, maxStreamsOfKey = 512, 64
	// longestReport limits the time of a report, even for a fast reader.
	longestReport = 10 * time.Minute
)

// stopKey is the context's key of the channel that is closed when the server stops.
type stopKey struct{}

// WithStop is for the BaseContext of an http.Server: streams of events, which last up to an
// hour, end when stop is closed.
func WithStop(ctx context.Context, stop <-chan struct{}) context.Context {
	return context.WithValue(ctx, stopKey{}, stop)
}

// streaming is the context of an answer that streams: longest replaces patience, and
// extendWrite the write timeout of the http.Server.
func (r *request) streaming(longest time.Duration) (context.Context, context.CancelFunc) {
	if r.server.Local {
		return context.WithCancel(r.connection)
	}
	// When the read deadline passes it ends the request, even one that was read long ago.
	_ = http.NewResponseController(r.w).SetReadDeadline(time.Time{})
	r.extendWrite(longest)
	return context.WithTimeoutCause(r.connection, longest, errors.New("answering took too long"))
}

// extendWrite moves the deadline for what is written next. Over HTTP/2 the answer ends at
// the deadline even if nothing is being written. Connections within the process have none.
func (r *request) extendWrite(within time.Duration) {
	_ = http.NewResponseController(r.w).SetWriteDeadline(time.Now().Add(within))
}

// streams are the open streams of events.
type streams struct {
	mu    sync.Mutex
	all   int
	byKey map[string]int
	views map[string]*view // by operation
}

func newStreams() *streams {
	return &streams{byKey: map[string]int{}, views: map[string]*view{}}
}

// view is the last reading of an operation, shared by its streams.
type view struct {
	viewers int // guarded by streams.mu

	mu sync.Mutex
	at time.Time
	op record.Operation
}

// open adds a stream of a key; leave removes it.
func (s *streams) open(key, operation string) (v *view, leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= maxStreams || s.byKey[key] >= maxStreamsOfKey {
		return nil, nil, problem(http.StatusServiceUnavailable, api.CodeBusy,
			"too many streams are open: %d of %d of this key, %d of %d in all; close some, or try again later",
			s.byKey[key], maxStreamsOfKey, s.all, maxStreams)
	}
	v = s.views[operation]
	if v == nil {
		v = &view{}
		s.views[operation] = v
	}
	s.all++
	s.byKey[key]++
	v.viewers++
	return v, func() { s.leave(key, operation) }, nil
}

func (s *streams) leave(key, operation string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.byKey[key]--; s.byKey[key] == 0 {
		delete(s.byKey, key)
	}
	if v := s.views[operation]; v.viewers == 1 {
		delete(s.views, operation)
	} else {
		v.viewers--
	}
}

// viewPatience limits a reading of an operation.
const viewPatience = 10 * time.Second

// read returns the operation, at most as old as ago. Streams that ask at the same time
// share one reading.
func (v *view) read(ctx context.Context, rec *record.Record, id string, ago time.Duration) (record.Operation, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	if now.Sub(v.at) < ago {
		return v.op, nil
	}
	ctx, cancel := context.WithTimeout(ctx, viewPatience)
	defer cancel()
	op, err := rec.Operation(ctx, id)
	if err == nil {
		v.at, v.op = now, op
	}
	return op, err
}
