package record

import (
	"context"
	"fmt"
	"strconv"
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

// each calls f for every counter, with its name in Redis.
func (t *Tally) each(f func(name string, n *int)) {
	f("c", &t.Calls)
	f("t", &t.Throttled)
	f("d", &t.Detached)
	f("f", &t.Failed)
	f("h", &t.Held)
	f("x", &t.Cancelled)
	f("r", &t.Retried)
	for i := range t.Removed {
		f("m"+strconv.Itoa(i), &t.Removed[i])
		f("a"+strconv.Itoa(i), &t.RemovedSinceAccepted[i])
	}
}

func (t *Tally) add(other Tally) {
	more := map[string]int{}
	other.each(func(name string, n *int) { more[name] = *n })
	t.each(func(name string, n *int) { *n += more[name] })
}

// MinuteTally is a Tally of one minute.
type MinuteTally struct {
	Project string
	Minute  time.Time // any time within it
	Tally
}

// The retention of tallies: a day for quarters of an hour, an hour for minutes. Each hash
// holds an hour and at most 140 fields, so a project has 30 of them, or about 50 KB.
const (
	quartersKept = 25 * time.Hour
	minutesKept  = 2 * time.Hour
)

var scriptTally = script("tally")

// AddTallies adds to the tallies, in one round trip. by is the sender. A sender that gives
// each batch a name of its own may send the last one again: it counts once.
func (r *Record) AddTallies(ctx context.Context, by, batch string, tallies []MinuteTally) error {
	at := map[string]*scriptCall{}
	var calls []*scriptCall
	keyOf := map[string]int{} // numbers in KEYS; a key's name includes its project
	for _, t := range tallies {
		c := at[t.Project]
		if c == nil {
			args := []any{batch, seconds(minutesKept), seconds(quartersKept)}
			c = &scriptCall{script: scriptTally, keys: []string{r.keys.tallied(t.Project, by)}, args: args}
			at[t.Project], calls = c, append(calls, c)
		}
		hour, minute, quarter := placeOfTally(t.Minute)
		first := r.keys.minutes(t.Project, hour)
		if keyOf[first] == 0 {
			c.keys = append(c.keys, first, r.keys.quarters(t.Project, hour))
			keyOf[first] = len(c.keys) - 1
		}
		n := keyOf[first]
		t.each(func(name string, by *int) {
			if *by == 0 {
				return
			}
			if name == "c" || name == "t" {
				c.args = append(c.args, n, strconv.Itoa(minute)+name, *by)
			}
			c.args = append(c.args, n+1, strconv.Itoa(quarter)+name, *by)
		})
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

// placeOfTally returns the hour since 1970, and the minute and the quarter within it.
func placeOfTally(t time.Time) (hour int64, minute, quarter int) {
	s := t.Unix()
	return s / 3600, int(s % 3600 / 60), int(s % 3600 / 900)
}
