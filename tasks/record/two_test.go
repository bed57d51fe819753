package record_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

var errKilled = errors.New("this process was killed")

// atTrip acts once, before a round trip of its client, or kills the process there.
type atTrip struct {
	at, n int
	do    func() // nil: the process dies
	did   bool
}

func (h *atTrip) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h *atTrip) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := h.trip(); err != nil {
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func (h *atTrip) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if err := h.trip(); err != nil {
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
			return err
		}
		return next(ctx, cmds)
	}
}

func (h *atTrip) trip() error {
	if h.at < 0 {
		return nil
	}
	h.n++
	if h.n < h.at {
		return nil
	}
	if h.do == nil {
		h.did = true
		return errKilled
	}
	if !h.did {
		h.did = true
		h.do()
	}
	return nil
}

// other is the same record in another process, with a client of its own.
func (b *bundle) other(rdb redis.UniversalClient) *bundle {
	o := &bundle{t: b.t, rdb: rdb, prefix: b.prefix, now: b.now}
	o.p = o.producer()
	o.r = o.p.Record
	return o
}

// atEachTrip runs first once for each of its round trips, on a new record that setup fills, with
// second before that round trip, in another process; nil: first is killed there. check gets the error of first.
func atEachTrip(t *testing.T, setup func(b *bundle), first func(b *bundle) error, second func(b *bundle), check func(b *bundle, err error)) {
	t.Helper()
	server := redistest.Start(t)
	h := &atTrip{at: -1}
	plain, hooked := server.Client(t), server.Client(t)
	hooked.AddHook(h)
	for at := 1; ; at++ {
		require.Less(t, at, 100)
		b := newBundle(t, plain)
		setup(b)
		*h = atTrip{at: at}
		if second != nil {
			h.do = func() { second(b) }
		}
		err := first(b.other(hooked))
		did := h.did
		*h = atTrip{at: -1}
		if !did {
			require.Greater(t, at, 1)
			return
		}
		t.Logf("before round trip %d: %v", at, err)
		check(b, err)
	}
}

// whole asserts that an operation is swept until it has ended, and that its counts equal its rows.
func (b *bundle) whole(op record.Operation) {
	b.t.Helper()
	op = b.operation(op.ID)
	in := func(key string) bool { return b.rdb.ZScore(b.t.Context(), b.prefix+":"+key, op.ID).Err() == nil }
	require.Equal(b.t, !op.Done(), in("open"), "among those that are swept")
	for _, f := range []tasks.OperationFilter{{}, {Project: "hq"}} {
		ops, _, err := b.r.Operations(b.t.Context(), f, 1000, "")
		require.NoError(b.t, err)
		require.True(b.t, slices.ContainsFunc(ops, func(x record.Operation) bool { return x.ID == op.ID }), "it is listed")
	}
	rows, _, err := b.r.Desktops(b.t.Context(), op, tasks.DesktopFilter{}, 10_000, "")
	require.NoError(b.t, err)
	counts, seen := tasks.Counts{}, map[string]bool{}
	for _, d := range rows {
		require.False(b.t, seen[d.ID], "%s is in it twice", d.ID)
		seen[d.ID] = true
		addTo(&counts, d.State)
	}
	require.Equal(b.t, counts, op.Counts, "counts equal rows")
}

// A request is sent again while what its first try left, or what it made long ago, is removed.
func TestAcceptedWhileItsIDIsRemoved(t *testing.T) {
	t.Parallel()
	req := tasks.Request{Project: "hq", Desktops: ids(120), RequestedBy: "hr", IdempotencyKey: "k"}
	again := func(got *record.Operation) func(b *bundle) {
		return func(b *bundle) {
			var err error
			if *got, err = b.p.Enqueue(b.t.Context(), req); err != nil {
				*got = record.Operation{}
			}
		}
	}
	for name, setup := range map[string]func(b *bundle){
		"never accepted": func(b *bundle) {
			stop := &cutOff{after: 5}
			b.rdb.AddHook(stop)
			_, err := b.p.Enqueue(b.t.Context(), req)
			require.Error(b.t, err)
			stop.after = -1
			b.now = b.now.Add(time.Hour)
		},
		"expired": func(b *bundle) {
			op := b.enqueue(req)
			_, _, err := b.r.Cancel(b.t.Context(), op, b.now, "")
			require.NoError(b.t, err)
			b.now = b.now.Add(25 * time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got record.Operation
			accepted := 0
			atEachTrip(t, setup, func(b *bundle) error {
				_, err := b.r.Sweep(b.t.Context(), b.now, 0, 100, 0)
				_, err2 := b.r.Expire(b.t.Context(), b.now, 100, 0)
				return errors.Join(err, err2)
			}, again(&got), func(b *bundle, err error) {
				require.NoError(t, err)
				if got.ID != "" && !got.Replayed {
					accepted++
					b.whole(got)
				}
			})
			require.Greater(t, accepted, 1)
		})
	}
}

// An undo is sent twice while desktops of its operation settle: each try sees others.
func TestTwoTriesOfAnUndoSeeOtherDesktops(t *testing.T) {
	t.Parallel()
	var op record.Operation
	setup := func(b *bundle) {
		op = b.enqueue(tasks.Request{Desktops: ids(140), RequestedBy: "hr"})
		for n := range 2 {
			b.step(op, n, tasks.StateQueued, tasks.StateSending, func(m *record.Move) {
				m.CallID = "call-1"
				m.Before = &tasks.Before{AttachState: "ATTACHED", Users: []tasks.Person{ann}, ReadAt: b.now}
			})
		}
		b.step(op, 0, tasks.StateSending, tasks.StateAccepted)
		b.move(op, 1, tasks.StateAccepted, b.chunk(op, 1).Desktops[1:]...)
		op = b.operation(op.ID)
	}
	undo := func(b *bundle) error {
		_, err := b.p.Undo(b.t.Context(), op, tasks.UndoRequest{RequestedBy: "amy", Reason: "wrong feed", IdempotencyKey: "u"})
		return err
	}
	settle := func(b *bundle) {
		b.move(op, 1, tasks.StateAccepted, b.chunk(op, 1).Desktops[0])
	}
	id := record.OperationID("amy", "u")
	tries := map[string]func(b *bundle){"another server": func(b *bundle) { settle(b); _ = undo(b) }, "killed": nil}
	for _, after := range []int{6, 9} { // in the middle of writing it, and of removing the other
		tries[fmt.Sprint("another dies after ", after)] = func(b *bundle) {
			settle(b)
			stop := &cutOff{after: after}
			b.rdb.AddHook(stop)
			_ = undo(b)
			stop.after = -1
		}
	}
	for name, second := range tries {
		t.Run(name, func(t *testing.T) {
			atEachTrip(t, setup, undo, second, func(b *bundle, err error) {
				if second == nil {
					settle(b)
				}
				if err != nil && undo(b) != nil { // it is being removed, by a process that died
					b.now = b.now.Add(time.Hour)
					b.sweepAll()
					require.NoError(b.t, undo(b), "it is sent again")
				}
				b.whole(record.Operation{Operation: tasks.Operation{ID: id}})
				require.Zero(b.t, b.rdb.Exists(b.t.Context(), b.prefix+":{"+id+"}:c:2").Val())
			})
		})
	}
}

// What has expired is retried, or cancelled, while it is removed. What was answered is so.
func TestRetriedWhileItIsRemoved(t *testing.T) {
	t.Parallel()
	var op record.Operation
	setup := func(b *bundle) {
		op = b.enqueue(tasks.Request{Desktops: ids(120), RequestedBy: "hr"})
		for n := range 2 {
			b.step(op, n, tasks.StateQueued, tasks.StateHeld, func(m *record.Move) {
				m.Failure = &tasks.Failure{Code: "x", Class: tasks.ClassHeld, At: b.now}
			})
		}
		b.finish(op.ID)
		b.now = b.now.Add(25 * time.Hour)
	}
	op2 := func(b *bundle) (record.Operation, error) { return b.r.Operation(b.t.Context(), op.ID) }
	expire := func(b *bundle) error {
		_, err := b.r.Expire(b.t.Context(), b.now, 100, 0)
		return err
	}
	retry := func(b *bundle) (int, error) {
		op, err := op2(b)
		if err != nil {
			return 0, err
		}
		return b.p.Retry(b.t.Context(), op, tasks.RetryFilter{Held: true}, "kim")
	}
	cancel := func(b *bundle) (int, error) {
		op, err := op2(b)
		if err != nil {
			return 0, err
		}
		n, _, err := b.r.Cancel(b.t.Context(), op, b.now, "kim")
		return n, err
	}
	for name, act := range map[string]func(b *bundle) (int, error){"retry": retry, "cancel": cancel} {
		n := 0
		check := func(b *bundle, err error) {
			_, there := op2(b)
			if n > 0 {
				require.NoError(b.t, there, "%d rows were moved", n)
				b.whole(op)
			}
			if there != nil {
				require.Empty(b.t, b.rdb.Keys(b.t.Context(), b.prefix+":{"+op.ID+"}*").Val())
			}
		}
		t.Run(name+" meanwhile", func(t *testing.T) {
			atEachTrip(t, setup, expire, func(b *bundle) { n, _ = act(b) }, check)
		})
		t.Run("removed during "+name, func(t *testing.T) {
			atEachTrip(t, setup, func(b *bundle) (err error) { n, err = act(b); return err }, func(b *bundle) { require.NoError(b.t, expire(b)) }, check)
		})
	}
}

// Of two answers to one question, one counts; one that was cancelled meanwhile is not approved.
func TestAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	var op record.Operation
	setup := func(b *bundle) {
		op = b.enqueue(tasks.Request{Desktops: ids(120), RequestedBy: "hr"})
		asked, err := b.r.AskApproval(b.t.Context(), op, tasks.Clearance{Why: tasks.WhyLimit, Desktops: 120, AskedAt: b.now, ExpiresAt: b.now.Add(time.Hour)})
		require.NoError(b.t, err)
		require.True(b.t, asked)
		op = b.operation(op.ID)
	}
	approve := func(b *bundle) error {
		_, err := b.p.Approve(b.t.Context(), op, tasks.Approval{By: "ann"})
		return err
	}
	reject := func(b *bundle) error {
		_, err := b.p.Reject(b.t.Context(), op, "bob", "no")
		return err
	}
	cancel := func(b *bundle) error {
		_, _, err := b.r.Cancel(b.t.Context(), op, b.now, "eve")
		return err
	}
	for name, pair := range map[string][2]func(b *bundle) error{
		"approve, reject": {approve, reject}, "reject, approve": {reject, approve}, "approve, cancel": {approve, cancel}, "reject, cancel": {reject, cancel},
		"approve, killed": {approve, nil}, "reject, killed": {reject, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var err2 error
			var waited bool
			second := func(b *bundle) {
				waited = b.operation(op.ID).AwaitsApproval()
				err2 = pair[1](b)
			}
			if pair[1] == nil {
				second = nil
			}
			atEachTrip(t, setup, pair[0], second, func(b *bundle, err error) {
				now := b.operation(op.ID)
				by := now.Clearance.DecidedBy
				if err == nil || second != nil && err2 == nil && name[len(name)-6:] != "cancel" {
					require.NotEqual(t, err == nil, err2 == nil && second != nil && name[len(name)-6:] != "cancel", "%v %v", err, err2)
				}
				b.sweepAll()
				now = b.operation(op.ID)
				if err == nil {
					require.NotEmpty(b.t, by)
				} else if errors.Is(err, tasks.ErrNotWaiting) && strings.HasSuffix(name, "cancel") {
					require.Empty(b.t, by, "it was refused")
				}
				if strings.HasSuffix(name, "cancel") && waited {
					require.ErrorIs(b.t, err, tasks.ErrNotWaiting, "all was cancelled before it was answered")
				}
				require.Equal(b.t, now.AwaitsApproval(), b.rdb.ZScore(b.t.Context(), b.prefix+":waiting:hq", op.ID).Err() == nil, "counted among those that wait")
				b.whole(op)
			})
		})
	}
}

// What was counted and not accepted, and is sent again later, counts from then on.
func TestQuotaOfARequestThatIsSentAgain(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	b := newBundle(t, rdb)
	now := b.now
	server.SetTime(now)
	take := func(op string, n int) bool {
		ok, _, err := b.r.TakeQuota(t.Context(), "hr", op, n, record.Quota{Hourly: 10, Daily: 20})
		require.NoError(t, err)
		return ok
	}
	require.True(t, take("a", 7))
	require.True(t, take("b", 3))
	server.SetTime(now.Add(2 * time.Hour))
	require.True(t, take("c", 10))
	require.False(t, take("a", 7), "it would be the 17th of this hour")
	server.SetTime(now.Add(4 * time.Hour))
	require.True(t, take("a", 7))
	require.True(t, take("a", 7), "it is counted once")
	require.False(t, take("d", 4))
	require.False(t, take("d", 1), "20 are counted in the day")
	server.SetTime(now.Add(25 * time.Hour))
	require.True(t, take("d", 3), "those of b are over")
}

// A run that was asked for ends with its schedule: the next one of the name has no run before its first tick.
func TestAskedRunsEndWithTheirSchedule(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Mini(t))
	ctx := t.Context()
	for _, name := range []string{"nightly", "nightly-2"} {
		require.NoError(t, b.r.AddSchedule(ctx, nightly(name)))
		_, err := b.r.AskRun(ctx, record.ScheduleAsk{Schedule: name, By: "zoe", At: b.now}, "k")
		require.NoError(t, err)
	}
	require.NoError(t, b.r.RemoveSchedule(ctx, "nightly"))
	require.NoError(t, b.r.AddSchedule(ctx, nightly("nightly")))
	poll, err := b.r.PollSchedules(ctx)
	require.NoError(t, err)
	require.Len(t, poll.Asked, 1)
	require.Equal(t, "nightly-2", poll.Asked[0].Schedule)
}

// What became of a run is not written into a schedule that was added meanwhile under the same name.
func TestARunIsOfItsSchedule(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	b := newBundle(t, rdb)
	ctx := t.Context()
	require.NoError(t, b.r.AddSchedule(ctx, nightly("nightly")))
	state, mine, err := b.r.BeginScheduleRun(ctx, "nightly", "w1", tasks.ScheduleTick{}, time.Minute)
	require.NoError(t, err)
	require.True(t, mine)
	require.NoError(t, b.r.RemoveSchedule(ctx, "nightly"))
	server.SetTime(time.Now().Add(time.Second))
	require.NoError(t, b.r.AddSchedule(ctx, nightly("nightly")))
	written, err := b.r.CommitScheduleRun(ctx, "nightly", state, record.ScheduleResult{Run: tasks.ScheduleRun{ID: "nightly!1", Result: tasks.RunFailed}})
	require.NoError(t, err)
	require.False(t, written)
	views, err := b.r.ScheduleViews(ctx, []tasks.Schedule{nightly("nightly")}, b.now, 1)
	require.NoError(t, err)
	require.Empty(t, views[0].Runs)
}

// What was done by a command whose reply was lost is not refused when the client sends it again.
func TestRepliesAreLost(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	client := func() redis.UniversalClient {
		rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	}
	b, rdb := newBundle(t, client()), client()
	rdb.AddHook(redistest.Twice{})
	again := b.other(rdb)
	ctx := t.Context()
	waits := func() record.Operation {
		op := b.enqueue(tasks.Request{Desktops: ids(3), RequestedBy: "hr"})
		asked, err := again.r.AskApproval(ctx, op, tasks.Clearance{Why: tasks.WhyLimit, Desktops: 3, AskedAt: b.now, ExpiresAt: b.now.Add(time.Hour)})
		require.NoError(t, err)
		require.True(t, asked)
		return b.operation(op.ID)
	}
	op := waits()
	_, err := again.p.Approve(ctx, op, tasks.Approval{By: "ann"})
	require.NoError(t, err)
	require.Equal(t, "ann", b.operation(op.ID).Clearance.DecidedBy)
	_, err = b.p.Reject(ctx, op, "bob", "no")
	require.ErrorIs(t, err, tasks.ErrNotWaiting)
	op = waits()
	_, err = again.p.Reject(ctx, op, "bob", "no")
	require.NoError(t, err)
	require.Equal(t, 3, b.operation(op.ID).Counts.Cancelled)

	require.NoError(t, again.r.AddSchedule(ctx, nightly("nightly")))
	rule := tasks.Protection{Name: "board", Kind: tasks.ProtectUser, Pattern: "ann", At: b.now}
	require.NoError(t, again.r.AddProtection(ctx, rule))
	rule.At = b.now.Add(time.Second)
	require.ErrorIs(t, again.r.AddProtection(ctx, rule), tasks.ErrProtectionExists)
}

// Of two protections that are added at once, one is the last of as many as there may be.
func TestAsManyProtectionsAsMayBe(t *testing.T) {
	t.Parallel()
	add := func(name string) func(b *bundle) error {
		return func(b *bundle) error {
			return b.r.AddProtection(b.t.Context(), tasks.Protection{Name: name, Kind: tasks.ProtectUser, Pattern: name})
		}
	}
	var err2 error
	atEachTrip(t, func(b *bundle) {
		var fields []any
		for n := range tasks.MaxProtections - 1 {
			fields = append(fields, fmt.Sprint(n), "{}")
		}
		require.NoError(t, b.rdb.HSet(t.Context(), b.prefix+":protected", fields...).Err())
	}, add("x"), func(b *bundle) { err2 = add("y")(b) }, func(b *bundle, err error) {
		require.EqualValues(t, tasks.MaxProtections, b.rdb.HLen(t.Context(), b.prefix+":protected").Val())
		require.ErrorIs(t, errors.Join(err, err2), tasks.ErrTooManyProtections)
	})
}

// What waits for an answer is listed, and what does not is not, whoever acts in between.
func TestListedAsWaiting(t *testing.T) {
	t.Parallel()
	var op record.Operation
	setup := func(b *bundle) {
		op = b.enqueue(tasks.Request{Desktops: ids(3), RequestedBy: "hr"})
		rows := b.chunk(op, 0).Desktops
		b.move(op, 0, tasks.StateFailed, rows[0])
		op = b.operation(op.ID)
	}
	ask := func(b *bundle) error {
		_, err := b.r.AskApproval(b.t.Context(), op, tasks.Clearance{Why: tasks.WhyLimit, Desktops: 3, AskedAt: b.now, ExpiresAt: b.now.Add(time.Hour)})
		return err
	}
	waits := func(b *bundle) {
		setup(b)
		require.NoError(b.t, ask(b))
	}
	acts := map[string]func(b *bundle) error{
		"cancel": func(b *bundle) error {
			_, _, err := b.r.Cancel(b.t.Context(), b.operation(op.ID), b.now, "eve")
			return err
		},
		"retry": func(b *bundle) error {
			_, err := b.p.Retry(b.t.Context(), b.operation(op.ID), tasks.RetryFilter{}, "kim")
			return err
		},
		"reject": func(b *bundle) error {
			_, err := b.p.Reject(b.t.Context(), b.operation(op.ID), "bob", "no")
			return err
		},
		"sweep": func(b *bundle) error {
			_, err := b.r.Sweep(b.t.Context(), b.now, 0, 100, 0)
			return err
		},
	}
	check := func(b *bundle, _ error) {
		now := b.operation(op.ID)
		for _, key := range []string{":waiting", ":waiting:hq"} {
			listed := b.rdb.ZScore(b.t.Context(), b.prefix+key, op.ID).Err() == nil
			require.Equal(b.t, now.AwaitsApproval(), listed, "%s of %v", key, now.Counts)
		}
	}
	for first, does := range acts {
		second := func(name string) func(b *bundle) { return func(b *bundle) { _ = acts[name](b) } }
		t.Run("ask, "+first, func(t *testing.T) { atEachTrip(t, setup, ask, func(b *bundle) { _ = does(b) }, check) })
		for name := range acts {
			if name != "sweep" {
				t.Run(first+", "+name, func(t *testing.T) {
					atEachTrip(t, waits, does, second(name), func(b *bundle, err error) {
						b.sweepAll() // of what has not ended
						check(b, err)
					})
				})
			}
		}
	}
	t.Run("asked by a process that dies", func(t *testing.T) {
		atEachTrip(t, setup, ask, nil, func(b *bundle, err error) { b.sweepAll(); check(b, err) })
	})
}

// What is removed by a sweep while it is sent again leaves nothing, wherever that was.
func TestRemovedWhileItIsAccepted(t *testing.T) {
	t.Parallel()
	req := tasks.Request{Project: "hq", Desktops: ids(120), Users: []string{"zoe"}, RequestedBy: "hr", IdempotencyKey: "k", Ticket: "T"}
	refused := 0
	atEachTrip(t, func(b *bundle) {
		stop := &cutOff{after: 5}
		b.rdb.AddHook(stop)
		_, err := b.p.Enqueue(b.t.Context(), req)
		require.Error(b.t, err)
		stop.after = -1
		b.now = b.now.Add(time.Hour)
	}, func(b *bundle) error {
		_, err := b.p.Enqueue(b.t.Context(), req)
		return err
	}, func(b *bundle) { b.sweepAll() }, func(b *bundle, err error) {
		if errors.Is(err, tasks.ErrSendAgain) {
			refused++
			b.now = b.now.Add(time.Hour)
			b.round() // finds what is left in the indexes
			for _, of := range []string{":{" + record.OperationID("hr", "k") + "}*", ":desktops:*", ":named:*", ":ops*"} {
				require.Empty(b.t, b.rdb.Keys(b.t.Context(), b.prefix+of).Val())
			}
		} else {
			require.NoError(b.t, err)
		}
	})
	require.Positive(t, refused)
}

// A failure that leaves the inbox while the walk is at it stays in no list; nor does one whose operation is removed.
func TestLeavesTheInboxDuringTheWalk(t *testing.T) {
	t.Parallel()
	var op record.Operation
	setup := func(b *bundle) { op = b.fail(b.enqueue(tasks.Request{Desktops: ids(2), RequestedBy: "hr"})) }
	check := func(b *bundle, _ error) {
		require.Empty(b.t, b.rdb.Keys(b.t.Context(), b.prefix+":{p:hq}:failures*").Val())
	}
	atEachTrip(t, setup, func(b *bundle) error { b.round(); return nil }, func(b *bundle) {
		_, err := b.p.Retry(b.t.Context(), op, tasks.RetryFilter{}, "kim")
		require.NoError(b.t, err)
	}, check)
	atEachTrip(t, func(b *bundle) { setup(b); b.now = b.now.Add(25 * time.Hour) }, func(b *bundle) error {
		_, err := b.r.Expire(b.t.Context(), b.now, 100, 0)
		return err
	}, func(b *bundle) { b.round() }, check)
}
