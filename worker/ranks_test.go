package worker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker"
)

// before returns the id of a worker that comes before worker-1 in the project hq.
func before(t *testing.T) string {
	t.Helper()
	for i := range 100 {
		if id := fmt.Sprint("idler-", i); worker.Precedes("hq", id, "worker-1") {
			return id
		}
	}
	t.Fatal("worker-1 comes before a hundred others")
	return ""
}

// idler is a worker that announces projects, and does nothing but beat until die is called.
func (s *env) idler(id string, projects ...string) (die func()) {
	s.t.Helper()
	require.NoError(s.t, s.record.AnnounceProjects(s.t.Context(), id, projects...))
	_, err := s.record.Beat(s.t.Context(), id)
	require.NoError(s.t, err)
	ctx, end := context.WithCancel(s.t.Context())
	var beating sync.WaitGroup
	beating.Go(func() {
		beats := time.NewTicker(50 * time.Millisecond)
		defer beats.Stop()
		for {
			select {
			case <-beats.C:
				_, _ = s.record.Beat(ctx, id)
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		end()
		beating.Wait()
	}
}

// unrung is a producer whose rings get lost.
func (s *env) unrung() *record.Producer {
	s.t.Helper()
	deaf := s.server.Client(s.t)
	deaf.(*redis.Client).AddHook(refusesStreams{"xadd"})
	p, err := record.NewProducer(deaf, record.ProducerConfig{Projects: []string{"hq"}})
	require.NoError(s.t, err)
	return p
}

// later enqueues what is due in a second: by the clock of its producer, however long it takes to enqueue it.
func (s *env) later(req tasks.Request) record.Operation {
	s.t.Helper()
	now := time.Now()
	var err error
	s.p, err = record.NewProducer(s.rdb, record.ProducerConfig{Projects: []string{"hq"}, Now: func() time.Time { return now }})
	require.NoError(s.t, err)
	req.NotBefore = now.Add(time.Second)
	return s.enqueue(req)
}

// Every worker hears a ring, and only the first of them begins to serve the project.
func TestTheFirstWorkerServesAlone(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	all := map[int]*worker.Worker{}
	var some []*worker.Worker
	for _, id := range []string{"worker-1", "worker-2", "worker-3"} {
		w := s.worker(func(c *worker.Config) { c.ID = id })
		worker.SetLeft(w, time.Hour, time.Hour)
		worker.ShortenIntervals(w)
		some = append(some, s.run(w))
	}
	for _, w := range some {
		require.True(t, worker.Asleep(w), "nothing was rung for yet")
	}
	require.Eventually(t, func() bool {
		clear(all)
		for _, w := range some {
			all[worker.Rank(w)] = w
		}
		return len(all) == len(some)
	}, patience, time.Millisecond, "each has a rank of its own")
	got, _ := s.ended(s.enqueue(tasks.Request{Desktops: ids(3)}))
	require.Equal(t, 3, got.Counts.Detached)
	require.False(t, worker.Asleep(all[0]))
	for _, rank := range []int{1, 2} {
		require.Eventually(t, func() bool { return worker.LeftToOthers(all[rank]) }, patience, time.Millisecond, "it has not heard the ring")
		require.True(t, worker.Asleep(all[rank]))
	}
}

// What the first worker does not take, another does: it has heard the ring, too.
func TestAnotherWorkerTakesWhatIsLeft(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.idler(before(t), "hq")
	w := s.drowsy()
	require.Equal(t, 1, worker.Rank(w))
	for i := range 3 {
		s.untilAsleep(w)
		got, _ := s.ended(s.enqueue(tasks.Request{Desktops: []string{fmt.Sprint("d-", i)}, Urgent: true}))
		require.Equal(t, 1, got.Counts.Detached)
	}
}

// The third worker begins only if more is left than the second takes.
func TestMoreWorkersTakeMoreThatIsLeft(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	first := before(t)
	s.idler(first, "hq")
	second := first
	for i := 0; second == first || !worker.Precedes("hq", second, "worker-1"); i++ {
		second = fmt.Sprint("idler-", i)
	}
	s.idler(second, "hq")
	w := s.drowsy()
	require.Equal(t, 2, worker.Rank(w))
	few := s.enqueue(tasks.Request{Desktops: ids(3)})
	require.Eventually(t, func() bool { return worker.HasLooked(w) }, patience, time.Millisecond)
	require.True(t, worker.Asleep(w))
	require.Equal(t, 3, s.operation(few).Counts.Queued)
	for i := range 30 {
		s.enqueue(tasks.Request{Desktops: []string{fmt.Sprint("more-", i)}, Urgent: true}) // which always rings
	}
	got, _ := s.ended(few)
	require.Equal(t, 3, got.Counts.Detached)
}

// Work that follows a ring may have none of its own. A worker that came too late for what was rung
// for looks again.
func TestWorkThatFollowsARingIsFound(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.idler(before(t), "hq")
	w := s.drowsy()
	s.untilAsleep(w)
	require.NoError(t, s.record.Ring(t.Context(), record.Ring{Project: "hq", Queue: record.SmallQueue}))
	require.Eventually(t, func() bool { return worker.HasLooked(w) }, patience, time.Millisecond)
	s.p = s.unrung()
	got, _ := s.ended(s.enqueue(tasks.Request{Desktops: ids(3)}))
	require.Equal(t, 3, got.Counts.Detached)
}

// Work that is due and that the first worker leaves is taken by another.
func TestAnotherWorkerTakesWhatIsLate(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.idler(before(t), "hq")
	w := s.worker()
	worker.Drowse(w)
	worker.SetLeft(w, time.Hour, 100*time.Millisecond)
	s.run(w)
	s.untilAsleep(w)
	got, _ := s.ended(s.later(tasks.Request{Desktops: ids(3)}))
	require.Equal(t, 3, got.Counts.Detached)
}

// When the first worker dies or leaves, the next one is the first, and takes what waits.
func TestTheNextWorkerBecomesTheFirst(t *testing.T) {
	t.Parallel()
	for name, leaves := range map[string]bool{"dies": false, "leaves": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, fakecloud.Config{})
			other := before(t)
			die := s.idler(other, "hq")
			w := s.worker()
			worker.ShortenIntervals(w)
			worker.Drowse(w) // no sweep
			worker.SetLeft(w, time.Hour, time.Hour)
			s.run(w)
			require.Eventually(t, func() bool { return worker.Rank(w) == 1 }, patience, time.Millisecond) // a beat that is late looks like a death
			op := s.later(tasks.Request{Desktops: ids(3)})
			die()
			if leaves {
				require.NoError(t, s.record.Leave(t.Context(), other))
			}
			got, _ := s.ended(op)
			require.Equal(t, 3, got.Counts.Detached)
			require.Zero(t, worker.Rank(w))
		})
	}
}

// A worker ranks among those that serve the project. An older one has not said which it serves.
func TestRanksAreThoseOfAProject(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	other := before(t)
	s.idler(other, "branch")
	w := s.worker()
	worker.ShortenIntervals(w)
	s.run(w)
	require.Zero(t, worker.Rank(w))
	require.NoError(t, s.record.AnnounceProjects(t.Context(), other, "branch", "hq"))
	require.Eventually(t, func() bool { return worker.Rank(w) == 1 }, patience, time.Millisecond)
	require.NoError(t, s.record.AnnounceProjects(t.Context(), other, "branch"))
	require.Eventually(t, func() bool { return worker.Rank(w) == 0 }, patience, time.Millisecond)
	require.NoError(t, s.rdb.HDel(t.Context(), "detachd:serving", other).Err())
	require.Eventually(t, func() bool { return worker.Rank(w) == 1 }, patience, time.Millisecond)
}

// Projects are shared out evenly, and a worker that goes moves no project of others.
func TestProjectsAreSharedOut(t *testing.T) {
	t.Parallel()
	const workers, projects = 16, 1600
	first := func(project string, without int) (best int) {
		best = -1
		for i := range workers {
			if i != without && (best < 0 || worker.Precedes(project, fmt.Sprint("worker-", i), fmt.Sprint("worker-", best))) {
				best = i
			}
		}
		return best
	}
	of := map[int]int{}
	for i := range projects {
		project := fmt.Sprint("project-", i)
		was := first(project, -1)
		of[was]++
		if now := first(project, 3); was != 3 {
			require.Equal(t, was, now)
		}
	}
	for i := range workers {
		require.InDelta(t, projects/workers, of[i], projects/workers/2)
	}
}

// A server that has found its queue empty is woken by a ring, and by what becomes due, long before
// its next poll.
func TestAnEmptyQueueIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.start(func(c *worker.Config) { c.BulkPollInterval, c.UrgentPollInterval = time.Hour, time.Hour })
	for _, name := range []string{"rung", "due", "due-urgent"} {
		req := tasks.Request{Desktops: []string{name}, Urgent: name != "due"}
		if name != "rung" {
			req.NotBefore = time.Now().Add(2 * time.Second)
		}
		got, _ := s.ended(s.enqueue(req))
		require.Equal(t, 1, got.Counts.Detached, name)
	}
}
