package server

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/detachd/detachd/tasks"
)

// eventView is what one operation did about a desktop.
type eventView struct {
	Operation tasks.Operation `json:"operation"`
	Desktop   tasks.Desktop   `json:"desktop"`
}

// getDesktop is GET /v1/desktops/{desktop}: its history across operations, the latest
// first.
func (s *server) getDesktop(r *request) error {
	if err := r.query().err(); err != nil {
		return err
	}
	id, err := url.PathUnescape(r.vars["desktop"])
	if why := tasks.CheckDesktopID(id); err != nil || why != "" {
		return fault("id", "the desktop id %s", why)
	}
	events, err := s.record.History(r.Context(), id)
	if err != nil {
		return err
	}
	out := []eventView{}
	for _, e := range events {
		if r.sees(e.Operation.Project) {
			out = append(out, eventView{e.Operation, e.Desktop})
		}
	}
	return r.answer(http.StatusOK, map[string]any{"desktop_id": id, "events": out})
}

// listFailures is GET /v1/failures: failed and held desktops, the latest first.
func (s *server) listFailures(r *request) error {
	q := r.query("project", "class", "code", "operation", "from", "to", "page_size", "page_token")
	f := tasks.FailureFilter{
		Project: r.project(q), Class: q.text("class"), Code: q.text("code"), Operation: q.text("operation"), From: q.time("from"), To: q.time("to"),
	}
	size := q.size()
	if err := q.err(); err != nil {
		return err
	}
	failures, next, err := s.record.Failures(r.Context(), f, size, q.text("page_token"))
	return answerPage(r, failures, next, err)
}

// alias is the project of the path.
func (s *server) alias(r *request) (string, error) {
	alias := r.vars["alias"]
	if !slices.Contains(s.Store.Projects, alias) || !r.sees(alias) {
		return "", problem(http.StatusNotFound, "project_not_found", "there is no such project")
	}
	return alias, nil
}

// pauseProject is POST /v1/projects/{alias}:pause.
func (s *server) pauseProject(r *request) error {
	var in struct {
		Reason     string `json:"reason"`
		ForSeconds int    `json:"for_seconds"` // 0: until it is resumed
	}
	if err := r.decode(&in, true); err != nil {
		return err
	}
	if in.ForSeconds < 0 {
		return fault("/for_seconds", "is negative")
	}
	alias, err := s.alias(r)
	if err != nil {
		return err
	}
	reason := r.key.Name + ": " + in.Reason
	if err := s.record.PauseProject(r.Context(), alias, tasks.ByOperator, time.Duration(in.ForSeconds)*time.Second, reason); err != nil {
		return err
	}
	return r.answer(http.StatusOK, map[string]any{"project": alias, "paused": true})
}

// resumeProject is POST /v1/projects/{alias}:resume.
func (s *server) resumeProject(r *request) error {
	if err := r.decode(&struct{}{}, true); err != nil {
		return err
	}
	alias, err := s.alias(r)
	if err != nil {
		return err
	}
	if err := s.record.ResumeProject(r.Context(), alias); err != nil {
		return err
	}
	return r.answer(http.StatusOK, map[string]any{"project": alias, "paused": false})
}
