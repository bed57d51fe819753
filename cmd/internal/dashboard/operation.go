package dashboard

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/report"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// operation is the page of one operation.
type operation struct {
	Op      progress
	Now     time.Time
	Removal *tasks.Removal // nil: not computed
	Pace    tasks.Pace
	Asked   *approval // nil: it never asked for an approval
	Moments []moment
	State   string // filter of the rows
	Code    string
	Table   table
}

func (o operation) refreshAfter() int { return operationRefresh(o.Op.Operation, o.Now) }

func (o operation) titleState() string {
	switch c := o.Op.Counts; {
	case o.Op.Operation.State(o.Now) == tasks.OperationScheduled:
		return "scheduled"
	case o.Op.AwaitsApproval():
		return "to approve"
	case !o.Op.Done():
		return percent(o.Op.Finished(), o.Op.Total)
	case c.Failed > 0:
		return thousands(c.Failed) + " failed"
	case c.Held > 0:
		return thousands(c.Held) + " on hold"
	}
	return "finished"
}

// Name is what people know an operation by: its ticket, or its reason.
func (o operation) Name() string { return cmp.Or(o.Op.Ticket, o.Op.Reason) }

// Speed says how fast it goes, how long it has taken, and what is left, in words.
func (o operation) Speed() string {
	op := o.Op.Operation
	switch {
	case op.State(o.Now) == tasks.OperationScheduled, op.AwaitsApproval():
		return ""
	case op.Done():
		spent := op.EndedAt.Sub(op.Begins())
		text := "Took " + took(spent)
		if settled := op.Total - op.Counts.Cancelled; spent > time.Minute && settled > 0 {
			text += fmt.Sprintf(", %.3g desktops a minute", float64(settled)/spent.Minutes())
		}
		return text
	}
	text := took(o.Now.Sub(op.Begins())) + " elapsed"
	if o.Op.Estimate != nil {
		text += " · " + o.Op.Estimate.Text()
	}
	if o.Pace.PerMinute > 0 {
		text += fmt.Sprintf(" · %.3g desktops a minute", o.Pace.PerMinute)
	}
	if !o.Pace.EndsAt.IsZero() {
		text += " · about " + took(o.Pace.EndsAt.Sub(o.Now)) + " left"
	}
	return text
}

// retry leads to the confirmation of a bulk retry of what failed or is on hold.
func (o operation) retry(class string) string {
	return failureFields{Operation: o.Op.ID, Class: class}.at("/redrives/preview", "which", "all")
}

// RetryFailed and RetryHeld are those links.
func (o operation) RetryFailed() string { return o.retry("") }
func (o operation) RetryHeld() string   { return o.retry(string(tasks.ClassHeld)) }

// Cancellable is how many desktops can still be cancelled.
func (o operation) Cancellable() int { return o.Op.Counts.Queued + o.Op.Counts.Held }

// Undoable is how many desktops an undo may give back.
func (o operation) Undoable() int {
	if o.Op.UndoOf != "" {
		return 0
	}
	return o.Op.Counts.Detached + o.Op.Counts.Accepted
}

// removalLimit is the number of desktops up to which the time to access removal is always
// computed. Computing it reads every row.
const removalLimit = 10_000

func (v *visit) operation() error {
	upTo := removalLimit
	if v.param("removal") != "" {
		upTo = math.MaxInt
	}
	whole, computed, err := v.api.OperationUpTo(v.Context(), v.PathValue("id"), upTo)
	if err != nil {
		return err
	}
	op := whole.Operation
	p := operation{Op: progressOf(op), Now: v.d.Now(), Pace: whole.Pace, State: v.param("state"), Code: v.param("code")}
	if computed {
		p.Removal = &whole.Removal
	}
	f := tasks.DesktopFilter{Code: p.Code}
	if p.State != "" {
		s, err := tasks.ParseState(p.State)
		if err != nil {
			return invalidField("state", err.Error())
		}
		f.States = []tasks.State{s}
	}
	rows, next, err := fill(v.token(), func(size int, token string) ([]api.Desktop, string, error) {
		return v.api.Desktops(v.Context(), op.ID, f, size, token)
	})
	if err != nil {
		return err
	}
	var calls []tasks.Call
	if op.Total <= removalLimit {
		if calls, err = v.api.Calls(v.Context(), op.ID); err != nil {
			return err
		}
	}
	p.Asked = v.approvalOf(op)
	p.Moments = momentsOf(op, calls, p.Now)
	p.Table = v.rowsTable(p, rows, v.more(next, len(rows)))
	what := "Operation"
	if op.UndoOf != "" {
		what = "Undo"
	}
	return v.page(http.StatusOK, "operation", v.operationTitle(what, op), p)
}

// rowsTable is the list of rows. Those that an undo can give back can be selected.
func (v *visit) rowsTable(p operation, rows []api.Desktop, page more) table {
	t := table{
		Caption: "Desktops in request order", Order: "in request order", Page: page, Empty: "No desktops.",
		Columns: []column{{Name: "Desktop", Class: "first"}, {Name: "State"}, {Name: "Given back by", Class: "ref"}, {Name: "Users"},
			{Name: "Code"}, {Name: "Message", Class: "wide"}, {Name: "Attempts", Class: "num"}, {Name: "Job", Class: "ref"}, {Name: "Since"},
			{Name: "Took", Class: "num"}},
	}
	if p.Code == "" {
		total := p.Op.Total
		if s, err := tasks.ParseState(p.State); err == nil {
			total = p.Op.Counts.Of(s)
		}
		t.Page = page.of(total)
	}
	if p.State+p.Code != "" {
		t.Empty = "No desktops of this operation match."
	}
	if p.Op.UndoOf != "" {
		t.Columns[3].Name = "Goes back to"
	}
	for _, d := range rows {
		name, user, message, spent := "", textCell(strings.Join(d.Expect, ", ")), textCell(""), cell{Blank: true}
		if d.Before != nil {
			name = d.Before.Name
			if p.Op.UndoOf == "" {
				user = textCell(usersBefore(d.Before))
			}
		}
		if d.Failure != nil {
			name, message = cmp.Or(name, d.Failure.DesktopName), textCell(d.Failure.Message)
		}
		if d.TookMS != nil {
			ms := time.Duration(*d.TookMS) * time.Millisecond
			spent = cell{Kind: "text", V: took(ms), Number: float64(*d.TookMS)}
		}
		bare := !undoable(p.Op.Operation, d.Desktop) || d.GivenBackBy != "" || !v.may(access.Operator)
		t.Picks = t.Picks || !bare
		t.Rows = append(t.Rows, row{Key: d.ID, Label: d.ID, Bare: bare, Cells: []cell{
			desktopCell(d.ID, name), stateCell(p.Op.Operation, d.State, d.Note), givenBackCell(d.Desktop), user, failureCell(d.Failure),
			message, numCell(d.Attempts), textCell(d.JobID), v.timeCell(d.UpdatedAt), spent,
		}})
	}
	if t.Picks {
		t.Actions = true
	}
	return v.layOut(t)
}

// operationTitle marks a scheduled operation.
func (v *visit) operationTitle(what string, op tasks.Operation) string {
	if op.State(v.d.Now()) == tasks.OperationScheduled {
		return what + " " + op.ID + ", scheduled"
	}
	return what + " " + op.ID
}

// report is a download and not a page: a page would run with the rights of the dashboard.
func (v *visit) report() error {
	format, err := report.ParseFormat(v.param("format"))
	if err != nil {
		return invalidField("format", err.Error())
	}
	id := v.PathValue("id")
	return v.file(id+"."+string(format), format.ContentType(), func(ctx context.Context, w io.Writer) error {
		return v.api.Report(ctx, w, id, string(format))
	})
}

func (v *visit) operationPath() string { return "/operations/" + v.PathValue("id") }

func (v *visit) cancel() error {
	if err := v.ParseForm(); err != nil {
		return badForm(err)
	}
	done, err := v.api.Cancel(v.Context(), v.PathValue("id"), v.PostFormValue("reason"))
	if err != nil {
		return err
	}
	notice := plural(done.Cancelled, "desktop", "desktops") + " cancelled."
	if done.TooLate > 0 {
		notice += " " + plural(done.TooLate, "desktop", "desktops") + " already sent."
	}
	return v.redirect(v.operationPath(), notice)
}
