package tasks

import (
	"encoding/json"
	"time"
)

// DefaultTarget is within what time of being due access should be gone.
const DefaultTarget = 15 * time.Minute

// Removal is how long it took until access was gone, desktop by desktop up to the
// proof: since it was due, see Operation.DueFrom, and since the operation was
// accepted, see Operation.Begins. What was proven before that took 0.
type Removal struct {
	Proven int           // desktops that are proven detached
	P50    time.Duration // of those, since due
	P95    time.Duration
	Worst  time.Duration
	// SinceAccepted is the same since the operation was accepted.
	SinceAccepted Spread
	Target        time.Duration
	Late          int // proven, but later after due than the target
	// Overdue are those not proven (yet) although the target has passed since due:
	// waiting, accepted, held or failed. What was cancelled does not count.
	Overdue int
}

// Spread says how a time is distributed over desktops.
type Spread struct {
	P50, P95, Worst time.Duration
	Late            int // longer than Removal.Target
}

// Took is how long it took until access to a desktop was gone.
type Took struct {
	SinceDue      time.Duration // from Operation.DueFrom to the proof
	SinceAccepted time.Duration // from Operation.Begins to the proof
}

// Begins is when the operation could begin: the acceptance, or the start that was
// asked for if that is later.
func (o Operation) Begins() time.Time { return later(o.AcceptedAt, o.NotBefore) }

// DueFrom is when the time since due begins to run: DueAt, also if that was before
// the acceptance, as access should have been gone by then; but never before a start
// that was asked for.
func (o Operation) DueFrom() time.Time { return later(o.DueAt, o.NotBefore) }

// removalJSON is the JSON of a Removal; durations are in milliseconds.
type removalJSON struct {
	Late    int   `json:"late"`
	Overdue int   `json:"overdue"`
	P50     int64 `json:"p50_ms"`
	P95     int64 `json:"p95_ms"`
	Proven  int   `json:"proven"`
	Target  int64 `json:"target_ms"`
	Worst   int64 `json:"worst_ms"`

	AcceptedP50   int64 `json:"since_accepted_p50_ms"`
	AcceptedP95   int64 `json:"since_accepted_p95_ms"`
	AcceptedWorst int64 `json:"since_accepted_worst_ms"`
	AcceptedLate  int   `json:"since_accepted_late"`
}

// MarshalJSON gives the durations in milliseconds.
func (r Removal) MarshalJSON() ([]byte, error) {
	return json.Marshal(removalJSON{
		Late: r.Late, Overdue: r.Overdue, P50: r.P50.Milliseconds(), P95: r.P95.Milliseconds(),
		Proven: r.Proven, Target: r.Target.Milliseconds(), Worst: r.Worst.Milliseconds(),
		AcceptedP50: r.SinceAccepted.P50.Milliseconds(), AcceptedP95: r.SinceAccepted.P95.Milliseconds(),
		AcceptedWorst: r.SinceAccepted.Worst.Milliseconds(), AcceptedLate: r.SinceAccepted.Late,
	})
}

// UnmarshalJSON reads what MarshalJSON gives.
func (r *Removal) UnmarshalJSON(b []byte) error {
	var j removalJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	*r = Removal{
		Late: j.Late, Overdue: j.Overdue, P50: ms(j.P50), P95: ms(j.P95), Proven: j.Proven, Target: ms(j.Target), Worst: ms(j.Worst),
		SinceAccepted: Spread{P50: ms(j.AcceptedP50), P95: ms(j.AcceptedP95), Worst: ms(j.AcceptedWorst), Late: j.AcceptedLate},
	}
	return nil
}

// TookFrom is how long it took until the desktop was proven detached; false if it
// is not, or is no desktop.
func (d Desktop) TookFrom(op Operation) (Took, bool) {
	if d.State != StateDetached {
		return Took{}, false
	}
	return Took{SinceDue: max(0, d.UpdatedAt.Sub(op.DueFrom())), SinceAccepted: max(0, d.UpdatedAt.Sub(op.Begins()))}, true
}
