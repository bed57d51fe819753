package schedules

import (
	"fmt"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/cron"
	"github.com/detachd/detachd/tasks/record"
)

// inTime is how late a tick may run without having been missed: longer than a process waits for
// one that has died.
const inTime = time.Minute

// due are the ticks of a schedule that have come.
type due struct {
	tick    tasks.ScheduleTick // the one to decide about; no ID: none has come
	missed  int                // before it
	before  tasks.ScheduleTick // the last of these
	shifted int                // of all these
	next    tasks.ScheduleTick // that comes after them; no ID: none
}

// mostWalked is how many missed ticks are counted one by one.
const mostWalked = 10_000

// ticksDue finds the ticks that have come since the last one. The latest instant counts, and of
// several ticks at that instant the first: the others follow.
func ticksDue(now time.Time, ticks record.Ticks, state record.ScheduleState) due {
	var d due
	group, shifted := 0, 0 // those at the instant of d.tick
	var previous tasks.ScheduleTick
	tick, ok := first(ticks, state)
	for n := 0; ok && !tick.At.After(now); n++ {
		if !tick.At.Equal(d.tick.At) {
			d.missed, d.shifted = d.missed+group, d.shifted+shifted
			d.tick, d.before, group, shifted = tick, previous, 0, 0
		}
		previous = tick
		group++
		if tick.Mark == string(cron.Shifted) {
			shifted++
		}
		if recent := now.Add(-time.Hour); n == mostWalked && tick.At.Before(recent) {
			tick, ok = ticks.After(recent) // those between are not counted
			continue
		}
		tick, ok = ticks.Next(tick)
	}
	if d.tick.Mark == string(cron.Shifted) {
		d.shifted++
	}
	switch {
	case group > 1:
		d.next, _ = ticks.Next(d.tick)
	case ok:
		d.next = tick
	}
	return d
}

// first is the tick after the last one.
func first(ticks record.Ticks, state record.ScheduleState) (tasks.ScheduleTick, bool) {
	if state.Last.At.After(state.Since) {
		return ticks.Next(state.Last)
	}
	return ticks.After(state.Since)
}

// latest is the last of the ticks from one on that have come, as far as that is soon found: the
// one that others are at, if any are.
func latest(now time.Time, ticks record.Ticks, tick tasks.ScheduleTick) tasks.ScheduleTick {
	for range 100 {
		next, ok := ticks.Next(tick)
		if !ok || next.At.After(now) {
			break
		}
		tick = next
	}
	return tick
}

// facts are what a decision depends on.
type facts struct {
	now      time.Time
	schedule tasks.Schedule
	state    record.ScheduleState
	due      due
	made     []record.Operation // of the last run that made some
	trying   bool               // this process has tried the tick before: it is not late
	known    bool               // the project is configured here
}

// decision is what becomes of a tick without its source; no result: the source is read.
type decision struct {
	result tasks.ScheduleResult
	why    string
	pause  *tasks.SchedulePause
}

// decide decides about a tick that has come.
func decide(f facts) decision {
	s, state, tick := f.schedule, f.state, f.due.tick
	late := f.now.Sub(tick.At)
	switch {
	case state.Paused != nil:
		return decision{result: tasks.RunSkipped, why: "paused by " + state.Paused.By + noted(state.Paused.Note)}
	case state.Skip != nil && state.Skip.Tick.ID == tick.ID:
		return decision{result: tasks.RunSkipped, why: "skipped by " + state.Skip.By + noted(state.Skip.Note)}
	case !f.trying && late > inTime && s.Missed == tasks.MissedSkip:
		return decision{result: tasks.RunMissed, why: "no worker ran it in time"}
	case !f.trying && late > max(time.Duration(s.CatchUp), inTime):
		return decision{result: tasks.RunMissed, why: fmt.Sprintf("no worker ran it within the catch-up window of %s", s.CatchUp)}
	}
	if pause := failure(f); pause != nil {
		return decision{result: tasks.RunSkipped, why: "paused: " + pause.Note, pause: pause}
	}
	return overlap(f)
}

// failure pauses a schedule whose last operations have failed desktops, if it asks for that. A
// person who resumed it since knows of them.
func failure(f facts) *tasks.SchedulePause {
	if !f.schedule.PauseOnFailure || f.state.Made.At.Before(f.state.Since) {
		return nil
	}
	for _, op := range f.made {
		if n := op.Counts.Failed; n > 0 {
			return &tasks.SchedulePause{By: tasks.PausedItself, At: f.now, Note: fmt.Sprintf("%d failed in operation %s", n, op.ID)}
		}
	}
	return nil
}

// overlap skips a run while an operation of the last one has not finished, unless the schedule
// allows that. Its project must be known here.
func overlap(f facts) decision {
	if !f.known {
		why := fmt.Sprintf("the project %s is not configured on a worker that runs schedules", f.schedule.Project)
		return decision{result: tasks.RunFailed, why: why}
	}
	if f.schedule.Overlap == tasks.OverlapAllow {
		return decision{}
	}
	for _, op := range f.made {
		switch {
		case op.AwaitsApproval():
			return decision{result: tasks.RunSkipped, why: "operation " + op.ID + " of the last run waits for an approval"}
		case !op.Done():
			return decision{result: tasks.RunSkipped, why: "operation " + op.ID + " of the last run has not finished"}
		}
	}
	return decision{}
}

func noted(note string) string {
	if note == "" {
		return ""
	}
	return ": " + note
}
