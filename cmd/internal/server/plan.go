package server

import (
	"net/http"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// createPlan is POST /v1/plans: what a request would do. It is one of those who may
// have it done, as it says who has which desktop.
func (s *server) createPlan(r *request) error {
	in, ignored, err := r.decodeRequest()
	if err != nil {
		return err
	}
	req := in.Task(r.key.Name)
	if err := s.Store.Producer.Validate(req); err != nil {
		return err
	}
	if !r.sees(in.Project) {
		return problem(http.StatusForbidden, "project_not_allowed", "the key is not for project %s", in.Project)
	}
	planner, err := s.Store.Planner(in.Project, s.Log)
	if err != nil {
		return err
	}
	items, left, err := planner.Plan(r.Context(), req.Canonical())
	if err != nil && r.Context().Err() != nil {
		// Not Redis' fault: readings have to wait for the project's limit, and for the cloud.
		return problem(http.StatusBadGateway, api.CodeCloud, "the cloud: reading the desktops took longer than %s, as it is slow or the limit of reads is used up; nothing was done", s.patience)
	}
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, api.Plan{Times: api.TimesOf(req, s.Now()), Items: append([]tasks.Planned{}, items...), Left: left, IgnoredColumns: ignored})
}
