package report

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/detachd/detachd/cmd/internal/when"
	"github.com/detachd/detachd/tasks/record"
)

// Result says how the operation went, for people who read nothing else.
func (h head) Result() string {
	c := h.Operation.Counts
	var rest []string
	for _, part := range []struct {
		n    int
		what string
	}{
		{c.Failed, "failed"}, {c.Held, "on hold"}, {c.Cancelled, "cancelled"}, {c.Unsettled(), "in progress"}, {c.NoDesktop, "without a desktop"},
	} {
		if part.n > 0 {
			rest = append(rest, count(part.n, part.what))
		}
	}
	var text string
	confirmed := "confirmed detached"
	if h.Operation.UndoOf != "" {
		confirmed = "confirmed given back"
	}
	are := func(n int) string {
		if n == 1 {
			return " is " + confirmed
		}
		return " are " + confirmed
	}
	switch {
	case c.Detached == 0:
		text = "No desktop" + are(1)
	case len(rest) > 0:
		text = amount(c.Detached, "desktop") + are(c.Detached) + h.slowest()
	case c.Detached == 1:
		text = "The desktop" + h.leavers() + are(1) + h.slowest()
	default:
		text = "All " + amount(c.Detached, "desktop") + h.leavers() + are(c.Detached) + h.slowest()
	}
	if !h.Final {
		text = "So far: " + strings.ToLower(text[:1]) + text[1:]
	}
	if len(rest) > 0 {
		text += ". Not " + strings.TrimPrefix(confirmed, "confirmed ") + ": " + strings.Join(rest, ", ")
	}
	return text + "."
}

// slowest says how long it took, as far as it took any time.
func (h head) slowest() string {
	r := h.Removal
	if r.Proven == 0 {
		return ""
	}
	text := ", none after it was due"
	switch worst := took(r.WorstMS); {
	case r.WorstMS > 0 && r.Proven == 1:
		text = ", " + worst + " after it was due"
	case r.WorstMS > 0:
		text = ", the slowest " + worst + " after it was due"
	}
	if r.Late > 0 {
		text += fmt.Sprintf("; %s later than the target of %s", count(r.Late, ""), took(r.TargetMS))
	}
	return text
}

// leavers says whose desktops these are, if the request names nothing but users.
func (h head) leavers() string {
	var accepted record.Operation
	if json.Unmarshal([]byte(h.Accepted), &accepted) != nil || accepted.Users == 0 || accepted.Users != accepted.Total {
		return ""
	}
	return " of " + amount(accepted.Users, "leaver")
}

// took formats milliseconds as people write a duration.
func took(ms int64) string { return when.Took(time.Duration(ms) * time.Millisecond) }

// amount writes "1 desktop" or "2,000 desktops".
func amount(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return count(n, what)
}

// count writes "2,000 failed".
func count(n int, what string) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return strings.TrimSpace(s + " " + what)
}
