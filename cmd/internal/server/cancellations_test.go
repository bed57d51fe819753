package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// No worker runs here: what was not sent is cancelled by the request itself.
func TestCancellationOverHTTP(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	enqueue := func(project, by string, desktops ...string) string {
		op, err := b.store.Producer.Enqueue(ctx, tasks.Request{Project: project, Desktops: desktops, RequestedBy: by})
		require.NoError(t, err)
		return op.ID
	}
	mine, theirs := enqueue("hq", "hr", "d1", "d2", "d3"), enqueue("branch", "hr", "d4")
	enqueue("hq", "it", "d5")
	b.step(mine, tasks.StateDetached)
	ann := b.client(access.Key{Name: "ann", Role: access.Operator})
	hq := b.client(access.Key{Name: "jo", Role: access.Operator, Projects: []string{"hq"}})
	req := api.CancellationRequest{Filter: tasks.CancellationFilter{RequestedBy: "hr", From: time.Now().Add(-time.Hour)}}
	sees := func(n int) (match tasks.CancellationMatch) { // those of this millisecond are not included
		require.Eventually(t, func() (is bool) {
			var err error
			match, err = ann.MatchCancellation(ctx, req)
			require.NoError(t, err)
			return match.Matched == n
		}, time.Minute, time.Millisecond)
		return match
	}
	match := sees(2)
	require.Equal(t, tasks.Counts{Queued: 3, Detached: 1}, match.Counts)
	list, _, err := ann.Cancellations(ctx, 0, "")
	require.NoError(t, err)
	require.Empty(t, list, "nothing was done")
	match, err = hq.MatchCancellation(ctx, req)
	require.NoError(t, err)
	require.Equal(t, 1, match.Matched, "not the other project's")

	_, err = hq.Cancellation(ctx, req)
	require.ErrorContains(t, err, "reason")
	req.Reason, req.AsOf, req.Matched, req.IdempotencyKey = "the wrong list", match.AsOf, 2, "k"
	_, err = hq.Cancellation(ctx, req)
	require.ErrorContains(t, err, "1 operations match")
	req.Matched = 1
	enqueue("hq", "hr", "d6")
	x, err := hq.Cancellation(ctx, req)
	require.NoError(t, err)
	require.True(t, x.Done())
	require.Equal(t, [4]int{1, 2, 1, 1}, [4]int{x.Matched, x.Cancelled, x.TooLate, x.AcceptedSince})
	require.Equal(t, "jo", x.RequestedBy)
	again, err := hq.Cancellation(ctx, req)
	require.NoError(t, err)
	require.Equal(t, x, again)
	late, _, err := hq.TooLate(ctx, x.ID, 0, "")
	require.NoError(t, err)
	require.Len(t, late, 1)
	require.Equal(t, [2]string{mine, "d1"}, [2]string{late[0].OperationID, late[0].ID})
	op, err := ann.Operation(ctx, theirs)
	require.NoError(t, err)
	require.Equal(t, 1, op.Counts.Queued)

	req.AsOf, req.Matched, req.IdempotencyKey = time.Time{}, 0, ""
	sees(3)
	all, err := ann.Cancellation(ctx, req)
	require.NoError(t, err)
	require.Equal(t, [3]int{3, 2, 1}, [3]int{all.Matched, all.Cancelled, all.TooLate})
	for _, ask := range []func() error{
		func() error { _, err := hq.CancellationByID(ctx, all.ID); return err },
		func() error { _, err := hq.AbortCancellation(ctx, all.ID); return err },
		func() error { _, _, err := hq.TooLate(ctx, all.ID, 0, ""); return err },
		func() error { _, err := ann.CancellationByID(ctx, "nowhere"); return err },
	} {
		var p *api.Problem
		require.ErrorAs(t, ask(), &p)
		require.Equal(t, "cancellation_not_found", p.Code)
	}
	list, _, err = hq.Cancellations(ctx, 0, "")
	require.NoError(t, err)
	require.Equal(t, []tasks.Cancellation{x}, list)
	progress, err := ann.CancellationByID(ctx, x.ID)
	require.NoError(t, err)
	require.Equal(t, tasks.CancellationProgress{Cancellation: x, Late: tasks.Counts{Detached: 1}}, progress)

	a := b.do(b.key[access.Operator], "POST", "/v1/cancellations", `{"filter":{"project":"hq"},"reason":"x"}`)
	require.Equal(t, 400, a.status)
	require.Equal(t, "/filter/from", a.problem(t).Errors[0].Pointer)
}

// What a cancellation of a key for all projects counts is not told to a key that is bound to those in
// which it matched something.
func TestACancellationCountsNothingElsewhereForABoundKey(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	enqueue := func(project string) {
		_, err := b.store.Producer.Enqueue(ctx, tasks.Request{Project: project, Desktops: []string{"d1"}, Ticket: "HR-1"})
		require.NoError(t, err)
	}
	enqueue("hq")
	x, err := b.store.Producer.Cancellation(ctx, tasks.CancellationRequest{
		Filter: tasks.CancellationFilter{Ticket: "HR-1"}, RequestedBy: "root", Reason: "x",
	})
	require.NoError(t, err)
	enqueue("branch")
	require.NoError(t, b.store.Producer.AdvanceCancellation(ctx, x.ID, time.Minute))
	for key, want := range map[*api.Client]int{
		b.client(access.Key{Name: "root", Role: access.Operator}): 1, b.client(access.Key{Name: "hq", Role: access.Operator, Projects: []string{"hq"}}): 0,
	} {
		one, err := key.CancellationByID(ctx, x.ID)
		require.NoError(t, err)
		require.Equal(t, want, one.AcceptedSince)
		all, _, err := key.Cancellations(ctx, 0, "")
		require.NoError(t, err)
		require.Equal(t, want, all[0].AcceptedSince)
		ended, err := key.AbortCancellation(ctx, x.ID)
		require.NoError(t, err)
		require.Equal(t, want, ended.AcceptedSince)
	}
}
