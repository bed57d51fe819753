package dashboard

import (
	"context"
	"io"
	"math"
	"net/http"
	"strings"
	"time"

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
	State   string // filter of the rows
	Code    string
	Rows    []api.Desktop
	More    more
}

func (o operation) refreshAfter() int { return operationRefresh(o.Op.Operation, o.Now) }

// Cancellable is how many desktops can still be cancelled.
func (o operation) Cancellable() int { return o.Op.Counts.Queued + o.Op.Counts.Held }

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
	p.Rows, p.More = rows, v.more(next, len(rows))
	return v.page(http.StatusOK, "operation", v.operationTitle("Operation", op), p)
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

func (v *visit) retry() error {
	if err := v.ParseForm(); err != nil {
		return badForm(err)
	}
	held := v.PostFormValue("held") != ""
	req := api.RetryRequest{Held: held, Code: strings.TrimSpace(v.PostFormValue("code")), Reason: v.PostFormValue("reason")}
	done, err := v.api.Retry(v.Context(), v.PathValue("id"), req)
	if err != nil {
		return err
	}
	return v.redirect(v.operationPath(), plural(done.Retried, "desktop", "desktops")+" requeued.")
}
