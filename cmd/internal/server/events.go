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

	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

// pace is how often a stream of events does what.
type pace struct {
	look      time.Duration // at the operation
	heartbeat time.Duration
	recheck   time.Duration // of the key
	longest   time.Duration // of a stream
	seal      time.Duration // how long the end waits for the trail's seal
}

var usualPace = pace{look: time.Second, heartbeat: 15 * time.Second, recheck: 30 * time.Second, longest: time.Hour, seal: 5 * time.Second}

// watchOperation is GET /v1/operations/{id}/events: server-sent events. Each event
// operation has an api.OperationState, as JSON, and the id of that state: first as
// it is, then again within a second or two of every change. When the operation has
// ended, the event end follows and the stream is closed; it is also closed after an
// hour, when the server stops, when the key is revoked or when Redis is away, without
// an end: ask again, with Last-Event-ID. Comments are sent in between.
//
// Who sends as Last-Event-ID the id of the state that is current hears nothing until
// it changes; who sends another, the current one at once. Nothing is missed by that,
// as a state says all that the ones before it did. An id is made of the state alone,
// so it is the same for every server.
func (s *server) watchOperation(r *request) error {
	if err := r.query().err(); err != nil {
		return err
	}
	op, err := s.operation(r)
	if err != nil {
		return err
	}
	v, leave, err := s.streams.open(r.key.ID, op.ID)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := r.unhurried(s.pace.longest)
	defer cancel()
	h := r.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no") // or nginx keeps events back
	if err := s.follow(ctx, r, v, op); err != nil {
		s.Log.Debug().Err(err).Func(r.tag).Msg("a stream of events ended early")
	}
	return nil
}

// follow writes events until the operation has ended. The error is why it ended
// before.
func (s *server) follow(ctx context.Context, r *request, v *view, op record.Operation) error {
	stop, _ := ctx.Value(stopKey{}).(<-chan struct{})
	look, heartbeat, recheck := time.NewTicker(s.pace.look), time.NewTicker(s.pace.heartbeat), time.NewTicker(s.pace.recheck)
	defer look.Stop()
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
			return s.send(r, "event: end\ndata: {}\n\n") // without data browsers would not tell of it
		}
		var err error
		select {
		case <-look.C:
			op, err = v.read(ctx, s.record, op.ID, s.pace.look*9/10)
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

// send writes a part of the stream, which has to be taken before the next but one
// heartbeat.
func (s *server) send(r *request, text string) error {
	r.goesOn(s.pace.heartbeat + patience/2)
	if _, err := io.WriteString(r.w, text); err != nil {
		return err
	}
	return http.NewResponseController(r.w).Flush()
}

// recheck looks whether the key is still valid. One that never was in Redis, the
// process' own, is.
func (s *server) recheck(ctx context.Context, r *request) error {
	if r.key.ID == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, viewPatience)
	defer cancel()
	return s.Keys.Recheck(ctx, r.key.ID)
}

// stateOf gives the JSON of an operation's state, and the id that is made of it.
func stateOf(op record.Operation, now time.Time) (id string, data []byte) {
	data, err := json.Marshal(api.StateOf(op.Operation, now))
	if err != nil {
		panic(err) // plain data
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8]), data
}
