package worker_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker"
)

// told keeps what it is told.
type told struct {
	mu    sync.Mutex
	moves map[tasks.State]int
	calls int
	reads int

	givenBack int
}

func (o *told) Call(worker.SeenCall)       { o.mu.Lock(); defer o.mu.Unlock(); o.calls++ }
func (o *told) Reading(worker.SeenReading) { o.mu.Lock(); defer o.mu.Unlock(); o.reads++ }
func (o *told) Move(m worker.SeenMove) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if m.GivenBack {
		o.givenBack++
		return
	}
	o.moves[m.State]++
}

// An undo counts what it gave back, and not as a removal of access.
func TestGivenBackIsCounted(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	o := &told{moves: map[tasks.State]int{}}
	w := s.start(func(c *worker.Config) { c.Observer = o })
	op := s.detached(tasks.Request{Desktops: ids(3)})
	s.ended(s.undo(op, ids(2)...))
	w.Stop()
	require.Equal(t, 2, o.givenBack)
	require.Equal(t, map[tasks.State]int{tasks.StateDetached: 3}, o.moves)
}

// The counts of workers agree with the record of every desktop, with what the cloud saw, and
// with what other observers get.
func TestCountsAreThoseOfTheRecord(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "held", Users: users("heir")}, fakecloud.Desktop{ID: "own", Users: users("zoe")})
	s.cloud.AddPeople(projectID, fakecloud.Person{Name: "idle"})
	s.cloud.Fail(fakecloud.Fault{Calls: []int{2, 3}, Status: 429})
	s.cloud.Fail(fakecloud.Fault{Calls: []int{5}, Status: 503})
	for _, id := range []string{"d-000301", "d-000955"} {
		s.cloud.Fail(fakecloud.Fault{Desktop: id, Refuse: &fakecloud.Refusal{Code: "WKS.00010110", Message: "no address"}})
	}
	one, two := &told{moves: map[tasks.State]int{}}, &told{moves: map[tasks.State]int{}}
	patient := func(c *worker.Config) { // no call is given up: the cloud may not have seen one that is
		c.Projects[0].API, c.Projects[0].CallTimeout = client(t, s.cloud.URL, 40*time.Second), 40*time.Second
	}
	first := s.start(patient, func(c *worker.Config) { c.Observer = one })
	second := s.start(patient, func(c *worker.Config) { c.ID, c.Observer = "worker-2", two })
	bulk, _ := s.ended(s.enqueue(tasks.Request{Desktops: ids(1000)}))
	guarded, _ := s.ended(s.enqueue(tasks.Request{Desktops: []string{"held"}, Expect: map[string][]string{"held": {"zoe"}}, Users: []string{"zoe", "idle"}}))
	first.Stop()
	second.Stop()

	all, err := s.record.Stats(t.Context(), []string{"hq"}, tasks.LastDay, time.Now())
	require.NoError(t, err)
	got := all[0]
	var day record.Tally
	for _, b := range got.Buckets {
		day.Calls += b.Calls
		day.Throttled += b.Throttled
		day.Detached += b.Detached
		day.Failed += b.Failed
		day.Held += b.Held
		day.Retried += b.Retried
	}
	throttled := 0
	calls := s.calls()
	for _, c := range calls {
		if c.Status == 429 {
			throttled++
		}
	}
	require.Equal(t, 2, throttled)
	require.Equal(t, record.Tally{Tally: tasks.Tally{Calls: len(calls), Throttled: throttled, Detached: bulk.Counts.Detached + guarded.Counts.Detached, Failed: 2, Held: 1, Retried: one.moves[tasks.StateQueued] + two.moves[tasks.StateQueued]}}, day)
	require.Positive(t, day.Retried)
	require.Equal(t, day.Calls, one.calls+two.calls)
	for state, n := range map[tasks.State]int{tasks.StateDetached: day.Detached, tasks.StateFailed: 2, tasks.StateHeld: 1, tasks.StateExpanded: guarded.Counts.Expanded, tasks.StateNoDesktop: guarded.Counts.NoDesktop} {
		require.Equal(t, n, one.moves[state]+two.moves[state], state)
	}
	require.Equal(t, throttled, got.Throttled)
	require.Equal(t, tasks.Counts{Detached: day.Detached, Failed: 2, Held: 1}, got.Counts)
	removed := 0
	for _, r := range got.Removed {
		removed += r.Desktops
	}
	require.Equal(t, day.Detached, removed, "a user without a desktop has no access that ended")
	require.Positive(t, got.CallsPerMinute)
	require.NotContains(t, strings.ToLower(s.log.String()), "counts could not")
}
