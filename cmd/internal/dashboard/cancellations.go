package dashboard

import (
	"crypto/rand"
	"net/http"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// cancelForm is the page that shows what a cancellation would be about, before it begins.
type cancelForm struct {
	choice
	RequestedBy, Ticket, From, To string
	Asked                         bool // the filter suffices
	Match                         tasks.CancellationMatch
	AsOf                          string
	Key                           string // of idempotency
	Type                          bool   // the number must be typed
	Table                         table
}

// Cancellable is how many desktops would be cancelled, as far as it is known.
func (p cancelForm) Cancellable() int {
	c := p.Match.Counts
	return c.Queued + c.Held + c.Sending
}

// cancelFilter reads the filter of a form or of an address.
func (v *visit) cancelFilter(get func(string) string) (p cancelForm, f tasks.CancellationFilter, err error) {
	p = cancelForm{RequestedBy: get("requested_by"), Ticket: get("ticket"), From: get("from"), To: get("to")}
	if p.choice, err = v.choose(get("project")); err != nil {
		return p, f, err
	}
	at := v.times()
	f = tasks.CancellationFilter{
		Project: p.Project, RequestedBy: p.RequestedBy, Ticket: p.Ticket, From: at.field("from", &p.From), To: at.field("to", &p.To),
	}
	return p, f, at.err()
}

func (v *visit) previewCancellation() error {
	p, f, err := v.cancelFilter(v.param)
	if err != nil {
		return err
	}
	// Without these the API asks for more, and the page shows its form.
	p.Asked = f.Ticket != "" || !f.From.IsZero() && (f.Project != "" || f.RequestedBy != "")
	if !p.Asked {
		return v.page(http.StatusOK, "cancel", "Cancel operations", p)
	}
	if p.Match, err = v.api.MatchCancellation(v.Context(), api.CancellationRequest{Filter: f}); err != nil {
		return err
	}
	p.AsOf, p.Key, p.Type = p.Match.AsOf.Format(time.RFC3339Nano), rand.Text(), p.Match.Matched >= confirmFrom
	p.Table = table{Caption: "Operations by project and requester", NoFoot: true, Columns: []column{
		{Name: "Project"}, {Name: "Requested by"}, {Name: "Operations", Class: "num"}, {Name: "Desktops", Class: "num"},
	}}
	for _, x := range p.Match.By {
		p.Table.Rows = append(p.Table.Rows, row{Key: x.Project + " " + x.RequestedBy, Cells: []cell{
			textCell(x.Project), textCell(x.RequestedBy), numCell(x.Operations), numCell(x.Desktops),
		}})
	}
	p.Table = v.layOut(p.Table)
	return v.page(http.StatusOK, "cancel", "Cancel operations", p)
}

func (v *visit) startCancellation() error {
	reason, err := v.reason()
	if err != nil {
		return err
	}
	_, f, err := v.cancelFilter(v.PostFormValue)
	if err != nil {
		return err
	}
	req := api.CancellationRequest{Filter: f, Reason: reason, IdempotencyKey: v.PostFormValue("key")}
	if req.AsOf, err = time.Parse(time.RFC3339Nano, v.PostFormValue("as_of")); err != nil {
		return invalidField("as_of", "is not a time: begin with the filter again")
	}
	if req.Matched, err = wholeNumber("matched", v.PostFormValue("matched")); err != nil {
		return err
	}
	if err := v.confirmCount(req.Matched); err != nil {
		return err
	}
	x, err := v.api.Cancellation(v.Context(), req)
	if err != nil {
		return err
	}
	return v.redirect("/cancellations/"+x.ID, "Cancelling. This page shows the progress.")
}

func (v *visit) cancellations() error {
	rows, next, err := fill(v.token(), func(size int, token string) ([]tasks.Cancellation, string, error) {
		return v.api.Cancellations(v.Context(), size, token)
	})
	if err != nil {
		return err
	}
	all := make([]bulk, len(rows))
	for i, x := range rows {
		all[i] = bulk{
			x.ID, x.Reason, x.RequestedBy, x.Projects, x.State(), x.Matched, x.Processed, x.Cancelled, x.TooLate, x.CreatedAt, x.EndedAt,
		}
	}
	return v.bulkList("cancellations", "Cancellations", "Cancellation", [3]string{"Operations", "Cancelled", "Too late"},
		v.more(next, len(rows)), all)
}

// cancellation is the page of one cancellation.
type cancellation struct {
	X      tasks.CancellationProgress
	Result progress // of the desktops that were too late
	Filter cancelForm
	Table  table
}

func (c cancellation) refreshAfter() int {
	return secondsIf(!c.X.Done() || c.X.Late.Unsettled() > 0, 2, 15)
}

func (c cancellation) titleState() string {
	if c.X.Done() {
		return "finished"
	}
	return percent(c.X.Processed, c.X.Matched)
}

func (v *visit) cancellation() error {
	x, err := v.api.CancellationByID(v.Context(), v.PathValue("id"))
	if err != nil {
		return err
	}
	f := x.Filter
	p := cancellation{
		X: x, Result: progressOf(tasks.Operation{Total: x.TooLate, Counts: x.Late}),
		Filter: cancelForm{
			choice: choice{Project: f.Project}, RequestedBy: f.RequestedBy, Ticket: f.Ticket, From: v.exactly(f.From), To: v.exactly(f.To),
		},
	}
	rows, next, err := fill(v.token(), func(size int, token string) ([]tasks.Desktop, string, error) {
		return v.api.TooLate(v.Context(), x.ID, size, token)
	})
	if err != nil {
		return err
	}
	p.Table = table{
		Caption: "Desktops that were too late to cancel", Page: v.more(next, len(rows)), Empty: "No desktop was too late.",
		Columns: []column{{Name: "Desktop", Class: "first"}, {Name: "State"}, {Name: "User"}, {Name: "Code"}, {Name: "Since"}},
	}
	for _, d := range rows {
		name, user := "", textCell(strings.Join(d.Expect, ", "))
		if d.Before != nil {
			name, user = d.Before.Name, textCell(usersBefore(d.Before))
		}
		p.Table.Rows = append(p.Table.Rows, row{Key: d.ID, Cells: []cell{
			desktopCell(d.ID, name), stateCell(tasks.Operation{}, d.State, d.Note), user, failureCell(d.Failure), v.timeCell(d.UpdatedAt),
		}})
	}
	p.Table = v.layOut(p.Table)
	return v.page(http.StatusOK, "cancellation", "Cancellation "+x.ID, p)
}

func (v *visit) abortCancellation() error {
	x, err := v.api.AbortCancellation(v.Context(), v.PathValue("id"))
	if err != nil {
		return err
	}
	notice := "Aborted. " + plural(x.Cancelled, "desktop stays", "desktops stay") + " cancelled."
	if x.State() != tasks.RedriveAborted {
		notice = "The cancellation had already finished."
	}
	return v.redirect("/cancellations/"+x.ID, notice)
}
