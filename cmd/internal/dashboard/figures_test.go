package dashboard

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestTextsForPeople(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-1: "0 s", 1200 * time.Millisecond: "1.2 s", 59 * time.Second: "59 s", time.Minute: "1 min", 61 * time.Second: "1 min 1 s",
		90 * time.Minute: "1 h 30 min", 47 * time.Hour: "47 h", 49 * time.Hour: "2 days",
	} {
		require.Equal(t, want, took(d))
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		require.Equal(t, want, thousands(n))
	}
	require.Equal(t, "in 2 min", ago(noon, noon.Add(2*time.Minute)))
	require.Equal(t, "now", ago(noon, noon))
	link, err := query("/failures", "code", "a&b", "class", "", "from", time.Time{}, "to", noon, "n", 0)
	require.NoError(t, err)
	require.Equal(t, "/failures?code=a%26b&to=2026-03-01T12%3A00%3A00Z", link)
	_, err = query("/x", "code")
	require.Error(t, err)
}

// The parts of a bar always add up to its full length.
func TestBarsAreWhole(t *testing.T) {
	t.Parallel()
	counts := tasks.Counts{Queued: 1, Sending: 1, Accepted: 1, Detached: 3, Failed: 2, Held: 1, Cancelled: 1}
	p := progressOf(tasks.Operation{Total: 10, Counts: counts})
	require.Equal(t, 7, p.Finished())
	end := 0.0
	for _, part := range p.Bar {
		require.InDelta(t, end, part.From, 1e-9)
		end += part.Width
	}
	require.InDelta(t, 100, end, 1e-9)
	require.Equal(t, tasks.StateDetached, p.Bar[0].State, "what is done grows from the left")
	require.Empty(t, progressOf(tasks.Operation{}).Bar)
}

func buckets(change map[int]tasks.Tally) (out []tasks.StatsBucket) {
	for i := range 96 {
		out = append(out, tasks.StatsBucket{From: noon.Add(time.Duration(i-95) * tasks.LastDay.Step()), Tally: change[i]})
	}
	return out
}

// The charts add projects up, and no bar leaves them, vanishes or is too thin to hit.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	day := func(change map[int]tasks.Tally) tasks.Stats {
		return tasks.Stats{Range: tasks.LastDay, Buckets: buckets(change)}
	}
	none, _ := outcomesOf([]tasks.Stats{day(nil)}, time.UTC)
	require.True(t, none.Empty)
	detached, faults := outcomesOf([]tasks.Stats{
		day(map[int]tasks.Tally{2: {Detached: 900, Failed: 1}}),
		day(map[int]tasks.Tally{3: {Detached: 99, Held: 3}, 95: {Held: 5}, 50: {Detached: 1}}),
	}, time.FixedZone("", 5*3600+45*60))
	require.Equal(t, []int{999, 5}, []int{detached.Max, faults.Max})
	step := tasks.LastDay.Step()
	require.Equal(t, chartStep{From: noon.Add(-93 * step), To: noon.Add(-91 * step), Detached: 999, Failed: 1, Held: 3}, detached.Steps[1])
	require.Len(t, detached.Steps, 48)
	require.Len(t, detached.Bars, 2)
	require.Len(t, faults.Bars, 2, "one scale for many, and one for few")
	for _, c := range []chart{detached, faults} {
		for _, b := range c.Bars {
			require.GreaterOrEqual(t, b.Width, 8.0)
			require.LessOrEqual(t, b.X+b.Width, c.Width)
			y := c.Base
			for _, part := range b.Parts {
				require.GreaterOrEqual(t, part.Height, 2.0, "few beside many stay visible")
				require.InDelta(t, y, part.Y+part.Height, 1e-9, "one stands on the other")
				require.GreaterOrEqual(t, part.Y, 0.0)
				y = part.Y
			}
		}
		require.NotEmpty(t, c.Labels)
	}
	require.Equal(t, []tasks.State{tasks.StateHeld, tasks.StateFailed}, []tasks.State{faults.Bars[0].Parts[0].State, faults.Bars[0].Parts[1].State})
	require.Contains(t, detached.Bars[0].Title, "999 detached, 3 on hold, 1 failed")
	require.Contains(t, detached.Bars[0].Link, "/failures?from=")
	require.Contains(t, detached.Bars[1].Link, "/operations?from=")
}

func TestTimesUntilAccessWasGone(t *testing.T) {
	t.Parallel()
	stats := []tasks.Stats{
		{TargetSeconds: 900, Removed: []tasks.RemovedBucket{{AtMostSeconds: 10}, {AtMostSeconds: 60, Desktops: 3, SinceAccepted: 5},
			{AtMostSeconds: 3600}, {AtMostSeconds: 7200}}},
		{TargetSeconds: 900, Removed: []tasks.RemovedBucket{{AtMostSeconds: 10}, {AtMostSeconds: 60, Desktops: 1},
			{AtMostSeconds: 3600, Desktops: 2}, {AtMostSeconds: 7200}}},
	}
	rows, all := removedOf(stats)
	require.Equal(t, 6, all)
	require.Equal(t, []removedRow{{"up to 1 minute", 4, 100, 5, false, false}, {"up to 1 hour", 2, 50, 0, true, true}}, rows,
		"without what is empty on both sides, and with the target")
	require.Equal(t, within{Target: 15 * time.Minute, Percent: "66.6 %", Late: 2, All: 6}, withinOf(stats))
	stats = []tasks.Stats{{TargetSeconds: 900, Removed: []tasks.RemovedBucket{{AtMostSeconds: 900, Desktops: 9_999}, {Desktops: 1}}}}
	require.Equal(t, "99.9 %", withinOf(stats).Percent)
	stats[0].Removed[1].Desktops = 0
	require.Equal(t, within{Target: 15 * time.Minute, Percent: "100 %", All: 9_999, Good: true}, withinOf(stats))
	rows, _ = removedOf([]tasks.Stats{{TargetSeconds: 100_000, Removed: []tasks.RemovedBucket{{AtMostSeconds: 86400}, {Desktops: 1}}}})
	require.Equal(t, []removedRow{{"over 24 hours", 1, 100, 0, true, true}}, rows)
}

// The queue is counted in desktops, as the page says, and not in tasks of up to 100.
func TestWaitingIsCountedInDesktops(t *testing.T) {
	t.Parallel()
	late := todosOf([]tasks.Stats{{Project: "hq", OldestMS: 600_000, Workers: 1, Waiting: 7, Counts: tasks.Counts{Queued: 650, Sending: 50}}},
		1, meanings{}, noon, true)
	require.Len(t, late, 1)
	require.Equal(t, 650, late[0].N)
}

// What needs attention is complete, and the worst comes first.
func TestTodos(t *testing.T) {
	t.Parallel()
	m := meanings{codes: map[string]string{"X": "it is broken"}, classes: map[string]api.Class{}}
	require.Empty(t, todosOf([]tasks.Stats{{Project: "hq", OldestMS: 1000, Workers: 1, Counts: tasks.Counts{Queued: 5}}, {Project: "idle"}}, 1,
		m, noon, true))
	unserved := todosOf([]tasks.Stats{{Project: "gone", Counts: tasks.Counts{Queued: 5, Accepted: 2}}}, 1, m, noon, true)
	require.Len(t, unserved, 1)
	require.Equal(t, 7, unserved[0].N)
	require.Contains(t, unserved[0].What, "No worker serves project gone")
	var got, verbs []string
	for _, x := range todosOf([]tasks.Stats{
		{Project: "hq", OldestMS: 600_000, Waiting: 7, Failures: []tasks.FailureCount{
			{Project: "hq", Class: tasks.ClassHeld, Code: "OTHER_USER", Count: 9}, {Project: "hq", Class: "permanent", Code: "X", Count: 2}}},
		{Project: "branch", OldestMS: 600_000, Pause: &tasks.Pause{Kind: tasks.PauseAuth, Until: noon.Add(time.Minute)},
			Failures: []tasks.FailureCount{{Project: "branch", Class: "permanent", Code: "X", Count: 1}}},
		{Project: "labs", Pause: &tasks.Pause{Kind: tasks.PauseThrottled}},
	}, 0, m, noon, true) {
		got = append(got, x.Weight+" "+x.Label+" "+x.Code+x.What)
		for _, a := range x.Acts {
			verbs = append(verbs, a.Verb)
		}
	}
	require.Equal(t, []string{
		"bad no worker No worker is running, so nothing is processed.",
		"bad paused Project branch: the cloud refuses the credentials, for another 1 min",
		"bad failed X",
		"warn queued Project hq: desktops wait in the queue",
		"warn throttled Project labs: the cloud asked for fewer calls",
		"warn on hold OTHER_USER",
	}, got)
	require.Equal(t, []string{"Review", "Retry 3…", "Review", "Review", "Review", "Review 9"}, verbs)
}

// An operation's moments are in order, with future ones at the end.
func TestMoments(t *testing.T) {
	t.Parallel()
	op := tasks.Operation{Total: 2, AcceptedAt: noon, DueAt: noon.Add(-time.Hour), NotBefore: noon.Add(time.Minute),
		Deadline: noon.Add(24 * time.Hour), RequestedBy: "hr"}
	calls := []tasks.Call{{At: noon.Add(2 * time.Minute), Answered: true, Status: 409}, {At: noon.Add(3 * time.Minute)},
		{At: noon.Add(4 * time.Minute), Answered: true, Status: 200}}
	whats := func(now time.Time) (out []string) {
		for _, x := range momentsOf(op, calls, now) {
			out = append(out, x.What)
		}
		return out
	}
	require.Equal(t, []string{
		"remove access by", "accepted: 2 desktops", "starts", "first call to the cloud", "last of 3 calls, 1 refused, 1 without a response",
		"deadline: desktops not sent by then fail",
	}, whats(noon))
	op.EndedAt, op.Seal, op.Counts = noon.Add(5*time.Minute), "abc", tasks.Counts{Detached: 1, Failed: 1}
	require.Equal(t, []string{"finished: 1 desktop confirmed detached, 1 failed", "audit trail sealed: abc"}, whats(noon)[5:])
}

func TestOneCopyIsSaid(t *testing.T) {
	t.Parallel()
	require.Empty(t, oneCopyText([]tasks.Operation{{}, {Durability: tasks.OnReplica}}))
	require.Contains(t, oneCopyText([]tasks.Operation{{Durability: tasks.OnReplica}, {Durability: tasks.OneCopy}}),
		"No Redis replica confirmed it in time")
}
