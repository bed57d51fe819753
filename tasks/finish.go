package tasks

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Finish closes those of the given operations whose last open work is done, and
// returns them: their trails are sealed, their failures are indexed once more,
// whole, which mends an index that a crash left short, and they leave the list
// of open operations.
// Harmless to repeat.
func (r *Record) Finish(ctx context.Context, ids []string) ([]Operation, error) {
	ops, err := r.operations(ctx, ids)
	if err != nil {
		return nil, err
	}
	var ended []Operation
	failed := map[failureGroup][]redis.Z{}
	for _, op := range ops {
		if !op.Done() {
			continue
		}
		ended = append(ended, op)
		if op.Counts.Failed+op.Counts.Held > 0 {
			if err := r.collectFailures(ctx, op, failed); err != nil {
				return nil, err
			}
		}
	}
	if len(ended) == 0 {
		return nil, nil
	}
	seals, err := r.heads(ctx, ended)
	if err != nil {
		return nil, fmt.Errorf("finishing %d operations: %w", len(ended), err)
	}
	_, err = r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		r.indexFailures(ctx, p, failed)
		for i, op := range ended {
			ended[i].Seal = seals[op.ID]
			p.HSet(ctx, r.keys.op(op.ID), fieldSeal, seals[op.ID])
			p.ZAdd(ctx, r.keys.endedOps(), redis.Z{Score: float64(op.EndedAt.UnixMilli()), Member: op.ID})
			p.ZRem(ctx, r.keys.openOps(), op.ID)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("finishing %d operations: %w", len(ended), err)
	}
	return ended, nil
}

func (r *Record) collectFailures(ctx context.Context, op Operation, into map[failureGroup][]redis.Z) error {
	all, err := r.rdb.HGetAll(ctx, r.keys.errors(op.ID)).Result()
	if err != nil {
		return fmt.Errorf("finishing operation %s: %w", op.ID, err)
	}
	for id, value := range all {
		f, final, err := decodeFailure(op.ID, op.Project, id, value)
		if err != nil {
			return err
		}
		if final {
			g := groupOf(op.Project, f)
			into[g] = append(into[g], redis.Z{Score: float64(f.At.UnixMilli()), Member: failureMember(op.ID, id)})
		}
	}
	return nil
}

// Cancel takes back what has not been sent: queued and held desktops become
// cancelled. tooLate counts those that were sent, or had ended, before. by is
// who cancels, for the trail.
func (r *Record) Cancel(ctx context.Context, op Operation, now time.Time, by string) (cancelled, tooLate int, err error) {
	for n := range op.Chunks() {
		// What is being sent at this moment may come back to queued; a second
		// look catches what moved between reading and writing.
		for range 2 {
			c, err := r.Chunk(ctx, op.ID, n)
			if err != nil {
				return cancelled, tooLate, err
			}
			if err := r.addFailures(ctx, op, c.Desktops); err != nil {
				return cancelled, tooLate, err
			}
			ch := Change{Operation: op, Chunk: n, By: by}
			held := map[failureGroup][]any{}
			for _, d := range c.Desktops {
				if d.State.CanMove(Cancelled) {
					ch.Moves = append(ch.Moves, Move{Desktop: d, To: Cancelled, Attempts: d.Attempts, CallID: d.CallID})
					if d.State == Held && d.Failure != nil {
						g := groupOf(op.Project, *d.Failure)
						held[g] = append(held[g], failureMember(op.ID, d.ID))
					}
				}
			}
			if len(ch.Moves) == 0 {
				break
			}
			done, err := r.apply(ctx, now, []Change{ch}, nil, func(p redis.Pipeliner) {
				for g, members := range held {
					p.ZRem(ctx, r.keys.failures(g), members...)
				}
			})
			if err != nil {
				return cancelled, tooLate, err
			}
			for _, d := range done[0].Desktops {
				if d.ID != "" {
					cancelled++
				}
			}
			if done[0].Ended {
				if _, err := r.Finish(ctx, []string{op.ID}); err != nil {
					return cancelled, tooLate, err
				}
			}
		}
	}
	after, err := r.Operation(ctx, op.ID)
	return cancelled, after.Total - after.Counts.Cancelled, err
}
