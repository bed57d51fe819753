package record

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
	"github.com/rs/xid"
)

// Operations are removed in batches: a batch of any size takes about eight round trips.
const (
	removeBatch  = 500
	removeChunks = 1000             // about how many chunks a batch may have
	rowsAtOnce   = 512              // chunks whose rows are read in one round trip
	expireLease  = 30 * time.Second // of the process that expires
)

// Expire removes up to limit operations whose retention has ended, each whole, and
// returns how many. After budget (0: unlimited) it begins no further batch; the next call
// continues. It does nothing while another process expires operations.
func (r *Record) Expire(ctx context.Context, now time.Time, limit int, budget time.Duration) (n int, err error) {
	over := within(budget)
	fail := func(err error) (int, error) { return n, fmt.Errorf("expiring operations: %w", err) }
	// Two processes would only do the same work twice, so a slow one may lose its lease.
	mine, err := r.rdb.SetNX(ctx, r.keys.expiring(), 1, expireLease).Result()
	if err != nil {
		return fail(err)
	}
	if !mine {
		return 0, nil
	}
	defer r.rdb.Del(ctx, r.keys.expiring())
	if err := errors.Join(r.expireAudit(ctx, now), r.expireRecalls(ctx, now)); err != nil {
		return fail(err)
	}
	for n < limit {
		var ended *redis.StringSliceCmd
		_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.PExpire(ctx, r.keys.expiring(), expireLease)
			ended = p.ZRangeByScore(ctx, r.keys.endedOps(), &redis.ZRangeBy{
				Min: "-inf", Max: formatMS(now.Add(-r.retention)), Count: int64(min(removeBatch, limit-n)),
			})
			return nil
		})
		if err != nil {
			return fail(err)
		}
		if len(ended.Val()) == 0 {
			return n, nil
		}
		removed, err := r.expireSome(ctx, now, ended.Val(), over)
		if n += removed; err != nil {
			return fail(err)
		}
		if over() {
			return n, nil
		}
	}
	return n, nil
}

// expireSome removes those of some operations whose retention has ended. It checks each
// one, because the index may be out of date, and continues until the time is over.
func (r *Record) expireSome(ctx context.Context, now time.Time, ids []string, over func() bool) (int, error) {
	found, err := r.removals(ctx, ids)
	if err != nil {
		return 0, err
	}
	var gone []*removal
	var kept []Operation
	for _, x := range found {
		if x.accepted && !x.hidden && (!x.op.Done() || now.Sub(x.op.EndedAt) < r.retention) {
			kept = append(kept, x.op)
		} else {
			gone = append(gone, x)
		}
	}
	if len(kept) > 0 {
		_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, op := range kept {
				r.keep(ctx, p, op)
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	n := 0
	for len(gone) > 0 {
		some := gone[:fewRemovals(gone)]
		removed, err := r.removeSome(ctx, now, some)
		if n += removed; err != nil {
			return n, err
		}
		if gone = gone[len(some):]; over() {
			return n, nil
		}
	}
	return n, nil
}

// keep corrects the indexes for an operation that must not expire yet.
func (r *Record) keep(ctx context.Context, p redis.Pipeliner, op Operation) {
	if op.Done() {
		p.ZAdd(ctx, r.keys.endedOps(), redis.Z{Score: float64(op.EndedAt.UnixMilli()), Member: op.ID})
		return
	}
	p.ZAddNX(ctx, r.keys.openOps(), redis.Z{Score: float64(op.AcceptedAt.UnixMilli()), Member: op.ID})
	p.ZRem(ctx, r.keys.endedOps(), op.ID)
}

func fewRemovals(all []*removal) int {
	chunks := 0
	for i, x := range all {
		if chunks += x.op.Chunks(); i > 0 && chunks > removeChunks {
			return i
		}
	}
	return len(all)
}

// removal is the removal of one operation.
type removal struct {
	id       string
	accepted bool
	hidden   bool      // an earlier removal has begun
	op       Operation // set if it was accepted
	index    indexed
	ended    string // as stored
	least    int    // chunks that it has; a look-up that was overtaken may have left more, one that was never accepted has
	chunks   int    // how many there are; an upper limit until the first that is missing after these was read
	read     int    // how many of them have been read
	failed   []string
	buckets
}

// removals reads operations to remove, in one round trip.
func (r *Record) removals(ctx context.Context, ids []string) ([]*removal, error) {
	metas, logs, failed := make([]*redis.SliceCmd, len(ids)), make([]*redis.StringCmd, len(ids)), make([]*redis.StringSliceCmd, len(ids))
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			metas[i] = p.HMGet(ctx, r.keys.op(id), operationFields...)
			logs[i] = p.GetRange(ctx, r.keys.logged(id), 0, -1)
			failed[i] = p.HKeys(ctx, r.keys.errors(id))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading %d operations to remove: %w", len(ids), err)
	}
	out := make([]*removal, len(ids))
	for i, id := range ids {
		x := &removal{
			id: id, chunks: (tasks.MaxDesktops + tasks.MaxLookups) / ChunkSize, failed: failed[i].Val(),
			buckets: buckets{map[int]bool{}, map[int]bool{}},
		}
		if err := x.decode(metas[i]); err != nil {
			return nil, fmt.Errorf("removing operation %s: %w", id, err)
		}
		x.addLogged([]byte(logs[i].Val()))
		out[i] = x
	}
	return out, nil
}

func (x *removal) decode(cmd *redis.SliceCmd) (err error) {
	var s storedOperation
	if err := cmd.Scan(&s); err != nil {
		return err
	}
	x.hidden, s.Expired = s.Expired, false
	if !s.Ended.IsZero() {
		x.ended = formatMS(s.Ended.Time)
	}
	if x.op, x.accepted, err = s.operation(x.id); err != nil {
		return err
	}
	if x.accepted {
		x.least, x.index = x.op.Chunks(), indexedOf(x.op)
		if x.op.lookups() == 0 {
			x.chunks = x.least
		}
	} else if s.Index != "" {
		return decodeJSON(s.Index, &x.index)
	}
	return nil
}

// removeAll removes operations that were never accepted, and returns how many.
func (r *Record) removeAll(ctx context.Context, now time.Time, ids []string) (n int, err error) {
	for some := range slices.Chunk(ids, removeBatch) {
		found, err := r.removals(ctx, some)
		if err != nil {
			return n, err
		}
		found = slices.DeleteFunc(found, func(x *removal) bool { return x.accepted && !x.hidden }) // accepted in the meantime
		removed, err := r.removeSome(ctx, now, found)
		if n += removed; err != nil {
			return n, err
		}
	}
	return n, nil
}

var scriptHide = script("hide")

// removeSome deletes everything of operations, and returns how many it removed. It hides
// them first and removes them from the lists of open and ended operations last, so that
// a later call resumes after a crash.
func (r *Record) removeSome(ctx context.Context, now time.Time, all []*removal) (int, error) {
	if len(all) == 0 {
		return 0, nil
	}
	fail := func(err error) (int, error) { return 0, fmt.Errorf("removing %d operations: %w", len(all), err) }
	all, err := r.hide(ctx, all)
	if err != nil {
		return fail(err)
	}
	for _, step := range []func(context.Context, []*removal) error{r.unlist, r.addRows, r.unindex, r.unlink} {
		if err := step(ctx, all); err != nil {
			return fail(err)
		}
	}
	ids := make([]any, len(all))
	for i, x := range all {
		ids[i] = x.id
	}
	if len(ids) == 0 {
		return 0, nil
	}
	again := make([]*redis.IntCmd, len(all))
	_, err = r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.ZRem(ctx, r.keys.openOps(), ids...)
		p.ZRem(ctx, r.keys.endedOps(), ids...)
		for i, x := range all {
			again[i] = p.Exists(ctx, r.keys.op(x.id))
		}
		return nil
	})
	if err != nil {
		return fail(err)
	}
	var open []redis.Z // sent again with their idempotency keys, after their own keys had been deleted
	for i, x := range all {
		if again[i].Val() > 0 {
			open = append(open, redis.Z{Score: float64(now.UnixMilli()), Member: x.id})
		}
	}
	if len(open) > 0 {
		if err := r.rdb.ZAddNX(ctx, r.keys.openOps(), open...).Err(); err != nil {
			return fail(err)
		}
	}
	return len(all), nil
}

// hide hides operations, and returns those that are hidden now.
func (r *Record) hide(ctx context.Context, all []*removal) ([]*removal, error) {
	calls := make([]*scriptCall, len(all))
	for i, x := range all {
		accepted := 0
		if x.accepted {
			accepted = 1
		}
		calls[i] = &scriptCall{script: scriptHide, keys: []string{r.keys.op(x.id)}, args: []any{accepted, x.ended}}
	}
	if err := r.runScripts(ctx, calls, nil); err != nil {
		return nil, err
	}
	var out []*removal
	for i, x := range all {
		if done, err := calls[i].reply.Int(); err != nil {
			return nil, err
		} else if done == 1 {
			out = append(out, x)
		}
	}
	return out, nil
}

// unlist removes operations from the lists of operations and from inboxes.
func (r *Record) unlist(ctx context.Context, all []*removal) error {
	gone := map[string][]any{} // by key
	writes := inboxWrites{}
	for _, x := range all {
		keys := append(r.keys.indexesOf(x.index), r.keys.operations(), r.keys.scheduled(""), r.keys.waiting(""))
		if x.index.Project != "" {
			keys = append(keys, r.keys.scheduled(x.index.Project), r.keys.waiting(x.index.Project))
		}
		for _, key := range keys {
			gone[key] = append(gone[key], x.id)
		}
		for _, id := range x.failed {
			writes.add(x.index.Project, leave, id, inboxEntry{Operation: x.id})
		}
	}
	remove := func(p redis.Pipeliner) {
		for key, ids := range gone {
			p.ZRem(ctx, key, ids...)
		}
	}
	if len(writes) > 0 {
		_, err := r.writeInbox(ctx, writes, remove)
		return err
	}
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error { remove(p); return nil })
	return err
}

// addRows adds the buckets of the index of desktops that have entries of chunks. Where the
// number of chunks is unknown, it ends with the first missing chunk.
func (r *Record) addRows(ctx context.Context, all []*removal) error {
	for {
		type ref struct {
			of    *removal
			chunk int
		}
		var refs []ref
		for _, x := range all {
			end := x.chunks
			if end > x.least {
				end = min(end, max(x.read, x.least)+max(8, min(x.read, 64)))
			}
			for n := x.read; n < end && len(refs) < rowsAtOnce; n++ {
				refs = append(refs, ref{x, n})
			}
		}
		if len(refs) == 0 {
			return nil
		}
		cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, x := range refs {
				p.HKeys(ctx, r.keys.chunk(x.of.id, x.chunk))
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i, x := range refs {
			rows := cmds[i].(*redis.StringSliceCmd).Val()
			if len(rows) == 0 && x.chunk >= x.of.least {
				x.of.chunks = min(x.of.chunks, x.chunk)
			}
			x.of.read = min(x.chunk+1, x.of.chunks)
			for _, row := range rows {
				x.of.history[bucketOf(row)] = true
			}
		}
	}
}

// unindex removes operations' entries from their known buckets.
func (r *Record) unindex(ctx context.Context, all []*removal) error {
	history, names := map[int][]byte{}, map[int][]byte{}
	for _, x := range all {
		id, err := xid.FromString(x.id)
		if err != nil {
			continue // it has no entries
		}
		for b := range x.history {
			history[b] = append(history[b], id[:]...)
		}
		for b := range x.names {
			names[b] = append(names[b], id[:]...)
		}
	}
	calls := bucketCalls{script: scriptIndexRemove, first: []any{entryBytes, opAt}}
	for b, ops := range history {
		calls.add(b, r.keys.history(b), ops)
	}
	for b, ops := range names {
		calls.add(b, r.keys.named(b), ops)
	}
	return r.runBatches(ctx, slices.Values(calls.all))
}

// unlink deletes operations' own keys. It deletes the last chunk first, because a retry
// begins with the first.
func (r *Record) unlink(ctx context.Context, all []*removal) error {
	var batches [][]string
	for _, x := range all {
		var keys []string
		for n := x.chunks - 1; n >= 0; n-- {
			keys = append(keys, r.keys.chunk(x.id, n), r.keys.trail(x.id, n))
		}
		keys = append(keys, r.keys.open(x.id), r.keys.unproven(x.id), r.keys.calls(x.id), r.keys.errors(x.id),
			r.keys.logged(x.id), r.keys.op(x.id))
		batches = slices.AppendSeq(batches, slices.Chunk(keys, 256))
	}
	for some := range slices.Chunk(batches, removeBatch) {
		_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, keys := range some {
				p.Unlink(ctx, keys...)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
