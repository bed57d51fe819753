package server

import (
	"net/http"
	"net/url"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

// getDesktop is GET /v1/desktops/{desktop}: its history over all operations, the latest first.
func (s *server) getDesktop(r *request) error {
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
		if !r.maySee(e.Operation.Project) {
			continue
		}
		steps, err := s.record.Steps(r.Context(), &e.Desktop)
		if err != nil {
			return err
		}
		views, err := s.views(r.Context(), e.Operation, []record.Row{e.Desktop})
		if err != nil {
			return err
		}
		views[0].Steps = steps
		out.Events = append(out.Events, api.Event{Operation: e.Operation.Operation, Desktop: views[0]})
	}
	return r.answer(http.StatusOK, out)
}
