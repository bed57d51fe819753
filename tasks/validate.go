package tasks

import (
	"fmt"
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
	ps.text("requested_by", r.RequestedBy, maxName)
	ps.text("ticket", r.Ticket, maxName)
	ps.text("idempotency_key", r.IdempotencyKey, maxName)
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
	case n == 0:
		ps.add("desktops", "", "is empty: name at least one desktop")
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
