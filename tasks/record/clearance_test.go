package record_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/queue"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

func reserve(t *testing.T, b *bundle) {
	operation := func(id, source string) record.Operation {
		return record.Operation{Operation: tasks.Operation{ID: id, Project: "hq", RequestedBy: source}}
	}
	ask := func(id, source string, n, allowed int) record.Usage {
		u, err := b.r.Reserve(t.Context(), operation(id, source), n, allowed, time.Hour)
		require.NoError(t, err)
		return u
	}
	require.Equal(t, record.Usage{Cleared: true}, ask("a", "hr", 60, 100))
	require.Equal(t, record.Usage{Cleared: true, Project: 60, BySource: 60}, ask("a", "hr", 60, 100), "it is in the window once")
	require.Equal(t, record.Usage{Project: 60}, ask("b", "it", 41, 100), "one more than is allowed")
	require.Equal(t, record.Usage{Cleared: true, Project: 60}, ask("b", "it", 40, 100))
	require.Equal(t, record.Usage{Project: 100, BySource: 60}, ask("c", "hr", 1, 100))
	require.Equal(t, record.Usage{Cleared: true, Project: 100, BySource: 60}, ask("c", "hr", 1, -1), "a person approved it")
	require.Equal(t, record.Usage{Cleared: true, Project: 101, BySource: 61}, ask("a", "hr", 1000, 0), "what is in the window stays")
	require.Equal(t, record.Usage{Project: 101, BySource: 0}, ask("d", "", 1, 0), "zero lets nothing pass")
	require.Eventually(t, func() bool { // all of it is older than this window
		u, err := b.r.Reserve(t.Context(), operation("e", "hr"), 100, 100, time.Millisecond)
		require.NoError(t, err)
		return u == record.Usage{Cleared: true}
	}, time.Minute, time.Millisecond)
}

func approval(t *testing.T, b *bundle) {
	ctx := t.Context()
	ask := func() record.Operation {
		op := b.enqueue(tasks.Request{Desktops: ids(150), RequestedBy: "hr"})
		asked, err := b.r.AskApproval(ctx, op, tasks.Clearance{Desktops: 150, AskedAt: b.now, ExpiresAt: b.now.Add(time.Hour)})
		require.NoError(t, err)
		require.True(t, asked)
		asked, err = b.r.AskApproval(ctx, op, tasks.Clearance{Desktops: 1})
		require.NoError(t, err)
		require.False(t, asked, "another worker was faster")
		return b.operation(op.ID)
	}
	waiting := func(project string) (out []string) {
		ops, _, err := b.r.Operations(ctx, tasks.OperationFilter{Waiting: true, Project: project, Now: b.now}, 0, "")
		require.NoError(t, err)
		for _, op := range ops {
			out = append(out, op.ID)
		}
		return out
	}
	sweep := func() []record.OpenChunk {
		swept, err := b.r.Sweep(ctx, b.now, 0, 100, 0)
		require.NoError(t, err)
		return swept.Chunks
	}
	op := ask()
	require.Equal(t, tasks.OperationWaiting, op.State(b.now))
	require.Equal(t, 150, op.Clearance.Desktops)
	require.Equal(t, []string{op.ID}, waiting(""))
	require.Equal(t, []string{op.ID}, waiting("hq"))
	require.Empty(t, waiting("branch"))
	stats, err := b.r.Stats(ctx, []string{"hq"}, tasks.LastDay, b.now)
	require.NoError(t, err)
	require.Equal(t, 1, stats[0].AwaitingApproval)
	require.Empty(t, sweep(), "nobody enqueues it before a person decides")
	for _, key := range []string{":waiting", ":waiting:hq"} { // a failover lost them
		b.rdb.Del(ctx, b.prefix+key)
	}
	sweep()
	require.Equal(t, []string{op.ID}, waiting("hq"))

	b = newBundle(t, b.rdb)
	op = ask()
	keys := queue.KeysOf(b.r.QueueOf(op, 0))
	for range 2 { // their tasks are about to end, as they wait
		require.NoError(t, b.rdb.RPopLPush(ctx, keys.Pending(), string(keys)+"active").Err())
	}
	require.Empty(t, b.tasksIn(record.BulkQueue))
	start := b.now
	b.now = b.now.Add(30 * time.Minute)
	approved, err := b.p.Approve(ctx, op, tasks.Approval{By: "ann", Reason: "checked with hr"})
	require.NoError(t, err)
	require.Equal(t, start.Add(tasks.DefaultDeadline+30*time.Minute), approved.Deadline, "it counts from the approval")
	got := b.operation(op.ID)
	require.Equal(t, approved.Deadline, got.Deadline)
	require.Equal(t, tasks.ClearanceApproved, got.Clearance.State)
	require.Equal(t, []any{"ann", "checked with hr", b.now}, []any{got.Clearance.DecidedBy, got.Clearance.Reason, got.Clearance.DecidedAt})
	require.Equal(t, tasks.OperationRunning, got.State(b.now))
	require.Empty(t, waiting(""))
	require.Len(t, sweep(), 2)
	require.Len(t, b.tasksIn(record.BulkQueue), 2, "no task that was about to end stands in the way")
	_, err = b.p.Approve(ctx, op, tasks.Approval{By: "bob"})
	require.ErrorIs(t, err, tasks.ErrNotWaiting, "as it was read before")
	_, err = b.p.Reject(ctx, got, "bob", "")
	require.ErrorIs(t, err, tasks.ErrNotWaiting)

	b = newBundle(t, b.rdb)
	op = ask()
	_, err = b.p.Reject(ctx, op, "ann", "wrong list")
	require.NoError(t, err)
	got = b.operation(op.ID)
	require.Equal(t, tasks.ClearanceRejected, got.Clearance.State)
	require.Equal(t, 150, got.Counts.Cancelled)
	require.True(t, got.Done())
	require.Empty(t, waiting(""))

	b = newBundle(t, b.rdb)
	op = ask()
	b.now = b.now.Add(time.Hour)
	require.Len(t, sweep(), 2, "when nobody answered in time a worker ends it")
	_, err = b.p.ExpireApproval(ctx, op, "worker-1")
	require.NoError(t, err)
	require.Equal(t, tasks.ClearanceExpired, b.operation(op.ID).Clearance.State)
}

// Nobody approves more within the window than what one person may, in one operation or in several.
func secondPerson(t *testing.T, b *bundle) {
	ask := func(n, above int) record.Operation {
		op := b.enqueue(tasks.Request{Desktops: ids(n), RequestedBy: "hr", Owner: "Ann"})
		_, err := b.r.AskApproval(t.Context(), op, tasks.Clearance{
			Why: tasks.WhyLimit, Desktops: n, SecondPersonAbove: above, WindowS: 3600, ExpiresAt: b.now.Add(time.Hour),
		})
		require.NoError(t, err)
		return b.operation(op.ID)
	}
	approve := func(op record.Operation, by, owner string) error {
		_, err := b.p.Approve(t.Context(), op, tasks.Approval{By: by, Owner: owner, Reason: "checked"})
		return err
	}
	refused := func(err error) {
		t.Helper()
		var same *tasks.SamePersonError
		require.ErrorAs(t, err, &same)
		require.Equal(t, "Ann", same.Asked)
	}
	large := ask(11, 10)
	_, err := b.r.Reserve(t.Context(), large, 11, -1, time.Hour) // it began, and asks again
	require.NoError(t, err)
	refused(approve(large, "desk", "ann"))
	refused(approve(large, "hr", "bob"))
	require.True(t, b.operation(large.ID).AwaitsApproval(), "nothing was changed")
	require.NoError(t, approve(large, "desk", "bob"))

	b = newBundle(t, b.rdb)
	first, second, third := ask(6, 10), ask(6, 10), ask(4, 10)
	require.NoError(t, approve(first, "desk", "ann"))
	refused(approve(second, "desk", "ann"))
	require.NoError(t, approve(third, "desk", "ann"), "6 and 4 are 10")
	_, err = b.p.Reject(t.Context(), second, "hr", "it is my own")
	require.NoError(t, err)

	refused(approve(ask(1, 0), "desk", "ann"))
	b.now = b.now.Add(time.Second)
	require.ErrorIs(t, approve(first, "desk", "ann"), tasks.ErrNotWaiting)
}

// The key that replaces another of its name may have another owner.
func ownerOfAReplay(t *testing.T, b *bundle) {
	req := tasks.Request{Desktops: ids(3), RequestedBy: "hr", Owner: "ann", IdempotencyKey: "once"}
	op := b.enqueue(req)
	require.Equal(t, "ann", b.operation(op.ID).Owner)
	req.Owner = "bob"
	again := b.enqueue(req)
	require.True(t, again.Replayed)
	require.Equal(t, []string{op.ID, "ann"}, []string{again.ID, again.Owner})
}

// A retry asks anew, whatever was decided before.
func clearedAnew(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(3)})
	_, err := b.r.AskApproval(t.Context(), op, tasks.Clearance{ExpiresAt: b.now.Add(time.Hour)})
	require.NoError(t, err)
	_, err = b.p.Approve(t.Context(), b.operation(op.ID), tasks.Approval{By: "ann"})
	require.NoError(t, err)
	b.fail(op)
	n, err := b.p.Retry(t.Context(), b.operation(op.ID), tasks.RetryFilter{}, "bob")
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.Nil(t, b.operation(op.ID).Clearance)
}

// A retry that comes while a worker counts what to ask about is not let go by the answer.
func askedAboutFewer(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(3)})
	b.move(op, 0, tasks.StateFailed, b.chunk(op, 0).Desktops[:2]...)
	ask := func(op record.Operation) bool {
		asked, err := b.r.AskApproval(t.Context(), op, tasks.Clearance{Why: tasks.WhyLimit, Desktops: op.Counts.Unsettled(), ExpiresAt: b.now.Add(time.Hour)})
		require.NoError(t, err)
		return asked
	}
	read := b.operation(op.ID)
	n, err := b.p.Retry(t.Context(), read, tasks.RetryFilter{}, "bob")
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.False(t, ask(read), "about one desktop, and there are three")
	require.Nil(t, b.operation(op.ID).Clearance)
	require.True(t, ask(b.operation(op.ID)))
	require.Equal(t, 3, b.operation(op.ID).Clearance.Desktops)
}

// A retry of one desktop gives the others no less time than they had.
func retryKeepsALaterDeadline(t *testing.T, b *bundle) {
	for _, days := range []int{7, 0} {
		before := b.now.AddDate(0, 0, days).Add(time.Hour)
		req := tasks.Request{Desktops: ids(3), Deadline: before}
		if days > 0 {
			req.NotBefore = b.now.AddDate(0, 0, 3)
		}
		op := b.enqueue(req)
		b.move(op, 0, tasks.StateFailed, b.chunk(op, 0).Desktops[0])
		n, err := b.p.Retry(t.Context(), b.operation(op.ID), tasks.RetryFilter{}, "bob")
		require.NoError(t, err)
		require.Equal(t, 1, n)
		want := before
		if days == 0 {
			want = b.now.Add(tasks.DefaultDeadline)
		}
		require.Equal(t, want.UTC(), b.operation(op.ID).Deadline)
	}
}

// Whoever asks, in whatever order and however often: without an approval there is never more
// in the window than is allowed, and nobody is turned away while there is room.
func TestReserveHoldsTheLimit(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Mini(t))
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		project := fmt.Sprintf("p%d", round)
		allowed := rapid.IntRange(0, 60).Draw(rt, "allowed")
		in := map[string]int{}
		sum := 0
		for range rapid.IntRange(1, 30).Draw(rt, "asks") {
			id := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(rt, "operation")
			n := rapid.IntRange(1, 30).Draw(rt, "desktops")
			op := record.Operation{Operation: tasks.Operation{ID: id, Project: project, RequestedBy: id[:1]}}
			u, err := b.r.Reserve(t.Context(), op, n, allowed, time.Hour)
			require.NoError(rt, err)
			require.Equal(rt, sum, u.Project)
			_, was := in[id]
			require.Equal(rt, was || sum+n <= allowed, u.Cleared)
			if u.Cleared && !was {
				in[id] = n
				sum += n
			}
			require.LessOrEqual(rt, sum, allowed)
		}
	})
}

// Many processes that ask at once are one window.
func TestReserveAtOnce(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Start(t).Client(t))
	var mu sync.Mutex
	var cleared []string
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			op := record.Operation{Operation: tasks.Operation{ID: fmt.Sprint(i % 100), Project: "hq", RequestedBy: "hr"}}
			u, err := b.r.Reserve(t.Context(), op, 1, 50, time.Hour)
			if err == nil && u.Cleared {
				mu.Lock()
				defer mu.Unlock()
				cleared = append(cleared, op.ID)
			}
		})
	}
	all.Wait()
	slices.Sort(cleared)
	require.Len(t, slices.Compact(cleared), 50)
}

// Whatever has left the window does not count, however many operations that are, and whatever
// they asked for.
func TestReserveForgets(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Start(t).Client(t))
	reserve := func(id string, n, allowed int, window time.Duration) record.Usage {
		op := record.Operation{Operation: tasks.Operation{ID: id, Project: "hq", RequestedBy: "hr"}}
		u, err := b.r.Reserve(t.Context(), op, n, allowed, window)
		require.NoError(t, err)
		return u
	}
	const many = 2500
	for i := range many {
		require.True(t, reserve(fmt.Sprint(i), i%2, -1, time.Hour).Cleared) // of a cancelled one nothing is left
	}
	require.Equal(t, many/2, reserve("another", many, many, time.Hour).Project)
	require.Less(t, reserve("last", 10, -1, time.Millisecond).Project, 500, "only what came within the last millisecond")
}

// What an operation adds while it is in the window counts, once, and no more than it has desktops.
func TestReserveOfOneThatGrows(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Start(t).Client(t))
	op := b.enqueue(tasks.Request{Desktops: ids(30)})
	reserve := func(allowed int) record.Usage {
		now := b.operation(op.ID)
		u, err := b.r.Reserve(t.Context(), now, now.Counts.Unsettled(), allowed, time.Hour)
		require.NoError(t, err)
		return u
	}
	all := func(from, to tasks.State) {
		for _, d := range b.chunk(op, 0).Desktops {
			if d.State == from {
				b.move(op, 0, to, d)
			}
		}
	}
	retry := func(n int) {
		for _, d := range b.chunk(op, 0).Desktops[:n] {
			if d.State == tasks.StateFailed {
				b.move(op, 0, tasks.StateQueued, d)
			}
		}
	}
	all(tasks.StateQueued, tasks.StateFailed)
	retry(10)
	require.Equal(t, record.Usage{Cleared: true}, reserve(20))
	// A worker of an earlier version does not write what was asked for.
	require.NoError(t, b.rdb.HDel(t.Context(), b.prefix+":{p:hq}:reserved", "asked:"+op.ID).Err())
	require.Equal(t, record.Usage{Cleared: true, Project: 10, BySource: 10}, reserve(20))
	retry(25) // the ten wait already
	require.Equal(t, record.Usage{Project: 10, BySource: 10}, reserve(20))
	require.Equal(t, record.Usage{Cleared: true, Project: 10, BySource: 10}, reserve(25))
	all(tasks.StateQueued, tasks.StateFailed)
	retry(30)
	require.Equal(t, record.Usage{Project: 25, BySource: 25}, reserve(29))
	require.Equal(t, record.Usage{Cleared: true, Project: 25, BySource: 25}, reserve(30), "it has no more")
	all(tasks.StateQueued, tasks.StateFailed)
	retry(30)
	require.Equal(t, record.Usage{Cleared: true, Project: 30, BySource: 30}, reserve(0), "the same desktops again")
}
