package server

import (
	"errors"
	"net/http"
	"slices"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// createRecall is POST /v1/recalls: 201 and what became of the person's rows. A key with the role
// producer recalls from its own requests only.
func (s *server) createRecall(r *request) error {
	var in api.RecallRequest
	if err := r.decode(&in, false); err != nil {
		return err
	}
	idempotency, err := r.idempotencyKey()
	if err != nil {
		return err
	}
	if in.Project != "" {
		if !r.maySee(in.Project) {
			return wrongProject(in.Project)
		}
		if !slices.Contains(s.Store.Projects, in.Project) {
			return fault("/project", "there is no such project")
		}
	}
	if !r.key.Role.Includes(access.Operator) {
		if in.Source != "" && in.Source != r.key.Name {
			return problem(http.StatusForbidden, "role_missing", "to recall from the requests of others takes the role %s, and the key has %s; "+
				"nothing was changed: leave source out to recall from its own", access.Operator, r.key.Role)
		}
		in.Source = r.key.Name
	}
	q := tasks.RecallRequest{
		User: in.User, Source: in.Source, Ticket: in.Ticket, Project: in.Project, Projects: r.key.Projects,
		RequestedBy: r.key.Name, Reason: in.Reason, IdempotencyKey: idempotency,
	}
	act := s.act(r, tasks.AuditRecallCreated, in.Project, "", in.Reason)
	if in.Project == "" {
		act.Event.Project = projectsText(r.key.Projects)
	}
	out, replayed, err := s.Store.Producer.Recall(r.Context(), q, func(x tasks.Recall) error {
		act.Event.Detail = "user " + x.User
		if x.Source != "" {
			act.Event.Detail += ", source " + x.Source
		}
		return act.begins(x.ID)
	})
	if err := act.End(err); err != nil {
		return err
	}
	r.replayed(replayed)
	r.w.Header().Set("Location", "/v1/recalls/"+out.ID)
	return r.answer(http.StatusCreated, out)
}

// listRecalls is GET /v1/recalls, the latest first.
func (s *server) listRecalls(r *request) error {
	q := r.query("page_size", "page_token")
	size := q.size()
	if err := q.err(); err != nil {
		return err
	}
	all, next, err := visible(r, size, q.text("page_token"), func(n int, place string) ([]tasks.Recall, string, error) {
		return s.record.ListRecalls(r.Context(), n, place)
	}, r.maySeeRecall)
	if err != nil {
		return err
	}
	total := -1
	if len(r.key.Projects) == 0 {
		if total, err = s.record.CountRecalls(r.Context()); err != nil {
			return err
		}
	}
	return answerCounted(r, all, next, total, nil)
}

// getRecall is GET /v1/recalls/{id}, with what became of the person's rows.
func (s *server) getRecall(r *request) error {
	x, err := s.record.Recall(r.Context(), r.vars["id"])
	if errors.Is(err, tasks.ErrNoRecall) || err == nil && !r.maySeeRecall(x) {
		err = problem(http.StatusNotFound, "recall_not_found", "this recall does not exist, or all its operations have expired: check the id")
	}
	if err != nil {
		return err
	}
	out, err := s.record.RecallResult(r.Context(), x)
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, out)
}

func (r *request) maySeeRecall(x tasks.Recall) bool {
	if x.Project != "" {
		return r.maySee(x.Project)
	}
	return r.maySeeBulk(nil, x.Projects)
}
