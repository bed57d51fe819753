package api

import (
	"errors"
	"time"

	"github.com/detachd/detachd/tasks"
)

var errTime = errors.New("is not a time such as 2026-11-30T18:00:00+08:00")

// ParseTime reads a time in RFC 3339, also with an offset without a colon:
// 2026-11-30T18:00:00+0800. It refuses the zero time, which programs write for none.
func ParseTime(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700"} {
		if t, err := time.Parse(layout, text); err == nil && !t.IsZero() {
			return t, nil
		}
	}
	return time.Time{}, errTime
}

// NotBefore is when an operation may start: a time, or Now, which is at once even if due_at
// is in the future. For the zero value see tasks.Request.NotBefore.
type NotBefore struct {
	At  time.Time
	Now bool
}

// IsZero reports whether neither is set.
func (n NotBefore) IsZero() bool { return !n.Now && n.At.IsZero() }

// MarshalText returns "now", or the time.
func (n NotBefore) MarshalText() ([]byte, error) {
	if n.Now {
		return []byte("now"), nil
	}
	return n.At.MarshalText()
}

// UnmarshalText accepts "now", or a time as ParseTime does.
func (n *NotBefore) UnmarshalText(text []byte) (err error) {
	if string(text) == "now" {
		*n = NotBefore{Now: true}
		return nil
	}
	n.Now = false
	n.At, err = ParseTime(string(text))
	return err
}

// Since is a point in the past: a time, or how long ago it is.
type Since struct {
	At  time.Time
	Ago tasks.Duration
}

// Before is the time; zero if s is.
func (s Since) Before(now time.Time) time.Time {
	if s.Ago == 0 {
		return s.At
	}
	return now.Add(-time.Duration(s.Ago))
}

// MarshalText returns the time, or a duration such as 30d.
func (s Since) MarshalText() ([]byte, error) {
	if s.Ago != 0 {
		return s.Ago.MarshalText()
	}
	return s.At.MarshalText()
}

// UnmarshalText accepts a time as ParseTime does, or a duration.
func (s *Since) UnmarshalText(text []byte) (err error) {
	*s = Since{}
	if s.Ago.UnmarshalText(text) == nil {
		return nil
	}
	if s.At, err = ParseTime(string(text)); err != nil {
		err = errors.New("is neither a time such as 2026-11-30T18:00:00+08:00 nor a duration such as 30d")
	}
	return err
}
