package api

import (
	"errors"
	"time"
)

// errTime says what a time has to be.
var errTime = errors.New("is no time such as 2026-11-30T18:00:00+08:00")

// ParseTime reads a time as RFC 3339 has it, or with an offset without a colon:
// 2026-11-30T18:00:00+0800.
func ParseTime(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errTime
}

// NotBefore is when an operation may start: a time, or at once although due_at is
// still to come, which is the word now. The zero value says nothing: see
// tasks.Request.NotBefore.
type NotBefore struct {
	At  time.Time
	Now bool
}

// IsZero reports that nothing is said.
func (n NotBefore) IsZero() bool { return !n.Now && n.At.IsZero() }

// MarshalText gives "now", or the time.
func (n NotBefore) MarshalText() ([]byte, error) {
	if n.Now {
		return []byte("now"), nil
	}
	return n.At.MarshalText()
}

// UnmarshalText takes "now", or a time as of ParseTime.
func (n *NotBefore) UnmarshalText(text []byte) (err error) {
	if string(text) == "now" {
		*n = NotBefore{Now: true}
		return nil
	}
	n.Now = false
	n.At, err = ParseTime(string(text))
	return err
}
