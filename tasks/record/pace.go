package record

import (
	"context"
	"time"

	"github.com/detachd/detachd/tasks"
)

// paceMeter counts the rows that finished recently.
type paceMeter struct {
	since, now time.Time
	settled    int // rows finished since then
}

// newPaceMeter measures the last minute, or the time since the work began if that is shorter.
func newPaceMeter(begun, now time.Time) *paceMeter {
	since := now.Add(-time.Minute)
	if begun.After(since) {
		since = begun
	}
	return &paceMeter{since: since, now: now}
}

func (m *paceMeter) add(d Row) {
	if !d.State.Open() && d.State != tasks.StateAccepted && d.UpdatedAt.After(m.since) {
		m.settled++
	}
}

// pace computes the pace, and the end of the rows that are left.
func (m *paceMeter) pace(left int) tasks.Pace {
	took := max(time.Second, m.now.Sub(m.since))
	if left <= 0 || m.settled == 0 || m.since.After(m.now) {
		return tasks.Pace{}
	}
	rest := time.Duration(float64(left) / float64(m.settled) * float64(took))
	return tasks.Pace{PerMinute: float64(m.settled) / took.Minutes(), EndsAt: m.now.Add(rest).Truncate(time.Second).UTC()}
}

// RedriveProgress reads the rows that a redrive has retried.
func (r *Record) RedriveProgress(ctx context.Context, x Redrive, now time.Time) (tasks.RedriveProgress, error) {
	out := tasks.RedriveProgress{Redrive: x.Redrive}
	if !x.Done() {
		out.Left = x.Matched - x.Retried - x.Skipped
	}
	parts, err := r.takenParts(ctx, redriveKind, x.ID)
	if err != nil {
		return out, err
	}
	meter := newPaceMeter(x.CreatedAt, now)
	err = r.takenRows(ctx, parts, func(d Row) {
		out.Counts.Count(d.State)
		meter.add(d)
	})
	if err != nil {
		return out, err
	}
	out.Pace = meter.pace(out.Open())
	return out, nil
}
