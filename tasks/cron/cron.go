package cron

import (
	"fmt"
	"math/bits"
	"regexp"
	"strings"
	"time"

	gocron "github.com/netresearch/go-cron"
)

// Spec is an expression in a zone. The zero Spec has no ticks.
type Spec struct {
	fields             *gocron.SpecSchedule
	zone               *time.Location
	realTime, allHours bool // the hour is * or */n; it is *
}

// Mark says what is special about a tick.
type Mark string

// The marks.
const (
	Shifted     Mark = "shifted"       // the clocks skip its time: it is at the end of the gap
	FirstOfTwo  Mark = "first_of_two"  // the clocks show its time twice: it is at the first
	SecondOfTwo Mark = "second_of_two" // the second, of an expression in real time
)

// Tick is one run of an expression.
type Tick struct {
	// Wall is what the clocks show, "2026-10-25T02:30", and no two ticks of a Spec have the
	// same: SecondOfTwo has its offset behind it, "2026-10-25T02:30+01:00".
	Wall string
	At   time.Time // in the zone
	Mark Mark
}

const wallLayout = "2006-01-02T15:04"

// searchYears is how far a tick may be: 29 February on a certain weekday is 40 years away if
// a century is between.
const searchYears = 41

var parser = gocron.MustNewParser(gocron.Minute | gocron.Hour | gocron.Dom | gocron.Month | gocron.Dow |
	gocron.Extended | gocron.DowOrDom).WithMaxSearchYears(searchYears)

// shorthands are the names of frequent expressions.
var shorthands = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

// columns are the fields of an expression, each with what it may be.
var columns = []struct{ name, use string }{
	{"minute", "0 to 59, such as 30, 0,30 or */15"},
	{"hour", "0 to 23, such as 18, 8-17 or */2"},
	{"day of the month", "1 to 31, L for the last day or LW for the last weekday, such as 1,15"},
	{"month", "1 to 12 or JAN to DEC, such as 3,6,9,12"},
	{"day of the week", "0 to 7 or SUN to SAT, such as MON-FRI, FRI#1 for the first or FRI#L for the last Friday"},
}

var (
	// plain is what a field consists of. Without it the parser accepts empty items and reads H as a hash.
	plain    = regexp.MustCompile(`^[0-9A-Za-z*#/-]+(,[0-9A-Za-z*#/-]+)*$`)
	everyHow = regexp.MustCompile(`^\*(/[0-9]+)?$`)
)

// overWeek is a step through days of the week. The parser counts eight days if it goes on after SAT.
var overWeek = regexp.MustCompile(`(?:^|,)([^,-]+)-([^,/]+)/`)

const example = `"0 18 * * FRI" is 18:00 every Friday`

// Parse reads an expression of five fields, or @yearly, @monthly, @weekly, @daily or @hourly,
// in a zone, see Zone.
func Parse(expr, zone string) (Spec, error) {
	loc, err := Zone(zone)
	if err != nil {
		return Spec{}, err
	}
	expr = strings.TrimSpace(expr)
	if long, ok := shorthands[strings.ToLower(expr)]; ok {
		expr = long
	}
	fields := strings.Fields(expr)
	switch {
	case strings.HasPrefix(expr, "@"):
		return Spec{}, fmt.Errorf("invalid cron %.60q: use five fields (%s), @yearly, @monthly, @weekly, @daily or @hourly", expr, example)
	case len(fields) != len(columns):
		return Spec{}, fmt.Errorf("invalid cron %.60q: it has %d fields, use five: minute, hour, day of the month, month, day of the week; %s",
			expr, len(fields), example)
	}
	for i, text := range fields {
		alone := []string{"*", "*", "*", "*", "*"}
		alone[i] = text
		if _, err := parser.Parse(strings.Join(alone, " ")); err != nil || !plain.MatchString(text) {
			return Spec{}, fmt.Errorf("invalid cron %.60q: %s %.40q: use %s; * is every one", expr, columns[i].name, text, columns[i].use)
		}
	}
	for _, m := range overWeek.FindAllStringSubmatch(fields[4], -1) {
		if weekday(m[1]) > weekday(m[2]) {
			return Spec{}, fmt.Errorf("invalid cron %.60q: day of the week %.40q: use a list of days, such as SAT,MON, for a step past SAT",
				expr, fields[4])
		}
	}
	parsed, err := parser.Parse(strings.Join(fields, " "))
	spec, ok := parsed.(*gocron.SpecSchedule)
	if err != nil || !ok {
		return Spec{}, fmt.Errorf("invalid cron %.60q: use five fields; %s", expr, example)
	}
	if spec.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return Spec{}, fmt.Errorf("invalid cron %.60q: no month has that day: correct the day of the month, or the month", expr)
	}
	return Spec{fields: spec, zone: loc, realTime: everyHow.MatchString(fields[1]), allHours: fields[1] == "*" || fields[1] == "*/1"}, nil
}

// weekday returns the number of a day that the parser accepts.
func weekday(name string) int {
	day, err := parser.Parse("* * * * " + name)
	if spec, ok := day.(*gocron.SpecSchedule); err == nil && ok {
		return bits.TrailingZeros64(spec.Dow)
	}
	return 0
}

// next returns the wall clock that matches after one, or zero. The parser walks second by
// second and minute by minute, so it begins where a match may be.
func (s Spec) next(wall time.Time) time.Time {
	step := time.Minute
	if s.fields.Minute>>(wall.Minute()+1)&(1<<59-1) == 0 {
		step = time.Hour
	}
	return s.fields.Next(wall.Truncate(step).Add(step - 1))
}

// After returns the first tick after an instant, or false if there is none.
func (s Spec) After(t time.Time) (Tick, bool) {
	if s.fields == nil {
		return Tick{}, false
	}
	t = t.In(s.zone)
	if s.realTime {
		return s.inRealTime(t, wallOf(t))
	}
	return s.onTheWall(latestWall(t))
}

// Next returns the tick that follows a tick of the same Spec, which may be at the same instant.
func (s Spec) Next(tick Tick) (Tick, bool) {
	if s.fields == nil {
		return Tick{}, false
	}
	if s.realTime && tick.Mark != Shifted {
		return s.After(tick.At)
	}
	wall, err := time.Parse(wallLayout, tick.Wall)
	if err != nil {
		return Tick{}, false
	}
	if s.realTime {
		return s.inRealTime(tick.At.In(s.zone), wall)
	}
	return s.onTheWall(wall)
}

// onTheWall returns the first tick whose wall clock is after one.
func (s Spec) onTheWall(wall time.Time) (Tick, bool) {
	wall = s.next(wall)
	if wall.IsZero() {
		return Tick{}, false
	}
	tick := Tick{Wall: wall.Format(wallLayout), At: first(wall, s.zone)}
	switch {
	case !wallOf(tick.At).Equal(wall):
		tick.Mark = Shifted
	case shownAgain(tick.At):
		tick.Mark = FirstOfTwo
	}
	return tick, true
}

// inRealTime returns the first tick from an instant on whose wall clock is after one.
func (s Spec) inRealTime(t, wall time.Time) (Tick, bool) {
	for {
		next := s.next(wall)
		if next.IsZero() {
			return Tick{}, false
		}
		start, end := bounds(t)
		tick := Tick{Wall: next.Format(wallLayout), At: at(next, t)}
		switch {
		case tick.At.Before(start) && s.allHours:
			wall = next
		case tick.At.Before(start):
			tick.At, tick.Mark = start, Shifted
			return tick, true
		case !end.IsZero() && !tick.At.Before(end):
			t = end
			if again := wallOf(end).Add(-1); again.Before(wall) {
				wall = again
			}
		case tick.At.Sub(start) < lookBack && !first(next, s.zone).Equal(tick.At):
			tick.Wall += tick.At.Format("-07:00")
			tick.Mark = SecondOfTwo
			return tick, true
		default:
			if shownAgain(tick.At) {
				tick.Mark = FirstOfTwo
			}
			return tick, true
		}
	}
}
