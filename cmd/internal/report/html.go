package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"time"

	"github.com/detachd/detachd/cmd/internal/harmless"
	"github.com/detachd/detachd/tasks"
)

//go:embed report.html
var htmlText string

// htmlParts has the templates head, row and foot. html/template escapes by context in each
// piece of the document, because pieces begin and end between elements.
var htmlParts = template.Must(template.New("report").Funcs(template.FuncMap{
	"text":   harmless.Text,
	"stamp":  stamp,
	"when":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
	"took":   took,
	"people": people,
	"state":  StateOf,
	"states": func() []tasks.State { return tasks.States },
	"amount": amount,
	"count":  func(n int) string { return count(n, "") },
}).Parse(htmlText))

// htmlRenderer writes every row, or a summary if there are many.
type htmlRenderer struct {
	summary *summary
	undoOf  string
}

func (h *htmlRenderer) head(w io.Writer, hd head) error {
	h.undoOf = hd.Operation.UndoOf
	if hd.Operation.Total > longest {
		h.summary = newSummary()
	}
	return htmlParts.ExecuteTemplate(w, "head", struct {
		head
		Summary bool
		Listed  int
	}{hd, h.summary != nil, longestList})
}

// htmlRow is row with what a template cannot compute.
type htmlRow struct {
	row
	Subject string
	IsUser  bool
	UndoOf  string
	Proof   string
}

func (h *htmlRenderer) chunk(w io.Writer, c chunk) error {
	for _, r := range c.Rows {
		if h.summary != nil && !h.summary.add(r) {
			continue
		}
		v := htmlRow{row: r, Subject: r.ID, Proof: r.proof(), UndoOf: h.undoOf}
		if name, ok := r.user(); ok {
			v.Subject, v.IsUser = name, true
		}
		if err := htmlParts.ExecuteTemplate(w, "row", v); err != nil {
			return err
		}
	}
	return nil
}

func (h *htmlRenderer) foot(w io.Writer, f foot) error {
	v := struct {
		foot
		Summary  bool
		Open     int // rows that are not confirmed detached
		Missing  int // of those, not in the list
		Outcomes []counted
	}{foot: f, Summary: h.summary != nil}
	if h.summary != nil {
		v.Open, v.Missing, v.Outcomes = h.summary.open, h.summary.open-h.summary.shown, h.summary.table()
	}
	if err := htmlParts.ExecuteTemplate(w, "foot", v); err != nil {
		return err
	}
	// html/template removes comments.
	_, err := fmt.Fprintf(w, "<!-- %s: operation=%s trail_head=%s rows=%d made_at=%s final=%s -->\n",
		version, f.Operation.ID, f.Head, f.Rows, stamp(f.Made), strconv.FormatBool(f.Final))
	return err
}
