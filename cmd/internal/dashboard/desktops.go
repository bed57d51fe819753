package dashboard

import (
	"cmp"
	"net/http"

	"github.com/detachd/detachd/tasks/api"
)

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
	return stateOf(d.Rows[0].Operation, d.Rows[0].Desktop.State)
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
