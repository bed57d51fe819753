package record_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

func (b *bundle) stats(now time.Time) (hq, branch tasks.Stats) {
	b.t.Helper()
	all, err := b.r.Stats(b.t.Context(), []string{"hq", "branch"}, tasks.LastDay, now)
	require.NoError(b.t, err)
	require.Len(b.t, all, 2)
	require.Equal(b.t, "hq", all[0].Project)
	require.Equal(b.t, "branch", all[1].Project)
	return all[0], all[1]
}

func (b *bundle) tally(batch string, ts ...record.MinuteTally) {
	b.t.Helper()
	require.NoError(b.t, b.r.AddTallies(b.t.Context(), "worker-1", batch, ts))
}

// What is now: open operations, failures, queues and the gate.
func statsNow(t *testing.T, b *bundle) {
	hq, branch := b.stats(b.now)
	require.Equal(t, tasks.Counts{}, hq.Counts)
	require.Equal(t, []tasks.FailureCount{}, hq.Failures)
	require.Len(t, hq.Buckets, 96)
	require.Zero(t, hq.Waiting+branch.Waiting)

	b.now = time.Now().UTC().Truncate(time.Millisecond) // asynq and gates have no other clock
	op := b.enqueue(tasks.Request{Desktops: ids(250)})
	b.enqueue(tasks.Request{Desktops: []string{"x"}})
	b.enqueue(tasks.Request{Desktops: []string{"u"}, Urgent: true})
	b.enqueue(tasks.Request{Project: "branch", Desktops: []string{"later"}, NotBefore: b.now.Add(time.Hour)})
	c := b.chunk(op, 0)
	b.move(op, 0, tasks.StateSending, c.Desktops...)
	c = b.chunk(op, 0)
	b.move(op, 0, tasks.StateAccepted, c.Desktops[:30]...)
	b.move(op, 0, tasks.StateFailed, c.Desktops[30:35]...)
	c = b.chunk(op, 0)
	b.move(op, 0, tasks.StateDetached, c.Desktops[:10]...)
	held := record.Move{Desktop: b.chunk(op, 1).Desktops[0], To: tasks.StateHeld, Failure: &tasks.Failure{Code: "SHARED", Class: "held", At: b.now}}
	_, err := b.r.Apply(t.Context(), b.now, []record.Change{{Operation: op, Chunk: 1, Moves: []record.Move{held}}})
	require.NoError(t, err)
	require.NoError(t, b.r.PauseProject(t.Context(), "hq", tasks.PauseAuth, time.Hour, "no rights"))

	later := b.now.Add(30 * time.Second)
	hq, branch = b.stats(later)
	require.Equal(t, tasks.Counts{Queued: 149 + 2, Sending: 65, Accepted: 20, Failed: 5, Held: 1}, hq.Counts)
	require.Equal(t, 3, hq.Open)
	require.Equal(t, 3, hq.Operations)
	require.False(t, hq.Partial)
	require.Equal(t, []tasks.FailureCount{
		{Project: "hq", Class: "permanent", Code: "WKS.1", Count: 5, OldestAt: b.now}, {Project: "hq", Class: "held", Code: "SHARED", Count: 1, OldestAt: b.now},
	}, hq.Failures)
	require.Equal(t, tasks.PauseAuth, hq.Pause.Kind)
	require.Equal(t, 5, hq.Waiting)
	depths := map[record.Queue]int{}
	for _, q := range hq.Queues {
		depths[record.Queue(q.Queue)] = q.Waiting
		require.InDelta(t, 30_000, q.OldestMS, 29_000, q.Queue)
		require.LessOrEqual(t, q.OldestMS, hq.OldestMS)
	}
	require.Equal(t, map[record.Queue]int{record.UrgentQueue: 1, record.SmallQueue: 1, record.BulkQueue: 3}, depths)

	require.Zero(t, branch.Counts, "what is scheduled does not wait")
	require.Zero(t, branch.Open)
	require.Equal(t, 1, branch.Scheduled)
	require.Zero(t, hq.Scheduled)
	require.Nil(t, branch.Pause)
	require.Zero(t, branch.Waiting, "its time has not come")
	_, branch = b.stats(b.now.Add(2 * time.Hour))
	require.Equal(t, 1, branch.Waiting, "and now it has, although no worker has moved it")
	require.Equal(t, []int{1, 1, 0}, []int{branch.Counts.Queued, branch.Open, branch.Scheduled})
	require.InDelta(t, 3600_000, branch.OldestMS, 2000)

	n, _, err := b.r.Cancel(t.Context(), op, b.now, "jo")
	require.NoError(t, err)
	hq, _ = b.stats(later)
	require.Equal(t, 150, n)
	require.Equal(t, tasks.Counts{Queued: 2, Sending: 65, Accepted: 20, Failed: 5, Cancelled: n}, hq.Counts, "and no longer held")
}

// More open operations than are summed up: it says so.
func statsPartial(t *testing.T, b *bundle) {
	b.enqueue(tasks.Request{Desktops: ids(3)})
	var more []redis.Z
	for n := range 10_000 {
		more = append(more, redis.Z{Score: float64(b.now.Add(time.Hour).UnixMilli()), Member: fmt.Sprintf("later-%d", n)})
	}
	require.NoError(t, b.rdb.ZAdd(t.Context(), b.prefix+":open", more[1:]...).Err())
	hq, _ := b.stats(b.now)
	require.False(t, hq.Partial)
	require.NoError(t, b.rdb.ZAdd(t.Context(), b.prefix+":open", more...).Err())
	hq, branch := b.stats(b.now)
	require.True(t, hq.Partial && branch.Partial)
	require.Equal(t, 3, hq.Counts.Queued, "the oldest are summed up")
}

// A record that has read open operations before does not read their requests again, and yet
// knows what has become of them since.
func statsAgain(t *testing.T, b *bundle) {
	moves := b.enqueue(tasks.Request{Desktops: ids(3), Urgent: true})
	waits, ends, goes := b.enqueue(tasks.Request{Desktops: ids(5)}), b.enqueue(tasks.Request{Desktops: ids(7)}), b.enqueue(tasks.Request{Desktops: ids(11)})
	hq, _ := b.stats(b.now)
	require.Equal(t, 4, hq.Open)

	b.move(moves, 0, tasks.StateSending, b.chunk(moves, 0).Desktops[:2]...)
	b.move(moves, 0, tasks.StateAccepted, b.chunk(moves, 0).Desktops[:1]...)
	asked, err := b.r.AskApproval(t.Context(), waits, tasks.Clearance{Desktops: 5, AskedAt: b.now, ExpiresAt: b.now.Add(time.Hour)})
	require.NoError(t, err)
	require.True(t, asked)
	b.move(ends, 0, tasks.StateCancelled, b.chunk(ends, 0).Desktops...) // no sweep has closed it yet
	require.NoError(t, b.rdb.HSet(t.Context(), b.prefix+":{"+goes.ID+"}:op", "expired", 1).Err())
	comes := b.enqueue(tasks.Request{Desktops: ids(13), NotBefore: b.now.Add(time.Minute), DueAt: b.now.Add(time.Hour)})

	hq, _ = b.stats(b.now)
	require.Equal(t, tasks.Counts{Queued: 1, Sending: 1, Accepted: 1}, hq.Counts)
	b.now = b.now.Add(2 * time.Minute)
	for range 2 {
		hq, _ = b.stats(b.now)
		require.Equal(t, tasks.Counts{Queued: 1 + 13, Sending: 1, Accepted: 1}, hq.Counts)
		require.Equal(t, []int{2, 1}, []int{hq.Open, hq.DueToday})
	}
	backlog, err := b.r.Backlog(t.Context(), b.now)
	require.NoError(t, err)
	require.ElementsMatch(t, []tasks.Backlog{
		{Operation: moves.ID, Project: "hq", Urgent: true, AcceptedAt: moves.AcceptedAt, Rows: 1},
		{Operation: comes.ID, Project: "hq", AcceptedAt: comes.AcceptedAt, Rows: 13},
	}, backlog)

	requests := &fieldReads{field: "meta"}
	b.rdb.AddHook(requests)
	b.stats(b.now)
	require.Equal(t, 1, requests.n, "only of the one that has gone")
}

// fieldReads counts the reads of a field of hashes.
type fieldReads struct {
	field string
	n     int
}

func (c *fieldReads) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *fieldReads) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (c *fieldReads) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			if slices.Contains(cmd.Args(), any(c.field)) {
				c.n++
			}
		}
		return next(ctx, cmds)
	}
}

// What happened: by minute and by quarter of an hour, for as long as it is wanted.
func tallies(t *testing.T, b *bundle) {
	at := func(hms string) time.Time {
		v, err := time.Parse(time.DateTime, "2026-03-01 "+hms)
		require.NoError(t, err)
		return v
	}
	var took record.Tally
	for _, d := range []time.Duration{0, 10 * time.Second, 10*time.Second + 1, 15 * time.Minute, 48 * time.Hour} {
		took.AddRemoved(tasks.Took{SinceDue: d, SinceAccepted: d})
	}
	took.Detached = 5
	first := []record.MinuteTally{
		{Project: "hq", Minute: at("12:00:10"), Tally: record.Tally{Tally: tasks.Tally{Calls: 60, Throttled: 2, Failed: 3, Held: 4, Cancelled: 5, Retried: 6}}},
		{Project: "hq", Minute: at("12:01:00"), Tally: record.Tally{Tally: tasks.Tally{Calls: 30, Throttled: 1}}},
		{Project: "hq", Minute: at("12:59:59"), Tally: took},
		{Project: "branch", Minute: at("12:01:00"), Tally: record.Tally{Tally: tasks.Tally{Calls: 6}}},
	}
	b.tally("batch-1", first...)
	b.tally("batch-1", first...) // its reply was lost
	b.tally("batch-2", first[3])
	require.NoError(t, b.r.AddTallies(t.Context(), "worker-2", "batch-1", first[3:]), "another worker's")
	require.NoError(t, b.r.AddTallies(t.Context(), "worker-2", "batch-2", nil))

	hq, branch := b.stats(at("12:01:15"))
	require.InDelta(t, 30+60*0.75, hq.CallsPerMinute, 1e-9, "three quarters of the minute before are of the last 60 s")
	require.InDelta(t, 18.0, branch.CallsPerMinute, 1e-9)
	require.Equal(t, 3, hq.Throttled)
	require.Equal(t, tasks.Tally{Calls: 90, Throttled: 3, Failed: 3, Held: 4, Cancelled: 5, Retried: 6}, hq.Buckets[95].Tally)
	require.Equal(t, at("12:00:00"), hq.Buckets[95].From)
	require.Equal(t, at("12:00:00").Add(-24*time.Hour+tasks.LastDay.Step()), hq.Buckets[0].From)
	require.Equal(t, 5, hq.Counts.Cancelled)
	require.Equal(t, tasks.LastDay, hq.Range)
	require.Equal(t, hq.Buckets[95].Tally, hq.Results)

	hq, _ = b.stats(at("13:00:30"))
	require.Equal(t, 1, hq.Throttled, "those of 12:00 are of the hour before")
	require.Equal(t, 90, hq.Buckets[91].Calls)
	require.Equal(t, took.Tally, hq.Buckets[94].Tally)
	require.Equal(t, 5, hq.Counts.Detached)
	removed := map[int]int{}
	for _, r := range hq.Removed {
		if r.Desktops > 0 {
			removed[r.AtMostSeconds] = r.Desktops
			require.Equal(t, r.Desktops, r.SinceAccepted)
		}
	}
	require.Equal(t, map[int]int{10: 2, 30: 1, 900: 1, 0: 1}, removed)

	// The last hour in minutes, to the minute.
	within := func(x tasks.StatsRange, now time.Time) tasks.Stats {
		all, err := b.r.Stats(t.Context(), []string{"hq"}, x, now)
		require.NoError(t, err)
		return all[0]
	}
	hour := within(tasks.LastHour, at("12:59:59"))
	require.Len(t, hour.Buckets, 60)
	require.Equal(t, at("12:00:00"), hour.Buckets[0].From)
	require.Equal(t, tasks.Tally{Failed: 3, Held: 4, Cancelled: 5, Retried: 6}, hour.Buckets[0].Tally, "calls are not counted by minute")
	require.Equal(t, 5, hour.Buckets[59].Detached)
	require.Equal(t, 5, hour.Counts.Detached)
	require.Equal(t, 2, hour.Removed[0].Desktops)
	require.InDelta(t, 0, hour.CallsPerMinute, 0, "calls are of the last minute whatever the range")
	require.Equal(t, 3, hour.Throttled)
	hour = within(tasks.LastHour, at("13:00:00"))
	require.Equal(t, tasks.Tally{Detached: 5}, hour.Results, "12:00 was an hour ago")
	require.Equal(t, 5, hour.Buckets[58].Detached)

	// The last week in steps of two hours.
	week := within(tasks.LastWeek, at("13:30:00"))
	require.Len(t, week.Buckets, 84)
	require.Equal(t, at("12:00:00"), week.Buckets[83].From)
	all := tasks.Tally{Calls: 90, Throttled: 3, Detached: 5, Failed: 3, Held: 4, Cancelled: 5, Retried: 6}
	require.Equal(t, all, week.Results)
	week = within(tasks.LastWeek, at("13:59:59").Add(7*24*time.Hour-2*time.Hour))
	require.Equal(t, all, week.Buckets[0].Tally)
	require.Equal(t, 1, week.Removed[len(week.Removed)-1].Desktops)
	require.Zero(t, within(tasks.LastWeek, at("12:00:00").Add(7*24*time.Hour)).Results)

	hq, _ = b.stats(at("11:59:59").Add(24 * time.Hour))
	require.Equal(t, 90, hq.Buckets[0].Calls)
	hq, _ = b.stats(at("12:00:00").Add(24 * time.Hour))
	require.Zero(t, hq.Buckets[0].Calls)
}

// A project has a few small keys, which expire by themselves, whatever happens.
func talliesStaySmall(t *testing.T, b *bundle) {
	full := record.Tally{Tally: tasks.Tally{Calls: 1000, Throttled: 1000, Detached: 1000, Failed: 1000, Held: 1000, Cancelled: 1000, Retried: 1000}}
	for i := range full.Removed {
		full.Removed[i] = 1000
	}
	var day []record.MinuteTally
	for m := range 24 * 60 {
		day = append(day, record.MinuteTally{Project: "hq", Minute: b.now.Add(time.Duration(m) * time.Minute), Tally: full})
	}
	b.tally("batch", day...)
	size, fields := 0, 0
	for _, key := range b.keys() {
		if !strings.Contains(key, "{p:hq}:") {
			continue
		}
		size++
		ttl := b.rdb.TTL(t.Context(), key).Val()
		require.Positive(t, ttl, key)
		require.LessOrEqual(t, ttl, 8*24*time.Hour, key)
		if b.rdb.Type(t.Context(), key).Val() == "hash" {
			n := int(b.rdb.HLen(t.Context(), key).Val())
			require.LessOrEqual(t, n, 120, "%s stays a listpack", key)
			fields += n
		}
	}
	require.InDelta(t, 1+24+24*20+24+24/6, size, 1) // of the last kind one more if the day does not begin with its hour
	require.LessOrEqual(t, fields, 24*(120+84)+24*20*57+4*84)
}

// What is long past is not read again for some minutes; what may still change is.
func pastTalliesAreKept(t *testing.T, b *bundle) {
	b.now = time.Now().UTC() // what is past is not a question of the test's clock
	detached := func(n int) record.Tally { return record.Tally{Tally: tasks.Tally{Detached: n}} }
	past, fresh := b.now.Add(-3*time.Hour), b.now.Add(-time.Minute)
	b.tally("1", record.MinuteTally{Project: "hq", Minute: past, Tally: detached(5)}, record.MinuteTally{Project: "hq", Minute: fresh, Tally: detached(2)})
	hq, _ := b.stats(b.now)
	require.Equal(t, 7, hq.Results.Detached)
	b.tally("2", record.MinuteTally{Project: "hq", Minute: fresh, Tally: detached(1)})
	for _, key := range b.keys() {
		if strings.Contains(key, ":quarters:") && b.rdb.HLen(t.Context(), key).Val() == 1 && strings.HasSuffix(key, strconv.FormatInt(past.Unix()/3600, 10)) {
			require.NoError(t, b.rdb.Del(t.Context(), key).Err())
		}
	}
	hq, _ = b.stats(b.now)
	require.Equal(t, 8, hq.Results.Detached, "5 are remembered")
	all, err := b.producer().Record.Stats(t.Context(), []string{"hq"}, tasks.LastDay, b.now)
	require.NoError(t, err)
	require.Equal(t, 3, all[0].Results.Detached, "another process has not read them")
}

// However many projects, one round trip reads what is kept by project.
func statsRoundTrips(t *testing.T, b *bundle) {
	trips := &tripCounter{}
	var projects []string
	for n := range 30 {
		projects = append(projects, fmt.Sprintf("p%d", n))
	}
	_, err := b.r.Stats(t.Context(), projects, tasks.LastDay, b.now) // which loads the script
	require.NoError(t, err)
	b.rdb.AddHook(trips)
	_, err = b.r.Stats(t.Context(), projects, tasks.LastDay, b.now)
	require.NoError(t, err)
	require.LessOrEqual(t, trips.n, 5)
}

type tripCounter struct{ n int }

func (c *tripCounter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *tripCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.n++; return next(ctx, cmd) }
}

func (c *tripCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { c.n++; return next(ctx, cmds) }
}

// Who serves a project is who lives and said so last; a project that nobody serves
// and nobody asks for is named all the same while it has rows that wait.
func TestUnserved(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Mini(t))
	b.now = time.Now().UTC().Truncate(time.Millisecond)
	serving := func() [2]int {
		s, err := b.r.Serving(t.Context())
		require.NoError(t, err)
		return [2]int{s.Of("hq"), s.Of("branch")}
	}
	require.Equal(t, [2]int{}, serving())
	require.NoError(t, b.r.AnnounceProjects(t.Context(), "w1", "hq", "branch"))
	require.Equal(t, [2]int{}, serving(), "it has not beaten")
	_, err := b.r.Beat(t.Context(), "w1")
	require.NoError(t, err)
	require.Equal(t, [2]int{1, 1}, serving())
	require.NoError(t, b.r.Serves(t.Context(), "w1", "hq"))
	require.Equal(t, [2]int{1, 0}, serving(), "it serves one less")
	b.enqueue(tasks.Request{Project: "branch", Desktops: ids(120)})
	b.enqueue(tasks.Request{Project: "branch", Desktops: []string{"later"}, NotBefore: b.now.Add(time.Hour)})
	b.enqueue(tasks.Request{Project: "hq", Desktops: ids(1)})
	hq, branch := b.stats(b.now)
	require.Equal(t, [2]int{1, 0}, [2]int{hq.Workers, branch.Workers})
	require.Equal(t, [2]int{0, 120}, [2]int{hq.Unserved(), branch.Unserved()}, "what starts later does not wait")
	all, err := b.r.Stats(t.Context(), []string{"hq"}, tasks.LastDay, b.now)
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, "branch", all[1].Project, "it is in nobody's configuration")
	require.Equal(t, 120, all[1].Unserved())
	_, err = b.r.Beat(t.Context(), "older")
	require.NoError(t, err)
	require.Equal(t, [2]int{2, 1}, serving(), "who has not said what it serves may serve anything")
	all, err = b.r.Stats(t.Context(), []string{"hq"}, tasks.LastDay, b.now)
	require.NoError(t, err)
	require.Len(t, all, 1)
	old := float64(time.Now().Add(-time.Minute).UnixMilli())
	require.NoError(t, b.rdb.ZAdd(t.Context(), b.prefix+":workers", redisZ(old, "w1"), redisZ(old, "older")).Err())
	require.Equal(t, [2]int{}, serving(), "they are silent")
}
