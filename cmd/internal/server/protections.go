package server

import (
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// listProtections is GET /v1/protections: those of the configuration and those in Redis that
// concern a project that the key sees.
func (s *server) listProtections(r *request) error {
	all, err := s.record.AllProtections(r.Context())
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(p tasks.Protection) bool { return !r.maySeeProtection(p) })
	return answerPage(r, all, "", nil)
}

func (r *request) maySeeProtection(p tasks.Protection) bool {
	return p.Project == "" || r.key.Sees(p.Project)
}

// addProtection is POST /v1/protections.
func (s *server) addProtection(r *request) error {
	var in api.ProtectionRequest
	if err := r.decode(&in, false); err != nil {
		return err
	}
	p := tasks.Protection{
		Name: in.Name, Kind: tasks.ProtectionKind(in.Kind), Pattern: in.Pattern, Project: in.Project, Reason: in.Reason,
		By: r.key.Name, At: s.Now().UTC(),
	}
	if err := r.mayProtect(p.Project); err != nil {
		return err
	}
	if p.Project != "" && !slices.Contains(s.Store.Projects, p.Project) {
		return fault("/project", "there is no such project")
	}
	if err := p.Validate(); err != nil {
		return err
	}
	act := s.act(r, tasks.AuditProtectionAdded, p.Project, p.Name, p.Reason)
	act.Event.Detail = string(p.Kind) + " " + p.Pattern
	if err := act.Do(func() error { return s.record.AddProtection(r.Context(), p) }); err != nil {
		return err
	}
	return r.answer(http.StatusCreated, p)
}

// removeProtection is POST /v1/protections/{name}:remove.
func (s *server) removeProtection(r *request) error {
	in, err := r.decision()
	if err != nil {
		return err
	}
	name, err := url.PathUnescape(r.vars["name"])
	if err != nil {
		return tasks.ErrNoProtection
	}
	p, err := s.record.Protection(r.Context(), name)
	if errors.Is(err, tasks.ErrNoProtection) {
		return s.noProtection(r, name)
	}
	if err == nil && p.Project != "" && !r.maySee(p.Project) {
		return tasks.ErrNoProtection
	}
	if err == nil {
		err = r.mayProtect(p.Project)
	}
	if err != nil {
		return err
	}
	act := s.act(r, tasks.AuditProtectionRemoved, p.Project, p.Name, in.Reason)
	act.Event.Detail = string(p.Kind) + " " + p.Pattern
	if err := act.Do(func() error { return s.record.RemoveProtection(r.Context(), p.Name) }); err != nil {
		return err
	}
	return r.answer(http.StatusOK, p)
}

// mayProtect refuses keys that are not for the project of a protection, or for all if it has
// none.
func (r *request) mayProtect(project string) error {
	if project == "" {
		return r.requireAllProjects()
	}
	if !r.maySee(project) {
		return wrongProject(project)
	}
	return nil
}

// noProtection says why a protection cannot be removed from Redis.
func (s *server) noProtection(r *request, name string) error {
	all, err := s.record.AllProtections(r.Context())
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(p tasks.Protection) bool { return p.Configured && p.Name == name && r.maySeeProtection(p) }) {
		return problem(http.StatusConflict, "protection_configured",
			"the protection is one of the configuration; nothing was changed: remove it from the files of servers and workers, and restart them")
	}
	return tasks.ErrNoProtection
}
