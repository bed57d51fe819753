package cron

import (
	"fmt"
	"time"
	_ "time/tzdata" // containers have no zones
)

// maxName is longer than any name of a zone.
const maxName = 64

// Zone returns a time zone by its IANA name; "" is UTC. "Local" is refused: it would differ
// from machine to machine.
func Zone(name string) (*time.Location, error) {
	if len(name) > maxName {
		return nil, fmt.Errorf("unknown time zone of %d characters: use a name such as Europe/Berlin", len(name))
	}
	loc, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, fmt.Errorf("unknown time zone %q: use a name such as Europe/Berlin", name)
	}
	return loc, nil
}

// wallOf returns what the clocks of a zone show at an instant, as a time in UTC with the same
// fields.
func wallOf(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// at returns the instant at which a clock with the offset of t shows a wall clock.
func at(wall, t time.Time) time.Time {
	_, offset := t.Zone()
	return wall.Add(-time.Duration(offset) * time.Second).In(t.Location())
}

// bounds returns what time.Time.ZoneBounds does, with an end after t.
func bounds(t time.Time) (start, end time.Time) {
	start, end = t.ZoneBounds()
	if !end.IsZero() && !end.After(t) {
		// Go 1.26 takes each year for one of 365 days where zone data has a rule only.
		const day = 24 * time.Hour
		end = t.Truncate(day).Add(day)
	}
	return start, end
}

// lookBack is longer than any clock was ever set back.
const lookBack = 36 * time.Hour

// latestWall returns the latest time that the clocks of a zone have shown by an instant. It
// differs from wallOf after clocks were set back.
func latestWall(t time.Time) time.Time {
	latest := wallOf(t)
	for start, _ := bounds(t); !start.IsZero() && t.Sub(start) < lookBack; {
		before := start.Add(-1)
		if w := wallOf(before); w.After(latest) {
			latest = w
		}
		start, _ = bounds(before)
	}
	return latest
}

// first returns the first instant at which the clocks of a zone show a wall clock or a later
// one.
func first(wall time.Time, loc *time.Location) time.Time {
	t := wall.Add(-lookBack).In(loc)
	for {
		start, end := bounds(t)
		i := at(wall, t)
		if i.Before(start) {
			return start
		}
		if end.IsZero() || i.Before(end) {
			return i
		}
		t = end
	}
}

// shownAgain reports whether the clocks show the wall clock of an instant once more later.
func shownAgain(t time.Time) bool {
	wall, limit := wallOf(t), t.Add(lookBack)
	for _, end := bounds(t); !end.IsZero() && end.Before(limit); _, end = bounds(end) {
		if !at(wall, end).Before(end) {
			return true
		}
	}
	return false
}

// EndOfDay returns the instant at which a day ("2026-11-30") ends in a zone: the first of the
// day after it, at the end of the gap if the zone skips that midnight.
func EndOfDay(date string, loc *time.Location) (time.Time, error) {
	day, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return time.Time{}, fmt.Errorf("invalid date %.40q: use a date such as 2026-11-30", date)
	}
	if day.Year() < 2000 { // 0001-01-01, 1900-01-01 and 1970-01-01 mean none, and would take access at once
		return time.Time{}, fmt.Errorf("invalid date %.40q: it is before 2000, use a date such as 2026-11-30", date)
	}
	return first(day.AddDate(0, 0, 1), loc), nil
}
