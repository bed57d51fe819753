package tasks

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEstimate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 18, 0, 0, 0, time.UTC)
	budget := Budget{CallsPerMinute: 100, ReadsPerMinute: 200, Workers: 1}
	op := Operation{ID: "m", Project: "hq", AcceptedAt: now, Counts: Counts{Queued: 90_000, Detached: 5}}
	backlog := []Backlog{
		{"a", "hq", false, now.Add(-time.Hour), 950}, {"b", "hq", false, now.Add(-time.Hour), 50}, // ten calls together
		{"c", "branch", false, now.Add(-time.Hour), 1},
		{"d", "hq", true, now.Add(time.Hour), 1}, // joins the calls of its project
		{"m", "hq", false, now, 90_000},
		{"z", "hq", false, now, 5000}, {"e", "hq", false, now.Add(time.Second), 5000}, // later
	}
	lines := LinesOf(backlog)
	with := func(change func(*Operation, *Budget)) Estimate {
		o, b := op, budget
		change(&o, &b)
		e := EstimateOf(o, now, b, lines["hq"], lines["branch"])
		require.NotNil(t, e)
		return *e
	}
	yearEnd := &Blackout{Name: "year-end", Until: time.Date(2026, 12, 31, 23, 0, 0, 0, time.UTC), Reason: "payroll closes"}
	for text, e := range map[string]struct {
		change func(*Operation, *Budget)
		want   Estimate
	}{
		"about 10 minutes at 100 calls a minute, after 12 of other operations":  {func(*Operation, *Budget) {}, Estimate{Seconds: 548, Calls: 900, Ahead: 12, PerMinute: 100}},
		"less than a minute at 100 calls a minute, after 1 of other operations": {func(o *Operation, _ *Budget) { o.Urgent, o.Counts.Queued, o.AcceptedAt = true, 1, now.Add(2*time.Hour) }, Estimate{Seconds: 2, Calls: 1, Ahead: 1, PerMinute: 100}},
		"about 19 minutes at 50 calls a minute, after 12 of other operations":   {func(_ *Operation, b *Budget) { b.ReadsPerMinute = 100 }, Estimate{Seconds: 1095, Calls: 900, Ahead: 12, PerMinute: 50}},
		"about 8 minutes at 120 calls a minute, after 12 of other operations":   {func(_ *Operation, b *Budget) { b.CallsPerMinute, b.ReadsPerMinute = 0, 240 }, Estimate{Seconds: 456, Calls: 900, Ahead: 12, PerMinute: 120}},
		"about 3 minutes at 1 call a minute, after 1 of other operations": {func(o *Operation, b *Budget) {
			o.Urgent, o.AcceptedAt, o.Counts.Queued, b.CallsPerMinute = true, now.Add(2*time.Hour), 150, 1
		}, Estimate{Seconds: 180, Calls: 2, Ahead: 1, PerMinute: 1}},
		"about 9 minutes at 100 calls a minute, from its start":                                                            {func(o *Operation, _ *Budget) { o.NotBefore = now.Add(time.Hour) }, Estimate{Seconds: 540, Calls: 900, Ahead: 0, PerMinute: 100, Why: EstimateScheduled}},
		"about 10 minutes at 100 calls a minute, after 12 of other operations, or longer: the cloud throttles the project": {func(_ *Operation, b *Budget) { b.Pause = &Pause{Kind: PauseThrottled} }, Estimate{Seconds: 548, Calls: 900, Ahead: 12, PerMinute: 100, Why: EstimateThrottled}},
		"no estimate: the project is paused":                                                                               {func(_ *Operation, b *Budget) { b.Pause = &Pause{Kind: PauseOperator} }, Estimate{Calls: 900, Ahead: 12, PerMinute: 100, Why: EstimatePaused}},
		"no estimate: blackout year-end until 2026-12-31 23:00 UTC (payroll closes)": {func(o *Operation, b *Budget) {
			b.Blackout, o.Deadline = yearEnd, yearEnd.Until.Add(time.Second)
		}, Estimate{Calls: 900, Ahead: 12, PerMinute: 100, Why: EstimateBlackout, Blackout: yearEnd}},
		"no estimate: blackout year-end until 2026-12-31 23:00 UTC (payroll closes); its deadline is not after that, so nothing will be sent": {
			func(o *Operation, b *Budget) { b.Blackout, o.Deadline = yearEnd, yearEnd.Until },
			Estimate{Calls: 900, Ahead: 12, PerMinute: 100, Why: EstimateBlackout, Blackout: yearEnd, Late: true}},
		"about 9 minutes at 100 calls a minute": {func(o *Operation, b *Budget) { b.Blackout, o.Urgent, o.AcceptedAt = yearEnd, true, now.Add(-time.Hour) },
			Estimate{Seconds: 540, Calls: 900, PerMinute: 100}},
		"about 10 minutes at 100 calls a minute, after 12 of other operations, once a worker runs": {func(_ *Operation, b *Budget) { b.Workers = 0 }, Estimate{Seconds: 548, Calls: 900, Ahead: 12, PerMinute: 100, Why: EstimateNoWorker}},
		"no estimate: no limit is configured":                                                      {func(_ *Operation, b *Budget) { b.CallsPerMinute, b.ReadsPerMinute = 0, 0 }, Estimate{Calls: 900, Ahead: 12, PerMinute: 0, Why: EstimateNoLimit}},
		"no estimate: waits for approval": {func(o *Operation, b *Budget) {
			o.Clearance, b.CallsPerMinute, b.ReadsPerMinute = &Clearance{State: ClearanceWaiting}, 0, 0
		}, Estimate{Calls: 900, Ahead: 12, PerMinute: 0, Why: EstimateApproval}},
	} {
		got := with(e.change)
		require.Equal(t, e.want, got, text)
		require.Equal(t, text, got.Text())
	}
	undo := with(func(o *Operation, _ *Budget) { o.UndoOf = "x"; o.Counts.Queued = 101 })
	require.Equal(t, 3, undo.Calls, "at most 50 a call")
	require.Nil(t, EstimateOf(Operation{Counts: Counts{Sending: 1, Accepted: 3, Failed: 1}}, now, budget), "all of it left")
}
