package record_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

var noCanary = tasks.Canary{}

// braked enqueues an operation with a brake.
func (b *bundle) braked(desktops int, c tasks.Canary, s tasks.StopLoss) record.Operation {
	b.t.Helper()
	op, err := b.r.Brake(b.t.Context(), b.enqueue(tasks.Request{Desktops: ids(desktops)}), c, s)
	require.NoError(b.t, err)
	return op
}

// shift takes n desktops of a chunk from a state to another one, with a code if they fail or
// are held.
func (b *bundle) shift(op record.Operation, chunk, n int, from, to tasks.State, code string) record.Applied {
	b.t.Helper()
	ch := b.moves(op, chunk, from, to, func(m *record.Move) {
		if to == tasks.StateFailed || to == tasks.StateHeld {
			m.Failure = &tasks.Failure{Code: code, Class: tasks.ClassPermanent, At: b.now}
		}
	})
	require.GreaterOrEqual(b.t, len(ch.Moves), n)
	ch.Moves = ch.Moves[:n]
	out, err := b.r.Apply(b.t.Context(), b.now, []record.Change{ch})
	require.NoError(b.t, err)
	return out[0]
}

// moved counts the moves that applied.
func moved(a record.Applied) (n int) {
	for _, d := range a.Desktops {
		if d.ID != "" {
			n++
		}
	}
	return n
}

// Only the first few may be in calls until as many are confirmed, whatever a worker sends.
func canary(t *testing.T, b *bundle) {
	op := b.braked(250, tasks.Canary{Desktops: 3, Above: 100}, tasks.NoStopLoss)
	require.Equal(t, 3, moved(b.shift(op, 0, 100, tasks.StateQueued, tasks.StateSending, "")), "100 at once")
	require.Zero(t, moved(b.shift(op, 1, 100, tasks.StateQueued, tasks.StateSending, "")))
	require.Zero(t, moved(b.shift(op, 2, 50, tasks.StateQueued, tasks.StateSending, "")))
	turn := func() record.Turn {
		turn, err := b.r.CanaryTurn(t.Context(), op)
		require.NoError(t, err)
		return turn
	}
	require.Zero(t, turn().Free)

	// One was not there after all: another one takes its turn. One goes back, and comes again.
	b.shift(op, 0, 1, tasks.StateSending, tasks.StateHeld, tasks.CodeNotFound)
	require.Equal(t, 1, turn().Free)
	b.shift(op, 0, 2, tasks.StateSending, tasks.StateQueued, "")
	may, others := turn().Pick(0, b.chunk(op, 0).Desktops[1:])
	require.Len(t, may, 3)
	require.Len(t, others, 96)
	require.Equal(t, 3, moved(b.shift(op, 0, 99, tasks.StateQueued, tasks.StateSending, "")))
	require.Zero(t, turn().Free)
	swept, err := b.r.Sweep(t.Context(), b.now, 0, 10, 0)
	require.NoError(t, err)
	require.Len(t, swept.Chunks, 1, "the others have no tasks")

	b.shift(op, 0, 3, tasks.StateSending, tasks.StateAccepted, "")
	swept, err = b.r.Sweep(t.Context(), b.now, 0, 10, 0)
	require.NoError(t, err)
	require.Empty(t, swept.Chunks, "it waits for readings")
	swept, err = b.r.Sweep(t.Context(), op.Deadline, 0, 10, 0)
	require.NoError(t, err)
	require.Len(t, swept.Chunks, 3, "at the deadline all fail")

	require.Equal(t, record.BrakeUnchanged, b.shift(op, 0, 2, tasks.StateAccepted, tasks.StateDetached, "").Brake)
	require.Zero(t, moved(b.shift(op, 1, 100, tasks.StateQueued, tasks.StateSending, "")))
	require.Equal(t, record.CanaryConfirmed, b.shift(op, 0, 1, tasks.StateAccepted, tasks.StateDetached, "").Brake)
	require.False(t, turn().Pending)
	require.Equal(t, 100, moved(b.shift(op, 1, 100, tasks.StateQueued, tasks.StateSending, "")))
	require.False(t, b.operation(op.ID).CanaryPending())
}

// One that was in a call, went back, and is recalled then, leaves its turn to another: it would never be
// confirmed, and the others would wait for it until the deadline.
func canaryRecalled(t *testing.T, b *bundle) {
	op := b.braked(150, tasks.Canary{Desktops: 3, Above: 100}, tasks.NoStopLoss)
	require.Equal(t, 3, moved(b.shift(op, 0, 100, tasks.StateQueued, tasks.StateSending, "")))
	b.shift(op, 0, 1, tasks.StateSending, tasks.StateQueued, "")
	b.shift(op, 0, 1, tasks.StateQueued, tasks.StateCancelled, "")
	turn, err := b.r.CanaryTurn(t.Context(), op)
	require.NoError(t, err)
	require.Equal(t, 1, turn.Free)
	swept, err := b.r.Sweep(t.Context(), b.now, 0, 10, 0)
	require.NoError(t, err)
	require.Len(t, swept.Chunks, 1)
	require.Equal(t, 1, moved(b.shift(op, 0, 97, tasks.StateQueued, tasks.StateSending, "")))
	b.shift(op, 0, 3, tasks.StateSending, tasks.StateAccepted, "")
	require.Equal(t, record.CanaryConfirmed, b.shift(op, 0, 3, tasks.StateAccepted, tasks.StateDetached, "").Brake)
}

// One that was in a call and fails stops the operation until a person lets the rest go.
func canaryFails(t *testing.T, b *bundle) {
	op := b.braked(150, tasks.Canary{Desktops: 3}, tasks.NoStopLoss)
	b.shift(op, 0, 1, tasks.StateQueued, tasks.StateHeld, "OTHER_USER")
	require.Empty(t, b.operation(op.ID).Stopped(), "it was in no call")
	b.shift(op, 0, 3, tasks.StateQueued, tasks.StateSending, "")
	require.Equal(t, record.BrakeStopped, b.shift(op, 0, 1, tasks.StateSending, tasks.StateFailed, "WKS.1").Brake)
	b.shift(op, 0, 1, tasks.StateSending, tasks.StateQueued, "")
	a := b.shift(op, 0, 97, tasks.StateQueued, tasks.StateSending, "")
	require.Zero(t, moved(a), "also not the others of the canary")
	require.Equal(t, record.BrakeStopped, a.Brake)
	op = b.operation(op.ID)
	require.Equal(t, tasks.WhyCanary, op.Stopped())
	codes, err := b.r.StopCodes(t.Context(), op)
	require.NoError(t, err)
	require.Equal(t, []tasks.CodeCount{{Code: "WKS.1", Count: 1}}, codes)

	_, err = b.r.AskApproval(t.Context(), op, tasks.Clearance{Why: op.Stopped(), ExpiresAt: b.now.Add(time.Hour)})
	require.NoError(t, err)
	n, err := b.p.Retry(t.Context(), b.operation(op.ID), tasks.RetryFilter{}, "bob")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	op = b.operation(op.ID)
	require.True(t, op.AwaitsApproval(), "a retry releases nothing")
	require.Equal(t, tasks.WhyCanary, op.Stopped())

	op, err = b.p.Approve(t.Context(), op, tasks.Approval{By: "ann", Reason: "known"})
	require.NoError(t, err)
	require.Equal(t, 98, moved(b.shift(op, 0, 98, tasks.StateQueued, tasks.StateSending, "")))
}

// The eleventh of 100 stops it at 10 %, of those that were tried; a person lets it go on, and
// the count begins anew.
func stopLoss(t *testing.T, b *bundle) {
	op := b.braked(1000, noCanary, tasks.StopLoss{Desktops: 50, Percent: 10, Above: 999})
	b.shift(op, 9, 100, tasks.StateQueued, tasks.StateHeld, tasks.CodeNotFound)
	b.shift(op, 8, 60, tasks.StateQueued, tasks.StateDetached, "") // it was so already
	b.shift(op, 8, 40, tasks.StateQueued, tasks.StateSending, "")
	b.shift(op, 8, 40, tasks.StateSending, tasks.StateQueued, "")
	b.shift(op, 0, 100, tasks.StateQueued, tasks.StateSending, "")
	require.Equal(t, record.BrakeUnchanged, b.shift(op, 0, 10, tasks.StateSending, tasks.StateFailed, "WKS.1").Brake)
	require.Equal(t, record.BrakeUnchanged, b.shift(op, 1, 100, tasks.StateQueued, tasks.StateSending, "").Brake)
	require.Equal(t, record.BrakeUnchanged, b.shift(op, 1, 10, tasks.StateSending, tasks.StateFailed, "WKS.2").Brake)
	b.now = b.now.Add(time.Second)
	require.Equal(t, record.BrakeStopped, b.shift(op, 2, 1, tasks.StateQueued, tasks.StateHeld, "OTHER_USER").Brake)
	require.Zero(t, moved(b.shift(op, 3, 100, tasks.StateQueued, tasks.StateSending, "")))
	require.Zero(t, moved(b.shift(op, 2, 9, tasks.StateQueued, tasks.StateSending, "")))

	op = b.operation(op.ID)
	codes, err := b.r.StopCodes(t.Context(), op)
	require.NoError(t, err)
	require.Equal(t, []tasks.CodeCount{{Code: "WKS.1", Count: 10}, {Code: "WKS.2", Count: 10}, {Code: "OTHER_USER", Count: 1}}, codes)
	_, err = b.r.AskApproval(t.Context(), op, tasks.Clearance{Why: op.Stopped(), ExpiresAt: b.now.Add(time.Hour)})
	require.NoError(t, err)
	b.now = b.now.Add(time.Second)
	op, err = b.p.Approve(t.Context(), b.operation(op.ID), tasks.Approval{By: "ann", Reason: "known"})
	require.NoError(t, err)
	require.Equal(t, 100, moved(b.shift(op, 3, 100, tasks.StateQueued, tasks.StateSending, "")))
	require.Equal(t, record.BrakeUnchanged, b.shift(op, 3, 10, tasks.StateSending, tasks.StateFailed, "WKS.3").Brake)
	require.Equal(t, record.BrakeStopped, b.shift(op, 3, 1, tasks.StateSending, tasks.StateFailed, "WKS.3").Brake)
	codes, err = b.r.StopCodes(t.Context(), b.operation(op.ID))
	require.NoError(t, err)
	require.Equal(t, []tasks.CodeCount{{Code: "WKS.3", Count: 11}}, codes)
}

// What failed before the approval by the worker's clock, and was written after it, stops the operation
// and is shown.
func stopLossOfLateWrites(t *testing.T, b *bundle) {
	op := b.braked(150, noCanary, tasks.StopLoss{Desktops: 0, Percent: 100})
	b.shift(op, 0, 2, tasks.StateQueued, tasks.StateHeld, "OTHER_USER")
	op = b.operation(op.ID)
	require.Equal(t, tasks.WhyStopLoss, op.Stopped())
	_, err := b.r.AskApproval(t.Context(), op, tasks.Clearance{Why: op.Stopped(), ExpiresAt: b.now.Add(time.Hour)})
	require.NoError(t, err)
	read, approved := b.now.Add(time.Second), b.now.Add(2*time.Second)
	b.now = approved
	op, err = b.p.Approve(t.Context(), b.operation(op.ID), tasks.Approval{By: "ann", Reason: "known"})
	require.NoError(t, err)
	codes := func() []tasks.CodeCount {
		codes, err := b.r.StopCodes(t.Context(), b.operation(op.ID))
		require.NoError(t, err)
		return codes
	}
	require.Empty(t, codes())
	b.now = read
	require.Equal(t, record.BrakeStopped, b.shift(op, 1, 1, tasks.StateQueued, tasks.StateHeld, "SHARED").Brake)
	require.Equal(t, []tasks.CodeCount{{Code: "SHARED", Count: 1}}, codes())
	b.now = approved
	b.shift(op, 1, 1, tasks.StateQueued, tasks.StateHeld, "PROTECTED")
	require.Equal(t, []tasks.CodeCount{{Code: "PROTECTED", Count: 1}, {Code: "SHARED", Count: 1}}, codes())
}

// More than the number stop it, whatever their share; those that are retried do not count, and
// a finished operation begins anew.
func stopLossByNumber(t *testing.T, b *bundle) {
	limit := tasks.StopLoss{Desktops: 20, Percent: 100}
	op := b.braked(200, noCanary, limit)
	b.shift(op, 0, 100, tasks.StateQueued, tasks.StateSending, "")
	require.Equal(t, record.BrakeUnchanged, b.shift(op, 0, 20, tasks.StateSending, tasks.StateFailed, "WKS.1").Brake)
	_, err := b.p.Retry(t.Context(), b.operation(op.ID), tasks.RetryFilter{}, "bob")
	require.NoError(t, err)
	require.Equal(t, record.BrakeUnchanged, b.shift(op, 0, 20, tasks.StateSending, tasks.StateFailed, "WKS.1").Brake)
	require.Equal(t, record.BrakeStopped, b.shift(op, 0, 1, tasks.StateSending, tasks.StateFailed, "WKS.1").Brake)

	b.shift(op, 0, 59, tasks.StateSending, tasks.StateDetached, "")
	b.shift(op, 0, 20, tasks.StateQueued, tasks.StateCancelled, "")
	b.shift(op, 1, 100, tasks.StateQueued, tasks.StateCancelled, "")
	_, err = b.p.Retry(t.Context(), b.operation(op.ID), tasks.RetryFilter{}, "bob")
	require.NoError(t, err)
	require.Empty(t, b.operation(op.ID).Stopped())

	// After the deadline all that is left fails, and nobody is asked.
	op = b.braked(200, noCanary, limit)
	b.now = op.Deadline
	require.Equal(t, record.BrakeUnchanged, b.shift(op, 0, 100, tasks.StateQueued, tasks.StateFailed, tasks.CodeDeadline).Brake)
}

// Zero is none of the canary, and the first one of the stop-loss; small operations have neither.
func brakeOfZero(t *testing.T, b *bundle) {
	op := b.braked(100, tasks.DefaultCanary, tasks.DefaultStopLoss)
	b.shift(op, 0, 100, tasks.StateQueued, tasks.StateSending, "")
	require.Equal(t, record.BrakeUnchanged, b.shift(op, 0, 100, tasks.StateSending, tasks.StateFailed, "WKS.1").Brake)
	for _, s := range []tasks.StopLoss{{Percent: 100}, {Desktops: tasks.MaxDesktops}} {
		op := b.braked(3, tasks.Canary{}, s)
		require.Equal(t, 3, moved(b.shift(op, 0, 3, tasks.StateQueued, tasks.StateSending, "")))
		require.Equal(t, record.BrakeStopped, b.shift(op, 0, 1, tasks.StateSending, tasks.StateFailed, "WKS.1").Brake)
	}
	op = b.braked(3, tasks.Canary{Desktops: 5}, tasks.NoStopLoss)
	require.Equal(t, 3, moved(b.shift(op, 0, 3, tasks.StateQueued, tasks.StateSending, "")), "there are no others to wait")
}
