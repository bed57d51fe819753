package dashboard

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/detachd/detachd/cmd/internal/report"
	"github.com/detachd/detachd/tasks/api"
)

// search is the page of results for a desktop's id, its name or a user.
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
	other := func(e api.Event) bool {
		return !strings.EqualFold(e.Desktop.ID, p.Text) || e.Desktop.ID != rows[0].Desktop.ID
	}
	if len(rows) > 0 && next == "" && v.token() == "" && !slices.ContainsFunc(rows, other) { // it can only be this desktop
		http.Redirect(v.w, v.Request, "/desktop?id="+url.QueryEscape(rows[0].Desktop.ID), http.StatusSeeOther)
		return nil
	}
	p.Rows, p.More = rows, v.more(next, len(rows))
	return v.page(http.StatusOK, "search", "Search: "+p.Text, p)
}

// desktop is the page of a desktop: its history in all operations.
type desktop struct {
	ID, Name string
	Rows     []desktopEvent
}

// desktopEvent is what one operation did, with advice if it failed.
type desktopEvent struct {
	api.Event
	Advice string
}

func (d desktop) refreshAfter() int {
	for _, e := range d.Rows {
		if !e.Operation.Done() {
			return 3
		}
	}
	return 15 // somebody may retry it
}

func (d desktop) titleState() string {
	if len(d.Rows) == 0 {
		return ""
	}
	return report.StateText(d.Rows[0].Desktop.State)
}

func (v *visit) desktop() error {
	h, err := v.api.History(v.Context(), v.param("id"))
	if err != nil {
		return err
	}
	m, err := v.meanings()
	if err != nil {
		return err
	}
	p := desktop{ID: h.DesktopID}
	for _, e := range h.Events {
		x := desktopEvent{Event: e}
		if f := e.Desktop.Failure; f != nil {
			x.Advice, p.Name = m.advice(f.Code, string(f.Class)), cmp.Or(p.Name, f.DesktopName)
		}
		if b := e.Desktop.Before; b != nil {
			p.Name = cmp.Or(b.Name, p.Name)
		}
		p.Rows = append(p.Rows, x)
	}
	return v.page(http.StatusOK, "desktop", "Desktop "+h.DesktopID, p)
}
