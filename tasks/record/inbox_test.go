package record_test

import (
	"context"
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

// inboxKey is what a desktop is in the inbox once by.
type inboxKey struct{ project, desktop, users string }

// inboxModel says which operation's failure each entry of the inbox is.
type inboxModel struct {
	*bundle
	rt      *rapid.T
	ops     []record.Operation
	entries map[inboxKey]string
}

func keyOf(op record.Operation, d record.Row) inboxKey {
	return inboxKey{op.Project, d.ID, strings.Join(slices.Sorted(slices.Values(d.Expect)), ",")}
}

// ended is what the model makes of a row's new state.
func (m *inboxModel) ended(op record.Operation, d record.Row) {
	switch d.State {
	case tasks.StateFailed, tasks.StateHeld:
		m.entries[keyOf(op, d)] = op.ID
	case tasks.StateDetached:
		all := len(d.Expect) == 0 || d.Note != tasks.NoteNotTheirs
		for k, id := range m.entries {
			users := strings.Split(k.users, ",")
			covered := all || k.users != "" && !slices.ContainsFunc(users, func(u string) bool { return !slices.Contains(d.Expect, u) })
			if k.project == op.Project && k.desktop == d.ID && (covered || id == op.ID) {
				delete(m.entries, k)
			}
		}
	default:
		if m.entries[keyOf(op, d)] == op.ID {
			delete(m.entries, keyOf(op, d))
		}
	}
}

// step moves one row; with a cut the process dies on the way, and the operation is
// brought to its end by others.
func (m *inboxModel) step(cut int) {
	op := rapid.SampledFrom(m.ops).Draw(m.rt, "of")
	rows := m.chunk(op, 0).Desktops
	d := rapid.SampledFrom(rows).Draw(m.rt, "row")
	earlier, listed := m.entries[keyOf(op, d)]
	now := m.operation(op.ID)
	hook := &cutOff{after: cut}
	m.rdb.AddHook(hook)
	switch d.State {
	case tasks.StateQueued:
		move := record.Move{Desktop: d, To: rapid.SampledFrom([]tasks.State{tasks.StateFailed, tasks.StateHeld, tasks.StateDetached, tasks.StateCancelled}).Draw(m.rt, "to"), Attempts: 1}
		switch move.To {
		case tasks.StateDetached:
			move.Note = rapid.SampledFrom([]tasks.Note{tasks.NoteGone, tasks.NoteReadBack, tasks.NoteNotTheirs}).Draw(m.rt, "note")
		case tasks.StateFailed, tasks.StateHeld:
			move.Failure = &tasks.Failure{Code: rapid.SampledFrom(someCodes).Draw(m.rt, "code"), Class: "permanent", At: m.now}
		}
		_, err := m.r.Apply(m.t.Context(), m.now, []record.Change{{Operation: op, Moves: []record.Move{move}}})
		require.True(m.rt, err == nil || hook.after == 0, "%v", err)
	case tasks.StateFailed, tasks.StateHeld:
		switch rapid.IntRange(0, 2).Draw(m.rt, "what") {
		case 0:
			_, err := m.p.Retry(m.t.Context(), now, tasks.RetryFilter{Held: d.State == tasks.StateHeld}, "jo")
			require.True(m.rt, err == nil || hook.after == 0, "%v", err)
		case 1:
			q := tasks.DismissRequest{Desktops: []tasks.DesktopRef{{OperationID: op.ID, DesktopID: d.ID}}, By: "jo", Reason: "gone home"}
			_, err := m.r.Dismiss(m.t.Context(), q, m.now)
			hook.after = -1
			if err != nil { // whoever asked asks again
				_, err = m.r.Dismiss(m.t.Context(), q, m.now)
			}
			require.NoError(m.rt, err)
			if m.entries[keyOf(op, d)] == op.ID {
				delete(m.entries, keyOf(op, d))
			}
		default:
			_, _, err := m.r.Cancel(m.t.Context(), now, m.now, "jo")
			require.True(m.rt, err == nil || hook.after == 0, "%v", err)
		}
	}
	died := hook.after == 0
	hook.after = -1
	m.follow(op, rows)
	if !died {
		return
	}
	m.now = m.now.Add(time.Second)
	rows = m.chunk(op, 0).Desktops
	_, _, err := m.r.Cancel(m.t.Context(), m.operation(op.ID), m.now, "jo")
	require.NoError(m.rt, err)
	m.follow(op, rows)
	// The entry of an earlier operation stays if the process died before this one took its
	// place, as that one is still to be decided.
	if listed && earlier != op.ID && slices.Contains(m.listed(tasks.FailureFilter{}), fmt.Sprint(keyOf(op, d), earlier)) {
		m.entries[keyOf(op, d)] = earlier
	}
}

// listed is what the inbox lists.
func (m *inboxModel) listed(f tasks.FailureFilter) (have []string) {
	all := everyPage(m.rt, func(token string) ([]tasks.Failure, string, error) { return m.r.Failures(m.t.Context(), f, 3, token) }, func() {})
	for _, x := range all {
		users := slices.Sorted(slices.Values(x.Expect))
		have = append(have, fmt.Sprint(inboxKey{x.Project, x.DesktopID, strings.Join(users, ",")}, x.OperationID))
	}
	slices.Sort(have)
	return have
}

// follow tells the model what became of an operation's rows.
func (m *inboxModel) follow(op record.Operation, before []record.Row) {
	for i, d := range m.chunk(op, 0).Desktops {
		if d.State != before[i].State {
			m.ended(op, d)
		}
	}
}

// sameSizes asserts that no reader has to write a set by requester anew.
func (m *inboxModel) sameSizes() {
	for _, key := range m.keys() {
		if by := strings.Replace(key, "}:failures:", "}:failures_by:", 1); by != key {
			require.Equal(m.rt, m.rdb.ZCard(m.t.Context(), key).Val(), m.rdb.ZCard(m.t.Context(), by).Val(), key)
		}
	}
}

func (m *inboxModel) check() {
	var want []string
	for k, op := range m.entries {
		want = append(want, fmt.Sprint(k, op))
	}
	list := func(f tasks.FailureFilter) (have []string, n int) {
		counts, err := m.r.FailureCounts(m.t.Context(), f)
		require.NoError(m.rt, err)
		for _, c := range counts {
			n += c.Count
		}
		return m.listed(f), n
	}
	slices.Sort(want)
	have, n := list(tasks.FailureFilter{})
	require.Equal(m.rt, want, have)
	require.Equal(m.rt, len(want), n, "the count of everything")
	for _, f := range []tasks.FailureFilter{{Operation: m.ops[0].ID}, {User: "ANN"}, {Project: "hq", Code: someCodes[0]}} {
		have, n := list(f)
		require.Len(m.rt, have, n, "the count beside %+v", f)
		for _, x := range have {
			require.Contains(m.rt, want, x, "what %+v lists", f)
		}
	}
	m.sameSizes()
	for _, person := range somePeople {
		if person == "" { // no filter
			continue
		}
		var theirs []string
		for k, id := range m.entries {
			if m.operation(id).RequestedBy == person {
				theirs = append(theirs, fmt.Sprint(k, id))
			}
		}
		slices.Sort(theirs)
		have, n := list(tasks.FailureFilter{Source: person})
		require.Equal(m.rt, theirs, have, "what %s requested", person)
		require.Len(m.rt, have, n, "the count of what %s requested", person)
	}
	for _, op := range m.ops {
		now := m.operation(op.ID)
		es, err := m.r.Evidence(m.t.Context(), now, 0, 1)
		require.NoError(m.rt, err)
		require.NoError(m.rt, es[0].Check())
		if now.Done() && now.Seal != "" {
			head, err := m.r.TrailHead(m.t.Context(), now)
			require.NoError(m.rt, err)
			require.Equal(m.rt, head, now.Seal, "the trail is sealed as it is")
		}
	}
}

// A desktop is in the inbox once for the same users, with its latest failure, until
// any operation has proven it, or somebody tries it again, cancels or dismisses it;
// whatever process dies at whatever moment.
func TestInboxAgainstAModel(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rapid.Check(t, func(rt *rapid.T) {
		m := &inboxModel{bundle: newBundle(t, server.Client(t)), rt: rt, entries: map[inboxKey]string{}}
		add := func() {
			req := tasks.Request{Project: rapid.SampledFrom([]string{"hq", "hq", "branch"}).Draw(rt, "project"), RequestedBy: rapid.SampledFrom(somePeople).Draw(rt, "by"),
				Desktops: ids(rapid.IntRange(1, 3).Draw(rt, "size")), Expect: map[string][]string{}}
			for _, id := range req.Desktops {
				if users := rapid.SliceOfNDistinct(rapid.SampledFrom(someUsers), 0, 2, rapid.ID[string]).Draw(rt, "users"); len(users) > 0 {
					req.Expect[id] = users
				}
			}
			m.ops = append(m.ops, m.enqueue(req))
		}
		add()
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			m.now = m.now.Add(time.Second)
			switch rapid.IntRange(0, 9).Draw(rt, "step") {
			case 0, 1:
				add()
			case 2:
				m.step(rapid.IntRange(1, 9).Draw(rt, "dies before round trip"))
				m.check()
			case 3:
				_, err := m.r.Finish(t.Context(), []string{rapid.SampledFrom(m.ops).Draw(rt, "ends").ID})
				require.NoError(rt, err)
				m.check()
			default:
				m.step(-1)
				m.check()
			}
		}
		for _, op := range m.ops { // all expire
			_, _, err := m.r.Cancel(t.Context(), m.operation(op.ID), m.now, "jo")
			require.NoError(rt, err)
		}
		m.sweepAll() // one whose retry died before it moved a row is open and has ended
		_, err := m.r.Expire(t.Context(), m.now.Add(48*time.Hour), 1000, 0)
		require.NoError(rt, err)
		for _, key := range m.keys() {
			require.False(rt, strings.Contains(key, "}:inbox") || strings.Contains(key, "}:failures") || strings.Contains(key, "}:announced"), "%s is left", key)
		}
	})
}

// Programs before the sets by requester neither enter a failure there nor remove it.
func TestFailuresOfEarlierPrograms(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Start(t).Client(t))
	var theirs []string
	for _, by := range []string{"hr", "it", "hr", "h"} {
		b.now = b.now.Add(time.Second)
		op := b.fail(b.enqueue(tasks.Request{Desktops: ids(3), RequestedBy: by, Expect: map[string][]string{ids(1)[0]: {by}}}))
		if by == "hr" {
			theirs = append(theirs, op.ID)
		}
	}
	f := tasks.FailureFilter{Source: "hr"}
	want, _, err := b.r.Failures(t.Context(), f, 100, "")
	require.NoError(t, err)
	require.NotEmpty(t, want)
	for _, x := range want {
		require.Contains(t, theirs, x.OperationID)
	}
	same := func(what string) {
		have, _, err := b.r.Failures(t.Context(), f, 100, "")
		require.NoError(t, err)
		require.Equal(t, want, have, what)
		counts, err := b.r.FailureCounts(t.Context(), f)
		require.NoError(t, err)
		require.Len(t, counts, 1, what)
		require.Equal(t, len(want), counts[0].Count, what)
	}
	key := b.prefix + ":{p:hq}:failures_by:permanent|WKS.1"
	first := b.rdb.ZRangeArgs(t.Context(), redis.ZRangeArgs{Key: key, Start: "[hr\x00", Stop: "+", ByLex: true}).Val()[0]
	gone := redisZ(0, "hr\x000001772366400000/gone/d")

	b.rdb.Del(t.Context(), key)
	same("without the set")
	b.rdb.ZAdd(t.Context(), key, gone)
	same("one is too much")
	b.rdb.ZRem(t.Context(), key, first)
	same("one is missing")

	// As many as there should be: the walk sees to it.
	b.rdb.ZRem(t.Context(), key, first)
	b.rdb.ZAdd(t.Context(), key, gone)
	require.Empty(t, b.round(), "nothing was lost")
	same("one is missing, and one is too much")
}

// inboxOf lists the inbox as operation/desktop, by the names of the operations.
func (b *bundle) inboxOf(names map[string]string) string {
	b.t.Helper()
	all, next, err := b.r.Failures(b.t.Context(), tasks.FailureFilter{}, 100, "")
	require.NoError(b.t, err)
	require.Empty(b.t, next)
	var out []string
	for _, x := range all {
		out = append(out, names[x.OperationID]+"/"+x.DesktopID)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (b *bundle) prove(op record.Operation, note tasks.Note) {
	b.t.Helper()
	b.step(op, 0, tasks.StateQueued, tasks.StateDetached, func(m *record.Move) { m.Note = note })
}

func inbox(t *testing.T, b *bundle) {
	of := func(project string, users ...string) record.Operation {
		b.now = b.now.Add(time.Second)
		req := tasks.Request{Project: project, Desktops: []string{"d"}}
		if len(users) > 0 {
			req.Expect = map[string][]string{"d": users}
		}
		return b.enqueue(req)
	}
	first, second, other, elsewhere := of("hq", "zoe"), of("hq", "zoe"), of("hq", "ann"), of("branch", "zoe")
	names := map[string]string{first.ID: "first", second.ID: "second", other.ID: "other", elsewhere.ID: "elsewhere"}
	for _, op := range []record.Operation{first, second, other, elsewhere} {
		b.now = b.now.Add(time.Second)
		b.fail(op)
	}
	require.Equal(t, "elsewhere/d other/d second/d", b.inboxOf(names), "once for the same users, and by project")
	require.Equal(t, "FF", b.states(first)+b.states(second), "rows stay")

	// What a slow worker writes late is older all the same.
	late := of("hq", "zoe")
	b.step(late, 0, tasks.StateQueued, tasks.StateFailed, func(m *record.Move) {
		m.Failure = &tasks.Failure{Code: "x", Class: "permanent", At: b.now.Add(-time.Hour)}
	})
	require.Equal(t, "elsewhere/d other/d second/d", b.inboxOf(names), "the latest failure")

	b.prove(of("hq", "zoe", "bob"), tasks.NoteNotTheirs)
	require.Equal(t, "elsewhere/d other/d", b.inboxOf(names), "zoe is off it, by an operation that was for more than her")
	b.prove(of("hq", "eve"), tasks.NoteReadBack)
	require.Equal(t, "elsewhere/d", b.inboxOf(names), "nobody is on it")
	_, err := b.r.Finish(t.Context(), []string{first.ID, second.ID, other.ID, elsewhere.ID})
	require.NoError(t, err)
	require.Equal(t, "elsewhere/d", b.inboxOf(names), "what is proven does not come back")

	anyone := of("branch")
	names[anyone.ID] = "anyone"
	b.fail(anyone)
	b.prove(of("branch", "zoe"), tasks.NoteNotTheirs)
	require.Equal(t, "anyone/d", b.inboxOf(names), "that zoe is off it does not say that everybody is")
	b.prove(of("branch"), tasks.NoteNotTheirs)
	require.Empty(t, b.inboxOf(names))

	// A user who is looked up.
	leaver := func(to tasks.State) record.Operation {
		b.now = b.now.Add(time.Second)
		op := b.enqueue(tasks.Request{Users: []string{"zoe"}})
		b.step(op, 0, tasks.StateQueued, to, func(m *record.Move) {
			if to == tasks.StateHeld {
				m.Failure = &tasks.Failure{Code: "USER_UNKNOWN", Class: "held", At: b.now}
			}
		})
		return op
	}
	names[leaver(tasks.StateHeld).ID] = "leaver"
	require.Equal(t, "leaver/user:zoe", b.inboxOf(names))
	leaver(tasks.StateNoDesktop)
	require.Empty(t, b.inboxOf(names))
}

// A proof that comes between a failure's announcement and its row takes it out all
// the same.
func inboxRace(t *testing.T, b *bundle) {
	b.fail(b.enqueue(tasks.Request{Desktops: []string{"other"}})) // Redis knows the scripts from now on
	b.prove(b.enqueue(tasks.Request{Desktops: []string{"other"}}), tasks.NoteReadBack)
	failing, proving := b.enqueue(tasks.Request{Desktops: []string{"d"}}), b.enqueue(tasks.Request{Desktops: []string{"d"}})
	hook := &between{after: 1, do: func() { b.prove(proving, tasks.NoteReadBack) }}
	b.rdb.AddHook(hook)
	b.step(failing, 0, tasks.StateQueued, tasks.StateFailed, func(m *record.Move) {
		m.Failure = &tasks.Failure{Code: "WKS.1", Class: "permanent", At: b.now}
	})
	require.Nil(t, hook.do, "the proof came in between")
	require.Empty(t, b.inboxOf(nil))
}

// between does something once, after so many pipelines with a script.
type between struct {
	pipelineNames
	after int
	do    func()
}

func (h *between) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if do := h.do; do != nil && slices.ContainsFunc(cmds, func(c redis.Cmder) bool { return strings.HasPrefix(c.Name(), "eval") }) {
			if h.after--; h.after < 0 {
				h.do = nil
				do()
			}
		}
		return next(ctx, cmds)
	}
}

// What goes well pays for one command more, and for no round trip.
func inboxCosts(t *testing.T, b *bundle) {
	pipelines := func(do func()) [][]string {
		hook := &pipelineNames{}
		b.rdb.AddHook(hook)
		do()
		out := hook.seen
		hook.off = true
		return out
	}
	op := b.enqueue(tasks.Request{Desktops: ids(100)})
	b.step(op, 0, tasks.StateQueued, tasks.StateSending)
	seen := pipelines(func() {
		b.step(op, 0, tasks.StateSending, tasks.StateDetached, func(m *record.Move) { m.Note = tasks.NoteReadBack })
	})
	writes := slices.DeleteFunc(seen, func(cmds []string) bool { return !slices.Contains(cmds, "evalsha") && !slices.Contains(cmds, "eval") })
	require.Len(t, writes, 1, "%v", seen)
	require.Equal(t, []string{"evalsha", "exists"}, writes[0])
}

// pipelineNames notes the commands of each pipeline.
type pipelineNames struct {
	seen [][]string
	off  bool
}

func (h *pipelineNames) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *pipelineNames) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h *pipelineNames) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if !h.off {
			var names []string
			for _, c := range cmds {
				names = append(names, c.Name())
			}
			h.seen = append(h.seen, names)
		}
		return next(ctx, cmds)
	}
}

func dismiss(t *testing.T, b *bundle) {
	op := b.failed("hq", tasks.StateFailed, "WKS.1", "d1", "d2", "d3")
	held := b.failed("branch", tasks.StateHeld, "OTHER_USER", "d1")
	names := map[string]string{op.ID: "op", held.ID: "held"}
	before := b.operation(op.ID)
	_, err := b.r.Dismiss(t.Context(), tasks.DismissRequest{Reason: " "}, b.now)
	var invalid *tasks.ValidationError
	require.ErrorAs(t, err, &invalid)
	require.Equal(t, "reason", invalid.Problems[0].Field)

	ref := func(op record.Operation, d string) tasks.DesktopRef {
		return tasks.DesktopRef{OperationID: op.ID, DesktopID: d}
	}
	q := tasks.DismissRequest{Desktops: []tasks.DesktopRef{ref(op, "d2"), ref(op, "nothing"), ref(held, "d1")}, Projects: []string{"hq"}, By: "ann", Reason: `a "contractor"`}
	counts, err := b.r.MatchDismiss(t.Context(), q)
	require.NoError(t, err)
	require.Equal(t, []tasks.FailureCount{{Project: "hq", Class: "permanent", Code: "WKS.1", Count: 1}}, counts)
	n, err := b.r.Dismiss(t.Context(), q, b.now)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, "held/d1 op/d1 op/d3", b.inboxOf(names))
	n, err = b.r.Dismiss(t.Context(), q, b.now)
	require.NoError(t, err)
	require.Zero(t, n, "once")

	after := b.operation(op.ID)
	require.NotEqual(t, before.Seal, after.Seal)
	head, err := b.r.TrailHead(t.Context(), after)
	require.NoError(t, err)
	require.Equal(t, head, after.Seal)
	before.Seal = after.Seal
	require.Equal(t, before, after, "the operation is as it was")
	es, err := b.r.Evidence(t.Context(), after, 0, 1)
	require.NoError(t, err)
	require.NoError(t, es[0].Check())
	steps, err := b.r.Steps(t.Context(), &es[0].Desktops[1])
	require.NoError(t, err)
	last := steps[len(steps)-1]
	require.Equal(t, tasks.Step{At: b.now, From: tasks.StateFailed, To: tasks.StateFailed, By: "ann", Note: tasks.NoteDismissed, NoteText: "dismissed", Detail: `a "contractor"`}, last)
	require.Len(t, es[0].Trail, 2, "one entry, of the one that was dismissed")

	n, err = b.r.Dismiss(t.Context(), tasks.DismissRequest{Filter: tasks.FailureFilter{Class: "held"}, Reason: "r"}, b.now)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, "op/d1 op/d3", b.inboxOf(names))
	n, err = b.p.Retry(t.Context(), after, tasks.RetryFilter{}, "jo")
	require.NoError(t, err)
	require.Equal(t, 3, n, "what was dismissed can be tried again by its operation")
	b.now = b.now.Add(time.Second)
	b.fail(after)
	require.Equal(t, "op/d1 op/d2 op/d3", b.inboxOf(names), "and is back when it fails anew")

	// Many operations, some of them with work left.
	many := map[string]string{}
	for i := range 7 {
		op := b.enqueue(tasks.Request{Project: "branch", Desktops: []string{fmt.Sprint("m", i), fmt.Sprint("n", i)}})
		b.move(op, 0, tasks.StateFailed, b.chunk(op, 0).Desktops[:1+i%2]...)
		many[op.ID] = ""
	}
	n, err = b.r.Dismiss(t.Context(), tasks.DismissRequest{Filter: tasks.FailureFilter{Project: "branch"}, Reason: "r"}, b.now)
	require.NoError(t, err)
	require.Equal(t, 10, n)
	for id := range maps.Keys(many) {
		require.Equal(t, b.operation(id).Counts.Queued == 0, b.operation(id).Done())
	}
}

// A bare id is proven of those whose it was first, and of nobody else who has failed.
func inboxPinned(t *testing.T, b *bundle) {
	heirs := b.enqueue(tasks.Request{Desktops: ids(300), Expect: map[string][]string{ids(300)[7]: {"heir"}, ids(300)[8]: {"ann"}}})
	b.step(heirs, 0, tasks.StateQueued, tasks.StateFailed, func(m *record.Move) {
		m.Failure = &tasks.Failure{Code: "X", Class: "permanent", At: b.now}
		if p := m.Desktop.Position; p != 7 && p != 8 {
			m.To, m.Failure = tasks.StateCancelled, nil
		}
	})
	left := func() (out []string) {
		all, _, err := b.r.Failures(t.Context(), tasks.FailureFilter{}, 100, "")
		require.NoError(t, err)
		for _, f := range all {
			out = append(out, f.DesktopID)
		}
		return out
	}
	b.now = b.now.Add(time.Minute)
	op := b.enqueue(tasks.Request{Desktops: ids(300)})
	for n := range op.Chunks() {
		b.step(op, n, tasks.StateQueued, tasks.StateSending, func(m *record.Move) {
			m.Before = &tasks.Before{Users: []tasks.Person{{Name: "ann", Type: "USER"}}}
		})
		b.step(op, n, tasks.StateSending, tasks.StateDetached, func(m *record.Move) { m.Note = tasks.NoteNotTheirs })
	}
	require.Equal(t, []string{ids(300)[7]}, left())
	b.finish(op.ID)
	require.Equal(t, []string{ids(300)[7]}, left(), "its end proves no more")
}

// A process that dies between the row and the inbox leaves the rest to the end of the
// operation.
func inboxRepaired(t *testing.T, b *bundle) {
	clear := func() {
		b.prove(b.enqueue(tasks.Request{Desktops: ids(3)}), tasks.NoteReadBack)
		require.Empty(t, b.inboxOf(nil))
	}
	b.fail(b.enqueue(tasks.Request{Desktops: ids(3)})) // Redis knows the scripts from here on
	clear()
	cutBetween := 0
	for after := 1; ; after++ {
		b.now = b.now.Add(time.Second)
		op := b.enqueue(tasks.Request{Desktops: ids(3)})
		out := b.moves(op, 0, tasks.StateQueued, tasks.StateFailed, func(m *record.Move) {
			m.Failure = &tasks.Failure{Code: "x", Class: "permanent", At: b.now}
		})
		hook := &cutOff{after: after}
		b.rdb.AddHook(hook)
		_, err := b.r.Apply(t.Context(), b.now, []record.Change{out})
		hook.after = -1
		if b.states(op) == "QQQ" {
			require.Empty(t, b.inboxOf(nil), "cut off before round trip %d", after)
			b.step(op, 0, tasks.StateQueued, tasks.StateCancelled)
		} else if err != nil {
			cutBetween++
			require.Empty(t, b.inboxOf(nil), "cut off before round trip %d", after)
		}
		b.finish(op.ID)
		all, _, ferr := b.r.Failures(t.Context(), tasks.FailureFilter{}, 10, "")
		require.NoError(t, ferr)
		require.Len(t, all, strings.Count(b.states(op), "F"), "cut off before round trip %d", after)
		require.Zero(t, b.rdb.HLen(t.Context(), b.prefix+":{p:hq}:announced").Val())
		if err == nil {
			require.NotZero(t, cutBetween, "none was cut off between the row and the inbox")
			clear()
			break
		}
		clear()
		require.Less(t, after, 10)
	}
	// The same of a proof.
	for after := 1; ; after++ {
		b.now = b.now.Add(time.Second)
		b.fail(b.enqueue(tasks.Request{Desktops: ids(3)}))
		op := b.enqueue(tasks.Request{Desktops: ids(3)})
		out := b.moves(op, 0, tasks.StateQueued, tasks.StateDetached, func(m *record.Move) { m.Note = tasks.NoteReadBack })
		hook := &cutOff{after: after}
		b.rdb.AddHook(hook)
		_, err := b.r.Apply(t.Context(), b.now, []record.Change{out})
		hook.after = -1
		if b.states(op) == "DDD" {
			b.finish(op.ID)
			require.Empty(t, b.inboxOf(nil), "cut off before round trip %d", after)
		}
		if err == nil {
			return
		}
		b.step(op, 0, tasks.StateQueued, tasks.StateCancelled)
		clear()
		require.Less(t, after, 10)
	}
}
