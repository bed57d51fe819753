package record_test

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// everyPage reads a list to its end; between the pages something happens.
func everyPage[T any](t require.TestingT, read func(token string) ([]T, string, error), between func()) (out []T) {
	for token, n := "", 0; ; n++ {
		require.Less(t, n, 5000, "paging does not end")
		page, next, err := read(token)
		require.NoError(t, err)
		out = append(out, page...)
		if token = next; token == "" {
			return out
		}
		between()
	}
}

// listed is a record with a bit of everything, under random filters.
type listed struct {
	*bundle
	ops     []record.Operation
	leavers map[string]bool // by project and name: in the inbox each would be once
}

var (
	someTickets = []string{"", "T-1", "T-2", "*:{x}"}
	somePeople  = []string{"hr", "it", ""}
	someUsers   = []string{"zoe", "Ann", "bob"}
	someCodes   = []string{"WKS.1", "WKS.2", `"c":"WKS.1"`}
)

func (l *listed) add(rt *rapid.T) {
	draw := func(name string, n int) int { return rapid.IntRange(0, n-1).Draw(rt, name) }
	l.now = l.now.Add(time.Duration(draw("later", 3)) * time.Millisecond) // some within one millisecond
	size := 1 + draw("size", 4)
	if draw("large", 8) == 0 {
		size = 230
	}
	desktops := ids(size)
	for i := range desktops {
		desktops[i] += fmt.Sprint("-", len(l.ops))
	}
	req := tasks.Request{
		Project: []string{"hq", "branch"}[draw("project", 2)], Desktops: desktops, Ticket: someTickets[draw("ticket", 4)],
		RequestedBy: somePeople[draw("by", 3)], Expect: map[string][]string{desktops[0]: {someUsers[draw("user", 3)]}},
	}
	if name := someUsers[draw("leaver's", 3)]; draw("leaver", 3) == 0 && !l.leavers[req.Project+name] {
		req.Users, l.leavers[req.Project+name] = []string{name}, true
	}
	op := l.enqueue(req)
	for n := range op.Chunks() {
		ch := record.Change{Operation: op, Chunk: n}
		for _, d := range l.chunk(op, n).Desktops {
			m := record.Move{Desktop: d, To: []tasks.State{tasks.StateQueued, tasks.StateCancelled, tasks.StateFailed, tasks.StateHeld}[draw("to", 4)%(1+d.Position%4)], Attempts: 1}
			if m.To == tasks.StateFailed || m.To == tasks.StateHeld || m.To == tasks.StateQueued && d.Position%3 == 0 {
				m.Failure = &tasks.Failure{Code: someCodes[draw("code", 3)], Class: "permanent", At: l.now.Add(time.Duration(draw("at", 3)) * time.Millisecond)}
			}
			ch.Moves = append(ch.Moves, m)
		}
		_, err := l.r.Apply(l.t.Context(), l.now, []record.Change{ch})
		require.NoError(rt, err)
	}
	l.ops = append(l.ops, op)
}

func (l *listed) rows(op record.Operation) (out []record.Row) {
	for n := range op.Chunks() {
		ds := l.chunk(op, n).Desktops
		last, err := l.r.LastFailures(l.t.Context(), op, ds)
		require.NoError(l.t, err)
		for i := range ds {
			ds[i].Failure = last[ds[i].ID]
		}
		out = append(out, ds...)
	}
	return out
}

// The pages of every list together give exactly what its filter wants, each once,
// while more is being added.
func TestPagesGiveEverythingOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rapid.Check(t, func(rt *rapid.T) {
		l := &listed{bundle: newBundle(t, server.Client(t)), leavers: map[string]bool{}}
		for range rapid.IntRange(1, 12).Draw(rt, "operations") {
			l.add(rt)
		}
		before := slices.Clone(l.ops)
		added := 0
		between := func() {
			if added++; added < 4 {
				l.add(rt)
			}
		}
		pick := func(name string, from ...string) string { return rapid.SampledFrom(from).Draw(rt, name) }
		when := func(name string) time.Time {
			if rapid.Bool().Draw(rt, name) {
				return time.Time{}
			}
			return l.now.Add(time.Duration(rapid.IntRange(-12, 3).Draw(rt, name+" at"))*time.Millisecond - 300*time.Microsecond)
		}
		size := rapid.IntRange(1, 7).Draw(rt, "size")

		f := tasks.OperationFilter{
			Project: pick("project", "", "hq", "branch"), RequestedBy: pick("by", "", "hr", "it"), Ticket: pick("ticket", someTickets...),
			Open: rapid.Bool().Draw(rt, "open"), From: when("from"), To: when("to"),
		}
		got := everyPage(rt, func(token string) ([]record.Operation, string, error) {
			return l.r.Operations(t.Context(), f, size, token)
		}, between)
		var want []string
		for _, op := range before {
			op = l.operation(op.ID)
			if (f.Project == "" || f.Project == op.Project) && (f.RequestedBy == "" || f.RequestedBy == op.RequestedBy) && (f.Ticket == "" || f.Ticket == op.Ticket) &&
				(!f.Open || !op.Done()) && (f.From.IsZero() || !op.AcceptedAt.Before(f.From)) && (f.To.IsZero() || op.AcceptedAt.Before(f.To)) {
				want = append(want, op.ID)
			}
		}
		sameOnce(rt, want, got, before, func(o record.Operation) (string, string) { return o.ID, o.ID })

		before, added = slices.Clone(l.ops), 0
		ff := tasks.FailureFilter{
			Project: pick("project", "", "hq", "branch"), Code: pick("code", "", "WKS.1", `"c":"WKS.1"`), User: pick("user", "", "ZOE", "ann"),
			Source: pick("source", "", "hr", "it"), From: when("from"), To: when("to"),
		}
		if rapid.IntRange(0, 2).Draw(rt, "of one") == 0 {
			ff.Operation = before[0].ID
		}
		failures := everyPage(rt, func(token string) ([]tasks.Failure, string, error) {
			return l.r.Failures(t.Context(), ff, size, token)
		}, between)
		want = nil
		for _, op := range before {
			for _, d := range l.rows(op) {
				if d.State != tasks.StateFailed && d.State != tasks.StateHeld {
					continue
				}
				x := d.Failure
				named := strings.EqualFold(d.ID, "user:"+ff.User) || slices.ContainsFunc(d.Expect, func(s string) bool { return strings.EqualFold(s, ff.User) })
				if (ff.Project == "" || ff.Project == op.Project) && (ff.Code == "" || ff.Code == x.Code) && (ff.User == "" || named) && (ff.Source == "" || ff.Source == op.RequestedBy) &&
					(ff.Operation == "" || ff.Operation == op.ID) && (ff.From.IsZero() || !x.At.Before(ff.From)) && (ff.To.IsZero() || x.At.Before(ff.To)) {
					want = append(want, op.ID+d.ID)
				}
			}
		}
		sameOnce(rt, want, failures, before, func(x tasks.Failure) (string, string) { return x.OperationID, x.OperationID + x.DesktopID })
		if ff.Operation == "" && ff.User == "" {
			require.True(rt, slices.IsSortedFunc(failures, func(a, b tasks.Failure) int { return b.At.Compare(a.At) }), "the latest first")
		}

		op := rapid.SampledFrom(l.ops).Draw(rt, "operation")
		df := tasks.DesktopFilter{Code: pick("code", "", "WKS.1", "WKS.2")}
		for _, s := range []tasks.State{tasks.StateQueued, tasks.StateCancelled, tasks.StateFailed, tasks.StateHeld, tasks.StateDetached} {
			if rapid.IntRange(0, 3).Draw(rt, s.String()) == 0 {
				df.States = append(df.States, s)
			}
		}
		desktops := everyPage(rt, func(token string) ([]record.Row, string, error) {
			return l.r.Desktops(t.Context(), op, df, size, token)
		}, func() {})
		want = nil
		for _, d := range l.rows(op) {
			if (len(df.States) == 0 || slices.Contains(df.States, d.State)) && (df.Code == "" || d.Failure != nil && d.Failure.Code == df.Code) {
				want = append(want, d.ID)
			}
		}
		var have []string
		for _, d := range desktops {
			have = append(have, d.ID)
		}
		require.Equal(rt, want, have)
	})
}

// sameOnce holds a list against what was wanted when it was begun.
func sameOnce[T any](t require.TestingT, want []string, got []T, before []record.Operation, key func(T) (op, id string)) {
	var have []string
	for _, x := range got {
		op, id := key(x)
		if slices.ContainsFunc(before, func(o record.Operation) bool { return o.ID == op }) {
			have = append(have, id)
		}
	}
	slices.Sort(want)
	slices.Sort(have)
	require.Equal(t, want, have)
}

// A page that finds nothing ends all the same, and says where to go on.
func TestPagesAreBounded(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Start(t).Client(t))
	rare := b.enqueue(tasks.Request{Desktops: []string{"rare"}, RequestedBy: "hr", Ticket: "A"})
	b.fail(rare)
	b.now = b.now.Add(time.Second)
	// Entries of the indexes without operations: they cost what entries cost.
	var zs, fs []redis.Z
	for i := range 12_000 {
		zs = append(zs, redis.Z{Score: float64(b.now.UnixMilli()), Member: fmt.Sprintf("none-%06d", i)})
		fs = append(fs, redis.Z{Score: float64(b.now.UnixMilli()), Member: fmt.Sprintf("none-%06d/d", i)})
	}
	fill := func(zs []redis.Z, keys ...string) {
		for _, key := range keys {
			for part := range slices.Chunk(zs, 2000) {
				require.NoError(t, b.rdb.ZAdd(t.Context(), key, part...).Err())
			}
		}
	}
	for _, key := range b.keys() {
		if strings.HasPrefix(key, b.prefix+":ops") {
			fill(zs, key)
		}
		if strings.HasPrefix(key, b.prefix+":{p:hq}:failures:") {
			fill(fs, key)
		}
	}
	for _, f := range []tasks.OperationFilter{{}, {RequestedBy: "hr"}, {RequestedBy: "hr", Ticket: "A", Project: "hq"}} {
		counter := &commands{}
		b.rdb.AddHook(counter)
		page, next, err := b.r.Operations(t.Context(), f, 10, "")
		require.NoError(t, err)
		require.Empty(t, page)
		require.NotEmpty(t, next)
		require.Less(t, counter.n, 3000)
		all := everyPage(t, func(token string) ([]record.Operation, string, error) {
			return b.r.Operations(t.Context(), f, 10, token)
		}, func() {})
		require.Len(t, all, 1)
	}
	inbox := &commands{}
	b.rdb.AddHook(inbox)
	failures, next, err := b.r.Failures(t.Context(), tasks.FailureFilter{}, 10, "")
	require.NoError(t, err)
	require.Empty(t, failures)
	require.NotEmpty(t, next)
	require.Less(t, inbox.n, 3000)
	all := everyPage(t, func(token string) ([]tasks.Failure, string, error) {
		return b.r.Failures(t.Context(), tasks.FailureFilter{}, 10, token)
	}, func() {})
	require.Len(t, all, 1)
	// Those of an operation or a requester are not looked for among the others'.
	for _, f := range []tasks.FailureFilter{{Source: "hr"}, {Operation: rare.ID}, {Operation: rare.ID, Source: "hr"}} {
		page, next, err := b.r.Failures(t.Context(), f, 10, "")
		require.NoError(t, err)
		require.Len(t, page, 1)
		require.Empty(t, next)
	}

	// One of 6,000 rows is wanted, and their chunks have to be read.
	op := b.enqueue(tasks.Request{Desktops: ids(6000)})
	for n := range op.Chunks() {
		ds := b.chunk(op, n).Desktops
		b.move(op, n, tasks.StateFailed, ds[1])
	}
	b.move(op, 59, tasks.StateCancelled, b.chunk(op, 59).Desktops[99])
	var page []record.Row
	page, next, err = b.r.Desktops(t.Context(), op, tasks.DesktopFilter{States: []tasks.State{tasks.StateCancelled}}, 10, "")
	require.NoError(t, err)
	require.Empty(t, page)
	require.NotEmpty(t, next)
	one := everyPage(t, func(token string) ([]record.Row, string, error) {
		return b.r.Desktops(t.Context(), op, tasks.DesktopFilter{States: []tasks.State{tasks.StateCancelled}}, 10, token)
	}, func() {})
	require.Len(t, one, 1)
	counter := &commands{}
	b.rdb.AddHook(counter)
	page, next, err = b.r.Desktops(t.Context(), op, tasks.DesktopFilter{States: []tasks.State{tasks.StateDetached, tasks.StateHeld}}, 10, "")
	require.NoError(t, err)
	require.Empty(t, page)
	require.Empty(t, next, "the counts say that there is none")
	require.Less(t, counter.n, 100)
}

// commands counts what a client sends.
type commands struct{ n int }

func (c *commands) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *commands) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.n++; return next(ctx, cmd) }
}
func (c *commands) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { c.n += len(cmds); return next(ctx, cmds) }
}

// The tokens of an older version were offsets, which repeat and hide.
func oldTokens(t *testing.T, b *bundle) {
	b.enqueue(tasks.Request{Desktops: ids(1)})
	for _, token := range []string{"0", "1", "100", "-1", "x", base64.RawURLEncoding.EncodeToString([]byte("x y"))} {
		_, _, err := b.r.Operations(t.Context(), tasks.OperationFilter{}, 1, token)
		require.ErrorIs(t, err, tasks.ErrPageToken, token)
	}
	for _, f := range []tasks.FailureFilter{{}, {User: "zoe"}} {
		_, _, err := b.r.Failures(t.Context(), f, 1, "7")
		require.ErrorIs(t, err, tasks.ErrPageToken)
	}
}

// What a crash leaves short of the indexes is entered when the operation ends.
func operationsRepaired(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(2), RequestedBy: "hr", Ticket: "T"})
	for _, key := range b.keys() {
		if strings.HasPrefix(key, b.prefix+":ops") {
			require.NoError(t, b.rdb.Del(t.Context(), key).Err())
		}
	}
	all := tasks.OperationFilter{Project: "hq", RequestedBy: "hr", Ticket: "T"}
	ops, _, err := b.r.Operations(t.Context(), all, 10, "")
	require.NoError(t, err)
	require.Empty(t, ops)
	b.fail(op)
	for _, f := range []tasks.OperationFilter{all, {}, {Project: "hq"}, {RequestedBy: "hr"}, {Ticket: "T"}} {
		ops, _, err = b.r.Operations(t.Context(), f, 10, "")
		require.NoError(t, err)
		require.Len(t, ops, 1)
	}
}

// everything is all that Redis has of the record: keys, and the members of those
// that many operations share.
func (b *bundle) everything() map[string][]string {
	out := map[string][]string{}
	for _, key := range b.removed() {
		if strings.HasPrefix(key, b.prefix+":hq:") || strings.HasPrefix(key, b.prefix+":failures") && b.rdb.Type(b.t.Context(), key).Val() == "set" {
			continue // the codes that ever were
		}
		var members []string
		switch b.rdb.Type(b.t.Context(), key).Val() {
		case "zset":
			members = b.rdb.ZRange(b.t.Context(), key, 0, -1).Val()
		case "hash":
			members = b.rdb.HKeys(b.t.Context(), key).Val()
		case "set":
			members = b.rdb.SMembers(b.t.Context(), key).Val()
		case "string": // a bucket of an index
			for part := range slices.Chunk([]byte(b.rdb.Get(b.t.Context(), key).Val()), 30) {
				members = append(members, fmt.Sprintf("%x", part))
			}
		}
		slices.Sort(members)
		out[key] = members
	}
	return out
}

// Nothing of an operation is left after its retention, nor of one that was never
// accepted: neither keys nor entries of indexes.
func nothingLeft(t *testing.T, b *bundle) {
	// Another one that stays, with the same names.
	req := tasks.Request{
		Desktops: ids(120), RequestedBy: "hr", Ticket: "T", Users: []string{"Zoe"},
		Expect: map[string][]string{"d-000003": {"zoe", "ann"}, "d-000110": {"zoe"}},
	}
	b.enqueue(req)
	before := b.everything()
	op := b.enqueue(req)
	// A worker that died had found more.
	dies := &cutOffAt{key: b.prefix + ":{" + op.ID + "}:open"}
	b.rdb.AddHook(dies)
	_, err := b.p.AddFound(t.Context(), op, record.Find{Desktops: ids(1800)[700:]})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	dies.key = "none"
	found, err := b.p.AddFound(t.Context(), op, record.Find{
		Desktops: []string{"f1"}, Expect: map[string][]string{"f1": {"Zoe"}}, Rows: map[string]record.RowFind{"user:Zoe": {To: tasks.StateExpanded}},
	})
	require.NoError(t, err)
	noted, err := b.r.Found(t.Context(), op.ID)
	require.NoError(t, err)
	_, _, err = b.r.SettleLookups(t.Context(), b.now, found, noted, "w")
	require.NoError(t, err)
	for _, n := range []int{0, 1, 3} {
		ch := record.Change{Operation: found, Chunk: n}
		for i, d := range b.chunk(found, n).Desktops {
			ch.Moves = append(ch.Moves, record.Move{
				Desktop: d, To: tasks.StateFailed, Before: &tasks.Before{Name: fmt.Sprint("PC-", i), Users: []tasks.Person{{Name: "Eve"}, {Name: "ZOE"}}},
				Failure: &tasks.Failure{DesktopName: fmt.Sprint("pc-", i%7), Code: "x", Class: "permanent", At: b.now},
			})
		}
		_, err := b.r.Apply(t.Context(), b.now, []record.Change{ch})
		require.NoError(t, err)
	}
	b.finish(op.ID)
	require.NotEqual(t, before, b.everything())
	b.now = b.now.Add(48 * time.Hour)
	n, err := b.r.Expire(t.Context(), b.now, 10, 0)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, before, b.everything())

	// Cut off before each of its round trips.
	req.IdempotencyKey = "cut"
	req.Project = "hq"
	for after := 2; ; after++ {
		require.Less(t, after, 100)
		stop := &cutOff{after: after}
		b.rdb.AddHook(stop)
		_, err := b.p.Enqueue(t.Context(), req)
		accepted := err == nil
		stop.after = -1
		if accepted || b.accepted() {
			break
		}
		_, err = b.r.Sweep(t.Context(), b.now.Add(time.Hour), 0, 10, 0)
		require.NoError(t, err)
		require.Equal(t, before, b.everything(), "cut off before round trip %d", after)
	}
}

// accepted reports that there are two operations.
func (b *bundle) accepted() bool {
	ops, _, err := b.r.Operations(b.t.Context(), tasks.OperationFilter{}, 10, "")
	require.NoError(b.t, err)
	return len(ops) > 1
}

// The indexes have what was never accepted when Redis took just them of the last
// round trip.
func indexedAndNotAccepted(t *testing.T, b *bundle) {
	before := b.everything()
	hook := &onlyIndexes{}
	b.rdb.AddHook(hook)
	_, err := b.p.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: ids(3), RequestedBy: "hr", Ticket: "T"})
	require.Error(t, err)
	require.True(t, hook.cut)
	require.Contains(t, strings.Join(slices.Collect(maps.Keys(b.everything())), " "), b.prefix+":ops:ticket:")
	ops, next, err := b.r.Operations(t.Context(), tasks.OperationFilter{Ticket: "T"}, 10, "")
	require.NoError(t, err)
	require.Empty(t, ops)
	require.Empty(t, next)
	_, err = b.r.Sweep(t.Context(), b.now.Add(time.Hour), 0, 10, 0)
	require.NoError(t, err)
	require.Equal(t, before, b.everything())
}

// onlyIndexes sends only the plain commands of a pipeline that accepts an operation.
type onlyIndexes struct{ cut bool }

func (h *onlyIndexes) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *onlyIndexes) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h *onlyIndexes) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		isIndex := func(c redis.Cmder) bool { return c.Name() == "zadd" }
		if !slices.ContainsFunc(cmds, isIndex) || isIndex(cmds[0]) {
			return next(ctx, cmds)
		}
		h.cut = true
		_ = next(ctx, slices.DeleteFunc(slices.Clone(cmds), func(c redis.Cmder) bool { return !isIndex(c) }))
		for _, c := range cmds {
			c.SetErr(context.DeadlineExceeded)
		}
		return context.DeadlineExceeded
	}
}

// A producer that was too slow takes its entries back.
func rolledBack(t *testing.T, b *bundle) {
	before := b.everything()
	b.rdb.AddHook(&beforeCommit{do: func() {
		_, err := b.r.Sweep(t.Context(), b.now.Add(time.Hour), 0, 10, 0)
		require.NoError(t, err)
	}})
	_, err := b.p.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: ids(3), RequestedBy: "hr", Ticket: "T"})
	require.ErrorContains(t, err, "rolled back")
	require.ErrorIs(t, err, tasks.ErrSendAgain)
	require.Equal(t, before, b.everything())
}

// beforeCommit does something once before an operation is accepted.
type beforeCommit struct {
	do   func()
	done bool
}

func (h *beforeCommit) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *beforeCommit) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h *beforeCommit) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		isCommit := slices.ContainsFunc(cmds, func(c redis.Cmder) bool {
			return c.Name() == "zadd" && strings.HasSuffix(fmt.Sprint(c.Args()[1]), ":ops")
		})
		if isCommit && !h.done {
			h.done = true
			h.do()
		}
		return next(ctx, cmds)
	}
}

// A failover between two round trips of an acceptance loses what was in the first:
// nothing is accepted without its desktops, or where nobody would find it.
func lostWhileAccepted(t *testing.T, b *bundle) {
	remove := func(which string) {
		b.rdb.AddHook(&beforeCommit{do: func() {
			for _, key := range b.keys() {
				if strings.HasSuffix(key, which) {
					require.NoError(t, b.rdb.Del(t.Context(), key).Err())
				}
			}
		}})
	}
	req := tasks.Request{Project: "hq", Desktops: ids(250), IdempotencyKey: "k"}
	remove(":c:1")
	_, err := b.p.Enqueue(t.Context(), req)
	require.ErrorContains(t, err, "a failover of Redis lost a part of it")
	require.ErrorIs(t, err, tasks.ErrSendAgain)
	ops, _, err := b.r.Operations(t.Context(), tasks.OperationFilter{}, 10, "")
	require.NoError(t, err)
	require.Empty(t, ops)
	remove(":open")
	op := b.enqueue(req)
	require.Len(t, b.chunk(op, 1).Desktops, 100)
	ops, _, err = b.r.Operations(t.Context(), tasks.OperationFilter{Open: true, Project: "hq"}, 10, "")
	require.NoError(t, err)
	require.Len(t, ops, 1, "a reconciler finds it")
}

func search(t *testing.T, b *bundle) {
	first := b.enqueue(tasks.Request{Desktops: ids(120), Expect: map[string][]string{"d-000005": {"Zoe"}, "d-000007": {"zoe"}, "d-000110": {"ZOE", "a|b*"}}})
	b.now = b.now.Add(time.Minute)
	second := b.enqueue(tasks.Request{Project: "branch", Desktops: []string{"D-1", "x"}, Users: []string{"zoe"}})
	b.now = b.now.Add(time.Minute)
	d := b.chunk(second, 0).Desktops
	_, err := b.r.Apply(t.Context(), b.now, []record.Change{{Operation: second, Moves: []record.Move{
		{Desktop: d[0], To: tasks.StateFailed, Failure: &tasks.Failure{DesktopName: "Pc-9", Code: "x", Class: "permanent", At: b.now}},
		{Desktop: d[1], To: tasks.StateHeld, Before: &tasks.Before{Name: "PC-8", Users: []tasks.Person{{Name: "eve"}}}},
	}}})
	require.NoError(t, err)
	third := b.enqueue(tasks.Request{Desktops: []string{"d-000005"}, Users: []string{"Mia"}})
	after, err := b.p.AddFound(t.Context(), third, record.Find{Desktops: []string{"found"}, Expect: map[string][]string{"found": {"Mia"}}})
	require.NoError(t, err)
	names := map[string]string{first.ID: "1/", second.ID: "2/", after.ID: "3/"}
	find := func(text string, size int) string {
		var out []string
		for _, e := range everyPage(t, func(token string) ([]record.HistoryEntry, string, error) {
			return b.r.Search(t.Context(), text, size, token)
		}, func() {
			b.enqueue(tasks.Request{Desktops: []string{"new"}, Users: []string{text}}) // the latest, before all that is left
		}) {
			out = append(out, cmp.Or(names[e.Operation.ID], "new/")+e.Desktop.ID)
		}
		return strings.Join(out, " ")
	}
	for text, want := range map[string]string{
		"d-000005": "3/d-000005 1/d-000005", "D-000005": "3/d-000005 1/d-000005", "d-1": "2/D-1",
		"mia": "3/user:Mia 3/found", "user:MIA": "3/user:Mia 3/found", "pc-9": "2/D-1", "pc-8": "2/x", "EVE": "2/x",
		"A|B*": "1/d-000110", "a": "", "a|b": "", "zo": "", "*": "", "": "", "none": "",
	} {
		require.Equal(t, want, find(text, 10), text)
	}
	for _, size := range []int{1, 2, 3, 10} {
		require.Equal(t, "2/user:zoe 1/d-000005 1/d-000007 1/d-000110", find("zoe", size), "pages of %d", size)
		names = maps.Clone(names)
		if size < 10 {
			expireNew(t, b, names)
		}
	}
	_, _, err = b.r.Search(t.Context(), "zoe", 1, "x")
	require.ErrorIs(t, err, tasks.ErrPageToken)
	events, _, err := b.r.Search(t.Context(), "eve", 1, "")
	require.NoError(t, err)
	require.Equal(t, "PC-8", events[0].Desktop.Before.Name)
}

// The users of what was detached are found when their operation has ended, and the
// computers of what was not.
func searchRead(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(230), Expect: map[string][]string{ids(230)[7]: {"zoe"}}, Computers: []string{"Lab-1"}})
	read := func(m *record.Move) {
		m.Before = &tasks.Before{Name: fmt.Sprint("PC-", m.Desktop.Place()), Users: []tasks.Person{{Name: "everywhere"}, {Name: fmt.Sprint("Mia-", m.Desktop.Place())}}}
	}
	find := func(text string) string {
		var out []string
		for _, e := range everyPage(t, func(token string) ([]record.HistoryEntry, string, error) {
			return b.r.Search(t.Context(), text, 100, token)
		}, func() {}) {
			out = append(out, e.Desktop.ID)
		}
		return strings.Join(out, " ")
	}
	for n := range op.Chunks() {
		b.step(op, n, tasks.StateQueued, tasks.StateSending, read)
		b.step(op, n, tasks.StateSending, tasks.StateAccepted)
		if n == 0 { // everywhere is in chunks 0, 1, and 2
			b.step(op, n, tasks.StateAccepted, tasks.StateDetached)
		}
	}
	require.Equal(t, "d-000007", find("zoe"), "whom a request names is found at once")
	require.Equal(t, "computer:Lab-1", find("lab-1"))
	for _, text := range []string{"mia-3", "mia-103", "pc-103"} {
		require.Empty(t, find(text), text)
	}
	ch := b.moves(op, 1, tasks.StateAccepted, tasks.StateDetached)
	ch.Moves[3].To, ch.Moves[3].Failure = tasks.StateFailed, &tasks.Failure{Code: "X", Class: "permanent", DesktopName: "PC-103", At: b.now}
	_, err := b.r.Apply(t.Context(), b.now, []record.Change{ch})
	require.NoError(t, err)
	for _, text := range []string{"mia-103", "pc-103"} {
		require.Equal(t, "d-000103", find(text), "what failed is found at once")
	}
	require.Empty(t, find("mia-4"))
	b.step(op, 2, tasks.StateAccepted, tasks.StateDetached)
	b.step(op, 3, tasks.StateAccepted, tasks.StateDetached)
	b.finish(op.ID)
	for text, want := range map[string]string{
		"mia-3": "d-000003", "MIA-103": "d-000103", "pc-103": "d-000103", "zoe": "d-000007", "pc-3": "", "mia-7": "d-000007",
		"everywhere": strings.Join(append(ids(230), "computer:Lab-1"), " "),
	} {
		require.Equal(t, want, find(text), text)
	}
}

// Only a reading of this project, by whichever operation, has seen a desktop.
func seen(t *testing.T, b *bundle) {
	ids := []string{"read", "called", "gone", "long-ago", "elsewhere", "never"}
	read := func(m *record.Move) { m.Before = &tasks.Before{Name: "PC"} }
	long := b.enqueue(tasks.Request{Desktops: []string{"long-ago", "other"}})
	b.step(long, 0, tasks.StateQueued, tasks.StateSending, func(m *record.Move) {
		if m.Desktop.ID == "long-ago" {
			read(m)
		}
	})
	for range 11 {
		b.now = b.now.Add(time.Minute)
		b.enqueue(tasks.Request{Desktops: []string{"never", "long-ago"}})
	}
	b.step(b.enqueue(tasks.Request{Project: "branch", Desktops: []string{"elsewhere", "never"}}), 0, tasks.StateQueued, tasks.StateSending, read)
	op := b.enqueue(tasks.Request{Desktops: append([]string{"x"}, ids...)})
	b.step(op, 0, tasks.StateQueued, tasks.StateSending, func(m *record.Move) {
		if m.Desktop.ID == "read" {
			read(m)
		}
	})
	b.step(op, 0, tasks.StateSending, tasks.StateDetached, func(m *record.Move) {
		if m.Desktop.ID == "gone" {
			m.Note = tasks.NoteGone
		}
	})
	got, err := b.r.Seen(t.Context(), "hq", append(ids, "unheard of"))
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"read": true, "gone": true, "long-ago": true}, got)
	got, err = b.r.Seen(t.Context(), "branch", ids)
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"elsewhere": true, "never": true}, got)
	got, err = b.r.Seen(t.Context(), "hq", nil)
	require.NoError(t, err)
	require.Empty(t, got)
}

// A few rows are found without reading all others.
func rowsNamed(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(3000), Users: []string{"zoe"}, Expect: map[string][]string{ids(3000)[2777]: {"zoe"}}})
	found := record.Find{Desktops: []string{"found"}, Expect: map[string][]string{"found": {"zoe"}}}
	after, err := b.p.AddFound(t.Context(), op, found)
	require.NoError(t, err)
	b.enqueue(tasks.Request{Desktops: []string{"another's", "d-000003"}})
	counter := &commands{}
	b.rdb.AddHook(counter)
	for _, size := range []int{4, 3001} {
		counter.n = 0
		asked := []string{"d-002777", "found", "another's", "none"}
		for len(asked) < size {
			asked = append(asked, fmt.Sprint("none ", len(asked)))
		}
		rows, err := b.r.RowsNamed(t.Context(), after, asked)
		require.NoError(t, err)
		require.Len(t, rows, 2)
		require.Equal(t, []string{"zoe"}, rows["d-002777"].Expect)
		require.Equal(t, 27, rows["d-002777"].Chunk)
		require.Equal(t, 31, rows["found"].Chunk)
		require.LessOrEqual(t, counter.n, min(2*size, after.Chunks())+4, "and once more where a script is not known")
	}
	rows, err := b.r.RowsNamed(t.Context(), op, []string{"found"})
	require.NoError(t, err)
	require.Empty(t, rows, "it was no row yet")
}

// expireNew ends and removes the operations that are not in names.
func expireNew(t *testing.T, b *bundle, names map[string]string) {
	ops := everyPage(t, func(token string) ([]record.Operation, string, error) {
		return b.r.Operations(t.Context(), tasks.OperationFilter{}, 100, token)
	}, func() {})
	for _, op := range ops {
		if names[op.ID] == "" {
			_, _, err := b.r.Cancel(t.Context(), op, b.now, "jo")
			require.NoError(t, err)
		}
	}
	_, err := b.r.Expire(t.Context(), b.now.Add(48*time.Hour), 1000, 0)
	require.NoError(t, err)
}

func failureCounts(t *testing.T, b *bundle) {
	b.fail(b.enqueue(tasks.Request{Desktops: ids(3), RequestedBy: "hr"}))
	from := b.now.Add(time.Microsecond)
	b.now = b.now.Add(time.Second)
	b.fail(b.enqueue(tasks.Request{Project: "branch", Desktops: ids(2)}))
	for _, test := range []struct {
		f    tasks.FailureFilter
		want int
	}{{tasks.FailureFilter{}, 3}, {tasks.FailureFilter{From: from}, 2}, {tasks.FailureFilter{To: from}, 3}, {tasks.FailureFilter{To: b.now}, 3}, {tasks.FailureFilter{From: b.now}, 2}} {
		counts, err := b.r.FailureCounts(t.Context(), test.f)
		require.NoError(t, err)
		require.Equal(t, test.want, counts[0].Count)
	}
}
