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

// removalJSON is the JSON of a Removal; durations are in milliseconds.
type removalJSON struct {
	Late    int   `json:"late"`
	Overdue int   `json:"overdue"`
	P50     int64 `json:"p50_ms"`
	P95     int64 `json:"p95_ms"`
	Proven  int   `json:"proven"`
	Target  int64 `json:"target_ms"`
	Worst   int64 `json:"worst_ms"`
}

// MarshalJSON gives the durations in milliseconds.
func (r Removal) MarshalJSON() ([]byte, error) {
	return json.Marshal(removalJSON{
		Late: r.Late, Overdue: r.Overdue, P50: r.P50.Milliseconds(), P95: r.P95.Milliseconds(),
		Proven: r.Proven, Target: r.Target.Milliseconds(), Worst: r.Worst.Milliseconds(),
	})
}

// UnmarshalJSON reads what MarshalJSON gives.
func (r *Removal) UnmarshalJSON(b []byte) error {
	var j removalJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	*r = Removal{Late: j.Late, Overdue: j.Overdue, P50: ms(j.P50), P95: ms(j.P95), Proven: j.Proven, Target: ms(j.Target), Worst: ms(j.Worst)}
	return nil
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
		ds, err := r.readChunks(ctx, op, chunkRange(first, min(first+ahead, op.Chunks()))...)
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
			case d.State == Cancelled || d.State == Resolved || d.State == NoDesktop:
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
	if d.State != Detached {
		return 0, false
	}
	return max(0, d.UpdatedAt.Sub(op.DueAt)), true
}

// quantile is the nearest-rank quantile of a sorted list.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}
