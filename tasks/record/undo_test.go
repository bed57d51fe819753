package record_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

var (
	ann = tasks.Person{Name: "ann", ID: "u1", Domain: "d.local", Group: "sudo", Type: "USER"}
	ben = tasks.Person{Name: "ben", ID: "u2", Group: "users", Type: "USER"}
	ops = tasks.Person{Name: "ops", ID: "g1", Group: "users", Type: "GROUP"}
)

// detachedFrom is an operation that detached desktops from these users by a call.
func (b *bundle) detachedFrom(req tasks.Request, users ...tasks.Person) record.Operation {
	b.t.Helper()
	op := b.enqueue(req)
	for n := range op.Chunks() {
		b.step(op, n, tasks.StateQueued, tasks.StateSending, func(m *record.Move) {
			m.CallID = "call-1"
			m.Before = &tasks.Before{Name: "PC-1", Type: "SHARED", AttachState: "ATTACHED", Users: users, Tags: []string{"a=b"}, ReadAt: b.now}
		})
		b.step(op, n, tasks.StateSending, tasks.StateAccepted)
		b.step(op, n, tasks.StateAccepted, tasks.StateDetached, func(m *record.Move) { m.Note = tasks.NoteReadBack })
	}
	return b.operation(op.ID)
}

func undo(t *testing.T, b *bundle) {
	op := b.detachedFrom(tasks.Request{Desktops: ids(120), RequestedBy: "hr", Ticket: "T"}, ann, ops)
	var announced []string
	back, err := b.p.Undo(t.Context(), op, tasks.UndoRequest{RequestedBy: "amy", Reason: "wrong feed", IdempotencyKey: "k"},
		func(id string) error { announced = append(announced, id); return nil })
	require.NoError(t, err)
	require.Equal(t, []string{back.ID}, announced)
	require.Equal(t, op.ID, back.UndoOf)
	require.Equal(t, tasks.Counts{Queued: 120}, back.Counts)
	require.Equal(t, "hq", back.Project)
	require.Equal(t, "wrong feed", b.operation(back.ID).Reason)
	c := b.chunk(back, 1)
	require.Len(t, c.Desktops, 20)
	require.Equal(t, op.ID, c.Operation.UndoOf)
	d := c.Desktops[3]
	require.Equal(t, "SHARED", d.Had.Type)
	require.Equal(t, []tasks.Person{ann, ops}, d.Had.Users)
	require.Equal(t, b.now.UnixMilli(), d.Had.ReadAt.UnixMilli())
	require.Equal(t, []string{"ann", "ops"}, d.Expect)

	again, err := b.p.Undo(t.Context(), op, tasks.UndoRequest{RequestedBy: "amy", Reason: "wrong feed", IdempotencyKey: "k"})
	require.NoError(t, err)
	require.True(t, again.Replayed)
	require.Equal(t, back.ID, again.ID)
	_, err = b.p.Undo(t.Context(), op, tasks.UndoRequest{RequestedBy: "amy", Reason: "other", IdempotencyKey: "k"})
	require.ErrorIs(t, err, tasks.ErrKeyReused)
	other := b.detachedFrom(tasks.Request{Desktops: []string{"z"}}, ben)
	_, err = b.p.Undo(t.Context(), other, tasks.UndoRequest{RequestedBy: "amy", Reason: "wrong feed", IdempotencyKey: "k"})
	require.ErrorIs(t, err, tasks.ErrKeyReused, "the same words about another operation")

	// The rows of the operation stay, and say which were given back.
	op = b.operation(op.ID)
	require.Equal(t, []string{back.ID}, op.Undos)
	b.step(back, 1, tasks.StateQueued, tasks.StateDetached, func(m *record.Move) { m.Note = tasks.NoteReadBack })
	rows, _, err := b.r.Desktops(t.Context(), op, tasks.DesktopFilter{}, 200, "")
	require.NoError(t, err)
	for i, d := range rows {
		require.Equal(t, tasks.StateDetached, d.State)
		require.Equal(t, i >= 100, d.GivenBackBy == back.ID, i)
	}
	es, err := b.r.Evidence(t.Context(), op, 1, 2)
	require.NoError(t, err)
	require.Equal(t, back.ID, es[0].Desktops[0].GivenBackBy)
	require.NoError(t, es[0].Check())
	history, err := b.r.History(t.Context(), rows[119].ID)
	require.NoError(t, err)
	require.Len(t, history, 2)
	for _, h := range history {
		require.Equal(t, h.Operation.ID == op.ID, h.Desktop.GivenBackBy == back.ID)
	}
	took, err := b.r.Removal(t.Context(), b.operation(back.ID), 0, b.now.Add(24*time.Hour))
	require.NoError(t, err)
	require.Zero(t, took.Proven+took.Overdue, "it removes no access")
	_, err = b.p.Undo(t.Context(), b.operation(back.ID), tasks.UndoRequest{Reason: "x"})
	require.ErrorIs(t, err, tasks.ErrNothingToUndo, "of an undo")
}

func undoOfSome(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: []string{"call", "free", "failed", "sent"}, Expect: map[string][]string{"call": {"ann"}}})
	move := func(id string, from, to tasks.State, change ...func(*record.Move)) {
		ch := b.moves(op, 0, from, to, change...)
		for _, m := range ch.Moves {
			if m.Desktop.ID == id {
				ch.Moves = []record.Move{m}
				break
			}
		}
		_, err := b.r.Apply(t.Context(), b.now, []record.Change{ch})
		require.NoError(t, err)
	}
	read := func(users ...tasks.Person) func(*record.Move) {
		return func(m *record.Move) { m.Before = &tasks.Before{Type: "SHARED", Users: users, ReadAt: b.now} }
	}
	move("call", tasks.StateQueued, tasks.StateSending, read(ann, ben, ops))
	move("call", tasks.StateSending, tasks.StateQueued, func(m *record.Move) { m.Attempts = 1 })
	move("call", tasks.StateQueued, tasks.StateDetached, read(ben, ops)) // after it, ann was gone
	move("free", tasks.StateQueued, tasks.StateDetached, read(), func(m *record.Move) { m.CallID = "" })
	move("failed", tasks.StateQueued, tasks.StateFailed, func(m *record.Move) { m.Failure = &tasks.Failure{Code: "X", At: b.now} })
	move("sent", tasks.StateQueued, tasks.StateSending, read(ann, ben))
	move("sent", tasks.StateSending, tasks.StateAccepted)
	op = b.operation(op.ID)

	back, err := b.p.Undo(t.Context(), op, tasks.UndoRequest{Reason: "x"})
	require.NoError(t, err)
	had := map[string][]tasks.Person{}
	for _, d := range b.chunk(back, 0).Desktops {
		had[d.ID] = d.Had.Users
	}
	require.Equal(t, map[string][]tasks.Person{"call": {ann}, "sent": {ann, ben}}, had,
		"those who lost a desktop by a call, and nobody else")

	back, err = b.p.Undo(t.Context(), op, tasks.UndoRequest{Reason: "x", Desktops: []string{"free"}})
	require.NoError(t, err)
	require.Nil(t, b.chunk(back, 0).Desktops[0].Had, "the operation took it from nobody")
	require.Len(t, b.operation(op.ID).Undos, 2)

	for _, ids := range [][]string{{"failed"}, {"other"}, {"call", "call"}, {"call", ""}} {
		_, err = b.p.Undo(t.Context(), op, tasks.UndoRequest{Reason: "x", Desktops: ids})
		var invalid *tasks.ValidationError
		require.ErrorAs(t, err, &invalid, ids)
	}
	require.Len(t, b.operation(op.ID).Undos, 2)
	_, err = b.p.Undo(t.Context(), b.enqueue(tasks.Request{Desktops: []string{"q"}}), tasks.UndoRequest{Reason: "x"})
	require.ErrorIs(t, err, tasks.ErrNothingToUndo)
}

// An undo that fails is in the inbox beside a detach that failed, and neither settles the other.
func undoInTheInbox(t *testing.T, b *bundle) {
	fail := func(m *record.Move) { m.Failure = &tasks.Failure{Code: "X", Class: tasks.ClassHeld, At: b.now} }
	op := b.detachedFrom(tasks.Request{Desktops: []string{"d"}}, ann)
	later := b.enqueue(tasks.Request{Desktops: []string{"d"}, Expect: map[string][]string{"d": {"ann"}}})
	back, err := b.p.Undo(t.Context(), op, tasks.UndoRequest{Reason: "x"})
	require.NoError(t, err)
	names := map[string]string{back.ID: "undo", later.ID: "later"}

	b.step(back, 0, tasks.StateQueued, tasks.StateHeld, fail)
	b.now = b.now.Add(time.Second)
	b.step(later, 0, tasks.StateQueued, tasks.StateHeld, fail)
	require.Equal(t, "later/d undo/d", b.inboxOf(names))

	b.step(later, 0, tasks.StateHeld, tasks.StateQueued)
	b.prove(later, tasks.NoteReadBack)
	require.Equal(t, "undo/d", b.inboxOf(names), "that nobody has it settles no undo")

	again := b.enqueue(tasks.Request{Desktops: []string{"d"}})
	names[again.ID] = "again"
	b.now = b.now.Add(time.Second)
	b.step(again, 0, tasks.StateQueued, tasks.StateHeld, fail)
	b.step(back, 0, tasks.StateHeld, tasks.StateQueued)
	b.prove(back, tasks.NoteReadBack)
	require.Equal(t, "again/d", b.inboxOf(names), "that it was given back settles no detach")
	_, err = b.r.Sweep(t.Context(), b.now, 0, 100, 0)
	require.NoError(t, err)
	require.Equal(t, "again/d", b.inboxOf(names))
}
