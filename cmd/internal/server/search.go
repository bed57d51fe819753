package server

import (
	"strings"

	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

// searchPage is the largest page of a search.
const searchPage = 100

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
	size = min(size, searchPage)
	events, next, err := visible(r, size, q.text("page_token"), func(n int, place string) ([]record.HistoryEntry, string, error) {
		return s.record.Search(r.Context(), text, min(n, searchPage), place)
	}, func(e record.HistoryEntry) bool { return r.maySee(e.Operation.Project) })
	if err != nil {
		return err
	}
	var out []api.Event
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
			return err
		}
		for _, v := range views {
			out = append(out, api.Event{Operation: op.Operation, Desktop: v})
		}
	}
	return answerPage(r, out, next, nil)
}
