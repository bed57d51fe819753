package record_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/queue"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
	"github.com/detachd/detachd/tasks/trail"
)

func TestMain(m *testing.M) {
	redis.SetLogger(silence{})
	// The dialling goroutine of a closed pool sleeps for a second before it
	// notices.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// The record behaves the same on miniredis and on a real redis-server.
func TestRecordOnMiniredis(t *testing.T) {
	t.Parallel()
	conformance(t, func(t *testing.T) redis.UniversalClient { return redistest.Mini(t) })
}

func TestRecordOnRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := func(t *testing.T) redis.UniversalClient { return server.Client(t) }
	conformance(t, rdb)
	run(t, rdb, volumes)
}

// On Redis Cluster whatever touches two slots at once is refused.
func TestRecordOnCluster(t *testing.T) {
	t.Parallel()
	server := redistest.StartCluster(t)
	rdb := func(t *testing.T) redis.UniversalClient { return server.ClusterClient(t) }
	conformance(t, rdb)
	run(t, rdb, volumes)
}

// bundle is a record with a producer, under a prefix of its own.
type bundle struct {
	t      *testing.T
	rdb    redis.UniversalClient
	prefix string
	p      *record.Producer
	r      *record.Record
	now    time.Time
}

func newBundle(t *testing.T, rdb redis.UniversalClient) *bundle {
	t.Helper()
	b := &bundle{t: t, rdb: rdb, prefix: "t" + strings.ToLower(rand.Text()[:8]), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	rdb.AddHook(oneSlot{t})
	b.p = b.producer()
	b.r = b.p.Record
	return b
}

func (b *bundle) producer() *record.Producer {
	b.t.Helper()
	p, err := record.NewProducer(b.rdb, record.ProducerConfig{
		Projects: []string{"hq", "branch"}, Record: record.Config{Prefix: b.prefix, Retention: 24 * time.Hour},
		Now: func() time.Time { return b.now },
	})
	require.NoError(b.t, err)
	return p
}

func (b *bundle) enqueue(req tasks.Request) record.Operation {
	b.t.Helper()
	if req.Project == "" {
		req.Project = "hq"
	}
	op, err := b.p.Enqueue(b.t.Context(), req)
	require.NoError(b.t, err)
	return op
}

func (b *bundle) chunk(op record.Operation, n int) record.Chunk {
	b.t.Helper()
	c, err := b.r.Chunk(b.t.Context(), op.ID, n)
	require.NoError(b.t, err)
	return c
}

// move takes desktops of a chunk to a state; fail gives the failures.
func (b *bundle) move(op record.Operation, n int, to tasks.State, ds ...record.Row) record.Applied {
	b.t.Helper()
	ch := record.Change{Operation: op, Chunk: n}
	for _, d := range ds {
		m := record.Move{Desktop: d, To: to, Attempts: d.Attempts + 1, CallID: "call-1"}
		if to == tasks.StateFailed {
			m.Failure = &tasks.Failure{Code: "WKS.1", Message: "no <b>", Class: "permanent", At: b.now, Attempts: 1}
		}
		ch.Moves = append(ch.Moves, m)
	}
	out, err := b.r.Apply(b.t.Context(), b.now, []record.Change{ch})
	require.NoError(b.t, err)
	return out[0]
}

func (b *bundle) operation(id string) record.Operation {
	b.t.Helper()
	op, err := b.r.Operation(b.t.Context(), id)
	require.NoError(b.t, err)
	return op
}

// fail ends a one-chunk operation with all of its desktops failed.
func (b *bundle) fail(op record.Operation) record.Operation {
	b.t.Helper()
	b.move(op, 0, tasks.StateFailed, b.chunk(op, 0).Desktops...)
	ended, err := b.r.Finish(b.t.Context(), []string{op.ID})
	require.NoError(b.t, err)
	require.Len(b.t, ended, 1)
	return ended[0]
}

func (b *bundle) keys() []string {
	b.t.Helper()
	keys, err := b.rdb.Keys(b.t.Context(), b.prefix+":*").Result()
	require.NoError(b.t, err)
	return keys
}

// removed are the keys from which everything of an operation is removed: all but the lists of
// names, which expire as a whole.
func (b *bundle) removed() []string {
	return slices.DeleteFunc(b.keys(), func(key string) bool { return strings.Contains(key, ":names:") })
}

// tasksIn counts what waits in a queue.
func (b *bundle) tasksIn(q record.Queue) []string {
	b.t.Helper()
	i := asynq.NewInspectorFromRedisClient(b.rdb)
	var ids []string
	for _, list := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){i.ListPendingTasks, i.ListScheduledTasks} {
		found, err := list(b.r.QueueName("hq", q), asynq.PageSize(2000))
		if err != nil {
			continue // the queue does not exist yet
		}
		for _, x := range found {
			ids = append(ids, x.ID)
		}
	}
	return ids
}

// oneSlot fails a test when a command names keys of two hash slots, which Redis
// Cluster refuses.
type oneSlot struct{ t *testing.T }

func (h oneSlot) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h oneSlot) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { h.check(cmd); return next(ctx, cmd) }
}

func (h oneSlot) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			h.check(cmd)
		}
		return next(ctx, cmds)
	}
}

func (h oneSlot) check(cmd redis.Cmder) {
	args := cmd.Args()
	var named []string
	switch strings.ToLower(cmd.Name()) {
	case "eval", "evalsha":
		n, _ := args[2].(int)
		for _, k := range args[3 : 3+n] {
			named = append(named, fmt.Sprint(k))
		}
	case "del", "unlink", "exists":
		for _, k := range args[1:] {
			named = append(named, fmt.Sprint(k))
		}
	}
	for _, k := range named {
		if tag(k) != tag(named[0]) {
			h.t.Errorf("%s names keys of two slots: %v", cmd.Name(), named)
		}
	}
}

// tag is the part of a key that decides its slot.
func tag(key string) string {
	if i := strings.IndexByte(key, '{'); i >= 0 {
		if j := strings.IndexByte(key[i+1:], '}'); j > 0 {
			return key[i+1 : i+1+j]
		}
	}
	return key
}

func ids(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("d-%06d", i)
	}
	return out
}

// volumes are tests with thousands of entries: not on miniredis, which sorts them anew for every
// command.
var volumes = map[string]func(*testing.T, *bundle){
	"scheduled hide nothing": scheduledHideNothing,
	"stats partial":          statsPartial,
	"tallies stay small":     talliesStaySmall,
}

func conformance(t *testing.T, newRedis func(*testing.T) redis.UniversalClient) {
	run(t, newRedis, map[string]func(*testing.T, *bundle){
		"accepts whole":            acceptsWhole,
		"canary":                   canary,
		"canary fails":             canaryFails,
		"canary recalled":          canaryRecalled,
		"retry keeps a deadline":   retryKeepsALaterDeadline,
		"stop-loss":                stopLoss,
		"stop-loss by number":      stopLossByNumber,
		"stop-loss of late writes": stopLossOfLateWrites,
		"brake of zero":            brakeOfZero,
		"queues":                   queues,
		"idempotency":              idempotency,
		"idempotency at once":      idempotencyAtOnce,
		"apply":                    apply,
		"apply together":           applyTogether,
		"illegal moves":            illegalMoves,
		"ended once":               endedOnce,
		"calls":                    calls,
		"failures":                 failures,
		"inbox":                    inbox,
		"inbox costs":              inboxCosts,
		"inbox race":               inboxRace,
		"inbox of bare ids":        inboxPinned,
		"inbox is repaired":        inboxRepaired,
		"dismiss":                  dismiss,
		"failures page":            failuresPage,
		"retry":                    retry,
		"cancel":                   cancel,
		"operations":               operations,
		"desktops":                 desktops,
		"history":                  history,
		"pause":                    pause,
		"stopAll":                  stopAll,
		"reserve":                  reserve,
		"approval":                 approval,
		"asked about fewer":        askedAboutFewer,
		"second person":            secondPerson,
		"owner of a replay":        ownerOfAReplay,
		"protections":              protections,
		"schedules":                schedules,
		"recall":                   recalls,
		"recall of an undo":        recallOfAnUndo,
		"recall refused":           recallRefused,
		"recall expires":           recallExpires,
		"quota":                    quota,
		"clearedAnew":              clearedAnew,
		"undo":                     undo,
		"undo of some":             undoOfSome,
		"detached since":           detachedSince,
		"review is read on":        reviewIsReadOn,
		"undo in the inbox":        undoInTheInbox,
		"claims":                   claims,
		"renewals":                 renewals,
		"lingering":                lingering,
		"workers":                  workers,
		"regenerate":               regenerate,
		"sweep":                    sweep,
		"abandoned":                abandoned,
		"expire":                   expire,
		"scripts are loaded again": scriptFlush,
		"rejects":                  rejects,
		"lead":                     lead,
		"accepted is followed":     acceptedIsFollowed,
		"following is repaired":    followIsRepaired,
		"expectations":             expectations,
		"pins":                     pins,
		"leavers":                  leavers,
		"trail":                    trailSaysEveryStep,
		"seal overtaken":           sealOvertaken,
		"seal race":                sealRace,
		"removal":                  removal,
		"redrive":                  redriveMatches,
		"audit at once":            auditAtOnce,
		"audit altered":            auditAltered,
		"audit pages":              auditPages,
		"audit expires":            auditExpires,
		"guards":                   guards,
		"redrive named":            redriveNamed,
		"redrive rate":             redriveRate,
		"redrive skips":            redriveSkips,
		"redrive abort":            redriveAbort,
		"redrive progress":         redriveProgress,
		"cancellation":             cancellationStops,
		"cancellation and calls":   cancellationWaitsForCalls,
		"cancellation crash":       cancellationCrash,
		"cancellation abort":       cancellationAbort,
		"cancellation refuses":     cancellationRefuses,
		"pace":                     pace,
		"redrive crash":            redriveCrash,
		"redrive idempotency":      redriveIdempotency,
		"scheduled":                scheduled,
		"scheduled in lists":       scheduledLists,
		"due in lists":             dueLists,
		"names by prefix":          namesByPrefix,
		"names are hostile":        namesAreHostile,
		"replay after its time":    replayAfterItsTime,
		"removal of the scheduled": removalOfTheScheduled,
		"redrive abandoned":        redriveAbandoned,
		"old tokens":               oldTokens,
		"operations are repaired":  operationsRepaired,
		"nothing is left":          nothingLeft,
		"indexed, not accepted":    indexedAndNotAccepted,
		"rolled back":              rolledBack,
		"lost while accepted":      lostWhileAccepted,
		"search":                   search,
		"seen":                     seen,
		"rows named":               rowsNamed,
		"search what was read":     searchRead,
		"failure counts":           failureCounts,
		"stats now":                statsNow,
		"stats again":              statsAgain,
		"tallies":                  tallies,
		"past tallies are kept":    pastTalliesAreKept,
		"stats round trips":        statsRoundTrips,
	})
}

func run(t *testing.T, newRedis func(*testing.T) redis.UniversalClient, all map[string]func(*testing.T, *bundle)) {
	for name, test := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newBundle(t, newRedis(t)))
		})
	}
}

func acceptsWhole(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{
		Desktops: ids(250), ShutoffAfterDetach: true, RequestedBy: "hr", Reason: "left\nthe company", Ticket: "T-1",
		NotBefore: b.now.Add(time.Hour),
	})
	require.Equal(t, op, b.operation(op.ID))
	require.Equal(t, 250, op.Total)
	require.Equal(t, tasks.Counts{Queued: 250}, op.Counts)
	require.Equal(t, b.now.Add(time.Hour+tasks.DefaultDeadline), op.Deadline, "counted from not-before")
	require.False(t, op.Done())
	require.Len(t, b.tasksIn(record.BulkQueue), 3)
	for n, size := range []int{100, 100, 50} {
		c := b.chunk(op, n)
		require.Len(t, c.Desktops, size)
		for i, d := range c.Desktops {
			require.Equal(t, ids(250)[n*100+i], d.ID, "in the order of the request")
			require.Equal(t, tasks.StateQueued, d.State)
			require.Equal(t, n*100+i, d.Place())
		}
	}
	_, err := b.r.Operation(t.Context(), "nosuchoperation00000")
	require.ErrorIs(t, err, tasks.ErrNotFound)
	before := b.keys()
	_, err = b.p.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: []string{"ok", "", "ok"}})
	require.Error(t, err)
	require.ElementsMatch(t, before, b.keys(), "what is refused writes nothing")
}

func queues(t *testing.T, b *bundle) {
	b.enqueue(tasks.Request{Desktops: ids(10)})
	b.enqueue(tasks.Request{Desktops: ids(111)})
	b.enqueue(tasks.Request{Desktops: ids(110), Urgent: true})
	require.Len(t, b.tasksIn(record.SmallQueue), 1)
	require.Len(t, b.tasksIn(record.BulkQueue), 2)
	require.Len(t, b.tasksIn(record.UrgentQueue), 2)
}

func idempotency(t *testing.T, b *bundle) {
	req := tasks.Request{Project: "hq", Desktops: ids(120), RequestedBy: "hr", IdempotencyKey: "k1"}
	first := b.enqueue(req)
	b.move(first, 0, tasks.StateCancelled, b.chunk(first, 0).Desktops[0])
	b.now = b.now.Add(time.Hour)
	again := b.enqueue(req)
	require.Equal(t, first.ID, again.ID)
	require.Equal(t, first.AcceptedAt, again.AcceptedAt)
	require.Equal(t, 1, again.Counts.Cancelled, "what became of it meanwhile stays")
	require.Len(t, b.tasksIn(record.BulkQueue), 2)
	other := req
	other.Desktops = ids(121)
	_, err := b.p.Enqueue(t.Context(), other)
	require.ErrorIs(t, err, tasks.ErrKeyReused)
	somebodyElse := req
	somebodyElse.RequestedBy = "fleet"
	require.NotEqual(t, first.ID, b.enqueue(somebodyElse).ID, "keys belong to who asks")
	require.NotEqual(t, b.enqueue(tasks.Request{Desktops: ids(1)}).ID, b.enqueue(tasks.Request{Desktops: ids(1)}).ID, "without a key every call is new")
}

func idempotencyAtOnce(t *testing.T, b *bundle) {
	var mu sync.Mutex
	var all sync.WaitGroup
	got := map[string]int{}
	for range 20 {
		p := b.producer()
		all.Go(func() {
			op, err := p.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: ids(150), IdempotencyKey: "once"})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			got[op.ID]++
		})
	}
	all.Wait()
	require.Len(t, got, 1)
	require.Len(t, b.tasksIn(record.BulkQueue), 2)
	ops, _, err := b.r.Operations(t.Context(), tasks.OperationFilter{}, 10, "")
	require.NoError(t, err)
	require.Len(t, ops, 1)
}

func apply(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(5)})
	ds := b.chunk(op, 0).Desktops
	ch := record.Change{Operation: op, Moves: []record.Move{{Desktop: ds[1], To: tasks.StateSending, CallID: "c1"}, {Desktop: ds[3], To: tasks.StateCancelled}}}
	for range 2 { // the second is the same write again, its reply having been lost
		out, err := b.r.Apply(t.Context(), b.now, []record.Change{ch})
		require.NoError(t, err)
		require.Equal(t, tasks.StateSending, out[0].Desktops[0].State)
		require.Equal(t, tasks.StateCancelled, out[0].Desktops[1].State)
		require.Equal(t, tasks.Counts{Queued: 3, Sending: 1, Cancelled: 1}, b.operation(op.ID).Counts)
	}
	ch.By = "another"
	others, err := b.r.Apply(t.Context(), b.now, []record.Change{ch})
	require.NoError(t, err)
	require.Equal(t, []record.Row{{}, {}}, others[0].Desktops, "another worker did the same in the same millisecond")
	late := b.move(op, 0, tasks.StateCancelled, ds[1])
	require.Equal(t, record.Row{}, late.Desktops[0], "a late write changes nothing")
	require.Equal(t, tasks.StateSending, b.chunk(op, 0).Desktops[1].State)
	require.Equal(t, "c1", b.chunk(op, 0).Desktops[1].CallID)
	all := b.move(op, 0, tasks.StateCancelled, ds...)
	for i, d := range all.Desktops {
		require.Equal(t, i != 1 && i != 3, d.ID != "", "desktop %d", i)
	}
	require.Equal(t, tasks.Counts{Sending: 1, Cancelled: 4}, b.operation(op.ID).Counts)
}

// A chunk whose desktops go the same way is written as one, and splits when
// they do not.
func applyTogether(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(100)})
	ds := b.chunk(op, 0).Desktops
	sent := b.move(op, 0, tasks.StateSending, ds...)
	require.Equal(t, tasks.Counts{Sending: 100}, b.operation(op.ID).Counts)
	require.Equal(t, sent.Desktops, b.chunk(op, 0).Desktops, "what Apply returns is what is stored")
	again := b.move(op, 0, tasks.StateSending, ds...)
	require.Equal(t, sent.Desktops, again.Desktops, "the same write again")

	// Three go their own way while another holds the older reading.
	b.move(op, 0, tasks.StateFailed, sent.Desktops[10], sent.Desktops[20], sent.Desktops[30])
	rest := b.move(op, 0, tasks.StateAccepted, sent.Desktops...)
	for i, d := range rest.Desktops {
		require.Equal(t, i != 10 && i != 20 && i != 30, d.State == tasks.StateAccepted, "desktop %d", i)
	}
	require.Equal(t, tasks.Counts{Accepted: 97, Failed: 3}, b.operation(op.ID).Counts)
	require.False(t, rest.Ended, "what is accepted is not proven")
	proven := b.move(op, 0, tasks.StateDetached, slices.DeleteFunc(rest.Desktops, func(d record.Row) bool { return d.ID == "" })...)
	require.True(t, proven.Ended)

	// Some alone and the others together, in one change.
	op = b.enqueue(tasks.Request{Desktops: ids(100)})
	ch := record.Change{Operation: op}
	for i, d := range b.chunk(op, 0).Desktops {
		m := record.Move{Desktop: d, To: tasks.StateCancelled}
		if i%50 == 0 {
			m = record.Move{Desktop: d, To: tasks.StateFailed, Failure: &tasks.Failure{Code: "x", Class: "permanent", At: b.now}}
		}
		ch.Moves = append(ch.Moves, m)
	}
	for range 2 {
		out, err := b.r.Apply(t.Context(), b.now, []record.Change{ch})
		require.NoError(t, err)
		require.Equal(t, b.chunk(op, 0).Desktops, out[0].Desktops)
		require.Equal(t, tasks.Counts{Cancelled: 98, Failed: 2}, b.operation(op.ID).Counts)
	}
	ch.By = "another"
	others, err := b.r.Apply(t.Context(), b.now, []record.Change{ch})
	require.NoError(t, err)
	require.Equal(t, make([]record.Row, 100), others[0].Desktops, "another worker did the same in the same millisecond")
	_, err = b.r.Apply(t.Context(), b.now, []record.Change{{Operation: record.Operation{Operation: tasks.Operation{ID: "gone"}}, Moves: []record.Move{{Desktop: ds[0], To: tasks.StateSending}}}})
	require.NoError(t, err, "an operation that is gone takes no writes")
}

func illegalMoves(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(1)})
	d := b.chunk(op, 0).Desktops[0]
	d = b.move(op, 0, tasks.StateSending, d).Desktops[0]
	for _, to := range []tasks.State{tasks.StateSending, tasks.StateCancelled, tasks.StateExpanded} {
		_, err := b.r.Apply(t.Context(), b.now, []record.Change{{Operation: op, Moves: []record.Move{{Desktop: d, To: to}}}})
		require.ErrorIs(t, err, record.ErrIllegalMove)
	}
	require.Equal(t, []record.Row{d}, b.chunk(op, 0).Desktops)
}

func endedOnce(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(150)})
	require.False(t, b.move(op, 0, tasks.StateCancelled, b.chunk(op, 0).Desktops...).Ended)
	require.False(t, b.operation(op.ID).Done())
	rest := b.chunk(op, 1).Desktops
	require.False(t, b.move(op, 1, tasks.StateCancelled, rest[1:]...).Ended)
	require.True(t, b.move(op, 1, tasks.StateCancelled, rest[0]).Ended)
	require.False(t, b.move(op, 1, tasks.StateCancelled, rest[0]).Ended)
	require.Equal(t, b.now, b.operation(op.ID).EndedAt)
	for range 2 {
		ended, err := b.r.Finish(t.Context(), []string{op.ID, "nosuch"})
		require.NoError(t, err)
		require.Len(t, ended, 1)
	}
	open, _, err := b.r.Operations(t.Context(), tasks.OperationFilter{Open: true}, 10, "")
	require.NoError(t, err)
	require.Empty(t, open)
}

func calls(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(30)})
	want := record.Call{Call: tasks.Call{ID: "c1", At: b.now, DurationMS: 1500, Status: 200, RequestID: "r", JobID: "j", SuccessJobIDs: []string{"a", "b"}, Size: 30, Worker: "w", Answered: true}, Desktops: trail.Ranges([]int{3, 1, 2, 9})}
	_, err := b.r.Apply(t.Context(), b.now, []record.Change{{Operation: op, Call: &want}})
	require.NoError(t, err)
	later := record.Call{Call: tasks.Call{ID: "c0", At: b.now.Add(time.Second), Code: "WKS.1", Message: "x"}}
	_, err = b.r.Apply(t.Context(), b.now, []record.Change{{Operation: op, Call: &later}})
	require.NoError(t, err)
	got, err := b.r.Calls(t.Context(), op.ID)
	require.NoError(t, err)
	require.Equal(t, []record.Call{want, later}, got)
	require.Equal(t, []trail.Range{{First: 1, Last: 3}, {First: 9, Last: 9}}, got[0].Desktops)
	named, err := b.r.CallsNamed(t.Context(), op.ID, "c1", "none")
	require.NoError(t, err)
	require.Equal(t, map[string]record.Call{"c1": want}, named)
}

func failures(t *testing.T, b *bundle) {
	hq := b.enqueue(tasks.Request{Desktops: []string{"a", "b"}})
	b.fail(hq)
	b.now = b.now.Add(time.Minute)
	branch := b.enqueue(tasks.Request{Project: "branch", Desktops: []string{"c"}})
	b.fail(branch)
	list := func(f tasks.FailureFilter) (out []string) {
		all, next, err := b.r.Failures(t.Context(), f, 10, "")
		require.NoError(t, err)
		require.Empty(t, next)
		for _, x := range all {
			out = append(out, x.DesktopID)
		}
		return out
	}
	require.Equal(t, []string{"c", "b", "a"}, list(tasks.FailureFilter{}), "the latest first")
	require.Equal(t, []string{"c"}, list(tasks.FailureFilter{Project: "branch"}))
	require.Equal(t, []string{"c"}, list(tasks.FailureFilter{From: b.now}))
	require.Equal(t, []string{"b", "a"}, list(tasks.FailureFilter{To: b.now}))
	require.Equal(t, []string{"a", "b"}, list(tasks.FailureFilter{Operation: hq.ID, Class: "permanent", Code: "WKS.1"}), "of one operation in the order of the request")
	require.Empty(t, list(tasks.FailureFilter{Code: "other"}))
	require.Empty(t, list(tasks.FailureFilter{Class: "transient"}))
	all, _, err := b.r.Failures(t.Context(), tasks.FailureFilter{Project: "branch"}, 10, "")
	require.NoError(t, err)
	require.Equal(t, tasks.Failure{
		OperationID: branch.ID, Project: "branch", DesktopID: "c", Code: "WKS.1", Message: "no <b>", Class: "permanent", Attempts: 1, At: b.now,
	}, all[0])
	counts, err := b.r.FailureCounts(t.Context(), tasks.FailureFilter{})
	require.NoError(t, err)
	require.Equal(t, []tasks.FailureCount{{Project: "hq", Class: "permanent", Code: "WKS.1", Count: 2}, {Project: "branch", Class: "permanent", Code: "WKS.1", Count: 1}}, counts)
	_, _, err = b.r.Failures(t.Context(), tasks.FailureFilter{}, 10, "not a token")
	require.ErrorIs(t, err, tasks.ErrPageToken)
}

// A bulk fails within one millisecond; paging must come through it.
func failuresPage(t *testing.T, b *bundle) {
	b.fail(b.enqueue(tasks.Request{Desktops: ids(100)}))
	b.fail(b.enqueue(tasks.Request{Project: "branch", Desktops: ids(35)}))
	seen := map[string]int{}
	token := ""
	for pages := 0; ; pages++ {
		require.Less(t, pages, 30, "paging does not end")
		page, next, err := b.r.Failures(t.Context(), tasks.FailureFilter{}, 7, token)
		require.NoError(t, err)
		for _, x := range page {
			seen[x.Project+x.DesktopID]++
		}
		if token = next; token == "" {
			break
		}
	}
	require.Len(t, seen, 135)
	for id, n := range seen {
		require.Equal(t, 1, n, id)
	}
}

func retry(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(3)})
	op = b.fail(op)
	require.True(t, op.Done())
	b.now = b.now.Add(48 * time.Hour) // long after the deadline
	n, err := b.p.Retry(t.Context(), op, tasks.RetryFilter{Code: "another code"}, "jo")
	require.NoError(t, err)
	require.Zero(t, n)
	require.True(t, b.operation(op.ID).Done())
	n, err = b.p.Retry(t.Context(), op, tasks.RetryFilter{Code: "WKS.1"}, "jo")
	require.NoError(t, err)
	require.Equal(t, 3, n)
	got := b.operation(op.ID)
	require.False(t, got.Done())
	require.Equal(t, tasks.Counts{Queued: 3}, got.Counts)
	require.True(t, got.Deadline.After(b.now), "with a new deadline")
	require.Equal(t, 1, b.chunk(op, 0).Generation)
	require.ElementsMatch(t, []string{op.ID + ":0:0", op.ID + ":0:1"}, b.tasksIn(record.SmallQueue))
	list, _, err := b.r.Failures(t.Context(), tasks.FailureFilter{}, 10, "")
	require.NoError(t, err)
	require.Empty(t, list, "a retried desktop has not failed")
	again, err := b.p.Retry(t.Context(), op, tasks.RetryFilter{}, "jo")
	require.NoError(t, err)
	require.Zero(t, again)
	require.Zero(t, b.chunk(op, 0).Desktops[0].Attempts)
	b.fail(op)
	list, _, err = b.r.Failures(t.Context(), tasks.FailureFilter{}, 10, "")
	require.NoError(t, err)
	require.Len(t, list, 3)
}

func cancel(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(150)})
	b.move(op, 0, tasks.StateSending, b.chunk(op, 0).Desktops[:4]...)
	cancelled, late, err := b.r.Cancel(t.Context(), op, b.now, "jo")
	require.NoError(t, err)
	require.Equal(t, 146, cancelled)
	require.Equal(t, 4, late)
	require.Equal(t, tasks.Counts{Sending: 4, Cancelled: 146}, b.operation(op.ID).Counts)
	cancelled, late, err = b.r.Cancel(t.Context(), op, b.now, "jo")
	require.NoError(t, err)
	require.Equal(t, 0, cancelled)
	require.Equal(t, 4, late)
	whole := b.enqueue(tasks.Request{Desktops: ids(3)})
	_, _, err = b.r.Cancel(t.Context(), whole, b.now, "jo")
	require.NoError(t, err)
	require.True(t, b.operation(whole.ID).Done())
}

func operations(t *testing.T, b *bundle) {
	var all []string
	for i := range 25 {
		b.now = b.now.Add(time.Second)
		project := "hq"
		if i%5 == 0 {
			project = "branch"
		}
		all = append([]string{b.enqueue(tasks.Request{Project: project, Desktops: ids(1), RequestedBy: fmt.Sprint("p", i%2), Ticket: fmt.Sprint("T", i)}).ID}, all...)
	}
	list := func(f tasks.OperationFilter, size int) (out []string) {
		for token := ""; ; {
			ops, next, err := b.r.Operations(t.Context(), f, size, token)
			require.NoError(t, err)
			require.LessOrEqual(t, len(ops), size)
			for _, o := range ops {
				out = append(out, o.ID)
			}
			if token = next; token == "" {
				return out
			}
		}
	}
	require.Equal(t, all, list(tasks.OperationFilter{}, 4))
	require.Len(t, list(tasks.OperationFilter{Project: "branch"}, 2), 5)
	require.Len(t, list(tasks.OperationFilter{RequestedBy: "p1"}, 100), 12)
	require.Equal(t, all[:1], list(tasks.OperationFilter{Ticket: "T24"}, 3))
	require.Len(t, list(tasks.OperationFilter{From: b.now.Add(-2 * time.Second)}, 3), 3)
	require.Len(t, list(tasks.OperationFilter{To: b.now}, 30), 24)
	require.Equal(t, all, list(tasks.OperationFilter{Open: true}, 7))
	_, _, err := b.r.Operations(t.Context(), tasks.OperationFilter{}, 1, "x")
	require.ErrorIs(t, err, tasks.ErrPageToken)
}

func desktops(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(350)})
	b.move(op, 1, tasks.StateFailed, b.chunk(op, 1).Desktops[50:60]...)
	b.move(op, 3, tasks.StateCancelled, b.chunk(op, 3).Desktops[49])
	list := func(f tasks.DesktopFilter, size int) (out []record.Row) {
		for token := ""; ; {
			page, next, err := b.r.Desktops(t.Context(), op, f, size, token)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page), size)
			out = append(out, page...)
			if token = next; token == "" {
				return out
			}
		}
	}
	all := list(tasks.DesktopFilter{}, 33)
	require.Len(t, all, 350)
	for i, d := range all {
		require.Equal(t, ids(350)[i], d.ID)
	}
	failed := list(tasks.DesktopFilter{States: []tasks.State{tasks.StateFailed}}, 4)
	require.Len(t, failed, 10)
	require.Equal(t, "WKS.1", failed[0].Failure.Code)
	require.Len(t, list(tasks.DesktopFilter{States: []tasks.State{tasks.StateFailed, tasks.StateCancelled}}, 1), 11)
	_, _, err := b.r.Desktops(t.Context(), op, tasks.DesktopFilter{}, 1, "-1")
	require.ErrorIs(t, err, tasks.ErrPageToken)
}

func history(t *testing.T, b *bundle) {
	odd := `a*b?[c]\:d`
	first := b.enqueue(tasks.Request{Desktops: []string{odd, "axb", "a"}})
	b.fail(first)
	b.now = b.now.Add(time.Minute)
	second := b.enqueue(tasks.Request{Project: "branch", Desktops: append(ids(120), odd)})
	got, err := b.r.History(t.Context(), odd)
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.Equal(t, second.ID, got[0].Operation.ID, "the latest first")
	require.Equal(t, first.ID, got[1].Operation.ID)
	require.Equal(t, tasks.StateFailed, got[1].Desktop.State)
	require.Equal(t, "WKS.1", got[1].Desktop.Failure.Code)
	require.Equal(t, odd, got[0].Desktop.ID)
	for id, n := range map[string]int{"axb": 1, "a": 1, `a*b?[c]\`: 0, "d-000119": 1, "none": 0, "*": 0} {
		got, err := b.r.History(t.Context(), id)
		require.NoError(t, err)
		require.Len(t, got, n, id)
	}
}

func pause(t *testing.T, b *bundle) {
	gate := func() *tasks.Pause {
		p, err := b.r.ProjectPause(t.Context(), "hq")
		require.NoError(t, err)
		return p
	}
	set := func(kind tasks.PauseKind, d time.Duration) {
		require.NoError(t, b.r.PauseProject(t.Context(), "hq", kind, d, "because"))
	}
	require.Nil(t, gate())
	set(tasks.PauseThrottled, time.Microsecond)
	brief := gate()
	require.True(t, brief == nil || !brief.Until.IsZero(), "less than a millisecond is not for ever")
	set(tasks.PauseThrottled, time.Hour)
	long := gate().Until
	set(tasks.PauseThrottled, time.Minute)
	require.Equal(t, long, gate().Until, "a shorter throttle does not replace a longer one")
	set(tasks.PauseAuth, time.Minute)
	require.Equal(t, tasks.PauseAuth, gate().Kind)
	set(tasks.PauseThrottled, time.Hour)
	require.Equal(t, tasks.PauseAuth, gate().Kind, "a weaker pause does not replace a stronger one")
	set(tasks.PauseNotAPI, time.Minute)
	long = gate().Until
	set(tasks.PauseNotAPI, time.Second)
	require.Equal(t, long, gate().Until, "nor does one of a worker that has met it less often")
	set(tasks.PauseOperator, 0)
	require.Equal(t, &tasks.Pause{Kind: tasks.PauseOperator, Reason: "because"}, gate())
	_, _, err := b.r.Claim(t.Context(), record.Claim{Project: "hq", Holder: "w/1", Desktops: []string{"a"}}, time.Hour)
	var paused *record.PausedError
	require.ErrorAs(t, err, &paused)
	require.Zero(t, paused.For)
	resumed := func() int64 {
		n, err := b.r.Resumed(t.Context(), "hq")
		require.NoError(t, err)
		return n
	}
	require.Zero(t, resumed())
	require.NoError(t, b.r.ResumeProject(t.Context(), "hq", tasks.PauseAuth, tasks.PauseNoRight))
	require.NotNil(t, gate(), "only what was paused so is resumed")
	require.Zero(t, resumed())
	require.NoError(t, b.r.ResumeProject(t.Context(), "hq"))
	require.Nil(t, gate())
	require.EqualValues(t, 1, resumed())
	require.NoError(t, b.r.ResumeProject(t.Context(), "hq", tasks.PauseAuth))
	require.EqualValues(t, 1, resumed(), "nothing was resumed")
	set(tasks.PauseAuth, time.Hour)
	require.EqualValues(t, 1, resumed())
	require.NoError(t, b.r.ResumeProject(t.Context(), "hq", tasks.PauseNoRight, tasks.PauseAuth))
	require.Nil(t, gate())
	require.EqualValues(t, 2, resumed())
	require.NoError(t, b.r.ResumeProject(t.Context(), "hq"))
	require.EqualValues(t, 3, resumed(), "a person says that something has changed")
	set(tasks.PauseThrottled, time.Hour)
	_, _, err = b.r.Claim(t.Context(), record.Claim{Project: "hq", Holder: "w/1", Desktops: []string{"a"}}, time.Hour)
	require.ErrorAs(t, err, &paused)
	require.Greater(t, paused.For, 59*time.Minute)
	_, _, err = b.r.Claim(t.Context(), record.Claim{Project: "branch", Holder: "w/1", Desktops: []string{"a"}}, time.Hour)
	require.NoError(t, err, "another project is open")
}

func stopAll(t *testing.T, b *bundle) {
	claim := record.Claim{Project: "hq", Holder: "w/1", Desktops: []string{"a"}}
	begin := func() error {
		_, _, err := b.r.Claim(t.Context(), claim, time.Hour)
		require.NoError(t, err)
		_, err = b.r.ApplyRenewing(t.Context(), b.now, nil, claim, time.Hour)
		return err
	}
	pauseOf := func(project string) *tasks.Pause {
		p, err := b.r.ProjectPause(t.Context(), project)
		require.NoError(t, err)
		stats, err := b.r.Stats(t.Context(), []string{project}, tasks.LastDay, b.now)
		require.NoError(t, err)
		require.Equal(t, p, stats[0].Pause)
		return p
	}
	require.NoError(t, begin())
	require.NoError(t, b.r.PauseProject(t.Context(), "branch", tasks.PauseOperator, 0, "moving"))
	_, err := b.r.StopAll(t.Context(), "ann: wrong feed")
	require.NoError(t, err)
	for _, project := range []string{"hq", "branch", "configured later"} {
		require.Equal(t, &tasks.Pause{Kind: tasks.PauseStop, Reason: "ann: wrong feed"}, pauseOf(project))
	}
	var paused *record.PausedError
	require.ErrorAs(t, begin(), &paused, "a claim from before the stop begins no call")
	require.NoError(t, b.r.ResumeProject(t.Context(), "hq"))
	require.ErrorAs(t, begin(), &paused, "resuming one project does not end the stop")
	ended, err := b.r.ResumeAll(t.Context())
	require.NoError(t, err)
	require.True(t, ended)
	require.NoError(t, begin())
	require.Nil(t, pauseOf("hq"))
	require.Equal(t, tasks.PauseOperator, pauseOf("branch").Kind, "what was paused before stays paused")
	ended, err = b.r.ResumeAll(t.Context())
	require.NoError(t, err)
	require.False(t, ended)
}

func claims(t *testing.T, b *bundle) {
	claim := func(holder string, lease time.Duration, desktops ...string) []bool {
		got, _, err := b.r.Claim(t.Context(), record.Claim{Project: "hq", Holder: holder, Desktops: desktops}, lease)
		require.NoError(t, err)
		return got
	}
	release := func(holder string, desktops ...string) {
		require.NoError(t, b.r.Release(t.Context(), record.Claim{Project: "hq", Holder: holder, Desktops: desktops}))
	}
	require.Equal(t, []bool{true, true, true}, claim("w1/1", time.Hour, "a", "b", "c"))
	require.Equal(t, []bool{false, true}, claim("w2/1", time.Hour, "c", "d"))
	require.Equal(t, []bool{true, true}, claim("w1/1", time.Hour, "a", "b"), "its own again")
	release("w2/1", "a", "d")
	require.Equal(t, []bool{false, true}, claim("w3/1", time.Hour, "a", "d"), "only the holder gives back")
	release("w1/1", "a")
	require.Equal(t, []bool{true, false, false}, claim("w2/2", time.Hour, "a", "b", "c"))
	release("w1/1", "b", "c")
	require.Equal(t, []bool{true, true}, claim("w2/3", 0, "b", "c"))
	require.Eventually(t, func() bool { // a lease of no length is over in the next millisecond
		got := claim("w4/1", time.Hour, "b", "c")
		return got[0] && got[1]
	}, time.Minute, time.Millisecond)
	release("w2/3", "b", "c")
	require.Equal(t, []bool{false, false}, claim("w5/1", time.Hour, "b", "c"), "what passed on is not given back by the former holder")
	other, _, err := b.r.Claim(t.Context(), record.Claim{Project: "branch", Holder: "w1/1", Desktops: []string{"b"}}, time.Hour)
	require.NoError(t, err)
	require.Equal(t, []bool{true}, other)
}

// A renewed lease lasts from then on; what another has claimed since is lost.
func renewals(t *testing.T, b *bundle) {
	mine := record.Claim{Project: "hq", Holder: "w1/1", Desktops: []string{"a", "b", "c"}}
	claim := func(c record.Claim, lease time.Duration) []bool {
		got, _, err := b.r.Claim(t.Context(), c, lease)
		require.NoError(t, err)
		return got
	}
	renew := func(c record.Claim, lease time.Duration) []bool {
		renewed, err := b.r.ApplyRenewing(t.Context(), b.now, nil, c, lease)
		require.NoError(t, err)
		return renewed.Still
	}
	require.Equal(t, []bool{false, false, false}, renew(mine, time.Hour), "nothing is claimed by renewing")
	claim(mine, 0)
	require.Equal(t, []bool{true, true, true}, renew(mine, time.Hour), "nobody has claimed since the lease was over")
	one := mine
	one.Desktops = []string{"b"}
	require.Equal(t, []bool{true}, renew(one, time.Hour))
	one.Desktops = []string{"x", "b", "y", "c"}
	require.Equal(t, []bool{false, true, false, true}, renew(one, time.Hour), "what the holder never claimed is not renewed")
	require.Equal(t, []bool{false}, claim(record.Claim{Project: "hq", Holder: "w2/1", Desktops: []string{"a"}}, time.Hour), "the lease is of the holder, for all that it has")
	renew(mine, 0)
	other := record.Claim{Project: "hq", Holder: "w2/2", Desktops: []string{"b"}}
	require.Eventually(t, func() bool { return claim(other, time.Hour)[0] }, time.Minute, time.Millisecond)
	require.Equal(t, []bool{false, false, false}, renew(mine, time.Hour), "whoever claims ends the leases that are over")
	require.NoError(t, b.r.PauseProject(t.Context(), "hq", tasks.PauseOperator, 0, "wait"))
	_, err := b.r.ApplyRenewing(t.Context(), b.now, nil, other, time.Hour)
	var paused *record.PausedError
	require.ErrorAs(t, err, &paused)
}

// What lingers is free when its time is over, and not before, even if Redis has
// forgotten that it was claimed.
func lingering(t *testing.T, b *bundle) {
	mine := record.Claim{Project: "hq", Holder: "w1/1", Desktops: []string{"a", "b", "c"}}
	claim := func(holder string, desktops ...string) ([]bool, time.Duration) {
		got, free, err := b.r.Claim(t.Context(), record.Claim{Project: "hq", Holder: holder, Desktops: desktops}, time.Hour)
		require.NoError(t, err)
		return got, free
	}
	linger := func(d time.Duration, desktops ...string) {
		l := record.Linger{Claim: mine, Call: "call", For: d}
		l.Claim.Desktops = desktops
		_, err := b.r.Apply(t.Context(), b.now, nil, l)
		require.NoError(t, err)
	}
	claim("w1/1", "a", "b", "c")
	linger(time.Minute, "a", "b")
	require.NoError(t, b.r.Release(t.Context(), mine))
	got, free := claim("w2/1", "a", "b", "c")
	require.Equal(t, []bool{false, false, true}, got, "only what does not linger was given back")
	require.Greater(t, free, 50*time.Second)
	require.LessOrEqual(t, free, time.Minute)
	linger(0, "d", "e") // Redis has forgotten that they were claimed
	require.Eventually(t, func() bool {
		got, _ := claim("w3/1", "d", "e")
		return got[0] && got[1]
	}, time.Minute, time.Millisecond)
	linger(time.Minute, "d", "f")
	got, _ = claim("w4/1", "d", "f")
	require.Equal(t, []bool{false, false}, got)
	require.NoError(t, b.r.Release(t.Context(), record.Claim{Project: "hq", Holder: "w3/1", Desktops: []string{"d"}}))
	got, _ = claim("w4/1", "d")
	require.True(t, got[0], "what another has stays the other's")
}

func workers(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(5)})
	run := func(generation int, mark string) record.Run {
		return record.Run{Payload: queue.Payload{Operation: op.ID, Project: "hq", Generation: generation}, Mark: mark}
	}
	require.NoError(t, b.r.AnnounceProjects(t.Context(), "w1", "hq"))
	_, err := b.r.Beat(t.Context(), "w1")
	require.NoError(t, err)
	begun, err := b.r.Begin(t.Context(), "w1", []record.Run{run(0, "1")}, nil)
	require.NoError(t, err)
	require.Len(t, begun[0].Desktops, 5)
	held, err := b.r.InHand(t.Context(), "w1")
	require.NoError(t, err)
	require.Equal(t, []queue.Payload{{Operation: op.ID}}, held)
	_, err = b.r.Begin(t.Context(), "w1", []record.Run{run(0, "2")}, []record.Run{run(0, "1")})
	require.NoError(t, err)
	held, err = b.r.InHand(t.Context(), "w1")
	require.NoError(t, err)
	require.Equal(t, []queue.Payload{{Operation: op.ID}}, held, "the end of a run does not take away the mark of the next")
	_, err = b.r.Begin(t.Context(), "w1", []record.Run{run(1, "3")}, []record.Run{run(0, "2")})
	require.NoError(t, err)
	held, err = b.r.InHand(t.Context(), "w1")
	require.NoError(t, err)
	require.Equal(t, []queue.Payload{{Operation: op.ID, Generation: 1}}, held)
	gone := record.Run{Payload: queue.Payload{Operation: "gone", Project: "hq"}, Mark: "4"}
	begun, err = b.r.Begin(t.Context(), "w1", []record.Run{gone, run(1, "6")}, []record.Run{run(1, "6")})
	require.NoError(t, err)
	require.Empty(t, begun[0].Operation.ID, "it is gone")
	require.Len(t, begun[1].Desktops, 5)
	held, err = b.r.InHand(t.Context(), "w1")
	require.NoError(t, err)
	require.Len(t, held, 2)
	require.NoError(t, b.r.Keep(t.Context(), "w1", func() []record.Run { return []record.Run{run(1, "3"), run(2, "5")} }))
	held, err = b.r.InHand(t.Context(), "w1")
	require.NoError(t, err)
	require.ElementsMatch(t, []queue.Payload{{Operation: op.ID, Generation: 1}, {Operation: op.ID, Generation: 2}}, held, "what is over goes, what was lost comes back")
	_, _, err = b.r.Claim(t.Context(), record.Claim{Project: "hq", Holder: "w1/1", Desktops: []string{"a"}}, time.Hour)
	require.NoError(t, err)
	_, _, err = b.r.Claim(t.Context(), record.Claim{Project: "hq", Holder: "w10/1", Desktops: []string{"b"}}, time.Hour)
	require.NoError(t, err)
	list, err := b.r.Workers(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "w1", list[0].ID)
	require.Less(t, list[0].Silent, time.Minute)
	require.NoError(t, b.r.Leave(t.Context(), "w1"))
	list, err = b.r.Workers(t.Context())
	require.NoError(t, err)
	require.Empty(t, list)
	held, err = b.r.InHand(t.Context(), "w1")
	require.NoError(t, err)
	require.Empty(t, held)
	got, free, err := b.r.Claim(t.Context(), record.Claim{Project: "hq", Holder: "w2/1", Desktops: []string{"a", "b"}}, time.Hour)
	require.NoError(t, err)
	require.Equal(t, []bool{false, false}, got, "a claim outlives its worker")
	require.Greater(t, free, 59*time.Minute)
}

func regenerate(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(3)})
	c := record.OpenChunk{Operation: &op}
	require.NoError(t, b.p.Regenerate(t.Context(), c))
	require.NoError(t, b.p.Regenerate(t.Context(), c), "another was faster")
	require.Equal(t, 1, b.chunk(op, 0).Generation)
	require.ElementsMatch(t, []string{op.ID + ":0:0", op.ID + ":0:1"}, b.tasksIn(record.SmallQueue))
	c.Generation = 1
	require.NoError(t, b.p.Redispatch(t.Context(), c))
	require.Len(t, b.tasksIn(record.SmallQueue), 2, "a task that is there stays one")
}

func sweep(t *testing.T, b *bundle) {
	open := b.enqueue(tasks.Request{Desktops: ids(150)})
	b.move(open, 0, tasks.StateCancelled, b.chunk(open, 0).Desktops...)
	ended := b.enqueue(tasks.Request{Desktops: ids(1)})
	b.move(ended, 0, tasks.StateFailed, b.chunk(ended, 0).Desktops...) // and the worker died before Finish
	swept, err := b.r.Sweep(t.Context(), b.now, 0, 10, 0)
	require.NoError(t, err)
	require.Zero(t, swept.Next)
	require.Len(t, swept.Chunks, 1)
	require.Equal(t, open.ID+":1:0", swept.Chunks[0].TaskID())
	require.Len(t, swept.Ended, 1)
	require.Equal(t, ended.ID, swept.Ended[0].ID)
	require.NotEmpty(t, swept.Ended[0].Seal, "nobody else will tell of it")
	ops, _, err := b.r.Operations(t.Context(), tasks.OperationFilter{Open: true}, 10, "")
	require.NoError(t, err)
	require.Len(t, ops, 1, "what has ended is closed")
	swept, err = b.r.Sweep(t.Context(), b.now, 0, 1, 0)
	require.NoError(t, err)
	require.Equal(t, 1, swept.Next)
	require.Empty(t, swept.Ended)
}

// A producer that died half-way has accepted nothing and leaves nothing.
func abandoned(t *testing.T, b *bundle) {
	req := tasks.Request{Project: "hq", Desktops: ids(250), IdempotencyKey: "k"}
	require.NoError(t, b.rdb.Ping(t.Context()).Err()) // connecting is not to be counted
	stop := &cutOff{after: 4}
	b.rdb.AddHook(stop)
	_, err := b.p.Enqueue(t.Context(), req)
	require.ErrorContains(t, err, "not accepted")
	stop.after = -1
	ops, _, err := b.r.Operations(t.Context(), tasks.OperationFilter{}, 10, "")
	require.NoError(t, err)
	require.Empty(t, ops)
	require.NotEmpty(t, b.keys(), "the test cut too early to show anything")
	_, err = b.r.Sweep(t.Context(), b.now.Add(time.Minute), 0, 10, 0)
	require.NoError(t, err)
	require.NotEmpty(t, b.keys(), "it may be under way still")
	_, err = b.r.Sweep(t.Context(), b.now.Add(time.Hour), 0, 10, 0)
	require.NoError(t, err)
	require.Empty(t, b.removed())
	op := b.enqueue(req)
	require.Equal(t, 250, op.Counts.Queued, "sent again it is accepted")
}

// cutOffAt lets no pipeline through that has a command about a key.
type cutOffAt struct{ key string }

func (c *cutOffAt) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *cutOffAt) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (c *cutOffAt) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool { return slices.Contains(cmd.Args(), any(c.key)) }) {
			cmds[0].SetErr(context.DeadlineExceeded)
			return context.DeadlineExceeded
		}
		return next(ctx, cmds)
	}
}

// cutOff makes every command fail from the nth on, as if Redis went away.
type cutOff struct{ after int }

func (c *cutOff) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *cutOff) cut() bool {
	if c.after > 0 {
		c.after--
	}
	return c.after == 0
}

func (c *cutOff) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if c.cut() {
			cmd.SetErr(context.DeadlineExceeded)
			return context.DeadlineExceeded
		}
		return next(ctx, cmd)
	}
}

func (c *cutOff) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if c.cut() {
			for _, cmd := range cmds {
				cmd.SetErr(context.DeadlineExceeded)
			}
			return context.DeadlineExceeded
		}
		return next(ctx, cmds)
	}
}

func expire(t *testing.T, b *bundle) {
	old := b.fail(b.enqueue(tasks.Request{Desktops: ids(100)}))
	b.now = b.now.Add(23 * time.Hour)
	young := b.fail(b.enqueue(tasks.Request{Desktops: ids(2)}))
	running := b.enqueue(tasks.Request{Desktops: []string{"x"}})
	b.now = b.now.Add(2 * time.Hour)
	n, err := b.r.Expire(t.Context(), b.now, 10, 0)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	_, err = b.r.Operation(t.Context(), old.ID)
	require.ErrorIs(t, err, tasks.ErrNotFound)
	for _, k := range b.keys() {
		require.NotContains(t, k, old.ID)
		require.NotContains(t, k, ":named:")
	}
	for _, d := range []string{"d-000000", "d-000001"} {
		got, err := b.r.History(t.Context(), d)
		require.NoError(t, err)
		require.Len(t, got, 1, "the younger one is whole")
		require.Equal(t, young.ID, got[0].Operation.ID)
	}
	list, _, err := b.r.Failures(t.Context(), tasks.FailureFilter{}, 200, "")
	require.NoError(t, err)
	require.Len(t, list, 2)
	counts, err := b.r.FailureCounts(t.Context(), tasks.FailureFilter{})
	require.NoError(t, err)
	require.Equal(t, 2, counts[0].Count, "no entry of the index is left over")
	b.now = b.now.Add(1000 * time.Hour)
	_, err = b.r.Expire(t.Context(), b.now, 10, 0)
	require.NoError(t, err)
	require.Equal(t, 1, b.operation(running.ID).Counts.Queued, "what has not ended does not expire")
}

func scriptFlush(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(250)})
	require.NoError(t, b.rdb.ScriptFlush(t.Context()).Err())
	var changes []record.Change
	for n := range 3 {
		ch := record.Change{Operation: op, Chunk: n}
		for _, d := range b.chunk(op, n).Desktops {
			ch.Moves = append(ch.Moves, record.Move{Desktop: d, To: tasks.StateSending})
		}
		changes = append(changes, ch)
	}
	claim := record.Claim{Project: "hq", Holder: "w/1", Desktops: ids(250)}
	got, _, err := b.r.Claim(t.Context(), claim, time.Hour)
	require.NoError(t, err)
	require.NotContains(t, got, false)
	require.NoError(t, b.rdb.ScriptFlush(t.Context()).Err())
	renewed, err := b.r.ApplyRenewing(t.Context(), b.now, changes, claim, time.Hour)
	require.NoError(t, err)
	require.NotContains(t, renewed.Still, false)
	require.Equal(t, 250, b.operation(op.ID).Counts.Sending)
}

func rejects(t *testing.T, b *bundle) {
	for i := range 3 {
		require.NoError(t, b.r.Reject(t.Context(), record.Rejected{Queue: "q", TaskID: fmt.Sprint(i), Payload: "\x00" + strings.Repeat("x", 5000), Reason: "bad", At: b.now}))
	}
	got, err := b.r.Rejects(t.Context())
	require.NoError(t, err)
	require.Len(t, got, 3)
	require.Equal(t, "2", got[0].TaskID)
	require.Less(t, len(got[0].Payload), 600)
}

func lead(t *testing.T, b *bundle) {
	for worker, want := range map[string]bool{"w1": true} {
		got, err := b.r.Lead(t.Context(), worker, time.Hour)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	again, err := b.r.Lead(t.Context(), "w1", time.Hour)
	require.NoError(t, err)
	require.True(t, again)
	other, err := b.r.Lead(t.Context(), "w2", time.Hour)
	require.NoError(t, err)
	require.False(t, other)
}
