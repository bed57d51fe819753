package server

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

// cancelAtOnce is how long the request for a cancellation carries it out itself: it must not
// wait for the next round of a worker, nor for a worker at all.
const cancelAtOnce = time.Second

// createCancellation is POST /v1/cancellations: 202 and the cancellation, as far as it is.
// Workers carry out the rest.
func (s *server) createCancellation(r *request) error {
	var in api.CancellationRequest
	if err := r.decode(&in, false); err != nil {
		return err
	}
	idempotency, err := r.idempotencyKey()
	if err != nil {
		return err
	}
	q := tasks.CancellationRequest{
		Filter: in.Filter, Projects: r.key.Projects, AsOf: in.AsOf, Matched: in.Matched,
		RequestedBy: r.key.Name, Reason: in.Reason, IdempotencyKey: idempotency,
	}
	if in.ValidateOnly {
		match, err := s.Store.Producer.MatchCancellation(r.Context(), q)
		if err != nil {
			return err
		}
		return r.answer(http.StatusOK, match)
	}
	act := s.act(r, tasks.AuditCancellationCreated, "", "", in.Reason)
	x, err := s.Store.Producer.Cancellation(r.Context(), q, func(x record.Cancellation) error {
		act.Event.Project, act.Event.Detail = projectsText(x.Projects), fmt.Sprintf("%d operations matched", x.Matched)
		return act.begins(x.ID)
	})
	if err := act.End(err); err != nil {
		return err
	}
	r.replayed(x.Replayed)
	// An error does not matter here: workers carry it out.
	if s.Store.Producer.AdvanceCancellation(r.Context(), x.ID, cancelAtOnce) == nil {
		if now, err := s.record.Cancellation(r.Context(), x.ID); err == nil {
			x = now
		}
	}
	r.w.Header().Set("Location", "/v1/cancellations/"+x.ID)
	return r.answer(http.StatusAccepted, x.Cancellation)
}

// listCancellations is GET /v1/cancellations, the latest first.
func (s *server) listCancellations(r *request) error {
	q := r.query("page_size", "page_token")
	size := q.size()
	if err := q.err(); err != nil {
		return err
	}
	all, next, err := visible(r, size, q.text("page_token"), func(n int, place string) ([]record.Cancellation, string, error) {
		return s.record.Cancellations(r.Context(), n, place)
	}, func(x record.Cancellation) bool { return r.maySeeBulk(x.Projects, x.Scope) })
	if err != nil {
		return err
	}
	total := -1
	if len(r.key.Projects) == 0 {
		if total, err = s.record.CountCancellations(r.Context()); err != nil {
			return err
		}
	}
	out := make([]tasks.Cancellation, len(all))
	for i, x := range all {
		out[i] = r.shown(x).Cancellation
	}
	return answerCounted(r, out, next, total, nil)
}

// shown is a cancellation without what it counts in projects that the key cannot see. Its matches
// are all of projects that the key sees.
func (r *request) shown(x record.Cancellation) record.Cancellation {
	if !r.maySeeBulk(nil, x.Scope) {
		x.AcceptedSince = 0
	}
	return x
}

// cancellation reads the cancellation of the path. Those of projects that the key cannot see
// are not found.
func (s *server) cancellation(r *request) (record.Cancellation, error) {
	x, err := s.record.Cancellation(r.Context(), r.vars["id"])
	if errors.Is(err, tasks.ErrNoCancellation) || err == nil && !r.maySeeBulk(x.Projects, x.Scope) {
		err = problem(http.StatusNotFound, "cancellation_not_found", "this cancellation does not exist, or its retention is over: check the id")
	}
	return r.shown(x), err
}

// getCancellation is GET /v1/cancellations/{id}, with its results so far.
func (s *server) getCancellation(r *request) error {
	x, err := s.cancellation(r)
	if err != nil {
		return err
	}
	progress, err := s.record.CancellationProgress(r.Context(), x)
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, progress)
}

// listTooLate is GET /v1/cancellations/{id}/desktops: those that were too late, as they are now.
func (s *server) listTooLate(r *request) error {
	q := r.query("page_size", "page_token")
	size := q.size()
	if err := q.err(); err != nil {
		return err
	}
	x, err := s.cancellation(r)
	if err != nil {
		return err
	}
	rows, next, err := s.record.TooLate(r.Context(), x, size, q.text("page_token"))
	out := make([]tasks.Desktop, len(rows))
	for i, d := range rows {
		out[i] = d.Desktop
	}
	return answerCounted(r, out, next, x.TooLate, err)
}

// abortCancellation is POST /v1/cancellations/{id}:abort.
func (s *server) abortCancellation(r *request) error {
	x, err := s.cancellation(r)
	if err != nil {
		return err
	}
	err = s.act(r, tasks.AuditCancellationAborted, projectsText(x.Projects), x.ID, "").Do(func() error {
		x, err = s.record.AbortCancellation(r.Context(), x.ID, s.Now(), r.key.Name)
		return err
	})
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, r.shown(x).Cancellation)
}
