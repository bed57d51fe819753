package report

import (
	"math"
	"slices"
	"time"

	"github.com/detachd/detachd/tasks"
)

// removal is tasks.Removal, in milliseconds.
type removal struct {
	TargetMS int64 `json:"target_ms"`
	Proven   int   `json:"proven"`
	P50MS    int64 `json:"p50_ms"`
	P95MS    int64 `json:"p95_ms"`
	WorstMS  int64 `json:"worst_ms"`
	Late     int   `json:"late"`
	Overdue  int   `json:"overdue"`
}

func viewRemoval(r tasks.Removal) removal {
	return removal{
		TargetMS: r.Target.Milliseconds(), Proven: r.Proven, P50MS: r.P50.Milliseconds(), P95MS: r.P95.Milliseconds(),
		WorstMS: r.Worst.Milliseconds(), Late: r.Late, Overdue: r.Overdue,
	}
}

// tally counts the rows that a report has, to be held against what its head
// says.
type tally struct {
	rows   int
	counts tasks.Counts
	took   []time.Duration
	sums   removal
}

func (t *tally) add(op tasks.Operation, r row, target time.Duration, now time.Time) {
	t.rows++
	*map[tasks.State]*int{
		tasks.Queued: &t.counts.Queued, tasks.Sending: &t.counts.Sending, tasks.Accepted: &t.counts.Accepted,
		tasks.Detached: &t.counts.Detached, tasks.Failed: &t.counts.Failed, tasks.Held: &t.counts.Held,
		tasks.Cancelled: &t.counts.Cancelled, tasks.Resolved: &t.counts.Resolved, tasks.NoDesktop: &t.counts.NoDesktop,
	}[r.State]++
	took, proven := r.took(op)
	switch {
	case proven:
		t.took = append(t.took, took)
		if took > target {
			t.sums.Late++
		}
	case r.State == tasks.Cancelled || r.State == tasks.Resolved || r.State == tasks.NoDesktop:
	case now.After(op.DueAt.Add(target)):
		t.sums.Overdue++
	}
}

// removal gives the times of what was added; it sorts.
func (t *tally) removal(target time.Duration) removal {
	slices.Sort(t.took)
	t.sums.TargetMS = target.Milliseconds()
	if t.sums.Proven = len(t.took); t.sums.Proven > 0 {
		rank := func(q float64) int64 { // nearest rank, as tasks.Removal has it
			return t.took[max(0, int(math.Ceil(q*float64(len(t.took))))-1)].Milliseconds()
		}
		t.sums.P50MS, t.sums.P95MS, t.sums.WorstMS = rank(0.5), rank(0.95), rank(1)
	}
	return t.sums
}
