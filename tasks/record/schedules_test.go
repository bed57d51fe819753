package record_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

func nightly(name string) tasks.Schedule {
	return tasks.Schedule{
		Name: name, Project: "hq", Cron: "0 18 * * *", Zone: "Europe/Berlin", Source: tasks.ScheduleSource{Users: []string{"ann"}},
		CatchUp: tasks.Duration(time.Hour), By: "zoe", Owner: "Zoe Doe",
	}
}

// nextTick is the first tick of a schedule in the future.
func nextTick(t *testing.T, s tasks.Schedule) tasks.ScheduleTick {
	ticks, err := record.NewTicks(s)
	require.NoError(t, err)
	return ticks.Following(time.Now(), 1)[0]
}

// schedules is what the record does for schedules, on each kind of Redis.
func schedules(t *testing.T, b *bundle) {
	ctx := t.Context()
	x := nightly("nightly")
	require.NoError(t, b.r.AddSchedule(ctx, x))
	again := x
	again.At = time.Now()
	require.ErrorIs(t, b.r.AddSchedule(ctx, again), tasks.ErrScheduleExists)
	got, err := b.r.Schedule(ctx, "nightly")
	require.NoError(t, err)
	require.Equal(t, x.WithDefaults(), got)
	_, err = b.r.Schedule(ctx, "none")
	require.ErrorIs(t, err, tasks.ErrNoSchedule)
	poll, err := b.r.PollSchedules(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, poll.Version)
	require.WithinDuration(t, time.Now(), poll.Now, time.Minute)

	// One worker is at a run at a time, for as long as it says; what is over is nobody's.
	tick := nextTick(t, x)
	state, mine, err := b.r.BeginScheduleRun(ctx, "nightly", "a", tick, time.Hour)
	require.NoError(t, err)
	require.True(t, mine)
	require.Equal(t, -1, state.RowsOf("staff.csv"))
	_, mine, err = b.r.BeginScheduleRun(ctx, "nightly", "b", tick, time.Hour)
	require.NoError(t, err)
	require.False(t, mine)
	_, mine, err = b.r.BeginScheduleRun(ctx, "nightly", "a", tick, 0)
	require.NoError(t, err)
	require.True(t, mine)

	// Of two that have read the same, one writes.
	run := tasks.ScheduleRun{ID: tick.ID, Scheduled: tick.At, At: tick.At, Result: tasks.RunStarted, Operations: []string{"op"}, Rows: 7, Missed: 2}
	result := record.ScheduleResult{Run: run, Tick: tick, Lists: []string{"aa", "bb"}, Read: true, Stay: "new staff.csv"}
	written, err := b.r.CommitScheduleRun(ctx, "nightly", state, result)
	require.NoError(t, err)
	require.True(t, written)
	written, err = b.r.CommitScheduleRun(ctx, "nightly", state, result)
	require.NoError(t, err)
	require.False(t, written)
	ran, err := b.r.ListsRun(ctx, "nightly", []string{"aa", "cc", "bb"})
	require.NoError(t, err)
	require.Equal(t, []bool{true, false, true}, ran)
	state, mine, err = b.r.BeginScheduleRun(ctx, "nightly", "b", tick, time.Hour)
	require.NoError(t, err)
	require.True(t, mine, "the writer has left it")
	require.Equal(t, []any{run, 7, tasks.ScheduleCounts{Runs: 1, Missed: 2}}, []any{state.Made, state.RowsOf("new staff.csv"), state.Counts})
	require.Equal(t, []int{-1, -1}, []int{state.RowsOf("staff.csv"), state.RowsOf("")}, "another list is compared with it")
	require.True(t, state.Last.At.Equal(tick.At))

	// What people decide.
	p := tasks.SchedulePause{By: "zoe", At: b.now, Note: "holidays"}
	require.NoError(t, b.r.PauseSchedule(ctx, "nightly", p))
	skip, err := b.r.SkipTick(ctx, "nightly", b.now, "zoe", "why")
	require.NoError(t, err)
	require.True(t, skip.Tick.At.After(tick.At), "the tick that is over cannot be skipped")
	views, err := b.r.ScheduleViews(ctx, []tasks.Schedule{got}, b.now, 2)
	require.NoError(t, err)
	require.Equal(t, &p, views[0].Paused)
	require.Equal(t, &skip, views[0].Skip)
	require.Equal(t, skip.Tick, views[0].Next[0])
	totals, err := b.r.ScheduleTotals(ctx)
	require.NoError(t, err)
	require.Equal(t, []int{1, 0, 1, 2}, []int{totals.Paused, totals.Failing, totals.Results[tasks.RunStarted], totals.Results[tasks.RunMissed]})

	id, err := b.r.AskRun(ctx, record.ScheduleAsk{Schedule: "nightly", By: "zoe", At: b.now}, "")
	require.NoError(t, err)
	poll, err = b.r.PollSchedules(ctx)
	require.NoError(t, err)
	require.Equal(t, []record.ScheduleAsk{{Schedule: "nightly", ID: id, By: "zoe", At: b.now}}, poll.Asked)
	require.NoError(t, b.r.DropAskedRun(ctx, id))
	for range tasks.MaxAskedRuns {
		_, err = b.r.AskRun(ctx, record.ScheduleAsk{Schedule: "nightly"}, "")
		require.NoError(t, err)
	}
	_, err = b.r.AskRun(ctx, record.ScheduleAsk{Schedule: "nightly"}, "")
	require.ErrorIs(t, err, tasks.ErrTooManyRuns)

	// Nothing of a removed one is left, and a run that ends later is not written.
	require.NoError(t, b.r.RemoveSchedule(ctx, "nightly"))
	_, err = b.r.CommitScheduleRun(ctx, "nightly", state, result)
	require.ErrorIs(t, err, tasks.ErrNoSchedule)
	later, err := b.r.PollSchedules(ctx)
	require.NoError(t, err)
	require.NotEqual(t, poll.Version, later.Version)
	totals, err = b.r.ScheduleTotals(ctx)
	require.NoError(t, err)
	require.Zero(t, totals.Paused)
	for _, key := range b.keys() {
		require.NotContains(t, key, ":nightly")
	}
}

func TestScheduleRunsThatAreKept(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Mini(t))
	require.NoError(t, b.r.AddSchedule(t.Context(), nightly("nightly")))
	ticks, err := record.NewTicks(nightly("nightly"))
	require.NoError(t, err)
	write := func(tick tasks.ScheduleTick, result tasks.ScheduleResult, why string) {
		t.Helper()
		state, _, err := b.r.BeginScheduleRun(t.Context(), "nightly", "w", tick, time.Minute)
		require.NoError(t, err)
		written, err := b.r.CommitScheduleRun(t.Context(), "nightly", state, record.ScheduleResult{
			Tick: tick, Run: tasks.ScheduleRun{ID: tick.ID, Scheduled: tick.At, At: tick.At, Result: result, Why: why},
		})
		require.NoError(t, err)
		require.True(t, written)
	}
	all := ticks.Following(time.Now(), 30)
	for _, tick := range all[:15] {
		write(tick, tasks.RunNothing, "")
	}
	for _, tick := range all[15:20] {
		write(tick, tasks.RunSkipped, "paused by zoe")
	}
	write(all[20], tasks.RunSkipped, "skipped by zoe")
	state, _, err := b.r.BeginScheduleRun(t.Context(), "nightly", "w", all[20], 0)
	require.NoError(t, err)
	require.Len(t, state.Runs, tasks.MaxScheduleRuns)
	require.Equal(t, []string{all[20].ID, all[19].ID, all[14].ID}, []string{state.Runs[0].ID, state.Runs[1].ID, state.Runs[2].ID})
	require.Equal(t, tasks.ScheduleCounts{Nothing: 15, Skipped: 6}, state.Counts)

	// A run that ends after a later one does not set the last tick back.
	write(all[3], tasks.RunNothing, "late")
	state, _, err = b.r.BeginScheduleRun(t.Context(), "nightly", "w", all[20], 0)
	require.NoError(t, err)
	require.True(t, state.Last.At.Equal(all[20].At))
}

// What a list that has run is known by outlives its operation, for as long as the list is seen.
func TestListsThatRanAreForgotten(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Mini(t))
	require.NoError(t, b.r.AddSchedule(t.Context(), nightly("nightly")))
	tick := nextTick(t, nightly("nightly"))
	see := func(read bool, lists ...string) []bool {
		t.Helper()
		state, _, err := b.r.BeginScheduleRun(t.Context(), "nightly", "w", tick, time.Minute)
		require.NoError(t, err)
		_, err = b.r.CommitScheduleRun(t.Context(), "nightly", state, record.ScheduleResult{
			Tick: tick, Run: tasks.ScheduleRun{ID: tick.ID, Result: tasks.RunNothing}, Lists: lists, Read: read,
		})
		require.NoError(t, err)
		ran, err := b.r.ListsRun(t.Context(), "nightly", []string{"aa", "bb"})
		require.NoError(t, err)
		return ran
	}
	require.Equal(t, []bool{true, true}, see(true, "aa", "bb"))
	ago := func(d time.Duration) {
		for _, list := range []string{"aa", "bb"} {
			z := redis.Z{Score: float64(time.Now().Add(-d).UnixMilli()), Member: list}
			require.NoError(t, b.rdb.ZAdd(t.Context(), b.prefix+":{schedules}:lists:nightly", z).Err())
		}
	}
	ago(47 * time.Hour) // the retention is a day
	require.Equal(t, []bool{true, true}, see(true, "aa"))
	ago(49 * time.Hour)
	require.Equal(t, []bool{true, true}, see(false), "a pause forgets nothing")
	require.Equal(t, []bool{true, false}, see(true, "aa"))
}

func TestConfiguredSchedules(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Mini(t))
	var many []tasks.Schedule
	for n := range 1200 {
		many = append(many, nightly(fmt.Sprintf("s-%04d", n)))
	}
	r := record.New(b.rdb, record.Config{Prefix: b.prefix, Schedules: many})
	require.NoError(t, b.r.AddSchedule(t.Context(), nightly("zz")))
	all, err := r.AllSchedules(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1201)
	require.True(t, all[0].Configured)
	require.Empty(t, all[0].By, "a configuration says nothing of who")
	states, err := r.AdoptSchedules(t.Context(), all)
	require.NoError(t, err)
	for i, s := range states {
		require.False(t, s.Since.IsZero(), all[i].Name)
	}
	require.ErrorIs(t, r.AddSchedule(t.Context(), nightly("s-0001")), tasks.ErrScheduleExists)
	require.ErrorIs(t, r.RemoveSchedule(t.Context(), "s-0001"), tasks.ErrScheduleConfigured)
	require.NoError(t, r.PauseSchedule(t.Context(), "s-0001", tasks.SchedulePause{By: "zoe"}))
	require.ErrorIs(t, b.r.PauseSchedule(t.Context(), "s-0001", tasks.SchedulePause{By: "zoe"}), tasks.ErrNoSchedule, "it is not in this configuration")
	again, err := r.AdoptSchedules(t.Context(), all)
	require.NoError(t, err)
	require.Equal(t, states[0].Since, again[0].Since, "what was missed while no worker ran may run")
	require.NotNil(t, again[1].Paused)
}
