package main

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/drill"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

func TestMain(m *testing.M) {
	drill.QuietRedis()
	os.Exit(m.Run())
}

// short is what make chaos does at length, once: real processes, and calls that are
// longer than the outage in their middle.
func short(t *testing.T) scenario {
	redistest.Need(t)
	return scenario{
		Site:  drill.Site{Dir: t.TempDir(), Progress: io.Discard},
		Kills: 1, Outages: 1, Freezes: 1, Workers: 5, Desktops: 400, Operations: 25, Schedules: 20, Seed: 7,
		Pace: 40 * time.Millisecond, Every: time.Second,
		Calls: span{12 * time.Second, 13 * time.Second}, Away: span{10 * time.Second, 10 * time.Second},
		Frozen: span{10 * time.Second, 11 * time.Second},
		Rest:   span{500 * time.Millisecond, time.Second},
	}
}

func TestChaos(t *testing.T) {
	with := short(t)
	// A worker that dies in an outage is found dead when its calls are long over.
	without := short(t)
	without.Outages, without.Kills = 0, 2
	binary, err := drill.Build(t.Context(), t.TempDir())
	require.NoError(t, err)
	for name, s := range map[string]scenario{"with an outage": with, "without": without} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
			defer cancel()
			s.Binary = binary
			v, err := s.run(ctx)
			require.NoError(t, err)
			var text bytes.Buffer
			v.print(&text)
			t.Log(text.String())
			require.Zero(t, v.violations().Count())
			require.Equal(t, s.Desktops, v.Desktops)
			require.NotZero(t, v.TicksRan)
			require.NotZero(t, v.Asked)
			require.GreaterOrEqual(t, v.Heirs, s.Desktops/3)
			require.Equal(t, s.Kills, v.Kills)
			require.Equal(t, s.Freezes, v.Freezes)
			require.Equal(t, s.Outages, v.Outages["killed"])
			require.NotZero(t, v.Detached)
			require.NotZero(t, v.Held)
			require.NotZero(t, v.Approved)
			require.NotZero(t, v.Undos)
			require.NotZero(t, v.GivenBack)
			require.NotZero(t, v.Attaches)
			require.NotZero(t, v.Kept)
			require.NotZero(t, v.CalledDead, "the log of a killed worker's end was read")
			require.NotEmpty(t, v.Recovery["worker"])
		})
	}
}

// A run in which the workers do not work is an error, not a run without faults.
func TestWorkersThatEndByThemselves(t *testing.T) {
	t.Parallel()
	s := short(t)
	s.Binary = "false"
	_, err := s.run(t.Context())
	require.ErrorContains(t, err, "ended by itself: exit status 1")
}

// The judge sees what must not happen.
func TestTheJudgeSees(t *testing.T) {
	t.Parallel()
	one := drill.Users
	for name, test := range map[string]struct {
		desktop fakecloud.Desktop
		calls   int
		end     tasks.State // in the record; 0: none
		want    func(v *verdict) []string
	}{
		"lost": {fakecloud.Desktop{ID: "plain-1", Users: one(drill.Leaver)}, 1, 0,
			func(v *verdict) []string { return v.Lost }},
		"sent again": {fakecloud.Desktop{ID: "plain-1", Users: one(drill.Leaver)}, 2, tasks.StateDetached,
			func(v *verdict) []string { return v.SentAgain }},
		"wrong person": {fakecloud.Desktop{ID: "passed-on-1", Users: one(drill.Somebody)}, 1, tasks.StateDetached,
			func(v *verdict) []string { return v.WrongPerson }},
		"an heir": {fakecloud.Desktop{ID: "given-away-1", Users: one(drill.Leaver), AfterDetach: one(drill.Heir)}, 2, tasks.StateDetached,
			func(v *verdict) []string { return v.HeirsCutOff }},
		"a colleague": {fakecloud.Desktop{ID: "shared-1", Type: fakecloud.Shared, Users: one(drill.Leaver, drill.Colleague)}, 1,
			tasks.StateDetached,
			func(v *verdict) []string { return v.WrongPerson }},
		"unproven": {fakecloud.Desktop{ID: "plain-1", Users: one(drill.Leaver)}, 0, tasks.StateDetached,
			func(v *verdict) []string { return v.Unproven }},
		"nowhere": {fakecloud.Desktop{ID: "nowhere-1"}, 0, tasks.StateDetached,
			func(v *verdict) []string { return v.Nowhere }},
		"nowhere, sent": {fakecloud.Desktop{ID: "nowhere-1"}, 1, 0,
			func(v *verdict) []string { return v.Nowhere }},
		"passed on, held": {fakecloud.Desktop{ID: "passed-on-1", Users: one(drill.Somebody)}, 0, tasks.StateDetached,
			func(v *verdict) []string { return v.Unproven }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var op record.Operation
			e := &env{}
			e.Env, op = drill.Played(t, test.desktop, test.calls, test.end)
			e.ops = []record.Operation{op}
			if drill.Nowhere.Has(test.desktop.ID) {
				e.missing = []string{test.desktop.ID}
			}
			require.NoError(t, e.judge(t.Context()))
			require.NotEmpty(t, test.want(&e.verdict))
			require.NotZero(t, e.verdict.violations().Count())
		})
	}
}

// The judge sees what must not happen in an undo.
func TestTheJudgeSeesUndos(t *testing.T) {
	t.Parallel()
	leaver := drill.Users(drill.Leaver)
	const given, held = tasks.StateDetached, tasks.StateHeld
	for name, test := range map[string]struct {
		desktop fakecloud.Desktop
		gets    []string    // who gets it, by one call each
		end     tasks.State // of the undo
		change  func(t *testing.T, e *env)
		want    func(v *verdict) []string // nil: there is nothing to see
	}{
		"nothing":       {fakecloud.Desktop{ID: "plain-1", Users: leaver}, []string{drill.Leaver}, given, nil, nil},
		"nothing, held": {fakecloud.Desktop{ID: "pooled-1", Type: fakecloud.Pooled, Users: leaver}, nil, held, nil, nil},
		"another":       {fakecloud.Desktop{ID: "plain-1", Users: leaver}, []string{drill.Heir}, given, nil, wrong},
		"without data":  {fakecloud.Desktop{ID: "plain-1", Users: leaver}, []string{drill.Heir}, given, nil, cleared},
		"an heir's": {fakecloud.Desktop{ID: "given-away-1", Users: leaver, AfterDetach: drill.Users(drill.Heir)},
			[]string{drill.Leaver}, held, nil, wrong},
		"not given":       {fakecloud.Desktop{ID: "plain-1", Users: leaver}, nil, given, nil, unproven},
		"given, and held": {fakecloud.Desktop{ID: "plain-1", Users: leaver}, []string{drill.Leaver}, held, nil, unproven},
		"without an end":  {fakecloud.Desktop{ID: "plain-1", Users: leaver}, nil, 0, nil, unproven},
		"not called given back": {fakecloud.Desktop{ID: "plain-1", Users: leaver}, []string{drill.Leaver}, given,
			func(_ *testing.T, e *env) { e.ops[0].Undos = nil }, unproven},
		"given twice": {fakecloud.Desktop{ID: "plain-1", Users: leaver}, []string{drill.Leaver}, given, func(t *testing.T, e *env) {
			e.Cloud.Update(drill.ProjectID, "plain-1", func(d *fakecloud.Desktop) { d.Users, d.AttachState = nil, fakecloud.Unattached })
			e.undos = append(e.undos, e.Undone(t, e.ops[0], "plain-1", given, drill.Leaver))
		}, func(v *verdict) []string { return v.GivenTwice }},
		"not undone": {fakecloud.Desktop{ID: "plain-1", Users: leaver}, nil, 0, func(t *testing.T, e *env) {
			other, err := e.producer.Enqueue(t.Context(), tasks.Request{Project: drill.Project, Desktops: []string{"plain-2"}})
			require.NoError(t, err)
			other.UndoOf = e.ops[0].ID
			e.undos = []record.Operation{other}
			e.mistakes[other.ID] = mistake{askedAt: time.Now()}
		}, func(v *verdict) []string { return v.Lost }},
		"many, without an approval": {fakecloud.Desktop{ID: "plain-1", Users: leaver}, []string{drill.Leaver}, given,
			func(_ *testing.T, e *env) { e.Desktops = 0 }, func(v *verdict) []string { return v.Unapproved }},
		"before the approval": {fakecloud.Desktop{ID: "plain-1", Users: leaver}, []string{drill.Leaver}, given, func(_ *testing.T, e *env) {
			e.undos[0].Clearance = &tasks.Clearance{Why: tasks.WhyUndo, DecidedAt: time.Now().Add(time.Hour)}
		}, func(v *verdict) []string { return v.Unapproved }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := &env{scenario: scenario{Desktops: 10}, mistakes: map[string]mistake{}}
			var op record.Operation
			e.Env, op = drill.Played(t, test.desktop, 1, tasks.StateDetached)
			e.Cloud.AddPeople(drill.ProjectID, fakecloud.Person{Name: drill.Heir})
			e.undos = []record.Operation{e.Undone(t, op, test.desktop.ID, test.end, test.gets...)}
			var err error
			e.producer, err = record.NewProducer(e.Redis, record.ProducerConfig{Projects: []string{drill.Project}})
			require.NoError(t, err)
			op, err = e.Record.Operation(t.Context(), op.ID)
			require.NoError(t, err)
			e.ops = []record.Operation{op}
			if test.change != nil {
				test.change(t, e)
			}
			require.NoError(t, e.judge(t.Context()))
			if test.want == nil {
				require.Zero(t, e.verdict.violations().Count(), "%+v", e.verdict)
				return
			}
			require.NotEmpty(t, test.want(&e.verdict), "%+v", e.verdict)
			require.NotZero(t, e.verdict.violations().Count())
		})
	}
}

func wrong(v *verdict) []string    { return v.GivenWrong }
func cleared(v *verdict) []string  { return v.Cleared }
func unproven(v *verdict) []string { return v.Unproven }

// A call before the approval of its operation is seen, and so are more desktops than pass
// without one.
func TestTheJudgeSeesUnapprovedCalls(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, test := range map[string]struct {
		passes   int
		approved time.Time
		seen     bool
	}{
		"within the limit": {1, time.Time{}, false}, "beyond it": {0, time.Time{}, true},
		"approved": {0, now.Add(-time.Hour), false}, "approved too late": {1, now.Add(time.Hour), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := &env{scenario: scenario{Desktops: 3 * test.passes}}
			var op record.Operation
			e.Env, op = drill.Played(t, fakecloud.Desktop{ID: "plain-1", Users: drill.Users(drill.Leaver)}, 1, tasks.StateDetached)
			if !test.approved.IsZero() {
				op.Clearance = &tasks.Clearance{Why: tasks.WhyLimit, DecidedAt: test.approved}
			}
			e.ops = []record.Operation{op}
			require.NoError(t, e.judge(t.Context()))
			require.Equal(t, test.seen, len(e.verdict.Unapproved) > 0)
			require.Equal(t, test.seen, e.verdict.violations().Count() > 0)
		})
	}
}

// What only drill sees is a violation, too.
func TestLivingWorkersCount(t *testing.T) {
	t.Parallel()
	v := verdict{Living: []string{"w-1"}}
	require.Equal(t, 1, v.violations().Count())
}

// What is drawn is within its span, and short draws mostly near its beginning.
func TestSpans(t *testing.T) {
	t.Parallel()
	s, r := span{2 * time.Second, time.Minute}, rand.New(rand.NewPCG(1, 1))
	near := 0
	for range 1000 {
		for _, d := range []time.Duration{s.draw(r), s.short(r)} {
			require.True(t, s.least <= d && d <= s.most, d)
		}
		if s.short(r) <= 12*time.Second {
			near++
		}
	}
	require.Greater(t, near, 800)
	require.Equal(t, time.Second, span{time.Second, time.Second}.short(r))
}

// The judge sees ticks that have run twice, not at all, or as something else than is said.
func TestTheJudgeSeesTicks(t *testing.T) {
	t.Parallel()
	const ticks = 4
	start := time.Now().Add(-10 * time.Minute).Truncate(time.Minute)
	every := tasks.Schedule{Name: "tick-1", Cron: "* * * * *", Start: start}.WithDefaults()
	lost := func(v *verdict) []string { return v.TicksLost }
	doubled := func(v *verdict) []string { return v.TicksDoubled }
	miscounted := func(v *verdict) []string { return v.Miscounted }
	for name, test := range map[string]struct {
		operations []int // of the ticks by number; -1: of none
		counts     tasks.ScheduleCounts
		outage     bool
		change     func(s *scheduled)
		want       func(v *verdict) []string
	}{
		"nothing":                 {[]int{0, 1, 2, 3}, tasks.ScheduleCounts{Runs: 4}, false, nil, nil},
		"nothing, a later one":    {[]int{0, 1, 2, 3, 4}, tasks.ScheduleCounts{Runs: 4}, false, nil, nil},
		"nothing, missed":         {[]int{0, 1, 3}, tasks.ScheduleCounts{Runs: 3, Missed: 1}, true, nil, nil},
		"nothing, skipped":        {[]int{0, 3}, tasks.ScheduleCounts{Runs: 2, Skipped: 2}, false, nil, nil},
		"not counted":             {[]int{0, 1, 2}, tasks.ScheduleCounts{Runs: 3}, false, nil, lost},
		"without an operation":    {[]int{0, 1, 2}, tasks.ScheduleCounts{Runs: 4}, false, nil, lost},
		"missed without a reason": {[]int{0, 1, 3}, tasks.ScheduleCounts{Runs: 3, Missed: 1}, false, nil, lost},
		"none of the missed ran": {[]int{0, 1, 2}, tasks.ScheduleCounts{Runs: 3, Missed: 1}, true,
			func(s *scheduled) { s.view.Runs = []tasks.ScheduleRun{{Result: tasks.RunMissed}} }, lost},
		"counted twice":        {[]int{0, 1, 2, 3}, tasks.ScheduleCounts{Runs: 4, Missed: 1}, true, nil, miscounted},
		"ran, called missed":   {[]int{0, 1, 2, 3}, tasks.ScheduleCounts{Runs: 3, Missed: 1}, true, nil, miscounted},
		"of no tick":           {[]int{0, 1, 2, 3, -1}, tasks.ScheduleCounts{Runs: 4}, false, nil, doubled},
		"asked, nothing":       {[]int{-1}, tasks.ScheduleCounts{}, false, func(s *scheduled) { s.Cron, s.asked = "", []string{"x"} }, nil},
		"asked, lost":          {nil, tasks.ScheduleCounts{}, false, func(s *scheduled) { s.Cron, s.asked = "", []string{"x"} }, lost},
		"asked once, ran more": {[]int{-1, 0}, tasks.ScheduleCounts{}, false, func(s *scheduled) { s.Cron, s.asked = "", []string{"x"} }, doubled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := &env{}
			if test.outage {
				e.outagesOfRedis = []period{{start, start.Add(ticks * time.Minute)}}
			}
			s := &scheduled{Schedule: every, last: start.Add((ticks - 1) * time.Minute), ops: map[string]record.Operation{}}
			s.view.Counts = test.counts
			for _, n := range test.operations {
				run := "x"
				if n >= 0 {
					run = "tick-1@" + start.UTC().Add(time.Duration(n)*time.Minute).Format("2006-01-02T15:04") + " UTC"
				}
				s.ops[s.operation(run)] = record.Operation{}
			}
			if test.change != nil {
				test.change(s)
			}
			require.NoError(t, e.judgeRuns(s))
			if test.want == nil {
				require.Zero(t, e.verdict.violations().Count(), "%+v", e.verdict)
				return
			}
			require.NotEmpty(t, test.want(&e.verdict), "%+v", e.verdict)
			require.NotZero(t, e.verdict.violations().Count())
		})
	}
}
