package server

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

// createRedrive is POST /v1/redrives: 202 and the redrive, which workers carry out.
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
	act := s.act(r, tasks.AuditRedriveCreated, "", "", in.Reason)
	redrive, err := s.Store.Producer.Redrive(r.Context(), q, func(x record.Redrive) error {
		act.Event.Project, act.Event.Detail = projectsText(x.Projects), fmt.Sprintf("%d matched", x.Matched)
		return act.begins(x.ID)
	})
	if err := act.End(err); err != nil {
		return err
	}
	r.replayed(redrive.Replayed)
	r.w.Header().Set("Location", "/v1/redrives/"+redrive.ID)
	return r.answer(http.StatusAccepted, redrive.Redrive)
}

// matchOf sums up the matches.
func matchOf(by []tasks.FailureCount) api.FailureMatch {
	out := api.FailureMatch{By: append([]tasks.FailureCount{}, by...)}
	for _, c := range by {
		out.Matched += c.Count
	}
	return out
}

// listRedrives is GET /v1/redrives, the latest first.
func (s *server) listRedrives(r *request) error {
	q := r.query("page_size", "page_token")
	size := q.size()
	if err := q.err(); err != nil {
		return err
	}
	all, next, err := visible(r, size, q.text("page_token"), func(n int, place string) ([]record.Redrive, string, error) {
		return s.record.Redrives(r.Context(), n, place)
	}, func(x record.Redrive) bool { return r.maySeeBulk(x.Projects, x.Scope) })
	if err != nil {
		return err
	}
	total := -1
	if len(r.key.Projects) == 0 {
		if total, err = s.record.CountRedrives(r.Context()); err != nil {
			return err
		}
	}
	out := make([]tasks.Redrive, len(all))
	for i, x := range all {
		out[i] = x.Redrive
	}
	return answerCounted(r, out, next, total, nil)
}

// maySeeBulk reports whether the key sees all projects of a redrive or cancellation. One that
// matched nothing belongs to the projects in which it looked: its scope.
func (r *request) maySeeBulk(projects, scope []string) bool {
	if len(projects) == 0 {
		projects = scope
	}
	return len(r.key.Projects) == 0 || len(projects) > 0 && !slices.ContainsFunc(projects, func(p string) bool { return !r.maySee(p) })
}

// redrive reads the redrive of the path. Redrives of projects that the key cannot see are
// not found.
func (s *server) redrive(r *request) (record.Redrive, error) {
	redrive, err := s.record.Redrive(r.Context(), r.vars["id"])
	if errors.Is(err, tasks.ErrNoRedrive) || err == nil && !r.maySeeBulk(redrive.Projects, redrive.Scope) {
		err = problem(http.StatusNotFound, "redrive_not_found", "this redrive does not exist, or its retention is over: check the id")
	}
	return redrive, err
}

// getRedrive is GET /v1/redrives/{id}, with its results so far.
func (s *server) getRedrive(r *request) error {
	redrive, err := s.redrive(r)
	if err != nil {
		return err
	}
	progress, err := s.record.RedriveProgress(r.Context(), redrive, s.Now())
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, progress)
}

// listRedriven is GET /v1/redrives/{id}/desktops: what it matched, with the current states.
func (s *server) listRedriven(r *request) error {
	q := r.query("page_size", "page_token")
	size := q.size()
	if err := q.err(); err != nil {
		return err
	}
	redrive, err := s.redrive(r)
	if err != nil {
		return err
	}
	items, next, err := s.record.RedriveItems(r.Context(), redrive, size, q.text("page_token"))
	return answerCounted(r, items, next, redrive.Matched, err)
}

// abortRedrive is POST /v1/redrives/{id}:abort.
func (s *server) abortRedrive(r *request) error {
	redrive, err := s.redrive(r)
	if err != nil {
		return err
	}
	err = s.act(r, tasks.AuditRedriveAborted, projectsText(redrive.Projects), redrive.ID, "").Do(func() error {
		redrive, err = s.record.AbortRedrive(r.Context(), redrive.ID, s.Now(), r.key.Name)
		return err
	})
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, redrive.Redrive)
}
