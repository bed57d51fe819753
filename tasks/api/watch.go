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
	firstRetry   = time.Second // after a connection broke, unless the server says otherwise; doubled while none holds
	longestRetry = 30 * time.Second
	silence      = 45 * time.Second // three heartbeats: the connection is dead
)

// Watch calls f with the state of an operation: as it is, and then whenever it has
// changed, the latest if several changes come at once. It returns nil when the
// operation has ended and f was told so; a *Problem when the server refuses; the
// error of f, which ends it; and the cause when ctx ends. A connection that breaks,
// a server that is away or busy are no errors: Watch goes on until ctx ends, without
// telling f the same state twice in a row.
func (c *Client) Watch(ctx context.Context, id string, f func(OperationState) error) error {
	long, direct := *c, *c.http
	direct.Timeout = 0
	long.http = &direct
	w := &watch{client: &long, id: id, f: f, silence: silence, retry: firstRetry}
	for pause := w.retry; ; pause = min(2*pause, longestRetry) {
		told, over, err := w.connect(ctx)
		switch {
		case over:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case told:
			pause = w.retry
		}
		var p *Problem
		if errors.As(err, &p) {
			pause = max(pause, p.RetryAfter)
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2+1)): // not all who were cut off come back at once
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

var errSilent = errors.New("nothing was heard of the server")

// connect follows one connection. told says that something came over it, and over
// that err, or nil, is what Watch is to return.
func (w *watch) connect(ctx context.Context) (told, over bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	dead := time.AfterFunc(w.silence, func() { cancel(errSilent) })
	defer dead.Stop()
	resp, err := w.client.send(ctx, request{method: "GET", path: operationPath(w.id, "/events"), lastEvent: w.last, kinds: []string{"text/event-stream"}})
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
			return told, false, err
		}
		told = true
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

// refused reports that asking again would not help.
func refused(err error) bool {
	var p *Problem
	return errors.Is(err, tasks.ErrNotFound) || errors.As(err, &p) && p.Status < 500 && p.Status != http.StatusTooManyRequests
}
