package worker

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/queue"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// Runs that begin together get each their own chunk. One whose operation is gone, or cannot be read,
// does the others no harm.
func TestRunsBeginTogether(t *testing.T) {
	t.Parallel()
	rdb := redistest.Mini(t)
	p, err := record.NewProducer(rdb, record.ProducerConfig{Projects: []string{"hq"}})
	require.NoError(t, err)
	b := newBeginner(p.Record, "w", newHandled(), t.Context())
	accept := func(id string) queue.Payload {
		op, err := p.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: []string{id}})
		require.NoError(t, err)
		return queue.Payload{Operation: op.ID, Project: "hq"}
	}
	bad, gone := accept("bad"), queue.Payload{Operation: "gone", Project: "hq"}
	require.NoError(t, rdb.HSet(t.Context(), "detachd:{"+bad.Operation+"}:op", "meta", "{").Err())

	some := []*beginning{}
	for _, p := range []queue.Payload{accept("a"), bad, gone, accept("b")} {
		some = append(some, &beginning{run: b.handled.begin(p)})
	}
	b.read(some)
	require.Equal(t, "a", some[0].chunk.Desktops[0].ID)
	require.Error(t, some[1].err)
	require.NotErrorIs(t, some[1].err, tasks.ErrNotFound)
	require.ErrorIs(t, some[2].err, tasks.ErrNotFound)
	require.Equal(t, "b", some[3].chunk.Desktops[0].ID)

	var all sync.WaitGroup
	for _, id := range []string{"c", "d", "e", "f", "g", "h"} {
		p := accept(id)
		all.Go(func() {
			c, err := b.begin(t.Context(), b.handled.begin(p))
			if err != nil || c.Desktops[0].ID != id {
				t.Errorf("%s: %v, %v", id, c, err)
			}
		})
	}
	all.Wait()
	listed, err := p.Record.InHand(t.Context(), "w")
	require.NoError(t, err)
	require.Len(t, listed, 10)
}
