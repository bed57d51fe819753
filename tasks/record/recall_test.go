package record_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// takeBack recalls a user.
func (b *bundle) takeBack(q tasks.RecallRequest) tasks.RecallResult {
	b.t.Helper()
	if q.Reason == "" {
		q.Reason = "the contract was extended"
	}
	q.RequestedBy = "ann"
	out, _, err := b.p.Recall(b.t.Context(), q)
	require.NoError(b.t, err)
	return out
}

// rowStates are the states of an operation's rows, by id.
func (b *bundle) rowStates(op record.Operation) map[string]string {
	b.t.Helper()
	out := map[string]string{}
	for n := range op.Chunks() {
		for _, d := range b.chunk(op, n).Desktops {
			out[d.ID] = d.State.String()
		}
	}
	return out
}

// row is a row of an operation.
func (b *bundle) row(op record.Operation, id string) record.Row {
	b.t.Helper()
	for n := range op.Chunks() {
		for _, d := range b.chunk(op, n).Desktops {
			if d.ID == id {
				return d
			}
		}
	}
	b.t.Fatalf("operation %s has no row %s", op.ID, id)
	return record.Row{}
}

// hold puts rows of an operation on hold.
func (b *bundle) hold(op record.Operation, desktops ...string) {
	b.t.Helper()
	ch := record.Change{Operation: op}
	for _, id := range desktops {
		f := &tasks.Failure{Project: op.Project, OperationID: op.ID, DesktopID: id, Code: "FROZEN", Message: "no", Class: tasks.ClassHeld, At: b.now}
		ch.Moves = append(ch.Moves, record.Move{Desktop: b.row(op, id), To: tasks.StateHeld, Failure: f})
	}
	_, err := b.r.Apply(b.t.Context(), b.now, []record.Change{ch})
	require.NoError(b.t, err)
	_, err = b.r.Finish(b.t.Context(), []string{op.ID})
	require.NoError(b.t, err)
}

// outcomes are the rows of a result, as "operation's ordinal/row outcome".
func outcomes(out tasks.RecallResult, ops ...record.Operation) (lines []string) {
	for _, row := range out.Rows {
		for i, op := range ops {
			if op.ID == row.OperationID {
				lines = append(lines, fmt.Sprintf("%d/%s %s", i, row.ID, row.Outcome))
			}
		}
	}
	return lines
}

// A recall cancels what is not sent of one person in operations of many, whatever these wait for,
// and nobody else's.
func recalls(t *testing.T, b *bundle) {
	ctx := t.Context()
	many := b.enqueue(tasks.Request{Desktops: []string{"m1", "m2", "m3", "m4"}, RequestedBy: "hr",
		Expect: map[string][]string{"m1": {"zoe"}, "m2": {"bo"}, "m3": {"zoe", "bo"}, "m4": {"zoe"}}})
	users := b.enqueue(tasks.Request{Users: []string{"bo", "zoe"}, RequestedBy: "hr"})
	scheduled := b.enqueue(tasks.Request{Project: "branch", Computers: []string{"PC-1"}, RequestedBy: "hr", NotBefore: b.now.Add(time.Hour),
		Expect: map[string][]string{"computer:PC-1": {"zoe"}}})
	waits := b.enqueue(tasks.Request{Users: []string{"zoe"}, RequestedBy: "hr", Ticket: "T-1"})
	asked, err := b.r.AskApproval(ctx, waits, tasks.Clearance{Desktops: 1, AskedAt: b.now, ExpiresAt: b.now.Add(time.Hour)})
	require.NoError(t, err)
	require.True(t, asked)
	held := b.enqueue(tasks.Request{Desktops: []string{"h"}, RequestedBy: "hr", Expect: map[string][]string{"h": {"zoe"}}})
	b.hold(held, "h")
	other := b.enqueue(tasks.Request{Users: []string{"zoe"}, RequestedBy: "it"})
	spelled := b.enqueue(tasks.Request{Users: []string{"Zoe"}, RequestedBy: "hr"})
	late := b.enqueue(tasks.Request{Desktops: []string{"l1", "l2", "l3", "l4"}, RequestedBy: "hr",
		Expect: map[string][]string{"l1": {"zoe"}, "l2": {"zoe"}, "l3": {"zoe", "bo"}, "l4": {"zoe"}}})
	for _, d := range b.chunk(late, 0).Desktops {
		sent := b.move(late, 0, tasks.StateSending, d).Desktops
		if d.ID != "l1" {
			b.move(late, 0, tasks.StateAccepted, sent...)
		}
	}
	b.move(late, 0, tasks.StateDetached, b.row(late, "l4"))
	all := []record.Operation{many, users, scheduled, waits, held, other, spelled, late}

	out := b.takeBack(tasks.RecallRequest{User: "zoe", Source: "hr", IdempotencyKey: "k"})
	require.ElementsMatch(t, []string{
		"0/m1 cancelled", "0/m3 held", "0/m4 cancelled", "1/user:zoe cancelled", "2/computer:PC-1 cancelled", "3/user:zoe cancelled",
		"4/h cancelled", "7/l1 in_call", "7/l2 too_late", "7/l3 too_late", "7/l4 too_late",
	}, outcomes(out, all...))
	require.Equal(t, tasks.RecallCounts{Cancelled: 6, Held: 1, InCall: 1, TooLate: 3}, out.Counts)
	require.Equal(t, []string{"Zoe"}, out.OtherSpellings)
	require.Equal(t, []tasks.RecallUndo{{
		OperationID: late.ID, Project: "hq", Desktops: []string{"l2", "l4"}, Path: "/v1/operations/" + late.ID + ":undo",
		Command: "detachd undo " + late.ID + ` --desktop l2 --desktop l4 --reason "recall ` + out.ID + `"`,
	}}, out.Undo, "what others lost too is not given back to them")

	require.Equal(t, map[string]string{"m1": "cancelled", "m2": "queued", "m3": "held", "m4": "cancelled"}, b.rowStates(many))
	require.Equal(t, map[string]string{"user:bo": "queued", "user:zoe": "cancelled"}, b.rowStates(users))
	require.Equal(t, map[string]string{"user:zoe": "queued"}, b.rowStates(other), "another source")
	require.Equal(t, map[string]string{"user:Zoe": "queued"}, b.rowStates(spelled))
	require.True(t, b.operation(held.ID).Done())
	require.True(t, b.operation(waits.ID).Done())
	inbox, _, err := b.r.Failures(ctx, tasks.FailureFilter{Project: "hq"}, 10, "")
	require.NoError(t, err)
	require.Len(t, inbox, 1, "what was on hold has left, what others are in has come")
	require.Equal(t, []string{"m3", tasks.CodeRecalled}, []string{inbox[0].DesktopID, inbox[0].Code})
	require.Contains(t, inbox[0].Message, `"zoe" was recalled (ann: the contract was extended), and the request takes it from "bo" too`)

	// The trail says who, and why.
	row := b.row(many, "m1")
	steps, err := b.r.Steps(ctx, &row)
	require.NoError(t, err)
	step := steps[len(steps)-1]
	require.Equal(t, []any{"ann by recall " + out.ID, tasks.NoteRecalled, "the contract was extended"}, []any{step.By, step.Note, step.Detail})

	// Again is the same one, as it is now. Another content is refused.
	b.now = b.now.Add(time.Minute)
	again, replayed, err := b.p.Recall(ctx, tasks.RecallRequest{
		User: "zoe", Source: "hr", RequestedBy: "ann", Reason: "the contract was extended", IdempotencyKey: "k"})
	require.NoError(t, err)
	require.True(t, replayed)
	require.Equal(t, out, again)
	_, _, err = b.p.Recall(ctx, tasks.RecallRequest{User: "bo", Source: "hr", RequestedBy: "ann", Reason: "x", IdempotencyKey: "k"})
	require.ErrorIs(t, err, tasks.ErrKeyReused)

	// What is accepted later is not concerned. A second recall of the other one cancels what was
	// on hold for both.
	leaves := b.enqueue(tasks.Request{Users: []string{"zoe"}, RequestedBy: "hr"})
	now, err := b.r.RecallResult(ctx, out.Recall)
	require.NoError(t, err)
	require.Equal(t, 1, now.AcceptedLater)
	require.Equal(t, out.Counts, now.Counts)
	_, _, err = b.p.Recall(ctx, tasks.RecallRequest{
		User: "zoe", Source: "hr", RequestedBy: "ann", Reason: "the contract was extended", IdempotencyKey: "k"})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"user:zoe": "queued"}, b.rowStates(leaves))
	both := b.takeBack(tasks.RecallRequest{User: "bo", Project: "hq"})
	require.Equal(t, "cancelled", b.rowStates(many)["m3"])
	require.Equal(t, tasks.RecallCounts{Cancelled: 3, TooLate: 1}, both.Counts)
	list, next, err := b.r.ListRecalls(ctx, 1, "")
	require.NoError(t, err)
	require.Equal(t, []tasks.Recall{both.Recall}, list)
	list, _, err = b.r.ListRecalls(ctx, 1, next)
	require.NoError(t, err)
	require.Equal(t, []tasks.Recall{out.Recall}, list)
}

// An undo gives something to the person, and is not recalled.
func recallOfAnUndo(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: []string{"d"}, Expect: map[string][]string{"d": {"zoe"}}})
	sent, err := b.r.Apply(t.Context(), b.now, []record.Change{{Operation: op, Moves: []record.Move{{
		Desktop: b.row(op, "d"), To: tasks.StateSending, CallID: "call-1",
		Before: &tasks.Before{Users: []tasks.Person{{Name: "zoe", Type: "USER"}}, ReadAt: b.now},
	}}}})
	require.NoError(t, err)
	b.move(op, 0, tasks.StateDetached, b.move(op, 0, tasks.StateAccepted, sent[0].Desktops...).Desktops...)
	undo, err := b.p.Undo(t.Context(), b.operation(op.ID), tasks.UndoRequest{Reason: "she stays"})
	require.NoError(t, err)
	out := b.takeBack(tasks.RecallRequest{User: "zoe"})
	require.Equal(t, tasks.RecallCounts{TooLate: 1}, out.Counts)
	require.Equal(t, map[string]string{"d": "queued"}, b.rowStates(undo))
	b.move(undo, 0, tasks.StateDetached, b.move(undo, 0, tasks.StateAccepted, b.move(undo, 0, tasks.StateSending, b.row(undo, "d")).Desktops...).Desktops...)
	out, err = b.r.RecallResult(t.Context(), out.Recall)
	require.NoError(t, err)
	require.Equal(t, tasks.RecallCounts{Nothing: 1}, out.Counts, "it was given back")
	require.Empty(t, out.Undo)
	require.Equal(t, undo.ID, out.Rows[0].GivenBackBy)
}

func recallRefused(t *testing.T, b *bundle) {
	for _, q := range []tasks.RecallRequest{
		{Reason: "x"}, {User: "zoe"}, {User: "zoe", Reason: " "}, {User: " zoe", Reason: "x"}, {User: "zoe", Reason: "x", Source: "a\x00"},
	} {
		_, _, err := b.p.Recall(t.Context(), q, func(tasks.Recall) error { t.Fatal("announced"); return nil })
		var invalid *tasks.ValidationError
		require.ErrorAs(t, err, &invalid, "%+v", q)
	}
	op := b.enqueue(tasks.Request{Users: []string{"zoe"}})
	_, _, err := b.p.Recall(t.Context(), tasks.RecallRequest{User: "zoe", Reason: "x"}, func(tasks.Recall) error { return context.Canceled })
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, map[string]string{"user:zoe": "queued"}, b.rowStates(op))
	list, _, err := b.r.ListRecalls(t.Context(), 0, "")
	require.NoError(t, err)
	require.Empty(t, list)
	_, err = b.r.Recall(t.Context(), "d4k2m0h5tq3s7g8p9v20")
	require.ErrorIs(t, err, tasks.ErrNoRecall)
	_, err = b.r.Recall(t.Context(), "")
	require.ErrorIs(t, err, tasks.ErrNoRecall)
}

// It is kept as long as an operation that it covers.
func recallExpires(t *testing.T, b *bundle) {
	ctx := t.Context()
	op := b.enqueue(tasks.Request{Users: []string{"zoe", "bo"}, NotBefore: b.now.Add(72 * time.Hour)})
	x := b.takeBack(tasks.RecallRequest{User: "zoe"})
	kept := func() bool {
		_, err := b.r.Expire(ctx, b.now, 100, 0)
		require.NoError(t, err)
		_, err = b.r.Recall(ctx, x.ID)
		return err == nil
	}
	b.now = b.now.Add(48 * time.Hour)
	require.True(t, kept())
	_, _, err := b.r.Cancel(ctx, b.operation(op.ID), b.now, "ann")
	require.NoError(t, err)
	b.now = b.now.Add(25 * time.Hour)
	kept() // the operation expires
	require.False(t, kept())
}

// Every crash of a recall is repaired by repeating it, and the answer is the same.
func TestRecallDiesAnywhere(t *testing.T) {
	t.Parallel()
	for after := 1; ; after++ {
		rdb := redistest.Mini(t)
		b := newBundle(t, rdb)
		op := b.enqueue(tasks.Request{Desktops: []string{"a", "b", "c"}, Expect: map[string][]string{"a": {"zoe"}, "b": {"zoe", "bo"}, "c": {"bo"}}})
		held := b.enqueue(tasks.Request{Desktops: []string{"h"}, Expect: map[string][]string{"h": {"zoe"}}})
		b.hold(held, "h")
		q := tasks.RecallRequest{User: "zoe", RequestedBy: "ann", Reason: "x", IdempotencyKey: "k"}
		cut := &cutOff{after: after}
		rdb.AddHook(cut)
		_, _, err := b.p.Recall(t.Context(), q)
		cut.after = -1
		out, _, err2 := b.producer().Recall(t.Context(), q)
		require.NoError(t, err2)
		require.Equal(t, tasks.RecallCounts{Cancelled: 2, Held: 1}, out.Counts)
		require.Equal(t, map[string]string{"a": "cancelled", "b": "held", "c": "queued"}, b.rowStates(op))
		require.True(t, b.operation(held.ID).Sealed(), "after %d commands", after)
		if err == nil {
			require.Greater(t, after, 5)
			return
		}
	}
}

// commandCounter counts the commands that reach Redis.
type commandCounter struct {
	n atomic.Int64
}

func (c *commandCounter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *commandCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.n.Add(1); return next(ctx, cmd) }
}

func (c *commandCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { c.n.Add(int64(len(cmds))); return next(ctx, cmds) }
}

// A person in three of 2,000 open operations costs as many commands as in three of a hundred.
func TestRecallAmongManyOperations(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	cost := func(others int) int64 {
		b := newBundle(t, server.Client(t))
		var mine []record.Operation
		for range 3 {
			mine = append(mine, b.enqueue(tasks.Request{Users: []string{"zoe"}, RequestedBy: "hr"}))
		}
		var wg sync.WaitGroup
		for part := range 8 {
			wg.Go(func() {
				for i := part; i < others; i += 8 {
					_, err := b.p.Enqueue(t.Context(), tasks.Request{Project: "hq", Users: []string{fmt.Sprint("user-", i)}, RequestedBy: "hr"})
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		rdb := server.Client(t)
		counter := &commandCounter{}
		rdb.AddHook(counter)
		p, err := record.NewProducer(rdb, record.ProducerConfig{
			Projects: []string{"hq"}, Record: record.Config{Prefix: b.prefix}, Now: func() time.Time { return b.now },
		})
		require.NoError(t, err)
		q := tasks.RecallRequest{User: "nobody", Reason: "x"}
		_, _, err = p.Recall(t.Context(), q) // it learns the scripts, and about replicas
		require.NoError(t, err)
		counter.n.Store(0)
		out, _, err := p.Recall(t.Context(), tasks.RecallRequest{User: "zoe", Reason: "x"})
		require.NoError(t, err)
		require.Equal(t, tasks.RecallCounts{Cancelled: 3}, out.Counts)
		for _, op := range mine {
			require.True(t, b.operation(op.ID).Done())
		}
		return counter.n.Load()
	}
	require.LessOrEqual(t, cost(0), int64(120))
	few := cost(100)
	require.LessOrEqual(t, cost(2000), few+1)
}
