package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/detachd/detachd/tasks"
)

const (
	firstRetry   = time.Second // after a connection broke, unless the server says otherwise; doubled while attempts fail
	longestRetry = 30 * time.Second
	silence      = 45 * time.Second // after three missed heartbeats the connection is dead
)

// Watch calls f with the current state of an operation, then with each new one; if several
// changes come at once, only with the latest. It returns nil after the operation has ended
// and f has seen the last state; a *Problem if the server refuses; the error of f; or the
// cause when ctx ends. Broken connections, and a server that is away or busy, are not
// errors: Watch reconnects until ctx ends, and never repeats the same state.
func (c *Client) Watch(ctx context.Context, id string, f func(OperationState) error) error {
	long, direct := *c, *c.http
	direct.Timeout = 0
	long.http = &direct
	w := &watch{client: &long, id: id, f: f, silence: silence, retry: firstRetry}
	for pause := w.retry; ; pause = min(2*pause, longestRetry) {
		received, ended, err := w.connect(ctx)
		switch {
		case ended:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case received:
			pause = w.retry
		}
		var p *Problem
		if errors.As(err, &p) {
			pause = max(pause, p.RetryAfter)
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2+1)): // jitter: not all clients reconnect at once
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// watch is a call of Watch.
type watch struct {
	client  *Client
	id      string
	f       func(OperationState) error
	silence time.Duration
	retry   time.Duration
	last    string // id of the last event
}

var errSilent = errors.New("the server sent nothing for too long")

// connect reads from one connection. received says that an event arrived; ended says that
// Watch returns err.
func (w *watch) connect(ctx context.Context) (received, ended bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	dead := time.AfterFunc(w.silence, func() { cancel(errSilent) })
	defer dead.Stop()
	path, kinds := operationPath(w.id, "/events"), []string{"text/event-stream"}
	resp, err := w.client.send(ctx, request{method: "GET", path: path, lastEvent: w.last, kinds: kinds})
	if err != nil {
		return false, refused(err), err
	}
	defer resp.Body.Close()
	from := newEvents(resp.Body, func() { dead.Reset(w.silence) })
	from.id = w.last
	for {
		ev, err := from.next()
		if from.retry > 0 {
			w.retry = min(from.retry, longestRetry)
		}
		if err != nil {
			return received, false, err
		}
		received = true
		switch ev.name {
		case "operation":
			var state OperationState
			if err := json.Unmarshal([]byte(ev.data), &state); err != nil {
				return true, true, fmt.Errorf("%w: %w", ErrBrokeOff, err)
			}
			dead.Stop() // f may take its time
			if err := w.f(state); err != nil {
				return true, true, err
			}
			dead.Reset(w.silence)
			w.last = from.id
		case "end":
			return true, true, nil
		}
	}
}

// refused reports whether asking again would not help.
func refused(err error) bool {
	var p *Problem
	return errors.Is(err, tasks.ErrNotFound) || errors.As(err, &p) && p.Status < 500 && p.Status != http.StatusTooManyRequests
}
