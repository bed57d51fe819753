package server

import (
	"net/http"
	"slices"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// alias is the project of the path, which the key must be for.
func (s *server) alias(r *request) (string, error) {
	alias := r.vars["alias"]
	if !slices.Contains(s.Store.Projects, alias) || !r.maySee(alias) {
		return "", problem(http.StatusNotFound, "project_not_found", "there is no such project: check GET /v1/projects")
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
	if err := checkReason(in.Reason); err != nil {
		return err
	}
	alias, err := s.alias(r)
	if err != nil {
		return err
	}
	length, reason := time.Duration(in.ForSeconds)*time.Second, r.key.Name+": "+in.Reason
	act := s.act(r, tasks.AuditProjectPaused, alias, alias, in.Reason)
	if length > 0 {
		act.Event.Detail = "for " + length.String()
	}
	err = act.Do(func() error { return s.record.PauseProject(r.Context(), alias, tasks.PauseOperator, length, reason) })
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, api.Paused{Project: alias, Paused: true})
}

// resumeProject is POST /v1/projects/{alias}:resume.
func (s *server) resumeProject(r *request) error {
	reason, err := r.reason()
	if err != nil {
		return err
	}
	alias, err := s.alias(r)
	if err != nil {
		return err
	}
	act := s.act(r, tasks.AuditProjectResumed, alias, alias, reason)
	if err := act.Do(func() error { return s.record.ResumeProject(r.Context(), alias) }); err != nil {
		return err
	}
	return r.answer(http.StatusOK, api.Paused{Project: alias})
}

// listProjects is GET /v1/projects: the projects that the key is for.
func (s *server) listProjects(r *request) error {
	pauses, err := s.record.ProjectPauses(r.Context(), s.Store.Projects...)
	if err != nil {
		return err
	}
	var out []api.Project
	for _, p := range s.Store.Limits() {
		if !r.maySee(p.Alias) {
			continue
		}
		out = append(out, api.Project{Alias: p.Alias, Pause: pauses[p.Alias], Blackout: p.Blackouts.At(s.Now()), Limits: api.Limits{
			Credential: p.Credential.Name, CallsPerMinute: p.Credential.CallsPerMinute, ReadsPerMinute: p.Credential.ReadsPerMinute,
			Burst: p.Credential.Burst, MaxInFlight: p.Limits.MaxInFlight, MaxReads: p.Limits.MaxReads,
		}})
	}
	return answerPage(r, out, "", nil)
}
