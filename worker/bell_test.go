package worker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
	"github.com/detachd/detachd/worker"
)

// drowsy starts a worker that sleeps as soon as it can, and that no sweep wakes.
func (s *env) drowsy(change ...func(*worker.Config)) *worker.Worker {
	s.t.Helper()
	w := s.worker(change...)
	worker.Drowse(w)
	return s.run(w)
}

func (s *env) untilAsleep(w *worker.Worker) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return worker.Asleep(w) }, patience, time.Millisecond, "the worker does not end its servers")
}

// A worker that has nothing to do takes no tasks, and begins again with each operation: nothing
// is lost in between and nothing is done twice.
func TestAnIdleProjectIsServedAgain(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	w := s.drowsy()
	var all []string
	for i := range 200 {
		id := fmt.Sprint("d-", i)
		all = append(all, id)
		if i%2 == 0 { // else it comes while the servers are about to end
			s.untilAsleep(w)
		}
		got, _ := s.ended(s.enqueue(tasks.Request{Desktops: []string{id}, Urgent: true})) // which always rings
		require.Equal(t, 1, got.Counts.Detached)
	}
	s.untilAsleep(w)
	require.Empty(t, s.takenTwice(all))
	for _, q := range []record.Queue{record.UrgentQueue, record.SmallQueue, record.BulkQueue} {
		pending, err := s.rdb.LLen(t.Context(), "asynq:{"+s.record.QueueName("hq", q)+"}:pending").Result()
		require.NoError(t, err)
		require.Zero(t, pending)
	}
}

// The queues of all kinds wake it, also in miniredis.
func TestEachQueueWakesAWorker(t *testing.T) {
	t.Parallel()
	for name, rdb := range map[string]func(*redistest.Server) redis.UniversalClient{
		"redis":     func(server *redistest.Server) redis.UniversalClient { return server.Client(t) },
		"miniredis": func(*redistest.Server) redis.UniversalClient { return redistest.Mini(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			s := newEnvOn(t, server, rdb(server), fakecloud.Config{})
			w := s.drowsy()
			for _, req := range []tasks.Request{{Desktops: ids(200)}, {Desktops: []string{"small"}}, {Desktops: []string{"urgent"}, Urgent: true}} {
				s.untilAsleep(w)
				p, err := record.NewProducer(s.rdb, record.ProducerConfig{Projects: []string{"hq"}}) // one that has not rung
				require.NoError(t, err)
				s.p = p
				got, _ := s.ended(s.enqueue(req))
				require.Equal(t, len(req.Desktops), got.Counts.Detached)
			}
		})
	}
}

// What starts later is taken when it is due, though the worker has ended its servers.
func TestASleepingWorkerWakesForWorkThatIsDue(t *testing.T) {
	t.Parallel()
	for name, started := range map[string]bool{"heard": true, "found at its start": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var was record.Operation
			for in := 3 * time.Second; was.Counts.Queued < 3; in *= 2 { // a slow machine falls asleep after it is due
				s := newEnv(t, fakecloud.Config{})
				var w *worker.Worker
				if started {
					w = s.drowsy()
					s.untilAsleep(w)
				}
				due := time.Now().Add(in)
				op := s.enqueue(tasks.Request{Desktops: ids(3), NotBefore: due})
				if !started {
					w = s.drowsy()
				}
				s.untilAsleep(w)
				was = s.operation(op)
				if time.Now().Before(due) {
					require.Equal(t, 3, was.Counts.Queued, "it has begun early")
				}
				got, _ := s.ended(op)
				require.Equal(t, 3, got.Counts.Detached)
			}
		})
	}
}

// refusesStreams is a client whose rings are lost, or that cannot hear them.
type refusesStreams struct{ command string }

func (h refusesStreams) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h refusesStreams) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.EqualFold(cmd.Name(), h.command) {
			cmd.SetErr(errors.New("NOPERM this user has no permissions"))
			return cmd.Err()
		}
		return next(ctx, cmd)
	}
}

func (h refusesStreams) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if strings.EqualFold(cmds[0].Name(), h.command) {
			cmds[0].SetErr(errors.New("NOPERM this user has no permissions"))
			return cmds[0].Err()
		}
		return next(ctx, cmds)
	}
}

// A ring that is lost delays the work until the next sweep, and loses nothing.
func TestALostRingIsFoundByTheSweep(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	w := s.worker()
	worker.Drowse(w)
	worker.ShortenIntervals(w)
	s.run(w)
	s.untilAsleep(w)
	s.p = s.unrung()
	got, _ := s.ended(s.enqueue(tasks.Request{Desktops: ids(3)}))
	require.Equal(t, 3, got.Counts.Detached)
	rings, err := s.rdb.XRange(t.Context(), "detachd:bell", "-", "+").Result()
	require.NoError(t, err)
	for _, r := range rings {
		require.Empty(t, r.Values["queue"], "only the sweep has rung")
	}
}

// Where streams are refused, a worker looks at the queues itself.
func TestADeafWorkerLooks(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	deaf := s.server.Client(t)
	deaf.(*redis.Client).AddHook(refusesStreams{"xread"})
	w := s.drowsy(func(c *worker.Config) { c.Redis = deaf })
	for i := range 3 {
		s.untilAsleep(w)
		got, _ := s.ended(s.enqueue(tasks.Request{Desktops: []string{fmt.Sprint("d-", i)}}))
		require.Equal(t, 1, got.Counts.Detached)
	}
	require.Contains(t, s.log.String(), "new work cannot be heard of")
}

// Redis restarts while a worker sleeps: it hears again, also of what was queued meanwhile.
func TestASleepingWorkerSurvivesARestartOfRedis(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	w := s.drowsy()
	for i := range 3 {
		s.untilAsleep(w)
		s.server.Stop()
		require.NoError(t, s.server.Restart())
		got, _ := s.ended(s.enqueue(tasks.Request{Desktops: []string{fmt.Sprint("d-", i)}, Urgent: true}))
		require.Equal(t, 1, got.Counts.Detached)
	}
}

// held is an API whose readings wait.
type held struct {
	worker.API
	begun, release chan struct{}
}

func (h *held) Desktops(ctx context.Context, ids []string) ([]apiclient.Desktop, error) {
	select {
	case h.begun <- struct{}{}:
	default:
	}
	<-h.release
	return h.API.Desktops(ctx, ids)
}

// A worker that stops wakes those that sleep, for what it had in hand.
func TestAWorkerThatStopsWakesOthers(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	api := &held{API: client(t, s.cloud.URL, 5*time.Second), begun: make(chan struct{}, 1), release: make(chan struct{})}
	first := s.drowsy(func(c *worker.Config) { c.Projects[0].API = api })
	release := sync.OnceFunc(func() { close(api.release) })
	t.Cleanup(release) // before its Stop
	op := s.enqueue(tasks.Request{Desktops: ids(3)})
	<-api.begun
	second := s.drowsy(func(c *worker.Config) { c.ID = "worker-2" })
	s.untilAsleep(second)
	go first.Stop()
	require.Eventually(t, func() bool { return worker.MakesNoCalls(first) }, patience, time.Millisecond)
	s.untilAsleep(second)
	release()
	got, _ := s.ended(op)
	require.Equal(t, 3, got.Counts.Detached)
	require.Empty(t, s.takenTwice(ids(3)))
}
