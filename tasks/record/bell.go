package record

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/tasks/queue"
)

// A bell tells workers that something was queued, so that they need not poll queues that are
// empty. It is one stream, of which every worker reads everything:
//
//   - A ring follows the write that it announces. A worker that hears it finds the work in its queue.
//   - RingLasts: a process that has rung for a project does not ring again for work that is due
//     no earlier, for RingLasts. So a worker that heard a ring and serves the project has to do so
//     for longer than that, and must then look at the queues once more before it leaves them. One
//     that leaves the project to others has to look when RingLasts is over. Any work that was
//     queued without a ring was queued before that look, which finds it. A worker that starts, or
//     was out of touch with Redis, hears the rings of the last RingHeard again.
//   - A ring may get lost: its process died before it, a failover took it, the stream was cut.
//     Nothing else is lost with it: the leader's sweep finds the chunk, and rings.
const (
	RingLasts = 5 * time.Second
	RingHeard = 30 * time.Second // RingLasts, 20 s in earlier versions, and what clocks may differ
	ringsKept = 10_000
	ringsRead = 1000 // at a time
)

// Ring is what a bell tells.
type Ring struct {
	Project string    // empty: all
	Queue   Queue     // the queue that has work; empty: workers that serve the project look at its Due
	At      time.Time // when the work is due; zero: now
}

// Ring tells all workers. An error means that they may not have heard it.
func (r *Record) Ring(ctx context.Context, rings ...Ring) error {
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, x := range rings {
			at := int64(0)
			if !x.At.IsZero() {
				at = x.At.UnixMilli()
			}
			p.XAdd(ctx, &redis.XAddArgs{
				Stream: r.keys.bell(), MaxLen: ringsKept, Approx: true,
				Values: []any{"project", x.Project, "queue", string(x.Queue), "at", at},
			})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("ringing for workers: %w", err)
	}
	return nil
}

// BellSince returns where to hear the rings from that are at most so old, by Redis' clock.
func (r *Record) BellSince(ctx context.Context, old time.Duration) (string, error) {
	now, err := r.rdb.Time(ctx).Result()
	if err != nil {
		return "", fmt.Errorf("asking for the time of Redis: %w", err)
	}
	return strconv.FormatInt(now.Add(-old).UnixMilli(), 10) + "-0", nil
}

// Hear waits for rings after a position, and returns them with the next position. Without a
// ring it returns none when the wait is over. The end of ctx does not interrupt it.
func (r *Record) Hear(ctx context.Context, after string, wait time.Duration) ([]Ring, string, error) {
	streams, err := r.rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{r.keys.bell(), after}, Count: ringsRead, Block: wait}).Result()
	if errors.Is(err, redis.Nil) {
		return nil, after, nil
	}
	if err != nil {
		return nil, after, fmt.Errorf("waiting for work: %w", err)
	}
	var out []Ring
	for _, s := range streams {
		for _, m := range s.Messages {
			project, _ := m.Values["project"].(string)
			kind, _ := m.Values["queue"].(string)
			x := Ring{Project: project, Queue: Queue(kind)}
			if ms := number(m.Values["at"]); ms > 0 {
				x.At = time.UnixMilli(ms)
			}
			out, after = append(out, x), m.ID
		}
	}
	return out, after, nil
}

// dueBatch is the number of projects whose queues are looked at in one round trip.
const dueBatch = 50

// Work is what a project has to do. Tasks that a worker has in hand do not count.
type Work struct {
	Waiting int       // tasks that may be taken now
	Due     time.Time // of the first task, or desktop to be confirmed; zero: none; in the past if a task waits
}

// Due looks at the queues of projects, and at their desktops to be confirmed.
func (r *Record) Due(ctx context.Context, projects []string) (map[string]Work, error) {
	out := make(map[string]Work, len(projects))
	for len(projects) > 0 {
		some := take(&projects, dueBatch)
		waiting := make([][]*redis.IntCmd, len(some))
		first := make([][]*redis.ZSliceCmd, len(some))
		_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, alias := range some {
				for _, q := range []Queue{UrgentQueue, SmallQueue, BulkQueue} {
					keys := queue.KeysOf(r.keys.queue(alias, q))
					waiting[i] = append(waiting[i], p.LLen(ctx, keys.Pending()))
					for _, key := range keys.Later() {
						first[i] = append(first[i], p.ZRangeWithScores(ctx, key, 0, 0))
					}
				}
				first[i] = append(first[i], p.ZRangeWithScores(ctx, r.keys.follow(alias), 0, 0))
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("looking for work of %d projects: %w", len(some), err)
		}
		for i, alias := range some {
			out[alias] = workOf(waiting[i], first[i])
		}
	}
	return out, nil
}

// workOf is Due of one project. asynq's times are seconds, those of readings, the last of
// the list, are milliseconds.
func workOf(waiting []*redis.IntCmd, first []*redis.ZSliceCmd) (w Work) {
	for _, n := range waiting {
		w.Waiting += int(n.Val())
	}
	if w.Waiting > 0 {
		w.Due = time.Unix(1, 0)
		return w
	}
	for i, z := range first {
		if len(z.Val()) == 0 {
			continue
		}
		at := time.Unix(int64(z.Val()[0].Score), 0)
		if i == len(first)-1 {
			at = time.UnixMilli(int64(z.Val()[0].Score))
		}
		if w.Due.IsZero() || at.Before(w.Due) {
			w.Due = at
		}
	}
	return w
}

// ringer rings for what a Producer has queued.
type ringer struct {
	record *Record
	now    func() time.Time

	mu   sync.Mutex
	last map[string]rung // by project
}

// rung is a ring that Redis has confirmed.
type rung struct {
	sent, due time.Time
}

// ring tells workers of a chunk that is in a queue, due at a time; zero: now. An error is
// ignored: the chunk is queued, and a sweep rings again.
func (b *ringer) ring(ctx context.Context, project string, q Queue, at time.Time) {
	now := b.now()
	if q != UrgentQueue && b.lasts(project, at, now) {
		return
	}
	if b.record.Ring(ctx, Ring{Project: project, Queue: q, At: at}) == nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.last[project] = rung{sent: now, due: at}
	}
}

// lasts reports whether workers that heard the last ring will find what is due at a time.
func (b *ringer) lasts(project string, at, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	last, ok := b.last[project]
	return ok && !at.Before(last.due) && now.Sub(last.sent) < RingLasts
}
