package server

import (
	"net/http"
	"net/url"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
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
