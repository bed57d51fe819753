package record

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/detachd/detachd/tasks"
)

// Removal reads an operation's desktops and computes how long the removal of access took.
// target 0 means DefaultTarget.
func (r *Record) Removal(ctx context.Context, op Operation, target time.Duration, now time.Time) (tasks.Removal, error) {
	out, _, err := r.RemovalAndPace(ctx, op, target, now)
	return out, err
}

// RemovalAndPace is Removal with the pace at which desktops finish, from the same reading.
func (r *Record) RemovalAndPace(ctx context.Context, op Operation, target time.Duration, now time.Time) (tasks.Removal, tasks.Pace, error) {
	out, meter := tasks.Removal{Target: target}, newPaceMeter(op.Begins(), now)
	if target == 0 {
		out.Target = tasks.DefaultTarget
	}
	var due, accepted []time.Duration
	const ahead = 64
	for first := 0; first < op.Chunks(); first += ahead {
		ds, err := r.readChunks(ctx, op, chunkRange(first, min(first+ahead, op.Chunks()))...)
		if err != nil {
			return tasks.Removal{}, tasks.Pace{}, err
		}
		for _, d := range ds {
			meter.add(d)
			t, confirmed := d.TookFrom(op.Operation)
			switch {
			case op.UndoOf != "": // it removes no access
			case confirmed:
				due, accepted = append(due, t.SinceDue), append(accepted, t.SinceAccepted)
			case d.State == tasks.StateCancelled || d.State == tasks.StateExpanded || d.State == tasks.StateNoDesktop:
			case now.After(op.DueFrom().Add(out.Target)):
				out.Overdue++
			}
		}
	}
	since := SpreadOf(due, out.Target)
	out.Proven, out.P50, out.P95, out.Worst, out.Late = len(due), since.P50, since.P95, since.Worst, since.Late
	out.SinceAccepted = SpreadOf(accepted, out.Target)
	return out, meter.pace(op.Counts.Unsettled()), nil
}

// SpreadOf returns the spread of times, and sorts them.
func SpreadOf(took []time.Duration, target time.Duration) (s tasks.Spread) {
	slices.Sort(took)
	if len(took) == 0 {
		return s
	}
	s.P50, s.P95, s.Worst = quantile(took, 0.5), quantile(took, 0.95), took[len(took)-1]
	for _, t := range took {
		if t > target {
			s.Late++
		}
	}
	return s
}

// quantile is the nearest-rank quantile of a sorted list.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}
