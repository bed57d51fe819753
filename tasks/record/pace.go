package record

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/trail"
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
	taken, err := r.rdb.HGetAll(ctx, r.keys.redriveTaken(x.ID)).Result()
	if err != nil {
		return out, fmt.Errorf("reading redrive %s: %w", x.ID, err)
	}
	type part struct {
		chunkID
		places []trail.Range
	}
	var parts []part
	for at, places := range taken {
		op, number, _ := strings.Cut(at, ":")
		n, err := strconv.Atoi(number)
		ranges, err2 := trail.ParseRanges(places)
		if err != nil || err2 != nil {
			return out, fmt.Errorf("redrive %s has the unreadable entry %.60q", x.ID, at)
		}
		parts = append(parts, part{chunkID{op, n}, ranges})
	}
	meter := newPaceMeter(x.CreatedAt, now)
	for batch := range slices.Chunk(parts, 100) {
		cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, x := range batch {
				p.HGetAll(ctx, r.keys.chunk(x.op, x.chunk))
			}
			return nil
		})
		if err != nil {
			return out, fmt.Errorf("reading redrive %s: %w", x.ID, err)
		}
		for i, cmd := range cmds {
			values := cmd.(*redis.MapStringStringCmd).Val()
			if len(values) == 0 {
				continue // its retention has ended
			}
			ds, err := decodeChunk(batch[i].op, batch[i].chunk, values)
			if err != nil {
				return out, err
			}
			for _, places := range batch[i].places {
				for n := places.First; n <= places.Last && n < len(ds); n++ {
					out.Counts.Count(ds[n].State)
					meter.add(ds[n])
				}
			}
		}
	}
	out.Pace = meter.pace(out.Open())
	return out, nil
}
