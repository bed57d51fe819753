package server

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// failureFilter reads the parameters that select failures.
func (r *request) failureFilter(more ...string) (*query, tasks.FailureFilter) {
	q := r.query(append(more, "project", "class", "code", "operation", "user", "source", "from", "to")...)
	return q, tasks.FailureFilter{
		Project: r.project(q), Class: tasks.Class(q.text("class")), Code: q.text("code"), Operation: q.text("operation"),
		User: q.text("user"), Source: q.text("source"), From: q.time("from"), To: q.time("to"),
	}
}

// listFailures is GET /v1/failures: the inbox, the latest first.
func (s *server) listFailures(r *request) error {
	q, f := r.failureFilter("page_size", "page_token")
	size := q.size()
	if err := q.err(); err != nil {
		return err
	}
	failures, next, err := visible(r, size, q.text("page_token"), func(n int, place string) ([]tasks.Failure, string, error) {
		return s.record.Failures(r.Context(), f, n, place)
	}, func(x tasks.Failure) bool { return r.maySee(x.Project) })
	if err != nil {
		return err
	}
	total := -1
	if f.Operation == "" && f.User == "" && f.Source == "" { // else counting takes as long as listing
		counts, err := s.record.FailureCounts(r.Context(), f)
		if err != nil {
			return err
		}
		total = matchOf(counts).Matched
	}
	return answerCounted(r, failures, next, total, nil)
}

// countFailures is GET /v1/failures:count: the counts of listFailures by project, class and code.
func (s *server) countFailures(r *request) error {
	q, f := r.failureFilter()
	if err := q.err(); err != nil {
		return err
	}
	counts, err := s.record.FailureCounts(r.Context(), f)
	return answerPage(r, counts, "", err)
}

// dismissFailures is POST /v1/failures:dismiss.
func (s *server) dismissFailures(r *request) error {
	var in api.DismissRequest
	if err := r.decode(&in, false); err != nil {
		return err
	}
	q := tasks.DismissRequest{
		Filter: in.Filter, Desktops: in.Desktops, Matched: in.Matched, Projects: r.key.Projects, By: r.key.Name, Reason: in.Reason,
	}
	if in.ValidateOnly {
		by, err := s.record.MatchDismiss(r.Context(), q)
		if err != nil {
			return err
		}
		return r.answer(http.StatusOK, matchOf(by))
	}
	act := s.act(r, tasks.AuditFailuresDismissed, projectsText(q.Projects), in.Filter.Operation, in.Reason)
	if in.Filter.Project != "" {
		act.Event.Project = in.Filter.Project
	}
	act.Event.Detail = dismissText(in)
	n, err := s.record.Dismiss(r.Context(), q, s.Now(), act.Begin)
	if err := act.End(err); err != nil {
		return err
	}
	return r.answer(http.StatusOK, api.Dismissed{Dismissed: n})
}

// dismissText says which failures a request selects.
func dismissText(in api.DismissRequest) string {
	if n := len(in.Desktops); n > 0 {
		return fmt.Sprintf("%d desktops", n)
	}
	text, _ := json.Marshal(in.Filter) // plain data
	return "those that match " + string(text)
}
