package tasks

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"time"
)

// DefaultTarget is within what time of being due access should be gone.
const DefaultTarget = 15 * time.Minute

// Removal is how long it took until access was gone: from the operation's DueAt
// to the proof, desktop by desktop. What was proven before it was due took 0.
type Removal struct {
	Proven int           // desktops that are proven detached
	P50    time.Duration // of those
	P95    time.Duration
	Worst  time.Duration
	Target time.Duration
	Late   int // proven, but later than the target
	// Overdue are those not proven (yet) although the target has passed:
	// waiting, accepted, held or failed. What was cancelled does not count.
	Overdue int
}

// MarshalJSON gives the durations in milliseconds.
func (r Removal) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]int64{
		"proven": int64(r.Proven), "late": int64(r.Late), "overdue": int64(r.Overdue),
		"p50_ms": r.P50.Milliseconds(), "p95_ms": r.P95.Milliseconds(), "worst_ms": r.Worst.Milliseconds(),
		"target_ms": r.Target.Milliseconds(),
	})
}

// Removal reads an operation's desktops and computes how long access took to be
// gone. target 0 means DefaultTarget.
func (r *Record) Removal(ctx context.Context, op Operation, target time.Duration, now time.Time) (Removal, error) {
	out := Removal{Target: target}
	if target == 0 {
		out.Target = DefaultTarget
	}
	var took []time.Duration
	const ahead = 64
	for first := 0; first < op.Chunks(); first += ahead {
		ds, err := r.readChunks(ctx, op, first, min(first+ahead, op.Chunks()))
		if err != nil {
			return Removal{}, err
		}
		for _, d := range ds {
			t, proven := d.TookFrom(op)
			switch {
			case proven:
				took = append(took, t)
				if t > out.Target {
					out.Late++
				}
			case d.State == Cancelled || d.State == Resolved || d.Note == NoDesktop:
			case now.After(op.DueAt.Add(out.Target)):
				out.Overdue++
			}
		}
	}
	slices.Sort(took)
	if out.Proven = len(took); out.Proven > 0 {
		out.P50, out.P95, out.Worst = quantile(took, 0.5), quantile(took, 0.95), took[len(took)-1]
	}
	return out, nil
}

// TookFrom is the time from when the operation was due to when the desktop was
// proven detached; false if it is not, or is no desktop.
func (d Desktop) TookFrom(op Operation) (time.Duration, bool) {
	if d.State != Detached || d.Note == NoDesktop {
		return 0, false
	}
	return max(0, d.UpdatedAt.Sub(op.DueAt)), true
}

// quantile is the nearest-rank quantile of a sorted list.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}
