//go:build !race

package record_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// pair is an operation about which two act, and what they were answered.
type pair struct {
	id     string
	sent   int             // rows that went into calls
	moved  map[string]int  // by act
	done   map[string]bool // acts that were answered without an error
	unsure bool            // an act was answered with an error of Redis
}

// pairAct returns how many rows it moved.
type pairAct struct {
	name string
	by   string // in the trail; empty: it moves no rows, or others do
	does func(b *bundle, x *pair) (int, error)
}

// ofOp is an act on the operation as it is now.
func ofOp(f func(b *bundle, op record.Operation) (int, error)) func(b *bundle, x *pair) (int, error) {
	return func(b *bundle, x *pair) (int, error) {
		op, err := b.r.Operation(b.t.Context(), x.id)
		if err != nil {
			return 0, err
		}
		return f(b, op)
	}
}

func pairRequest() tasks.Request {
	return tasks.Request{
		Project: "hq", Desktops: ids(4), Users: []string{"zoe"}, Computers: []string{"pc"}, RequestedBy: "hr", IdempotencyKey: "k",
		Expect: map[string][]string{ids(4)[0]: {"ann"}, ids(4)[2]: {"bob"}},
	}
}

func pairRedrive(b *bundle) (record.Redrive, error) {
	return b.p.Redrive(b.t.Context(), tasks.RedriveRequest{RequestedBy: "red", IdempotencyKey: "r"})
}

var pairActs = []pairAct{
	{"accepts it again", "", func(b *bundle, _ *pair) (int, error) {
		_, err := b.p.Enqueue(b.t.Context(), pairRequest())
		return 0, err
	}},
	{"accepts another", "", func(b *bundle, _ *pair) (int, error) {
		req := pairRequest()
		req.IdempotencyKey = "k2"
		_, err := b.p.Enqueue(b.t.Context(), req)
		return 0, err
	}},
	{"retries", "ret", ofOp(func(b *bundle, op record.Operation) (int, error) {
		return b.p.Retry(b.t.Context(), op, tasks.RetryFilter{}, "ret")
	})},
	{"retries what is held", "held", ofOp(func(b *bundle, op record.Operation) (int, error) {
		return b.p.Retry(b.t.Context(), op, tasks.RetryFilter{Held: true}, "held")
	})},
	{"redrives", "", func(b *bundle, _ *pair) (int, error) {
		_, err := pairRedrive(b)
		if err == nil {
			_, err = b.p.AdvanceRedrives(b.t.Context(), time.Hour)
		}
		return 0, err
	}},
	{"aborts a redrive", "", func(b *bundle, _ *pair) (int, error) {
		redrive, err := pairRedrive(b)
		if err == nil {
			_, err = b.r.AbortRedrive(b.t.Context(), redrive.ID, b.now, "eve")
		}
		return 0, err
	}},
	{"dismisses", "", func(b *bundle, _ *pair) (int, error) {
		q := tasks.DismissRequest{Filter: tasks.FailureFilter{Project: "hq"}, By: "dis", Reason: "x"}
		_, err := b.r.Dismiss(b.t.Context(), q, b.now)
		return 0, err
	}},
	{"cancels", "can", ofOp(func(b *bundle, op record.Operation) (int, error) {
		n, _, err := b.r.Cancel(b.t.Context(), op, b.now, "can")
		return n, err
	})},
	{"cancels many", "", func(b *bundle, _ *pair) (int, error) {
		c, err := b.p.Cancellation(b.t.Context(), tasks.CancellationRequest{
			Filter: tasks.CancellationFilter{Project: "hq"}, RequestedBy: "all", Reason: "x", IdempotencyKey: "c",
		})
		if err == nil {
			err = b.p.AdvanceCancellation(b.t.Context(), c.ID, time.Hour)
		}
		return 0, err
	}},
	{"recalls", "", func(b *bundle, _ *pair) (int, error) {
		_, _, err := b.p.Recall(b.t.Context(), tasks.RecallRequest{User: "ann", RequestedBy: "rec", Reason: "x", IdempotencyKey: "rc"})
		return 0, err
	}},
	{"asks", "", ofOp(func(b *bundle, op record.Operation) (int, error) {
		if op.Done() || op.Clearance != nil {
			return 0, nil
		}
		return 0, b.asks(op)
	})},
	{"approves", "", ofOp(func(b *bundle, op record.Operation) (int, error) {
		_, err := b.p.Approve(b.t.Context(), op, tasks.Approval{By: "app"})
		return 0, err
	})},
	{"rejects", "", ofOp(func(b *bundle, op record.Operation) (int, error) {
		_, err := b.p.Reject(b.t.Context(), op, "rej", "no")
		return 0, err
	})},
	{"lets an approval expire", "", ofOp(func(b *bundle, op record.Operation) (int, error) {
		_, err := b.p.ExpireApproval(b.t.Context(), op, "w")
		return 0, err
	})},
	{"undoes", "", ofOp(func(b *bundle, op record.Operation) (int, error) {
		_, err := b.p.Undo(b.t.Context(), op, tasks.UndoRequest{RequestedBy: "amy", Reason: "x", IdempotencyKey: "u"})
		return 0, err
	})},
	{"works", "", func(b *bundle, x *pair) (int, error) { return 0, b.works(x, x.id, tasks.StateDetached) }},
	{"works and fails", "", func(b *bundle, x *pair) (int, error) { return 0, b.works(x, x.id, tasks.StateFailed) }},
	{"sweeps", "", func(b *bundle, _ *pair) (int, error) {
		swept, err := b.r.Sweep(b.t.Context(), b.now, 0, 100, 0)
		for _, c := range swept.Chunks {
			err = errors.Join(err, b.p.Redispatch(b.t.Context(), c))
		}
		return 0, err
	}},
	{"expires", "", func(b *bundle, _ *pair) (int, error) {
		_, err := b.r.Expire(b.t.Context(), b.now, 100, 0)
		return 0, err
	}},
	{"repairs", "", func(b *bundle, _ *pair) (n int, err error) {
		var cursor record.RepairCursor
		for ended := false; !ended && err == nil; {
			cursor, _, ended, err = b.r.RepairStep(b.t.Context(), b.now, cursor)
		}
		return 0, err
	}},
}

func (b *bundle) asks(op record.Operation) error {
	_, err := b.r.AskApproval(b.t.Context(), op, tasks.Clearance{
		Why: tasks.WhyLimit, Desktops: 4, AskedAt: b.now, ExpiresAt: b.now.Add(30 * time.Hour),
	})
	return err
}

// works does what a worker does with an operation, up to the state of what it sends.
func (b *bundle) works(x *pair, id string, to tasks.State) error {
	ctx := b.t.Context()
	op, err := b.r.Operation(ctx, id)
	if err != nil || op.Done() {
		return err
	}
	waits := op.AwaitsApproval()
	if c := op.Clearance; c != nil && (c.State == tasks.ClearanceRejected || c.State == tasks.ClearanceExpired) && op.Counts.Queued > 0 {
		_, _, err := b.r.Cancel(ctx, op, b.now, c.DecidedBy)
		return err
	}
	if !waits {
		if op, err = b.looksUp(op); errors.Is(err, record.ErrOvertaken) {
			return nil
		} else if err != nil {
			return err
		}
	}
	for n := range op.Chunks() {
		for _, from := range []tasks.State{tasks.StateQueued, tasks.StateSending, tasks.StateAccepted} {
			c, err := b.r.Chunk(ctx, id, n)
			if err != nil || op.LooksUp(n) {
				break
			}
			ch := record.Change{Operation: c.Operation, Chunk: n, By: "w", LookAt: b.now}
			for _, d := range c.Desktops {
				if d.State == from && !(waits && from == tasks.StateQueued) {
					ch.Moves = append(ch.Moves, pairMove(b, d, to))
				}
			}
			if len(ch.Moves) == 0 {
				continue
			}
			done, err := b.r.Apply(ctx, b.now, []record.Change{ch})
			if err != nil {
				return err
			}
			for _, d := range done[0].Desktops {
				if d.State == tasks.StateSending && id == x.id {
					x.sent++
				}
			}
		}
	}
	_, err = b.r.Finish(ctx, []string{id})
	return err
}

// pairMove is the next move of a desktop on its way to a state.
func pairMove(b *bundle, d record.Row, to tasks.State) record.Move {
	m := record.Move{Desktop: d, CallID: "c", Attempts: d.Attempts}
	switch {
	case d.State == tasks.StateQueued && to != tasks.StateHeld:
		m.To, m.Before = tasks.StateSending, &tasks.Before{AttachState: "ATTACHED", Users: []tasks.Person{ann}, ReadAt: b.now}
	case d.State == tasks.StateSending && to != tasks.StateFailed:
		m.To = tasks.StateAccepted
	case d.State == tasks.StateAccepted:
		m.To = tasks.StateDetached
	default:
		m.To, m.Failure = to, &tasks.Failure{Code: "x", Class: tasks.ClassHeld, At: b.now, Attempts: 1}
	}
	return m
}

// looksUp finds a desktop for each row that is to be looked up.
func (b *bundle) looksUp(op record.Operation) (record.Operation, error) {
	ctx := b.t.Context()
	found, err := b.r.Found(ctx, op.ID)
	if err != nil {
		return op, err
	}
	rows, err := b.r.LookupRows(ctx, op)
	if err != nil {
		return op, err
	}
	f := record.Find{Rows: map[string]record.RowFind{}, Expect: map[string][]string{}}
	for _, d := range rows {
		if d.State == tasks.StateQueued && found == nil {
			id := "of-" + strings.ReplaceAll(d.ID, ":", "-")
			f.Rows[d.ID] = record.RowFind{To: tasks.StateExpanded, Desktops: []string{id}}
			if known, err := b.r.RowsNamed(ctx, op, []string{id}); err != nil {
				return op, err
			} else if _, is := known[id]; !is {
				f.Desktops = append(f.Desktops, id)
			}
		}
	}
	if len(f.Rows) > 0 {
		if op, err = b.p.AddFound(ctx, op, f); err != nil {
			return op, err
		}
		found = f.Rows
	}
	if found != nil {
		_, _, err = b.r.SettleLookups(ctx, b.now, op, found, "w")
	}
	return op, err
}

// become moves rows of an operation, each to a state on its way.
func (b *bundle) become(id string, states ...tasks.State) {
	op, err := b.looksUp(b.operation(id))
	require.NoError(b.t, err)
	rows, _, err := b.r.Desktops(b.t.Context(), op, tasks.DesktopFilter{}, 100, "")
	require.NoError(b.t, err)
	rows = slices.DeleteFunc(rows, func(d record.Row) bool { return op.LooksUp(d.Chunk) })
	for i, to := range states {
		for d := rows[i]; d.State != to; d = b.row(op, d.ID) {
			ch := record.Change{Operation: op, Chunk: d.Chunk, By: "w", LookAt: b.now, Moves: []record.Move{pairMove(b, d, to)}}
			_, err := b.r.Apply(b.t.Context(), b.now, []record.Change{ch})
			require.NoError(b.t, err)
		}
	}
}

// pairWorlds are what the two find.
var pairWorlds = map[string]func(b *bundle, id string){
	"nothing": func(*bundle, string) {},
	"half accepted": func(b *bundle, _ string) {
		rdb := redis.NewClient(b.rdb.(*redis.Client).Options())
		defer func() { _ = rdb.Close() }()
		rdb.AddHook(&cutOff{after: 5})
		_, err := b.other(rdb).p.Enqueue(b.t.Context(), pairRequest())
		require.Error(b.t, err)
		b.now = b.now.Add(time.Hour)
	},
	"accepted": func(b *bundle, _ string) { b.enqueue(pairRequest()) },
	"at work": func(b *bundle, id string) {
		b.enqueue(pairRequest())
		b.become(id, tasks.StateSending, tasks.StateFailed, tasks.StateHeld, tasks.StateQueued, tasks.StateAccepted, tasks.StateDetached)
	},
	"waits": func(b *bundle, id string) {
		b.enqueue(pairRequest())
		b.become(id, tasks.StateFailed, tasks.StateQueued, tasks.StateHeld)
		require.NoError(b.t, b.asks(b.operation(id)))
	},
	"has ended": func(b *bundle, id string) { b.pairEnded(id) },
	"is about to expire": func(b *bundle, id string) {
		b.pairEnded(id)
		b.now = b.now.Add(25 * time.Hour)
	},
}

func (b *bundle) pairEnded(id string) {
	b.enqueue(pairRequest())
	b.become(id, tasks.StateFailed, tasks.StateFailed, tasks.StateHeld, tasks.StateDetached, tasks.StateDetached, tasks.StateHeld)
	b.finish(id)
}

// atPoint is a hook that lets somebody act before a round trip, or spoils it.
type atPoint struct {
	at, n int
	spoil func(next func() error, cmds []redis.Cmder) error
}

func (h *atPoint) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h *atPoint) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return h.trip(func() error { return next(ctx, cmd) }, []redis.Cmder{cmd})
	}
}

func (h *atPoint) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return h.trip(func() error { return next(ctx, cmds) }, cmds)
	}
}

func (h *atPoint) trip(next func() error, cmds []redis.Cmder) error {
	if h.n++; h.n == h.at {
		return h.spoil(next, cmds)
	}
	return next()
}

// pairFaults spoil one round trip of one who acts alone.
var pairFaults = map[string]func(next func() error, cmds []redis.Cmder) error{
	"is not run": func(_ func() error, cmds []redis.Cmder) error { return spoiled(cmds) },
	"loses its reply": func(next func() error, cmds []redis.Cmder) error {
		_ = next()
		return spoiled(cmds)
	},
	"is sent again": func(next func() error, cmds []redis.Cmder) error {
		_ = next()
		for _, cmd := range cmds {
			cmd.SetErr(nil)
		}
		return next()
	},
}

func spoiled(cmds []redis.Cmder) error {
	for _, cmd := range cmds {
		cmd.SetErr(errKilled)
	}
	return errKilled
}

// Each of two acts at each round trip of the other, or Redis fails there and the request is sent again. What was
// answered holds, all ends, and nothing is left after the retention. DETACHD_TEST_ALL_POINTS=1 tries all pairs at
// every round trip, in some minutes, not some.
func TestTwoActAtOnce(t *testing.T) {
	t.Parallel()
	for name, world := range pairWorlds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			plain, hooked := server.Client(t), server.Client(t)
			h := &atPoint{}
			hooked.AddHook(h)
			// at has first act, and the world go on; false if it has no such round trip.
			at := func(t *testing.T, n int, first pairAct, second *pairAct, fault func(func() error, []redis.Cmder) error) bool {
				require.NoError(t, plain.FlushDB(t.Context()).Err())
				b := &bundle{t: t, rdb: plain, prefix: "t", now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
				b.p = b.producer()
				b.r = b.p.Record
				x := &pair{id: record.OperationID("hr", "k"), moved: map[string]int{}, done: map[string]bool{}}
				world(b, x.id)
				one := b.other(hooked)
				one.now = b.now.Add(2 * time.Millisecond) // else two writes of two people could be one that is sent again
				b.now = b.now.Add(5 * time.Millisecond)
				acts := func(b *bundle, a pairAct) error {
					n, err := a.does(b, x)
					x.moved[a.name] += n
					x.done[a.name] = err == nil
					return err
				}
				reached := false
				*h = atPoint{at: n, spoil: func(next func() error, cmds []redis.Cmder) error {
					reached = true
					if second == nil {
						x.unsure = true
						return fault(next, cmds)
					}
					_ = acts(b, *second)
					return next()
				}}
				err := acts(one, first)
				*h = atPoint{}
				if errors.Is(err, errKilled) {
					b.rdb.Del(t.Context(), b.prefix+":expiring")
					_ = acts(b, first)
				}
				b.check(x)
				return reached
			}
			all, stride := os.Getenv("DETACHD_TEST_ALL_POINTS") != "", 11
			if all {
				stride = 1
			}
			for i, a := range pairActs {
				for j, other := range pairActs {
					if !all && (i+3*j+len(name))%7 != 0 {
						continue
					}
					t.Run(a.name+", who "+other.name, func(t *testing.T) {
						for n := 1 + (i+j)%stride; at(t, n, a, &other, nil); n += stride {
						}
					})
				}
				for fault, spoils := range pairFaults {
					if !all && (i+len(name)+len(fault))%3 != 0 {
						continue
					}
					t.Run(a.name+", and a command "+fault, func(t *testing.T) {
						for n := 1 + i%min(5, stride); at(t, n, a, nil, spoils); n += min(5, stride) {
						}
					})
				}
			}
		})
	}
}

// check has all go on, and checks what must hold.
func (b *bundle) check(x *pair) {
	t, ctx := b.t, b.t.Context()
	t.Helper()
	before, err := b.r.Operation(ctx, x.id)
	b.answersHold(x, before, err == nil)
	sent := x.sent
	b.now = b.now.Add(time.Second)
	for range 6 {
		b.sweepAll()
		_, err := b.p.AdvanceRedrives(ctx, time.Hour)
		require.NoError(t, err)
		_, err = b.p.AdvanceCancellations(ctx, time.Hour)
		require.NoError(t, err)
		b.eachOp(func(op record.Operation) { require.NoError(t, b.works(x, op.ID, tasks.StateDetached)) })
	}
	b.rdb.Del(ctx, b.prefix+":expiring")
	b.sweepAll()
	b.eachOp(func(op record.Operation) { b.holds(op, x.done["dismisses"]) })
	for _, key := range []string{":redrives:open", ":cancellations:open", ":{p:hq}:announced"} {
		require.Zero(t, b.rdb.Exists(ctx, b.prefix+key).Val(), key)
	}
	again := []string{"retries", "retries what is held", "redrives", "aborts a redrive", "accepts it again"}
	if x.done["cancels"] && !slices.ContainsFunc(again, func(name string) bool { return x.done[name] }) {
		require.Equal(t, sent, x.sent, "something was sent after it was cancelled")
	}
	b.nothingIsLeft(x)
}

func (b *bundle) eachOp(f func(op record.Operation)) {
	ops, _, err := b.r.Operations(b.t.Context(), tasks.OperationFilter{}, 1000, "")
	require.NoError(b.t, err)
	for _, op := range ops {
		f(b.operation(op.ID))
	}
}

// answersHold compares what the two were answered with the trail.
func (b *bundle) answersHold(x *pair, op record.Operation, there bool) {
	moved := map[string]int{}
	if there {
		es, err := b.r.Evidence(b.t.Context(), op, 0, op.Chunks())
		require.NoError(b.t, err)
		for _, e := range es {
			require.NoError(b.t, e.Check(), strings.Join(e.Raw, "\n"))
			for _, raw := range e.Raw {
				entry, err := record.ParseTrailEntry(raw)
				require.NoError(b.t, err)
				for range entry.Steps() {
					moved[entry.By]++
				}
			}
		}
	}
	for _, a := range pairActs {
		if a.by != "" && !x.unsure {
			require.Equal(b.t, moved[a.by], x.moved[a.name], "who %s was answered so", a.name)
		}
	}
	if x.done["approves"] && x.done["rejects"] {
		require.Fail(b.t, "it was approved and rejected")
	}
	for _, name := range []string{"approves", "rejects"} {
		require.False(b.t, x.done[name] && !there, "who %s was answered so, and it is gone", name)
	}
}

// holds checks an operation with which nobody is busy.
func (b *bundle) holds(op record.Operation, dismissed bool) {
	t, ctx := b.t, b.t.Context()
	b.whole(op)
	in := func(key string) bool { return b.rdb.ZScore(ctx, b.prefix+":"+key, op.ID).Err() == nil }
	require.Equal(t, op.AwaitsApproval(), in("waiting"))
	require.Equal(t, op.AwaitsApproval(), in("waiting:hq"))
	require.NotEqual(t, op.AwaitsApproval(), op.Sealed() && in("ended"), "it ends, or waits: %+v", op.Counts)
	rows, _, err := b.r.Desktops(ctx, op, tasks.DesktopFilter{}, 1000, "")
	require.NoError(t, err)
	listed := map[string]bool{}
	fails, _, err := b.r.Failures(ctx, tasks.FailureFilter{}, 1000, "")
	require.NoError(t, err)
	for _, f := range fails {
		listed[f.OperationID+f.DesktopID] = true
	}
	counts, err := b.r.FailureCounts(ctx, tasks.FailureFilter{})
	require.NoError(t, err)
	counted := 0
	for _, c := range counts {
		counted += c.Count
	}
	require.Equal(t, len(fails), counted, "the inbox has as many as it lists")
	only := b.rdb.ZCard(ctx, b.prefix+":ops").Val() == 1 // else the failures of another may replace its own
	open, unproven := map[string]string{}, map[string]string{}
	count := func(in map[string]string, chunk int) {
		n := 0
		_, _ = fmt.Sscan(in[fmt.Sprint(chunk)], &n)
		in[fmt.Sprint(chunk)] = fmt.Sprint(n + 1)
	}
	for _, d := range rows {
		failed := d.State == tasks.StateFailed || d.State == tasks.StateHeld
		if listed[op.ID+d.ID] || only && !dismissed {
			require.Equal(t, failed, listed[op.ID+d.ID], "%s is %s", d.ID, d.State)
		}
		if d.State.Open() {
			count(open, d.Chunk)
		} else if d.State == tasks.StateAccepted {
			count(unproven, d.Chunk)
		}
	}
	require.Equal(t, open, b.rdb.HGetAll(ctx, b.prefix+":{"+op.ID+"}:open").Val())
	require.Equal(t, unproven, b.rdb.HGetAll(ctx, b.prefix+":{"+op.ID+"}:unproven").Val())
}

// nothingIsLeft lets the retention pass.
func (b *bundle) nothingIsLeft(x *pair) {
	t, ctx := b.t, b.t.Context()
	for range 3 {
		b.now = b.now.Add(26 * time.Hour)
		b.eachOp(func(op record.Operation) {
			if !op.Done() {
				_, _, err := b.r.Cancel(ctx, op, b.now, "end")
				require.NoError(t, err)
			}
		})
		b.sweepAll()
		_, err := b.r.Expire(ctx, b.now, 100, 0)
		require.NoError(t, err)
		b.round()
	}
	for _, key := range b.keys() {
		rest := strings.TrimPrefix(key, b.prefix+":")
		require.NotContains(t, key, x.id)
		for _, of := range []string{"ops", "open", "ended", "waiting", "scheduled", "desktops", "named", "{p:hq}:failures", "{p:hq}:inbox"} {
			require.False(t, strings.HasPrefix(rest, of), "%s is left", key)
		}
	}
}
