package report

import (
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// removal is tasks.Removal in milliseconds.
type removal struct {
	TargetMS int64 `json:"target_ms"`
	Proven   int   `json:"proven"`
	P50MS    int64 `json:"p50_ms"`
	P95MS    int64 `json:"p95_ms"`
	WorstMS  int64 `json:"worst_ms"`
	Late     int   `json:"late"`
	Overdue  int   `json:"overdue"`

	AcceptedP50MS   int64 `json:"since_accepted_p50_ms"`
	AcceptedP95MS   int64 `json:"since_accepted_p95_ms"`
	AcceptedWorstMS int64 `json:"since_accepted_worst_ms"`
	AcceptedLate    int   `json:"since_accepted_late"`
}

func viewRemoval(r tasks.Removal) removal {
	return removal{
		TargetMS: r.Target.Milliseconds(), Proven: r.Proven, P50MS: r.P50.Milliseconds(), P95MS: r.P95.Milliseconds(),
		WorstMS: r.Worst.Milliseconds(), Late: r.Late, Overdue: r.Overdue,
		AcceptedP50MS: r.SinceAccepted.P50.Milliseconds(), AcceptedP95MS: r.SinceAccepted.P95.Milliseconds(),
		AcceptedWorstMS: r.SinceAccepted.Worst.Milliseconds(), AcceptedLate: r.SinceAccepted.Late,
	}
}

// tally counts the rows of a report, to check them against its head.
type tally struct {
	rows   int
	counts tasks.Counts
	due    []time.Duration
	taken  []time.Duration // since accepted
	over   int             // overdue
}

func (t *tally) add(op record.Operation, r row, target time.Duration, now time.Time) {
	t.rows++
	t.counts.Count(r.State)
	took, proven := r.took(op.Operation)
	switch {
	case op.UndoOf != "": // it removes no access
	case proven:
		t.due, t.taken = append(t.due, took.SinceDue), append(t.taken, took.SinceAccepted)
	case r.State == tasks.StateCancelled || r.State == tasks.StateExpanded || r.State == tasks.StateNoDesktop:
	case now.After(op.DueFrom().Add(target)):
		t.over++
	}
}

// removal returns the times of the added rows; it sorts them.
func (t *tally) removal(target time.Duration) removal {
	due := record.SpreadOf(t.due, target)
	return viewRemoval(tasks.Removal{
		Proven: len(t.due), P50: due.P50, P95: due.P95, Worst: due.Worst, Late: due.Late, Overdue: t.over,
		SinceAccepted: record.SpreadOf(t.taken, target), Target: target,
	})
}
