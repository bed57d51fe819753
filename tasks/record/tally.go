package record

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
)

// RemovedSteps are the upper limits, in seconds and inclusive, of the buckets in which
// desktops are counted. One more bucket counts those that took longer than the last limit.
var RemovedSteps = [...]int{10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 4 * 3600, 8 * 3600, 24 * 3600}

// AddRemoved counts a desktop by the time that the removal of access took.
func (t *Tally) AddRemoved(took tasks.Took) {
	t.Removed[removedStep(took.SinceDue)]++
	t.RemovedSinceAccepted[removedStep(took.SinceAccepted)]++
}

func removedStep(took time.Duration) int {
	for i, limit := range RemovedSteps {
		if took <= time.Duration(limit)*time.Second {
			return i
		}
	}
	return len(RemovedSteps)
}

// counter returns the counter with a name in Redis; nil: there is none.
func (t *Tally) counter(name string) *int {
	switch name {
	case "c":
		return &t.Calls
	case "t":
		return &t.Throttled
	case "d":
		return &t.Detached
	case "f":
		return &t.Failed
	case "h":
		return &t.Held
	case "x":
		return &t.Cancelled
	case "r":
		return &t.Retried
	}
	step, removed := strings.CutPrefix(name, "m")
	since, accepted := strings.CutPrefix(name, "a")
	if accepted {
		step = since
	}
	i, err := strconv.Atoi(step)
	switch {
	case err != nil || i < 0 || i > len(RemovedSteps):
		return nil
	case removed:
		return &t.Removed[i]
	case accepted:
		return &t.RemovedSinceAccepted[i]
	}
	return nil
}

var counterNames = func() []string {
	out := []string{"c", "t", "d", "f", "h", "x", "r"}
	for i := range len(RemovedSteps) + 1 {
		out = append(out, "m"+strconv.Itoa(i), "a"+strconv.Itoa(i))
	}
	return out
}()

// each calls f for every counter that is not 0.
func (t *Tally) each(f func(name string, n int)) {
	for _, name := range counterNames {
		if n := *t.counter(name); n != 0 {
			f(name, n)
		}
	}
}

func (t *Tally) add(other Tally) {
	t.Calls, t.Throttled, t.Retried = t.Calls+other.Calls, t.Throttled+other.Throttled, t.Retried+other.Retried
	t.Detached, t.Failed = t.Detached+other.Detached, t.Failed+other.Failed
	t.Held, t.Cancelled = t.Held+other.Held, t.Cancelled+other.Cancelled
	for i := range t.Removed {
		t.Removed[i] += other.Removed[i]
		t.RemovedSinceAccepted[i] += other.RemovedSinceAccepted[i]
	}
}

// MinuteTally is a Tally of one minute.
type MinuteTally struct {
	Project string
	Minute  time.Time // any time within it
	Tally
}

// tallyPeriod is one of the resolutions in which tallies are kept. A hash has the counts of
// span in steps of step. Each holds at most 140 fields, so that it stays small.
type tallyPeriod struct {
	name             string // in the key
	span, step, kept time.Duration
	calls, results   bool // what is counted: calls and throttled ones; all the rest
}

// The periods in which tallies are kept. A project has some 120 hashes, or about 100 KB.
var (
	callsByMinute = tallyPeriod{name: "minutes", span: time.Hour, step: time.Minute, kept: 2 * time.Hour, calls: true}
	byMinute      = tallyPeriod{name: "results", span: 3 * time.Minute, step: time.Minute, kept: 2 * time.Hour, results: true}
	byQuarter     = tallyPeriod{name: "quarters", span: time.Hour, step: 15 * time.Minute, kept: 25 * time.Hour, calls: true, results: true}
	byTwoHours    = tallyPeriod{name: "days", span: 6 * time.Hour, step: 2 * time.Hour, kept: 8 * 24 * time.Hour, calls: true, results: true}
	tallyPeriods  = []tallyPeriod{callsByMinute, byMinute, byQuarter, byTwoHours}
)

// periodOf returns the period that has the steps of a range.
func periodOf(within tasks.StatsRange) tallyPeriod {
	switch within {
	case tasks.LastHour:
		return byMinute
	case tasks.LastWeek:
		return byTwoHours
	}
	return byQuarter
}

// place returns the number of the hash since 1970, and of the step within it.
func (x tallyPeriod) place(t time.Time) (hash int64, step int) {
	s := t.Unix()
	return s / int64(seconds(x.span)), int(s % int64(seconds(x.span)) / int64(seconds(x.step)))
}

func (x tallyPeriod) counts(name string) bool {
	if name == "c" || name == "t" {
		return x.calls
	}
	return x.results
}

var scriptTally = script("tally")

// AddTallies adds to the tallies, in one round trip. by is the sender. A sender that gives
// each batch a name of its own may send the last one again: it counts once.
func (r *Record) AddTallies(ctx context.Context, by, batch string, tallies []MinuteTally) error {
	at := map[string]*scriptCall{}
	var calls []*scriptCall
	for _, t := range tallies {
		c := at[t.Project]
		if c == nil {
			c = &scriptCall{script: scriptTally, keys: []string{r.keys.tallied(t.Project, by)}, args: []any{batch, seconds(byQuarter.kept)}}
			for _, period := range tallyPeriods {
				c.args = append(c.args, seconds(period.kept))
			}
			at[t.Project], calls = c, append(calls, c)
		}
		for _, period := range tallyPeriods {
			hash, step := period.place(t.Minute)
			c.keys = append(c.keys, r.keys.tallies(t.Project, period.name, hash))
			n := len(c.keys)
			t.each(func(name string, by int) {
				if period.counts(name) {
					c.args = append(c.args, n, strconv.Itoa(step)+name, by)
				}
			})
		}
	}
	if len(calls) == 0 {
		return nil
	}
	if err := r.runScripts(ctx, calls, nil); err != nil {
		return fmt.Errorf("adding to the counts: %w", err)
	}
	return nil
}

func seconds(d time.Duration) int { return int(d / time.Second) }
