package tasks

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of a request's texts, in characters.
const (
	maxID     = 255
	maxName   = 255
	maxReason = 1000
	maxUser   = 64 // of detach_user_infos[].user_name
	maxExpect = 500
)

// Problem is one thing that is wrong with a request.
type Problem struct {
	Field   string // for example "desktops[17]"
	Value   string // what was given, shortened; empty where the value itself is the problem's absence
	Message string
}

func (p Problem) String() string {
	if p.Value == "" {
		return p.Field + ": " + p.Message
	}
	return fmt.Sprintf("%s: %s (got %s)", p.Field, p.Message, p.Value)
}

// ValidationError names everything that is wrong with a request. Nothing was
// written.
type ValidationError struct{ Problems []Problem }

func (e *ValidationError) Error() string {
	const shown = 10
	var b strings.Builder
	b.WriteString("the request was refused, nothing was enqueued: ")
	for i, p := range e.Problems {
		if i == shown {
			fmt.Fprintf(&b, "; and %d more", len(e.Problems)-shown)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p.String())
	}
	return b.String()
}

// problems collects what is wrong.
type problems []Problem

func (ps *problems) add(field, value, format string, args ...any) {
	if value != "" {
		value = fmt.Sprintf("%.60q", value)
	}
	*ps = append(*ps, Problem{Field: field, Value: value, Message: fmt.Sprintf(format, args...)})
}

func (ps *problems) text(field, value string, longest int) {
	switch {
	case utf8.RuneCountInString(value) > longest:
		ps.add(field, value, "is longer than %d characters", longest)
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		ps.add(field, value, "has a control character or invalid UTF-8")
	}
}

// CheckDesktopID says what is wrong with one desktop id, or nothing: 1 to 255
// printable characters without white space, as the API page limits them.
func CheckDesktopID(id string) (problem string) {
	switch {
	case id == "":
		return "is empty"
	case !utf8.ValidString(id):
		return "is not valid UTF-8"
	case utf8.RuneCountInString(id) > maxID:
		return fmt.Sprintf("is longer than %d characters", maxID)
	case strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) || unicode.IsSpace(r) }):
		return "has a character that is not printable, or white space"
	case strings.HasPrefix(id, userRow), strings.HasPrefix(id, computerRow):
		return "begins with " + userRow + " or " + computerRow + ", which is how users and computers are named"
	}
	return ""
}

// CheckUserName says what is wrong with a user's name, or nothing: 1 to 64
// printable characters, as the API page limits them, without space at the ends.
func CheckUserName(name string) (problem string) {
	switch {
	case name == "":
		return "is empty"
	case !utf8.ValidString(name):
		return "is not valid UTF-8"
	case utf8.RuneCountInString(name) > maxUser:
		return fmt.Sprintf("is longer than %d characters", maxUser)
	case strings.TrimSpace(name) != name || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "has a character that is not printable, or space at an end"
	}
	return ""
}

// CheckComputerName says what is wrong with a computer's name, or nothing: 1 to 255
// printable characters without white space, as the API page limits computer_name.
func CheckComputerName(name string) (problem string) {
	switch {
	case name == "":
		return "is empty"
	case !utf8.ValidString(name):
		return "is not valid UTF-8"
	case utf8.RuneCountInString(name) > maxName:
		return fmt.Sprintf("is longer than %d characters", maxName)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || unicode.IsSpace(r) }):
		return "has a character that is not printable, or white space"
	}
	return ""
}

// Validate says everything that is wrong with the request, as a
// *ValidationError, or nil. known reports whether a project alias exists; now
// is what the times are held against.
func (r Request) Validate(known func(alias string) bool, now time.Time) error {
	var ps problems
	switch {
	case r.Project == "":
		ps.add("project", "", "is missing: name one of the configured projects")
	case !known(r.Project):
		ps.add("project", r.Project, "is not a configured project")
	}
	r.validateDesktops(&ps)
	r.validateLookups(&ps)
	r.validateExpect(&ps)
	ps.text("requested_by", r.RequestedBy, maxName)
	ps.text("ticket", r.Ticket, maxName)
	ps.text("idempotency_key", r.IdempotencyKey, maxName)
	if r.Trace != "" && !ValidTraceparent(r.Trace) {
		ps.add("trace", r.Trace, "is no W3C traceparent of version 00")
	}
	if utf8.RuneCountInString(r.Reason) > maxReason {
		ps.add("reason", r.Reason, "is longer than %d characters", maxReason)
	}
	if !utf8.ValidString(r.Reason) {
		ps.add("reason", r.Reason, "is not valid UTF-8")
	}
	if !r.Deadline.IsZero() {
		switch {
		case !r.Deadline.After(now):
			ps.add("deadline", r.Deadline.Format(time.RFC3339), "has passed already")
		case !r.Deadline.After(r.NotBefore):
			ps.add("deadline", r.Deadline.Format(time.RFC3339), "is not after not_before")
		}
	}
	if len(ps) == 0 {
		return nil
	}
	return &ValidationError{Problems: ps}
}

func (r Request) validateDesktops(ps *problems) {
	switch n := len(r.Desktops); {
	case n == 0 && len(r.Users)+len(r.Computers) == 0:
		ps.add("desktops", "", "is empty: name at least one desktop, computer or user")
	case n > MaxDesktops:
		ps.add("desktops", "", "has %d desktops, more than %d: split the request", n, MaxDesktops)
		return
	}
	first := make(map[string]int, len(r.Desktops))
	for i, id := range r.Desktops {
		field := fmt.Sprintf("desktops[%d]", i)
		if problem := CheckDesktopID(id); problem != "" {
			ps.add(field, id, "%s", problem)
			continue
		}
		if j, seen := first[id]; seen {
			ps.add(field, id, "is the same desktop as desktops[%d]", j)
			continue
		}
		first[id] = i
	}
}

func (r Request) validateLookups(ps *problems) {
	field := "users"
	if len(r.Users) == 0 {
		field = "computers"
	}
	if n := len(r.Users) + len(r.Computers); n > MaxLookups {
		ps.add(field, "", "names %d users and computers to be looked up, more than %d: split the request", n, MaxLookups)
		return
	}
	if u := r.UnknownUsers; u != "" && u != HoldUnknown && u != IgnoreUnknown {
		ps.add("unknown_users", u, "is neither %s nor %s", HoldUnknown, IgnoreUnknown)
	}
	distinct := func(what, field string, names []string, check func(string) string) {
		first := make(map[string]int, len(names))
		for i, name := range names {
			at := fmt.Sprintf("%s[%d]", field, i)
			if problem := check(name); problem != "" {
				ps.add(at, name, "%s", problem)
				continue
			}
			if j, seen := first[name]; seen {
				ps.add(at, name, "is the same %s as %s[%d]", what, field, j)
				continue
			}
			first[name] = i
		}
	}
	distinct("user", "users", r.Users, CheckUserName)
	distinct("computer", "computers", r.Computers, CheckComputerName)
}

func (r Request) validateExpect(ps *problems) {
	if len(r.Expect) == 0 || len(r.Desktops) > MaxDesktops {
		return
	}
	named := make(map[string]bool, len(r.Desktops))
	for _, id := range r.Desktops {
		named[id] = true
	}
	for _, name := range r.Computers {
		named[ComputerRow(name)] = true
	}
	for _, id := range slices.Sorted(maps.Keys(r.Expect)) {
		field := fmt.Sprintf("expect[%q]", id)
		names := r.Expect[id]
		switch {
		case !named[id]:
			ps.add(field, "", "is about a desktop or computer that the request does not name")
		case len(names) == 0:
			ps.add(field, "", "names nobody: leave it out, or name a user")
		case len(names) > maxExpect:
			ps.add(field, "", "names %d users, more than %d", len(names), maxExpect)
		}
		for i, name := range names {
			if problem := CheckUserName(name); problem != "" {
				ps.add(field, name, "%s", problem)
			} else if slices.Contains(names[:i], name) {
				ps.add(field, name, "is named twice")
			}
		}
	}
}
