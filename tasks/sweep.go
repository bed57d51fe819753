package tasks

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// abandonedAfter is how long a request may take to be written before it counts
// as one whose producer died.
const abandonedAfter = 10 * time.Minute

// OpenChunk is a chunk with work left.
type OpenChunk struct {
	Operation  Operation
	Number     int
	Generation int
}

// TaskID is the id of the chunk's current asynq task.
func (c OpenChunk) TaskID() string {
	return Payload{Operation: c.Operation.ID, Chunk: c.Number, Generation: c.Generation}.TaskID()
}

// Swept is what a sweep found.
type Swept struct {
	Chunks []OpenChunk // with work left
	Ended  []Operation // closed by this sweep, and by nobody else
	Next   int         // the offset to go on from, 0 after the last
}

// Sweep looks at up to size open operations from an offset, closes those that
// have ended, removes those that were never accepted, and sees to it that what is
// not proven is followed.
func (r *Record) Sweep(ctx context.Context, now time.Time, offset, size int) (out Swept, err error) {
	zs, err := r.rdb.ZRangeWithScores(ctx, r.keys.openOps(), int64(offset), int64(offset+size-1)).Result()
	if err != nil {
		return Swept{}, fmt.Errorf("sweeping open operations: %w", err)
	}
	ids := make([]string, len(zs))
	for i, z := range zs {
		ids[i] = z.Member.(string)
	}
	ops, err := r.operations(ctx, ids)
	if err != nil {
		return out, err
	}
	if out.Next = offset + len(zs); len(zs) < size {
		out.Next = 0
	}
	accepted := make(map[string]bool, len(ops))
	var open []Operation
	var ended []string
	for _, op := range ops {
		accepted[op.ID] = true
		if op.Done() {
			ended = append(ended, op.ID)
		} else {
			open = append(open, op)
		}
	}
	if out.Ended, err = r.Finish(ctx, ended); err != nil {
		return out, err
	}
	for _, z := range zs {
		id := z.Member.(string)
		if begun := time.UnixMilli(int64(z.Score)); !accepted[id] && now.Sub(begun) > abandonedAfter {
			if err := r.remove(ctx, id); err != nil {
				return out, err
			}
		}
	}
	if err := r.mendFollow(ctx, now, open); err != nil {
		return out, err
	}
	out.Chunks, err = r.openChunks(ctx, open)
	return out, err
}

func (r *Record) openChunks(ctx context.Context, ops []Operation) ([]OpenChunk, error) {
	var out []OpenChunk
	for _, op := range ops {
		left, err := r.rdb.HKeys(ctx, r.keys.open(op.ID)).Result()
		if err != nil {
			return nil, fmt.Errorf("sweeping operation %s: %w", op.ID, err)
		}
		if len(left) == 0 {
			continue
		}
		fields := make([]string, len(left))
		for i, n := range left {
			fields[i] = generationField + n
		}
		gens, err := r.rdb.HMGet(ctx, r.keys.op(op.ID), fields...).Result()
		if err != nil {
			return nil, fmt.Errorf("sweeping operation %s: %w", op.ID, err)
		}
		for i, n := range left {
			number_, err := strconv.Atoi(n)
			if err != nil {
				return nil, fmt.Errorf("operation %s has an open chunk %q", op.ID, n)
			}
			if number_ < op.Chunks() { // else it was found after op was read, and is looked at next time
				out = append(out, OpenChunk{Operation: op, Number: number_, Generation: int(number(gens[i]))})
			}
		}
	}
	return out, nil
}

// Expire removes up to limit operations whose retention is over, each whole,
// and returns how many.
func (r *Record) Expire(ctx context.Context, now time.Time, limit int) (int, error) {
	ids, err := r.rdb.ZRangeByScore(ctx, r.keys.endedOps(), &redis.ZRangeBy{
		Min: "-inf", Max: formatMS(now.Add(-r.retention)), Count: int64(limit),
	}).Result()
	if err != nil {
		return 0, fmt.Errorf("expiring operations: %w", err)
	}
	for i, id := range ids {
		if err := r.remove(ctx, id); err != nil {
			return i, err
		}
	}
	return len(ids), nil
}

// remove deletes everything of an operation. It is hidden first and leaves the
// indexes that name it last, so that a crash in between is resumed.
func (r *Record) remove(ctx context.Context, id string) error {
	fail := func(err error) error { return fmt.Errorf("removing operation %s: %w", id, err) }
	v, err := r.rdb.HMGet(ctx, r.keys.op(id), fieldOperation, fieldFound, fieldIndex).Result()
	if err != nil {
		return fail(err)
	}
	meta, _ := v[0].(string)
	var op Operation
	var index indexed
	chunks := MaxDesktops / ChunkSize // of one that was never accepted the size is not known
	if meta != "" {
		if err := decodeJSON(meta, &op); err != nil {
			return fail(err)
		}
		if err := op.addFound(v[1]); err != nil {
			return fail(err)
		}
		chunks, index = op.Chunks(), indexedOf(op)
	} else if s, begun := v[2].(string); begun {
		if err := decodeJSON(s, &index); err != nil {
			return fail(err)
		}
	}
	if err := r.rdb.HSet(ctx, r.keys.op(id), fieldExpired, 1).Err(); err != nil {
		return fail(err)
	}
	if err := r.unindexOperation(ctx, id, index); err != nil {
		return fail(err)
	}
	if meta != "" {
		if err := r.leaveInbox(ctx, op); err != nil {
			return fail(err)
		}
	}
	indexed, err := r.loggedBuckets(ctx, id)
	if err != nil {
		return fail(err)
	}
	chunks, err = r.bucketsOf(ctx, id, chunks, meta != "", indexed)
	if err != nil {
		return fail(err)
	}
	if err := r.unindex(ctx, id, indexed); err != nil {
		return fail(err)
	}
	for end := chunks; end > 0; end -= 64 { // the last first, as a next try begins at the first
		_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for n := end - 1; n >= max(0, end-64); n-- {
				p.Unlink(ctx, r.keys.chunk(id, n), r.keys.trail(id, n))
			}
			return nil
		})
		if err != nil {
			return fail(err)
		}
	}
	_, err = r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Unlink(ctx, r.keys.open(id), r.keys.unproven(id), r.keys.calls(id), r.keys.errors(id), r.keys.logged(id), r.keys.op(id))
		p.ZRem(ctx, r.keys.openOps(), id)
		p.ZRem(ctx, r.keys.endedOps(), id)
		return nil
	})
	if err != nil {
		return fail(err)
	}
	return nil
}

// bucketsOf adds the buckets of the index of desktops that an operation's chunks are
// in. Where it is not known that there are so many it ends with the first that is
// not there; it gives how many there are.
func (r *Record) bucketsOf(ctx context.Context, id string, chunks int, all bool, into buckets) (int, error) {
	for first := 0; first < chunks; first += 64 {
		end := min(first+64, chunks)
		cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for n := first; n < end; n++ {
				p.HKeys(ctx, r.keys.chunk(id, n))
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
		for i, cmd := range cmds {
			rows := cmd.(*redis.StringSliceCmd).Val()
			if len(rows) == 0 && !all {
				return first + i, nil
			}
			for _, row := range rows {
				into.history[bucketOf(row)] = true
			}
		}
	}
	return chunks, nil
}
