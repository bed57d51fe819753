package record_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/queue"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// A reading of chunks that nothing has moved is one round trip and reads no trail. Once a row has
// moved, alone or with the others, the trail says whose desktop it was.
func TestTheTrailOfAnUnmovedChunkIsNotRead(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Mini(t))
	one, two := b.enqueue(tasks.Request{Desktops: ids(3)}), b.enqueue(tasks.Request{Desktops: ids(5)})
	run := func(op record.Operation, mark string) record.Run {
		return record.Run{Payload: queue.Payload{Operation: op.ID, Project: "hq"}, Mark: mark}
	}
	var begun []record.Chunk
	begin := func(mark string) {
		var err error
		begun, err = b.r.Begin(t.Context(), "w", []record.Run{run(one, mark), run(two, mark)}, nil)
		require.NoError(t, err)
		require.Len(t, begun[0].Desktops, 3)
		require.Len(t, begun[1].Desktops, 5)
	}
	require.Equal(t, 1, b.trips(func() { begin("1") }))
	first := func(m *record.Move) { // of the first row only
		if m.Desktop.Position == 0 {
			m.Before = &tasks.Before{Users: []tasks.Person{{Name: "anna"}}}
		}
	}
	b.step(one, 0, tasks.StateQueued, tasks.StateSending, first)
	b.step(one, 0, tasks.StateSending, tasks.StateQueued)
	require.Equal(t, 2, b.trips(func() { begin("2") }))
	require.Equal(t, []string{"anna"}, begun[0].Desktops[0].Expected())
}

// finishAgain finishes an operation once more while it is being finished.
type finishAgain struct {
	b   *bundle
	id  string
	did atomic.Bool
	ops []record.Operation
	err error
}

func (h *finishAgain) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *finishAgain) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h *finishAgain) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if h.did.CompareAndSwap(false, true) {
			h.ops, h.err = h.b.r.Finish(ctx, []string{h.id})
		}
		return next(ctx, cmds)
	}
}

// An operation is finished by one goroutine at a time; a later call finishes what one left.
func TestFinishedOnceAtATime(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Mini(t))
	op := b.enqueue(tasks.Request{Desktops: ids(120)})
	for n := range op.Chunks() {
		b.move(op, n, tasks.StateCancelled, b.chunk(op, n).Desktops...)
	}
	again := &finishAgain{b: b, id: op.ID}
	b.rdb.AddHook(again)
	ended, err := b.r.Finish(t.Context(), []string{op.ID})
	require.NoError(t, err)
	require.Len(t, ended, 1)
	require.NoError(t, again.err)
	require.Empty(t, again.ops, "it was finished twice at a time")
	ended, err = b.r.Finish(t.Context(), []string{op.ID})
	require.NoError(t, err)
	require.Len(t, ended, 1)
}

// However many chunks fail at a time, when a write returns the names of its desktops are found.
func TestNamesOfManyFailures(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Mini(t))
	var all sync.WaitGroup
	for n := range 40 {
		op := b.enqueue(tasks.Request{Desktops: []string{fmt.Sprint("d", n)}})
		d := b.chunk(op, 0).Desktops[0]
		all.Go(func() {
			name := fmt.Sprintf("pc-%02d", n)
			failure := &tasks.Failure{Code: "X", Class: tasks.ClassPermanent, At: b.now, DesktopName: name}
			change := record.Change{Operation: op, By: "w", Moves: []record.Move{{Desktop: d, To: tasks.StateFailed, Failure: failure}}}
			if _, err := b.r.Apply(t.Context(), b.now, []record.Change{change}); err != nil {
				t.Error(err)
				return
			}
			found, _, err := b.r.ComputersNamed(t.Context(), []string{"hq"}, name, 2)
			if err != nil || len(found) != 1 {
				t.Errorf("%s: found %v, %v", name, found, err)
			}
		})
	}
	all.Wait()
}
