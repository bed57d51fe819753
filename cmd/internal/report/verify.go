package report

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/detachd/detachd/tasks"
)

// Result is a report that was found unaltered.
type Result struct {
	Format    Format
	Operation string
	Rows      int
	Head      string // of the trail
	Final     bool   // the operation had ended
	Replayed  bool   // the head was computed anew, and every row held against the trail: JSON only
}

// maxLine bounds a line: a chunk of a report in JSON with the longest texts.
const maxLine = 64 << 20

// Verify reads a report to its end. An error is ErrAltered and says what is
// wrong, or comes from reading.
func Verify(r io.Reader) (Result, error) {
	in := bufio.NewReaderSize(r, 1<<16)
	beginning, _ := in.Peek(len(`{"format"`))
	res := Result{Format: CSV}
	switch {
	case bytes.HasPrefix(beginning, []byte(`{"format"`)):
		res.Format = JSON
	case bytes.HasPrefix(beginning, []byte("<!")):
		res.Format = HTML
	}
	var replay *replayed
	if res.Format == JSON {
		replay = &replayed{}
	}
	sum := sha256.New()
	var last, before []byte // the last line, and the one before it
	for n := 1; ; n++ {
		line, err := readLine(in)
		if errors.Is(err, io.EOF) && len(line) == 0 {
			break
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return res, err
		}
		if last != nil {
			sum.Write(last)
			if replay != nil {
				replay.line(n-1, last)
			}
		}
		before, last = last, line
	}
	// Compared as bytes: whatever differs from what would be written was altered.
	if string(last) != hashLine(res.Format, sum.Sum(nil)) {
		return res, fmt.Errorf("%w: the last line is not the SHA-256 of what stands before it", ErrAltered)
	}
	e, ok := parseEnd(res.Format, string(before))
	if !ok {
		return res, fmt.Errorf("%w: it does not end as a report does", ErrAltered)
	}
	res.Operation, res.Head, res.Final, res.Rows = e.Operation, e.Head, e.Final, e.Rows
	if replay != nil {
		if err := replay.end(e); err != nil {
			return res, fmt.Errorf("%w: %w", ErrAltered, err)
		}
		res.Replayed = true
	}
	return res, nil
}

func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
		if len(line) > maxLine {
			return nil, fmt.Errorf("%w: a line is longer than any report has", ErrAltered)
		}
	}
}

var (
	htmlEnd = regexp.MustCompile(`^<!-- end ([^ ]+) ([0-9a-f]{64}) final=(true|false) rows=([0-9]+) -->\n$`)
	csvEnd  = regexp.MustCompile(`^end,([^,]+),([0-9a-f]{64}),final=(true|false),([0-9]+),*\n$`)
)

func parseEnd(format Format, line string) (e end, ok bool) {
	if format == JSON {
		text, isEnd := strings.CutPrefix(line, `"end":`)
		text, ends := strings.CutSuffix(text, ",\n")
		return e, isEnd && ends && json.Unmarshal([]byte(text), &e) == nil
	}
	syntax := htmlEnd
	if format == CSV {
		syntax = csvEnd
	}
	m := syntax.FindStringSubmatch(line)
	if m == nil {
		return e, false
	}
	rows, err := strconv.Atoi(m[4])
	return end{Operation: m[1], Head: m[2], Final: m[3] == "true", Rows: rows}, err == nil
}

// replayed computes a trail anew from the lines of a report in JSON.
type replayed struct {
	accepted  string
	operation tasks.Operation
	chains    []tasks.Chain
	rows      int
	err       error // the first
}

func (p *replayed) line(n int, line []byte) {
	if p.err != nil {
		return
	}
	if n == 1 {
		text, ok := bytes.CutSuffix(line, []byte(",\n"))
		var t jsonTop
		if err := json.Unmarshal(append(bytes.Clone(text), '}'), &t); err != nil || !ok || t.Format != version {
			p.err = errors.New("line 1 is not how a report begins")
			return
		}
		p.accepted, p.operation = t.Accepted, t.Operation
		var asked tasks.Operation
		if err := json.Unmarshal([]byte(t.Accepted), &asked); err != nil {
			p.err = fmt.Errorf("line 1: what was accepted cannot be read: %w", err)
			return
		}
		if asked.ID != t.Operation.ID || asked.RequestedBy != t.Operation.RequestedBy || asked.Reason != t.Operation.Reason ||
			asked.Ticket != t.Operation.Ticket || !asked.AcceptedAt.Equal(t.Operation.AcceptedAt) || !asked.DueAt.Equal(t.Operation.DueAt) {
			p.err = errors.New("line 1: the operation is not the one that was accepted")
		}
		return
	}
	text := bytes.TrimPrefix(bytes.TrimSuffix(line, []byte("\n")), []byte(","))
	if !bytes.HasPrefix(text, []byte(`{"chunk":`)) {
		return
	}
	var c jsonChunk
	if err := json.Unmarshal(text, &c); err != nil {
		p.err = fmt.Errorf("line %d cannot be read: %w", n, err)
		return
	}
	if err := p.chunk(c); err != nil {
		p.err = fmt.Errorf("line %d: %w", n, err)
	}
}

// chunk holds what the rows say against the trail.
func (p *replayed) chunk(c jsonChunk) error {
	if c.Chunk != len(p.chains) {
		return fmt.Errorf("chunk %d follows %d", c.Chunk, len(p.chains)-1)
	}
	e := tasks.Evidence{Chunk: c.Chunk, Desktops: make([]tasks.Desktop, len(c.Rows))}
	for i, r := range c.Rows {
		e.Desktops[i] = tasks.Desktop{ID: r.ID, Expect: r.ExpectedUsers, State: r.State}
	}
	chain := tasks.StartChain(p.accepted, c.Chunk, e.Desktops)
	for _, raw := range c.Trail {
		entry, err := tasks.ParseTrailEntry(raw)
		if err != nil {
			return err
		}
		e.Trail = append(e.Trail, entry)
		chain = chain.Add(raw)
		for i, b := range entry.Before {
			if i >= 0 && i < len(e.Desktops) {
				e.Desktops[i].Before = &b
			}
		}
	}
	if err := e.Check(); err != nil {
		return err
	}
	for i, events := range eventsOf(e) {
		if err := c.Rows[i].agrees(p.operation, e.Desktops[i], events); err != nil {
			return err
		}
	}
	p.chains = append(p.chains, chain)
	p.rows += len(c.Rows)
	return nil
}

// agrees holds a row against what the trail says of it.
func (r row) agrees(op tasks.Operation, d tasks.Desktop, events []event) error {
	differs := func(what string) error { return fmt.Errorf("%s: the trail says otherwise about %s", r.ID, what) }
	if len(events) != len(r.Events) || len(events) > 0 && !reflect.DeepEqual(events, r.Events) {
		return differs("what happened")
	}
	if d.Before != nil && (mustJSON(d.Before.Users) != mustJSON(r.UsersBefore) || d.Before.Name != "" && d.Before.Name != r.ComputerName || d.Before.Type != r.Type) ||
		d.Before == nil && len(r.UsersBefore) > 0 {
		return differs("whose it was before")
	}
	if !r.DueAt.Equal(op.DueAt) {
		return differs("when it was due")
	}
	if n := len(events); !r.ProvenAt.IsZero() && (n == 0 || !r.ProvenAt.Equal(events[n-1].At)) {
		return differs("when it was proven")
	}
	return nil
}

func (p *replayed) end(e end) error {
	switch {
	case p.err != nil:
		return p.err
	case p.accepted == "" || p.operation.ID != e.Operation:
		return errors.New("its end is about another operation")
	case p.rows != e.Rows:
		return fmt.Errorf("it has %d rows and says %d", p.rows, e.Rows)
	case tasks.Head(p.chains) != e.Head:
		return fmt.Errorf("by its trail the head is %s, and it says %s", tasks.Head(p.chains), e.Head)
	}
	return nil
}
