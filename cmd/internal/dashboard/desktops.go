package dashboard

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/detachd/detachd/tasks/api"
)

// search is what was found for a desktop's id, its name or a user.
type search struct {
	Text string
	Rows []api.Event
	More more
}

func (v *visit) search() error {
	p := search{Text: strings.TrimSpace(v.param("q"))}
	if p.Text == "" {
		return v.page(http.StatusOK, "search", "Search", p)
	}
	rows, next, err := fill(v.token(), func(size int, token string) ([]api.Event, string, error) {
		return v.api.Search(v.Context(), p.Text, size, token)
	})
	if err != nil {
		return err
	}
	if id, one := theOnly(rows); one && next == "" && v.token() == "" && strings.EqualFold(id, p.Text) {
		http.Redirect(v.w, v.Request, "/desktop?id="+url.QueryEscape(id), http.StatusSeeOther)
		return nil
	}
	p.Rows, p.More = rows, v.more(next, len(rows))
	return v.page(http.StatusOK, "search", "Search: "+p.Text, p)
}

// theOnly is the desktop that all rows are about.
func theOnly(rows []api.Event) (id string, one bool) {
	for i, e := range rows {
		if i > 0 && e.Desktop.ID != id {
			return "", false
		}
		id = e.Desktop.ID
	}
	return id, id != ""
}

// desktop is the page of a desktop: all that operations did about it.
type desktop struct {
	ID   string
	Rows []api.Event
}

func (d desktop) refreshAfter() int {
	for _, e := range d.Rows {
		if !e.Operation.Done() {
			return 3
		}
	}
	return 0
}

func (v *visit) desktop() error {
	h, err := v.api.History(v.Context(), v.param("id"))
	if err != nil {
		return err
	}
	return v.page(http.StatusOK, "desktop", "Desktop "+h.DesktopID, desktop{ID: h.DesktopID, Rows: h.Events})
}
