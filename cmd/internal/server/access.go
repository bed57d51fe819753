package server

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/detachd/detachd/tasks"
)

const (
	// accessPatience limits the reading of a person's access. A project that takes longer is
	// answered as one that could not be read.
	accessPatience = 20 * time.Second
	// accessAtOnce is how many projects of one person are read at a time.
	accessAtOnce = 8
)

var errAccessTooSlow = errors.New("reading took too long: the limits of readings are used up, or the cloud does not answer; ask again")

// getAccess is GET /v1/users/{name}/access: what a person still has, read from the cloud now.
// It requires the role of plans, which reveal the same.
func (s *server) getAccess(r *request) error {
	name, err := url.PathUnescape(r.vars["name"])
	if why := tasks.CheckUserName(name); err != nil || why != "" {
		return fault("name", "the user name %s", why)
	}
	out := tasks.Access{User: name, ReadAt: s.Now().UTC(), Complete: true, Items: []tasks.AccessDesktop{}, Projects: []tasks.AccessRead{}}
	ctx, cancel := context.WithTimeoutCause(r.Context(), s.accessPatience, errAccessTooSlow)
	defer cancel()
	projects := s.projectsOf(r)
	act := s.act(r, tasks.AuditPersonalData, projectsText(r.key.Projects), name, "")
	act.Event.Detail = "access of a person"
	if err := act.Begin(); err != nil {
		return err
	}
	found, reads := make([][]tasks.AccessDesktop, len(projects)), make([]tasks.AccessRead, len(projects))
	var work sync.WaitGroup
	slots := make(chan struct{}, accessAtOnce)
	for i, alias := range projects {
		work.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			found[i], reads[i] = s.accessIn(ctx, alias, name)
		})
	}
	work.Wait()
	var ids []string
	for i := range projects {
		out.Items, out.Projects = append(out.Items, found[i]...), append(out.Projects, reads[i])
		out.Complete = out.Complete && reads[i].Read
	}
	for _, d := range out.Items {
		ids = append(ids, d.DesktopID)
	}
	last, err := s.record.LastOperations(r.Context(), ids)
	if err := act.End(err); err != nil {
		return err
	}
	for i := range out.Items {
		if op, named := last[out.Items[i].DesktopID]; named && r.maySee(op.Project) {
			out.Items[i].LastOperationID = op.ID
		}
	}
	return r.answer(http.StatusOK, out)
}

// projectsOf are the projects that are read for a key: those to which it is bound. One that is not
// configured here is among them, so that the answer names it as not read.
func (s *server) projectsOf(r *request) []string {
	if len(r.key.Projects) > 0 {
		return r.key.Projects
	}
	return s.Store.Projects
}

// accessIn reads one project.
func (s *server) accessIn(ctx context.Context, alias, name string) ([]tasks.AccessDesktop, tasks.AccessRead) {
	planner, err := s.Store.Planner(alias, s.Log)
	if err != nil {
		s.Log.Error().Err(err).Str("project", alias).Msg("the access of a person cannot be read")
		return nil, tasks.AccessRead{Project: alias, Error: "the server cannot read this project: its log says why"}
	}
	found, read := planner.Access(ctx, name)
	if !read.Read && ctx.Err() != nil {
		read.Error = context.Cause(ctx).Error()
	}
	return found, read
}
