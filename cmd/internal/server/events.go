package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/detachd/detachd/cmd/internal/harmless"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

// pace is the timing of a stream of events.
type pace struct {
	poll      time.Duration // interval of reading the operation
	heartbeat time.Duration
	recheck   time.Duration // interval of checking the key
	longest   time.Duration // limit of a stream
	seal      time.Duration // how long the end waits for the audit seal
}

var defaultPace = pace{poll: time.Second, heartbeat: 15 * time.Second, recheck: 30 * time.Second, longest: time.Hour, seal: 5 * time.Second}

// watchOperation is GET /v1/operations/{id}/events: server-sent events. Each event named
// operation carries an api.OperationState: the current one, then each new one within a
// second or two. After the end of the operation the event named end closes the stream.
// Without it, the stream was closed early (after an hour, when the server stops, the key is
// revoked or Redis is away): ask again, with Last-Event-ID. Comments are heartbeats.
//
// If Last-Event-ID names the current state, the first event is the next change; else it is
// the current state. No change is missed, because a state contains all earlier ones. The
// id is a hash of the state, so it is the same on every server.
func (s *server) watchOperation(r *request) error {
	op, err := s.operation(r)
	if err != nil {
		return err
	}
	header := func() {
		h := r.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-store, no-transform")
		h.Set("X-Accel-Buffering", "no") // else nginx holds events back
	}
	if r.Method == http.MethodHead {
		header()
		r.w.WriteHeader(http.StatusOK)
		return nil
	}
	v, leave, err := s.streams.open(r.key.ID, op.ID)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := r.streaming(s.pace.longest)
	defer cancel()
	header()
	if err := s.follow(ctx, r, v, op); err != nil {
		s.Log.Debug().Err(err).Func(r.tag).Msg("a stream of events ended early")
	}
	return nil
}

// follow writes events until the operation has ended. The error says why it stopped
// earlier.
func (s *server) follow(ctx context.Context, r *request, v *view, op record.Operation) error {
	stop, _ := ctx.Value(stopKey{}).(<-chan struct{})
	poll, heartbeat, recheck := time.NewTicker(s.pace.poll), time.NewTicker(s.pace.heartbeat), time.NewTicker(s.pace.recheck)
	defer poll.Stop()
	defer heartbeat.Stop()
	defer recheck.Stop()
	if err := s.send(r, "retry: 2000\n\n"); err != nil {
		return err
	}
	known := r.Header.Get("Last-Event-ID")
	var ended time.Time
	for {
		id, data := stateOf(op, s.Now())
		if id != known {
			if err := s.send(r, fmt.Sprintf("id: %s\nevent: operation\ndata: %s\n\n", id, data)); err != nil {
				return err
			}
			known = id
		}
		switch {
		case !op.Done():
			ended = time.Time{}
		case ended.IsZero():
			ended = time.Now()
		}
		if op.Sealed() || op.Done() && time.Since(ended) >= s.pace.seal {
			return s.send(r, "event: end\ndata: {}\n\n") // browsers ignore events without data
		}
		var err error
		select {
		case <-poll.C:
			op, err = v.read(ctx, s.record, op.ID, s.pace.poll*9/10)
		case <-heartbeat.C:
			err = s.send(r, ":\n\n")
		case <-recheck.C:
			err = s.recheck(ctx, r)
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-stop:
			err = http.ErrServerClosed
		}
		if err != nil {
			return err
		}
	}
}

// send writes a part of the stream, which the client must read before the next but one
// heartbeat.
func (s *server) send(r *request, text string) error {
	r.extendWrite(s.pace.heartbeat + patience/2)
	if _, err := io.WriteString(r.w, text); err != nil {
		return err
	}
	return http.NewResponseController(r.w).Flush()
}

// recheck checks whether the key is still valid. The process' own key, which is not in
// Redis, always is.
func (s *server) recheck(ctx context.Context, r *request) error {
	if r.key.ID == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, viewPatience)
	defer cancel()
	return s.Keys.Recheck(ctx, r.key.ID)
}

// stateOf returns the JSON of an operation's state, and its hash as the id.
func stateOf(op record.Operation, now time.Time) (id string, data []byte) {
	data, err := json.Marshal(api.StateOf(op.Operation, now))
	if err != nil {
		panic(err) // plain data
	}
	data = harmless.JSON(data)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8]), data
}
