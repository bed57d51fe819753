package record

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/tasks"
)

// Scheduled operations are in an index by their start, negated so that the next start is
// read first. Operations stay in it until they end; those after the present time are the
// scheduled ones.

// enterScheduled enters an operation that is about to be accepted, if it starts later.
func (r *Record) enterScheduled(ctx context.Context, op Operation) error {
	if !op.NotBefore.After(op.AcceptedAt) {
		return nil
	}
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, project := range []string{"", op.Project} {
			p.ZAdd(ctx, r.keys.scheduled(project), redis.Z{Score: float64(-ceilMS(op.NotBefore)), Member: op.ID})
		}
		return nil
	})
	return err
}

func (r *Record) leaveScheduled(ctx context.Context, p redis.Pipeliner, id, project string) {
	p.ZRem(ctx, r.keys.scheduled(""), id)
	if project != "" {
		p.ZRem(ctx, r.keys.scheduled(project), id)
	}
}

// started returns the entries whose operations are not scheduled, without reading the
// operations.
func (r *Record) started(ctx context.Context, entries []place, now time.Time) ([]place, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	ids := make([]string, len(entries))
	for i, x := range entries {
		ids[i] = x.member
	}
	scores, err := r.rdb.ZMScore(ctx, r.keys.scheduled(""), ids...).Result()
	if err != nil {
		return nil, fmt.Errorf("reading the scheduled operations: %w", err)
	}
	out := make([]place, 0, len(entries))
	for i, x := range entries {
		if int64(scores[i]) >= -now.UnixMilli() { // 0: it never was scheduled
			out = append(out, x)
		}
	}
	return out, nil
}

// countScheduled counts a project's scheduled operations; before is of their start, zero: all.
func (r *Record) countScheduled(ctx context.Context, p redis.Pipeliner, project string, now, before time.Time) *redis.IntCmd {
	low := "-inf"
	if !before.IsZero() {
		low = fmt.Sprintf("(%d", -before.UnixMilli())
	}
	return p.ZCount(ctx, r.keys.scheduled(project), low, fmt.Sprintf("(%d", -now.UnixMilli()))
}

// startingBefore returns the scheduled operations that start before t, openCounted at most, the
// earliest first.
func (r *Record) startingBefore(ctx context.Context, now, t time.Time) ([]place, error) {
	zs, err := r.rdb.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{
		Key: r.keys.scheduled(""), ByScore: true, Rev: true, Count: openCounted,
		Start: fmt.Sprintf("(%d", -now.UnixMilli()), Stop: fmt.Sprintf("(%d", -t.UnixMilli()), // highest first
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("reading the scheduled operations: %w", err)
	}
	out := make([]place, len(zs))
	for i, z := range zs {
		out[i] = place{int64(z.Score), z.Member.(string)}
	}
	return out, nil
}

// dueBefore lists unfinished operations that are due before f.DueBefore, the next first. There
// is no index of due times: it reads the running operations, openCounted at most, and those
// that start by then.
func (r *Record) dueBefore(ctx context.Context, f tasks.OperationFilter, size int, last place) (out []Operation, next string, err error) {
	running, _, err := r.running(ctx, f.Now)
	if err != nil {
		return nil, "", err
	}
	coming, err := r.startingBefore(ctx, f.Now, f.DueBefore)
	if err != nil {
		return nil, "", err
	}
	at := func(op Operation) place { return place{-ceilMS(op.DueAt), op.ID} }
	for some := range slices.Chunk(append(running, coming...), openBatch) {
		ops, err := r.operationsAt(ctx, some)
		if err != nil {
			return nil, "", err
		}
		for _, op := range ops {
			if !op.Done() && op.DueAt.Before(f.DueBefore) && matchesOperation(f, op) && comparePlaces(at(op), last) > 0 {
				out = append(out, op)
			}
		}
	}
	slices.SortFunc(out, func(a, b Operation) int { return comparePlaces(at(a), at(b)) })
	if len(out) > size {
		return out[:size], at(out[size-1]).token(), nil
	}
	return out, "", nil
}
