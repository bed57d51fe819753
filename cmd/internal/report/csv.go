package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/detachd/detachd/cmd/internal/harmless"
	"github.com/detachd/detachd/tasks"
)

// columns of a CSV report. Lines are "desktop" or "user" for each row, then one
// "trail_head" and one "sha256" whose subject is hex.
var columns = []string{
	"line", "subject", "operation", "made_at", "final", "rows", "project", "requested_by", "reason", "ticket", "accepted_at", "ended_at",
	"computer_name", "type", "users_before", "expected_users", "state", "since", "due_at", "proven_at", "took_seconds",
	"took_since_accepted_seconds", "proof",
	"attempts", "calls", "failure_code", "failure_class", "failure_message", "note", "detail",
}

type csvRenderer struct {
	operation []string // the same in every row
}

func (c *csvRenderer) head(w io.Writer, h head) error {
	op := h.Operation
	c.operation = []string{
		op.ID, stamp(h.Made), strconv.FormatBool(h.Final), strconv.Itoa(op.Total), op.Project, op.RequestedBy, op.Reason, op.Ticket,
		stamp(op.AcceptedAt), stamp(op.EndedAt),
	}
	return writeCSV(w, columns)
}

func (c *csvRenderer) chunk(w io.Writer, ch chunk) error {
	for _, r := range ch.Rows {
		line, subject := "desktop", r.ID
		if name, ok := r.user(); ok {
			line, subject = "user", name
		}
		if err := writeCSV(w, append(append([]string{line, subject}, c.operation...), r.cells()...)); err != nil {
			return err
		}
	}
	return nil
}

func (c *csvRenderer) foot(w io.Writer, f foot) error {
	cells := make([]string, len(columns))
	copy(cells, []string{"trail_head", f.Head, f.Operation.ID, stamp(f.Made), strconv.FormatBool(f.Final), strconv.Itoa(f.Rows)})
	return writeCSV(w, cells)
}

// cells are the cells after those of the operation.
func (r row) cells() []string {
	var before tasks.Before
	if r.Before != nil {
		before = *r.Before
	}
	var failure tasks.Failure
	if r.Failure != nil {
		failure = *r.Failure
	}
	took := func(ms *int64) string {
		if ms == nil {
			return ""
		}
		return strconv.FormatFloat(float64(*ms)/1000, 'f', 3, 64)
	}
	return []string{
		before.Name, before.Type, list(people(before.Users)), list(r.Expect), r.State.String(), stamp(r.Since), stamp(r.DueAt),
		stamp(r.ProvenAt), took(r.TookMS), took(r.AcceptedMS), r.proof(), strconv.Itoa(r.Attempts), list(callTexts(r.Calls)),
		failure.Code, string(failure.Class), failure.Message, r.NoteText, r.Detail,
	}
}

// proof says in words what shows that access is gone or never existed; empty if nothing
// does.
func (r row) proof() string {
	if r.State != tasks.StateDetached {
		return ""
	}
	words := r.NoteText
	if words == "" {
		words = "confirmed by the cloud"
	}
	if r.Detail != "" {
		words += ": " + r.Detail
	}
	return words
}

// people formats people as "name (group, TYPE)".
func people(ps []tasks.Person) (out []string) {
	for _, p := range ps {
		var more []string
		for _, s := range []string{p.Group, p.Type} {
			if s != "" {
				more = append(more, s)
			}
		}
		text := p.Name
		if len(more) > 0 {
			text += " (" + strings.Join(more, ", ") + ")"
		}
		out = append(out, text)
	}
	return out
}

func callTexts(cs []call) (out []string) {
	for _, c := range cs {
		out = append(out, c.String())
	}
	return out
}

// String describes a call in one line.
func (c call) String() string {
	if c.At.IsZero() {
		return "call " + c.ID + " is not in the record"
	}
	text := stamp(c.At) + " "
	if c.Status == 0 {
		text += "no reply"
	} else {
		text += fmt.Sprintf("HTTP %d", c.Status)
	}
	if c.Code != "" {
		text += " " + c.Code
	}
	if c.RequestID != "" {
		text += " request " + c.RequestID
	}
	if len(c.JobIDs) > 0 {
		text += " job " + strings.Join(c.JobIDs, " ")
	}
	return text
}

// list joins texts in one cell.
func list(texts []string) string { return strings.Join(texts, "; ") }

// writeCSV writes one line.
func writeCSV(w io.Writer, cells []string) error {
	cw := csv.NewWriter(w)
	if err := cw.Write(harmless.Row(cells)); err != nil {
		return err
	}
	cw.Flush()
	return cw.Error()
}
