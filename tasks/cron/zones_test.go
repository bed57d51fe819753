//go:build !race

package cron_test

import (
	"archive/zip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/cron"
)

// years is a time in which zones are asked.
type years struct{ begin, end time.Time }

// all are the years that every zone is asked for. After 2037 the rules of then go on for ever.
var all = years{time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2038, 1, 1, 0, 0, 0, 0, time.UTC)}

// wide is more than a clock was ever changed by.
const wide = 60 * time.Hour

// full asks for each tick of frequent expressions, too: 100 million instead of 7.
var full = os.Getenv("DETACHD_TEST_ALL_TICKS") != ""

// pattern is an expression, and what it means, said in Go.
type pattern struct {
	expr           string
	day            func(day time.Time) bool
	hours, minutes []int
	frequent       bool // only looked at around changes, unless full
	realTime       bool // also in the second of two equal hours
	noGaps         bool // in real time, and every hour: a gap has no tick
}

func every(n, from, to int) (out []int) {
	for i := from; i <= to; i += n {
		out = append(out, i)
	}
	return out
}

func anyDay(time.Time) bool { return true }

var patterns = []pattern{
	{expr: "0 0 * * *", day: anyDay, hours: []int{0}, minutes: []int{0}},
	{expr: "30 2 * * *", day: anyDay, hours: []int{2}, minutes: []int{30}},
	{expr: "0 * * * *", day: anyDay, hours: every(1, 0, 23), minutes: []int{0}, frequent: true, realTime: true, noGaps: true},
	{expr: "30 */6 * * *", day: anyDay, hours: every(6, 0, 23), minutes: []int{30}, frequent: true, realTime: true},
	{expr: "15 23,1-2 * * MON-FRI", hours: []int{1, 2, 23}, minutes: []int{15}, frequent: true,
		day: func(d time.Time) bool { return d.Weekday() != time.Saturday && d.Weekday() != time.Sunday }},
	{expr: "0 9 13 * FRI", hours: []int{9}, minutes: []int{0},
		day: func(d time.Time) bool { return d.Day() == 13 || d.Weekday() == time.Friday }},
	{expr: "45 23 L * *", hours: []int{23}, minutes: []int{45},
		day: func(d time.Time) bool { return d.AddDate(0, 0, 1).Day() == 1 }},
	{expr: "*/10 0-3 25-7 3,4,SEP-NOV *", hours: every(1, 0, 3), minutes: every(10, 0, 59), frequent: true,
		day: func(d time.Time) bool {
			return (d.Day() >= 25 || d.Day() <= 7) && slices.Contains([]time.Month{3, 4, 9, 10, 11}, d.Month())
		}},
}

// wallClock is what a clock shows.
type wallClock struct {
	time time.Time
	text string
}

// walls lists what a pattern matches, day by day on a calendar that knows no zones. It begins
// and ends two days outside of the years.
func (p pattern) walls(in years) (out []wallClock) {
	for day := in.begin.AddDate(0, 0, -6); day.Before(in.end.AddDate(0, 0, 6)); day = day.AddDate(0, 0, 1) {
		if !p.day(day) {
			continue
		}
		for _, h := range p.hours {
			for _, m := range p.minutes {
				wall := day.Add(time.Duration(60*h+m) * time.Minute)
				out = append(out, wallClock{wall, wall.Format("2006-01-02T15:04")})
			}
		}
	}
	return out
}

// clocks are those of a zone, known by looking at them only.
type clocks struct {
	zone    *time.Location
	offsets []time.Duration // all of the years
	around  []years         // the days around each change
	found   [3]time.Time
}

// lookedAt looks four times a day.
func lookedAt(zone *time.Location, in years) *clocks {
	c := &clocks{zone: zone}
	last := -1
	for t := in.begin.Add(-wide).In(zone); t.Before(in.end.Add(wide)); t = t.Add(6 * time.Hour) {
		_, offset := t.Zone()
		if offset == last {
			continue
		}
		last = offset
		c.around = append(c.around, years{t.Add(-wide), t.Add(wide)})
		if d := time.Duration(offset) * time.Second; !slices.Contains(c.offsets, d) {
			c.offsets = append(c.offsets, d)
		}
	}
	slices.Sort(c.offsets)
	slices.Reverse(c.offsets) // the first instant first
	return c
}

// show returns what the clocks show.
func (c *clocks) show(t time.Time) time.Time {
	_, offset := t.In(c.zone).Zone()
	return t.Add(time.Duration(offset) * time.Second)
}

// instants lists when the clocks show a time.
func (c *clocks) instants(wall time.Time) []time.Time {
	out := c.found[:0]
	for _, offset := range c.offsets {
		if t := wall.Add(-offset); c.show(t).Equal(wall) {
			out = append(out, t)
		}
	}
	return out
}

// afterGap waits at the clocks, minute by minute, for the end of a gap.
func (c *clocks) afterGap(wall time.Time) time.Time {
	t := wall.Add(-c.offsets[0])
	for c.show(t).Before(wall) {
		t = t.Add(time.Minute)
	}
	return t
}

// want lists the ticks that a pattern has in some years.
func (p pattern) want(walls []wallClock, c *clocks, in years) (out []cron.Tick) {
	from, _ := slices.BinarySearchFunc(walls, in.begin.Add(-wide), func(w wallClock, t time.Time) int { return w.time.Compare(t) })
	add := func(text string, at time.Time, mark cron.Mark) {
		if at.After(in.begin) && at.Before(in.end) {
			out = append(out, cron.Tick{Wall: text, At: at, Mark: mark})
		}
	}
	for _, wall := range walls[from:] {
		if wall.time.After(in.end.Add(wide)) {
			break
		}
		found := c.instants(wall.time)
		switch {
		case len(found) > 2:
			panic(fmt.Sprintf("%s shows %s %d times", c.zone, wall.text, len(found)))
		case len(found) == 0 && p.noGaps:
		case len(found) == 0:
			add(wall.text, c.afterGap(wall.time), cron.Shifted)
		case len(found) == 1:
			add(wall.text, found[0], "")
		default:
			add(wall.text, found[0], cron.FirstOfTwo)
			if p.realTime {
				add(wall.text+found[1].In(c.zone).Format("-07:00"), found[1], cron.SecondOfTwo)
			}
		}
	}
	slices.SortFunc(out, order)
	return out
}

func order(a, b cron.Tick) int {
	if d := a.At.Compare(b.At); d != 0 {
		return d
	}
	return strings.Compare(a.Wall, b.Wall)
}

func equal(a, b cron.Tick) bool { return a.Wall == b.Wall && a.Mark == b.Mark && a.At.Equal(b.At) }

// zoneNames lists every zone of the zone data that a build carries.
func zoneNames(t *testing.T) (out []string) {
	goroot, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	require.NoError(t, err)
	r, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(goroot)), "lib", "time", "zoneinfo.zip"))
	require.NoError(t, err)
	defer r.Close()
	for _, f := range r.File {
		if !strings.HasSuffix(f.Name, "/") {
			out = append(out, f.Name)
		}
	}
	return out
}

// alike groups zones whose clocks change at the same times by the same in the years, so that
// one of each group is asked.
func alike(t *testing.T, names []string) map[string][]string {
	groups := map[string][]string{}
	for _, name := range names {
		zone, err := cron.Zone(name)
		require.NoError(t, err)
		var key strings.Builder
		for t := all.begin.Add(-wide).In(zone); !t.IsZero() && t.Before(all.end.Add(wide)); {
			_, offset := t.Zone()
			_, next := t.ZoneBounds()
			if !next.IsZero() && !next.After(t) {
				next = t.Add(24 * time.Hour)
			}
			fmt.Fprintf(&key, "%d until %d,", offset, next.Unix())
			t = next
		}
		groups[key.String()] = append(groups[key.String()], name)
	}
	return groups
}

// Every zone, 2000 to 2037: each wall clock of an expression ticks exactly once and in order,
// as an observer of the clocks expects it. Frequent expressions are asked for the days around
// each change.
func TestEveryZone(t *testing.T) {
	t.Parallel()
	names := zoneNames(t)
	require.Greater(t, len(names), 590)
	walls := make([][]wallClock, len(patterns))
	for i, p := range patterns {
		walls[i] = p.walls(all)
	}
	var wg sync.WaitGroup
	var asked atomic.Int64
	next := make(chan string)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for name := range next {
				zone, _ := cron.Zone(name)
				c := lookedAt(zone, all)
				for i, p := range patterns {
					times := []years{all}
					if p.frequent && !full {
						times = c.around
					}
					for _, in := range times {
						want := p.want(walls[i], c, in)
						asked.Add(int64(len(want)))
						if problem := p.check(name, want, in); problem != "" {
							t.Errorf("%s in %s: %s", p.expr, name, problem)
						}
					}
				}
			}
		})
	}
	groups := alike(t, names)
	for _, group := range groups {
		next <- group[0]
	}
	close(next)
	wg.Wait()
	t.Logf("%d zones, %d of them different, %d ticks", len(names), len(groups), asked.Load())
}

// check compares the ticks of some years with the expected ones, as a sequence, and from the
// instants around changes and some others.
func (p pattern) check(zone string, want []cron.Tick, in years) string {
	s, err := cron.Parse(p.expr, zone)
	if err != nil {
		return err.Error()
	}
	tick, ok := s.After(in.begin)
	for i, w := range want {
		if !ok || !equal(tick, w) {
			return fmt.Sprintf("tick %d is %v, want %v", i, tick, w)
		}
		if i%199 == 0 || slices.ContainsFunc(want[max(i-2, 0):min(i+3, len(want))], func(t cron.Tick) bool { return t.Mark != "" }) {
			if problem := checkAfter(s, want, i); problem != "" {
				return problem
			}
		}
		tick, ok = s.Next(tick)
	}
	if ok && tick.At.Before(in.end) {
		return fmt.Sprintf("%v is one too many", tick)
	}
	return ""
}

// Zone data has rules instead of times at last, and Go gives wrong bounds for them on the last
// day of leap years.
func TestAfterTheZoneData(t *testing.T) {
	t.Parallel()
	in := years{all.end, all.end.AddDate(30, 0, 0)}
	for _, name := range []string{"Europe/Berlin", "Africa/Cairo", "America/New_York", "Australia/Lord_Howe", "Pacific/Kiritimati"} {
		zone, err := cron.Zone(name)
		require.NoError(t, err)
		c := lookedAt(zone, in)
		for _, p := range patterns {
			require.Empty(t, p.check(name, p.want(p.walls(in), c, in), in), "%s in %s", p.expr, name)
		}
	}
}

// checkAfter asks for the tick after the instant of one, and after some that follow it.
func checkAfter(s cron.Spec, want []cron.Tick, i int) string {
	for later := time.Duration(0); later < 2*time.Hour; later += 25 * time.Minute {
		from, j := want[i].At.Add(later), i
		for j < len(want) && !want[j].At.After(from) {
			j++
		}
		if j == len(want) {
			return ""
		}
		if tick, ok := s.After(from); !ok || !equal(tick, want[j]) {
			return fmt.Sprintf("after %s comes %v, want %v", from, tick, want[j])
		}
	}
	return ""
}
