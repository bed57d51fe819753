package record_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// Each kind of loss is found, repaired and counted by its name, also on a Cluster.
func TestRepairKinds(t *testing.T) {
	t.Parallel()
	node, cluster := redistest.Start(t), redistest.StartCluster(t)
	for name, rdb := range map[string]redis.UniversalClient{
		"redis": node.Client(t), "cluster": cluster.ClusterClient(t), "miniredis": redistest.Mini(t),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repairKinds(t, newBundle(t, rdb))
		})
	}
}

func repairKinds(t *testing.T, b *bundle) {
	ctx := t.Context()
	key := func(name string) string { return b.prefix + ":" + name }
	op := b.enqueue(tasks.Request{Desktops: ids(130), Expect: map[string][]string{"d-000003": {"Zoe"}}, RequestedBy: "hr", Ticket: "T"})
	later := b.enqueue(tasks.Request{Desktops: []string{"later"}, NotBefore: b.now.Add(time.Hour)})
	failed := b.fail(b.enqueue(tasks.Request{Desktops: []string{"failed"}}))
	x, err := b.p.Redrive(ctx, tasks.RedriveRequest{Desktops: []tasks.DesktopRef{{OperationID: failed.ID, DesktopID: "failed"}}})
	require.NoError(t, err)
	_, err = b.p.Cancellation(ctx, tasks.CancellationRequest{Filter: tasks.CancellationFilter{Ticket: "none"}, Reason: "r"})
	require.NoError(t, err)
	b.round()
	require.Empty(t, b.round(), "nothing was lost")
	for _, lost := range []struct {
		kind record.RepairKind
		n    int
		lose func()
	}{
		{record.RepairedOpen, 2, func() { b.rdb.Del(ctx, key("open")) }},
		{record.RepairedEnded, 1, func() { b.rdb.Del(ctx, key("ended")) }},
		{record.RepairedEnded, 1, func() { b.rdb.ZAdd(ctx, key("ended"), redisZ(1, op.ID)) }},
		{record.RepairedScheduled, 2, func() { b.rdb.Del(ctx, key("scheduled")); b.rdb.Del(ctx, key("scheduled:hq")) }},
		{record.RepairedScheduled, 1, func() { b.rdb.ZAdd(ctx, key("scheduled"), redisZ(-1, failed.ID)) }},
		{record.RepairedList, 3 + 3 + 1 + 1, func() {
			for _, k := range b.keys() {
				if k == key("ops") || strings.HasPrefix(k, key("ops:")) {
					b.rdb.Del(ctx, k)
				}
			}
		}},
		{record.RepairedIndex, 130 + 1 + 1 + 1, func() {
			for _, k := range b.keys() {
				if strings.HasPrefix(k, key("desktops:")) || strings.HasPrefix(k, key("named:")) {
					b.rdb.Del(ctx, k)
				}
			}
		}},
		{record.RepairedFailures, 1, func() { b.rdb.Del(ctx, key("failures")) }},
		{record.RepairedRedrive, 2, func() { b.rdb.Del(ctx, key("redrives")); b.rdb.Del(ctx, key("redrives:open")) }},
		{record.RepairedCancel, 2, func() { b.rdb.Del(ctx, key("cancellations")); b.rdb.Del(ctx, key("cancellations:open")) }},
		{record.RepairedCounts, 1, func() { b.rdb.HSet(ctx, key("{"+op.ID+"}:op"), "nQ", 7, "nD", 3) }},
		{record.RepairedCounts, 1, func() { b.rdb.HSet(ctx, key("{"+op.ID+"}:open"), "1", 31, "9", 4) }},
		{record.RepairedCounts, 1, func() { b.rdb.HSet(ctx, key("{"+op.ID+"}:op"), "ended", 5) }},
		{record.RepairedCounts, 1, func() { b.rdb.HDel(ctx, key("{"+failed.ID+"}:op"), "ended") }},
		{record.RepairedAbandoned, 1, func() { b.rdb.HSet(ctx, key("{stub}:op"), "sealing", "x") }},
		{record.RepairedOrphan, 2, func() { b.rdb.ZAdd(ctx, key("ops"), redisZ(1, "gone"), redisZ(2, "gone2")) }},
		{record.RepairedOrphan, 1, func() { b.rdb.ZAdd(ctx, key("{p:hq}:follow"), redisZ(1e15, "gone:0")) }},
		{record.RepairedOrphan, 1, func() {
			b.rdb.SAdd(ctx, key("failures"), "hq|permanent|x")
			b.rdb.ZAdd(ctx, key("{p:hq}:failures:permanent|x"), redisZ(1, "gone/d"))
		}},
	} {
		before, err := b.r.RepairReport(ctx)
		require.NoError(t, err)
		lost.lose()
		b.rdb.HDel(ctx, key("repair"), "safe") // as if all of it had been written in the last hour
		require.Equal(t, record.Repairs{lost.kind: lost.n}, b.round())
		require.Empty(t, b.round())
		after, err := b.r.RepairReport(ctx)
		require.NoError(t, err)
		require.Equal(t, before.Repaired[lost.kind]+lost.n, after.Repaired[lost.kind], "it is kept")
		require.True(t, after.RepairedAt.Equal(b.now) && after.EndedAt.Equal(b.now))
		b.rdb.ZRem(ctx, key("open"), "stub")
		b.rdb.Del(ctx, key("{stub}:op"))
	}
	require.Equal(t, tasks.Counts{Queued: 130}, b.operation(op.ID).Counts)
	require.True(t, b.operation(failed.ID).Done())
	require.Equal(t, tasks.OperationScheduled, b.operation(later.ID).State(b.now))
	redrives, _, err := b.r.Redrives(ctx, 10, "")
	require.NoError(t, err)
	require.Len(t, redrives, 1)
	require.Equal(t, x.ID, redrives[0].ID)
	events, _, err := b.r.Search(ctx, "zoe", 10, "")
	require.NoError(t, err)
	require.Len(t, events, 1)
}

// What cannot be read is named, and is no longer once its keys are removed.
func TestRepairNamesWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Start(t).Client(t))
	damaged := b.enqueue(tasks.Request{Desktops: []string{"a"}})
	rows := b.enqueue(tasks.Request{Desktops: ids(130)})
	whole := b.enqueue(tasks.Request{Desktops: []string{"c"}})
	b.round()
	key := func(op record.Operation, name string) string { return b.prefix + ":{" + op.ID + "}:" + name }
	require.NoError(t, b.rdb.HSet(t.Context(), key(damaged, "op"), "meta", "damaged").Err())
	for _, chunk := range []string{"c:0", "c:1"} {
		require.NoError(t, b.rdb.Del(t.Context(), key(rows, chunk)).Err())
		require.NoError(t, b.rdb.Set(t.Context(), key(rows, chunk), "damaged", 0).Err())
	}
	b.rdb.HDel(t.Context(), b.prefix+":repair", "safe")
	b.round()
	report, err := b.r.RepairReport(t.Context())
	require.NoError(t, err)
	require.ElementsMatch(t, []string{damaged.ID, rows.ID}, report.UnreadableIn)
	require.NotContains(t, report.UnreadableIn, whole.ID)
	require.GreaterOrEqual(t, report.Unreadable, 2)

	for _, k := range b.keys() {
		if strings.Contains(k, "{"+damaged.ID+"}") || strings.Contains(k, "{"+rows.ID+"}") {
			require.NoError(t, b.rdb.Unlink(t.Context(), k).Err())
		}
	}
	b.now = b.now.Add(2 * time.Hour) // nobody may be about to accept them
	for range 2 {
		b.rdb.HDel(t.Context(), b.prefix+":repair", "safe")
		b.round()
	}
	report, err = b.r.RepairReport(t.Context())
	require.NoError(t, err)
	require.Zero(t, report.Unreadable)
	require.Empty(t, report.UnreadableIn)
	require.Zero(t, report.Orphans, "what led to them was dropped")
}

// What a producer may be about to accept stays as it is.
func TestRepairWaitsForProducers(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Start(t).Client(t))
	stop := &cutOff{after: 5}
	b.rdb.AddHook(stop)
	_, err := b.p.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: ids(250), Expect: map[string][]string{"d-000001": {"Zoe"}}, NotBefore: b.now.Add(time.Hour)})
	require.Error(t, err)
	stop.after = -1
	young := float64(b.now.UnixMilli())
	require.NoError(t, b.rdb.ZAdd(t.Context(), b.prefix+":ops", redisZ(young, "elsewhere")).Err())
	require.NoError(t, b.rdb.ZAdd(t.Context(), b.prefix+":ended", redisZ(young, "elsewhere")).Err())
	require.NoError(t, b.rdb.ZAdd(t.Context(), b.prefix+":open", redisZ(young, "begun")).Err())
	require.NoError(t, b.rdb.ZAdd(t.Context(), b.prefix+":scheduled", redisZ(-1e15, "begun")).Err())
	before := b.dump()
	require.Empty(t, b.round())
	require.Equal(t, before, b.dump())
	report, err := b.r.RepairReport(t.Context())
	require.NoError(t, err)
	require.GreaterOrEqual(t, report.Orphans, 2, "they are counted, and wait")
	b.now = b.now.Add(time.Hour)
	b.settle(t)
	require.Equal(t, []string{b.prefix + ":repair"}, b.ofOperations(), "nobody has accepted it")
}

// A step is a few round trips, however much there is, and after an error the same
// cursor goes on.
func TestRepairStepIsBounded(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Start(t).Client(t))
	for n := range 600 {
		op := b.enqueue(tasks.Request{Desktops: []string{fmt.Sprint("d-", n)}, Ticket: fmt.Sprint("T-", n)})
		b.rdb.ZRem(t.Context(), b.prefix+":open", op.ID)
	}
	b.enqueue(tasks.Request{Desktops: ids(20_000)})
	b.round() // loads the scripts
	for _, key := range []string{"open", "ops"} {
		require.NoError(t, b.rdb.Del(t.Context(), b.prefix+":"+key).Err())
	}
	b.rdb.HDel(t.Context(), b.prefix+":repair", "safe")
	all, cuts := record.Repairs{}, 0
	stop := &cutOff{after: -1}
	b.rdb.AddHook(stop)
	var cursor record.RepairCursor
	for steps, ended := 0, false; !ended; steps++ {
		require.Less(t, steps, 3000)
		if stop.after = -1; steps%3 == 0 {
			stop.after = 2
		}
		var some record.Repairs
		var next record.RepairCursor
		var err error
		trips := b.trips(func() { next, some, ended, err = b.r.RepairStep(t.Context(), b.now, cursor) })
		require.LessOrEqual(t, trips, 24)
		if err != nil {
			cuts++
			continue
		}
		cursor = next
		for kind, n := range some {
			all[kind] += n
		}
	}
	stop.after = -1 // the last step may have left some
	require.Positive(t, cuts)
	require.Equal(t, 601, int(b.rdb.ZCard(t.Context(), b.prefix+":open").Val()))
	require.Equal(t, 601, int(b.rdb.ZCard(t.Context(), b.prefix+":ops").Val()))
	require.Empty(t, b.round())
}

// What continues operations is repaired first: the indexes of the rows take many times as long.
func TestOperationsAreRepairedFirst(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Start(t).Client(t))
	for n := range 500 {
		b.enqueue(tasks.Request{Desktops: ids(1), IdempotencyKey: fmt.Sprint(n)})
	}
	b.enqueue(tasks.Request{Desktops: ids(20_000)})
	require.NoError(t, b.rdb.Del(t.Context(), b.prefix+":open").Err())
	pages := int(b.rdb.DBSize(t.Context()).Val())/1000 + 1 // a page is counted with the keys of asynq
	var cursor record.RepairCursor
	step := func() (ended bool) {
		var err error
		cursor, _, ended, err = b.r.RepairStep(t.Context(), b.now, cursor)
		require.NoError(t, err)
		return ended
	}
	for range 2*pages + 501/200 {
		require.False(t, step())
	}
	require.EqualValues(t, 501, b.rdb.ZCard(t.Context(), b.prefix+":open").Val())
	rest := 0
	for !step() {
		rest++
	}
	require.Greater(t, rest, 3*pages, "of what can wait")
}

// A primary of a Cluster that takes over may lack the last second of the one before, so what continues
// operations is looked at again, wherever the walk is.
func TestAWalkStartsOverAfterAFailover(t *testing.T) {
	t.Parallel()
	set := redistest.StartSharded(t)
	rdb := set.Client()
	t.Cleanup(func() { _ = rdb.Close() })
	b := newBundle(t, rdb)
	b.enqueue(tasks.Request{Desktops: ids(5000)})
	var cursor record.RepairCursor
	walk := func(steps int) {
		for range steps {
			var ended bool
			require.Eventually(t, func() bool { // a step fails while the Cluster fails over
				var err error
				cursor, _, ended, err = b.r.RepairStep(t.Context(), b.now, cursor)
				return err == nil
			}, time.Minute, 10*time.Millisecond)
			require.False(t, ended)
		}
	}
	walk(40) // all keys are known, and most buckets of the indexes are left
	open := b.prefix + ":open"
	gone, err := set.Primary(t.Context(), open)
	require.NoError(t, err)
	gone.Kill()
	require.NoError(t, set.AwaitFailover(t.Context(), gone))
	walk(1)
	require.Eventually(t, func() bool { return rdb.Del(t.Context(), open).Err() == nil }, time.Minute, 10*time.Millisecond)
	walk(40)
	require.Eventually(t, func() bool { return rdb.ZCard(t.Context(), open).Err() == nil }, time.Minute, 10*time.Millisecond)
	require.EqualValues(t, 1, rdb.ZCard(t.Context(), open).Val())
}

// An operation that is removed after a walk has read its rows, and before it has looked for them in
// the indexes, leaves nothing in the record. It is removed after each number of steps.
func TestWhatAWalkHasReadIsRemovedMeanwhile(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Start(t).Client(t))
	ctx := t.Context()
	for steps := range 20 {
		op := b.enqueue(tasks.Request{Desktops: ids(130), Expect: map[string][]string{"d-000003": {"Zoe"}}})
		_, _, err := b.r.Cancel(ctx, op, b.now, "the test")
		require.NoError(t, err)
		b.finish(op.ID)
		b.rdb.HDel(ctx, b.prefix+":repair", "safe")
		var cursor record.RepairCursor
		ended := false
		step := func() {
			cursor, _, ended, err = b.r.RepairStep(ctx, b.now, cursor)
			require.NoError(t, err)
		}
		for n := 0; n < steps && !ended; n++ {
			step()
		}
		b.now = b.now.Add(100 * 24 * time.Hour)
		b.rdb.Del(ctx, b.prefix+":expiring")
		removed, err := b.r.Expire(ctx, b.now, 100, 0)
		require.NoError(t, err)
		require.Equal(t, 1, removed)
		for !ended {
			step()
		}
		require.Equal(t, []string{b.prefix + ":repair"}, b.ofOperations(), "after %d steps", steps)
	}
}
