package record

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
)

// A group of the inbox has a second sorted set, from which a filter by requester reads and counts
// only what it asks for. Its members have no scores. They begin with the requester and the time:
// Redis sorts them by their bytes, so the failures of a requester are in the order of the first set.
//
// lua/inbox.lua writes both sets in one step. Programs before this set write the first one only, so
// readers compare the sizes, and rebuild the second one if they differ. If one entry is missing and
// another should not be there, the sizes are equal; the walk adds the missing one.

const (
	requesterEnd = "\x00"
	timeDigits   = 16
)

// by returns the member for an entry of the first set.
func (p place) by(source string) string {
	return fmt.Sprintf("%s%s%0*d/%s", source, requesterEnd, timeDigits, p.at, p.member)
}

// placeBy returns the entry of the first set.
func placeBy(source, member string) (place, error) {
	rest := strings.TrimPrefix(member, source+requesterEnd)
	at, member, _ := strings.Cut(rest, "/")
	ms, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return place{}, fmt.Errorf("the inbox has the unreadable entry %q", rest)
	}
	return place{ms, member}, nil
}

// rangeBy is the range of members of a requester, from the first time to before the other.
func rangeBy(f tasks.FailureFilter) (low, high string) {
	low, high = "["+f.Source+requesterEnd, "("+latest.by(f.Source)
	if !f.From.IsZero() {
		low = "[" + place{at: ceilMS(f.From)}.by(f.Source)
	}
	if !f.To.IsZero() {
		high = "(" + place{at: ceilMS(f.To)}.by(f.Source)
	}
	return low, high
}

// readBy reads more of each group.
func (w *failureWalk) readBy(ctx context.Context, of []*groupWalk) error {
	low, _ := rangeBy(w.filter)
	cmds, err := w.r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, g := range of {
			p.ZRangeArgs(ctx, redis.ZRangeArgs{
				Key: w.r.keys.failuresBy(g.group), Start: "(" + g.last.by(w.filter.Source), Stop: low, ByLex: true, Rev: true, Count: int64(g.n),
			})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, g := range of {
		members := cmds[i].(*redis.StringSliceCmd).Val()
		g.ahead, g.ended = make([]place, len(members)), len(members) < g.n
		for n, m := range members {
			if g.ahead[n], err = placeBy(w.filter.Source, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// completeBy rebuilds the second sets that have not as many entries as the first ones.
func (r *Record) completeBy(ctx context.Context, groups []failureGroup) error {
	cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, g := range groups {
			p.ZCard(ctx, r.keys.failures(g))
			p.ZCard(ctx, r.keys.failuresBy(g))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading failures: %w", err)
	}
	for i, g := range groups {
		if cmds[2*i].(*redis.IntCmd).Val() == cmds[2*i+1].(*redis.IntCmd).Val() {
			continue
		}
		// An entry may have been written between the two.
		both, err := r.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.ZCard(ctx, r.keys.failures(g))
			p.ZCard(ctx, r.keys.failuresBy(g))
			return nil
		})
		if err == nil && both[0].(*redis.IntCmd).Val() != both[1].(*redis.IntCmd).Val() {
			err = r.rebuildBy(ctx, g)
		}
		if err != nil {
			return fmt.Errorf("sorting the failures of project %s by requester: %w", g.project, err)
		}
	}
	return nil
}

// rebuildBy fills the second set of a group from the first one. The next reader repairs what others change meanwhile.
func (r *Record) rebuildBy(ctx context.Context, g failureGroup) error {
	if err := r.rdb.Unlink(ctx, r.keys.failuresBy(g)).Err(); err != nil {
		return err
	}
	for at := int64(0); ; at += pageReads {
		entries, err := r.rdb.ZRangeWithScores(ctx, r.keys.failures(g), at, at+pageReads-1).Result()
		if err != nil || len(entries) == 0 {
			return err
		}
		places := make([]place, len(entries))
		for i, z := range entries {
			places[i] = place{int64(z.Score), z.Member.(string)}
		}
		if err := r.addBy(ctx, g, places); err != nil {
			return err
		}
	}
}

// addBy adds entries of the first set, up to pageReads, unless they are there, or have left the first set since.
func (r *Record) addBy(ctx context.Context, g failureGroup, entries []place) error {
	ids := make([]string, len(entries))
	for i, p := range entries {
		ids[i], _, _ = strings.Cut(p.member, "/")
	}
	ops, err := r.operations(ctx, slices.Compact(slices.Sorted(slices.Values(ids))))
	if err != nil {
		return err
	}
	requesters := make(map[string]string, len(ops))
	for _, op := range ops {
		requesters[op.ID] = op.RequestedBy
	}
	var members []redis.Z
	var of []place
	var first []string
	for i, p := range entries {
		if requester, is := requesters[ids[i]]; is { // else it is being removed
			members, of, first = append(members, redis.Z{Member: p.by(requester)}), append(of, p), append(first, p.member)
		}
	}
	if len(of) == 0 {
		return nil
	}
	var still *redis.FloatSliceCmd
	_, err = r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.ZAdd(ctx, r.keys.failuresBy(g), members...)
		still = p.ZMScore(ctx, r.keys.failures(g), first...)
		return nil
	})
	if err != nil {
		return err
	}
	var left []any
	for i, score := range still.Val() {
		if int64(score) != of[i].at { // it is about an earlier failure, or none
			left = append(left, members[i].Member)
		}
	}
	if len(left) == 0 {
		return nil
	}
	return r.rdb.ZRem(ctx, r.keys.failuresBy(g), left...).Err()
}
