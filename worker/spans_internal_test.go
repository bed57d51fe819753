package worker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// Without a Maker the way of a batch allocates nothing for spans, even if its operations are traced.
func TestNoSpansCostWorkersNothing(t *testing.T) {
	op := record.Operation{Operation: tasks.Operation{ID: "op", Trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}}
	rows := []record.Row{{Desktop: tasks.Desktop{ID: "d1", State: tasks.StateAccepted}}}
	_, group := newJob(op, 0, rows, time.Now())
	f := &follower{shared: &shared{}}
	chunks := []record.Followed{{Chunk: record.Chunk{Operation: op, Desktops: rows}}}
	changes, asked := []record.Change{{Operation: op}}, []string{"d1"}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		f.cfg.Spans.Call(f.partsOf(group), false, "hq", "call", 1)
		f.beginReading(readDesktops, 1, chunks, func(d record.Row) bool { return contains(asked, d.ID) }).Read("")
		f.traceConfirmed(changes, nil, nil, time.Time{})
	}))
}
