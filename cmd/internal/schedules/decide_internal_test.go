package schedules

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/sources"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

func ticksOf(t *testing.T, s tasks.Schedule) record.Ticks {
	t.Helper()
	s.Name = "nightly"
	ticks, err := record.NewTicks(s)
	require.NoError(t, err)
	return ticks
}

func at(text string) time.Time {
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return v.UTC()
}

func TestTicksDue(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		schedule        tasks.Schedule
		since, now      string
		last            tasks.ScheduleTick
		tick, next      string
		missed, shifted int
	}{
		"none has come": {tasks.Schedule{Cron: "0 18 * * *"}, "2026-11-30T17:00:00Z", "2026-11-30T17:59:59Z", tasks.ScheduleTick{},
			"", "2026-11-30T18:00", 0, 0},
		"one has come": {tasks.Schedule{Cron: "0 18 * * *"}, "2026-11-30T17:00:00Z", "2026-11-30T18:00:00Z", tasks.ScheduleTick{},
			"2026-11-30T18:00", "2026-12-01T18:00", 0, 0},
		"it ran": {tasks.Schedule{Cron: "0 18 * * *"}, "2026-11-30T17:00:00Z", "2026-11-30T18:00:01Z",
			tasks.ScheduleTick{Wall: "2026-11-30T18:00", At: at("2026-11-30T18:00:00Z")}, "", "2026-12-01T18:00", 0, 0},
		"Redis's clock went back": {tasks.Schedule{Cron: "0 18 * * *"}, "2026-11-30T17:00:00Z", "2026-11-30T17:30:00Z",
			tasks.ScheduleTick{Wall: "2026-11-30T18:00", At: at("2026-11-30T18:00:00Z")}, "", "2026-12-01T18:00", 0, 0},
		"the latest of many": {tasks.Schedule{Cron: "0 * * * *"}, "2026-11-29T17:30:00Z", "2026-11-30T18:10:00Z", tasks.ScheduleTick{},
			"2026-11-30T18:00", "2026-11-30T19:00", 24, 0},
		"resumed since": {tasks.Schedule{Cron: "0 * * * *"}, "2026-11-30T17:30:00Z", "2026-11-30T18:10:00Z",
			tasks.ScheduleTick{Wall: "2026-11-01T18:00", At: at("2026-11-01T18:00:00Z")}, "2026-11-30T18:00", "2026-11-30T19:00", 0, 0},
		// 02:00 to 03:00 do not exist: four ticks are at 03:00, and each runs.
		"a gap": {tasks.Schedule{Cron: "*/15 2 * * *", Zone: "Europe/Berlin"}, "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z", tasks.ScheduleTick{},
			"2026-03-29T02:00", "2026-03-29T02:15", 0, 1},
		"a gap, the second": {tasks.Schedule{Cron: "*/15 2 * * *", Zone: "Europe/Berlin"}, "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z",
			tasks.ScheduleTick{Wall: "2026-03-29T02:00", At: at("2026-03-29T01:00:00Z"), Mark: "shifted"}, "2026-03-29T02:15", "2026-03-29T02:30", 0, 1},
		"a gap that was missed": {tasks.Schedule{Cron: "*/15 2 * * *", Zone: "Europe/Berlin"}, "2026-03-28T12:00:00Z", "2026-03-30T00:05:00Z",
			tasks.ScheduleTick{}, "2026-03-30T02:00", "2026-03-30T02:15", 4, 4},
		"twice": {tasks.Schedule{Cron: "30 2 * * *", Zone: "Europe/Berlin"}, "2026-10-24T12:00:00Z", "2026-10-25T01:30:00Z",
			tasks.ScheduleTick{Wall: "2026-10-25T02:30", At: at("2026-10-25T00:30:00Z"), Mark: "first_of_two"}, "", "2026-10-26T02:30", 0, 0},
		"before its start": {tasks.Schedule{Cron: "0 * * * *", Start: at("2026-11-30T18:00:00Z")}, "2026-11-29T17:30:00Z", "2026-11-30T18:10:00Z",
			tasks.ScheduleTick{}, "2026-11-30T18:00", "2026-11-30T19:00", 0, 0},
		"after its end": {tasks.Schedule{Cron: "0 * * * *", End: at("2026-11-30T18:00:00Z")}, "2026-11-30T17:30:00Z", "2026-11-30T20:10:00Z",
			tasks.ScheduleTick{}, "2026-11-30T18:00", "", 0, 0},
		"years": {tasks.Schedule{Cron: "* * * * *"}, "2020-11-30T17:30:00Z", "2026-11-30T20:10:00Z",
			tasks.ScheduleTick{}, "2026-11-30T20:10", "2026-11-30T20:11", mostWalked + 60, 0},
	} {
		state := record.ScheduleState{Since: at(c.since), Last: c.last}
		d := ticksDue(at(c.now), ticksOf(t, c.schedule), state)
		require.Equal(t, []any{c.tick, c.next, c.missed, c.shifted}, []any{d.tick.Wall, d.next.Wall, d.missed, d.shifted}, name)
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	tick := tasks.ScheduleTick{ID: "nightly@2026-11-30T18:00 UTC", Wall: "2026-11-30T18:00", At: at("2026-11-30T18:00:00Z")}
	op := func(failed, queued int, c *tasks.Clearance) record.Operation {
		o := record.Operation{Operation: tasks.Operation{ID: "op1", Total: failed + queued, Counts: tasks.Counts{Failed: failed, Queued: queued}, Clearance: c}}
		if queued == 0 {
			o.EndedAt = tick.At
		}
		return o
	}
	done, failed, open := op(0, 0, nil), op(2, 0, nil), op(0, 1, nil)
	waiting := op(0, 1, &tasks.Clearance{State: tasks.ClearanceWaiting})
	pause := &tasks.SchedulePause{By: "zoe"}
	for name, c := range map[string]struct {
		change func(*facts)
		result tasks.ScheduleResult
		why    string
		pauses bool
	}{
		"nothing is in its way": {func(*facts) {}, "", "", false},
		"the last run is done":  {func(f *facts) { f.made = []record.Operation{done} }, "", "", false},
		"a minute late":         {func(f *facts) { f.now = tick.At.Add(time.Minute); f.schedule.Missed = tasks.MissedSkip }, "", "", false},
		"later":                 {func(f *facts) { f.now = tick.At.Add(11 * time.Hour) }, "", "", false},
		"later, skip":           {func(f *facts) { f.now = tick.At.Add(61 * time.Second); f.schedule.Missed = tasks.MissedSkip }, tasks.RunMissed, "no worker ran it in time", false},
		"later, skip, tried":    {func(f *facts) { f.now, f.trying = tick.At.Add(time.Hour), true; f.schedule.Missed = tasks.MissedSkip }, "", "", false},
		"too late":              {func(f *facts) { f.now = tick.At.Add(13 * time.Hour) }, tasks.RunMissed, "no worker ran it within the catch-up window of 12h", false},
		"paused":                {func(f *facts) { f.state.Paused = pause }, tasks.RunSkipped, "paused by zoe", false},
		"paused and too late":   {func(f *facts) { f.now = tick.At.Add(13 * time.Hour); f.state.Paused = pause }, tasks.RunSkipped, "paused by zoe", false},
		"skipped":               {func(f *facts) { f.state.Skip = &tasks.ScheduleSkip{Tick: tick, By: "zoe", Note: "x"} }, tasks.RunSkipped, "skipped by zoe: x", false},
		"another one skipped":   {func(f *facts) { f.state.Skip = &tasks.ScheduleSkip{Tick: tasks.ScheduleTick{ID: "other"}} }, "", "", false},
		"overlap":               {func(f *facts) { f.made = []record.Operation{done, open} }, tasks.RunSkipped, "operation op1 of the last run has not finished", false},
		"overlap, waiting":      {func(f *facts) { f.made = []record.Operation{waiting} }, tasks.RunSkipped, "operation op1 of the last run waits for an approval", false},
		"overlap, allowed":      {func(f *facts) { f.made = []record.Operation{open}; f.schedule.Overlap = tasks.OverlapAllow }, "", "", false},
		"failed":                {func(f *facts) { f.made = []record.Operation{failed} }, "", "", false},
		"failed, pause":         {func(f *facts) { f.made = []record.Operation{failed}; f.schedule.PauseOnFailure = true }, tasks.RunSkipped, "paused: 2 failed in operation op1", true},
		"failed, pause, known": {func(f *facts) {
			f.made = []record.Operation{failed}
			f.schedule.PauseOnFailure = true
			f.state.Since = tick.At.Add(-time.Minute)
		}, "", "", false},
		"the project is not known": {func(f *facts) { f.known = false }, tasks.RunFailed, "the project hq is not configured on a worker that runs schedules", false},
	} {
		f := facts{
			now: tick.At.Add(time.Second), schedule: tasks.Schedule{Name: "nightly", Project: "hq"}.WithDefaults(), due: due{tick: tick}, known: true,
			state: record.ScheduleState{Since: tick.At.Add(-48 * time.Hour), Made: tasks.ScheduleRun{At: tick.At.Add(-24 * time.Hour)}},
		}
		c.change(&f)
		d := decide(f)
		require.Equal(t, []any{c.result, c.why, c.pauses}, []any{d.result, d.why, d.pause != nil}, name)
	}
}

// found answers at once.
type found struct{}

func (found) Read(context.Context, tasks.Schedule, int) (sources.Found, error) {
	return sources.Found{Rows: 1}, nil
}

// A source that has answered is never taken for one that was given up.
func TestAnAnswerCounts(t *testing.T) {
	t.Parallel()
	r := &run{Ticker: &Ticker{cfg: Config{Source: found{}}.withDefaults()}, reader: &reader{}}
	for range 20_000 {
		x, err := r.source(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, x.Rows)
	}
}
