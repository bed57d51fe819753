package leavers

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxFileBytes is ten times what 100,000 rows with long texts take.
const maxFileBytes = 64 << 20

// columns is where in a row to look; -1 if there is no such column.
type columns struct{ desktop, user, project, n int }

// Read takes the rows of a CSV file: a header row that has a column desktop_id
// (or id, or desktop), or user (or user_name), or both, and perhaps one project,
// in any order. A byte order mark,
// CRLF, semicolons in place of commas, and empty rows are tolerated. The error
// is for a file that is unusable as a whole.
func (l *List) Read(r io.Reader) error {
	text, err := readAll(r)
	if err != nil {
		return err
	}
	return l.readCSV(text)
}

// ReadText takes what Read does, or, without a header row, desktop ids one on a
// line; with users those are names of users.
func (l *List) ReadText(r io.Reader, users bool) error {
	text, err := readAll(r)
	if err != nil {
		return err
	}
	if hasHeader(text) {
		return l.readCSV(text)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		x := Leaver{Line: n, Desktop: strings.TrimSpace(line)}
		if x.Desktop == "" {
			continue
		}
		if users {
			x.Desktop, x.User = "", x.Desktop
		}
		if err := l.Add(x); err != nil {
			return err
		}
	}
	return nil
}

func readAll(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFileBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading it: %w", err)
	case len(text) > maxFileBytes:
		return nil, fmt.Errorf("it is larger than %d MiB: split it", maxFileBytes>>20)
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")):
		return nil, errors.New("it is UTF-16: save it as CSV in UTF-8")
	}
	return bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), nil
}

// columnOf is what a column is by its name; empty if it means nothing here.
func columnOf(name string) string {
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "desktop_id", "id", "desktop":
		return "desktop"
	case "user", "user_name":
		return "user"
	case "project":
		return "project"
	}
	return ""
}

// hasHeader reports that a text is a CSV: several columns are one whatever the
// first row says, so that a header with slips of the pen is told.
func hasHeader(text []byte) bool {
	first, err := csvOf(text).Read()
	return err != nil || len(first) > 1 || columnOf(first[0]) != ""
}

func csvOf(text []byte) *csv.Reader {
	rows := csv.NewReader(bytes.NewReader(text))
	rows.FieldsPerRecord = -1
	rows.Comma = separator(text)
	return rows
}

func (l *List) readCSV(text []byte) error {
	rows := csvOf(text)
	rows.ReuseRecord = true
	header, err := rows.Read()
	if errors.Is(err, io.EOF) {
		return errors.New("it is empty: the first row must name the columns, one of them desktop_id or user")
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

func (l *List) rows(rows *csv.Reader, cols columns) error {
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
func (l *List) row(line int, row []string, cols columns) error {
	for len(row) > cols.n && strings.TrimSpace(row[len(row)-1]) == "" {
		row = row[:len(row)-1]
	}
	if len(row) != cols.n {
		l.bad(line, "has %d fields, the header has %d", len(row), cols.n)
		return nil
	}
	cell := func(i int) string {
		if i < 0 {
			return ""
		}
		return strings.TrimSpace(row[i])
	}
	x := Leaver{Line: line, Desktop: cell(cols.desktop), User: cell(cols.user), Project: cell(cols.project)}
	if cols.desktop >= 0 && x.Desktop == "" && x.User != "" {
		// A hole in a list of desktops must not turn into all desktops of a user.
		l.bad(line, "has a user, %s, and no desktop: to detach all desktops of users, list them in a file without the desktop column", shown(x.User))
		return nil
	}
	return l.Add(x)
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

func (l *List) header(row []string) (columns, error) {
	for len(row) > 0 && strings.TrimSpace(row[len(row)-1]) == "" {
		row = row[:len(row)-1]
	}
	cols := columns{desktop: -1, user: -1, project: -1, n: len(row)}
	for i, name := range row {
		var at *int
		switch columnOf(name) {
		case "desktop":
			at = &cols.desktop
		case "user":
			at = &cols.user
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
	if cols.desktop >= 0 {
		return cols, nil
	}
	if cols.user < 0 {
		return cols, fmt.Errorf("the header row has no column desktop_id (or id, or desktop) nor user: it has %s", shown(strings.Join(row, ", ")))
	}
	// Without desktops every desktop of the users is meant; a slip of the pen must
	// not come to that.
	for _, name := range l.Unknown {
		if folded := strings.ToLower(name); strings.Contains(folded, "desktop") || strings.HasSuffix(folded, "id") {
			return cols, fmt.Errorf("the header row has no column desktop_id, but it has %s: rename it, or take it out to detach all desktops of the users", shown(name))
		}
	}
	return cols, nil
}
