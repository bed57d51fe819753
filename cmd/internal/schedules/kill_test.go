package schedules_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/schedules"
	"github.com/detachd/detachd/cmd/internal/sources"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// points are where a tick can die.
var points = []string{
	"before it is read", "after it is read", "in the source", "before the operation", "before the acceptance", "after the acceptance",
	"before the commit", "after the commit",
}

// killedTicker is the role of this test binary in which it is a ticker that kills itself with
// SIGKILL at a point of a tick.
func killedTicker(point string) int {
	rdb := redis.NewClient(redistest.Options(os.Getenv("DETACHD_TEST_ADDR")))
	rdb.AddHook(&suicidal{point})
	p, err := record.NewProducer(rdb, record.ProducerConfig{
		Projects: []string{"hq"}, Record: record.Config{Prefix: os.Getenv("DETACHD_TEST_PREFIX"), Retention: 90 * 24 * time.Hour},
	})
	if err != nil {
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // if it does not reach the point
	defer cancel()
	schedules.New(quick(p, ofFile(point), "killed", zerolog.New(os.Stderr).Level(zerolog.WarnLevel))).Run(ctx)
	return 0
}

// ofFile is the source of schedules with a file: two operations of one content.
func ofFile(point string) schedules.Source {
	return sourceFunc(func(_ context.Context, x tasks.Schedule, _ int) (sources.Found, error) {
		if point == "in the source" {
			die()
		}
		list := sources.List{Requests: []tasks.Request{request(x, "d1"), request(x, "d2")}}
		if x.Source.File != "" {
			list.SHA256 = "aa"
		}
		return sources.Found{Lists: []sources.List{list}, Rows: 2}, nil
	})
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}

// suicidal is a hook of Redis that ends the process.
type suicidal struct{ point string }

func (*suicidal) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (*suicidal) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (s *suicidal) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			if "before "+step(cmd) == s.point {
				die()
			}
		}
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			if "after "+step(cmd) == s.point && cmd.Err() == nil {
				die()
			}
		}
		return err
	}
}

// step names the commands at which a ticker dies.
func step(cmd redis.Cmder) string {
	switch text := cmd.String(); {
	case script(cmd) == "begin":
		return "it is read"
	case script(cmd) == "commit":
		return "the commit"
	case strings.HasPrefix(text, "eval") && strings.Contains(text, "}:open "):
		return "the acceptance"
	case strings.HasPrefix(text, "eval") && strings.Contains(text, "}:c:0 "):
		return "the operation"
	}
	return ""
}

// A ticker dies with kill -9 at each point of a tick. Another makes what is left: each tick has
// its operations once, and is recorded once, as started.
func TestKilledTicker(t *testing.T) {
	t.Parallel()
	for _, point := range points {
		for _, file := range []string{"", "leavers.csv"} {
			t.Run(point+" "+file, func(t *testing.T) {
				t.Parallel()
				s := newEnv(t)
				// A tick of half an hour ago is due, and there is none soon.
				ago := time.Now().UTC().Add(-30 * time.Minute)
				x := every(tasks.Schedule{Cron: fmt.Sprintf("%d %d * * *", ago.Minute(), ago.Hour()), Source: tasks.ScheduleSource{File: file}})
				require.NoError(t, s.r.AddSchedule(t.Context(), x))
				key := s.prefix + ":{schedules}:state:nightly"
				require.NoError(t, s.server.Client(t).HSet(t.Context(), key, "since", ago.Add(-time.Hour).UnixMilli()).Err())

				cmd := exec.CommandContext(t.Context(), os.Args[0])
				cmd.Env = append(os.Environ(), "DETACHD_TEST_TICKER="+point, "DETACHD_TEST_ADDR="+s.server.Addr(), "DETACHD_TEST_PREFIX="+s.prefix)
				cmd.Stderr = os.Stderr
				err := cmd.Run()
				exit, ok := err.(*exec.ExitError)
				require.True(t, ok, "it was not killed: %v", err)
				require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal())
				made := len(s.operations())
				require.Equal(t, map[string]int{"after the acceptance": 1, "before the commit": 2, "after the commit": 2}[point], made, "%+v", s.view("nightly").Runs)
				if point != "after the commit" {
					require.Empty(t, s.view("nightly").Runs, "it died too late to show anything")
				}

				s.ticker("survivor", func(c *schedules.Config) { c.Source = ofFile("") })
				s.eventually(func() bool { return len(s.view("nightly").Runs) > 0 }, "nobody goes on")
				run := s.view("nightly").Runs[0]
				require.Equal(t, tasks.RunStarted, run.Result, run.Why)
				require.Len(t, run.Operations, 2)
				s.polled(1)
				require.Len(t, s.operations(), 2, "made twice, or lost")
				require.Equal(t, 1, s.view("nightly").Counts.Runs)
			})
		}
	}
}

// A ticker dies after it made the operation of a tick, and nobody is there until the next: that
// one knows that the operation has not finished, and the first has not been missed.
func TestAKilledTickerIsKnownAtTheNextTick(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		desktop string // of the operation that the dead ticker made
		late    time.Duration
		pause   bool
	}{
		"the next":           {"d1", 70 * time.Second, false},
		"the same, paused":   {"d1", 10 * time.Second, true},
		"another was read":   {"d9", 10 * time.Second, false},
		"the next and other": {"d9", 70 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t)
			x := s.add(tasks.Schedule{})
			ticks, err := record.NewTicks(x)
			require.NoError(t, err)
			tick, ok := ticks.After(s.state("nightly").Since) // the next one from now may be a minute later
			require.True(t, ok)
			q := request(x, c.desktop)
			q.IdempotencyKey = tick.ID
			op, err := s.p.Enqueue(t.Context(), q)
			require.NoError(t, err)
			if c.pause {
				require.NoError(t, s.r.PauseSchedule(t.Context(), "nightly", tasks.SchedulePause{By: "zoe"}))
			}
			s.goTo(tick.At.Add(c.late))
			s.ticker("survivor")
			run := s.run("nightly", tick.ID)
			require.Equal(t, []any{tasks.RunStarted, []string{op.ID}, 0}, []any{run.Result, run.Operations, run.Missed})
			if c.late > time.Minute {
				run = s.run("nightly", s.after("nightly", tick).ID)
				require.Equal(t, []any{tasks.RunSkipped, 0}, []any{run.Result, run.Missed})
			}
			require.Len(t, s.operations(), 1)
		})
	}
}

// Redis dies and comes back in between: no tick is lost and none is made twice.
func TestRedisRestarts(t *testing.T) {
	t.Parallel()
	s := newEnv(t)
	s.add(tasks.Schedule{Overlap: tasks.OverlapAllow})
	for _, worker := range []string{"a", "b", "c"} {
		s.ticker(worker)
	}
	s.tick("nightly")
	next := s.view("nightly").Next[0]
	s.server.Stop()
	s.goTo(next.At.Add(30 * time.Second))
	require.NoError(t, s.server.Restart())
	run := s.run("nightly", next.ID)
	require.Equal(t, []any{tasks.RunStarted, 0}, []any{run.Result, run.Missed})
	s.polled(3)
	require.Len(t, s.operations(), 2)
	require.Equal(t, 2, s.view("nightly").Counts.Runs)
}
