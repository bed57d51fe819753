package report

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/trail"
)

// ErrReportAltered says that a file is not as Write wrote it.
var ErrReportAltered = errors.New("the report was altered, or is not a detachd report")

// ErrAuditAltered says that a file is not a part of the audit log without gaps.
var ErrAuditAltered = errors.New(
	"the file was altered, or is not the audit log without gaps (read it with a key for all projects, without a filter)")

func errLine(line int) error { return fmt.Errorf("line %d is not as detachd writes it", line) }

func changed(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrReportAltered, fmt.Errorf(format, args...))
}

// Result describes a verified report.
type Result struct {
	Format    Format
	Operation string
	Made      time.Time
	Final     bool // the operation had ended, and its trail was sealed
	Rows      int
	Head      string // of the trail, in hex
	Sum       string // SHA-256 of all bytes before the last line, in hex

	chains []chainEnd // of a JSON report, by chunk
}

// chainEnd is how far a chunk's trail went.
type chainEnd struct {
	entries int
	chain   trail.Chain
}

// Verify checks that a file is byte for byte what Write wrote, as far as the file alone can
// show; see the package comment for what that proves. Any difference is an
// ErrReportAltered. Only one line is in memory at a time, which in a JSON report is a chunk.
func Verify(r io.Reader) (Result, error) {
	f := &file{r: bufio.NewReaderSize(r, 1<<14), sum: sha256.New()}
	res, err := f.verify()
	if err != nil {
		return Result{}, err
	}
	return res, nil
}

// file is a report read line by line.
type file struct {
	r    *bufio.Reader
	sum  hash.Hash
	line int // lines read

	watcher watcher // of a JSON report; may be nil
}

// longestLine is the maximum bytes of a line that Verify accepts.
const longestLine = 256 << 20

// next reads a line with its line break, which the last line may lack; nil at the end.
func (f *file) next() ([]byte, error) {
	var line []byte
	for {
		part, err := f.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > longestLine:
			return nil, changed("line %d is longer than detachd writes", f.line+1)
		case err == nil:
			f.line++
			return line, nil
		case errors.Is(err, io.EOF):
			if len(line) > 0 {
				f.line++
			}
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("reading the report: %w", err)
		}
	}
}

func (f *file) verify() (Result, error) {
	start, err := f.r.Peek(len(HTML.begins()))
	if err != nil && !errors.Is(err, io.EOF) {
		return Result{}, fmt.Errorf("reading the report: %w", err)
	}
	i := slices.IndexFunc(Formats, func(x Format) bool { return bytes.HasPrefix(start, []byte(x.begins())) })
	if i < 0 {
		return Result{}, changed("it does not begin like a report")
	}
	if Formats[i] == JSON {
		return f.verifyJSON()
	}
	return f.verifyText(Formats[i])
}

// verifyText verifies a report of which only the last two lines are parsed.
func (f *file) verifyText(format Format) (Result, error) {
	var foot, last []byte
	for {
		line, err := f.next()
		if err != nil {
			return Result{}, err
		}
		if len(line) == 0 {
			break
		}
		f.sum.Write(last)
		foot, last = last, line
	}
	if err := f.checkLast(format, last); err != nil {
		return Result{}, err
	}
	res, ok := format.parseFoot(string(foot))
	if !ok {
		return Result{}, changed("line %d does not name the operation, although the SHA-256 matches", f.line-1)
	}
	res.Format, res.Sum = format, f.hex()
	return res, nil
}

func (f *file) hex() string { return hex.EncodeToString(f.sum.Sum(nil)) }

func (f *file) checkLast(format Format, last []byte) error {
	want := format.lastLine(f.hex())
	if string(last) == want {
		return nil
	}
	if len(last) != len(want) || !strings.HasPrefix(string(last), want[:strings.Index(want, f.hex())]) {
		return changed("its last line does not have the SHA-256: it is incomplete, or something was added")
	}
	return changed("the SHA-256 in its last line does not match its content")
}

var htmlFoot = regexp.MustCompile(`^<!-- ` + version +
	`: operation=([0-9a-v]{20}) trail_head=([0-9a-f]{64}) rows=(\d+) made_at=(\S+) final=(true|false) -->\n$`)

// parseFoot parses the line before the last.
func (f Format) parseFoot(line string) (res Result, ok bool) {
	var op, head, rows, made, final string
	switch f {
	case HTML:
		m := htmlFoot.FindStringSubmatch(line)
		if m == nil {
			return res, false
		}
		op, head, rows, made, final = m[1], m[2], m[3], m[4], m[5]
	default:
		c, err := csv.NewReader(strings.NewReader(line)).Read()
		if err != nil || len(c) != len(columns) || c[0] != "trail_head" {
			return res, false
		}
		head, op, made, final, rows = c[1], c[2], c[3], c[4], c[5]
	}
	res = Result{Operation: op, Head: head, Final: final == "true"}
	var err1, err2 error
	res.Rows, err1 = strconv.Atoi(rows)
	res.Made, err2 = time.Parse(time.RFC3339, made)
	return res, err1 == nil && err2 == nil && operationID.MatchString(op) && headText.MatchString(head)
}

var headText = regexp.MustCompile(`^[0-9a-f]{64}$`)

// jsonFile collects what is read of a JSON report.
type jsonFile struct {
	head
	format string
	tally  tally
	ends   []chainEnd
	wrong  error // the first contradiction between its parts
}

// verifyJSON reads the lines in the order in which they are written. A line that differs
// from how it would be written is an error at once. A contradiction between lines is kept
// until the SHA-256 is checked.
func (f *file) verifyJSON() (Result, error) {
	var j jsonFile
	if err := f.jsonHead(&j); err != nil {
		return Result{}, err
	}
	for more := true; more; {
		var err error
		if more, err = f.jsonChunk(&j); err != nil {
			return Result{}, err
		}
	}
	if err := f.literal("],\n"); err != nil {
		return Result{}, err
	}
	res := Result{Format: JSON, Operation: j.Operation.ID, Made: j.Made, Final: j.Final, chains: j.ends}
	if err := f.members(member{"rows", &res.Rows}, member{"trail_head", &res.Head}); err != nil {
		return Result{}, err
	}
	j.checkFoot(res)
	last, err := f.next()
	if err != nil {
		return Result{}, err
	}
	if err := f.checkLast(JSON, last); err != nil {
		if j.wrong != nil {
			err = fmt.Errorf("%w; %w", err, j.wrong)
		}
		return Result{}, err
	}
	if rest, err := f.next(); err != nil || len(rest) > 0 {
		return Result{}, errors.Join(err, changed("text follows its last line"))
	}
	if j.wrong != nil {
		return Result{}, changed("%w; the SHA-256 matches, so it was recomputed after the change", j.wrong)
	}
	res.Sum = f.hex()
	return res, nil
}

// jsonHead reads everything before the chunks.
func (f *file) jsonHead(j *jsonFile) error {
	brace, err := f.r.ReadByte()
	if err != nil {
		return fmt.Errorf("reading the report: %w", err)
	}
	f.sum.Write([]byte{brace})
	if err := f.members(member{"format", &j.format}, member{"made_at", &j.Made}, member{"final", &j.Final},
		member{"operation", &j.Operation}, member{"accepted", &j.Accepted}, member{"removal", &j.Removal}); err != nil {
		return err
	}
	if j.format != version {
		return changed("its format is %.40q, not %q", j.format, version)
	}
	j.checkHead()
	if f.watcher != nil {
		if err := f.watcher.begin(j.head); err != nil {
			return err
		}
	}
	return f.literal("\"chunks\":[\n")
}

// literal reads a line that must be want.
func (f *file) literal(want string) error {
	line, err := f.next()
	if err != nil {
		return err
	}
	f.sum.Write(line)
	if string(line) != want {
		return f.odd()
	}
	return nil
}

func (f *file) odd() error { return changed("%w", errLine(f.line)) }

// members reads lines of members into the pointers in their values.
func (f *file) members(ms ...member) error {
	for _, m := range ms {
		line, err := f.next()
		if err != nil {
			return err
		}
		f.sum.Write(line)
		prefix := fmt.Sprintf("%q:", m.name)
		if len(line) < len(prefix)+2 || f.decode(line[len(prefix):len(line)-2], m.value) != nil {
			return f.odd()
		}
		var again strings.Builder
		if err := m.write(&again); err != nil || again.String() != string(line) {
			return f.odd()
		}
	}
	return nil
}

// decode reads a value and requires that encoding it again gives the same text, so that the
// text contains nothing that decoding ignores.
func (f *file) decode(text []byte, into any) error {
	if err := json.Unmarshal(text, into); err != nil {
		return err
	}
	if again, err := encode(into); err != nil || again != string(text) {
		return f.odd()
	}
	return nil
}

// jsonChunk reads the line of a chunk; more says that another must follow.
func (f *file) jsonChunk(j *jsonFile) (more bool, err error) {
	line, err := f.next()
	if err != nil {
		return false, err
	}
	f.sum.Write(line)
	text, ended := bytes.CutSuffix(line, []byte("\n"))
	text, more = bytes.CutSuffix(text, []byte(","))
	var c chunk
	if !ended || f.decode(text, &c) != nil {
		return false, f.odd()
	}
	e, rows := j.add(c)
	if f.watcher != nil && j.wrong == nil {
		c.Rows = rows
		if err := f.watcher.chunk(j.head, e, c); err != nil {
			return false, err
		}
	}
	return more, nil
}

// contradiction keeps the first contradiction.
func (j *jsonFile) contradiction(err error) {
	if j.wrong == nil {
		j.wrong = err
	}
}

// checkHead checks the operation against the accepted request.
func (j *jsonFile) checkHead() {
	var accepted record.Operation
	if err := json.Unmarshal([]byte(j.Accepted), &accepted); err != nil {
		j.contradiction(fmt.Errorf("the accepted request cannot be read: %w", err))
		return
	}
	op := j.Operation
	accepted.Clearance = op.Clearance
	accepted.Deadline, accepted.EndedAt, accepted.Total, accepted.Counts, accepted.Seal = op.Deadline, op.EndedAt, op.Total, op.Counts, op.Seal
	if !equal(op, accepted) {
		j.contradiction(errors.New("the operation is not the accepted one"))
	}
	if j.Final != op.Sealed() {
		j.contradiction(errors.New("its field final is wrong"))
	}
}

// add checks the rows of a chunk against its trail and returns both. Without a
// contradiction the rows are as complete as in Write.
func (j *jsonFile) add(c chunk) (record.Evidence, []row) {
	e := record.Evidence{Chunk: c.Number, Raw: c.Trail}
	for p, r := range c.Rows {
		e.Desktops = append(e.Desktops, record.Row{
			Desktop: tasks.Desktop{ID: r.ID, Expect: r.Expect, State: r.State, UpdatedAt: r.Since}, Chunk: c.Number, Position: p,
		})
	}
	chain := record.StartChain(j.Accepted, c.Number, e.Desktops)
	for n, raw := range c.Trail {
		chain = chain.Add(raw)
		entry, err := record.ParseTrailEntry(raw)
		if err != nil {
			j.contradiction(fmt.Errorf("chunk %d, entry %d: %w", c.Number, n, err))
			entry = record.TrailEntry{}
		}
		e.Trail = append(e.Trail, entry)
	}
	switch {
	case c.Number != len(j.ends):
		j.contradiction(fmt.Errorf("chunk %d is in the place of chunk %d", c.Number, len(j.ends)))
	case hex.EncodeToString(chain[:]) != c.Chain:
		j.contradiction(fmt.Errorf("chunk %d: its chain ends with %x, not with %.64s", c.Number, chain, c.Chain))
	}
	j.ends = append(j.ends, chainEnd{len(c.Trail), chain})
	if err := e.Check(); err != nil {
		j.contradiction(err)
		j.tally.rows += len(c.Rows)
		return e, nil
	}
	rows := derive(j.Operation, e)
	for i := range rows {
		got, want := c.Rows[i], &rows[i]
		want.Attempts, want.Failure, want.Calls = got.Attempts, got.Failure, got.Calls
		if !equal(got, *want) {
			j.contradiction(fmt.Errorf("chunk %d: the row of %s does not match the trail", c.Number, got.ID))
		}
		for n, id := range want.callIDs() {
			if n >= len(got.Calls) || got.Calls[n].ID != id {
				j.contradiction(fmt.Errorf("chunk %d: the calls of %s are not those of the trail", c.Number, got.ID))
				break
			}
		}
		j.tally.add(j.Operation, *want, tasks.DefaultTarget, j.Made)
	}
	return e, rows
}

// equal compares by JSON.
func equal(a, b any) bool {
	textA, errA := encode(a)
	textB, errB := encode(b)
	return errA == nil && errB == nil && textA == textB
}

// checkFoot checks the totals of the report against its rows.
func (j *jsonFile) checkFoot(res Result) {
	chains := make([]trail.Chain, len(j.ends))
	for i, e := range j.ends {
		chains[i] = e.chain
	}
	switch head := trail.Head(chains); {
	case res.Head != head:
		j.contradiction(fmt.Errorf("its audit seal is %s, not %.64s", head, res.Head))
	case j.Final && j.Operation.Seal != head:
		j.contradiction(fmt.Errorf("its audit seal is %s, but it was sealed with %.64s", head, j.Operation.Seal))
	}
	if res.Rows != j.tally.rows || res.Rows != j.Operation.Total {
		j.contradiction(fmt.Errorf("it has %d rows, not %d", j.tally.rows, res.Rows))
	}
	if j.Final && (j.tally.counts != j.Operation.Counts || j.tally.removal(tasks.DefaultTarget) != j.Removal) {
		j.contradiction(errors.New("its counts or times do not match its rows"))
	}
}
