package record

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/queue"
)

// Run is one run of a chunk by a worker.
type Run struct {
	queue.Payload
	Mark string // distinguishes runs of the chunk by the same worker; has no colon
}

// ref is the entry of a run in its worker's list.
func (x Run) ref() string { return x.TaskID() + ":" + x.Mark }

// Begin reads the chunks of runs, in their order, adds the runs to the list of the worker, and
// removes those that are done, in one round trip. Chunks that have moved before take another one. A
// chunk whose operation is gone is zero. When a worker dies, another runs the chunks in its list
// again.
func (r *Record) Begin(ctx context.Context, worker string, runs, done []Run) ([]Chunk, error) {
	refs := make([]chunkID, len(runs))
	for i, run := range runs {
		refs[i] = chunkID{run.Operation, run.Chunk}
	}
	return r.chunksWith(ctx, refs, func(pipe redis.Pipeliner) {
		pipe.SAdd(ctx, r.keys.runs(worker), runRefs(runs)...)
		if len(done) > 0 {
			pipe.SRem(ctx, r.keys.runs(worker), runRefs(done)...)
		}
	})
}

// Keep makes the list of a worker's runs equal to inHand, which is called after the list was
// read. A failover may have restored entries that were removed, or lost new ones.
func (r *Record) Keep(ctx context.Context, worker string, inHand func() []Run) error {
	fail := func(err error) error { return fmt.Errorf("updating the runs of worker %s: %w", worker, err) }
	listed, err := r.rdb.SMembers(ctx, r.keys.runs(worker)).Result()
	if err != nil {
		return fail(err)
	}
	over := make(map[string]bool, len(listed))
	for _, ref := range listed {
		over[ref] = true
	}
	var missing, left []any
	for _, run := range inHand() {
		if !over[run.ref()] {
			missing = append(missing, run.ref())
		}
		delete(over, run.ref())
	}
	for ref := range over {
		left = append(left, ref)
	}
	if len(missing)+len(left) == 0 {
		return nil
	}
	_, err = r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		if len(missing) > 0 {
			p.SAdd(ctx, r.keys.runs(worker), missing...)
		}
		if len(left) > 0 {
			p.SRem(ctx, r.keys.runs(worker), left...)
		}
		return nil
	})
	if err != nil {
		return fail(err)
	}
	return nil
}

func runRefs(runs []Run) []any {
	out := make([]any, len(runs))
	for i, x := range runs {
		out[i] = x.ref()
	}
	return out
}

// Lead makes the worker the leader, which sweeps, for ttl, unless another worker is.
func (r *Record) Lead(ctx context.Context, worker string, ttl time.Duration) (bool, error) {
	holder, err := r.rdb.Get(ctx, r.keys.leader()).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return r.rdb.SetNX(ctx, r.keys.leader(), worker, ttl).Result()
	case err != nil || holder != worker:
		return false, err
	}
	// Another worker may just have become the leader. Renewing then leads to two sweeps at
	// a time, which is harmless.
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

// Reject records a queue message that could not be read; the latest 1,000 are kept.
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

var scriptBeat = script("beat", "clock")

// Beat records that a worker is alive. It returns the time of Redis.
func (r *Record) Beat(ctx context.Context, worker string) (time.Time, error) {
	v, err := r.runScript(ctx, scriptBeat, []string{r.keys.workers()}, worker)
	if err != nil {
		return time.Time{}, fmt.Errorf("heartbeat of worker %s: %w", worker, err)
	}
	ms, _ := v.(int64)
	return time.UnixMilli(ms).UTC(), nil
}

// Workers lists the workers that have sent a heartbeat and not left.
func (r *Record) Workers(ctx context.Context) ([]tasks.Worker, error) {
	now, err := r.rdb.Time(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("listing workers: %w", err)
	}
	zs, err := r.rdb.ZRangeWithScores(ctx, r.keys.workers(), 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("listing workers: %w", err)
	}
	out := make([]tasks.Worker, len(zs))
	for i, z := range zs {
		beat := time.UnixMilli(int64(z.Score)).UTC()
		out[i] = tasks.Worker{ID: z.Member.(string), LastBeat: beat, Silent: now.Sub(beat)}
	}
	return out, nil
}

// InHand lists the chunks that workers are running, each once, in one round trip.
func (r *Record) InHand(ctx context.Context, workers ...string) ([]queue.Payload, error) {
	if len(workers) == 0 {
		return nil, nil
	}
	cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, w := range workers {
			p.SMembers(ctx, r.keys.runs(w))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the runs of %d workers: %w", len(workers), err)
	}
	var out []queue.Payload
	seen := map[queue.Payload]bool{}
	for _, cmd := range cmds {
		for _, ref := range cmd.(*redis.StringSliceCmd).Val() {
			if p, ok := payloadOf(ref); ok && !seen[p] {
				seen[p] = true
				out = append(out, p)
			}
		}
	}
	return out, nil
}

// payloadOf parses a Run.ref. One without a mark is from an earlier version.
func payloadOf(ref string) (queue.Payload, bool) {
	f := strings.Split(ref, ":")
	if len(f) < 3 {
		return queue.Payload{}, false
	}
	n, err1 := strconv.Atoi(f[1])
	g, err2 := strconv.Atoi(f[2])
	return queue.Payload{Operation: f[0], Chunk: n, Generation: g}, err1 == nil && err2 == nil
}

// Leave removes a worker that stopped cleanly, or whose chunks were enqueued again. Its claims
// last until the lease ends.
func (r *Record) Leave(ctx context.Context, worker string) error {
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Del(ctx, r.keys.runs(worker))
		p.ZRem(ctx, r.keys.workers(), worker)
		p.HDel(ctx, r.keys.serving(), worker)
		return nil
	})
	if err != nil {
		return fmt.Errorf("removing worker %s: %w", worker, err)
	}
	return nil
}
