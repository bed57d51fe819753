package report

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/trail"
)

// ErrRecordAltered says that the record contradicts itself: something other than detachd
// has written to it.
var ErrRecordAltered = errors.New("the record was altered")

// ErrUnsettled says that the operation changed while it was read.
var ErrUnsettled = errors.New("the operation changed while it was read")

func altered(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrRecordAltered, fmt.Errorf(format, args...))
}

// head is the beginning of a report.
type head struct {
	Made      time.Time
	Final     bool
	Operation record.Operation
	Accepted  string // JSON, byte for byte
	Removal   removal
}

// chunk is a part of the rows with its evidence.
type chunk struct {
	Number int      `json:"chunk"`
	Rows   []row    `json:"rows"`
	Trail  []string `json:"trail"` // as stored
	Chain  string   `json:"chain"` // hex
}

// foot is what is known after all rows.
type foot struct {
	head
	Rows int
	Head string
}

// renderer writes a report in one format, except its last line.
type renderer interface {
	head(w io.Writer, h head) error
	chunk(w io.Writer, c chunk) error
	foot(w io.Writer, f foot) error
}

func (f Format) renderer() renderer {
	switch f {
	case HTML:
		return &htmlRenderer{}
	case CSV:
		return &csvRenderer{}
	}
	return &jsonRenderer{}
}

// batch is the number of chunks in memory at a time.
const batch = 32

// operationID matches ids; nothing else is written into a foot.
var operationID = regexp.MustCompile(`^[0-9a-v]{20}$`)

// Write writes the report of an operation, reading the operation piece by piece. now, to
// the second, is when the report is made: the same record and now give the same bytes. The
// report is not final if the operation has not ended or its trail is not sealed yet.
//
// The error is ErrRecordAltered if rows, trail, counts and seal do not match. What is
// written by then is not a report, because the last line is missing. tasks.ErrNotFound:
// there is no such operation.
func Write(ctx context.Context, w io.Writer, r *record.Record, id string, f Format, now time.Time) error {
	if !slices.Contains(Formats, f) {
		return fmt.Errorf("unknown format %q", string(f))
	}
	op, err := r.Operation(ctx, id)
	if err != nil {
		return err
	}
	if op.ID != id || !operationID.MatchString(id) {
		return altered("operation %s is stored with the id %q", id, op.ID)
	}
	op.Undos = nil // the report stays the same when desktops are given back
	accepted, err := r.Accepted(ctx, id)
	if err != nil {
		return err
	}
	now = now.UTC().Truncate(time.Second)
	times, err := r.Removal(ctx, op, tasks.DefaultTarget, now)
	if err != nil {
		return fmt.Errorf("reading the time to access removal: %w", err)
	}
	out := &writer{
		record: r, renderer: f.renderer(), sum: sha256.New(),
		head: head{Made: now, Final: op.Sealed(), Operation: op, Accepted: accepted, Removal: viewRemoval(times)},
	}
	b := bufio.NewWriterSize(w, 1<<16)
	out.w = io.MultiWriter(b, out.sum)
	if err := out.write(ctx); err != nil {
		return err
	}
	if _, err := b.WriteString(f.lastLine(hex.EncodeToString(out.sum.Sum(nil)))); err != nil {
		return err
	}
	return b.Flush()
}

// writer is a report that is being written.
type writer struct {
	head
	renderer renderer
	record   *record.Record
	w        io.Writer
	sum      hash.Hash
	tally    tally
	chains   []trail.Chain
}

func (w *writer) write(ctx context.Context) error {
	if err := w.renderer.head(w.w, w.head); err != nil {
		return err
	}
	for first := 0; first < w.Operation.Chunks(); first += batch {
		if err := w.batch(ctx, first, min(first+batch, w.Operation.Chunks())); err != nil {
			return err
		}
	}
	trailHead := trail.Head(w.chains)
	if err := w.checkTotals(ctx, trailHead); err != nil {
		return err
	}
	return w.renderer.foot(w.w, foot{head: w.head, Rows: w.tally.rows, Head: trailHead})
}

func (w *writer) batch(ctx context.Context, first, end int) error {
	es, err := readChecked(ctx, w.record, w.Operation, first, end)
	if err != nil {
		return err
	}
	for i, e := range es {
		if err := w.chunk(ctx, e); err != nil {
			return err
		}
		es[i] = record.Evidence{} // free memory
	}
	return nil
}

func (w *writer) chunk(ctx context.Context, e record.Evidence) error {
	w.chains = append(w.chains, e.Chain)
	rows := derive(w.Operation, e)
	ids := map[string]bool{}
	var wanted []string
	for i := range rows {
		for _, id := range rows[i].callIDs() {
			if !ids[id] {
				ids[id], wanted = true, append(wanted, id)
			}
		}
	}
	calls, err := w.record.CallsNamed(ctx, w.Operation.ID, wanted...)
	if err != nil {
		return err
	}
	for i, d := range e.Desktops {
		r := &rows[i]
		r.Attempts, r.Failure = d.Attempts, d.Failure
		for _, id := range r.callIDs() {
			r.Calls = append(r.Calls, viewCall(id, calls))
		}
		w.tally.add(w.Operation, *r, tasks.DefaultTarget, w.Made)
	}
	return w.renderer.chunk(w.w, chunk{Number: e.Chunk, Rows: rows, Trail: e.Raw, Chain: hex.EncodeToString(e.Chain[:])})
}

// readChecked reads chunks and checks each trail against its rows. The two are not read at
// the same moment, so a mismatch is read again.
func readChecked(ctx context.Context, r *record.Record, op record.Operation, first, end int) ([]record.Evidence, error) {
	const tries = 5
	for try := 1; ; try++ {
		es, err := r.Evidence(ctx, op, first, end)
		if err != nil {
			return nil, err
		}
		wrong := slices.IndexFunc(es, func(e record.Evidence) bool { err = check(e); return err != nil })
		switch {
		case wrong < 0:
			return es, nil
		case try == tries:
			return nil, altered("%w", err)
		}
	}
}

// check extends Evidence.Check by more of what a trail says about its rows.
func check(e record.Evidence) error {
	if err := e.Check(); err != nil {
		return err
	}
	for n, raw := range e.Raw {
		if !utf8.ValidString(raw) {
			return fmt.Errorf("chunk %d, entry %d of the trail is not UTF-8", e.Chunk, n)
		}
	}
	last := map[int]tasks.Step{}
	for _, entry := range e.Trail {
		for p, step := range entry.Steps() {
			if step.Note != tasks.NoteDismissed { // the row stays as it is
				last[p] = step
			}
		}
	}
	for p, d := range e.Desktops {
		if !utf8.ValidString(d.ID) || slices.ContainsFunc(d.Expect, func(s string) bool { return !utf8.ValidString(s) }) {
			return fmt.Errorf("chunk %d: row %d is not UTF-8", e.Chunk, p)
		}
		if step, moved := last[p]; moved && (!step.At.Equal(d.UpdatedAt) || step.Note != d.Note) {
			return fmt.Errorf("chunk %d: %s is %s since %s in the trail, but since %s (%s) in its row",
				e.Chunk, d.ID, d.State, stamp(step.At), stamp(d.UpdatedAt), d.Note)
		}
	}
	return nil
}

// checkTotals checks the head of the report and the seal against what was read.
func (w *writer) checkTotals(ctx context.Context, trailHead string) error {
	op := w.Operation
	if w.tally.rows != op.Total {
		return altered("operation %s has %d rows, but its request has %d", op.ID, w.tally.rows, op.Total)
	}
	if !w.Final {
		return nil
	}
	var problem error
	switch {
	case trailHead != op.Seal:
		problem = altered("the audit trail of operation %s was sealed with %s and now gives %s; "+
			"its request, its rows or its trail were changed", op.ID, op.Seal, trailHead)
	case w.tally.counts != op.Counts:
		problem = altered("operation %s counts %+v, but its rows are %+v", op.ID, op.Counts, w.tally.counts)
	case w.tally.removal(tasks.DefaultTarget) != w.Removal:
	default:
		return nil
	}
	now, err := w.record.Operation(ctx, op.ID)
	if err != nil {
		return err
	}
	if problem == nil || now.Seal != op.Seal || !now.EndedAt.Equal(op.EndedAt) {
		return fmt.Errorf("operation %s: %w", op.ID, ErrUnsettled)
	}
	return problem
}

// stamp formats a time in UTC to the millisecond; empty for the zero time.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}
