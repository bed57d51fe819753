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

// leaver is a desktop that somebody wants detached, from a user if one is named;
// or a user, without a desktop, all of whose desktops are meant. Line is 0 for
// one that was given as an argument.
type leaver struct {
	Line    int
	Project string
	Desktop string
	User    string
}

// subject is what the leaver is about, for a message.
func (x leaver) subject() string {
	if x.Desktop == "" {
		return "user " + shown(x.User)
	}
	return "desktop " + shown(x.Desktop)
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

// leavers is what a list says: each desktop once, or once for each of its users,
// and each user without a desktop once.
type leavers struct {
	Good    []leaver
	Bad     []badRow
	BadRows int      // including those not kept in Bad
	Unknown []string // columns that mean nothing here

	project string // the default
	mixed   bool   // rows may name other projects than the default
	known   func(alias string) bool
	first   map[[2]string]leaver // by project and desktop
	named   map[[3]string]leaver // by project, desktop and user
	counts  map[[2]string]int    // desktops and users, by project
}

// newLeavers makes an empty list. project is the default for desktops without
// one, and must agree with those that have one; known says which there are.
func newLeavers(project string, known func(alias string) bool) *leavers {
	return &leavers{project: project, known: known, first: map[[2]string]leaver{}, named: map[[3]string]leaver{}, counts: map[[2]string]int{}}
}

func (l *leavers) bad(line int, format string, args ...any) {
	if l.BadRows++; l.BadRows <= maxBadRows {
		l.Bad = append(l.Bad, badRow{line, fmt.Sprintf(format, args...)})
	}
}

// add takes a leaver, or notes why it cannot be taken. The error is for what
// makes the whole list unusable.
func (l *leavers) add(x leaver) error {
	given := x.Project
	if x.Project == "" {
		x.Project = l.project
	}
	switch problem := x.problem(); {
	case problem != "":
		l.bad(x.Line, "%s", problem)
	case x.Project == "":
		l.bad(x.Line, "%s has no project: fill in the project column or give --project", x.subject())
	case given != "" && l.project != "" && given != l.project && !l.mixed:
		l.bad(x.Line, "project %s is not the one of --project, %s", shown(given), shown(l.project))
	case !l.known(x.Project):
		l.bad(x.Line, "project %s is not configured", shown(x.Project))
	default:
		return l.take(x)
	}
	return nil
}

// problem says what is wrong with the ids alone.
func (x leaver) problem() string {
	if x.Desktop != "" || x.User == "" {
		if problem := tasks.CheckDesktopID(x.Desktop); problem != "" {
			return fmt.Sprintf("desktop id %s %s", shown(x.Desktop), problem)
		}
	}
	if x.User != "" {
		if problem := tasks.CheckUserName(x.User); problem != "" {
			return fmt.Sprintf("user %s %s", shown(x.User), problem)
		}
	}
	return ""
}

// take takes a leaver that is there for the first time. A desktop may come again
// with another user: then it is to be taken from both.
func (l *leavers) take(x leaver) error {
	again := func(before leaver, how string) {
		where := fmt.Sprintf("is on line %d already", before.Line)
		if before.Line == 0 {
			where = "is given as an argument already"
		}
		l.bad(x.Line, "%s %s%s", x.subject(), where, how)
	}
	key := [3]string{x.Project, x.Desktop, x.User}
	first, known := l.first[[2]string(key[:2])]
	before, twice := l.named[key]
	switch {
	case twice:
		again(before, "")
		return nil
	case known && x.Desktop != "" && (first.User == "") != (x.User == ""):
		again(first, ", once with a user and once without")
		return nil
	}
	what, most := "desktops", tasks.MaxDesktops
	if x.Desktop == "" {
		what, most = "users", tasks.MaxUsers
	}
	if !known || x.Desktop == "" {
		n := [2]string{what, x.Project}
		if l.counts[n] == most {
			return fmt.Errorf("more than %d %s of project %s: split the list", most, what, x.Project)
		}
		l.counts[n]++
		l.first[[2]string(key[:2])] = x
	}
	l.named[key] = x
	l.Good = append(l.Good, x)
	return nil
}

// columns is where in a row to look; -1 if there is no such column.
type columns struct{ desktop, user, project, n int }

// read takes the rows of a CSV file: a header row that has a column desktop_id
// (or id, or desktop), or user (or user_name), or both, and perhaps one project,
// in any order. A byte order mark,
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
	cell := func(i int) string {
		if i < 0 {
			return ""
		}
		return strings.TrimSpace(row[i])
	}
	x := leaver{Line: line, Desktop: cell(cols.desktop), User: cell(cols.user), Project: cell(cols.project)}
	if cols.desktop >= 0 && x.Desktop == "" && x.User != "" {
		// A hole in a list of desktops must not turn into all desktops of a user.
		l.bad(line, "has a user, %s, and no desktop: to detach all desktops of users, list them in a file without the desktop column", shown(x.User))
		return nil
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
	cols := columns{desktop: -1, user: -1, project: -1, n: len(row)}
	for i, name := range row {
		var at *int
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "desktop_id", "id", "desktop":
			at = &cols.desktop
		case "user", "user_name":
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

// shown quotes what somebody wrote, shortened, for a message.
func shown(s string) string { return fmt.Sprintf("%.60q", s) }
