package worker_test

import (
	"context"
	"net/http/httptrace"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
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

// killAtCall is the call in which the worker dies.
const killAtCall = 4

// killedWorker is the role of this test binary in which it is a worker that
// kills itself with SIGKILL at a point.
func killedWorker(point string) int {
	rdb := redis.NewClient(redistest.Options(os.Getenv("DETACHD_TEST_ADDR")))
	c, err := apiclient.New(apiclient.Config{ProjectID: projectID, Endpoint: os.Getenv("DETACHD_TEST_CLOUD"), Auth: apiclient.StaticToken(token)})
	if err != nil {
		return 1
	}
	if point == "frozen" {
		w, err := worker.New(quick(rdb, "frozen", freezing{c}))
		if err != nil || w.Run(context.Background()) != nil {
			return 1
		}
		return 0
	}
	if strings.HasPrefix(point, "canary") {
		api := &canaryKiller{Client: c, point: point}
		rdb.AddHook(api)
		cfg := quick(rdb, "killed", api)
		braked(&cfg)
		w, err := worker.New(cfg)
		if err != nil || w.Run(context.Background()) != nil {
			return 1
		}
		return 0
	}
	api := &suicidal{Client: c, point: point, stop: make(chan struct{})}
	rdb.AddHook(api)
	cfg := quick(rdb, "killed", api)
	above := 1000
	cfg.Projects[0].MaxInFlight, cfg.Projects[0].UndoSecondPersonAbove = 1, &above
	w, err := worker.New(cfg)
	if err != nil {
		return 1
	}
	if err := w.Start(context.Background()); err != nil {
		return 1
	}
	<-api.stop
	w.Stop()
	return 0 // not reached: it is killed before
}

// suicidal is a client, and a hook of Redis, that ends the process.
type suicidal struct {
	*apiclient.Client
	point string
	calls atomic.Int32
	armed atomic.Bool
	stop  chan struct{}
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}

func (s *suicidal) Detach(ctx context.Context, req apiclient.DetachRequest) (*apiclient.DetachResult, error) {
	return s.call(ctx, func(ctx context.Context) (*apiclient.DetachResult, error) { return s.Client.Detach(ctx, req) })
}

func (s *suicidal) Attach(ctx context.Context, desktops []apiclient.Attachment) (*apiclient.DetachResult, error) {
	return s.call(ctx, func(ctx context.Context) (*apiclient.DetachResult, error) { return s.Client.Attach(ctx, desktops) })
}

func (s *suicidal) call(
	ctx context.Context, call func(context.Context) (*apiclient.DetachResult, error),
) (*apiclient.DetachResult, error) {
	if s.calls.Add(1) != killAtCall {
		return call(ctx)
	}
	switch s.point {
	case "before the call":
		die()
	case "call in flight":
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { die() }})
	case "in shutdown":
		close(s.stop)
	}
	res, err := call(ctx)
	switch s.point {
	case "after the reply":
		die()
	case "after the record":
		s.armed.Store(true)
	case "in shutdown":
		die()
	}
	return res, err
}

func (s *suicidal) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (s *suicidal) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// The outcome of a call is the only thing that is written with "answered".
func (s *suicidal) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			if s.armed.Load() && cmd.Err() == nil && strings.Contains(cmd.String(), `"answered":true`) {
				die()
			}
		}
		return err
	}
}

// dies runs a worker that kills itself with SIGKILL at a point.
func (s *env) dies(t *testing.T, point string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "DETACHD_TEST_WORKER="+point, "DETACHD_TEST_ADDR="+s.server.Addr(), "DETACHD_TEST_CLOUD="+s.cloud.URL)
	cmd.Stderr = os.Stderr
	err := cmd.Run()
	exit, ok := err.(*exec.ExitError)
	require.True(t, ok, "the worker was not killed: %v", err)
	require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal())
}

// A worker dies with kill -9, at each of five points of a call. Another takes
// over: every desktop ends recorded, none is lost, and none that the cloud took
// or refused is taken or recorded twice.
func TestKilledWorker(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"before the call", "call in flight", "after the reply", "after the record", "in shutdown"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, fakecloud.Config{})
			refused := []string{"d-000301", "d-000555"} // one in the call in which it dies, one later
			for _, id := range refused {
				s.cloud.Fail(fakecloud.Fault{Desktop: id, Refuse: &fakecloud.Refusal{Code: "WKS.00010110", Message: "no address"}})
			}
			op := s.enqueue(tasks.Request{Desktops: ids(600)})

			s.dies(t, point)
			before, err := s.record.Operation(t.Context(), op.ID)
			require.NoError(t, err)
			require.False(t, before.Done(), "it died too late to show anything")

			s.startImpatient(func(c *worker.Config) { c.ID = "survivor" })
			got, rows := s.ended(op)
			require.Equal(t, 598, got.Counts.Detached)
			require.Equal(t, 2, got.Counts.Failed)
			s.calls()
			require.Empty(t, s.takenTwice(ids(600)), "taken again although the cloud had it")
			failures, _, err := s.record.Failures(t.Context(), tasks.FailureFilter{}, 10, "")
			require.NoError(t, err)
			require.Len(t, failures, 2, "each refusal is recorded once")
			for _, id := range refused {
				require.Equal(t, tasks.StateFailed, rows[id].State)
			}
			entries, err := s.record.History(t.Context(), refused[0])
			require.NoError(t, err)
			require.Len(t, entries, 1)
			workers, err := s.record.Workers(t.Context())
			require.NoError(t, err)
			require.Len(t, workers, 1, "the dead worker is still listed")
		})
	}
}

// What a dead worker had claimed goes on when the lease is over, and not before: its
// call may still take effect.
func TestClaimsOutliveTheirWorker(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	require.NoError(t, s.record.AnnounceProjects(t.Context(), "gone", "hq"))
	_, err := s.record.Beat(t.Context(), "gone")
	require.NoError(t, err)
	claim := func(lease time.Duration) {
		got, _, err := s.record.Claim(t.Context(), record.Claim{Project: "hq", Holder: "gone/call", Desktops: ids(10)}, lease)
		require.NoError(t, err)
		require.NotContains(t, got, false)
	}
	claim(time.Hour)
	s.startImpatient()
	op := s.enqueue(tasks.Request{Desktops: ids(10)})
	require.Eventually(t, func() bool {
		workers, err := s.record.Workers(context.Background())
		return err == nil && len(workers) == 1
	}, patience, 10*time.Millisecond, "the dead worker is not noticed")
	require.Empty(t, s.detaches(), "sent although claimed")
	claim(0)
	op, _ = s.ended(op)
	require.Equal(t, 10, op.Counts.Detached)
}
