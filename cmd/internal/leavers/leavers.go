package leavers

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/detachd/detachd/tasks"
)

// maxBadRows is how many bad rows are kept; more are only counted.
const maxBadRows = 1000

// Leaver is a desktop to detach, by id or by computer name, from User if that is set;
// or, without either, a user whose desktops are all meant. Line is 0 for an argument.
// Desktop may be the id of a row as detachd shows it: "computer:" or "user:" and a
// name.
type Leaver struct {
	Line     int
	Project  string
	Desktop  string
	Computer string
	User     string
}

// row is the id of its row in an operation.
func (x Leaver) row() string {
	switch {
	case x.Desktop != "":
		return x.Desktop
	case x.Computer != "":
		return tasks.ComputerRow(x.Computer)
	case x.User != "":
		return tasks.UserRow(x.User)
	}
	return ""
}

// who is whom a row is about: a user, or the user of a desktop, however the name is written: Ann@corp is
// ann.
func (x Leaver) who() guardKey {
	x.User = strings.ToLower(localPart(x.User))
	return guardKey{rowKey{row: strings.ToLower(x.row())}, x.guard()}
}

// guard is the user who must have the desktop; empty for any user.
func (x Leaver) guard() string {
	if x.Desktop == "" && x.Computer == "" {
		return ""
	}
	return x.User
}

// subject names the leaver in a message.
func (x Leaver) subject() string {
	switch {
	case x.Desktop != "":
		return "desktop " + shown(x.Desktop)
	case x.Computer != "":
		return "computer " + shown(x.Computer)
	}
	return "user " + shown(x.User)
}

// canonical is the leaver in the form of tasks.Request.Canonical, with the id of a row
// replaced by the computer or user that it names.
func (x Leaver) canonical() Leaver {
	named := tasks.Desktop{ID: x.Desktop}
	if name, ok := named.Computer(); ok && x.Computer == "" {
		x.Desktop, x.Computer = "", name
	}
	if name, ok := named.User(); ok && x.User == "" && x.Computer == "" {
		x.Desktop, x.User = "", name
	}
	x.Desktop = tasks.CanonicalDesktopID(x.Desktop)
	x.Computer, x.User = norm.NFC.String(x.Computer), norm.NFC.String(x.User)
	return x
}

// BadRow is a row that cannot be used.
type BadRow struct {
	Line    int // 0: an argument
	Problem string
}

func (b BadRow) String() string {
	if b.Line == 0 {
		return b.Problem
	}
	return fmt.Sprintf("line %d: %s", b.Line, b.Problem)
}

// List is the content of a list: each desktop or computer once, or once for each of
// its users, and each user without a desktop once. Duplicate rows are skipped.
type List struct {
	Good    []Leaver
	Bad     []BadRow
	BadRows int       // including those not kept in Bad
	Early   int       // of these, rows that a time of the operation would take, see AnyDate
	Unknown []string  // columns that were ignored
	Mixed   bool      // rows may name other projects than the default
	Columns Columns   // set it before reading
	Long    bool      // it may have more users and computers than one request; set it before reading
	Now     time.Time // default: that of New

	// AnyDate: the time of the operation was given, or notes are read before anything is
	// queued, so that a date to come is noted and refuses no row; set it before reading.
	AnyDate bool
	// AnyStatus: what other columns say of a person does not matter, as in a list of those
	// who stay; set it before reading.
	AnyStatus bool

	toCome  []toCome
	staying map[guardKey]int // the line of somebody who stays, by Leaver.who
	titles  []string         // lines above the header
	below   []string         // lines below the last row
	project string           // the default
	known   func(alias string) bool
	first   map[rowKey]Leaver
	named   map[guardKey]bool
	counts  map[countKey]int
}

// rowKey is a row of an operation.
type rowKey struct{ project, row string }

// guardKey is a row and the user who must have its desktop.
type guardKey struct {
	rowKey
	guard string
}

// countKey is what a limit counts: desktops, or users and computers, of a project.
type countKey struct{ project, what string }

// New makes an empty list. project is the default for rows without a project, and must
// be the same in rows that have one; known reports whether a project exists.
func New(project string, known func(alias string) bool) *List {
	return &List{
		Now: time.Now(), project: project, known: known,
		first: map[rowKey]Leaver{}, named: map[guardKey]bool{}, counts: map[countKey]int{},
	}
}

func (l *List) bad(line int, format string, args ...any) {
	if l.BadRows++; l.BadRows <= maxBadRows {
		l.Bad = append(l.Bad, BadRow{line, fmt.Sprintf(format, args...)})
	}
}

// Add adds a leaver, or records why it is invalid. An error means that the whole list
// is unusable.
func (l *List) Add(x Leaver) error {
	written := x.User
	if !l.AnyStatus { // who stays does so under each part of the text
		x.User = addressIn(x.User)
	}
	x = x.canonical()
	given := x.Project
	if x.Project == "" {
		x.Project = l.project
	}
	switch problem := x.problem(); {
	case problem == "" && !l.AnyStatus &&
		(strings.Contains(written, "~~") || strings.ContainsFunc(written, unicode.IsSpace) && saysStays(written)): // ~~ strikes out
		l.bad(x.Line, "user %s says that somebody stays: remove the row, or write only the name if the person leaves", shown(written))
	case problem != "":
		l.bad(x.Line, "%s", problem)
	case x.Project == "":
		l.bad(x.Line, "%s has no project: choose a project for the list, or add a column project", x.subject())
	case given != "" && l.project != "" && given != l.project && !l.Mixed:
		l.bad(x.Line, "project %s differs from the project of the list, %s", shown(given), shown(l.project))
	case !l.known(x.Project):
		l.bad(x.Line, "project %s is not configured", shown(x.Project))
	default:
		return l.insert(x)
	}
	return nil
}

// problem says what is wrong with the ids and names; empty if nothing is.
func (x Leaver) problem() string {
	if x.Computer != "" {
		if problem := tasks.CheckComputerName(x.Computer); problem != "" {
			return fmt.Sprintf("computer %s %s", shown(x.Computer), problem)
		}
	} else if x.Desktop != "" || x.User == "" {
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

// insert adds a valid leaver, unless it is a duplicate. A desktop may occur again with
// another user: it is detached from both.
func (l *List) insert(x Leaver) error {
	row := rowKey{x.Project, x.row()}
	key := guardKey{row, x.guard()}
	first, known := l.first[row]
	switch {
	case l.named[key]:
		return nil
	case known && (first.guard() == "") != (x.guard() == ""):
		where := fmt.Sprintf("is already on line %d", first.Line)
		if first.Line == 0 {
			where = "is already given as an argument"
		}
		l.bad(x.Line, "%s %s, once with a user and once without", x.subject(), where)
		return nil
	}
	what, most := "desktops", tasks.MaxDesktops
	if x.Desktop == "" {
		what = "users and computers"
		if !l.Long {
			most = tasks.MaxLookups
		}
	}
	if !known {
		n := countKey{x.Project, what}
		if l.counts[n] == most {
			return fmt.Errorf("more than %d %s of project %s: split the list", most, what, x.Project)
		}
		l.counts[n]++
		l.first[row] = x
	}
	l.named[key] = true
	l.Good = append(l.Good, x)
	return nil
}

// shown quotes user input for a message, shortened.
func shown(s string) string { return fmt.Sprintf("%.60q", s) }
