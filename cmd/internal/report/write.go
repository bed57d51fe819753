package report

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"html/template"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"

	_ "embed"
)

// Format is a form of report.
type Format string

// The formats.
const (
	HTML Format = "html"
	CSV  Format = "csv"
	JSON Format = "json"
)

// Formats lists them.
var Formats = []Format{HTML, CSV, JSON}

// version begins every report in JSON. It changes with what a report has in it.
const version = "detachd report 1"

// ErrAltered says that what is reported, or a report, is not what it was.
var ErrAltered = errors.New("it was altered")

// chunksAtOnce bounds how much of an operation is in memory.
const chunksAtOnce = 16

// Write writes the report of an operation. target is the time within which access
// should have been gone; 0 means tasks.DefaultTarget. The record is read piece by
// piece, so a report of 100,000 desktops takes little memory. A record that
// contradicts its own trail, or whose trail is not the one that was sealed, is
// not reported: the error then is ErrAltered and says where.
func Write(ctx context.Context, w io.Writer, r *tasks.Record, id string, format Format, target time.Duration, now time.Time) error {
	op, err := r.Operation(ctx, id)
	if err != nil {
		return err
	}
	top := top{Operation: op, Final: op.Seal != "", WrittenAt: now.UTC()}
	if top.Accepted, err = r.Accepted(ctx, id); err != nil {
		return err
	}
	if top.Removal, err = r.Removal(ctx, op, target, now); err != nil {
		return err
	}
	list, err := r.Calls(ctx, id)
	if err != nil {
		return err
	}
	calls := make(map[string]tasks.Call, len(list))
	for _, c := range list {
		calls[c.ID] = c
	}
	out, err := newWriter(w, format)
	if err != nil {
		return err
	}
	if err := out.begin(top); err != nil {
		return err
	}
	var chains []tasks.Chain
	rows := 0
	for first := 0; first < op.Chunks(); first += chunksAtOnce {
		es, err := r.Evidence(ctx, op, first, min(first+chunksAtOnce, op.Chunks()))
		if err != nil {
			return err
		}
		for _, e := range es {
			if err := e.Check(); err != nil {
				return fmt.Errorf("the record of operation %s: %w: %w", id, ErrAltered, err)
			}
			if err := out.chunk(top, e, rowsOf(op, e, calls)); err != nil {
				return err
			}
			chains = append(chains, e.Chain)
			rows += len(e.Desktops)
		}
	}
	head := tasks.Head(chains)
	if top.Final && head != op.Seal {
		if after, err := r.Operation(ctx, id); err != nil || after.Seal != op.Seal {
			return fmt.Errorf("operation %s was taken up again while the report was written: write it again", id)
		}
		return fmt.Errorf("the record of operation %s: %w: its trail's head is %s, but it was sealed as %s", id, ErrAltered, head, op.Seal)
	}
	return out.end(end{Operation: id, Head: head, Final: top.Final, Rows: rows})
}

// top is what a report begins with.
type top struct {
	Accepted  string
	Operation tasks.Operation
	Removal   tasks.Removal
	Final     bool // the operation has ended and its trail is sealed
	WrittenAt time.Time
}

// end is what a report ends with.
type end struct {
	Operation string `json:"operation"`
	Head      string `json:"trail_head"`
	Final     bool   `json:"final"`
	Rows      int    `json:"rows"`
}

// writer is a format.
type writer interface {
	begin(t top) error
	chunk(t top, e tasks.Evidence, rows []row) error
	end(e end) error
}

func newWriter(w io.Writer, format Format) (writer, error) {
	s := &sealed{to: bufio.NewWriterSize(w, 1<<16), hash: sha256.New()}
	switch format {
	case JSON:
		return &jsonWriter{sealed: s}, nil
	case CSV:
		return &csvWriter{sealed: s}, nil
	case HTML:
		return &htmlWriter{sealed: s}, nil
	}
	return nil, fmt.Errorf("there is no format %q", format)
}

// sealed hashes what is written.
type sealed struct {
	to   *bufio.Writer
	hash hash.Hash
}

func (s *sealed) Write(b []byte) (int, error) {
	s.hash.Write(b)
	return s.to.Write(b)
}

// finish writes the last two lines: the end, and the hash of all before it.
func (s *sealed) finish(format Format, e end) error {
	if _, err := io.WriteString(s, endLine(format, e)); err != nil {
		return err
	}
	if _, err := s.to.WriteString(hashLine(format, s.hash.Sum(nil))); err != nil {
		return err
	}
	return s.to.Flush()
}

// endLine is the last line but one.
func endLine(format Format, e end) string {
	final := strconv.FormatBool(e.Final)
	switch format {
	case JSON:
		return `"end":` + mustJSON(e) + ",\n"
	case CSV:
		return strings.Join([]string{"end", e.Operation, e.Head, "final=" + final, strconv.Itoa(e.Rows)}, ",") + strings.Repeat(",", len(columns)-5) + "\n"
	}
	return fmt.Sprintf("<!-- end %s %s final=%s rows=%d -->\n", e.Operation, e.Head, final, e.Rows)
}

// hashLine is the last line.
func hashLine(format Format, sum []byte) string {
	switch s := hex.EncodeToString(sum); format {
	case JSON:
		return `"sha256":"` + s + "\"}\n"
	case CSV:
		return "sha256," + s + strings.Repeat(",", len(columns)-2) + "\n"
	default:
		return "<!-- sha256 " + s + " -->\n"
	}
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain data
	}
	return string(b)
}

// jsonWriter writes one object, with a line for each chunk, so that it can be
// read line by line as well.
type jsonWriter struct {
	*sealed
	chunks int
}

// jsonTop and jsonChunk are lines of a report in JSON.
type jsonTop struct {
	Format    string          `json:"format"`
	WrittenAt time.Time       `json:"written_at"`
	Accepted  string          `json:"accepted"` // the operation's JSON as it was accepted, byte for byte
	Operation tasks.Operation `json:"operation"`
	Removal   tasks.Removal   `json:"access_removed"`
}

type jsonChunk struct {
	Chunk int      `json:"chunk"`
	Rows  []row    `json:"rows"`
	Trail []string `json:"trail"` // entries as they are stored, byte for byte
}

func (w *jsonWriter) begin(t top) error {
	s := mustJSON(jsonTop{version, t.WrittenAt, t.Accepted, t.Operation, t.Removal})
	_, err := io.WriteString(w, s[:len(s)-1]+",\n\"chunks\":[\n")
	return err
}

func (w *jsonWriter) chunk(_ top, e tasks.Evidence, rows []row) error {
	line := ""
	if w.chunks++; w.chunks > 1 {
		line = ","
	}
	_, err := io.WriteString(w, line+mustJSON(jsonChunk{e.Chunk, rows, append([]string{}, e.Raw...)})+"\n")
	return err
}

func (w *jsonWriter) end(e end) error {
	if _, err := io.WriteString(w, "],\n"); err != nil {
		return err
	}
	return w.finish(JSON, e)
}

// csvWriter writes a row for each desktop.
type csvWriter struct{ *sealed }

var columns = []string{
	"operation_id", "project", "requested_by", "reason", "ticket", "desktop_id", "computer_name", "type", "users_before", "expected_users",
	"state", "attempts", "due_at", "proven_at", "took_seconds", "proof", "code", "class", "message", "calls", "request_ids", "job_ids",
}

func (w *csvWriter) begin(top) error { return w.records([][]string{columns}) }

func (w *csvWriter) records(records [][]string) error {
	cw := csv.NewWriter(w)
	for _, r := range records {
		if err := cw.Write(r); err != nil {
			return err
		}
	}
	cw.Flush()
	return cw.Error()
}

func (w *csvWriter) chunk(t top, _ tasks.Evidence, rows []row) error {
	op := t.Operation
	var out [][]string
	for _, r := range rows {
		f := tasks.Failure{}
		if r.Failure != nil {
			f = *r.Failure
		}
		took := ""
		if r.TookMS != nil {
			took = strconv.FormatFloat(float64(*r.TookMS)/1000, 'f', 3, 64)
		}
		var calls, requests, jobs []string
		for _, c := range r.Calls {
			calls = append(calls, clock(c.At)+" HTTP "+strconv.Itoa(c.Status))
			if c.RequestID != "" {
				requests = append(requests, c.RequestID)
			}
			if c.JobID != "" {
				jobs = append(jobs, c.JobID)
			}
		}
		record := []string{
			op.ID, op.Project, op.RequestedBy, op.Reason, op.Ticket, r.ID, r.ComputerName, r.Type, names(r.UsersBefore), strings.Join(r.ExpectedUsers, ", "),
			r.State.String(), strconv.Itoa(r.Attempts), clock(r.DueAt), clock(r.ProvenAt), took, r.Proof, f.Code, f.Class, f.Message,
			strings.Join(calls, "; "), strings.Join(requests, "; "), strings.Join(jobs, "; "),
		}
		for i := range record {
			record[i] = Inert(record[i])
		}
		out = append(out, record)
	}
	return w.records(out)
}

func (w *csvWriter) end(e end) error { return w.finish(CSV, e) }

// htmlWriter writes a page of its own: no script, nothing from elsewhere.
type htmlWriter struct{ *sealed }

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"clock": clock, "names": names, "join": func(s []string) string { return strings.Join(s, ", ") }, "plain": Printable,
}).Parse(pageText))

func (w *htmlWriter) begin(t top) error { return page.ExecuteTemplate(w, "begin", t) }

func (w *htmlWriter) chunk(_ top, _ tasks.Evidence, rows []row) error {
	return page.ExecuteTemplate(w, "rows", rows)
}

func (w *htmlWriter) end(e end) error {
	if err := page.ExecuteTemplate(w, "end", e); err != nil {
		return err
	}
	return w.finish(HTML, e)
}
