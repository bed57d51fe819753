package record_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// trips counts the round trips of f.
func (b *bundle) trips(f func()) int {
	counter := &tripCounter{}
	b.rdb.AddHook(counter)
	f()
	n := counter.n
	b.rdb.AddHook(&tripCounter{}) // hooks cannot be taken off; the counter is not read again
	return n
}

// A sweep takes a bounded number of round trips, however many operations are open,
// unproven, ended or abandoned.
func TestSweepRoundTrips(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Start(t).Client(t))
	b.rdb.AddHook(&cutOff{after: -1})
	want := 0
	for n := range 200 {
		op := b.enqueue(tasks.Request{Desktops: ids(120)})
		switch n % 4 {
		case 0:
			b.move(op, 0, tasks.StateAccepted, b.move(op, 0, tasks.StateSending, b.chunk(op, 0).Desktops...).Desktops...)
			want++
		case 1: // it ended, and its worker died
			for c := range 2 {
				b.move(op, c, tasks.StateCancelled, b.chunk(op, c).Desktops...)
			}
		default:
			want += 2
		}
	}
	sweep := func() (swept record.Swept, err error) { return b.r.Sweep(t.Context(), b.now, 0, 200, 0) }
	var swept record.Swept
	trips := b.trips(func() {
		var err error
		swept, err = sweep()
		require.NoError(t, err)
	})
	require.Len(t, swept.Ended, 50)
	require.Len(t, swept.Chunks, want)
	require.LessOrEqual(t, trips, 20)
	require.LessOrEqual(t, b.trips(func() { _, _ = sweep() }), 4, "nothing has ended")
}

// A sweep whose budget is used up stops, and goes on later with what it left.
func TestSweepIsResumed(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Start(t).Client(t))
	for range 500 {
		op := b.enqueue(tasks.Request{Desktops: ids(1)})
		b.move(op, 0, tasks.StateCancelled, b.chunk(op, 0).Desktops...)
	}
	open := b.enqueue(tasks.Request{Desktops: ids(1)})
	ended, sweeps := map[string]bool{}, 0
	for next := 0; len(ended) < 500; sweeps++ {
		require.Less(t, sweeps, 20)
		swept, err := b.r.Sweep(t.Context(), b.now, next, 1000, time.Nanosecond)
		require.NoError(t, err)
		require.LessOrEqual(t, len(swept.Ended), 256, "it went on without time")
		for _, op := range swept.Ended {
			require.False(t, ended[op.ID], "closed twice")
			ended[op.ID] = true
		}
		next = swept.Next
	}
	require.GreaterOrEqual(t, sweeps, 3)
	swept, err := b.r.Sweep(t.Context(), b.now, 0, 1000, 0)
	require.NoError(t, err)
	require.Len(t, swept.Chunks, 1)
	require.Equal(t, open.ID, swept.Chunks[0].Operation.ID)
}

// cancelAll ends so many operations of a few rows each, which are indexed by names, too.
func (b *bundle) cancelAll(n, rows int) {
	b.t.Helper()
	var all []string
	for i := range n {
		ds, expect := make([]string, rows), map[string][]string{}
		for j := range ds {
			ds[j] = fmt.Sprintf("x-%d-%d", i, j)
			expect[ds[j]] = []string{fmt.Sprint("user-", i, "-", j)}
		}
		op := b.enqueue(tasks.Request{Desktops: ds, Expect: expect, Ticket: fmt.Sprint("T-", i%10)})
		for c := range op.Chunks() {
			b.move(op, c, tasks.StateCancelled, b.chunk(op, c).Desktops...)
		}
		all = append(all, op.ID)
	}
	for some := range slices.Chunk(all, 200) {
		_, err := b.r.Finish(b.t.Context(), some)
		require.NoError(b.t, err)
	}
}

func (b *bundle) ofOperations() []string {
	return slices.DeleteFunc(slices.Collect(maps.Keys(b.everything())), func(k string) bool {
		return slices.ContainsFunc([]string{":minutes:", ":results:", ":quarters:", ":days:", ":names:", ":bell"}, func(of string) bool {
			return strings.Contains(k, of) // these expire or are cut by themselves
		})
	})
}

// Expiry takes a few round trips for hundreds of operations: 5,000,000 a day are 58
// a second, and it gets through 500 in ten round trips.
func TestExpireRoundTrips(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct{ operations, rows, trips int }{
		"small": {1000, 2, 25}, "large": {4, 5000, 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBundle(t, redistest.Start(t).Client(t))
			before := b.ofOperations()
			b.cancelAll(x.operations, x.rows)
			b.now = b.now.Add(48 * time.Hour)
			trips := b.trips(func() {
				n, err := b.r.Expire(t.Context(), b.now, 10_000, 0)
				require.NoError(t, err)
				require.Equal(t, x.operations, n)
			})
			require.LessOrEqual(t, trips, x.trips)
			require.ElementsMatch(t, before, b.ofOperations(), "all of it is gone")
		})
	}
}

// Two processes do not expire the same operations, and one that has used up its
// budget leaves the rest to a next time.
func TestExpireIsSharedAndResumed(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Start(t).Client(t))
	b.cancelAll(600, 1)
	b.now = b.now.Add(48 * time.Hour)
	require.NoError(t, b.rdb.Set(t.Context(), b.prefix+":expiring", 1, time.Minute).Err())
	n, err := b.r.Expire(t.Context(), b.now, 1000, 0)
	require.NoError(t, err)
	require.Zero(t, n, "another is at it")
	require.NoError(t, b.rdb.Del(t.Context(), b.prefix+":expiring").Err())
	n, err = b.r.Expire(t.Context(), b.now, 1000, time.Nanosecond)
	require.NoError(t, err)
	require.Equal(t, 500, n, "one batch, as the budget is used up")
	n, err = b.r.Expire(t.Context(), b.now, 1000, 0)
	require.NoError(t, err)
	require.Equal(t, 100, n)
}

// Cut off before any of its round trips, expiry is resumed and leaves nothing.
func TestExpireIsCutOff(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for after := 1; ; after++ {
		require.Less(t, after, 50)
		b := newBundle(t, server.Client(t))
		before := b.ofOperations()
		b.fail(b.enqueue(tasks.Request{Desktops: ids(3), Users: nil, Ticket: "T", RequestedBy: "hr"}))
		b.cancelAll(1, 250)
		b.now = b.now.Add(48 * time.Hour)
		stop := &cutOff{after: after}
		b.rdb.AddHook(stop)
		n, err := b.r.Expire(t.Context(), b.now, 10, 0)
		stop.after = -1
		if err == nil && n == 2 {
			require.Greater(t, after, 8, "the test cut too early to show anything")
			return
		}
		require.NoError(t, b.rdb.Del(t.Context(), b.prefix+":expiring").Err()) // its lease is over
		_, err = b.r.Expire(t.Context(), b.now, 10, 0)
		require.NoError(t, err)
		left := slices.DeleteFunc(b.ofOperations(), func(k string) bool { return k == b.prefix+":failures" }) // the names of groups stay
		require.ElementsMatch(t, before, left, "cut off before round trip %d", after)
	}
}

// The index of ended operations proves nothing: what is open, or ended a moment
// ago, stays, and is entered where it belongs.
func TestExpireReadsTheOperation(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Mini(t))
	open := b.enqueue(tasks.Request{Desktops: ids(1)})
	b.now = b.now.Add(48 * time.Hour)
	young := b.fail(b.enqueue(tasks.Request{Desktops: ids(1)}))
	for _, op := range []record.Operation{open, young} {
		require.NoError(t, b.rdb.ZAdd(t.Context(), b.prefix+":ended", redisZ(1, op.ID)).Err())
	}
	require.NoError(t, b.rdb.ZRem(t.Context(), b.prefix+":open", open.ID).Err())
	n, err := b.r.Expire(t.Context(), b.now, 10, 0)
	require.NoError(t, err)
	require.Zero(t, n)
	b.operation(open.ID)
	b.operation(young.ID)
	require.NoError(t, b.rdb.ZScore(t.Context(), b.prefix+":open", open.ID).Err())
	require.Equal(t, float64(young.EndedAt.UnixMilli()), b.rdb.ZScore(t.Context(), b.prefix+":ended", young.ID).Val())
}

func redisZ(score float64, member string) redis.Z { return redis.Z{Score: score, Member: member} }
