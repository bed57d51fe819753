package server

import (
	"errors"
	"net/http"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

// createRedrive is POST /v1/redrives: 202 and the redrive, which workers carry on.
func (s *server) createRedrive(r *request) error {
	var in api.RedriveRequest
	if err := r.decode(&in, false); err != nil {
		return err
	}
	idempotency, err := r.idempotencyKey()
	if err != nil {
		return err
	}
	q := tasks.RedriveRequest{
		Filter: in.Filter, Desktops: in.Desktops, Projects: r.key.Projects, PerSecond: in.PerSecond,
		RequestedBy: r.key.Name, Reason: in.Reason, IdempotencyKey: idempotency,
	}
	if in.ValidateOnly {
		by, err := s.record.MatchRedrive(r.Context(), q)
		if err != nil {
			return err
		}
		return r.answer(http.StatusOK, matchOf(by))
	}
	x, err := s.Store.Producer.Redrive(r.Context(), q)
	if err != nil {
		return err
	}
	r.w.Header().Set("Location", "/v1/redrives/"+x.ID)
	return r.answer(http.StatusAccepted, x)
}

// matchOf adds up what matches.
func matchOf(by []tasks.FailureCount) api.FailureMatch {
	out := api.FailureMatch{By: append([]tasks.FailureCount{}, by...)}
	for _, c := range by {
		out.Matched += c.Count
	}
	return out
}

// listRedrives is GET /v1/redrives, the latest first. Those of projects that the
// key is not for are left out, so a page may be short.
func (s *server) listRedrives(r *request) error {
	q := r.query("page_size", "page_token")
	size := q.size()
	if err := q.err(); err != nil {
		return err
	}
	all, next, err := s.record.Redrives(r.Context(), size, q.text("page_token"))
	var out []record.Redrive
	for _, x := range all {
		if r.seesAll(x.Projects) {
			out = append(out, x)
		}
	}
	return answerPage(r, out, next, err)
}

func (r *request) seesAll(projects []string) bool {
	for _, p := range projects {
		if !r.sees(p) {
			return false
		}
	}
	return true
}

// redrive reads the redrive of the path. One that concerns another project is as
// good as none.
func (s *server) redrive(r *request) (record.Redrive, error) {
	x, err := s.record.Redrive(r.Context(), r.vars["id"])
	if errors.Is(err, tasks.ErrNoRedrive) || err == nil && !r.seesAll(x.Projects) {
		err = problem(http.StatusNotFound, "redrive_not_found", "there is no such redrive, or its retention is over")
	}
	return x, err
}

// getRedrive is GET /v1/redrives/{id}, with what came of it.
func (s *server) getRedrive(r *request) error {
	if err := r.query().err(); err != nil {
		return err
	}
	x, err := s.redrive(r)
	if err != nil {
		return err
	}
	progress, err := s.record.RedriveProgress(r.Context(), x, s.Now())
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, progress)
}

// listRedriven is GET /v1/redrives/{id}/desktops: what it matched, and what each is
// now.
func (s *server) listRedriven(r *request) error {
	q := r.query("page_size", "page_token")
	size := q.size()
	if err := q.err(); err != nil {
		return err
	}
	x, err := s.redrive(r)
	if err != nil {
		return err
	}
	items, next, err := s.record.RedriveItems(r.Context(), x, size, q.text("page_token"))
	return answerPage(r, items, next, err)
}

// abortRedrive is POST /v1/redrives/{id}:abort.
func (s *server) abortRedrive(r *request) error {
	if err := r.decode(&struct{}{}, true); err != nil {
		return err
	}
	x, err := s.redrive(r)
	if err == nil {
		x, err = s.record.AbortRedrive(r.Context(), x.ID, s.Now(), r.key.Name)
	}
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, x)
}
