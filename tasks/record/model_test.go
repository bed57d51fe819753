package record_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// Random moves, some from readings that are out of date, against a model: what
// is stored is what the model says, counts equal the rows, the operation has
// ended exactly when nothing is open.
func TestRecordAgainstAModel(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Mini(t))
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(1, 12).Draw(rt, "size")
		op := b.enqueue(tasks.Request{Desktops: ids(size)})
		model := slices.Repeat([]tasks.State{tasks.StateQueued}, size)
		readings := [][]record.Row{b.chunk(op, 0).Desktops}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			b.now = b.now.Add(time.Second)
			reading := rapid.SampledFrom(readings).Draw(rt, "reading")
			ch := record.Change{Operation: op}
			to := rapid.SampledFrom(tasks.States).Draw(rt, "to")
			for i, d := range reading {
				if rapid.IntRange(0, 4).Draw(rt, "stay") == 0 {
					continue
				}
				if rapid.IntRange(0, 9).Draw(rt, "own way") == 0 {
					to = rapid.SampledFrom(tasks.States).Draw(rt, "to")
				}
				if d.State.CanMove(to) {
					m := record.Move{Desktop: reading[i], To: to, Attempts: rapid.IntRange(0, 2).Draw(rt, "attempts"), CallID: "c"}
					if to == tasks.StateFailed {
						m.Failure = &tasks.Failure{Code: "x", Class: "permanent", At: b.now}
					}
					ch.Moves = append(ch.Moves, m)
				}
			}
			before := b.chunk(op, 0).Desktops
			out, err := b.r.Apply(t.Context(), b.now, []record.Change{ch})
			if err != nil {
				rt.Fatal(err)
			}
			after := b.chunk(op, 0).Desktops
			for n, m := range ch.Moves {
				i := m.Desktop.Position
				current := sameReading(before[i], m.Desktop)
				if applied := out[0].Desktops[n].ID != ""; applied != current {
					rt.Fatalf("desktop %d: applied %v, its reading was current %v", i, applied, current)
				}
				if current {
					model[i] = m.To
					if !sameReading(after[i], out[0].Desktops[n]) {
						rt.Fatalf("desktop %d: Apply gave %+v, stored is %+v", i, out[0].Desktops[n], after[i])
					}
				}
			}
			check(rt, b, op, model, after)
			readings = append(readings, after)
		}
	})
}

// sameReading compares what a desktop is, not how it is stored.
func sameReading(a, b record.Row) bool {
	return a.ID == b.ID && a.State == b.State && a.Attempts == b.Attempts && a.UpdatedAt.Equal(b.UpdatedAt) && a.CallID == b.CallID && a.Note == b.Note
}

func check(rt *rapid.T, b *bundle, op record.Operation, model []tasks.State, rows []record.Row) {
	var counts tasks.Counts
	open := false
	for i, d := range rows {
		if d.State != model[i] {
			rt.Fatalf("desktop %d is %s, not %s", i, d.State, model[i])
		}
		open = open || d.State.Open() || d.State == tasks.StateAccepted
		switch d.State {
		case tasks.StateQueued:
			counts.Queued++
		case tasks.StateSending:
			counts.Sending++
		case tasks.StateAccepted:
			counts.Accepted++
		case tasks.StateDetached:
			counts.Detached++
		case tasks.StateFailed:
			counts.Failed++
		case tasks.StateHeld:
			counts.Held++
		case tasks.StateCancelled:
			counts.Cancelled++
		case tasks.StateExpanded:
			counts.Expanded++
		case tasks.StateNoDesktop:
			counts.NoDesktop++
		}
	}
	got := b.operation(op.ID)
	if got.Counts != counts {
		rt.Fatalf("counts %+v, rows %+v", got.Counts, counts)
	}
	es, err := b.r.Evidence(b.t.Context(), got, 0, got.Chunks())
	if err != nil {
		rt.Fatal(err)
	}
	for _, e := range es {
		if err := e.Check(); err != nil {
			rt.Fatalf("the trail: %v\n%s", err, strings.Join(e.Raw, "\n"))
		}
	}
	if got.Done() == open {
		rt.Fatalf("done %v, open %v", got.Done(), open)
	}
}
