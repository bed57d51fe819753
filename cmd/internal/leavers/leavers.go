package leavers

import (
	"fmt"

	"golang.org/x/text/unicode/norm"

	"github.com/detachd/detachd/tasks"
)

// maxBadRows are kept; more are counted.
const maxBadRows = 1000

// Leaver is a desktop, or the computer by whose name it is to be found, that somebody
// wants detached, from a user if one is named; or a user, without either, all of whose
// desktops are meant. Line is 0 for one that was given as an argument. Desktop may be
// the id of a row as detachd shows it: "computer:" or "user:" and a name.
type Leaver struct {
	Line     int
	Project  string
	Desktop  string
	Computer string
	User     string
}

// row is the id of the row that it becomes.
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

// guard is the user whose it has to be; empty: whoever has it.
func (x Leaver) guard() string {
	if x.Desktop == "" && x.Computer == "" {
		return ""
	}
	return x.User
}

// subject is what the leaver is about, for a message.
func (x Leaver) subject() string {
	switch {
	case x.Desktop != "":
		return "desktop " + shown(x.Desktop)
	case x.Computer != "":
		return "computer " + shown(x.Computer)
	}
	return "user " + shown(x.User)
}

// canonical is the leaver as tasks.Request.Canonical has it, and with the id of a row
// taken for what it names.
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

// List is what a list says: each desktop or computer once, or once for each of its
// users, and each user without a desktop once. Rows that say the same as another are
// left out of it.
type List struct {
	Good    []Leaver
	Bad     []BadRow
	BadRows int      // including those not kept in Bad
	Unknown []string // columns that were ignored
	Mixed   bool     // rows may name other projects than the default
	Columns Columns  // to be set before reading

	project string // the default
	known   func(alias string) bool
	first   map[[2]string]Leaver // by project and row
	named   map[[3]string]bool   // by project, row and guard
	counts  map[[2]string]int    // desktops and look-ups, by project
}

// New makes an empty list. project is the default for desktops without
// one, and must agree with those that have one; known says which there are.
func New(project string, known func(alias string) bool) *List {
	return &List{project: project, known: known, first: map[[2]string]Leaver{}, named: map[[3]string]bool{}, counts: map[[2]string]int{}}
}

func (l *List) bad(line int, format string, args ...any) {
	if l.BadRows++; l.BadRows <= maxBadRows {
		l.Bad = append(l.Bad, BadRow{line, fmt.Sprintf(format, args...)})
	}
}

// Add takes a leaver, or notes why it cannot be taken. The error is for what
// makes the whole list unusable.
func (l *List) Add(x Leaver) error {
	x = x.canonical()
	given := x.Project
	if x.Project == "" {
		x.Project = l.project
	}
	switch problem := x.problem(); {
	case problem != "":
		l.bad(x.Line, "%s", problem)
	case x.Project == "":
		l.bad(x.Line, "%s has no project: choose one for the list, or fill in a column project", x.subject())
	case given != "" && l.project != "" && given != l.project && !l.Mixed:
		l.bad(x.Line, "project %s is not that of the list, %s", shown(given), shown(l.project))
	case !l.known(x.Project):
		l.bad(x.Line, "project %s is not configured", shown(x.Project))
	default:
		return l.take(x)
	}
	return nil
}

// problem says what is wrong with the ids and names alone.
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

// take takes a leaver that is there for the first time. A desktop may come again
// with another user: then it is to be taken from both.
func (l *List) take(x Leaver) error {
	row := [2]string{x.Project, x.row()}
	key := [3]string{x.Project, x.row(), x.guard()}
	first, known := l.first[row]
	switch {
	case l.named[key]:
		return nil
	case known && (first.guard() == "") != (x.guard() == ""):
		where := fmt.Sprintf("is on line %d already", first.Line)
		if first.Line == 0 {
			where = "is given as an argument already"
		}
		l.bad(x.Line, "%s %s, once with a user and once without", x.subject(), where)
		return nil
	}
	what, most := "desktops", tasks.MaxDesktops
	if x.Desktop == "" {
		what, most = "users and computers", tasks.MaxLookups
	}
	if !known {
		n := [2]string{what, x.Project}
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

// shown quotes what somebody wrote, shortened, for a message.
func shown(s string) string { return fmt.Sprintf("%.60q", s) }
