package server

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

const (
	// searchPage is the largest page of a search for desktops.
	searchPage = 100
	// foundShown is how many items each group of GET /v1/search has.
	foundShown = 20
	// shortestID is the shortest beginning of an id that is searched.
	shortestID = 6
	// redrivesSearched limits the bulk retries whose ids are compared with a beginning, the
	// latest first.
	redrivesSearched = 1000
)

// searchDesktops is GET /v1/desktops?q=: rows of all operations by desktop id, user or name
// of the computer, the latest first.
func (s *server) searchDesktops(r *request) error {
	q := r.query("q", "page_size", "page_token")
	text, size := strings.TrimSpace(q.text("q")), q.size()
	if text == "" {
		q.bad("q", "is empty: give a desktop id, a user or the name of a computer")
	}
	if err := q.err(); err != nil {
		return err
	}
	events, next, err := s.desktopsNamed(r, text, min(size, searchPage), q.text("page_token"))
	return answerPage(r, events, next, err)
}

func (s *server) desktopsNamed(r *request, text string, size int, token string) (out []api.Event, next string, err error) {
	events, next, err := visible(r, size, token, func(n int, place string) ([]record.HistoryEntry, string, error) {
		return s.record.Search(r.Context(), text, min(n, searchPage), place)
	}, func(e record.HistoryEntry) bool { return r.maySee(e.Operation.Project) })
	if err != nil {
		return nil, "", err
	}
	for len(events) > 0 {
		// Rows of an operation are consecutive.
		op := events[0].Operation
		var rows []record.Row
		for len(events) > 0 && events[0].Operation.ID == op.ID {
			rows = append(rows, events[0].Desktop)
			events = events[1:]
		}
		views, err := s.views(r.Context(), op, rows)
		if err != nil {
			return nil, "", err
		}
		for _, v := range views {
			out = append(out, api.Event{Operation: op.Operation, Desktop: v})
		}
	}
	return out, next, nil
}

// search is GET /v1/search?q=: operations and bulk retries by id, the beginning of an id or
// ticket; people by the beginning of their names; desktops by id, and by the beginning of
// names.
func (s *server) search(r *request) error {
	q := r.query("q")
	text := strings.TrimSpace(q.text("q"))
	if text == "" {
		q.bad("q", "is empty: give a name or its beginning, an id, or a ticket")
	}
	if err := q.err(); err != nil {
		return err
	}
	x := &searching{r, s.seen(r), text, api.Found{Query: text}}
	for _, part := range []func(context.Context) error{x.operations, x.redrives, x.people, x.desktops} {
		if err := part(r.Context()); err != nil {
			return err
		}
	}
	return r.answer(200, x.found)
}

// seen are the projects that the key may see.
func (s *server) seen(r *request) []string {
	return slices.DeleteFunc(slices.Clone(s.Store.Projects), func(alias string) bool { return !r.maySee(alias) })
}

// searching is one search.
type searching struct {
	*request
	projects []string
	text     string
	found    api.Found
}

func (x *searching) operations(ctx context.Context) error {
	rec, now := x.server.record, x.server.Now()
	var all []record.Operation
	more := false
	if len(x.text) >= shortestID {
		found, others, err := rec.OperationsNamed(ctx, x.projects, x.text, foundShown)
		if err != nil {
			return err
		}
		all, more = found, others
	}
	for _, project := range x.projects {
		found, next, err := rec.Operations(ctx, tasks.OperationFilter{Ticket: x.text, Project: project, Now: now}, foundShown+1, "")
		if err != nil {
			return err
		}
		all, more = append(all, found...), more || next != ""
	}
	slices.SortFunc(all, func(a, b record.Operation) int { return b.AcceptedAt.Compare(a.AcceptedAt) })
	all = slices.CompactFunc(all, func(a, b record.Operation) bool { return a.ID == b.ID })
	states := make([]api.OperationState, len(all))
	for i, op := range all {
		states[i] = api.StateOf(op.Operation, now)
	}
	x.found.Operations = groupOf(states, more)
	return nil
}

func (x *searching) redrives(ctx context.Context) error {
	var all []tasks.Redrive
	if len(x.text) >= shortestID {
		one, err := x.server.record.Redrive(ctx, strings.ToLower(x.text))
		if err != nil && !errors.Is(err, tasks.ErrNoRedrive) {
			return err
		}
		if err == nil && x.maySeeBulk(one.Projects, one.Scope) {
			all = append(all, one.Redrive)
		}
	}
	if len(all) == 0 && len(x.text) >= shortestID {
		some, _, err := x.server.record.Redrives(ctx, redrivesSearched, "")
		if err != nil {
			return err
		}
		for _, one := range some {
			if strings.HasPrefix(one.ID, strings.ToLower(x.text)) && x.maySeeBulk(one.Projects, one.Scope) {
				all = append(all, one.Redrive)
			}
		}
	}
	x.found.Redrives = groupOf(all, false)
	return nil
}

func (x *searching) people(ctx context.Context) error {
	names, more, err := x.server.record.UsersNamed(ctx, x.projects, x.text, foundShown)
	if err != nil {
		return err
	}
	people := make([]api.FoundPerson, len(names))
	for i, name := range names {
		people[i] = api.FoundPerson{Name: name.Name, Projects: name.Projects}
	}
	x.found.People = groupOf(people, more)
	return nil
}

// desktops are those that the whole text finds, and then those of computers whose names begin
// with it.
func (x *searching) desktops(ctx context.Context) error {
	all, next, err := x.server.desktopsNamed(x.request, x.text, foundShown, "")
	if err != nil {
		return err
	}
	more := next != ""
	names, others, err := x.server.record.ComputersNamed(ctx, x.projects, x.text, foundShown)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.EqualFold(name.Name, x.text) {
			continue // found already
		}
		if len(all) >= foundShown {
			more = true
			break
		}
		some, next, err := x.server.desktopsNamed(x.request, name.Name, foundShown, "")
		if err != nil {
			return err
		}
		all, more = append(all, some...), more || next != ""
	}
	x.found.Desktops = groupOf(all, more || others)
	return nil
}

// groupOf is a group of what was found.
func groupOf[T any](items []T, more bool) api.FoundGroup[T] {
	if len(items) > foundShown {
		items, more = items[:foundShown], true
	}
	return api.FoundGroup[T]{Items: append([]T{}, items...), More: more}
}
