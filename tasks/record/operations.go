package record

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
)

// indexed holds the values by which an operation is indexed. It is kept with an operation
// that is being written, so that one that is never accepted can leave the indexes, too.
type indexed struct {
	Project     string `json:"p"`
	RequestedBy string `json:"r,omitempty"`
	Ticket      string `json:"t,omitempty"`
}

func indexedOf(o Operation) indexed { return indexed{o.Project, o.RequestedBy, o.Ticket} }

func (k keys) indexesOf(x indexed) []string {
	var out []string
	for _, by := range []struct{ what, value string }{{"project", x.Project}, {"by", x.RequestedBy}, {"ticket", x.Ticket}} {
		if by.value != "" {
			out = append(out, k.operationsBy(by.what, by.value))
		}
	}
	return out
}

// indexOperation enters an operation into the lists of its project, requester and ticket. Readers
// skip an entry that has no operation.
func (r *Record) indexOperation(ctx context.Context, p redis.Pipeliner, op Operation) {
	for _, key := range r.keys.indexesOf(indexedOf(op)) {
		p.ZAddNX(ctx, key, redis.Z{Score: float64(op.AcceptedAt.UnixMilli()), Member: op.ID})
	}
}

func (r *Record) unindexOperation(ctx context.Context, id string, x indexed) error {
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range append(r.keys.indexesOf(x), r.keys.operations()) {
			p.ZRem(ctx, key, id)
		}
		r.leaveScheduled(ctx, p, id, x.Project)
		return nil
	})
	return err
}

func matchesOperation(f tasks.OperationFilter, o Operation) bool {
	return (f.Project == "" || f.Project == o.Project) && (f.RequestedBy == "" || f.RequestedBy == o.RequestedBy) &&
		(f.Ticket == "" || f.Ticket == o.Ticket) && (!f.Open || o.State(f.Now) == tasks.OperationRunning) &&
		(!f.Scheduled || o.State(f.Now) == tasks.OperationScheduled) &&
		(!f.Waiting || o.State(f.Now) == tasks.OperationWaiting) &&
		(f.From.IsZero() || !o.AcceptedAt.Before(f.From)) && (f.To.IsZero() || o.AcceptedAt.Before(f.To))
}

// indexes returns the indexes whose intersection holds the matches of a filter, the one
// with the fewest entries first.
func (r *Record) indexes(ctx context.Context, f tasks.OperationFilter) ([]string, error) {
	if f.Scheduled {
		return append([]string{r.keys.scheduled(f.Project)}, r.keys.indexesOf(indexed{"", f.RequestedBy, f.Ticket})...), nil
	}
	if f.Waiting {
		return append([]string{r.keys.waiting(f.Project)}, r.keys.indexesOf(indexed{"", f.RequestedBy, f.Ticket})...), nil
	}
	out := r.keys.indexesOf(indexed{f.Project, f.RequestedBy, f.Ticket})
	if f.Open {
		out = append(out, r.keys.openOps())
	}
	switch len(out) {
	case 0:
		return []string{r.keys.operations()}, nil
	case 1:
		return out, nil
	}
	low, high := "-inf", "+inf"
	if !f.From.IsZero() {
		low = formatMS(f.From)
	}
	if !f.To.IsZero() {
		high = formatMS(f.To)
	}
	cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range out {
			p.ZCount(ctx, key, low, high)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	sizes := make(map[string]int64, len(out))
	for i, cmd := range cmds {
		sizes[out[i]] = cmd.(*redis.IntCmd).Val()
	}
	slices.SortStableFunc(out, func(a, b string) int { return int(sizes[a] - sizes[b]) })
	return out, nil
}

// Operations lists operations, the latest first; with f.Scheduled the earliest start first, and
// with f.DueBefore the earliest due time. It returns at most size of them (default 100); an empty next means that there are
// no more. A page takes a bounded time: where few entries match it is short, or empty, and
// next continues it.
func (r *Record) Operations(
	ctx context.Context, f tasks.OperationFilter, size int, token string,
) (out []Operation, next string, err error) {
	fail := func(err error) ([]Operation, string, error) {
		return nil, "", fmt.Errorf("listing operations: %w", err)
	}
	if size <= 0 {
		size = 100
	}
	last, err := parsePlace(token)
	if err != nil {
		return nil, "", err
	}
	if f.Now.IsZero() {
		f.Now = time.Now()
	}
	if !f.DueBefore.IsZero() {
		if out, next, err = r.dueBefore(ctx, f, size, last); err != nil {
			return fail(err)
		}
		return out, next, nil
	}
	low := earliest(f.From)
	if f.Scheduled { // its index is by the start
		if first := (place{at: -f.Now.UnixMilli()}); comparePlaces(last, first) < 0 {
			last = first
		}
		low = earliest(time.Time{})
	} else {
		last = last.before(f.To)
	}
	keys, err := r.indexes(ctx, f)
	if err != nil {
		return fail(err)
	}
	batch := size
	if len(keys) > 1 || f.Open {
		batch = max(size, pageReads)
	}
	for seen, read := 0, 0; seen < max(size, pageEntries); {
		entries, ended, err := r.after(ctx, keys[0], last, batch, low)
		if err != nil {
			return fail(err)
		}
		seen += len(entries)
		wanted, err := r.inIndexes(ctx, keys[1:], entries)
		if err == nil && f.Open {
			wanted, err = r.started(ctx, wanted, f.Now)
		}
		if err != nil {
			return fail(err)
		}
		for part := range slices.Chunk(wanted, size) {
			if read >= max(size, pageReads) {
				return out, last.token(), nil
			}
			read += len(part)
			found, err := r.operationsAt(ctx, part)
			if err != nil {
				return nil, "", err
			}
			for _, x := range part {
				last = x
				if o, ok := found[x.member]; ok && matchesOperation(f, o) {
					if out = append(out, o); len(out) == size {
						return out, last.token(), nil
					}
				}
			}
		}
		if ended {
			return out, "", nil
		}
		last = entries[len(entries)-1]
	}
	return out, last.token(), nil
}

// CountOperations is the number of operations that match a filter, if one index has all of
// them; else -1, as counting would take as long as listing. Operations that are being
// accepted, and those past their retention, may count for a moment.
func (r *Record) CountOperations(ctx context.Context, f tasks.OperationFilter) (int, error) {
	keys := r.keys.indexesOf(indexed{f.Project, f.RequestedBy, f.Ticket})
	if f.Waiting {
		keys = append(r.keys.indexesOf(indexed{"", f.RequestedBy, f.Ticket}), r.keys.waiting(f.Project))
	}
	if f.Open || f.Scheduled || len(keys) > 1 {
		return -1, nil
	}
	low, high := "-inf", "+inf"
	if !f.From.IsZero() {
		low = strconv.FormatInt(ceilMS(f.From), 10)
	}
	if !f.To.IsZero() {
		high = "(" + strconv.FormatInt(ceilMS(f.To), 10)
	}
	n, err := r.rdb.ZCount(ctx, append(keys, r.keys.operations())[0], low, high).Result()
	if err != nil {
		return 0, fmt.Errorf("counting operations: %w", err)
	}
	return int(n), nil
}

// inIndexes returns the entries that are in all other indexes, too.
func (r *Record) inIndexes(ctx context.Context, keys []string, entries []place) ([]place, error) {
	ids := make([]string, len(entries))
	for i, x := range entries {
		ids[i] = x.member
	}
	in, err := r.inAll(ctx, keys, ids)
	if err != nil {
		return nil, err
	}
	out := make([]place, 0, len(entries))
	for i, x := range entries {
		if in[i] {
			out = append(out, x)
		}
	}
	return out, nil
}

func (r *Record) operationsAt(ctx context.Context, entries []place) (map[string]Operation, error) {
	ids := make([]string, len(entries))
	for i, x := range entries {
		ids[i] = x.member
	}
	ops, err := r.operations(ctx, ids)
	out := make(map[string]Operation, len(ops))
	for _, o := range ops {
		out[o.ID] = o
	}
	return out, err
}
