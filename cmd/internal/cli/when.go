package cli

import (
	"fmt"
	"strings"
	"time"
)

// localForms are the times that people type, meant in the local time zone.
var localForms = []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04"}

// parseWhen reads a point in time: RFC 3339, a duration from now such as +2h,
// or a local date and time. Empty is the zero time.
func parseWhen(text string, now time.Time) (time.Time, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && !strings.HasPrefix(text, "-") {
		return now.Add(d), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	for _, form := range localForms {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf(`%s is no time: write 2026-11-23T18:00:00Z, "2026-11-23 18:00" (local time) or +2h (from now)`, shown(text))
}

// parseSince is parseWhen for times that have passed: a duration counts back.
func parseSince(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(strings.TrimLeft(strings.TrimSpace(text), "+-")); err == nil {
		return now.Add(-d), nil
	}
	return parseWhen(text, now)
}
