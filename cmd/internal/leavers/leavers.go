package leavers

import (
	"fmt"

	"github.com/detachd/detachd/tasks"
)

// maxBadRows are kept; more are counted.
const maxBadRows = 1000

// Leaver is a desktop that somebody wants detached, from a user if one is named;
// or a user, without a desktop, all of whose desktops are meant. Line is 0 for
// one that was given as an argument.
type Leaver struct {
	Line    int
	Project string
	Desktop string
	User    string
}

// subject is what the leaver is about, for a message.
func (x Leaver) subject() string {
	if x.Desktop == "" {
		return "user " + shown(x.User)
	}
	return "desktop " + shown(x.Desktop)
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

// List is what a list says: each desktop once, or once for each of its users,
// and each user without a desktop once.
type List struct {
	Good    []Leaver
	Bad     []BadRow
	BadRows int      // including those not kept in Bad
	Unknown []string // columns that mean nothing here
	Mixed   bool     // rows may name other projects than the default

	project string // the default
	known   func(alias string) bool
	first   map[[2]string]Leaver // by project and desktop
	named   map[[3]string]Leaver // by project, desktop and user
	counts  map[[2]string]int    // desktops and users, by project
}

// New makes an empty list. project is the default for desktops without
// one, and must agree with those that have one; known says which there are.
func New(project string, known func(alias string) bool) *List {
	return &List{project: project, known: known, first: map[[2]string]Leaver{}, named: map[[3]string]Leaver{}, counts: map[[2]string]int{}}
}

func (l *List) bad(line int, format string, args ...any) {
	if l.BadRows++; l.BadRows <= maxBadRows {
		l.Bad = append(l.Bad, BadRow{line, fmt.Sprintf(format, args...)})
	}
}

// Add takes a leaver, or notes why it cannot be taken. The error is for what
// makes the whole list unusable.
func (l *List) Add(x Leaver) error {
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

// problem says what is wrong with the ids alone.
func (x Leaver) problem() string {
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
func (l *List) take(x Leaver) error {
	again := func(before Leaver, how string) {
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
		what, most = "users", tasks.MaxLookups
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

// shown quotes what somebody wrote, shortened, for a message.
func shown(s string) string { return fmt.Sprintf("%.60q", s) }
