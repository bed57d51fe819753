package record_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// failed gives an ended operation whose desktops have failed, or are held.
func (b *bundle) failed(project string, to tasks.State, code string, desktops ...string) record.Operation {
	b.t.Helper()
	op := b.enqueue(tasks.Request{Project: project, Desktops: desktops})
	class := tasks.ClassPermanent
	if to == tasks.StateHeld {
		class = tasks.ClassHeld
	}
	ch := record.Change{Operation: op}
	for _, d := range b.chunk(op, 0).Desktops {
		ch.Moves = append(ch.Moves, record.Move{Desktop: d, To: to, Attempts: 1, Failure: &tasks.Failure{
			Project: project, OperationID: op.ID, DesktopID: d.ID, Code: code, Message: "no", Class: class, At: b.now,
		}})
	}
	_, err := b.r.Apply(b.t.Context(), b.now, []record.Change{ch})
	require.NoError(b.t, err)
	_, err = b.r.Finish(b.t.Context(), []string{op.ID})
	require.NoError(b.t, err)
	return b.operation(op.ID)
}

func (b *bundle) redrive(q tasks.RedriveRequest) record.Redrive {
	b.t.Helper()
	x, err := b.p.Redrive(b.t.Context(), q)
	require.NoError(b.t, err)
	return x
}

func (b *bundle) advance() int {
	b.t.Helper()
	n, err := b.p.AdvanceRedrives(b.t.Context(), time.Minute)
	require.NoError(b.t, err)
	return n
}

func (b *bundle) readRedrive(id string) record.Redrive {
	b.t.Helper()
	x, err := b.r.Redrive(b.t.Context(), id)
	require.NoError(b.t, err)
	return x
}

func (b *bundle) states(op record.Operation) string {
	b.t.Helper()
	var out strings.Builder
	for n := range op.Chunks() {
		for _, d := range b.chunk(op, n).Desktops {
			out.WriteByte(byte(d.State))
		}
	}
	return out.String()
}

func redriveMatches(t *testing.T, b *bundle) {
	one := b.failed("hq", tasks.StateFailed, "WKS.1", "d1", "d2")
	b.now = b.now.Add(time.Minute)
	two := b.failed("branch", tasks.StateFailed, "WKS.2", "d1")
	held := b.failed("hq", tasks.StateHeld, "OTHER_USER", "d3")

	counts, err := b.r.MatchRedrive(t.Context(), tasks.RedriveRequest{})
	require.NoError(t, err)
	require.Equal(t, []tasks.FailureCount{
		{Project: "hq", Class: "permanent", Code: "WKS.1", Count: 2}, {Project: "branch", Class: "permanent", Code: "WKS.2", Count: 1},
	}, counts, "what is held is not asked for")
	counts, err = b.r.MatchRedrive(t.Context(), tasks.RedriveRequest{Projects: []string{"branch"}})
	require.NoError(t, err)
	require.Len(t, counts, 1)
	require.Equal(t, "FFFH", b.states(one)+b.states(two)+b.states(held), "nothing was written")

	x := b.redrive(tasks.RedriveRequest{Filter: tasks.FailureFilter{Project: "hq"}, RequestedBy: "ann", Reason: "fixed"})
	require.Equal(t, 2, x.Matched)
	require.Equal(t, []string{"hq"}, x.Projects)
	late := b.failed("hq", tasks.StateFailed, "WKS.1", "d9")
	require.Equal(t, 2, b.advance())
	require.Zero(t, b.advance())
	x = b.readRedrive(x.ID)
	require.True(t, x.Done())
	require.Equal(t, [2]int{2, 0}, [2]int{x.Retried, x.Skipped})
	require.Equal(t, "QQFHF", b.states(one)+b.states(two)+b.states(held)+b.states(late), "what failed later is not among it")

	items, next, err := b.r.RedriveItems(t.Context(), x, 1, "")
	require.NoError(t, err)
	require.NotEmpty(t, next)
	more, next, err := b.r.RedriveItems(t.Context(), x, 1, next)
	require.NoError(t, err)
	require.Empty(t, next)
	for i, it := range append(items, more...) {
		require.Equal(t, tasks.DesktopRef{OperationID: one.ID, DesktopID: []string{"d2", "d1"}[i]}, it.DesktopRef)
		require.True(t, it.Processed)
		require.Equal(t, tasks.StateQueued, it.Desktop.State)
	}
	evidence, err := b.r.Evidence(t.Context(), one, 0, 1)
	require.NoError(t, err)
	last := evidence[0].Trail[len(evidence[0].Trail)-1]
	require.Equal(t, "ann by redrive "+x.ID, last.By, "the trail has the lineage")

	x = b.redrive(tasks.RedriveRequest{Filter: tasks.FailureFilter{Class: "held"}})
	require.Equal(t, 1, b.advance())
	require.Equal(t, "Q", b.states(held))

	list, next, err := b.r.Redrives(t.Context(), 1, "")
	require.NoError(t, err)
	require.Len(t, list, 1)
	list2, _, err := b.r.Redrives(t.Context(), 1, next)
	require.NoError(t, err)
	require.NotEqual(t, list[0].ID, list2[0].ID)
	ttl, err := b.rdb.PTTL(t.Context(), b.prefix+":{rd:"+x.ID+"}").Result()
	require.NoError(t, err)
	require.Positive(t, ttl, "it is forgotten in the end")
}

func redriveNamed(t *testing.T, b *bundle) {
	op := b.failed("hq", tasks.StateFailed, "WKS.1", "d1", "d2", "d3")
	held := b.failed("hq", tasks.StateHeld, "OTHER_USER", "d1")
	ref := func(op record.Operation, d string) tasks.DesktopRef {
		return tasks.DesktopRef{OperationID: op.ID, DesktopID: d}
	}
	x := b.redrive(tasks.RedriveRequest{Desktops: []tasks.DesktopRef{ref(op, "d2"), ref(held, "d1"), ref(op, "nothing"), {OperationID: "nowhere", DesktopID: "d1"}}})
	require.Equal(t, [2]int{4, 2}, [2]int{x.Named, x.Matched})
	require.Equal(t, 2, b.advance())
	require.Equal(t, "FQFQ", b.states(op)+b.states(held))

	var invalid *tasks.ValidationError
	for field, q := range map[string]tasks.RedriveRequest{
		"filter":      {Desktops: []tasks.DesktopRef{ref(op, "d1")}, Filter: tasks.FailureFilter{Code: "x"}},
		"desktops[1]": {Desktops: []tasks.DesktopRef{ref(op, "d1"), ref(op, "d1")}},
		"desktops[0]": {Desktops: []tasks.DesktopRef{{OperationID: "a/b", DesktopID: "d"}}},
		"desktops":    {Desktops: make([]tasks.DesktopRef, tasks.MaxDesktops+1)},
		"per_second":  {PerSecond: -1},
		"reason":      {Reason: strings.Repeat("x", 1001)},
	} {
		_, err := b.p.Redrive(t.Context(), q)
		require.ErrorAs(t, err, &invalid, field)
		require.Equal(t, field, invalid.Problems[0].Field)
	}
	x = b.redrive(tasks.RedriveRequest{Filter: tasks.FailureFilter{Code: "nothing"}})
	require.Zero(t, x.Matched)
	require.Zero(t, b.advance())
	require.True(t, b.readRedrive(x.ID).Done())
}

func redriveRate(t *testing.T, b *bundle) {
	op := b.failed("hq", tasks.StateFailed, "WKS.1", ids(100)...)
	x := b.redrive(tasks.RedriveRequest{PerSecond: 10})
	require.Zero(t, b.advance())
	b.now = b.now.Add(1500 * time.Millisecond)
	require.Equal(t, 15, b.advance())
	require.Zero(t, b.advance())
	b.now = b.now.Add(500 * time.Millisecond)
	require.Equal(t, 5, b.advance())

	x, err := b.r.AbortRedrive(t.Context(), x.ID, b.now, "jo")
	require.NoError(t, err)
	require.True(t, x.Done())
	require.Equal(t, "jo", x.AbortedBy)
	again, err := b.r.AbortRedrive(t.Context(), x.ID, b.now.Add(time.Hour), "ann")
	require.NoError(t, err)
	require.Equal(t, x, again, "what has ended stays as it is")
	b.now = b.now.Add(time.Hour)
	require.Zero(t, b.advance())
	require.Equal(t, 20, strings.Count(b.states(op), "Q"))
	x = b.readRedrive(x.ID)
	require.Equal(t, [3]int{100, 20, 0}, [3]int{x.Matched, x.Retried, x.Skipped})
}

// Only desktops that are still as they matched are retried, not those that somebody else
// has retried since, whatever their state is now.
func redriveSkips(t *testing.T, b *bundle) {
	op := b.failed("hq", tasks.StateFailed, "WKS.1", "d1", "d2")
	x := b.redrive(tasks.RedriveRequest{})
	_, err := b.p.Retry(t.Context(), op, tasks.RetryFilter{}, "jo")
	require.NoError(t, err)
	b.now = b.now.Add(time.Second)
	b.move(op, 0, tasks.StateFailed, b.chunk(op, 0).Desktops[0])
	require.Zero(t, b.advance())
	require.Equal(t, "FQ", b.states(op))
	x = b.readRedrive(x.ID)
	require.Equal(t, [2]int{0, 2}, [2]int{x.Retried, x.Skipped})
	require.True(t, x.Done())
}

// A worker that dies after it took desktops up, and before it noted that, leads to
// no second attempt.
func redriveCrash(t *testing.T, b *bundle) {
	op := b.failed("hq", tasks.StateFailed, "WKS.1", ids(250)[:100]...)
	x := b.redrive(tasks.RedriveRequest{})
	broken := errors.New("killed")
	hook := &onRedriveNote{err: broken}
	b.rdb.AddHook(hook)
	_, err := b.p.AdvanceRedrives(t.Context(), time.Minute)
	require.ErrorIs(t, err, broken)
	require.Equal(t, strings.Repeat("Q", 100), b.states(op))
	b.now = b.now.Add(time.Second)
	b.move(op, 0, tasks.StateFailed, b.chunk(op, 0).Desktops...)
	hook.err = nil
	require.Zero(t, b.advance())
	require.Equal(t, strings.Repeat("F", 100), b.states(op))
	x = b.readRedrive(x.ID)
	require.True(t, x.Done())
	require.Equal(t, 100, x.Skipped)
}

// Abort stops a worker that is in the middle of it.
func redriveAbort(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(300)})
	for n := range op.Chunks() {
		b.move(op, n, tasks.StateFailed, b.chunk(op, n).Desktops...)
	}
	x := b.redrive(tasks.RedriveRequest{})
	b.rdb.AddHook(&onRedriveNote{do: func() {
		_, err := b.r.AbortRedrive(t.Context(), x.ID, b.now, "jo")
		require.NoError(t, err)
	}})
	require.Equal(t, 200, b.advance())
	require.Equal(t, 200, strings.Count(b.states(op), "Q"))
	require.Equal(t, 200, b.readRedrive(x.ID).Retried)
}

// onRedriveNote does something once, or fails, when a redrive's progress is noted.
type onRedriveNote struct {
	err error
	do  func()
}

func (h *onRedriveNote) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *onRedriveNote) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h *onRedriveNote) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		args := cmds[0].Args()
		if len(args) > 4 && strings.HasSuffix(fmt.Sprint(args[4]), "}:taken") {
			if do := h.do; do != nil {
				h.do = nil
				do()
			}
			if h.err != nil {
				return h.err
			}
		}
		return next(ctx, cmds)
	}
}

func redriveIdempotency(t *testing.T, b *bundle) {
	b.failed("hq", tasks.StateFailed, "WKS.1", "d1", "d2")
	q := tasks.RedriveRequest{RequestedBy: "ann", IdempotencyKey: "k"}
	x := b.redrive(q)
	require.False(t, x.Replayed)
	replayed := func(x record.Redrive) record.Redrive {
		x.Replayed = true
		return x
	}
	require.Equal(t, replayed(x), b.redrive(q))
	b.advance()
	require.Equal(t, replayed(b.readRedrive(x.ID)), b.redrive(q), "also when all of it was retried")
	q.PerSecond = 1
	_, err := b.p.Redrive(t.Context(), q)
	require.ErrorIs(t, err, tasks.ErrKeyReused)
	q.RequestedBy = "jo"
	require.NotEqual(t, x.ID, b.redrive(q).ID)
	_, err = b.r.Redrive(t.Context(), "nowhere")
	require.ErrorIs(t, err, tasks.ErrNoRedrive)
}

// What a producer left that died before its redrive had begun goes away.
func redriveAbandoned(t *testing.T, b *bundle) {
	require.NoError(t, b.rdb.ZAdd(t.Context(), b.prefix+":redrives:open", redis.Z{Score: float64(b.now.UnixMilli()), Member: "dead"}).Err())
	open := func() int64 {
		n, err := b.rdb.ZCard(t.Context(), b.prefix+":redrives:open").Result()
		require.NoError(t, err)
		return n
	}
	b.advance()
	require.EqualValues(t, 1, open())
	b.now = b.now.Add(time.Hour)
	b.advance()
	require.Zero(t, open())
	require.False(t, slices.Contains(b.keys(), b.prefix+":{rd:dead}"))
}

// The results of what was retried, and the pace: of the rows as they are now.
func redriveProgress(t *testing.T, b *bundle) {
	one, two := b.failed("hq", tasks.StateFailed, "WKS.1", "d1", "d2", "d3"), b.failed("branch", tasks.StateFailed, "WKS.1", "d4", "d5")
	_, err := b.p.Retry(t.Context(), two, tasks.RetryFilter{}, "jo") // skipped: it has changed since
	require.NoError(t, err)
	b.now = b.now.Add(time.Second)
	b.move(two, 0, tasks.StateFailed, b.chunk(two, 0).Desktops[0])
	x := b.redrive(tasks.RedriveRequest{PerSecond: 2})
	require.Equal(t, 4, x.Matched)
	progress := func() tasks.RedriveProgress {
		got, err := b.r.RedriveProgress(t.Context(), b.readRedrive(x.ID), b.now)
		require.NoError(t, err)
		return got
	}
	got := progress()
	require.Equal(t, [2]int{4, 4}, [2]int{got.Left, got.Open()})
	require.Zero(t, got.Pace, "nothing was settled yet")
	b.now = b.now.Add(time.Second)
	require.Equal(t, 2, b.advance())
	require.Equal(t, tasks.Counts{Queued: 2}, progress().Counts)
	b.now = b.now.Add(time.Second)
	require.Equal(t, 2, b.advance())
	b.now = b.now.Add(28 * time.Second)
	ds := b.chunk(one, 0).Desktops
	b.move(one, 0, tasks.StateDetached, ds[0])
	b.move(one, 0, tasks.StateFailed, ds[1])
	got = progress()
	require.Equal(t, tasks.Counts{Queued: 2, Detached: 1, Failed: 1}, got.Counts)
	require.Equal(t, [2]int{0, 2}, [2]int{got.Left, got.Open()})
	require.True(t, got.Moves())
	require.InDelta(t, 4, got.Pace.PerMinute, 0.01, "two within the 30 seconds of it")
	require.Equal(t, b.now.Add(30*time.Second), got.Pace.EndsAt)
	b.now = b.now.Add(90 * time.Second)
	require.Zero(t, progress().Pace, "nothing was settled in the last minute")
	b.step(one, 0, tasks.StateQueued, tasks.StateCancelled)
	b.step(two, 0, tasks.StateQueued, tasks.StateCancelled)
	got = progress()
	require.Equal(t, 2, got.Counts.Cancelled)
	require.Zero(t, got.Open())

	// Expired rows are missing, without an error.
	b.finish(one.ID)
	b.finish(two.ID)
	_, err = b.r.Expire(t.Context(), b.now.Add(48*time.Hour), 10, 0)
	require.NoError(t, err)
	require.Equal(t, tasks.Counts{}, progress().Counts)
}

func pace(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(100), NotBefore: b.now.Add(time.Hour)})
	read := func() tasks.Pace {
		_, p, err := b.r.RemovalAndPace(t.Context(), b.operation(op.ID), 0, b.now)
		require.NoError(t, err)
		return p
	}
	require.Zero(t, read(), "its time has not come")
	b.now = b.now.Add(time.Hour + 10*time.Minute)
	ds := b.chunk(op, 0).Desktops
	b.move(op, 0, tasks.StateAccepted, ds[:10]...)
	require.Zero(t, read(), "nothing is settled")
	b.move(op, 0, tasks.StateFailed, ds[10:30]...)
	b.now = b.now.Add(30 * time.Second)
	require.Equal(t, tasks.Pace{PerMinute: 20, EndsAt: b.now.Add(4 * time.Minute)}, read())
	b.now = b.now.Add(time.Minute)
	require.Zero(t, read(), "nothing in the last minute")
	b.step(op, 0, tasks.StateQueued, tasks.StateCancelled)
	b.step(op, 0, tasks.StateAccepted, tasks.StateDetached)
	require.Zero(t, read(), "it has ended")
}
