package schedules_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/schedules"
	"github.com/detachd/detachd/cmd/internal/sources"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// Three processes on machines with wrong clocks tick: each tick is one operation, and is
// recorded once, while Redis's own clock is set back and forward in between.
func TestThreeTickers(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	x := s.add(tasks.Schedule{Overlap: tasks.OverlapAllow, Owner: "Zoe Doe", Reason: "offboarding", Zone: "Europe/Berlin"})
	for i, wrong := range []time.Duration{0, time.Hour, -time.Hour} {
		s.tickerOf(s.producer(wrong, &wrongClock{s}), fmt.Sprint("worker-", i))
	}
	want := map[string]string{}
	for n := range 20 {
		run := s.tick("nightly")
		require.Equal(t, tasks.RunStarted, run.Result, run.Why)
		require.Len(t, run.Operations, 1)
		want[run.ID] = run.Operations[0]
		require.WithinDuration(t, run.Scheduled, run.At, 30*time.Second)
		if n%7 == 3 { // a failover to a server whose clock is behind
			now := s.now()
			s.goTo(now.Add(-time.Hour))
			s.polled(3)
			s.goTo(now)
		}
	}
	s.polled(3)
	require.Len(t, want, 20, "each tick has its own id")
	ops := s.operations()
	require.Len(t, ops, 20)
	for id, op := range want {
		i := slices.IndexFunc(ops, func(o record.Operation) bool { return o.ID == op })
		require.GreaterOrEqual(t, i, 0, "%s of %s is not in the record", op, id)
		require.Equal(t, []string{"schedule:nightly", "Zoe Doe", "offboarding", "hq"},
			[]string{ops[i].RequestedBy, ops[i].Owner, ops[i].Reason, ops[i].Project})
		require.Equal(t, record.OperationID("schedule:nightly", id), op)
	}
	view := s.view("nightly")
	require.Equal(t, tasks.ScheduleCounts{Runs: 20}, view.Counts)
	require.Len(t, view.Runs, tasks.MaxScheduleRuns)
	require.Equal(t, x.Name, view.Name)
	log, _, err := s.r.AuditLog(t.Context(), tasks.AuditFilter{By: "schedule:nightly"}, 100, "")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(log), 20, "who made them is in the audit log")
	require.Equal(t, "nightly@"+view.Runs[0].Scheduled.In(berlin).Format("2006-01-02T15:04")+" Europe/Berlin", view.Runs[0].ID)
}

var berlin = func() *time.Location {
	loc, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	return loc
}()

// Two processes that read different things at one tick make one operation, of what one of
// them read; both say the same.
func TestASourceThatChangesBetweenTwoProcesses(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	s.add(tasks.Schedule{})
	read := make(chan string, 10)
	goOn := make(chan struct{})
	for _, worker := range []string{"a", "b"} {
		s.ticker(worker, func(c *schedules.Config) {
			c.Lease = time.Millisecond // so that both are at it
			c.Source = sourceFunc(func(ctx context.Context, x tasks.Schedule, _ int) (sources.Found, error) {
				read <- worker
				select {
				case <-goOn:
				case <-ctx.Done():
				}
				return sources.Found{Lists: []sources.List{{Requests: []tasks.Request{request(x, "of-"+worker)}}}, Rows: 1}, nil
			})
		})
	}
	next := s.view("nightly").Next[0]
	s.goTo(next.At)
	both := map[string]bool{}
	for len(both) < 2 {
		both[<-read] = true
	}
	close(goOn)
	run := s.run("nightly", next.ID)
	require.Equal(t, tasks.RunStarted, run.Result)
	s.polled(2)
	ops := s.operations()
	require.Len(t, ops, 1)
	require.Equal(t, []string{ops[0].ID}, run.Operations)
	require.Equal(t, 1, s.view("nightly").Counts.Runs)
}

type sourceFunc func(context.Context, tasks.Schedule, int) (sources.Found, error)

func (f sourceFunc) Read(ctx context.Context, s tasks.Schedule, lastRows int) (sources.Found, error) {
	return f(ctx, s, lastRows)
}

// The source is read by one process: the others wait for it.
func TestASourceIsReadOnce(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	s.add(tasks.Schedule{Overlap: tasks.OverlapAllow})
	for _, worker := range []string{"a", "b", "c"} {
		s.ticker(worker, func(c *schedules.Config) { c.Lease = 30 * time.Second })
	}
	for range 5 {
		s.tick("nightly")
	}
	s.polled(3)
	require.Equal(t, 5, s.source.count("nightly"))
}

// The next tick comes while a process asks Redis for a tick that another one has just recorded.
func TestTheNextTickIsReadOnceToo(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	s.add(tasks.Schedule{Overlap: tasks.OverlapAllow})
	reads, answer := make(chan string, 10), make(chan struct{})
	source := func(worker string) func(*schedules.Config) {
		return func(c *schedules.Config) {
			c.Lease = 30 * time.Second
			c.Source = sourceFunc(func(_ context.Context, x tasks.Schedule, _ int) (sources.Found, error) {
				reads <- worker
				<-answer
				return sources.Found{Lists: []sources.List{{Requests: []tasks.Request{request(x, "d1")}}}, Rows: 1}, nil
			})
		}
	}
	late := &lateReader{reached: make(chan struct{}), goOn: make(chan struct{})}
	s.tickerOf(s.producer(0, &wrongClock{s}, late), "late", source("late"))
	first := s.view("nightly").Next[0]
	s.goTo(first.At)
	<-late.reached
	s.ticker("quick", source("quick"))
	answer <- struct{}{}
	s.run("nightly", first.ID)
	second := s.view("nightly").Next[0]
	s.goTo(second.At)
	require.Equal(t, []string{"quick", "quick"}, []string{<-reads, <-reads})
	s.polled(2)
	close(late.goOn)
	s.polled(2)
	close(answer)
	s.run("nightly", second.ID)
	s.polled(2)
	require.Empty(t, reads, "two read one tick")
	require.Len(t, s.operations(), 2)
}

// What was missed while no process ran: once runs the latest, skip runs none, and all are
// counted.
func TestMissedTicks(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	for name, x := range map[string]tasks.Schedule{
		"once": {}, "skip": {Missed: tasks.MissedSkip}, "short": {CatchUp: tasks.Duration(10 * time.Minute), Cron: "0 * * * *"},
		"paused": {},
	} {
		x.Name = name
		s.add(x)
	}
	require.NoError(t, s.r.PauseSchedule(t.Context(), "paused", tasks.SchedulePause{By: "zoe", At: s.now(), Note: "holidays"}))
	hour := s.view("short").Next // after it was added
	s.goTo(hour[2].At.Add(30*time.Minute + time.Second))
	s.ticker("worker")
	first := func(name string) (out tasks.ScheduleRun) {
		s.eventually(func() bool {
			runs := s.view(name).Runs
			if len(runs) > 0 {
				out = runs[len(runs)-1]
			}
			return len(runs) > 0
		}, name)
		return out
	}
	once, skip, short, paused := first("once"), first("skip"), first("short"), first("paused")
	require.Equal(t, tasks.RunStarted, once.Result)
	require.Equal(t, hour[2].At.Add(30*time.Minute), once.Scheduled)
	require.Greater(t, once.Missed, 120)
	require.Equal(t, once.Missed, s.view("once").Counts.Missed)
	require.Equal(t, tasks.RunMissed, short.Result)
	require.Equal(t, "no worker ran it within the catch-up window of 10m", short.Why)
	require.Equal(t, 3, s.view("short").Counts.Missed)
	require.Equal(t, tasks.RunSkipped, paused.Result)
	require.Equal(t, "paused by zoe: holidays", paused.Why)
	require.Equal(t, tasks.RunStarted, skip.Result, "the latest is in time: a minute has not passed")
	require.Len(t, s.operations(), 2)

	// With skip none runs that is late.
	s.goTo(s.now().Add(3 * time.Minute))
	s.eventually(func() bool { return s.view("skip").Runs[0].ID != skip.ID }, "it goes on")
	totals, err := s.r.ScheduleTotals(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, totals.Paused)
	require.Zero(t, totals.Failing)
	require.GreaterOrEqual(t, totals.Results[tasks.RunMissed], once.Missed+3)
}

func TestOverlap(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	s.add(tasks.Schedule{})
	s.ticker("worker")
	first := s.tick("nightly")
	second := s.tick("nightly")
	require.Equal(t, tasks.RunSkipped, second.Result)
	require.Equal(t, "operation "+first.Operations[0]+" of the last run has not finished", second.Why)
	op := s.operations()[0]
	asked, err := s.r.AskApproval(t.Context(), op, tasks.Clearance{Desktops: 500})
	require.NoError(t, err)
	require.True(t, asked)
	third := s.tick("nightly")
	require.Equal(t, "operation "+first.Operations[0]+" of the last run waits for an approval", third.Why)
	s.finish()
	require.Equal(t, tasks.RunStarted, s.tick("nightly").Result)
	require.Equal(t, tasks.ScheduleCounts{Runs: 2, Skipped: 2}, s.view("nightly").Counts)
}

func TestPauseResumeSkip(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	ctx := t.Context()
	s.add(tasks.Schedule{Overlap: tasks.OverlapAllow})
	s.ticker("worker")
	s.tick("nightly")

	require.NoError(t, s.r.PauseSchedule(ctx, "nightly", tasks.SchedulePause{By: "zoe", At: s.now(), Note: "merger"}))
	for range 3 {
		require.Equal(t, "paused by zoe: merger", s.tick("nightly").Why)
	}
	view := s.view("nightly")
	require.Equal(t, "merger", view.Paused.Note)
	require.Len(t, view.Runs, 2, "a long pause does not hide what was before it")
	require.Equal(t, 3, view.Counts.Skipped)
	resumed, err := s.r.ResumeSchedule(ctx, "nightly")
	require.NoError(t, err)
	require.True(t, resumed)
	resumed, err = s.r.ResumeSchedule(ctx, "nightly")
	require.NoError(t, err)
	require.False(t, resumed)
	require.Equal(t, tasks.RunStarted, s.tick("nightly").Result)

	skip, err := s.r.SkipTick(ctx, "nightly", s.now(), "zoe", "")
	require.NoError(t, err)
	require.Equal(t, skip.Tick, s.view("nightly").Next[0])
	require.Equal(t, skip.Tick.ID, s.view("nightly").Skip.Tick.ID)
	run := s.tick("nightly")
	require.Equal(t, []any{tasks.RunSkipped, "skipped by zoe"}, []any{run.Result, run.Why})
	require.Nil(t, s.view("nightly").Skip, "it is over")
	require.Equal(t, tasks.RunStarted, s.tick("nightly").Result)

	_, err = s.r.SkipTick(ctx, "nightly", s.now(), "zoe", "")
	require.NoError(t, err)
	require.NoError(t, s.r.UnskipTick(ctx, "nightly"))
	require.ErrorIs(t, s.r.UnskipTick(ctx, "nightly"), tasks.ErrNoTick)
	require.Equal(t, tasks.RunStarted, s.tick("nightly").Result)
}

// A pause after a failure: of the run itself, and of a desktop of the last run. A person who
// resumes knows of it.
func TestPauseOnFailure(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	s.add(tasks.Schedule{PauseOnFailure: true, Overlap: tasks.OverlapAllow})
	s.ticker("worker")
	s.source.be(func(context.Context, tasks.Schedule, int) (sources.Found, error) {
		return sources.Found{}, errors.New("line 7: what is this?")
	})
	run := s.tick("nightly")
	require.Equal(t, []any{tasks.RunFailed, "line 7: what is this?"}, []any{run.Result, run.Why})
	view := s.view("nightly")
	require.Equal(t, tasks.PausedItself, view.Paused.By)
	require.Equal(t, "the run "+run.ID+" failed: line 7: what is this?", view.Paused.Note)
	totals, err := s.r.ScheduleTotals(t.Context())
	require.NoError(t, err)
	require.Equal(t, []int{1, 1}, []int{totals.Paused, totals.Failing})

	s.source.be(nil)
	_, err = s.r.ResumeSchedule(t.Context(), "nightly")
	require.NoError(t, err)
	run = s.tick("nightly")
	require.Equal(t, tasks.RunStarted, run.Result)
	totals, err = s.r.ScheduleTotals(t.Context())
	require.NoError(t, err)
	require.Equal(t, []int{0, 0}, []int{totals.Paused, totals.Failing})

	s.fail(run.Operations[0])
	run = s.tick("nightly")
	require.Equal(t, tasks.RunSkipped, run.Result)
	require.Contains(t, run.Why, "paused: 1 failed in operation ")
	require.NotNil(t, s.view("nightly").Paused)
	_, err = s.r.ResumeSchedule(t.Context(), "nightly")
	require.NoError(t, err)
}

// fail makes the only desktop of an operation fail.
func (s *env) fail(id string) {
	s.t.Helper()
	c, err := s.r.Chunk(s.t.Context(), id, 0)
	require.NoError(s.t, err)
	f := &tasks.Failure{OperationID: id, Project: c.Operation.Project, DesktopID: "d1", Code: "X", Class: tasks.ClassPermanent, At: time.Now()}
	to := func(d record.Row, to tasks.State, f *tasks.Failure) record.Row {
		change := record.Change{Operation: c.Operation, Moves: []record.Move{{Desktop: d, To: to, Attempts: 1, Failure: f}}}
		applied, err := s.r.Apply(s.t.Context(), time.Now(), []record.Change{change})
		require.NoError(s.t, err)
		return applied[0].Desktops[0]
	}
	to(to(c.Desktops[0], tasks.StateSending, nil), tasks.StateFailed, f)
}

// A source that never answers stops no other schedule, and not its own for ever. Neither do
// more of them than runs that a process makes at a time, nor those that fail.
func TestSourcesThatHang(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	s.source.be(func(_ context.Context, x tasks.Schedule, _ int) (sources.Found, error) {
		switch {
		case strings.HasPrefix(x.Name, "hangs"):
			<-release // whatever its context says
		case strings.HasPrefix(x.Name, "fails"):
			return sources.Found{}, errors.New("no")
		case strings.HasPrefix(x.Name, "panics"):
			panic("a bug")
		}
		return sources.Found{Lists: []sources.List{{Requests: []tasks.Request{request(x, "d1")}}}, Rows: 1}, nil
	})
	for n := range 70 {
		s.add(tasks.Schedule{Name: fmt.Sprint("hangs-", n)})
	}
	s.add(tasks.Schedule{Name: "fails"})
	s.add(tasks.Schedule{Name: "panics"})
	s.ticker("worker", func(c *schedules.Config) { c.SlowAfter, c.ReadTimeout = 50*time.Millisecond, 2*time.Second })
	next := s.view("panics").Next[0] // the last that was added: a minute may have ended since the first
	s.goTo(next.At)
	id := func(name string, t tasks.ScheduleTick) string { return name + t.ID[strings.Index(t.ID, "@"):] }
	for n := range 70 {
		s.eventually(func() bool { return s.source.count(fmt.Sprint("hangs-", n)) > 0 }, "it waits for another")
	}
	s.add(tasks.Schedule{Name: "works", Overlap: tasks.OverlapAllow})
	works := s.view("works").Next[0]
	s.goTo(works.At.Add(time.Minute))
	require.Equal(t, tasks.RunStarted, s.run("works", id("works", s.after("works", works))).Result)
	s.eventually(func() bool { return len(s.view("fails").Runs) > 0 }, "it waits for another")
	require.Equal(t, "no", s.view("fails").Runs[0].Why)
	s.eventually(func() bool { return len(s.view("panics").Runs) > 0 }, "a bug in a source ends the process")
	require.Contains(t, s.view("panics").Runs[0].Why, "a bug")

	run := s.run("hangs-0", id("hangs-0", next))
	require.Equal(t, []any{tasks.RunFailed, "the source did not answer within 2s"}, []any{run.Result, run.Why})
	run = s.tick("hangs-0")
	require.Contains(t, run.Why, "has not answered yet", "it is not asked again while it hangs")
	require.Equal(t, 1, s.source.count("hangs-0"))
}

// after is the tick after another.
func (s *env) after(name string, tick tasks.ScheduleTick) tasks.ScheduleTick {
	s.t.Helper()
	x, err := s.r.Schedule(s.t.Context(), name)
	require.NoError(s.t, err)
	ticks, err := record.NewTicks(x)
	require.NoError(s.t, err)
	next, ok := ticks.Next(tick)
	require.True(s.t, ok)
	return next
}

// A source that is not ready is tried again until the next tick; then the run has failed.
func TestASourceThatIsNotReady(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	s.add(tasks.Schedule{Missed: tasks.MissedSkip, Cron: "*/10 * * * *"})
	notReady := func(why string) {
		s.source.be(func(context.Context, tasks.Schedule, int) (sources.Found, error) {
			return sources.Found{}, fmt.Errorf("%w: %s", sources.ErrNotReady, why)
		})
	}
	const retry = 15 * time.Second
	s.ticker("worker", func(c *schedules.Config) { c.Retry = retry })
	tried := 0
	at := func(at time.Time) { // it is tried then, and waits
		s.goTo(at)
		tried++
		s.eventually(func() bool { return strings.Count(s.log.String(), "a run waits for its source") == tried }, "it is not tried")
	}
	notReady("the file changes")
	next := s.view("nightly").Next[0]
	at(next.At)
	s.polled(1)
	require.Equal(t, 1, s.source.count("nightly"), "it is tried at each look")
	at(next.At.Add(retry + time.Second))
	at(next.At.Add(5 * time.Minute))
	require.Empty(t, s.view("nightly").Runs)
	s.source.be(nil)
	s.goTo(next.At.Add(6 * time.Minute))
	require.Equal(t, tasks.RunStarted, s.run("nightly", next.ID).Result, "it is not late: it was tried")
	s.finish()

	notReady("the cloud is away")
	next = s.view("nightly").Next[0]
	at(next.At)
	s.goTo(next.At.Add(10*time.Minute - retry + time.Second)) // another try would be after the next tick
	run := s.run("nightly", next.ID)
	require.Equal(t, []any{tasks.RunFailed, "try again later: the cloud is away"}, []any{run.Result, run.Why})
}

// What an operation refuses fails the run, in the words of the refusal, and makes none.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	require.NoError(t, s.r.AddProtection(t.Context(), tasks.Protection{Name: "board", Kind: tasks.ProtectDesktop, Pattern: "vip"}))
	for name, x := range map[string]struct {
		schedule tasks.Schedule
		why      string
	}{
		"protected": {tasks.Schedule{Source: tasks.ScheduleSource{Desktops: []string{"d1", "vip"}}}, `desktops[1]: "vip" is protected by the rule board`},
		"reason":    {tasks.Schedule{Project: "branch"}, "reason is missing: project branch requires one"},
		"project":   {tasks.Schedule{Project: "gone"}, "the project gone is not configured on a worker that runs schedules"},
	} {
		x.schedule.Name = name
		s.add(x.schedule)
		defer func() {
			s.eventually(func() bool { return len(s.view(name).Runs) > 0 }, name)
			run := s.view(name).Runs[0]
			require.Equal(t, tasks.RunFailed, run.Result, name)
			require.Contains(t, strings.ReplaceAll(run.Why, ": is missing", " is missing"), x.why, name)
		}()
	}
	s.ticker("worker")
	s.goTo(s.view("reason").Next[0].At.Add(45 * time.Second)) // others have had their time for a project that is unknown here
	s.eventually(func() bool { return len(s.view("reason").Runs) > 0 }, "no run")
	require.Empty(t, s.operations())
}

// A person's run begins though the schedule is paused, once, whoever asks twice with one key;
// the ticks go on as before.
func TestRunNow(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	ctx := t.Context()
	s.add(tasks.Schedule{Cron: "0 0 1 1 *"})
	require.NoError(t, s.r.PauseSchedule(ctx, "nightly", tasks.SchedulePause{By: "zoe"}))
	next := s.view("nightly").Next
	ask := record.ScheduleAsk{Schedule: "nightly", By: "zoe", Note: "today", At: s.now()}
	id, err := s.r.AskRun(ctx, ask, "k")
	require.NoError(t, err)
	again, err := s.r.AskRun(ctx, ask, "k")
	require.NoError(t, err)
	require.Equal(t, id, again)
	_, err = s.r.AskRun(ctx, record.ScheduleAsk{Schedule: "none"}, "")
	require.ErrorIs(t, err, tasks.ErrNoSchedule)
	for _, worker := range []string{"a", "b", "c"} {
		s.ticker(worker)
	}
	run := s.run("nightly", id)
	require.Equal(t, []any{tasks.RunStarted, "zoe", "today"}, []any{run.Result, run.By, run.Note})
	s.polled(3)
	require.Len(t, s.operations(), 1)
	view := s.view("nightly")
	require.Equal(t, next, view.Next)
	require.NotNil(t, view.Paused)
	p, err := s.r.PollSchedules(ctx)
	require.NoError(t, err)
	require.Empty(t, p.Asked)
}

// A process reads that a run is asked for, and reads the schedule only after another has recorded
// that run: it is not recorded again, as skipped because of its own operation.
func TestARunThatWasAskedForIsRecordedOnce(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	s.add(tasks.Schedule{Cron: "0 0 1 1 *"})
	ask := func() string {
		id, err := s.r.AskRun(t.Context(), record.ScheduleAsk{Schedule: "nightly", By: "zoe", At: s.now()}, "")
		require.NoError(t, err)
		return id
	}
	late := &lateReader{reached: make(chan struct{}), goOn: make(chan struct{})}
	s.tickerOf(s.producer(0, &wrongClock{s}, late), "late")
	id := ask()
	<-late.reached
	stop := s.ticker("quick")
	require.Equal(t, tasks.RunStarted, s.run("nightly", id).Result)
	stop()
	close(late.goOn)
	require.Equal(t, tasks.RunSkipped, s.run("nightly", ask()).Result, "the first operation has not finished")
	require.Equal(t, tasks.ScheduleCounts{Runs: 1, Skipped: 1}, s.view("nightly").Counts)
}

// lateReader is a hook that holds back the first reading of a schedule before a run.
type lateReader struct {
	reached, goOn chan struct{}
	once          sync.Once
}

func (*lateReader) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (*lateReader) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (l *lateReader) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if step(cmds[0]) == "it is read" {
			l.once.Do(func() { close(l.reached); <-l.goOn })
		}
		return next(ctx, cmds)
	}
}

// A list that has a header and no rows has not run before: nobody is to take its leavers for done.
func TestAListThatNamesNobody(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	x := s.add(tasks.Schedule{Overlap: tasks.OverlapAllow, Source: tasks.ScheduleSource{File: "leavers-*.csv"}})
	full := sources.List{File: "leavers-2.csv", SHA256: "bb", Requests: []tasks.Request{request(x, "bb")}}
	lists := []sources.List{{File: "leavers-1.csv", SHA256: "aa"}}
	s.source.be(func(context.Context, tasks.Schedule, int) (sources.Found, error) {
		return sources.Found{Lists: lists}, nil
	})
	s.tickerOf(s.producer(0, &wrongClock{s}), "worker")
	for range 2 {
		run := s.tick("nightly")
		require.Equal(t, []any{tasks.RunNothing, "no list names anybody"}, []any{run.Result, run.Why})
	}
	lists = append(lists, full)
	require.Equal(t, tasks.RunStarted, s.tick("nightly").Result)
	run := s.tick("nightly")
	require.Equal(t, []any{tasks.RunNothing, "each list has run before, or names nobody (1)"}, []any{run.Result, run.Why})
}

// Each content of a file runs once, whatever asks for it; also once the operation is forgotten.
func TestAListRunsOnce(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	x := s.add(tasks.Schedule{Overlap: tasks.OverlapAllow, Source: tasks.ScheduleSource{File: "leavers.csv"}})
	content := func(name string, more ...sources.List) {
		s.source.be(func(_ context.Context, x tasks.Schedule, _ int) (sources.Found, error) {
			list := sources.List{File: "leavers.csv", SHA256: name, Requests: []tasks.Request{request(x, name+"-1"), request(x, name+"-2")}}
			return sources.Found{Lists: append([]sources.List{list}, more...), Rows: 2}, nil
		})
	}
	content("aa")
	p := s.producer(0, &wrongClock{s})
	s.tickerOf(p, "worker")
	run := s.tick("nightly")
	require.Equal(t, tasks.RunStarted, run.Result)
	require.Len(t, run.Operations, 2)
	run = s.tick("nightly")
	require.Equal(t, []any{tasks.RunNothing, "each list has run before"}, []any{run.Result, run.Why})
	id, err := s.r.AskRun(t.Context(), record.ScheduleAsk{Schedule: "nightly", By: "zoe", At: s.now()}, "")
	require.NoError(t, err)
	require.Equal(t, tasks.RunNothing, s.run("nightly", id).Result)

	// Beside one that cannot be taken the other is.
	content("bb", sources.List{File: "broken.csv", Err: errors.New("line 3: no name")})
	run = s.tick("nightly")
	require.Equal(t, []any{tasks.RunFailed, "broken.csv: line 3: no name"}, []any{run.Result, run.Why})
	require.Len(t, run.Operations, 2)

	// A list of which one operation is refused makes none.
	require.NoError(t, s.r.AddProtection(t.Context(), tasks.Protection{Name: "board", Kind: tasks.ProtectDesktop, Pattern: "cc-2"}))
	content("cc")
	s.eventually(func() bool { return p.Protected(t.Context(), request(x, "cc-2")) != nil }, "the rule is not known")
	run = s.tick("nightly")
	require.Equal(t, tasks.RunFailed, run.Result)
	require.Contains(t, run.Why, "leavers.csv: ")
	require.Empty(t, run.Operations)
	require.NoError(t, s.r.RemoveProtection(t.Context(), "board"))
	s.eventually(func() bool { return p.Protected(t.Context(), request(x, "cc-2")) == nil }, "the rule stays")
	require.Equal(t, tasks.RunStarted, s.tick("nightly").Result, "refused once is refused for ever")
	require.Len(t, s.operations(), 6)

	s.finish()
	_, err = s.r.Expire(t.Context(), time.Now().Add(200*24*time.Hour), 100, time.Minute)
	require.NoError(t, err)
	require.Empty(t, s.operations())
	content("aa")
	require.Equal(t, tasks.RunNothing, s.tick("nightly").Result)
	require.Empty(t, s.operations())
}

// A schedule that is added again, with other settings, does not show operations of the one before
// as its own: nothing was made by it.
func TestAListOfAnEarlierScheduleOfTheName(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	s.source.be(func(_ context.Context, x tasks.Schedule, _ int) (sources.Found, error) {
		r := request(x, "d1")
		r.Ticket = x.Ticket
		return sources.Found{Lists: []sources.List{{File: "leavers.csv", SHA256: "aa", Requests: []tasks.Request{r}}}, Rows: 1}, nil
	})
	s.ticker("worker")
	again := func(x tasks.Schedule) tasks.ScheduleRun {
		x.Overlap, x.Source.File = tasks.OverlapAllow, "leavers.csv"
		s.add(x)
		run := s.tick("nightly")
		require.NoError(t, s.r.RemoveSchedule(t.Context(), "nightly"))
		s.polled(1)
		return run
	}
	require.Equal(t, tasks.RunStarted, again(tasks.Schedule{}).Result)
	run := again(tasks.Schedule{Ticket: "HR-2"})
	require.Equal(t, []any{tasks.RunNothing, "each list has run before"}, []any{run.Result, run.Why})
	require.Empty(t, run.Operations)
	run = again(tasks.Schedule{Project: "branch", Reason: "the right project"})
	require.Equal(t, tasks.RunFailed, run.Result, "nobody of this project lost access")
	require.Contains(t, run.Why, "leavers.csv: an earlier schedule of this name ran this list for project hq")
	require.Empty(t, run.Operations)
	require.Len(t, s.operations(), 1)
}

// Schedules that are added, and removed, while tickers run.
func TestAddAndRemove(t *testing.T) {
	t.Parallel()
	fixed := every(tasks.Schedule{Name: "fixed", Overlap: tasks.OverlapAllow})
	s := newEnv(t, fixed)
	ctx := t.Context()
	s.ticker("worker")
	s.eventually(func() bool { return !s.state("fixed").Since.IsZero() }, "it is not entered")
	require.Equal(t, tasks.RunStarted, s.tick("fixed").Result)

	s.add(tasks.Schedule{Overlap: tasks.OverlapAllow})
	require.ErrorIs(t, s.r.AddSchedule(ctx, every(tasks.Schedule{})), tasks.ErrScheduleExists)
	require.ErrorIs(t, s.r.AddSchedule(ctx, fixed), tasks.ErrScheduleExists)
	require.ErrorIs(t, s.r.RemoveSchedule(ctx, "fixed"), tasks.ErrScheduleConfigured)
	require.Equal(t, tasks.RunStarted, s.tick("nightly").Result)
	all, err := s.r.AllSchedules(ctx)
	require.NoError(t, err)
	require.Equal(t, []any{"fixed", true, "nightly", false}, []any{all[0].Name, all[0].Configured, all[1].Name, all[1].Configured})
	require.NoError(t, s.r.RemoveSchedule(ctx, "nightly"))
	require.ErrorIs(t, s.r.RemoveSchedule(ctx, "nightly"), tasks.ErrNoSchedule)
	require.ErrorIs(t, s.r.PauseSchedule(ctx, "nightly", tasks.SchedulePause{}), tasks.ErrNoSchedule)
	of := func() int {
		ops, _, err := s.r.Operations(ctx, tasks.OperationFilter{RequestedBy: "schedule:nightly"}, 100, "")
		require.NoError(t, err)
		return len(ops)
	}
	ops := of()
	require.Equal(t, tasks.RunStarted, s.tick("fixed").Result)
	s.polled(1)
	require.Equal(t, ops, of(), "a schedule that was removed runs")
	require.NotContains(t, s.log.String(), `"level":"error"`)
}

func (s *env) state(name string) record.ScheduleState {
	s.t.Helper()
	state, _, err := s.r.BeginScheduleRun(s.t.Context(), name, "test", tasks.ScheduleTick{At: time.UnixMilli(1).UTC()}, 0)
	require.NoError(s.t, err)
	return state
}

// What a schedule missed while it was not in the configuration does not run when it is back;
// what it missed while no worker ran does.
func TestAScheduleThatWasOutOfTheConfiguration(t *testing.T) {
	t.Parallel()
	fixed := every(tasks.Schedule{Name: "fixed", Overlap: tasks.OverlapAllow, Cron: "*/10 * * * *"})
	s := newEnv(t, fixed)
	stop := s.ticker("worker")
	s.eventually(func() bool { return !s.state("fixed").Since.IsZero() }, "it is not entered")
	stop()
	rdb, key := s.server.Client(t), s.prefix+":{schedules}:state:fixed"
	ago := func() {
		require.NoError(t, rdb.HSet(t.Context(), key, "since", time.Now().Add(-35*time.Minute).UnixMilli()).Err())
		require.NoError(t, rdb.HDel(t.Context(), key, "last", "busy").Err())
	}
	ago()
	stop = s.ticker("worker")
	s.eventually(func() bool { return len(s.view("fixed").Runs) == 1 }, "what no worker ran does not run")
	require.Equal(t, tasks.RunStarted, s.view("fixed").Runs[0].Result)
	stop()

	s.config.Schedules = nil
	stop = s.ticker("worker")
	s.polled(1)
	stop()
	ago()
	before := s.state("fixed").Since
	s.config.Schedules = []tasks.Schedule{fixed}
	s.ticker("worker")
	s.eventually(func() bool { return s.state("fixed").Since.After(before) }, "it is not entered again")
	s.polled(1)
	require.Len(t, s.view("fixed").Runs, 1, "what passed while it was out of the configuration runs")
}

// A list of those who stay is compared with what it had itself: the rows of an earlier source of
// the schedule would let a list through that is cut off.
func TestRowsOfAnEarlierSource(t *testing.T) {
	t.Parallel()
	// A tick of its own, each minute, would be told, too.
	s := newEnv(t, every(tasks.Schedule{Name: "fixed", Cron: "0 0 29 2 *", Source: tasks.ScheduleSource{Users: []string{"zoe"}}}))
	told := make(chan int, 1)
	begin := func() (stop func()) {
		return s.ticker("worker", func(c *schedules.Config) {
			c.Source = sourceFunc(func(_ context.Context, _ tasks.Schedule, lastRows int) (sources.Found, error) {
				told <- lastRows
				return sources.Found{Rows: 5000}, nil
			})
		})
	}
	ran := func() int {
		runs := s.view("fixed").Counts.Nothing
		_, err := s.r.AskRun(t.Context(), record.ScheduleAsk{Schedule: "fixed", By: "zoe", At: s.now()}, "")
		require.NoError(t, err)
		s.eventually(func() bool { return s.view("fixed").Counts.Nothing > runs }, "it does not run")
		return <-told
	}
	stop := begin()
	s.eventually(func() bool { return !s.state("fixed").Since.IsZero() }, "it is not entered")
	require.Equal(t, []int{-1, -1}, []int{ran(), ran()}, "a source of this kind is compared with nothing")
	for _, c := range []struct {
		file string
		want []int
	}{{"staff.csv", []int{-1, 5000}}, {"all staff.csv", []int{-1, 5000}}} {
		stop()
		s.config.Schedules[0].Source = tasks.ScheduleSource{NotIn: &tasks.NotIn{File: c.file}}
		stop = begin()
		require.Equal(t, c.want, []int{ran(), ran()}, c.file)
	}
	stop()
}
