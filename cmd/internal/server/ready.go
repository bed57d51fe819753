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
	// readyAge is the age up to which a result answers GET /readyz, so that Redis is
	// asked once a second however many probes there are.
	readyAge = time.Second
	// readyPatience limits the attempt: probes give up soon, and all wait for the same one.
	readyPatience = 2 * time.Second
)

// readiness is the result of the last attempt to write to Redis.
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
		// The first caller must not cancel it: others wait for the same result.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyPatience)
		defer cancel()
		r.at, r.err = t, r.try(ctx)
	}
	return r.err
}

// readyz tries a write, because a Redis that is full, or a replica, answers reads only. The
// cloud is not asked: accepted operations wait for it.
func (s *server) readyz(r *request) error {
	err := s.ready.read(r.Context(), s.Now)
	if err == nil {
		return r.answer(http.StatusOK, map[string]string{"status": "ready"})
	}
	f := redisfault.Of(err)
	if f == nil {
		return err
	}
	p := problem(http.StatusServiceUnavailable, f.Code, "%s; requests cannot be accepted", f.Meaning)
	p.RetryAfter = f.RetryAfter
	return fmt.Errorf("%w (%w)", p, err)
}
