package report

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// ErrDiffers says that a report and the record differ: one of the two was altered.
var ErrDiffers = errors.New("the report differs from the record")

// ErrMovedOn says that the operation changed after the report was made, so that a report
// in this format can no longer be compared with the record.
var ErrMovedOn = errors.New("the record has changed since the report was made")

func differs(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDiffers, fmt.Errorf(format, args...))
}

// Compare compares a report that Verify has passed with the record, given as now: a JSON
// report of the same operation that Write or a server has just made. Without an error and
// with newer 0 the record gives exactly the same report. A newer above 0, possible only for
// a JSON report, counts the entries added to the trail since; all entries of the report are
// in the record unchanged.
//
// The error is ErrDiffers, ErrMovedOn, or says that now is incomplete or of another
// operation.
func Compare(now io.ReadSeeker, res Result) (newer int, err error) {
	n := &trails{ends: res.chains, made: res.Made}
	is, err := readNow(now, n)
	if err != nil {
		return 0, err
	}
	switch {
	case is.Format != JSON || is.Operation != res.Operation:
		return 0, fmt.Errorf("comparing needs a json report of operation %s, not a %s report of %s", res.Operation, is.Format, is.Operation)
	case is.Head == res.Head:
		return 0, same(now, n, res)
	case res.Format == JSON && n.wrong == nil && len(res.chains) > n.chunks:
		return 0, differs("it has %d chunks, the record has %d", len(res.chains), n.chunks)
	case res.Format == JSON && n.wrong != nil:
		return 0, n.wrong
	case res.Format == JSON:
		return n.newer, nil
	case !res.Final || !n.operation.Done() || n.lastMS >= res.Made.UnixMilli():
		return 0, fmt.Errorf("operation %s: %w", res.Operation, ErrMovedOn)
	}
	return 0, differs("its audit seal is %s, in the record it is %s", res.Head, is.Head)
}

// readNow verifies the report of the current record and shows its parts to w.
func readNow(now io.ReadSeeker, w watcher) (Result, error) {
	if _, err := now.Seek(0, io.SeekStart); err != nil {
		return Result{}, fmt.Errorf("reading the current record: %w", err)
	}
	f := &file{r: bufio.NewReaderSize(now, 1<<14), sum: sha256.New(), watcher: w}
	is, err := f.verify()
	if err != nil {
		//nolint:errorlint // it is not the report in question that was altered
		return is, fmt.Errorf("the report of the current record is incomplete: %v", err)
	}
	return is, nil
}

// watcher sees the parts of a JSON report as they are verified. Rows are as complete as in
// Write.
type watcher interface {
	begin(h head) error
	chunk(h head, e record.Evidence, c chunk) error
}

// trails compares the trails of an operation in the record with those of a report.
type trails struct {
	ends []chainEnd // of the compared report

	operation record.Operation
	chunks    int
	lastMS    int64     // time of the latest entry
	newer     int       // entries that the report lacks
	wrong     error     // why the report's chains are not prefixes of these
	made      time.Time // when the report was made
	tally     tally     // of the rows at that time
}

func (t *trails) begin(h head) error {
	t.operation = h.Operation
	return nil
}

func (t *trails) chunk(h head, e record.Evidence, c chunk) error {
	t.chunks++
	for _, r := range c.Rows {
		t.tally.add(h.Operation, r, tasks.DefaultTarget, t.made)
	}
	for _, entry := range e.Trail {
		t.lastMS = max(t.lastMS, entry.At.UnixMilli())
	}
	t.newer += len(e.Raw)
	if e.Chunk >= len(t.ends) {
		return nil
	}
	end := t.ends[e.Chunk]
	t.newer -= end.entries
	chain := record.StartChain(h.Accepted, e.Chunk, e.Desktops)
	for _, raw := range e.Raw[:min(end.entries, len(e.Raw))] {
		chain = chain.Add(raw)
	}
	if t.wrong == nil && (end.entries > len(e.Raw) || chain != end.chain) {
		t.wrong = differs("chunk %d: the trail, the rows or the request differ in the record", e.Chunk)
	}
	return nil
}

// same writes the report again from the current record, as of its original time, and
// compares the sums.
func same(now io.ReadSeeker, t *trails, res Result) error {
	sum := sumButLast{hash: sha256.New(), last: len(res.Format.lastLine(res.Sum))}
	again := &rewriter{w: &sum, renderer: res.Format.renderer(), made: res.Made, removal: t.tally.removal(tasks.DefaultTarget)}
	is, err := readNow(now, again)
	if err != nil {
		return err
	}
	if err := again.renderer.foot(&sum, foot{head: again.head, Rows: is.Rows, Head: is.Head}); err != nil {
		return err
	}
	if _, err := io.WriteString(&sum, res.Format.lastLine(res.Sum)); err != nil {
		return err
	}
	if hex.EncodeToString(sum.hash.Sum(nil)) != res.Sum {
		return differs("the audit seals are equal, but the record gives another report (or another version of detachd made it)")
	}
	return nil
}

// rewriter writes a report that is being read, in another format and as of another time.
type rewriter struct {
	head     head
	w        io.Writer
	renderer renderer
	made     time.Time
	removal  removal
}

func (r *rewriter) begin(h head) error {
	h.Made, h.Removal = r.made, r.removal
	r.head = h
	return r.renderer.head(r.w, h)
}

func (r *rewriter) chunk(_ head, _ record.Evidence, c chunk) error { return r.renderer.chunk(r.w, c) }

// sumButLast hashes everything written except the last bytes.
type sumButLast struct {
	hash hash.Hash
	last int
	kept []byte
}

func (s *sumButLast) Write(p []byte) (int, error) {
	s.kept = append(s.kept, p...)
	if n := len(s.kept) - s.last; n > 0 {
		s.hash.Write(s.kept[:n])
		s.kept = append(s.kept[:0], s.kept[n:]...)
	}
	return len(p), nil
}
