package worker_test

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/queue"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
	"github.com/detachd/detachd/worker"
)

// heirs are the ids of a fleet whose desktops go to an heir as soon as the leaver is off.
func (s *env) heirs(n int) []string {
	for _, id := range ids(n) {
		s.cloud.Add(projectID, fakecloud.Desktop{
			ID: id, Users: []fakecloud.User{{Name: "leaver"}}, AfterDetach: []fakecloud.User{{Name: "heir"}},
		})
	}
	return ids(n)
}

// cutOff are those who lost a desktop and are not the leaver.
func (s *env) cutOff() (out []string) {
	for _, r := range s.cloud.Removals(projectID) {
		if r.User.Name != "leaver" {
			out = append(out, r.DesktopID+" of "+r.User.Name)
		}
	}
	return out
}

// late is a client whose first detach call takes effect long after it was given up.
type late struct {
	*apiclient.Client
	first  sync.Once
	status int
	effect chan struct{} // closed when the call is to take effect
	done   chan struct{} // closed when it has
}

func (l *late) Detach(ctx context.Context, req apiclient.DetachRequest) (res *apiclient.DetachResult, err error) {
	first := false
	l.first.Do(func() { first = true })
	if !first {
		return l.Client.Detach(ctx, req)
	}
	go func() {
		defer close(l.done)
		<-l.effect
		_, _ = l.Client.Detach(context.Background(), req)
	}()
	return nil, &apiclient.Error{Op: "DetachInstances", Status: l.status, Effect: apiclient.EffectPossible}
}

// A call that was not answered may still take effect: until then it is not made again, by
// this operation or by another, and when it has, the heir of the desktop keeps it.
func TestACallThatTakesEffectLate(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"no answer": 0, "502": http.StatusBadGateway, "504": http.StatusGatewayTimeout} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, fakecloud.Config{})
			api := &late{Client: client(t, s.cloud.URL, 5*time.Second), status: status, effect: make(chan struct{}), done: make(chan struct{})}
			desktops := s.heirs(3)
			op := s.enqueue(tasks.Request{Desktops: desktops})
			s.start(func(c *worker.Config) { c.Projects[0].API, c.Projects[0].CallTimeout = api, 15*time.Second }) // until then it may take effect
			require.Eventually(t, func() bool { return s.operation(op).Counts.Sending == 3 && s.cloud.Reads(projectID, desktops[0]) >= 2 },
				patience, time.Millisecond, "the desktops are not read after the call")
			expect := map[string][]string{}
			for _, id := range desktops {
				expect[id] = []string{"leaver"}
			}
			second := s.enqueue(tasks.Request{Desktops: desktops, Expect: expect})
			require.Empty(t, s.detaches())
			close(api.effect)
			<-api.done
			got, rows := s.ended(op)
			require.Equal(t, 3, got.Counts.Detached)
			d := rows[desktops[0]]
			require.Equal(t, tasks.NoteNotTheirs, d.Note)
			steps, err := s.record.Steps(t.Context(), &d)
			require.NoError(t, err)
			require.Contains(t, steps[len(steps)-1].Detail, "detached from the leaver, since assigned to someone else")
			got, _ = s.ended(second)
			require.Equal(t, 3, got.Counts.Held, "they are an heir's by then")
			require.Len(t, s.detaches(), 1, "sent again")
			require.Empty(t, s.cutOff())
		})
	}
}

// An answered 500 is settled without waiting for the time of a call.
func TestAnAnswered500IsSoonSettled(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Fail(fakecloud.Fault{Status: 500, Times: 1})
	s.start(func(c *worker.Config) { c.CallMargin = time.Hour })
	got, _ := s.ended(s.enqueue(tasks.Request{Desktops: ids(3)}))
	require.Equal(t, 3, got.Counts.Detached)
	require.Len(t, s.detaches(), 2)
}

// Redis is away while calls are on the wire, for longer than silent workers are taken
// to live. Nobody is cut off, and no worker is called dead.
func TestRedisIsAwayDuringCalls(t *testing.T) {
	t.Parallel()
	server, err := redistest.Run(t.TempDir(), "--appendfsync", "always") // see chaos
	require.NoError(t, err)
	t.Cleanup(server.Kill)
	s := newEnvOn(t, server, server.Client(t), fakecloud.Config{Latency: 3 * time.Second})
	for _, id := range []string{"a", "b", "c"} {
		s.startImpatient(func(c *worker.Config) { c.ID = id })
	}
	op := s.enqueue(tasks.Request{Desktops: s.heirs(300)})
	require.Eventually(t, func() bool { return s.operation(op).Counts.Sending == 300 }, patience, time.Millisecond)
	server.Kill()
	away := time.Now()
	require.Eventually(t, func() bool { return time.Since(away) > 1500*time.Millisecond }, patience, 10*time.Millisecond)
	require.NoError(t, server.Restart())
	got, _ := s.ended(op)
	require.Equal(t, 300, got.Counts.Detached)
	require.Empty(t, s.cutOff())
	require.NotContains(t, s.log.String(), "a worker died")
	require.Empty(t, s.takenTwice(ids(300)))
}

// slowSweeps holds back whatever a sweep asks.
type slowSweeps struct{ release chan struct{} }

func (h slowSweeps) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h slowSweeps) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.HasPrefix(cmd.Name(), "zrange") && strings.HasSuffix(cmd.Args()[1].(string), ":open") {
			<-h.release
		}
		return next(ctx, cmd)
	}
}
func (h slowSweeps) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// A worker is heard however long its sweep takes.
func TestASweepDelaysNoBeat(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	hook := slowSweeps{make(chan struct{})}
	rdb := redis.NewClient(redistest.Options(s.server.Addr()))
	t.Cleanup(func() { _ = rdb.Close() })
	rdb.AddHook(hook)
	s.startImpatient(func(c *worker.Config) { c.Redis = rdb })
	t.Cleanup(func() { close(hook.release) }) // before the worker stops
	beat := func() time.Time {
		list, err := s.record.Workers(context.Background())
		require.NoError(t, err)
		require.Len(t, list, 1)
		return list[0].LastBeat
	}
	first := beat()
	require.Eventually(t, func() bool { return beat().Sub(first) > 3*time.Second }, patience, 10*time.Millisecond)
}

// forgetful is a client in whose first detach call Redis loses what was written since
// the operation was accepted, as after a failover to a replica that was behind.
type forgetful struct {
	*apiclient.Client
	once   sync.Once
	forget func()
	answer error // of that call, which takes effect all the same
}

func (f *forgetful) Detach(ctx context.Context, req apiclient.DetachRequest) (*apiclient.DetachResult, error) {
	res, err := f.Client.Detach(ctx, req)
	f.once.Do(func() {
		f.forget()
		if f.answer != nil {
			res, err = nil, f.answer
		}
	})
	return res, err
}

// What a worker knows of its call wins over a record that has lost the beginning of it.
func TestARecordThatHasForgottenTheCall(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]error{
		"answered": nil, "not answered": &apiclient.Error{Op: "DetachInstances", Effect: apiclient.EffectPossible},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, fakecloud.Config{})
			op := s.enqueue(tasks.Request{Desktops: s.heirs(120)})
			old := map[string]string{}
			keys, err := s.rdb.Keys(t.Context(), "*{"+op.ID+"}*").Result()
			require.NoError(t, err)
			for _, key := range keys {
				if old[key], err = s.rdb.Dump(t.Context(), key).Result(); err != nil {
					t.Fatal(err)
				}
			}
			api := &forgetful{Client: client(t, s.cloud.URL, 5*time.Second), answer: answer, forget: func() {
				lost, err := s.rdb.Keys(context.Background(), "*{*}*").Result()
				require.NoError(t, err)
				for _, key := range lost {
					if strings.HasPrefix(key, "detachd:{"+op.ID) || strings.Contains(key, "{p:hq}:claims") || strings.Contains(key, "{p:hq}:holders") {
						require.NoError(t, s.rdb.Del(context.Background(), key).Err())
					}
				}
				for key, value := range old {
					require.NoError(t, s.rdb.Restore(context.Background(), key, 0, value).Err())
				}
			}}
			s.start(func(c *worker.Config) { c.Projects[0].API, c.Projects[0].MaxInFlight = api, 1 })
			got, _ := s.ended(op)
			require.Equal(t, 120, got.Counts.Detached)
			require.Empty(t, s.cutOff())
			require.Empty(t, s.takenTwice(ids(120)))
			require.Contains(t, s.log.String(), "Redis had lost that a call began")
			c, err := s.record.Chunk(t.Context(), op.ID, 0)
			require.NoError(t, err)
			require.Equal(t, []string{"leaver"}, c.Desktops[0].Pinned)
		})
	}
}

// freezing stops its own process when its detach call is to be made.
type freezing struct{ *apiclient.Client }

func (f freezing) Detach(ctx context.Context, req apiclient.DetachRequest) (*apiclient.DetachResult, error) {
	if file := os.Getenv("DETACHD_TEST_FROZEN"); file != "" {
		_ = os.Setenv("DETACHD_TEST_FROZEN", "")
		thawed := make(chan os.Signal, 1)
		signal.Notify(thawed, syscall.SIGCONT)
		defer signal.Stop(thawed)
		_ = os.WriteFile(file, nil, 0o600)
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		<-thawed // also if SIGSTOP stops the process only after Kill has returned
	}
	return f.Client.Detach(ctx, req)
}

// A worker that is frozen when its call is about to leave does not make it when it
// thaws: by then the desktop may be somebody else's.
func TestAFrozenWorkerSendsNothingOld(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	op := s.enqueue(tasks.Request{Desktops: s.heirs(1)})
	frozen := filepath.Join(t.TempDir(), "frozen")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "DETACHD_TEST_WORKER=frozen", "DETACHD_TEST_ADDR="+s.server.Addr(), "DETACHD_TEST_CLOUD="+s.cloud.URL, "DETACHD_TEST_FROZEN="+frozen)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	require.Eventually(t, func() bool { _, err := os.Stat(frozen); return err == nil }, patience, time.Millisecond)
	began := time.Now()
	id := ids(1)[0]
	s.cloud.Add(projectID, fakecloud.Desktop{ID: id, Users: []fakecloud.User{{Name: "heir"}}}) // the leaver's was taken by hand
	require.Eventually(t, func() bool { return time.Since(began) > 6*time.Second }, patience, 10*time.Millisecond, "longer than a reading is fresh")
	require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
	require.Eventually(t, func() bool { return s.operation(op).Done() }, patience, 10*time.Millisecond)
	for _, r := range s.detaches() { // its headers may have left, which name no desktop
		require.Empty(t, r.DesktopIDs, "it sent what it had prepared before")
		require.NotEqual(t, http.StatusOK, r.Status)
	}
	require.Equal(t, []string{"heir"}, s.on(id))
	require.Equal(t, 1, s.operation(op).Counts.Held+s.operation(op).Counts.Detached)
}

// A worker that is killed and starts again under its name continues what it had in hand at
// once: no other worker would miss it.
func TestAWorkerStartsAgainUnderItsName(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	op := s.enqueue(tasks.Request{Desktops: ids(5)})
	inspector := asynq.NewInspectorFromRedisClient(s.rdb)
	small := s.record.QueueName("hq", record.SmallQueue)
	list, err := inspector.ListPendingTasks(small)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.NoError(t, inspector.DeleteTask(small, list[0].ID)) // with the worker, as a task that stays active
	_, err = s.record.Begin(t.Context(), "worker-1", []record.Run{{Payload: queue.Payload{Operation: op.ID, Project: "hq"}, Mark: "1"}}, nil)
	require.NoError(t, err)
	s.start()
	got, _ := s.ended(op)
	require.Equal(t, 5, got.Counts.Detached)
	held, err := s.record.InHand(t.Context(), "worker-1")
	require.NoError(t, err)
	require.False(t, slices.ContainsFunc(held, func(p queue.Payload) bool { return p.Generation == 0 }))
}

// What is about to be sent must be known to the replica that would take over: while it
// acknowledges nothing, nothing is sent; when it is gone altogether, work goes on.
func TestNothingIsSentThatTheReplicaDoesNotKnow(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	replica := redistest.StartReplica(t, s.server, s.server.Addr())
	s.start(func(c *worker.Config) { c.Record.ReplicaReturns = 3 * time.Second })
	first, _ := s.ended(s.enqueue(tasks.Request{Desktops: ids(3)}))
	require.Equal(t, 3, first.Counts.Detached)
	require.NoError(t, replica.Freeze())
	before := len(s.detaches())
	s.exist("more")
	op := s.enqueue(tasks.Request{Desktops: []string{"more"}})
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), "replica does not acknowledge") }, patience, 10*time.Millisecond)
	require.Len(t, s.detaches(), before, "sent although a failover would forget it")
	require.NoError(t, replica.Thaw())
	got, _ := s.ended(op)
	require.Equal(t, 1, got.Counts.Detached)
	replica.Kill()
	got, _ = s.ended(s.enqueue(tasks.Request{Desktops: ids(5)[3:]}))
	require.Equal(t, 2, got.Counts.Detached)
}
