package record

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
)

// listEntry is an entry of a sorted set that names an operation.
type listEntry struct {
	key, member, op string
	score           float64
}

// repairLists drops entries that lead to no operation, and those in the wrong list, and adds those
// of failures that are missing by requester.
func (s *repairStep) repairLists(ctx context.Context, parts []listPart) error {
	var pages []*redis.ScanCmd
	groups := map[string]*redis.IntCmd{}
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, x := range parts {
			pages = append(pages, p.ZScan(ctx, x.key, x.at, "", repairOps))
			if g, ok := s.groupOfKey(x.key); ok {
				groups[x.key] = p.SAdd(ctx, s.keys.failureGroups(), g.String())
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, added := range groups {
		s.repairs.add(RepairedFailures, int(added.Val()))
	}
	var all []listEntry
	for i, x := range parts {
		values, next := pages[i].Val()
		for n := 0; n+1 < len(values); n += 2 {
			score, _ := strconv.ParseFloat(values[n+1], 64)
			op, _, _ := strings.Cut(values[n], ":") // in lists of followed chunks
			op, _, _ = strings.Cut(op, "/")         // in lists of failures
			all = append(all, listEntry{x.key, values[n], op, score})
		}
		if next != 0 {
			s.cursor.todo.lists = append(s.cursor.todo.lists, listPart{x.key, next})
		}
	}
	return s.dropEntries(ctx, all)
}

// groupOfKey returns the failure group of a sorted set.
func (s *repairStep) groupOfKey(key string) (failureGroup, bool) {
	tagged, ok := strings.CutPrefix(key, s.keys.prefix+":{p:")
	project, rest, tag := strings.Cut(tagged, "}:failures:")
	class, code, sep := strings.Cut(rest, groupSep)
	return failureGroup{project, tasks.Class(class), code}, ok && tag && sep
}

// presence is the state of an operation that an entry names.
type presence struct {
	there bool // it was accepted
	ended bool
	young bool // a producer may still be accepting it
}

// present reads the presence of operations, in one round trip per 1,000.
func (s *repairStep) present(ctx context.Context, ids []string) (map[string]presence, error) {
	out := make(map[string]presence, len(ids))
	for some := range slices.Chunk(ids, 1000) {
		there, ended := make([]*redis.BoolCmd, len(some)), make([]*redis.BoolCmd, len(some))
		var begun *redis.FloatSliceCmd
		_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, id := range some {
				there[i], ended[i] = p.HExists(ctx, s.keys.op(id), fieldOperation), p.HExists(ctx, s.keys.op(id), fieldEnded)
			}
			begun = p.ZMScore(ctx, s.keys.openOps(), some...)
			return nil
		})
		if err != nil {
			return nil, err
		}
		for i, id := range some {
			out[id] = presence{there[i].Val(), ended[i].Val(), s.young(int64(begun.Val()[i]))}
		}
	}
	return out, nil
}

// young reports whether an acceptance that began at ms may still be in progress.
func (s *repairStep) young(ms int64) bool { return s.now.Sub(time.UnixMilli(ms)) <= abandonedAfter }

func (s *repairStep) dropEntries(ctx context.Context, all []listEntry) error {
	ids := make([]string, len(all))
	for i, x := range all {
		ids[i] = x.op
	}
	slices.Sort(ids)
	known, err := s.present(ctx, slices.Compact(ids))
	if err != nil {
		return err
	}
	type drop struct {
		key  string
		kind RepairKind
	}
	gone, failures, listed := map[drop][]any{}, inboxWrites{}, map[failureGroup][]place{}
	for _, x := range all {
		is := known[x.op]
		scheduled := strings.HasPrefix(x.key, s.keys.scheduled(""))
		follow := strings.HasSuffix(x.key, ":follow")
		var kind RepairKind
		switch {
		case is.there && x.key == s.keys.endedOps() && !is.ended:
			kind = RepairedEnded
		case is.there && is.ended && (scheduled || strings.HasPrefix(x.key, s.keys.waiting(""))):
			kind = RepairedScheduled
		case is.there:
			if g, ok := s.groupOfKey(x.key); ok {
				listed[g] = append(listed[g], place{int64(x.score), x.member})
			}
			continue
		default:
			s.cursor.orphans++
			// The scores of the other lists are past times.
			if is.young || !scheduled && !follow && s.young(int64(x.score)) {
				continue
			}
			kind = RepairedOrphan
		}
		if g, ok := s.groupOfKey(x.key); ok {
			_, desktop, _ := strings.Cut(x.member, "/")
			failures.add(g.project, leave, desktop, inboxEntry{Operation: x.op})
			s.repairs.add(kind, 1)
			kind = "" // counted
		}
		gone[drop{x.key, kind}] = append(gone[drop{x.key, kind}], x.member)
	}
	if _, err := s.writeInbox(ctx, failures, nil); err != nil {
		return err
	}
	removed := map[drop]*redis.IntCmd{}
	_, err = s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for x, members := range gone {
			removed[x] = p.ZRem(ctx, x.key, members...)
		}
		return nil
	})
	for x, n := range removed {
		if x.kind != "" {
			s.repairs.add(x.kind, int(n.Val()))
		}
	}
	if err != nil {
		return err
	}
	for g, entries := range listed {
		// Nothing was lost, so it is not counted: an earlier program wrote the failure.
		if err := s.addBy(ctx, g, entries); err != nil {
			return err
		}
	}
	return nil
}

// repairBulks adds redrives or cancellations to their list, and those that have not ended to
// the open list.
func (s *repairStep) repairBulks(ctx context.Context, kind bulkKind, repaired RepairKind, ids []string) error {
	cmds, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, id := range ids {
			p.HMGet(ctx, s.keys.bulk(kind, id), bulkFields...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	missing := entries{}
	for i, id := range ids {
		var v storedBulk
		var x struct {
			CreatedAt time.Time `json:"created_at"`
		}
		if cmds[i].(*redis.SliceCmd).Scan(&v) != nil || decodeJSON(v.Meta, &x) != nil {
			continue
		}
		if s.now.Sub(x.CreatedAt) < s.retention {
			missing.add(s.keys.bulks(kind), x.CreatedAt.UnixMilli(), id)
		}
		if v.Ended.IsZero() {
			missing.add(s.keys.openBulks(kind), x.CreatedAt.UnixMilli(), id)
		}
	}
	return s.enter(ctx, map[RepairKind]entries{repaired: missing})
}
