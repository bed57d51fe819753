package worker

import (
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/redistest"
)

// line is a process's calls, asked for by hand and by a clock of the test's own.
type line struct{ *turns }

// lines gives lines of processes that share a credential's 100 calls a minute.
func lines(rdb redis.UniversalClient, key string, burst, n int, now *time.Time) []line {
	out := make([]line, n)
	for i := range out {
		q := newLimiter(rdb, key, 100, 0, burst, zerolog.Nop()).kinds[callRequest]
		q.asking, q.fake, q.now = true, true, func() time.Time { return *now }
		out[i] = line{q}
	}
	return out
}

// want lines up n of a priority.
func (l line) want(p priority, n int) []*turn {
	out := make([]*turn, n)
	for i := range out {
		out[i] = l.lineUp(p)
	}
	return out
}

// come counts those that were let through.
func come(ts ...*turn) (n int) {
	for _, t := range ts {
		select {
		case <-t.come:
			n++
		default:
		}
	}
	return n
}

func left(l line) (n int) {
	counts, _, _ := l.line()
	for _, c := range counts {
		n += c
	}
	return n
}

var begin = time.Date(2026, 11, 30, 18, 0, 0, 0, time.UTC)

// Whatever two processes request, give back and abandon: no window has more requests than
// the limit and the burst allow, plus what came back in it; while a request of a higher
// priority waits, none behind it is let through in either process; and at least one is
// let through an interval after all stood still.
func TestLimitProperty(t *testing.T) {
	t.Parallel()
	rdb := redistest.Mini(t)
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		now := begin
		burst := rapid.IntRange(minBurst, 30).Draw(t, "burst")
		both := lines(rdb, "p:{cred:"+strconv.Itoa(run)+"}", burst, 2, &now)
		type event struct {
			at   time.Time
			n    int
			back int
		}
		var events []event
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			l, other := both[0], both[1]
			if rapid.Bool().Draw(t, "second") {
				l, other = other, l
			}
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 1, 200, 600, 1300, 5000, 60_000}).Draw(t, "ms")) * time.Millisecond)
			p := priority(rapid.IntRange(0, int(priorities)-1).Draw(t, "priority"))
			l.want(p, rapid.IntRange(0, 12).Draw(t, "wanted"))
			back := rapid.SampledFrom([]int{0, 0, 0, 1, 3}).Draw(t, "back")
			l.unused += back
			before := left(l)
			l.letThrough()
			events = append(events, event{now, before - left(l), back})

			if _, first, some := l.line(); some {
				if _, theirs, some := other.line(); some && theirs > first {
					was := left(other)
					other.letThrough()
					if left(other) != was {
						t.Fatalf("priority %d came while %d waits", theirs, first)
					}
				}
			}
		}
		for i := range events {
			let, back := 0, 0
			for _, e := range events[i:] {
				let, back = let+e.n, back+e.back
				if most := int(e.at.Sub(events[i].at)/both[0].interval) + burst + back; let > most {
					t.Fatalf("%d were let through in %s: at most %d", let, e.at.Sub(events[i].at), most)
				}
			}
		}
		now = now.Add(time.Duration(burst) * both[0].interval)
		for _, l := range both {
			if _, _, some := l.line(); some {
				was := left(l)
				if l.letThrough(); left(l) == was {
					t.Fatal("none came after a rest")
				}
				return
			}
		}
	})
}

// Bulk of one process uses up all that it gets, and an urgent call of another comes
// at once all the same; a whole row of them come one an interval, and bulk none
// until they are through.
func TestUrgentNeverWaitsBehindBulk(t *testing.T) {
	t.Parallel()
	now := begin
	two := lines(redistest.Mini(t), "p:{cred:c}", defaultBurst, 2, &now)
	bulk, urgent := two[0], two[1]
	wait := bulk.want(beforeCall, 1000)
	for range 100 {
		bulk.letThrough()
		now = now.Add(bulk.interval)
	}
	bulk.letThrough()
	require.Equal(t, defaultBurst-1+100, come(wait...), "all but the place of urgent ones")

	one := urgent.want(urgentFirst, 1)
	urgent.letThrough()
	require.Equal(t, 1, come(one...), "at once")

	row, was := urgent.want(urgentFirst, 5), come(wait...)
	for n := range row {
		bulk.letThrough()
		urgent.letThrough()
		require.Equal(t, n, come(row...))
		require.Equal(t, was, come(wait...), "bulk came before urgent")
		now = now.Add(urgent.interval)
	}
	bulk.letThrough()
	require.Equal(t, was, come(wait...), "the last urgent one's place")
	urgent.letThrough()
	require.Equal(t, len(row), come(row...))
}

// Those that wait come by priority, and within one in order of arrival, whenever
// they came.
func TestTheFirstComeFirst(t *testing.T) {
	t.Parallel()
	now := begin
	l := lines(redistest.Mini(t), "p:{cred:c}", defaultBurst, 1, &now)[0]
	l.want(urgentFirst, defaultBurst)
	l.letThrough()
	hint, prove := l.want(toHint, 1), l.want(toConfirm, 1)
	before, urgent := l.want(beforeCall, 2), l.want(urgentFirst, 1)
	for _, next := range []*turn{urgent[0], before[0], before[1], prove[0], hint[0]} {
		require.Zero(t, come(next))
		delay, more := l.next()
		require.True(t, more)
		now = now.Add(delay)
		l.letThrough()
		require.Equal(t, 1, come(next), "asked in vain")
	}
	require.Zero(t, left(l))
}

// What was not used comes back, and never makes more than the burst.
func TestGivenBackUnused(t *testing.T) {
	t.Parallel()
	now := begin
	l := lines(redistest.Mini(t), "p:{cred:c}", defaultBurst, 1, &now)[0]
	wait := l.want(urgentFirst, defaultBurst+1)
	l.letThrough()
	require.Equal(t, defaultBurst, come(wait...))
	l.giveBack()
	l.letThrough()
	require.Equal(t, defaultBurst+1, come(wait...))

	for range 100 {
		l.giveBack()
	}
	l.letThrough()
	wait = l.want(urgentFirst, 100)
	l.letThrough()
	require.Equal(t, defaultBurst, come(wait...))
}

// One that leaves takes nothing with it, before its turn nor after.
func TestTurnsOfThoseWhoLeft(t *testing.T) {
	t.Parallel()
	now := begin
	l := lines(redistest.Mini(t), "p:{cred:c}", defaultBurst, 1, &now)[0]
	wait := l.want(urgentFirst, defaultBurst+2)
	l.letThrough()
	l.leave(wait[defaultBurst], urgentFirst) // waits
	l.leave(wait[0], urgentFirst)            // was let through
	l.letThrough()
	require.Equal(t, 1, come(wait[defaultBurst+1]), "the next one gets the permit")
	require.Zero(t, come(wait[defaultBurst]))
	require.Zero(t, left(l))
}

// A clock of Redis that goes back, by a failover to another machine, delays requests no
// longer than the burst takes to come back.
func TestTheClockGoesBack(t *testing.T) {
	t.Parallel()
	now := begin
	rdb := redistest.Mini(t)
	l := lines(rdb, "p:{cred:c}", defaultBurst, 1, &now)[0]
	l.want(urgentFirst, defaultBurst)
	l.letThrough()
	now = now.Add(-time.Hour)
	l.want(urgentFirst, 1)
	l.letThrough()
	now = now.Add(l.interval)
	l.letThrough()
	require.Zero(t, left(l))
}

// Both kinds have a key of their own, within the prefix, that does not stay; a kind
// without a limit does not ask Redis. On a Cluster too.
func TestLimitersKeys(t *testing.T) {
	t.Parallel()
	server := redistest.StartCluster(t)
	rdb := server.ClusterClient(t)
	l := newLimiter(rdb, "p:{cred:main}", 100, 200, 0, zerolog.Nop())
	require.NoError(t, l.acquire(t.Context(), callRequest, urgentFirst))
	require.NoError(t, l.acquire(t.Context(), readRequest, toHint))
	keys, err := server.Client(t).Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"p:{cred:main}:calls", "p:{cred:main}:reads"}, keys)
	for _, k := range keys {
		ttl, err := rdb.PTTL(t.Context(), k).Result()
		require.NoError(t, err)
		require.Positive(t, ttl)
	}

	free := newLimiter(nil, "p:{cred:free}", 0, 0, 0, zerolog.Nop())
	require.NoError(t, free.acquire(t.Context(), callRequest, toHint))
	free.giveBack(callRequest)
	ended, end := context.WithCancel(t.Context())
	end()
	require.ErrorIs(t, free.acquire(ended, readRequest, toHint), context.Canceled)
	require.ErrorIs(t, l.acquire(ended, readRequest, toHint), context.Canceled)
}

// counting counts scripts.
type counting struct{ n atomic.Int64 }

func (c *counting) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *counting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.HasPrefix(cmd.Name(), "eval") {
			c.n.Add(1)
		}
		return next(ctx, cmd)
	}
}

func (c *counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// Many wait in two processes at once, on a real Redis: all come, no faster than the
// limit lets them; and by itself a process never asks in vain.
func TestProcessesShareALimit(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	const perMinute, each = 6000, 60 // one in 10 ms
	run := func(key string, processes int) (scripts int64) {
		var all sync.WaitGroup
		var asked counting
		started := time.Now()
		for range processes {
			rdb := server.Client(t)
			rdb.AddHook(&asked)
			l := newLimiter(rdb, key, perMinute, 0, defaultBurst, zerolog.Nop())
			for i := range each {
				all.Go(func() {
					if err := l.acquire(t.Context(), callRequest, priority(i%int(priorities))); err != nil {
						t.Error(err)
					}
				})
			}
		}
		all.Wait()
		took := time.Since(started)
		require.LessOrEqual(t, processes*each, int(took.Minutes()*perMinute)+defaultBurst+1)
		return asked.n.Load()
	}
	run("p:{cred:two}", 2)
	// The first may have to bring the script's text.
	require.LessOrEqual(t, run("p:{cred:one}", 1), int64(each+1), "scripts")
}

// While Redis is away nothing is let through, and one may leave; when it is back
// all goes on.
func TestLimitWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	failed := make(chan struct{}, 1)
	log := zerolog.New(signals{failed})
	l := newLimiter(server.Client(t), "p:{cred:c}", 100, 0, 0, log)
	require.NoError(t, l.acquire(t.Context(), callRequest, beforeCall))
	server.Kill()

	got := make(chan error, 1)
	acquire := func(ctx context.Context) { got <- l.acquire(ctx, callRequest, beforeCall) }
	ctx, end := context.WithCancel(t.Context())
	go acquire(ctx)
	<-failed
	require.Empty(t, got)
	end()
	require.ErrorIs(t, <-got, context.Canceled)

	go acquire(t.Context())
	<-failed
	require.Empty(t, got)
	l.giveBack(callRequest) // does not block
	require.NoError(t, server.Restart())
	require.NoError(t, <-got)
}

// signals says that something was logged.
type signals struct{ to chan<- struct{} }

func (s signals) Write(p []byte) (int, error) {
	select {
	case s.to <- struct{}{}:
	default:
	}
	return len(p), nil
}

var _ io.Writer = signals{}

// Projects of one credential have one limit, and no two opinions of it.
func TestProjectsOfOneCredentialHaveOneLimit(t *testing.T) {
	t.Parallel()
	project := func(alias string) Project {
		return Project{Alias: alias, API: struct{ API }{}, Credential: "main", CallsPerMinute: 100, ReadsPerMinute: 200, Burst: 5}
	}
	cfg := Config{Redis: redistest.Mini(t), ID: "w", Projects: []Project{project("a"), project("b"), project("c")}}
	cfg.Projects[2].Credential = "other"
	w, err := New(cfg)
	require.NoError(t, err)
	limits := map[string]*limiter{}
	for _, senders := range w.brakes.senders {
		limits[senders[0].project.Alias] = senders[0].limit
	}
	require.Same(t, limits["a"], limits["b"])
	require.NotSame(t, limits["a"], limits["c"])
	alone := limiterOf(cfg.Redis, w.record, Project{Alias: "alone", ReadsPerMinute: 1}, cfg.Log).kinds[readRequest]
	require.Equal(t, []any{"detachd:{cred:alone}:reads", defaultBurst}, []any{alone.key, alone.burst}, "without a credential a project has one of its own")

	for want, change := range map[string]func(p *Project){
		"Projects[1].limits are not those of a": func(p *Project) { p.CallsPerMinute = 50 },
		"Projects[1].limits must not":           func(p *Project) { p.ReadsPerMinute = -1 },
		"Projects[1].Burst":                     func(p *Project) { p.Burst = 3 },
		"Projects[1].Credential":                func(p *Project) { p.Credential = "{x}" },
		"Projects[1].UnknownUsers":              func(p *Project) { p.UnknownUsers = "drop" },
	} {
		bad := cfg
		bad.Projects = append([]Project(nil), cfg.Projects...)
		change(&bad.Projects[1])
		_, err := New(bad)
		require.ErrorContains(t, err, want)
	}
}

// A bulk of calls, as one worker asks for them, takes as long as its estimate says, by the
// clock of the limit: less what may leave at once.
func TestABulkTakesAsLongAsEstimated(t *testing.T) {
	t.Parallel()
	rdb := redistest.Mini(t)
	now := begin
	l := lines(rdb, "p:{cred:bulk}", defaultBurst, 1, &now)[0]
	op := tasks.Operation{ID: "m", AcceptedAt: now, Counts: tasks.Counts{Queued: 30_000}}
	e := tasks.EstimateOf(op, now, tasks.Budget{CallsPerMinute: 100, Workers: 1}, tasks.Line{{Operation: "a", Rows: 5000}})
	waiting := l.want(beforeCall, e.Calls+e.Ahead)
	for left(l) > 0 {
		l.letThrough()
		if delay, more := l.next(); more {
			now = now.Add(max(delay, time.Millisecond))
		}
	}
	require.Equal(t, len(waiting), come(waiting...))
	took, estimate := now.Sub(begin), time.Duration(e.Seconds)*time.Second
	require.Equal(t, 210*time.Second, estimate)
	require.LessOrEqual(t, took, estimate)
	require.Greater(t, took, estimate-defaultBurst*intervalOf(100))
}
