package server

import (
	"net/http"
	"net/url"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/worker/policy"
)

// getDesktop is GET /v1/desktops/{desktop}: its history across operations, the latest
// first.
func (s *server) getDesktop(r *request) error {
	if err := r.query().err(); err != nil {
		return err
	}
	id, err := url.PathUnescape(r.vars["desktop"])
	if why := tasks.CheckDesktopID(id); err != nil || why != "" {
		return fault("desktop", "the desktop id %s", why)
	}
	id = tasks.CanonicalDesktopID(id)
	events, err := s.record.History(r.Context(), id)
	if err != nil {
		return err
	}
	out := api.History{DesktopID: id, Events: []api.Event{}}
	for _, e := range events {
		if !r.sees(e.Operation.Project) {
			continue
		}
		views, err := s.views(r.Context(), e.Operation, []tasks.Desktop{e.Desktop})
		if err != nil {
			return err
		}
		if views[0].Steps, err = s.record.Steps(r.Context(), &views[0].Desktop); err != nil {
			return err
		}
		out.Events = append(out.Events, api.Event{Operation: e.Operation, Desktop: views[0]})
	}
	return r.answer(http.StatusOK, out)
}

// failureFilter reads the parameters that say which failures are wanted.
func (r *request) failureFilter(more ...string) (*query, tasks.FailureFilter) {
	q := r.query(append(more, "project", "class", "code", "operation", "user", "source", "from", "to")...)
	return q, tasks.FailureFilter{
		Project: r.project(q), Class: q.text("class"), Code: q.text("code"), Operation: q.text("operation"),
		User: q.text("user"), Source: q.text("source"), From: q.time("from"), To: q.time("to"),
	}
}

// listFailures is GET /v1/failures: failed and held desktops, the latest first.
func (s *server) listFailures(r *request) error {
	q, f := r.failureFilter("page_size", "page_token")
	size := q.size()
	if err := q.err(); err != nil {
		return err
	}
	failures, next, err := s.record.Failures(r.Context(), f, size, q.text("page_token"))
	return answerPage(r, failures, next, err)
}

// countFailures is GET /v1/failures:count: how many listFailures lists, by project,
// class and code.
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
	q := tasks.DismissRequest{Filter: in.Filter, Desktops: in.Desktops, Matched: in.Matched, Projects: r.key.Projects, By: r.key.Name, Reason: in.Reason}
	if in.ValidateOnly {
		by, err := s.record.MatchDismiss(r.Context(), q)
		if err != nil {
			return err
		}
		return r.answer(http.StatusOK, matchOf(by))
	}
	n, err := s.record.Dismiss(r.Context(), q, s.Now())
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, api.Dismissed{Dismissed: n})
}

// alias is the project of the path.
func (s *server) alias(r *request) (string, error) {
	alias := r.vars["alias"]
	if !slices.Contains(s.Store.Projects, alias) || !r.sees(alias) {
		return "", problem(http.StatusNotFound, "project_not_found", "there is no such project")
	}
	return alias, nil
}

// Limits of a pause.
const (
	maxPause  = 365 * 24 * 60 * 60 // seconds
	maxReason = 1000               // characters
)

// pauseProject is POST /v1/projects/{alias}:pause.
func (s *server) pauseProject(r *request) error {
	var in api.PauseRequest
	if err := r.decode(&in, true); err != nil {
		return err
	}
	if in.ForSeconds < 0 || in.ForSeconds > maxPause {
		return fault("/for_seconds", "is not 0 to %d", maxPause)
	}
	if utf8.RuneCountInString(in.Reason) > maxReason {
		return fault("/reason", "is longer than %d characters", maxReason)
	}
	alias, err := s.alias(r)
	if err != nil {
		return err
	}
	reason := r.key.Name + ": " + in.Reason
	if err := s.record.PauseProject(r.Context(), alias, tasks.ByOperator, time.Duration(in.ForSeconds)*time.Second, reason); err != nil {
		return err
	}
	return r.answer(http.StatusOK, api.Paused{Project: alias, Paused: true})
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
	return r.answer(http.StatusOK, api.Paused{Project: alias})
}

// listProjects is GET /v1/projects: those that the key is for.
func (s *server) listProjects(r *request) error {
	if err := r.query().err(); err != nil {
		return err
	}
	var out []api.Project
	for _, p := range s.Store.Limits() {
		if !r.sees(p.Alias) {
			continue
		}
		pause, err := s.record.ProjectPause(r.Context(), p.Alias)
		if err != nil {
			return err
		}
		out = append(out, api.Project{Alias: p.Alias, Pause: pause, Limits: api.Limits{
			Credential: p.Credential.Name, CallsPerMinute: p.Credential.CallsPerMinute, ReadsPerMinute: p.Credential.ReadsPerMinute,
			Burst: p.Credential.Burst, MaxInFlight: p.Limits.MaxInFlight, MaxReads: p.Limits.MaxReads,
		}})
	}
	return answerPage(r, out, "", nil)
}

// listCodes is GET /v1/codes: what refusals and readings mean.
func (s *server) listCodes(r *request) error {
	if err := r.query().err(); err != nil {
		return err
	}
	return r.answer(http.StatusOK, Codes(s.Store.Rules()))
}

// Codes are the tables by which workers decide, with the rules of a configuration.
func Codes(rules []policy.Rule) api.Codes {
	out := api.Codes{Codes: []api.Code{}, Classes: []api.Class{}, Readings: []api.Reading{}}
	for _, x := range policy.Table(rules) {
		out.Codes = append(out.Codes, api.Code{Of: string(x.Of), Status: x.Status, Code: x.Code, Class: string(x.Class), Why: x.Why, Advice: policy.Advice(x.Code, string(x.Class))})
	}
	for _, x := range policy.Classes() {
		out.Classes = append(out.Classes, api.Class{Class: string(x.Class), Does: x.Does, Advice: x.Advice})
	}
	for _, x := range policy.Verdicts() {
		reading := api.Reading{
			Reads: x.Reads, Before: string(x.Before), Unknown: string(x.Unknown), After: string(x.After), Code: x.Code, Why: x.Why,
		}
		if x.Code != "" {
			reading.Advice = policy.Advice(x.Code, string(policy.HeldBack))
		}
		out.Readings = append(out.Readings, reading)
	}
	return out
}
