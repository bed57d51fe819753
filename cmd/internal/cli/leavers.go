package cli

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/detachd/detachd/tasks"
)

const (
	maxFileBytes = 64 << 20 // ten times what 100,000 rows with long texts take
	maxBadRows   = 1000     // kept; more are counted
)

// leaver is a desktop that somebody wants detached. Line is 0 for one that was
// given as an argument.
type leaver struct {
	Line    int
	Project string
	Desktop string
}

// badRow is a row that cannot be used.
type badRow struct {
	Line    int // 0: an argument
	Problem string
}

func (b badRow) String() string {
	if b.Line == 0 {
		return b.Problem
	}
	return fmt.Sprintf("line %d: %s", b.Line, b.Problem)
}

// leavers is what a list says, each desktop once.
type leavers struct {
	Good    []leaver
	Bad     []badRow
	BadRows int      // including those not kept in Bad
	Unknown []string // columns that mean nothing here

	project string // the default
	mixed   bool   // rows may name other projects than the default
	known   func(alias string) bool
	first   map[[2]string]leaver // by project and desktop
	counts  map[string]int       // by project
}

// newLeavers makes an empty list. project is the default for desktops without
// one, and must agree with those that have one; known says which there are.
func newLeavers(project string, known func(alias string) bool) *leavers {
	return &leavers{project: project, known: known, first: map[[2]string]leaver{}, counts: map[string]int{}}
}

func (l *leavers) bad(line int, format string, args ...any) {
	if l.BadRows++; l.BadRows <= maxBadRows {
		l.Bad = append(l.Bad, badRow{line, fmt.Sprintf(format, args...)})
	}
}

// add takes a desktop, or notes why it cannot be taken. The error is for what
// makes the whole list unusable.
func (l *leavers) add(x leaver) error {
	given := x.Project
	if x.Project == "" {
		x.Project = l.project
	}
	key := [2]string{x.Project, x.Desktop}
	before, twice := l.first[key]
	switch problem := tasks.CheckDesktopID(x.Desktop); {
	case problem != "":
		l.bad(x.Line, "desktop id %s %s", shown(x.Desktop), problem)
	case x.Project == "":
		l.bad(x.Line, "desktop %s has no project: fill in the project column or give --project", shown(x.Desktop))
	case given != "" && l.project != "" && given != l.project && !l.mixed:
		l.bad(x.Line, "project %s is not the one of --project, %s", shown(given), shown(l.project))
	case !l.known(x.Project):
		l.bad(x.Line, "project %s is not configured", shown(x.Project))
	case twice && before.Line == 0:
		l.bad(x.Line, "desktop %s is given as an argument already", shown(x.Desktop))
	case twice:
		l.bad(x.Line, "desktop %s is on line %d already", shown(x.Desktop), before.Line)
	case l.counts[x.Project] == tasks.MaxDesktops:
		return fmt.Errorf("more than %d desktops of project %s: split the list", tasks.MaxDesktops, x.Project)
	default:
		l.first[key] = x
		l.counts[x.Project]++
		l.Good = append(l.Good, x)
	}
	return nil
}

// columns is where in a row to look; project is -1 if there is no such column.
type columns struct{ desktop, project, n int }

// read takes the rows of a CSV file: a header row that has a column desktop_id
// (or id, or desktop) and perhaps one project, in any order. A byte order mark,
// CRLF, semicolons in place of commas, and empty rows are tolerated. The error
// is for a file that is unusable as a whole.
func (l *leavers) read(r io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(r, maxFileBytes+1))
	switch {
	case err != nil:
		return fmt.Errorf("reading it: %w", err)
	case len(text) > maxFileBytes:
		return fmt.Errorf("it is larger than %d MiB: split it", maxFileBytes>>20)
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")):
		return errors.New("it is UTF-16: save it as CSV in UTF-8")
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	rows := csv.NewReader(bytes.NewReader(text))
	rows.FieldsPerRecord = -1
	rows.ReuseRecord = true
	rows.Comma = separator(text)
	header, err := rows.Read()
	if errors.Is(err, io.EOF) {
		return errors.New("it is empty: the first row must name the columns, one of them desktop_id")
	}
	if err != nil {
		return fmt.Errorf("the header row cannot be read: %w", err)
	}
	cols, err := l.header(header)
	if err != nil {
		return err
	}
	return l.rows(rows, cols)
}

func (l *leavers) rows(rows *csv.Reader, cols columns) error {
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if broken := (*csv.ParseError)(nil); errors.As(err, &broken) {
			l.bad(broken.StartLine, "%v", broken.Err)
			continue
		}
		if err != nil {
			return fmt.Errorf("reading it: %w", err)
		}
		line, _ := rows.FieldPos(0)
		if !slices.ContainsFunc(row, func(cell string) bool { return strings.TrimSpace(cell) != "" }) {
			continue
		}
		if err := l.row(line, row, cols); err != nil {
			return err
		}
	}
}

// row takes one row. One that is too short or too long may have its values in
// the wrong columns, so nothing in it is believed.
func (l *leavers) row(line int, row []string, cols columns) error {
	for len(row) > cols.n && strings.TrimSpace(row[len(row)-1]) == "" {
		row = row[:len(row)-1]
	}
	if len(row) != cols.n {
		l.bad(line, "has %d fields, the header has %d", len(row), cols.n)
		return nil
	}
	x := leaver{Line: line, Desktop: strings.TrimSpace(row[cols.desktop])}
	if cols.project >= 0 {
		x.Project = strings.TrimSpace(row[cols.project])
	}
	return l.add(x)
}

// separator is the one that the first line has more of: spreadsheets write
// semicolons where the comma is a decimal point.
func separator(text []byte) rune {
	first, _, _ := bytes.Cut(text, []byte("\n"))
	if bytes.Count(first, []byte(";")) > bytes.Count(first, []byte(",")) {
		return ';'
	}
	return ','
}

func (l *leavers) header(row []string) (columns, error) {
	for len(row) > 0 && strings.TrimSpace(row[len(row)-1]) == "" {
		row = row[:len(row)-1]
	}
	cols := columns{desktop: -1, project: -1, n: len(row)}
	for i, name := range row {
		var at *int
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "desktop_id", "id", "desktop":
			at = &cols.desktop
		case "project":
			at = &cols.project
		default:
			l.Unknown = append(l.Unknown, strings.TrimSpace(name))
			continue
		}
		if *at >= 0 {
			return cols, fmt.Errorf("the header row has two columns for the same: %s and %s", shown(row[*at]), shown(name))
		}
		*at = i
	}
	if cols.desktop < 0 {
		return cols, fmt.Errorf("the header row has no column desktop_id (or id, or desktop): it has %s", shown(strings.Join(row, ", ")))
	}
	return cols, nil
}

// shown quotes what somebody wrote, shortened, for a message.
func shown(s string) string { return fmt.Sprintf("%.60q", s) }
