package server

import (
	"net/http"
	"slices"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// sessions reads the sessions that the key may see: its own, and all for an admin of all
// projects.
func (s *server) sessions(r *request) ([]api.Session, error) {
	all, err := s.Keys.Sessions(r.Context())
	out := []api.Session{}
	everybody := r.key.Role.Includes(access.Admin) && len(r.key.Projects) == 0
	for _, x := range all {
		if everybody || x.Key.ID == r.key.ID {
			out = append(out, api.Session{
				ID: x.ID, KeyID: x.Key.ID, KeyName: x.Key.Name, Owner: x.Key.Owner, StartedAt: x.StartedAt, LastUsedAt: x.LastUsedAt,
				ExpiresAt: x.ExpiresAt, Address: x.Address, UserAgent: x.UserAgent, Current: x.ID == r.origin.Session,
			})
		} else if x.ID == r.vars["id"] {
			r.hidden = true
		}
	}
	return out, err
}

// listSessions is GET /v1/sessions.
func (s *server) listSessions(r *request) error {
	list, err := s.sessions(r)
	return answerPage(r, list, "", err)
}

// endSession is POST /v1/sessions/{id}:end.
func (s *server) endSession(r *request) error {
	reason, err := r.reason()
	if err != nil {
		return err
	}
	list, err := s.sessions(r)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(x api.Session) bool { return x.ID == r.vars["id"] })
	if i < 0 {
		return problem(http.StatusNotFound, "session_not_found",
			"this session does not exist, has ended, or is of another key: check GET /v1/sessions")
	}
	act := s.act(r, tasks.AuditSessionEnded, "", list[i].ID, reason)
	act.Event.Detail = "of key " + list[i].KeyID
	if err := act.Do(func() error { return s.Keys.EndSession(r.Context(), list[i].ID) }); err != nil {
		return err
	}
	return r.answer(http.StatusOK, list[i])
}
