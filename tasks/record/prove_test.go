package record_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/queue"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/trail"
)

// moves takes every desktop of a chunk that is in a state to another.
func (b *bundle) moves(op record.Operation, chunk int, from, to tasks.State, change ...func(*record.Move)) record.Change {
	b.t.Helper()
	ch := record.Change{Operation: op, Chunk: chunk, By: "w", LookAt: b.now}
	for _, d := range b.chunk(op, chunk).Desktops {
		if d.State == from {
			m := record.Move{Desktop: d, To: to, CallID: "c", Attempts: d.Attempts}
			for _, f := range change {
				f(&m)
			}
			ch.Moves = append(ch.Moves, m)
		}
	}
	return ch
}

func (b *bundle) step(op record.Operation, chunk int, from, to tasks.State, change ...func(*record.Move)) record.Applied {
	b.t.Helper()
	out, err := b.r.Apply(b.t.Context(), b.now, []record.Change{b.moves(op, chunk, from, to, change...)})
	require.NoError(b.t, err)
	return out[0]
}

// What the cloud took does not end the operation, and is followed until it is
// proven.
func acceptedIsFollowed(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(150)})
	for n := range 2 {
		b.step(op, n, tasks.StateQueued, tasks.StateSending)
		require.False(t, b.step(op, n, tasks.StateSending, tasks.StateAccepted).Ended, "it is not proven")
	}
	require.False(t, b.operation(op.ID).Done())

	some, err := b.r.TakeDue(t.Context(), "hq", b.now, time.Minute, 1)
	require.NoError(t, err)
	require.Len(t, some, 1)
	rest, err := b.r.TakeDue(t.Context(), "hq", b.now, time.Minute, 10)
	require.NoError(t, err)
	require.Len(t, rest, 1, "one chunk is in another's hand")
	none, err := b.r.TakeDue(t.Context(), "hq", b.now, time.Minute, 10)
	require.NoError(t, err)
	require.Empty(t, none)
	other, err := b.r.TakeDue(t.Context(), "branch", b.now, time.Minute, 10)
	require.NoError(t, err)
	require.Empty(t, other)

	// The first is looked at again in an hour; the second's holder dies.
	_, err = b.r.Apply(t.Context(), b.now, nil, record.Looks{{Followed: some[0], Next: b.now.Add(time.Hour)}})
	require.NoError(t, err)
	b.now = b.now.Add(2 * time.Minute)
	again, err := b.r.TakeDue(t.Context(), "hq", b.now, time.Minute, 10)
	require.NoError(t, err)
	require.Len(t, again, 1, "its lease is over")
	require.Equal(t, rest[0].Number, again[0].Number)

	// A look that came too late does not end what another has taken since.
	_, err = b.r.Apply(t.Context(), b.now, nil, record.Looks{{Followed: rest[0]}})
	require.NoError(t, err)
	out, err := b.r.Apply(t.Context(), b.now, []record.Change{b.moves(op, again[0].Number, tasks.StateAccepted, tasks.StateDetached)}, record.Looks{{Followed: again[0]}})
	require.NoError(t, err)
	require.False(t, out[0].Ended)
	b.now = b.now.Add(time.Hour)
	last, err := b.r.TakeDue(t.Context(), "hq", b.now, time.Minute, 10)
	require.NoError(t, err)
	require.Len(t, last, 1)
	require.True(t, b.step(op, last[0].Number, tasks.StateAccepted, tasks.StateDetached).Ended)
	require.Equal(t, tasks.Counts{Detached: 150}, b.operation(op.ID).Counts)
}

// A sweep finds what is accepted and followed by nobody.
func followIsRepaired(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(3)})
	b.step(op, 0, tasks.StateQueued, tasks.StateSending)
	b.step(op, 0, tasks.StateSending, tasks.StateAccepted)
	taken, err := b.r.TakeDue(t.Context(), "hq", b.now, time.Minute, 10)
	require.NoError(t, err)
	_, err = b.r.Apply(t.Context(), b.now, nil, record.Looks{{Followed: taken[0]}}) // forgotten
	require.NoError(t, err)
	b.now = b.now.Add(time.Hour)
	lost, err := b.r.TakeDue(t.Context(), "hq", b.now, time.Minute, 10)
	require.NoError(t, err)
	require.Empty(t, lost)
	_, err = b.r.Sweep(t.Context(), b.now, 0, 10, 0)
	require.NoError(t, err)
	b.now = b.now.Add(time.Hour)
	found, err := b.r.TakeDue(t.Context(), "hq", b.now, time.Minute, 10)
	require.NoError(t, err)
	require.Len(t, found, 1)
}

// Expected users are stored once a chunk, and come back with every desktop.
func expectations(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(120), Expect: map[string][]string{ids(120)[1]: {"zoe", "a|b;c"}, ids(120)[119]: {"bob"}}, AllowShared: true})
	require.Equal(t, op, b.operation(op.ID))
	for n := range 2 {
		for _, d := range b.chunk(op, n).Desktops {
			switch d.Place() {
			case 1:
				require.Equal(t, []string{"zoe", "a|b;c"}, d.Expect)
			case 119:
				require.Equal(t, []string{"bob"}, d.Expect)
			default:
				require.Empty(t, d.Expect)
			}
		}
	}
	b.step(op, 0, tasks.StateQueued, tasks.StateHeld, func(m *record.Move) {
		m.Failure = &tasks.Failure{Code: "OTHER_USER", Class: "held", At: b.now}
	})
	held, _, err := b.r.Failures(t.Context(), tasks.FailureFilter{Class: "held"}, 200, "")
	require.NoError(t, err)
	require.Len(t, held, 100)
	i := slices.IndexFunc(held, func(f tasks.Failure) bool { return f.DesktopID == ids(120)[1] })
	require.Equal(t, []string{"zoe", "a|b;c"}, held[i].Expect, "a failure says whose it was to be")

	n, err := b.p.Retry(t.Context(), b.operation(op.ID), tasks.RetryFilter{Held: true, Code: "OTHER"}, "ann")
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = b.p.Retry(t.Context(), b.operation(op.ID), tasks.RetryFilter{Held: true, Code: "OTHER_USER"}, "ann")
	require.NoError(t, err)
	require.Equal(t, 100, n)
	require.Equal(t, tasks.NoteRecheck, b.chunk(op, 0).Desktops[0].Note)
	held, _, err = b.r.Failures(t.Context(), tasks.FailureFilter{Class: "held"}, 200, "")
	require.NoError(t, err)
	require.Empty(t, held)
}

// The first reading of a bare id says whose it is, to every worker from then on.
func pins(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(5), Expect: map[string][]string{ids(5)[1]: {"zoe"}}})
	require.Nil(t, b.chunk(op, 0).Desktops[0].Pinned, "nothing was read yet")
	read := func(names ...string) func(*record.Move) {
		return func(m *record.Move) {
			if m.Desktop.Position == 4 {
				return
			}
			m.Before = &tasks.Before{Name: "PC", Users: []tasks.Person{{Name: "staff", Type: "GROUP"}}}
			for _, name := range names {
				if m.Desktop.Position != 2 {
					m.Before.Users = append(m.Before.Users, tasks.Person{Name: name, Type: "USER"})
				}
			}
		}
	}
	first := b.step(op, 0, tasks.StateQueued, tasks.StateSending, read("ann", "bob"))
	want := [][]string{{"staff", "ann", "bob"}, nil, {"staff"}, {"staff", "ann", "bob"}, nil}
	expected := [][]string{{"staff", "ann", "bob"}, {"zoe"}, {"staff"}, {"staff", "ann", "bob"}, nil}
	check := func(where string, rows []record.Row) {
		for i, d := range rows {
			require.Equal(t, want[d.Position], d.Pinned, "%s, row %d", where, i)
			require.Equal(t, expected[d.Position], d.Expected(), "%s, row %d", where, i)
		}
	}
	check("Apply", first.Desktops)
	b.step(op, 0, tasks.StateSending, tasks.StateQueued)
	b.step(op, 0, tasks.StateQueued, tasks.StateSending, read("heir"))
	check("Chunk", b.chunk(op, 0).Desktops)
	begun, err := b.r.Begin(t.Context(), "w", []record.Run{{Payload: queue.Payload{Operation: op.ID, Project: "hq"}, Mark: "1"}}, nil)
	require.NoError(t, err)
	check("Begin", begun[0].Desktops)
	b.step(op, 0, tasks.StateSending, tasks.StateAccepted)
	due, err := b.r.TakeDue(t.Context(), "hq", b.now, time.Minute, 10)
	require.NoError(t, err)
	check("TakeDue", due[0].Desktops)

	rows, _, err := b.r.Desktops(t.Context(), op, tasks.DesktopFilter{}, 10, "")
	require.NoError(t, err)
	require.NoError(t, b.r.AddBefore(t.Context(), op, rows))
	check("AddBefore", rows)
	require.Equal(t, "heir", rows[0].Before.Users[1].Name, "the state before is the latest")
	_, err = b.r.Steps(t.Context(), &due[0].Desktops[0])
	require.NoError(t, err)
	check("Steps", due[0].Desktops)

	b.step(op, 0, tasks.StateAccepted, tasks.StateFailed, func(m *record.Move) { m.Failure = &tasks.Failure{Code: "X", Class: "held", At: b.now} })
	es, err := b.r.Evidence(t.Context(), b.finish(op.ID), 0, 1)
	require.NoError(t, err)
	check("Evidence", es[0].Desktops)
	for i, d := range es[0].Desktops {
		require.ElementsMatch(t, expected[i], d.Failure.Expect, "a failure says whose it was to be")
	}
}

// Leavers become rows of their own, and what is found becomes more.
func leavers(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: []string{"named"}, Users: []string{"zoe", "nobody", "case"}})
	require.Equal(t, 4, op.Total)
	require.Equal(t, 3, op.Users)
	require.Equal(t, 2, op.Chunks())
	require.True(t, op.LooksUp(1))
	require.False(t, op.LooksUp(0))
	rows, err := b.r.LookupRows(t.Context(), op)
	require.NoError(t, err)
	name, ok := rows[0].User()
	require.True(t, ok)
	require.Equal(t, "zoe", name)

	find := record.Find{Expect: map[string][]string{}, Rows: map[string]record.RowFind{
		"user:zoe": {To: tasks.StateExpanded, Detail: "150 desktops"}, "user:nobody": {To: tasks.StateNoDesktop},
		"user:case": {To: tasks.StateHeld, Failure: &tasks.Failure{Code: "USER_NAME", Class: "held", At: b.now}},
	}}
	for _, id := range ids(150) {
		find.Desktops = append(find.Desktops, id)
		find.Expect[id] = []string{"zoe"}
	}
	after, err := b.p.AddFound(t.Context(), op, find)
	require.NoError(t, err)
	_, err = b.p.AddFound(t.Context(), op, find)
	require.ErrorIs(t, err, record.ErrOvertaken, "it was added already")

	// A crash here leaves a note of what is to become of the users.
	noted, err := b.r.Found(t.Context(), op.ID)
	require.NoError(t, err)
	require.Equal(t, find.Rows["user:zoe"], noted["user:zoe"])
	_, done, err := b.r.SettleLookups(t.Context(), b.now, after, noted, "w")
	require.NoError(t, err)
	require.NotEmpty(t, done)
	for _, a := range done {
		require.False(t, a.Ended)
	}
	noted, err = b.r.Found(t.Context(), op.ID)
	require.NoError(t, err)
	require.Nil(t, noted)

	got := b.operation(op.ID)
	require.Equal(t, tasks.Counts{Queued: 151, NoDesktop: 1, Held: 1, Expanded: 1}, got.Counts)
	require.Equal(t, 154, got.Total)
	require.Equal(t, 4, got.Chunks())
	require.False(t, got.LooksUp(2))
	require.Len(t, b.chunk(got, 2).Desktops, 100)
	require.Equal(t, []string{"zoe"}, b.chunk(got, 3).Desktops[49].Expect)
	have, err := b.r.RowsNamed(t.Context(), got, append(ids(150), "named", "another"))
	require.NoError(t, err)
	require.Len(t, have, 151)
	require.Empty(t, have["named"].Expect)
	require.Equal(t, []string{"zoe"}, have[ids(150)[7]].Expect)
	events, err := b.r.History(t.Context(), ids(150)[7])
	require.NoError(t, err)
	require.Len(t, events, 1)
	require.Equal(t, op.ID, events[0].Operation.ID)
	tasksFound := b.tasksIn(record.BulkQueue)
	require.Contains(t, strings.Join(tasksFound, " "), op.ID)

	for _, n := range []int{0, 2, 3} {
		b.step(got, n, tasks.StateQueued, tasks.StateSending)
		b.step(got, n, tasks.StateSending, tasks.StateDetached)
	}
	require.True(t, b.operation(op.ID).Done())
	b.finish(op.ID)
	b.now = b.now.Add(48 * time.Hour)
	n, err := b.r.Expire(t.Context(), b.now, 10, 0)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Empty(t, b.left(op.ID), "found chunks and trails go too")
}

// finish seals an operation that has ended.
func (b *bundle) finish(id string) record.Operation {
	b.t.Helper()
	ops, err := b.r.Finish(b.t.Context(), []string{id})
	require.NoError(b.t, err)
	require.Len(b.t, ops, 1)
	require.Equal(b.t, ops[0].Seal, b.operation(id).Seal)
	return ops[0]
}

// left are the keys that name an operation.
func (b *bundle) left(id string) (out []string) {
	for _, k := range b.keys() {
		if strings.Contains(k, id) && !strings.Contains(k, "asynq") {
			out = append(out, k)
		}
	}
	return out
}

// The trail says every step, replays, and is sealed from the end until something
// is added.
func trailSaysEveryStep(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(120), RequestedBy: "hr"})
	before := &tasks.Before{Name: "PC", Type: "SHARED", AttachState: "ATTACHED", Users: []tasks.Person{{Name: "zoe \"|\" <b>", Type: "USER"}}, ReadAt: b.now.UTC()}
	b.step(op, 0, tasks.StateQueued, tasks.StateSending, func(m *record.Move) {
		if m.Desktop.Position == 3 {
			m.Before = before
		}
	})
	b.step(op, 0, tasks.StateSending, tasks.StateDetached, func(m *record.Move) {
		m.Note, m.Detail = tasks.NoteReadBack, "DEATTACHED|\"x\""
		if m.Desktop.Position == 5 {
			m.To, m.Note, m.Detail, m.Failure = tasks.StateFailed, tasks.NoteNone, "", &tasks.Failure{Code: "X", At: b.now}
		}
	})
	b.step(op, 1, tasks.StateQueued, tasks.StateCancelled)
	sealed := b.finish(op.ID)
	es, err := b.r.Evidence(t.Context(), sealed, 0, 2)
	require.NoError(t, err)
	require.NoError(t, es[0].Check())
	require.Len(t, es[0].Trail, 2)
	require.Equal(t, before, es[0].Desktops[3].Before)
	require.Equal(t, "X", es[0].Desktops[5].Failure.Code)
	rows, _, err := b.r.Desktops(t.Context(), sealed, tasks.DesktopFilter{}, 200, "")
	require.NoError(t, err)
	require.NoError(t, b.r.AddBefore(t.Context(), sealed, rows))
	require.Equal(t, before, rows[3].Before)
	require.Nil(t, rows[4].Before)
	for place, want := range map[int]string{3: "queued sending , sending detached DEATTACHED|\"x\"", 5: "queued sending , sending failed X", 105: "queued cancelled "} {
		d := rows[place]
		d.Before = nil
		steps, err := b.r.Steps(t.Context(), &d)
		require.NoError(t, err)
		var said []string
		for _, s := range steps {
			require.Equal(t, "w", s.By)
			said = append(said, fmt.Sprint(s.From, " ", s.To, " ", s.Detail))
		}
		require.Equal(t, want, strings.Join(said, ", "))
		require.Equal(t, rows[place].Before, d.Before)
	}
	last := es[0].Trail[1]
	require.Equal(t, "w", last.By)
	require.Len(t, last.Moves, 2)
	for _, m := range last.Moves {
		switch tasks.State(m.To) {
		case tasks.StateFailed:
			require.Equal(t, []trail.Range{{First: 5, Last: 5}}, m.Positions)
			require.Equal(t, "X", m.Detail)
		default:
			require.Equal(t, []trail.Range{{First: 0, Last: 4}, {First: 6, Last: 99}}, m.Positions)
			require.Equal(t, "DEATTACHED|\"x\"", m.Detail)
		}
	}
	head, err := b.r.TrailHead(t.Context(), sealed)
	require.NoError(t, err)
	require.Equal(t, sealed.Seal, head)
	require.Equal(t, head, trail.Head([]trail.Chain{es[0].Chain, es[1].Chain}))

	// A trail that lacks a step, or has one too many, contradicts the rows.
	short := es[0]
	short.Trail = short.Trail[:1]
	require.Error(t, short.Check())
	long := es[0]
	long.Trail = append(slices.Clone(long.Trail), long.Trail[1])
	require.Error(t, long.Check())

	_, err = b.p.Retry(t.Context(), sealed, tasks.RetryFilter{}, "ann")
	require.NoError(t, err)
	require.Empty(t, b.operation(op.ID).Seal, "it goes on")
	b.step(op, 0, tasks.StateQueued, tasks.StateDetached)
	require.NotEqual(t, sealed.Seal, b.finish(op.ID).Seal)
}

// What was held is taken back after the end, and the trail sealed anew.
func sealOvertaken(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: []string{"a", "b"}})
	b.step(op, 0, tasks.StateQueued, tasks.StateHeld, func(m *record.Move) { m.Failure = &tasks.Failure{Code: "X", Class: "held", At: b.now} })
	b.finish(op.ID)
	cancelled, _, err := b.r.Cancel(t.Context(), b.operation(op.ID), b.now, "ann")
	require.NoError(t, err)
	require.Equal(t, 2, cancelled)
	got := b.operation(op.ID)
	head, err := b.r.TrailHead(t.Context(), got)
	require.NoError(t, err)
	require.Equal(t, head, got.Seal, "sealed anew")
	open, _, err := b.r.Operations(t.Context(), tasks.OperationFilter{Open: true}, 10, "")
	require.NoError(t, err)
	require.Empty(t, open)
}

// interruption does something once, after a pipeline that has a text in it.
type interruption struct {
	text string
	do   func()
}

func (h *interruption) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *interruption) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h *interruption) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, c := range cmds {
			if do := h.do; do != nil && strings.Contains(c.String(), h.text) {
				h.do = nil
				do()
			}
		}
		return err
	}
}

// What is added while the head is computed is not sealed over, and leaves the
// operation on the list that sweeps go through.
func sealRace(t *testing.T, b *bundle) {
	for _, at := range []string{"sealing", "evalsha"} { // before the head is read; between seal and list
		op := b.enqueue(tasks.Request{Desktops: []string{"a", "b"}})
		b.step(op, 0, tasks.StateQueued, tasks.StateFailed, func(m *record.Move) { m.Failure = &tasks.Failure{Code: "X", Class: "held", At: b.now} })
		b.rdb.AddHook(&interruption{at, func() {
			_, err := b.p.Retry(t.Context(), b.operation(op.ID), tasks.RetryFilter{}, "ann")
			require.NoError(t, err)
		}})
		_, err := b.r.Finish(t.Context(), []string{op.ID})
		require.NoError(t, err)
		got := b.operation(op.ID)
		require.False(t, got.Done(), at)
		require.Empty(t, got.Seal, at)
		open, _, err := b.r.Operations(t.Context(), tasks.OperationFilter{Open: true}, 10, "")
		require.NoError(t, err)
		require.True(t, slices.ContainsFunc(open, func(o record.Operation) bool { return o.ID == op.ID }), at)
	}
}

// How long it took until access was gone.
func removal(t *testing.T, b *bundle) {
	due := b.now.Add(-time.Hour)
	op := b.enqueue(tasks.Request{Desktops: ids(20), DueAt: due})
	require.Equal(t, due, b.operation(op.ID).DueAt)
	b.step(op, 0, tasks.StateQueued, tasks.StateSending)
	for i := range 10 { // 61, 62, … minutes after it was due
		b.now = b.now.Add(time.Minute)
		all := b.moves(op, 0, tasks.StateSending, tasks.StateDetached)
		all.Moves = all.Moves[:1]
		_, err := b.r.Apply(t.Context(), b.now, []record.Change{all})
		require.NoError(t, err, i)
	}
	b.step(op, 0, tasks.StateSending, tasks.StateFailed, func(m *record.Move) { m.Failure = &tasks.Failure{Code: "X", At: b.now} })
	got, err := b.r.Removal(t.Context(), b.operation(op.ID), 68*time.Minute, b.now)
	require.NoError(t, err)
	require.Equal(t, tasks.Removal{
		Proven: 10, P50: 65 * time.Minute, P95: 70 * time.Minute, Worst: 70 * time.Minute, Target: 68 * time.Minute, Late: 2, Overdue: 10,
		SinceAccepted: tasks.Spread{P50: 5 * time.Minute, P95: 10 * time.Minute, Worst: 10 * time.Minute},
	}, got)
	early := b.enqueue(tasks.Request{Desktops: []string{"e"}, DueAt: b.now.Add(time.Hour), AtOnce: true})
	b.step(early, 0, tasks.StateQueued, tasks.StateDetached)
	got, err = b.r.Removal(t.Context(), b.operation(early.ID), 0, b.now)
	require.NoError(t, err)
	require.Equal(t, tasks.Removal{Proven: 1, Target: tasks.DefaultTarget}, got, "before it was due counts as 0")
}
