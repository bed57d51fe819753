package schedules_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/detachd/detachd/cmd/internal/schedules"
	"github.com/detachd/detachd/cmd/internal/sources"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

func TestMain(m *testing.M) {
	redis.SetLogger(silence{})
	if point := os.Getenv("DETACHD_TEST_TICKER"); point != "" {
		os.Exit(killedTicker(point))
	}
	flag.Parse()
	// They wait more than they compute.
	if err := flag.Set("test.parallel", strconv.Itoa(3*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

const patience = 60 * time.Second

// env is a redis-server with a clock that the test sets, and the means to run tickers.
type env struct {
	t      *testing.T
	server *redistest.Server
	prefix string
	p      *record.Producer
	r      *record.Record
	source *lists
	log    *logs
	offset atomic.Int64 // of the time of Redis, as tickers read it
	polls  atomic.Int64
	config record.Config
}

func newEnv(t *testing.T, configured ...tasks.Schedule) *env {
	t.Helper()
	s := &env{t: t, server: redistest.Start(t), prefix: "t" + strings.ToLower(rand.Text()[:8]), log: &logs{}}
	s.source = &lists{real: sources.New(sources.Config{})}
	s.config = record.Config{Prefix: s.prefix, Retention: 90 * 24 * time.Hour, Schedules: configured}
	s.p = s.producer(0)
	s.r = s.p.Record
	s.goTo(time.Now().Truncate(time.Minute)) // no minute ends by itself before the test goes to its first tick
	return s
}

// producer is one of a process of its own, on a machine whose clock is wrong.
func (s *env) producer(wrong time.Duration, hooks ...redis.Hook) *record.Producer {
	s.t.Helper()
	rdb := s.server.Client(s.t)
	for _, h := range hooks {
		rdb.AddHook(h)
	}
	p, err := record.NewProducer(rdb, record.ProducerConfig{
		Projects: []string{"hq", "branch"}, Record: s.config, Now: func() time.Time { return time.Now().Add(wrong) },
		Required: map[string]tasks.Required{"branch": {Reason: true}},
	})
	require.NoError(s.t, err)
	return p
}

func quick(p *record.Producer, source schedules.Source, worker string, log zerolog.Logger) schedules.Config {
	return schedules.Config{
		Producer: p, Projects: []string{"hq", "branch"}, Source: source, Worker: worker, Log: log,
		Every: 5 * time.Millisecond, Lease: 300 * time.Millisecond, Retry: 20 * time.Millisecond,
	}
}

// ticker runs a ticker of its own process until the end of the test, or until the returned
// function is called.
func (s *env) ticker(name string, change ...func(*schedules.Config)) (stop func()) {
	return s.tickerOf(s.producer(0, &wrongClock{s}), name, change...)
}

func (s *env) tickerOf(p *record.Producer, name string, change ...func(*schedules.Config)) (stop func()) {
	s.t.Helper()
	cfg := quick(p, s.source, name, zerolog.New(s.log))
	for _, f := range change {
		f(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); schedules.New(cfg).Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	s.t.Cleanup(stop)
	return stop
}

// wrongClock is a hook that changes the time of Redis that tickers read.
type wrongClock struct{ *env }

func (*wrongClock) DialHook(next redis.DialHook) redis.DialHook { return next }
func (w *wrongClock) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return next
}
func (w *wrongClock) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			if c, ok := cmd.(*redis.Cmd); ok && script(cmd) == "poll" && cmd.Err() == nil {
				reply := c.Val().([]any)
				reply[0] = reply[0].(int64) + time.Duration(w.offset.Load()).Milliseconds()
				c.SetVal(reply)
				w.polls.Add(1)
			}
		}
		return err
	}
}

// script tells the scripts of a ticker apart by their keys.
func script(cmd redis.Cmder) string {
	args := cmd.Args()
	if len(args) < 5 || args[0] != "evalsha" && args[0] != "eval" {
		return ""
	}
	key := fmt.Sprint(args[3])
	switch keys := fmt.Sprint(args[2]); {
	case strings.HasSuffix(key, "{schedules}:version") && strings.HasSuffix(fmt.Sprint(args[4]), ":asked"):
		return "poll"
	case strings.Contains(key, "{schedules}:state:") && keys == "1":
		return "begin"
	case strings.Contains(key, "{schedules}:state:"):
		return "commit"
	}
	return ""
}

// now is the time of Redis that tickers read.
func (s *env) now() time.Time { return time.Now().Add(time.Duration(s.offset.Load())) }

// goTo sets the time of Redis that tickers read.
func (s *env) goTo(at time.Time) { s.offset.Store(int64(time.Until(at))) }

// polled waits until every one of n tickers has read the time twice.
func (s *env) polled(n int) {
	s.t.Helper()
	until := s.polls.Load() + int64(4*n)
	s.eventually(func() bool { return s.polls.Load() > until }, "the time is not read")
}

func (s *env) eventually(is func() bool, text string) {
	s.t.Helper()
	require.Eventually(s.t, is, patience, 2*time.Millisecond, text)
}

func (s *env) add(x tasks.Schedule) tasks.Schedule {
	s.t.Helper()
	x = every(x)
	require.NoError(s.t, s.r.AddSchedule(s.t.Context(), x))
	return x
}

// every is a schedule of each minute, for what it does not say.
func every(x tasks.Schedule) tasks.Schedule {
	if x.Name == "" {
		x.Name = "nightly"
	}
	if x.Project == "" {
		x.Project = "hq"
	}
	if x.Cron == "" {
		x.Cron = "* * * * *"
	}
	if x.Source.File == "" && x.Source.Desktops == nil {
		x.Source.Desktops = []string{"d1"}
	}
	x.By = "zoe"
	return x
}

func (s *env) view(name string) tasks.ScheduleView {
	s.t.Helper()
	x, err := s.r.Schedule(s.t.Context(), name)
	require.NoError(s.t, err)
	views, err := s.r.ScheduleViews(s.t.Context(), []tasks.Schedule{x}, s.now(), 3)
	require.NoError(s.t, err)
	return views[0]
}

// tick moves the time to the next tick of a schedule, and waits for the run.
func (s *env) tick(name string) tasks.ScheduleRun {
	s.t.Helper()
	next := s.view(name).Next[0]
	s.goTo(next.At.Add(time.Second))
	return s.run(name, next.ID)
}

// run waits for a run.
func (s *env) run(name, id string) (out tasks.ScheduleRun) {
	s.t.Helper()
	s.eventually(func() bool {
		runs := s.view(name).Runs
		i := slices.IndexFunc(runs, func(r tasks.ScheduleRun) bool { return r.ID == id })
		if i >= 0 {
			out = runs[i]
		}
		return i >= 0
	}, "no run "+id)
	return out
}

// operations are all in the record, the latest first.
func (s *env) operations() []record.Operation {
	s.t.Helper()
	ops, _, err := s.r.Operations(s.t.Context(), tasks.OperationFilter{}, 1000, "")
	require.NoError(s.t, err)
	return ops
}

// finish ends the rows of all operations.
func (s *env) finish() {
	s.t.Helper()
	for _, op := range s.operations() {
		if !op.Done() {
			_, _, err := s.r.Cancel(s.t.Context(), op, time.Now(), "the test")
			require.NoError(s.t, err)
		}
	}
	s.eventually(func() bool {
		_, err := s.r.Sweep(s.t.Context(), time.Now(), 0, 1000, time.Minute)
		require.NoError(s.t, err)
		return !slices.ContainsFunc(s.operations(), func(op record.Operation) bool { return !op.Done() })
	}, "an operation does not end")
}

// lists is a source: lists of schedules as they are, or what the test decides.
type lists struct {
	real schedules.Source

	mu    sync.Mutex
	as    func(ctx context.Context, s tasks.Schedule, lastRows int) (sources.Found, error)
	reads map[string]int
}

func (l *lists) Read(ctx context.Context, s tasks.Schedule, lastRows int) (sources.Found, error) {
	l.mu.Lock()
	as := l.as
	if l.reads == nil {
		l.reads = map[string]int{}
	}
	l.reads[s.Name]++
	l.mu.Unlock()
	if as != nil {
		return as(ctx, s, lastRows)
	}
	return l.real.Read(ctx, s, lastRows)
}

func (l *lists) be(as func(ctx context.Context, s tasks.Schedule, lastRows int) (sources.Found, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.as = as
}

func (l *lists) count(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reads[name]
}

// request is one of a schedule.
func request(s tasks.Schedule, desktops ...string) tasks.Request {
	return tasks.Request{Project: s.Project, Desktops: desktops, RequestedBy: tasks.ScheduleRequester(s.Name), Owner: s.Owner, Reason: s.Reason}
}

// logs is what tickers log.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
