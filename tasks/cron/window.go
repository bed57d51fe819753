package cron

import (
	"fmt"
	"time"
)

// Window is a time that recurs, or that is once. The zero Window is never.
type Window struct {
	spec        Spec
	length      time.Duration // real time from each tick on
	from, until time.Time     // once
}

// maxWindow is the longest length of a window that recurs.
const maxWindow = 31 * 24 * time.Hour

// maxOverlaps is how many ticks a window may cover.
const maxOverlaps = 100

// Recurring makes a window that begins with each tick of an expression.
func Recurring(spec Spec, length time.Duration) (Window, error) {
	if length < time.Minute || length > maxWindow {
		return Window{}, fmt.Errorf("invalid length %s: use 1m to %dh", length, maxWindow/time.Hour)
	}
	tick, ok := spec.After(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	end := tick.At.Add(length)
	for n := 0; ok && tick.At.Before(end); tick, ok = spec.Next(tick) {
		if n++; n > maxOverlaps {
			return Window{}, fmt.Errorf("invalid length %s: it begins again more than %d times within that: use a rarer expression",
				length, maxOverlaps)
		}
	}
	return Window{spec: spec, length: length}, nil
}

// Once makes a window between two times in a zone, such as "2026-12-24 18:00".
func Once(from, until string, zone *time.Location) (Window, error) {
	begin, err := Instant(from, zone)
	if err != nil {
		return Window{}, err
	}
	end, err := Instant(until, zone)
	if err != nil {
		return Window{}, err
	}
	if !end.After(begin) {
		return Window{}, fmt.Errorf("it ends at %.40q and begins at %.40q: use a later end", until, from)
	}
	return Window{from: begin, until: end}, nil
}

// Instant reads a time on the clocks of a zone, such as "2026-12-24 18:00".
func Instant(text string, zone *time.Location) (time.Time, error) {
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02 15:04:05", wallLayout} {
		if wall, err := time.Parse(layout, text); err == nil {
			return first(wall, zone), nil
		}
	}
	return time.Time{}, fmt.Errorf(`invalid time %.40q: use a time such as "2026-12-24 18:00"`, text)
}

// At returns when the window ends in which an instant is; false: it is in none. Its begin is
// part of a window, its end is not.
func (w Window) At(t time.Time) (until time.Time, in bool) {
	if w.length == 0 {
		return w.until, !t.Before(w.from) && t.Before(w.until)
	}
	for tick, ok := w.spec.After(t.Add(-w.length)); ok && !tick.At.After(t); tick, ok = w.spec.Next(tick) {
		until, in = tick.At.Add(w.length), true
	}
	return until, in
}
