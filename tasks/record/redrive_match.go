package record

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/tasks"
)

// MatchRedrive counts the failures that a redrive would match, by project, class and code. It
// writes nothing. Errors: *ValidationError, ErrTooMany, those of Redis.
func (r *Record) MatchRedrive(ctx context.Context, q tasks.RedriveRequest) ([]tasks.FailureCount, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	found, err := r.matchRedrive(ctx, q)
	if err != nil {
		return nil, err
	}
	return countsOf(found), nil
}

// countsOf counts failures by project, class and code, the largest count first.
func countsOf(found []tasks.Failure) []tasks.FailureCount {
	counts := map[failureGroup]int{}
	for _, f := range found {
		counts[groupOf(f.Project, f)]++
	}
	return sortedCounts(counts)
}

// matchRedrive returns the failures that a valid request matches.
func (r *Record) matchRedrive(ctx context.Context, q tasks.RedriveRequest) ([]tasks.Failure, error) {
	all, err := r.failuresNamed(ctx, q.Desktops)
	if len(q.Desktops) == 0 {
		all, err = r.failuresMatching(ctx, perProject(q.Filter, q.Projects))
	}
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(f tasks.Failure) bool {
		return len(q.Projects) > 0 && !slices.Contains(q.Projects, f.Project) ||
			len(q.Desktops) == 0 && f.Class == tasks.ClassHeld && q.Filter.Class != tasks.ClassHeld
	}), nil
}

func (r *Record) failuresMatching(ctx context.Context, filters []tasks.FailureFilter) (all []tasks.Failure, err error) {
	for _, f := range filters {
		for token, more := "", true; more; more = token != "" {
			var page []tasks.Failure
			if page, token, err = r.Failures(ctx, f, 1000, token); err != nil {
				return nil, err
			}
			if all = append(all, page...); len(all) > tasks.MaxDesktops {
				return nil, tasks.ErrTooMany
			}
		}
	}
	return all, nil
}

// failuresNamed reads the failures of desktops. Desktops without one are skipped.
func (r *Record) failuresNamed(ctx context.Context, refs []tasks.DesktopRef) ([]tasks.Failure, error) {
	byOp := map[string][]string{}
	var ids []string
	for _, d := range refs {
		if byOp[d.OperationID] == nil {
			ids = append(ids, d.OperationID)
		}
		byOp[d.OperationID] = append(byOp[d.OperationID], d.DesktopID)
	}
	var out []tasks.Failure
	for batch := range slices.Chunk(ids, 500) {
		ops, err := r.operations(ctx, batch)
		if err != nil {
			return nil, err
		}
		cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, op := range ops {
				p.HMGet(ctx, r.keys.errors(op.ID), byOp[op.ID]...)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("reading failures: %w", err)
		}
		for i, cmd := range cmds {
			for j, v := range cmd.(*redis.SliceCmd).Val() {
				s, is := v.(string)
				if !is {
					continue
				}
				f, final, err := decodeFailure(ops[i].ID, ops[i].Project, byOp[ops[i].ID][j], s)
				if err != nil {
					return nil, err
				}
				if final {
					out = append(out, f)
				}
			}
		}
	}
	return out, nil
}

// locate reads the chunks of desktops, with the failures of those desktops. Operations that
// were removed are skipped.
func (r *Record) locate(ctx context.Context, items []tasks.RedriveItem) ([]Chunk, error) {
	ids := make([]string, len(items))
	for i, it := range items {
		ids[i] = it.DesktopID
	}
	entries, err := r.findRows(ctx, ids...)
	if err != nil {
		return nil, fmt.Errorf("finding desktops: %w", err)
	}
	var places []chunkID
	wanted := map[chunkID]map[string]bool{}
	for i, it := range items {
		for _, at := range chunksIn(entries[i]) {
			if at.op != it.OperationID {
				continue
			}
			if wanted[at] == nil {
				places, wanted[at] = append(places, at), map[string]bool{}
			}
			wanted[at][it.DesktopID] = true
		}
	}
	var out []Chunk
	for _, at := range places {
		c, err := r.Chunk(ctx, at.op, at.chunk)
		if errors.Is(err, tasks.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c.Desktops = slices.DeleteFunc(c.Desktops, func(d Row) bool { return !wanted[at][d.ID] })
		if err := r.addFailures(ctx, c.Operation, c.Desktops); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}
