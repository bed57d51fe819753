// Package when parses points in time as people type them, and formats times and durations as
// people write them.
package when

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
)

// Example shows the forms of a time that is still to come.
const Example = `2026-11-30T18:00:00+08:00, "2026-11-30 18:00", 2026-11-30, 18:00, tomorrow or +2h`

// Way decides the day of a time that has none.
type Way int

// The ways.
const (
	Next Way = iota // today if it is still to come, else tomorrow; a duration counts from now on
	Last            // today if it has passed, else yesterday; a duration counts back
)

// Error says what is wrong with a text that is not a time.
type Error struct{ Text, Problem string }

func (e *Error) Error() string { return fmt.Sprintf("invalid time %.60q: %s", e.Text, e.Problem) }

// Parse reads a point in time:
//
//   - with an offset: 2026-11-30T18:00:00+08:00, also with +0800, Z or UTC, with a
//     space in place of T or before the offset, and without seconds;
//   - without an offset, in zone: a date alone is its 00:00, a time alone is on the
//     day that way decides; yesterday, today and tomorrow are dates;
//   - as a duration from now, such as 2h, +90m or 30d, or as the word now.
//
// An empty text is the zero time. A local time that zone skips or has twice, because
// clocks change, is an *Error, as is any text that is not a time.
func Parse(text string, now time.Time, zone *time.Location, way Way) (time.Time, error) {
	text = strings.TrimSpace(text)
	switch text {
	case "":
		return time.Time{}, nil
	case "now":
		return now, nil
	}
	if t, ok := fromNow(text, now, way); ok {
		return t, nil
	}
	clock := text
	if at, ok := strings.CutSuffix(clock, "UTC"); ok {
		clock = strings.TrimSpace(at) + "Z"
	}
	clock = strings.Replace(clock, "T", " ", 1)
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04"} {
		for _, offset := range []string{"Z07:00", "Z0700", " Z07:00", " Z0700"} {
			if t, err := time.Parse(layout+offset, clock); err == nil {
				return t, nil
			}
		}
	}
	clock = dated(clock, now.In(zone))
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if wall, err := time.Parse(layout, clock); err == nil {
			return local(wall, zone)
		}
	}
	for _, layout := range []string{"15:04:05", "15:04"} {
		if wall, err := time.Parse(layout, clock); err == nil {
			return near(wall, now.In(zone), way)
		}
	}
	if way == Last {
		return time.Time{}, &Error{text, `use 2026-11-23T18:00:00Z, "2026-11-23 18:00" (local) or 24h`}
	}
	return time.Time{}, &Error{text, "use " + Example}
}

// dated replaces the name of a day at the beginning by its date.
func dated(clock string, now time.Time) string {
	for days, name := range []string{"yesterday", "today", "tomorrow"} {
		if rest, ok := strings.CutPrefix(clock, name); ok {
			y, m, d := now.Date() // noon exists on every day
			return time.Date(y, m, d+days-1, 12, 0, 0, 0, time.UTC).Format(time.DateOnly) + rest
		}
	}
	return clock
}

func fromNow(text string, now time.Time, way Way) (time.Time, bool) {
	var d tasks.Duration
	if way == Last {
		err := d.UnmarshalText([]byte(strings.TrimLeft(text, "+-")))
		return now.Add(-time.Duration(d)), err == nil
	}
	err := d.UnmarshalText([]byte(strings.TrimPrefix(text, "+")))
	return now.Add(time.Duration(d)), err == nil && d >= 0
}

// near finds the day of a time without a date.
func near(wall, now time.Time, way Way) (time.Time, error) {
	on := func(days int) (time.Time, error) {
		y, m, d := now.Date()
		return local(time.Date(y, m, d+days, wall.Hour(), wall.Minute(), wall.Second(), 0, time.UTC), now.Location())
	}
	t, err := on(0)
	switch {
	case err != nil:
		return t, err
	case way == Next && !t.After(now):
		return on(1)
	case way == Last && t.After(now):
		return on(-1)
	}
	return t, nil
}

// local gives the instant at which clocks in zone show the time of wall.
func local(wall time.Time, zone *time.Location) (time.Time, error) {
	y, m, d := wall.Date()
	var found []time.Time
	for _, hours := range []time.Duration{-24, 24} { // the offsets on both sides of a change
		_, offset := wall.Add(hours * time.Hour).In(zone).Zone()
		t := wall.Add(-time.Duration(offset) * time.Second).In(zone)
		if ty, tm, td := t.Date(); ty == y && tm == m && td == d && t.Hour() == wall.Hour() && t.Minute() == wall.Minute() {
			if len(found) == 0 || !found[0].Equal(t) {
				found = append(found, t)
			}
		}
	}
	at := wall.Format("2006-01-02 15:04:05")
	switch len(found) {
	case 0:
		return time.Time{}, &Error{at, fmt.Sprintf("does not exist in %s, where clocks go forward: use another time, or one with an offset",
			zone)}
	case 2:
		problem := fmt.Sprintf("occurs twice in %s, where clocks go back: use %s or %s", zone, Show(found[0]), Show(found[1]))
		return time.Time{}, &Error{at, problem}
	}
	return found[0], nil
}

// Show formats an instant with its offset, in its own zone, so that Parse reads it.
func Show(t time.Time) string { return t.Format("2006-01-02 15:04:05 -07:00") }

// File reports that a file holds a time zone.
func File(name string) bool {
	text, err := os.ReadFile(name)
	if err != nil {
		return false
	}
	_, err = time.LoadLocationFromTZData(name, text)
	return err == nil
}
