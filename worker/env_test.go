package worker_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
	"github.com/detachd/detachd/worker"
)

func TestMain(m *testing.M) {
	if role := os.Getenv("DETACHD_TEST_WORKER"); role != "" {
		os.Exit(killedWorker(role))
	}
	flag.Parse()
	// They wait more than they compute: for time-outs, leases and other processes.
	if err := flag.Set("test.parallel", strconv.Itoa(3*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
	redis.SetLogger(silence{}) // it reports every failed dial, and tests take Redis away
	// The dialling goroutine of a closed pool sleeps for a second before it
	// notices.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

const (
	projectID = "0bec5db98280d2d02fd6c00c2de791ce"
	token     = "token-of-the-test"
	patience  = 3 * time.Minute // of a machine that does much else
)

// env is a redis-server, a fake cloud and the means to use them.
type env struct {
	t      *testing.T
	server *redistest.Server
	rdb    redis.UniversalClient
	cloud  *fakecloud.Server
	p      *record.Producer
	record *record.Record
	log    *logs
	absent bool // desktops that are named and do not exist are not made
}

// logs is what the workers log.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func newEnv(t *testing.T, cloud fakecloud.Config) *env {
	t.Helper()
	server := redistest.Start(t)
	return newEnvOn(t, server, server.Client(t), cloud)
}

func newEnvOn(t *testing.T, server *redistest.Server, rdb redis.UniversalClient, cloud fakecloud.Config) *env {
	t.Helper()
	s := &env{t: t, server: server, rdb: rdb, log: &logs{}}
	t.Cleanup(func() { require.NotContains(t, s.log.String(), token, "a secret was logged") })
	cloud.Token = token
	var err error
	s.cloud, err = fakecloud.Serve(cloud, "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(s.cloud.Close)
	s.p, err = record.NewProducer(s.rdb, record.ProducerConfig{Projects: []string{"hq"}})
	require.NoError(t, err)
	s.record = s.p.Record
	return s
}

// client is a real client of the fake cloud.
func client(t testing.TB, url string, timeout time.Duration) *apiclient.Client {
	return clientOf(t, url, projectID, timeout)
}

func clientOf(t testing.TB, url, project string, timeout time.Duration) *apiclient.Client {
	transport := apiclient.NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	c, err := apiclient.New(apiclient.Config{
		ProjectID: project, Endpoint: url, Auth: apiclient.StaticToken(token), Timeout: timeout, Transport: transport,
	})
	require.NoError(t, err)
	return c
}

// unlimited lets every operation pass.
var unlimited = tasks.Limit{Desktops: 1, Percent: 100, Window: time.Hour}

// reckless are projects whose operations go ahead whatever happens to their desktops.
func reckless(p worker.Project) worker.Project {
	none := tasks.NoStopLoss
	p.Limit, p.Canary, p.StopLoss = &unlimited, &tasks.Canary{}, &none
	return p
}

// quick is a worker's configuration that retries at once, so that tests need
// not wait.
func quick(rdb redis.UniversalClient, id string, api worker.API) worker.Config {
	return worker.Config{
		Redis: rdb, ID: id, Log: zerolog.Nop(), MaxAttempts: 8, RetryBase: 10 * time.Millisecond, RetryMax: 50 * time.Millisecond,
		BulkPollInterval: 25 * time.Millisecond, UrgentPollInterval: 25 * time.Millisecond, FirstLook: 10 * time.Millisecond,
		CallMargin: 500 * time.Millisecond,
		Projects:   []worker.Project{reckless(worker.Project{Alias: "hq", API: api, CallTimeout: 5 * time.Second})},
	}
}

// sweptElsewhere makes another worker the leader. A sweep and the worker itself may both close an
// operation that has just ended; then it ends twice in logs and traces.
func (s *env) sweptElsewhere() {
	s.t.Helper()
	lead, err := s.record.Lead(s.t.Context(), "leader", time.Hour)
	require.NoError(s.t, err)
	require.True(s.t, lead)
}

// start runs a worker until the test ends.
func (s *env) start(change ...func(*worker.Config)) *worker.Worker {
	s.t.Helper()
	return s.run(s.worker(change...))
}

// startImpatient runs a worker that notices dead ones and lost tasks soon.
func (s *env) startImpatient(change ...func(*worker.Config)) *worker.Worker {
	s.t.Helper()
	w := s.worker(change...)
	worker.ShortenIntervals(w)
	return s.run(w)
}

func (s *env) run(w *worker.Worker) *worker.Worker {
	s.t.Helper()
	require.NoError(s.t, w.Start(s.t.Context()))
	s.t.Cleanup(w.Stop)
	return w
}

func (s *env) worker(change ...func(*worker.Config)) *worker.Worker {
	s.t.Helper()
	cfg := quick(s.rdb, "worker-1", client(s.t, s.cloud.URL, 5*time.Second))
	cfg.Log = zerolog.New(s.log)
	for _, f := range change {
		f(&cfg)
	}
	w, err := worker.New(cfg)
	require.NoError(s.t, err)
	return w
}

func ids(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("d-%06d", i)
	}
	return out
}

// exist adds desktops with these ids that do not exist yet, each of a user of its own.
func (s *env) exist(ids ...string) {
	for _, id := range ids {
		if _, known := s.cloud.Get(projectID, id); !known {
			s.cloud.Add(projectID, fakecloud.Desktop{ID: id})
		}
	}
}

func (s *env) enqueue(req tasks.Request) record.Operation {
	s.t.Helper()
	req.Project = "hq"
	if !s.absent {
		s.exist(req.Desktops...)
	}
	op, err := s.p.Enqueue(s.t.Context(), req)
	require.NoError(s.t, err)
	return op
}

// ended waits for an operation's end, and checks what must hold of every one:
// each desktop is in one state and the counts equal the rows.
func (s *env) ended(op record.Operation) (record.Operation, map[string]record.Row) {
	s.t.Helper()
	var got record.Operation
	require.Eventually(s.t, func() bool {
		var err error
		got, err = s.record.Operation(context.Background(), op.ID)
		return err == nil && got.Done()
	}, patience, 20*time.Millisecond, "the operation does not end")
	rows := s.rows(got)
	counts := map[tasks.State]int{}
	for _, d := range rows {
		counts[d.State]++
	}
	require.Len(s.t, rows, got.Total)
	require.Equal(s.t, tasks.Counts{
		Queued: counts[tasks.StateQueued], Sending: counts[tasks.StateSending], Accepted: counts[tasks.StateAccepted], Detached: counts[tasks.StateDetached],
		Failed: counts[tasks.StateFailed], Held: counts[tasks.StateHeld], Cancelled: counts[tasks.StateCancelled],
		Expanded: counts[tasks.StateExpanded], NoDesktop: counts[tasks.StateNoDesktop],
	}, got.Counts)
	require.Zero(s.t, counts[tasks.StateQueued]+counts[tasks.StateSending]+counts[tasks.StateAccepted], "it has ended with work left")
	s.verifyTrail(got)
	return got, rows
}

func (s *env) operation(op record.Operation) record.Operation {
	s.t.Helper()
	got, err := s.record.Operation(context.Background(), op.ID)
	require.NoError(s.t, err)
	return got
}

// verifyTrail replays the trail against the rows and compares its head with the seal.
func (s *env) verifyTrail(op record.Operation) {
	s.t.Helper()
	es, err := s.record.Evidence(context.Background(), op, 0, op.Chunks())
	require.NoError(s.t, err)
	for _, e := range es {
		require.NoError(s.t, e.Check())
	}
	require.Eventually(s.t, func() bool { // the finisher comes a moment later
		now, err := s.record.Operation(context.Background(), op.ID)
		require.NoError(s.t, err)
		head, err := s.record.TrailHead(context.Background(), now)
		require.NoError(s.t, err)
		return now.Seal == head || !now.Done()
	}, patience, 10*time.Millisecond, "the trail is not sealed")
}

func (s *env) rows(op record.Operation) map[string]record.Row {
	s.t.Helper()
	all, next, err := s.record.Desktops(context.Background(), op, tasks.DesktopFilter{}, op.Total+1, "")
	require.NoError(s.t, err)
	require.Empty(s.t, next)
	out := map[string]record.Row{}
	for _, d := range all {
		out[d.ID] = d
	}
	return out
}

// calls checks what must hold of every call that the cloud saw.
func (s *env) calls() []fakecloud.Request {
	s.t.Helper()
	require.Empty(s.t, s.cloud.InTwoCallsAtOnce(), "a desktop was in two calls at once")
	var out []fakecloud.Request
	for _, r := range s.cloud.Requests() {
		if r.Op != "detach" {
			continue
		}
		require.LessOrEqual(s.t, len(r.DesktopIDs), 100)
		seen := map[string]bool{}
		for _, id := range r.DesktopIDs {
			require.False(s.t, seen[id], "%s is twice in a call", id)
			seen[id] = true
		}
		out = append(out, r)
	}
	return out
}

// takenTwice gives the desktops that the cloud took more than once.
func (s *env) takenTwice(desktops []string) []string {
	var out []string
	for _, id := range desktops {
		if s.cloud.DetachedTimes(projectID, id) > 1 {
			out = append(out, id)
		}
	}
	return out
}

// detaches are the detach calls that the cloud saw.
func (s *env) detaches() (out []fakecloud.Request) {
	for _, r := range s.cloud.Requests() {
		if r.Op == fakecloud.OpDetach {
			out = append(out, r)
		}
	}
	return out
}
