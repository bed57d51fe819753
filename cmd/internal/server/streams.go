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
	// mostStreams and mostStreamsOfKey is how many streams of events there are at a
	// time in this process.
	mostStreams, mostStreamsOfKey = 512, 64
	// longestReport is how long a report may take, however well it is read.
	longestReport = 10 * time.Minute
)

// stopKey is the context's key of the channel that is closed when the server stops.
type stopKey struct{}

// WithStop is for the http.Server's BaseContext: streams of events, which would go
// on for an hour, end when stop is closed.
func WithStop(ctx context.Context, stop <-chan struct{}) context.Context {
	return context.WithValue(ctx, stopKey{}, stop)
}

// unhurried gives the context of an answer that streams: longest takes the place of
// patience, and goesOn that of the http.Server's time for writing an answer.
func (r *request) unhurried(longest time.Duration) (context.Context, context.CancelFunc) {
	if r.server.Local {
		return context.WithCancel(r.connection)
	}
	// A request whose time for being read is over ends, even if it was read long ago.
	_ = http.NewResponseController(r.w).SetReadDeadline(time.Time{})
	r.goesOn(longest)
	return context.WithTimeoutCause(r.connection, longest, errors.New("answering took too long"))
}

// goesOn moves the time until which what is written next has to be taken. Over
// HTTP/2 the answer ends then, even if nothing is being written. Not every way here
// has deadlines: within the process nobody is slow.
func (r *request) goesOn(within time.Duration) {
	_ = http.NewResponseController(r.w).SetWriteDeadline(time.Now().Add(within))
}

// streams are those of events that are open.
type streams struct {
	mu    sync.Mutex
	all   int
	byKey map[string]int
	views map[string]*view // by operation
}

func newStreams() *streams {
	return &streams{byKey: map[string]int{}, views: map[string]*view{}}
}

// view is an operation as it was last read, which its streams share.
type view struct {
	viewers int // guarded by streams.mu

	mu sync.Mutex
	at time.Time
	op record.Operation
}

// open enters a stream of a key; leave ends it.
func (s *streams) open(key, operation string) (v *view, leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= mostStreams || s.byKey[key] >= mostStreamsOfKey {
		return nil, nil, problem(http.StatusServiceUnavailable, api.CodeBusy,
			"too many streams are open: there are %d of this key, of at most %d, and %d in all, of at most %d", s.byKey[key], mostStreamsOfKey, s.all, mostStreams)
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

// viewPatience is how long Redis has for an operation.
const viewPatience = 10 * time.Second

// read gives the operation as it is, or was so long ago. Streams that ask at the
// same time wait for one reading.
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
