package record

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/tasks/queue"
)

// abandonedAfter is how long writing a request may take. After that its producer counts as
// dead.
const abandonedAfter = 10 * time.Minute

// OpenChunk is a chunk with work left. Those of an operation share it: a large one has a thousand.
type OpenChunk struct {
	Operation  *Operation
	Number     int
	Generation int
}

// TaskID is the id of the chunk's current asynq task.
func (c OpenChunk) TaskID() string {
	return queue.Payload{Operation: c.Operation.ID, Chunk: c.Number, Generation: c.Generation}.TaskID()
}

// Swept is what a sweep found.
type Swept struct {
	Open   []Operation // those that it has seen
	Chunks []OpenChunk // of these, with work left
	Ended  []Operation // closed by this sweep, and by no other
	Next   int         // the offset to go on from, 0 after the last
}

// sweepGroup is the number of operations that are read at once, and finishChunks about the
// number of chunks of ended operations that are sealed at once.
const (
	sweepGroup   = 200
	finishChunks = 256
)

// within returns a function that reports whether a budget is used up; 0: never.
func within(budget time.Duration) (over func() bool) {
	begun := time.Now()
	return func() bool { return budget > 0 && time.Since(begun) >= budget }
}

// Sweep reads up to size open operations from an offset, closes those that have ended, removes
// those that were never accepted, and follows unconfirmed desktops that are not followed. When
// the budget (0: unlimited) is used up it stops, and Next is the offset to continue from. It
// takes about ten round trips per 200 operations, and more if large ones have ended.
func (r *Record) Sweep(ctx context.Context, now time.Time, offset, size int, budget time.Duration) (out Swept, err error) {
	over := within(budget)
	zs, err := r.rdb.ZRangeWithScores(ctx, r.keys.openOps(), int64(offset), int64(offset+size-1)).Result()
	if err != nil {
		return Swept{}, fmt.Errorf("sweeping open operations: %w", err)
	}
	out.Next = offset
	for group := range slices.Chunk(zs, sweepGroup) {
		gone, whole, err := r.sweepGroup(ctx, now, group, over, &out)
		if err != nil || !whole {
			return out, err
		}
		if out.Next += len(group) - gone; over() {
			return out, nil
		}
	}
	if len(zs) < size {
		out.Next = 0
	}
	return out, nil
}

// sweepGroup sweeps some operations. gone is the number that it removed from the list; whole
// is false if it ran out of time before it had read all.
func (r *Record) sweepGroup(
	ctx context.Context, now time.Time, zs []redis.Z, over func() bool, out *Swept,
) (gone int, whole bool, err error) {
	ids := make([]string, len(zs))
	for i, z := range zs {
		ids[i] = z.Member.(string)
	}
	ops, err := r.operations(ctx, ids)
	if err != nil {
		return 0, false, err
	}
	accepted := make(map[string]bool, len(ops))
	var open, ended []Operation
	for _, op := range ops {
		accepted[op.ID] = true
		if op.Done() {
			ended = append(ended, op)
		} else {
			open = append(open, op)
		}
	}
	var abandoned []string
	for _, z := range zs {
		id := z.Member.(string)
		if begun := time.UnixMilli(int64(z.Score)); !accepted[id] && now.Sub(begun) > abandonedAfter {
			abandoned = append(abandoned, id)
		}
	}
	for len(ended) > 0 {
		n := fewChunks(ended)
		closed, err := r.Finish(ctx, idsOf(ended[:n]))
		out.Ended = append(out.Ended, closed...)
		if err != nil {
			return 0, false, err
		}
		if ended = ended[n:]; len(ended) > 0 && over() {
			return 0, false, nil
		}
	}
	removed, err := r.removeAll(ctx, now, abandoned)
	if err != nil {
		return 0, false, err
	}
	chunks, err := r.openWork(ctx, now, open)
	out.Open, out.Chunks = append(out.Open, open...), append(out.Chunks, chunks...)
	return len(ops) - len(open) + removed, err == nil, err
}

// fewChunks is the number of operations to process at once so that they have few chunks; at
// least one.
func fewChunks(ops []Operation) int {
	chunks := 0
	for i, op := range ops {
		if chunks += op.Chunks(); i > 0 && chunks > finishChunks {
			return i
		}
	}
	return len(ops)
}

func idsOf(ops []Operation) []string {
	out := make([]string, len(ops))
	for i, op := range ops {
		out[i] = op.ID
	}
	return out
}

// openWork returns the chunks of open operations that have work left. It also follows
// unconfirmed desktops that are not followed, as after a crash between the two writes, or after
// Redis lost the second. It takes two round trips.
func (r *Record) openWork(ctx context.Context, now time.Time, ops []Operation) ([]OpenChunk, error) {
	if len(ops) == 0 {
		return nil, nil
	}
	fail := func(err error) ([]OpenChunk, error) {
		return nil, fmt.Errorf("sweeping %d open operations: %w", len(ops), err)
	}
	left, unproven := make([]*redis.StringSliceCmd, len(ops)), make([]*redis.StringSliceCmd, len(ops))
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, op := range ops {
			left[i], unproven[i] = p.HKeys(ctx, r.keys.open(op.ID)), p.HKeys(ctx, r.keys.unproven(op.ID))
		}
		return nil
	})
	if err != nil {
		return fail(err)
	}
	var out []OpenChunk
	var generations []*redis.SliceCmd
	var waiting []Operation
	_, err = r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, op := range ops {
			var fields []string
			if op.AwaitsApproval() && now.Before(op.Clearance.ExpiresAt) {
				waiting = append(waiting, op)
				left[i].SetVal(nil) // it has no tasks until a person decides
			} else if op.clearance != "" || op.requeued > 0 {
				r.unwait(ctx, p, op) // who answered, or retried, may have died before it did
			}
			if op.CanaryPending() && op.Stopped() == "" && now.Before(op.Deadline) {
				left[i].SetVal(op.inTurn(left[i].Val()))
			}
			for _, s := range left[i].Val() {
				n, err := strconv.Atoi(s)
				if err != nil {
					return fmt.Errorf("operation %s has the invalid open chunk %q", op.ID, s)
				}
				if n < op.Chunks() { // else it was added after op was read: the next sweep reads it
					out = append(out, OpenChunk{Operation: &ops[i], Number: n})
					fields = append(fields, generationField+s)
				}
			}
			if len(fields) > 0 {
				generations = append(generations, p.HMGet(ctx, r.keys.op(op.ID), fields...))
			}
			var zs []redis.Z
			for _, chunk := range unproven[i].Val() {
				zs = append(zs, redis.Z{Score: float64(now.UnixMilli()), Member: op.ID + ":" + chunk})
			}
			if len(zs) > 0 {
				p.ZAddNX(ctx, r.keys.follow(op.Project), zs...)
			}
		}
		return nil
	})
	if err == nil {
		err = r.await(ctx, waiting) // a failover may have lost it, or the process that asked died
	}
	if err != nil {
		return fail(err)
	}
	i := 0
	for _, cmd := range generations {
		for _, v := range cmd.Val() {
			out[i].Generation = int(number(v))
			i++
		}
	}
	return out, nil
}
