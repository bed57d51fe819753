package dashboard

import (
	"net/http"
	"slices"
	"strings"

	"github.com/detachd/detachd/cmd/internal/report"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

func sortMoments(list []moment) {
	slices.SortStableFunc(list, func(a, b moment) int { return a.At.Compare(b.At) })
}

// operation is the page of one operation.
type operation struct {
	Op      progress
	Removal tasks.Removal
	State   string // the rows wanted
	Code    string
	Rows    []api.Desktop
	More    more
}

func (o operation) refreshAfter() int { return movingOperation(o.Op.Operation) }

// Waits is how many desktops can still be taken back.
func (o operation) Waits() int { return o.Op.Counts.Queued + o.Op.Counts.Held }

func (v *visit) operation() error {
	op, err := v.api.Operation(v.Context(), v.PathValue("id"))
	if err != nil {
		return err
	}
	p := operation{Op: progressOf(op.Operation), Removal: op.Removal, State: v.param("state"), Code: v.param("code")}
	f := tasks.DesktopFilter{Code: p.Code}
	if p.State != "" {
		s, err := tasks.ParseState(p.State)
		if err != nil {
			return &api.Problem{Status: http.StatusBadRequest, Code: api.CodeInvalid, Errors: []api.Fault{{Pointer: "state", Detail: err.Error()}}}
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
	return v.page(http.StatusOK, "operation", "Operation "+op.ID, p)
}

// kinds of reports, by format.
var kinds = map[string]string{"html": "text/html; charset=utf-8", "csv": "text/csv; charset=utf-8", "json": "application/json"}

// report hands the evidence on, as a file: a page of it would run in our name.
func (v *visit) report() error {
	format, err := report.ParseFormat(v.param("format"))
	if err != nil {
		return &api.Problem{Status: http.StatusBadRequest, Code: api.CodeInvalid, Errors: []api.Fault{{Pointer: "format", Detail: err.Error()}}}
	}
	id := v.PathValue("id")
	out := &fileWriter{w: v.w, name: id + "." + string(format), kind: kinds[string(format)]}
	return out.end(v.api.Report(v.Context(), out, id, string(format)))
}

// fileWriter answers with a file. It sets the header when the first byte is
// written, so that an error before that can be a page.
type fileWriter struct {
	w          http.ResponseWriter
	name, kind string
	begun      bool
}

func (f *fileWriter) Write(b []byte) (int, error) {
	if !f.begun {
		f.begun = true
		f.w.Header().Set("Content-Type", f.kind)
		f.w.Header().Set("Content-Disposition", `attachment; filename="`+f.name+`"`)
	}
	return f.w.Write(b)
}

// end breaks the answer off if the file is not whole, so that it is not taken for
// such.
func (f *fileWriter) end(err error) error {
	if err != nil && f.begun {
		panic(http.ErrAbortHandler)
	}
	return err
}

func (v *visit) operationPath() string { return "/operations/" + v.PathValue("id") }

func (v *visit) cancel() error {
	done, err := v.api.Cancel(v.Context(), v.PathValue("id"))
	if err != nil {
		return err
	}
	said := plural(done.Cancelled, "desktop was", "desktops were") + " taken back."
	if done.TooLate > 0 {
		said += " " + plural(done.TooLate, "had", "had") + " been sent already."
	}
	return v.see(v.operationPath(), said)
}

func (v *visit) retry() error {
	held := v.PostFormValue("held") != ""
	done, err := v.api.Retry(v.Context(), v.PathValue("id"), api.RetryRequest{Held: held, Code: strings.TrimSpace(v.PostFormValue("code"))})
	if err != nil {
		return err
	}
	return v.see(v.operationPath(), plural(done.Retried, "desktop is", "desktops are")+" taken up again.")
}
