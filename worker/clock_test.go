package worker_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/worker"
)

// skew makes the clock of Redis differ in the answers to a worker's beats.
type skew struct{ by, beats atomic.Int64 }

func (k *skew) set(d time.Duration) { k.by.Store(d.Milliseconds()) }

func (k *skew) through(s *env) func(*worker.Config) {
	rdb := s.server.Client(s.t)
	rdb.AddHook(k)
	return func(c *worker.Config) { c.Redis = rdb }
}

// beaten waits until the worker has beaten again.
func (k *skew) beaten(s *env) {
	s.t.Helper()
	before := k.beats.Load()
	require.Eventually(s.t, func() bool { return k.beats.Load() >= before+3 }, patience, time.Millisecond)
}

func (k *skew) DialHook(next redis.DialHook) redis.DialHook { return next }

func (k *skew) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (k *skew) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if beat, ok := cmds[0].(*redis.Cmd); ok && err == nil && slices.Contains(beat.Args(), any("detachd:workers")) {
			ms, _ := beat.Int64()
			beat.SetVal(ms + k.by.Load())
			k.beats.Add(1)
		}
		return err
	}
}

// A scheduled operation begins by the clock of Redis: a worker that is ahead takes nothing from anybody
// early. One that is behind fails nothing too late either.
func TestNothingBeginsEarly(t *testing.T) {
	t.Parallel()
	for name, by := range map[string]time.Duration{"ahead": -5 * time.Second, "behind": 5 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, fakecloud.Config{})
			var k skew
			k.set(by)
			s.start(k.through(s))
			begin := time.Now().Add(time.Second)
			op, _ := s.ended(s.enqueue(tasks.Request{Desktops: ids(1), NotBefore: begin}))
			require.Equal(t, 1, op.Counts.Detached)
			require.False(t, s.detaches()[0].Time.Before(begin.Add(-by).Truncate(time.Millisecond)))
		})
	}
}

// Deadlines are those of Redis' clock, too: a worker that is ahead fails nothing as too late.
func TestNothingIsTooLateEarly(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	var k skew
	k.set(-50 * time.Second)
	require.NoError(t, s.record.PauseProject(t.Context(), "hq", tasks.PauseOperator, 0, "wait"))
	op := s.enqueue(tasks.Request{Desktops: ids(1), Deadline: time.Now().Add(2 * time.Second)})
	s.start(k.through(s))
	require.Eventually(t, func() bool { return time.Now().After(op.Deadline) }, patience, 10*time.Millisecond)
	require.NoError(t, s.record.ResumeProject(t.Context(), "hq"))
	got, _ := s.ended(op)
	require.Equal(t, 1, got.Counts.Detached)
}

// blocked answers no detach call before it may.
type blocked struct {
	*apiclient.Client
	may chan struct{}
}

func (a *blocked) Detach(ctx context.Context, req apiclient.DetachRequest) (*apiclient.DetachResult, error) {
	res, err := a.Client.Detach(ctx, req)
	<-a.may
	return res, err
}

// hold makes a worker that is started with it get no answer to a detach call before answer is called: what
// a test does until then comes before any reading that follows the call, however slow the machine is.
func (s *env) hold() (through func(*worker.Config), answer func()) {
	s.t.Helper()
	api := &blocked{client(s.t, s.cloud.URL, 5*time.Second), make(chan struct{})}
	return func(c *worker.Config) { c.Projects[0].API = api }, sync.OnceFunc(func() { close(api.may) })
}

// A worker whose clock is far from that of Redis takes no work, until the clocks agree. What it has in
// hand it ends.
func TestAWorkerWithAWrongClockTakesNoWork(t *testing.T) {
	t.Parallel()
	for text, by := range map[string]time.Duration{"2h0m0s ahead of": -2 * time.Hour, "2h0m0s behind": 2 * time.Hour} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, fakecloud.Config{})
			var k skew
			k.set(by)
			held, answer := s.hold()
			w := s.worker(k.through(s), held)
			worker.ShortenIntervals(w)
			worker.SetIdle(w, 2*time.Second)
			s.run(w)
			t.Cleanup(answer) // before the worker stops
			first := s.enqueue(tasks.Request{Desktops: ids(1)})
			k.beaten(s)
			require.True(t, worker.Asleep(w))
			require.Contains(t, s.log.String(), "the clock of this machine is "+text+" that of Redis: the worker takes no work")
			other, err := s.record.Lead(t.Context(), "other", time.Millisecond)
			require.NoError(t, err)
			require.True(t, other, "it does not sweep either")

			k.set(0)
			require.Eventually(t, func() bool { return len(s.detaches()) == 1 }, patience, time.Millisecond)
			require.Contains(t, s.log.String(), "the worker takes work")
			require.False(t, worker.Asleep(w), "it has a chunk in hand")

			k.set(by)
			require.Eventually(t, func() bool { return worker.Asleep(w) }, patience, time.Millisecond)
			k.beaten(s) // it may have been asleep for another reason; and servers that end stop a moment later
			second := s.enqueue(tasks.Request{Desktops: ids(2)[1:]})
			k.beaten(s)
			answer()
			require.Eventually(t, func() bool { return s.operation(first).Counts.Accepted == 1 }, patience, time.Millisecond)
			k.beaten(s)
			require.Len(t, s.detaches(), 1)

			k.set(0)
			s.ended(first)
			got, _ := s.ended(second)
			require.Equal(t, 1, got.Counts.Detached)
		})
	}
}
