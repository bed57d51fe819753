package tasks

import (
	"encoding/json"
	"time"
)

// DefaultTarget is the target for access removal: this long after it is due.
const DefaultTarget = 15 * time.Minute

// Removal is the time to access removal of an operation's desktops, up to the confirming
// reading: since they were due, see Operation.DueFrom, and since the operation was
// accepted, see Operation.Begins. A desktop confirmed before that took 0.
type Removal struct {
	Proven        int           // desktops confirmed detached
	P50           time.Duration // since due
	P95           time.Duration
	Worst         time.Duration
	SinceAccepted Spread
	Target        time.Duration
	Late          int // confirmed later than the target
	// Overdue are desktops past the target and not confirmed: waiting, accepted, held or
	// failed. Cancelled ones do not count.
	Overdue int
}

// Spread is the distribution of a duration over desktops.
type Spread struct {
	P50, P95, Worst time.Duration
	Late            int // more than Removal.Target
}

// Took is the time to access removal of one desktop.
type Took struct {
	SinceDue      time.Duration // from Operation.DueFrom to the confirming reading
	SinceAccepted time.Duration // from Operation.Begins to the confirming reading
}

// Begins is the earliest time at which the operation can begin: its acceptance, or the
// requested start if that is later.
func (o Operation) Begins() time.Time { return later(o.AcceptedAt, o.NotBefore) }

// DueFrom is when the time since due begins: DueAt, even if that was before the acceptance,
// but never before a requested start.
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

// MarshalJSON writes durations in milliseconds.
func (r Removal) MarshalJSON() ([]byte, error) {
	return json.Marshal(removalJSON{
		Late: r.Late, Overdue: r.Overdue, P50: r.P50.Milliseconds(), P95: r.P95.Milliseconds(),
		Proven: r.Proven, Target: r.Target.Milliseconds(), Worst: r.Worst.Milliseconds(),
		AcceptedP50: r.SinceAccepted.P50.Milliseconds(), AcceptedP95: r.SinceAccepted.P95.Milliseconds(),
		AcceptedWorst: r.SinceAccepted.Worst.Milliseconds(), AcceptedLate: r.SinceAccepted.Late,
	})
}

// UnmarshalJSON reads what MarshalJSON writes.
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

// TookFrom returns the time until the desktop was confirmed detached; false if it is not.
func (d Desktop) TookFrom(op Operation) (Took, bool) {
	if d.State != StateDetached || op.UndoOf != "" {
		return Took{}, false
	}
	return Took{SinceDue: max(0, d.UpdatedAt.Sub(op.DueFrom())), SinceAccepted: max(0, d.UpdatedAt.Sub(op.Begins()))}, true
}
