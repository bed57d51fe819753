package server

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/detachd/detachd/tasks/redisfault"
)

const (
	// readyAge is how old an answer to GET /readyz may be: whatever probes how often,
	// Redis is asked once a second.
	readyAge = time.Second
	// readyPatience bounds the try; who probes gives up soon, and all wait for one.
	readyPatience = 2 * time.Second
)

// readiness is what the last try to write to Redis gave.
type readiness struct {
	try func(context.Context) error

	mu  sync.Mutex
	at  time.Time
	err error
}

func (r *readiness) read(ctx context.Context, now func() time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := now(); r.at.IsZero() || t.Sub(r.at) >= readyAge {
		// Not ended by who happens to ask first: the others wait for it, too.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyPatience)
		defer cancel()
		r.at, r.err = t, r.try(ctx)
	}
	return r.err
}

// readyz tries a write to Redis, because one that is full, or a replica, answers and
// takes nothing. The cloud is not asked: what is handed over waits for it.
func (s *server) readyz(r *request) error {
	err := s.ready.read(r.Context(), s.Now)
	if err == nil {
		return r.answer(http.StatusOK, map[string]string{"status": "ready"})
	}
	f := redisfault.Of(err)
	if f == nil {
		return err
	}
	p := problem(http.StatusServiceUnavailable, f.Code, "%s; no request can be accepted", f.Meaning)
	p.RetryAfter = f.RetryAfter
	return fmt.Errorf("%w (%w)", p, err)
}
