package tasks

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a request's texts, in characters.
const (
	MaxName   = 255 // of a name, a ticket or a key
	maxReason = 1000
	maxUser   = 64 // of detach_user_infos[].user_name
	maxExpect = 500
)

// Problem is one thing that is wrong with a request.
type Problem struct {
	Field   string // for example "desktops[17]"
	Value   string // as given, shortened; empty if it is missing
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
	return listed("the request was refused, nothing was enqueued: ", e.Problems)
}

// listed is a text with the first problems after it.
func listed(text string, problems []Problem) string {
	const shown = 10
	var b strings.Builder
	b.WriteString(text)
	for i, p := range problems {
		if i == shown {
			fmt.Fprintf(&b, "; and %d more", len(problems)-shown)
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

func (ps problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return &ValidationError{Problems: ps}
}

func (ps *problems) text(field, value string, longest int) {
	switch {
	case utf8.RuneCountInString(value) > longest:
		ps.add(field, value, "is longer than %d characters", longest)
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		ps.add(field, value, "has a control character or invalid UTF-8")
	}
}
