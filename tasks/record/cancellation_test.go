package record_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

func (b *bundle) cancellation(q tasks.CancellationRequest) record.Cancellation {
	b.t.Helper()
	b.now = b.now.Add(time.Millisecond) // what is accepted in the millisecond of the call is not included
	if q.Reason == "" {
		q.Reason = "the wrong list"
	}
	x, err := b.p.Cancellation(b.t.Context(), q)
	require.NoError(b.t, err)
	return x
}

func (b *bundle) recall() int {
	b.t.Helper()
	n, err := b.p.AdvanceCancellations(b.t.Context(), time.Minute)
	require.NoError(b.t, err)
	return n
}

func (b *bundle) readCancellation(id string) record.Cancellation {
	b.t.Helper()
	x, err := b.r.Cancellation(b.t.Context(), id)
	require.NoError(b.t, err)
	return x
}

// late lists what a cancellation was too late for.
func (b *bundle) late(x record.Cancellation, size int) (out []string) {
	b.t.Helper()
	for token := ""; ; {
		rows, next, err := b.r.TooLate(b.t.Context(), x, size, token)
		require.NoError(b.t, err)
		require.LessOrEqual(b.t, len(rows), size)
		for _, d := range rows {
			out = append(out, d.ID+" "+d.State.String())
		}
		if token = next; token == "" {
			return out
		}
	}
}

// It stops what was not sent of every matching operation, whatever the operation waits for, and
// says what was too late.
func cancellationStops(t *testing.T, b *bundle) {
	ctx := t.Context()
	hour := tasks.CancellationFilter{RequestedBy: "hr", From: b.now.Add(time.Second)}
	old := b.enqueue(tasks.Request{Desktops: ids(1), RequestedBy: "hr"})
	b.now = b.now.Add(time.Second)
	running := b.enqueue(tasks.Request{Desktops: ids(150), RequestedBy: "hr", Ticket: "T-1"})
	scheduled := b.enqueue(tasks.Request{Project: "branch", Desktops: ids(3), RequestedBy: "hr", NotBefore: b.now.Add(time.Hour)})
	waiting := b.enqueue(tasks.Request{Desktops: ids(2), RequestedBy: "hr"})
	asked, err := b.r.AskApproval(ctx, waiting, tasks.Clearance{Desktops: 2, AskedAt: b.now, ExpiresAt: b.now.Add(time.Hour)})
	require.NoError(t, err)
	require.True(t, asked)
	other := b.enqueue(tasks.Request{Desktops: ids(2), RequestedBy: "it"})
	held := b.failed("hq", tasks.StateHeld, "OTHER_USER", "h")
	b.move(running, 0, tasks.StateAccepted, b.chunk(running, 0).Desktops[2:4]...)
	rows := b.chunk(running, 1).Desktops
	b.move(running, 1, tasks.StateAccepted, rows[7:9]...)
	b.step(running, 1, tasks.StateAccepted, tasks.StateDetached)
	b.move(running, 1, tasks.StateFailed, rows[10])

	b.now = b.now.Add(time.Millisecond)
	match, err := b.p.MatchCancellation(ctx, tasks.CancellationRequest{Filter: hour})
	require.NoError(t, err)
	require.Equal(t, 3, match.Matched)
	require.Equal(t, tasks.Counts{Queued: 150, Accepted: 2, Detached: 2, Failed: 1}, match.Counts)
	require.Equal(t, []tasks.CancellationCount{
		{Project: "hq", RequestedBy: "hr", Operations: 2, Desktops: 152}, {Project: "branch", RequestedBy: "hr", Operations: 1, Desktops: 3},
	}, match.By)
	all, _, err := b.r.Cancellations(ctx, 10, "")
	require.NoError(t, err)
	require.Empty(t, all, "nothing was written")

	b.now = b.now.Add(time.Second)
	later := b.enqueue(tasks.Request{Desktops: ids(1), RequestedBy: "hr"})
	q := tasks.CancellationRequest{Filter: hour, AsOf: match.AsOf, Matched: 3, RequestedBy: "ann", Reason: "the wrong list"}
	x := b.cancellation(q)
	require.Equal(t, [2]int{3, 0}, [2]int{x.Matched, x.Processed})
	require.Equal(t, []string{"branch", "hq"}, x.Projects)
	require.Equal(t, 150, b.recall())
	require.Zero(t, b.recall())
	x = b.readCancellation(x.ID)
	require.True(t, x.Done())
	require.Equal(t, [4]int{3, 150, 4, 1}, [4]int{x.Processed, x.Cancelled, x.TooLate, x.AcceptedSince})
	require.Equal(t, "XXX", b.states(scheduled))
	require.Equal(t, "XX", b.states(waiting))
	require.True(t, b.operation(waiting.ID).Done())
	require.Equal(t, "Q QQ H Q", strings.Join([]string{b.states(old), b.states(other), b.states(held), b.states(later)}, " "),
		"accepted before, of another source, accepted later")
	require.Equal(t, "XXAAX", b.states(running)[:5])
	require.Equal(t, "XDDXF", b.states(running)[106:111])
	want := []string{"d-000002 accepted", "d-000003 accepted", "d-000107 detached", "d-000108 detached"}
	require.Equal(t, want, b.late(x, 100))
	require.Equal(t, want, b.late(x, 1))
	require.Equal(t, want, b.late(x, 3))
	b.step(running, 0, tasks.StateAccepted, tasks.StateDetached)
	progress, err := b.r.CancellationProgress(ctx, x)
	require.NoError(t, err)
	require.Equal(t, tasks.Counts{Detached: 4}, progress.Late)
	evidence, err := b.r.Evidence(ctx, scheduled, 0, 1)
	require.NoError(t, err)
	last := evidence[0].Trail[len(evidence[0].Trail)-1]
	require.Equal(t, "ann by cancellation "+x.ID, last.By, "the trail has the lineage")

	x = b.cancellation(tasks.CancellationRequest{Filter: tasks.CancellationFilter{Project: "hq", From: b.now.Add(-time.Hour)}})
	require.Equal(t, 5, b.recall())
	require.Equal(t, "X", b.states(held), "also on hold, in a finished operation")
	require.True(t, b.operation(held.ID).Sealed())
	x = b.readCancellation(x.ID)
	require.Equal(t, [3]int{6, 5, 4}, [3]int{x.Matched, x.Cancelled, x.TooLate}, "what was cancelled before does not count")

	all, next, err := b.r.Cancellations(ctx, 1, "")
	require.NoError(t, err)
	require.NotEmpty(t, next)
	require.Equal(t, x.ID, all[0].ID)
	n, err := b.r.CountCancellations(ctx)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	ttl, err := b.rdb.PTTL(ctx, b.prefix+":{cn:"+x.ID+"}").Result()
	require.NoError(t, err)
	require.Positive(t, ttl, "it is forgotten in the end")
}

// What is in a call is waited for: it is too late, or comes back and is cancelled.
func cancellationWaitsForCalls(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(5), Ticket: "T-1"})
	b.move(op, 0, tasks.StateSending, b.chunk(op, 0).Desktops[:2]...)
	x := b.cancellation(tasks.CancellationRequest{Filter: tasks.CancellationFilter{Ticket: "T-1"}})
	require.Equal(t, 3, b.recall())
	require.Zero(t, b.recall(), "its calls have not come back")
	x = b.readCancellation(x.ID)
	require.False(t, x.Done())
	require.Equal(t, [3]int{0, 3, 0}, [3]int{x.Processed, x.Cancelled, x.TooLate})
	rows := b.chunk(op, 0).Desktops
	b.move(op, 0, tasks.StateQueued, rows[0])
	b.move(op, 0, tasks.StateAccepted, rows[1])
	require.Equal(t, 1, b.recall())
	b.recall()
	require.Equal(t, "XAXXX", b.states(op))
	x = b.readCancellation(x.ID)
	require.True(t, x.Done())
	require.Equal(t, [3]int{1, 4, 1}, [3]int{x.Processed, x.Cancelled, x.TooLate})
}

// A worker that dies after it cancelled, and before it noted that, leaves nothing uncounted.
func cancellationCrash(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(150), Ticket: "T-1"})
	b.move(op, 0, tasks.StateAccepted, b.chunk(op, 0).Desktops[0])
	x := b.cancellation(tasks.CancellationRequest{Filter: tasks.CancellationFilter{Ticket: "T-1"}})
	hook := &onRedriveNote{err: errors.New("killed")}
	b.rdb.AddHook(hook)
	_, err := b.p.AdvanceCancellations(t.Context(), time.Minute)
	require.ErrorIs(t, err, hook.err)
	require.Equal(t, 149, strings.Count(b.states(op), "X"))
	require.Zero(t, b.readCancellation(x.ID).Cancelled)
	hook.err = nil
	b.recall()
	x = b.readCancellation(x.ID)
	require.True(t, x.Done())
	require.Equal(t, [3]int{1, 149, 1}, [3]int{x.Processed, x.Cancelled, x.TooLate})
}

func cancellationAbort(t *testing.T, b *bundle) {
	var ops []record.Operation
	for range 60 {
		ops = append(ops, b.enqueue(tasks.Request{Desktops: ids(1), Ticket: "T-1"}))
	}
	x := b.cancellation(tasks.CancellationRequest{Filter: tasks.CancellationFilter{Ticket: "T-1"}})
	b.rdb.AddHook(&onRedriveNote{do: func() {
		_, err := b.r.AbortCancellation(t.Context(), x.ID, b.now, "jo")
		require.NoError(t, err)
	}})
	require.Equal(t, 50, b.recall())
	x = b.readCancellation(x.ID)
	require.Equal(t, [3]int{60, 50, 50}, [3]int{x.Matched, x.Processed, x.Cancelled})
	require.Equal(t, "jo", x.AbortedBy)
	require.Equal(t, tasks.RedriveAborted, x.State())
	again, err := b.r.AbortCancellation(t.Context(), x.ID, b.now.Add(time.Hour), "ann")
	require.NoError(t, err)
	require.Equal(t, x, again, "what has ended stays as it is")
	require.Zero(t, b.recall())
	left := 0
	for _, op := range ops {
		left += strings.Count(b.states(op), "Q")
	}
	require.Equal(t, 10, left)
}

func cancellationRefuses(t *testing.T, b *bundle) {
	b.enqueue(tasks.Request{Desktops: ids(1), Ticket: "T-1"})
	b.now = b.now.Add(time.Millisecond)
	ticket := tasks.CancellationFilter{Ticket: "T-1"}
	for field, q := range map[string]tasks.CancellationRequest{
		"reason":              {Filter: ticket, Reason: " "},
		"matched":             {Filter: ticket, Reason: "r", Matched: 2},
		"filter":              {Reason: "r", Filter: tasks.CancellationFilter{From: b.now}},
		"filter.from":         {Reason: "r", Filter: tasks.CancellationFilter{Project: "hq"}},
		"filter.to":           {Reason: "r", Filter: tasks.CancellationFilter{Project: "hq", From: b.now, To: b.now}},
		"filter.ticket":       {Reason: "r", Filter: tasks.CancellationFilter{Ticket: strings.Repeat("x", 256)}},
		"filter.requested_by": {Reason: "r", Filter: tasks.CancellationFilter{Ticket: "T-1", RequestedBy: strings.Repeat("x", 256)}},
	} {
		var invalid *tasks.ValidationError
		_, err := b.p.Cancellation(t.Context(), q)
		require.ErrorAs(t, err, &invalid, field)
		require.Equal(t, field, invalid.Problems[0].Field)
	}
	require.Zero(t, b.recall())

	q := tasks.CancellationRequest{Filter: ticket, RequestedBy: "ann", IdempotencyKey: "k", Matched: 1}
	x := b.cancellation(q)
	require.False(t, x.Replayed)
	b.recall()
	b.enqueue(tasks.Request{Desktops: ids(1), Ticket: "T-1"})
	again := b.cancellation(q)
	require.True(t, again.Replayed, "also when another number matches")
	require.Equal(t, x.ID, again.ID)
	require.Equal(t, 1, again.Cancelled)
	q.Matched = 2
	q.Reason = "r"
	_, err := b.p.Cancellation(t.Context(), q)
	require.ErrorIs(t, err, tasks.ErrKeyReused)
	_, err = b.r.Cancellation(t.Context(), "nowhere")
	require.ErrorIs(t, err, tasks.ErrNoCancellation)
	_, err = b.r.AbortCancellation(t.Context(), "nowhere", b.now, "jo")
	require.ErrorIs(t, err, tasks.ErrNoCancellation)

	bound := b.cancellation(tasks.CancellationRequest{Filter: ticket, Projects: []string{"branch"}})
	require.Zero(t, bound.Matched)
	require.Equal(t, []string{"branch"}, bound.Scope)
	require.Zero(t, b.recall())
	require.Zero(t, b.readCancellation(bound.ID).AcceptedSince, "it does not look into other projects")
}
