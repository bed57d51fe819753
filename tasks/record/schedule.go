package record

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Scheduled operations are in an index by their start, negated so that the next start is
// read first. Operations stay in it until they end; those after the present time are the
// scheduled ones.

// schedule enters an operation that is about to be accepted, if it starts later.
func (r *Record) schedule(ctx context.Context, op Operation) error {
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

func (r *Record) unschedule(ctx context.Context, p redis.Pipeliner, id, project string) {
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

// countScheduled counts a project's scheduled operations.
func (r *Record) countScheduled(ctx context.Context, p redis.Pipeliner, project string, now time.Time) *redis.IntCmd {
	return p.ZCount(ctx, r.keys.scheduled(project), "-inf", fmt.Sprintf("(%d", -now.UnixMilli()))
}
