package tasks

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Begin reads a chunk and enters it among what a worker has in hand, and takes
// those it is done with off that list, in one round trip. What a worker has in
// hand when it dies is taken up by another.
func (r *Record) Begin(ctx context.Context, worker string, p Payload, done []Payload) (Chunk, error) {
	return r.chunk(ctx, p.Operation, p.Chunk, func(pipe redis.Pipeliner) {
		pipe.SAdd(ctx, r.keys.runs(worker), chunkRef(p))
		if len(done) > 0 {
			pipe.SRem(ctx, r.keys.runs(worker), chunkRefs(done)...)
		}
	})
}

// End says that a worker no longer has chunks in hand. It may come late: a
// chunk that is taken up again without need has nothing left to do.
func (r *Record) End(ctx context.Context, worker string, done []Payload) error {
	if len(done) == 0 {
		return nil
	}
	if err := r.rdb.SRem(ctx, r.keys.runs(worker), chunkRefs(done)...).Err(); err != nil {
		return fmt.Errorf("ending %d chunks: %w", len(done), err)
	}
	return nil
}

func chunkRef(p Payload) string { return p.TaskID() }

func chunkRefs(ps []Payload) []any {
	out := make([]any, len(ps))
	for i, p := range ps {
		out[i] = chunkRef(p)
	}
	return out
}

// Lead makes the worker the one that sweeps, for ttl, if none is or it is
// already.
func (r *Record) Lead(ctx context.Context, worker string, ttl time.Duration) (bool, error) {
	won, err := r.rdb.SetNX(ctx, r.keys.leader(), worker, ttl).Result()
	if err != nil || won {
		return won, err
	}
	// Renewing what may just have passed to another leads to two sweeps at a
	// time, which is harmless.
	holder, err := r.rdb.Get(ctx, r.keys.leader()).Result()
	if err != nil || holder != worker {
		return false, nil
	}
	return true, r.rdb.PExpire(ctx, r.keys.leader(), ttl).Err()
}

// Rejected is a queue message that could not be read.
type Rejected struct {
	Queue   string    `json:"queue"`
	TaskID  string    `json:"task_id"`
	Payload string    `json:"payload"` // as Go-quoted text, shortened
	Reason  string    `json:"reason"`
	At      time.Time `json:"at"`
}

const rejectedKept = 1000

// Reject records a queue message that could not be read; the latest 1,000 are
// kept.
func (r *Record) Reject(ctx context.Context, x Rejected) error {
	x.Payload = fmt.Sprintf("%.500q", x.Payload)
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.LPush(ctx, r.keys.rejected(), mustJSON(x))
		p.LTrim(ctx, r.keys.rejected(), 0, rejectedKept-1)
		return nil
	})
	if err != nil {
		return fmt.Errorf("recording an unreadable task: %w", err)
	}
	return nil
}

// Rejects lists queue messages that could not be read, the latest first.
func (r *Record) Rejects(ctx context.Context) ([]Rejected, error) {
	vs, err := r.rdb.LRange(ctx, r.keys.rejected(), 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("reading unreadable tasks: %w", err)
	}
	out := make([]Rejected, len(vs))
	for i, v := range vs {
		if err := decodeJSON(v, &out[i]); err != nil {
			return nil, fmt.Errorf("reading unreadable tasks: %w", err)
		}
	}
	return out, nil
}

// Beat says that a worker is alive.
func (r *Record) Beat(ctx context.Context, worker string) error {
	now, err := r.rdb.Time(ctx).Result() // one clock for all workers
	if err == nil {
		err = r.rdb.ZAdd(ctx, r.keys.workers(), redis.Z{Score: float64(now.UnixMilli()), Member: worker}).Err()
	}
	if err != nil {
		return fmt.Errorf("heartbeat of worker %s: %w", worker, err)
	}
	return nil
}

// Worker is a worker process as the record knows it.
type Worker struct {
	ID       string
	LastBeat time.Time
	Silent   time.Duration // since the last beat, by Redis' clock
}

// Workers lists the workers that have beaten and not left.
func (r *Record) Workers(ctx context.Context) ([]Worker, error) {
	now, err := r.rdb.Time(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("listing workers: %w", err)
	}
	zs, err := r.rdb.ZRangeWithScores(ctx, r.keys.workers(), 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("listing workers: %w", err)
	}
	out := make([]Worker, len(zs))
	for i, z := range zs {
		beat := time.UnixMilli(int64(z.Score)).UTC()
		out[i] = Worker{ID: z.Member.(string), LastBeat: beat, Silent: now.Sub(beat)}
	}
	return out, nil
}

// InHand lists the chunks that a worker has in hand.
func (r *Record) InHand(ctx context.Context, worker string) ([]Payload, error) {
	refs, err := r.rdb.SMembers(ctx, r.keys.runs(worker)).Result()
	if err != nil {
		return nil, fmt.Errorf("reading what worker %s has in hand: %w", worker, err)
	}
	out := make([]Payload, 0, len(refs))
	for _, ref := range refs {
		f := strings.Split(ref, ":")
		if len(f) != 3 {
			continue
		}
		n, err1 := strconv.Atoi(f[1])
		g, err2 := strconv.Atoi(f[2])
		if err1 == nil && err2 == nil {
			out = append(out, Payload{Operation: f[0], Chunk: n, Generation: g})
		}
	}
	return out, nil
}

// Leave forgets a worker that stopped in good order, or whose work was taken
// up: its claims are released and it is no longer listed.
func (r *Record) Leave(ctx context.Context, worker string) error {
	projects, err := r.Projects(ctx)
	if err != nil {
		return err
	}
	for _, p := range projects {
		if err := r.releaseAll(ctx, p, worker); err != nil {
			return err
		}
	}
	_, err = r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Del(ctx, r.keys.runs(worker))
		p.ZRem(ctx, r.keys.workers(), worker)
		return nil
	})
	if err != nil {
		return fmt.Errorf("forgetting worker %s: %w", worker, err)
	}
	return nil
}
