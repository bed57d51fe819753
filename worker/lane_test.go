package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

func testItems(op string, shutoff bool, desktops ...record.Row) (*job, []*item) {
	return newJob(record.Operation{Operation: tasks.Operation{ID: op, ShutoffAfterDetach: shutoff}}, 0, desktops, time.Now())
}

// Whatever arrives in whatever order, a batch is never over its limit, never
// names a desktop twice, never mixes lanes, and every waiter is answered once.
func TestLanesProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := newLanes()
		var jobs []*job
		answered := map[*item]int{}
		put := 0
		drain := func() {
			for {
				batch := l.pop()
				if len(batch) == 0 {
					return
				}
				key, seen := laneOf(batch[0]), map[string]bool{}
				if len(batch) > key.limit() || len(batch) > 100 {
					t.Fatalf("batch of %d in a lane limited to %d", len(batch), key.limit())
				}
				for _, it := range batch {
					if seen[it.desktop.ID] {
						t.Fatalf("desktop %s is twice in a batch", it.desktop.ID)
					}
					seen[it.desktop.ID] = true
					if laneOf(it) != key {
						t.Fatalf("lanes %v and %v are mixed", laneOf(it), key)
					}
				}
				if rapid.IntRange(0, 4).Draw(t, "put back") == 0 {
					l.putBack(batch)
					continue
				}
				for _, it := range batch {
					answered[it]++
					it.answer(0)
				}
			}
		}
		for n := range rapid.IntRange(1, 20).Draw(t, "jobs") {
			size := rapid.IntRange(1, 150).Draw(t, "size")
			ds := make([]record.Row, size)
			for i := range ds {
				// Ids come from a small range so that operations overlap.
				ds[i] = record.Row{Desktop: tasks.Desktop{ID: fmt.Sprint((i + rapid.IntRange(0, 3).Draw(t, "shift")*size) % 200)}}
				if rapid.IntRange(0, 9).Draw(t, "suspect") == 0 {
					ds[i].Note, ds[i].Attempts = tasks.NoteSuspect, rapid.IntRange(0, 12).Draw(t, "attempts")
				}
			}
			j, items := testItems(fmt.Sprint("op", n), rapid.Bool().Draw(t, "shutoff"), ds...)
			jobs = append(jobs, j)
			l.put(items)
			put += size
			if rapid.Bool().Draw(t, "drain") {
				drain()
			}
		}
		drain()
		for _, j := range jobs {
			select {
			case <-j.done:
			default:
				t.Fatal("a handler would wait for ever")
			}
		}
		total := 0
		for it, n := range answered {
			if n != 1 {
				t.Fatalf("desktop %s was answered %d times", it.desktop.ID, n)
			}
			total += n
		}
		if total != put {
			t.Fatalf("%d were put, %d answered", put, total)
		}
	})
}

// With many handlers and slots at once: every desktop is sent exactly once, and
// ending in the middle answers everybody.
func TestDispatcherConcurrent(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	sent := map[string]int{}
	inFlight, most := 0, 0
	l := newLanes()
	var admitted, unadmitted, calls atomic.Int64
	d := &dispatcher{lanes: l, batches: make(chan struct{}, 4), linger: func() time.Duration { return time.Millisecond }}
	d.admit = func(ctx context.Context) error {
		if ctx.Err() == nil {
			admitted.Add(1)
		}
		return ctx.Err()
	}
	d.unadmit = func() { unadmitted.Add(1) }
	d.send = func(_ context.Context, batch []*item) time.Duration {
		calls.Add(1)
		mu.Lock()
		inFlight++
		most = max(most, inFlight)
		for _, it := range batch {
			sent[it.desktop.ID]++
		}
		mu.Unlock()
		for _, it := range batch {
			it.answer(0)
		}
		mu.Lock()
		inFlight--
		mu.Unlock()
		return 0
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all, run sync.WaitGroup
	run.Go(func() { d.run(ctx) })
	for n := range 200 {
		all.Go(func() {
			ds := make([]record.Row, 1+rand.IntN(30))
			for i := range ds {
				ds[i].ID = fmt.Sprintf("%d-%d", n, i)
			}
			j, items := testItems(fmt.Sprint(n), false, ds...)
			l.put(items)
			<-j.done
		})
	}
	all.Wait()
	for id, n := range sent {
		require.Equal(t, 1, n, id)
	}
	require.LessOrEqual(t, most, 4)
	l.signal() // a wake-up that finds nothing
	require.Eventually(t, func() bool { return unadmitted.Load() > 0 }, time.Minute, time.Millisecond)
	cancel()
	run.Wait()
	require.Equal(t, calls.Load(), admitted.Load()-unadmitted.Load(), "a right to call that found nothing to send goes back")
	l.close()
	j, items := testItems("late", false, record.Row{Desktop: tasks.Desktop{ID: "late"}})
	l.put(items)
	<-j.done
	require.Equal(t, immediately, j.delay, "what comes after the end goes back to the queue at once")
}

// The same desktop in two operations goes into two calls, one after the other.
func TestLanesSameDesktopTwice(t *testing.T) {
	t.Parallel()
	l := newLanes()
	_, a := testItems("a", false, record.Row{Desktop: tasks.Desktop{ID: "x"}}, record.Row{Desktop: tasks.Desktop{ID: "y"}})
	_, b := testItems("b", false, record.Row{Desktop: tasks.Desktop{ID: "x"}}, record.Row{Desktop: tasks.Desktop{ID: "z"}})
	l.put(a)
	l.put(b)
	require.Equal(t, []string{"x", "y", "z"}, idsOf(l.pop()))
	require.Equal(t, []string{"x"}, idsOf(l.pop()))
	require.Empty(t, l.pop())
}

func TestWithdrawAnswersWhatWaits(t *testing.T) {
	t.Parallel()
	l := newLanes()
	a, items := testItems("a", false, record.Row{Desktop: tasks.Desktop{ID: "x"}}, record.Row{Desktop: tasks.Desktop{ID: "y"}})
	_, others := testItems("b", false, record.Row{Desktop: tasks.Desktop{ID: "z"}})
	l.put(items)
	l.put(others)
	l.withdraw(a)
	<-a.done
	require.Equal(t, []string{"z"}, idsOf(l.pop()))
}

// Nobody waits any more for what a batch puts back after its handler's time is over: it would wait for
// the end of a pause, and be sent after its deadline.
func TestWithdrawAnswersWhatIsPutBackLater(t *testing.T) {
	t.Parallel()
	l := newLanes()
	a, items := testItems("a", false, record.Row{Desktop: tasks.Desktop{ID: "x"}})
	b, others := testItems("b", false, record.Row{Desktop: tasks.Desktop{ID: "z"}})
	l.put(items)
	l.put(others)
	batch := l.pop()
	l.withdraw(a)
	require.Equal(t, 1, a.left, "it is in a batch")
	l.putBack(batch)
	require.Zero(t, a.left)
	require.Equal(t, immediately, a.delay)
	require.Equal(t, 1, b.left)
	require.Equal(t, []string{"z"}, idsOf(l.pop()))
}

func TestSuspectsGoInSmallerAndSmallerCalls(t *testing.T) {
	t.Parallel()
	for attempts, limit := range map[int]int{1: 50, 2: 25, 3: 12, 4: 6, 5: 3, 6: 1, 7: 1, 50: 1} {
		_, items := testItems("a", false, record.Row{Desktop: tasks.Desktop{ID: "x", Note: tasks.NoteSuspect, Attempts: attempts}})
		require.Equal(t, limit, laneOf(items[0]).limit(), "after %d attempts", attempts)
	}
}

func TestBackoffStaysWithinItsBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		base := time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(10*time.Second)).Draw(t, "base"))
		longest := base + time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "more"))
		d := backoff(base, longest, rapid.IntRange(0, 100).Draw(t, "attempt"))
		if d < base/2 || d > longest {
			t.Fatalf("%s is not within %s and %s", d, base/2, longest)
		}
	})
}
