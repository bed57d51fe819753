package tasks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// OperationFilter says which operations are wanted; empty fields want all.
type OperationFilter struct {
	Project     string
	RequestedBy string
	Ticket      string
	Open        bool // only those with work left
	From, To    time.Time
}

func (f OperationFilter) match(o Operation) bool {
	return (f.Project == "" || f.Project == o.Project) && (f.RequestedBy == "" || f.RequestedBy == o.RequestedBy) &&
		(f.Ticket == "" || f.Ticket == o.Ticket) && (!f.Open || !o.Done()) &&
		(f.From.IsZero() || !o.AcceptedAt.Before(f.From)) && (f.To.IsZero() || o.AcceptedAt.Before(f.To))
}

// Operations lists operations, the latest first. size is the most that are
// returned (default 100). An empty next means that there are no more.
func (r *Record) Operations(ctx context.Context, f OperationFilter, size int, token string) (out []Operation, next string, err error) {
	if size <= 0 {
		size = 100
	}
	offset := 0
	if token != "" {
		if offset, err = strconv.Atoi(token); err != nil || offset < 0 {
			return nil, "", ErrPageToken
		}
	}
	key := r.keys.operations()
	if f.Open {
		key = r.keys.openOps()
	}
	for {
		ids, err := r.rdb.ZRevRange(ctx, key, int64(offset), int64(offset+size-1)).Result()
		if err != nil {
			return nil, "", fmt.Errorf("listing operations: %w", err)
		}
		if len(ids) == 0 {
			return out, "", nil
		}
		ops, err := r.operations(ctx, ids)
		if err != nil {
			return nil, "", err
		}
		found := make(map[string]Operation, len(ops))
		for _, o := range ops {
			found[o.ID] = o
		}
		for _, id := range ids {
			offset++
			if o, ok := found[id]; ok && f.match(o) {
				if out = append(out, o); len(out) == size {
					return out, strconv.Itoa(offset), nil
				}
			}
		}
	}
}

// DesktopFilter says which desktops of an operation are wanted.
type DesktopFilter struct {
	States []State // empty: all
	Code   string  // only those whose last refusal has this error code; empty: all
}

// Desktops lists an operation's desktops in the order of the request, with the
// last refusal of each that had one. size is the most that are returned
// (default 100). An empty next means that there are no more.
func (r *Record) Desktops(ctx context.Context, op Operation, f DesktopFilter, size int, token string) (out []Desktop, next string, err error) {
	if size <= 0 {
		size = 100
	}
	start := 0
	if token != "" {
		if start, err = strconv.Atoi(token); err != nil || start < 0 {
			return nil, "", ErrPageToken
		}
	}
	const ahead = 32 // chunks read in one round trip
	for first := start / ChunkSize; first < op.Chunks(); first += ahead {
		chunks, err := r.readChunks(ctx, op, first, min(first+ahead, op.Chunks()))
		if err != nil {
			return nil, "", err
		}
		for _, d := range chunks {
			place := d.Place()
			if place < start || len(f.States) > 0 && !slices.Contains(f.States, d.State) {
				continue
			}
			if len(out) == size {
				return out, strconv.Itoa(place), r.addFailures(ctx, op, out)
			}
			out = append(out, d)
		}
	}
	return out, "", r.addFailures(ctx, op, out)
}

func (r *Record) readChunks(ctx context.Context, op Operation, first, end int) ([]Desktop, error) {
	cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for n := first; n < end; n++ {
			p.HGetAll(ctx, r.keys.chunk(op.ID, n))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading desktops of operation %s: %w", op.ID, err)
	}
	var out []Desktop
	for i, cmd := range cmds {
		ds, err := decodeChunk(op.ID, first+i, cmd.(*redis.MapStringStringCmd).Val())
		if err != nil {
			return nil, err
		}
		out = append(out, ds...)
	}
	return out, nil
}

// addFailures fills in Desktop.Failure for those that may have one.
func (r *Record) addFailures(ctx context.Context, op Operation, ds []Desktop) error {
	var ids []string
	var at []int
	for i, d := range ds {
		if d.State == Failed || d.State == Held || d.State.Open() && d.Attempts > 0 {
			ids, at = append(ids, d.ID), append(at, i)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	values, err := r.rdb.HMGet(ctx, r.keys.errors(op.ID), ids...).Result()
	if err != nil {
		return fmt.Errorf("reading failures of operation %s: %w", op.ID, err)
	}
	for n, v := range values {
		s, ok := v.(string)
		if !ok {
			continue
		}
		f, _, err := decodeFailure(op.ID, op.Project, ids[n], s)
		if err != nil {
			return err
		}
		ds[at[n]].Failure = &f
	}
	return nil
}

// LastFailures reads the last refusal of each of an operation's desktops that
// had one, by desktop id.
func (r *Record) LastFailures(ctx context.Context, op Operation, ds []Desktop) (map[string]*Failure, error) {
	ds = slices.Clone(ds)
	if err := r.addFailures(ctx, op, ds); err != nil {
		return nil, err
	}
	out := make(map[string]*Failure, len(ds))
	for _, d := range ds {
		out[d.ID] = d.Failure
	}
	return out, nil
}

// Calls lists an operation's calls to the API, the earliest first.
func (r *Record) Calls(ctx context.Context, op string) ([]Call, error) {
	all, err := r.rdb.HVals(ctx, r.keys.calls(op)).Result()
	if err != nil {
		return nil, fmt.Errorf("reading calls of operation %s: %w", op, err)
	}
	out := make([]Call, len(all))
	for i, v := range all {
		if out[i], err = decodeCall(op, v); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b Call) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out, nil
}

// CallsNamed reads some of an operation's calls; those not recorded are missing.
func (r *Record) CallsNamed(ctx context.Context, op string, ids ...string) (map[string]Call, error) {
	out := map[string]Call{}
	if len(ids) == 0 {
		return out, nil
	}
	vs, err := r.rdb.HMGet(ctx, r.keys.calls(op), ids...).Result()
	if err != nil {
		return nil, fmt.Errorf("reading calls of operation %s: %w", op, err)
	}
	for i, v := range vs {
		if s, ok := v.(string); ok {
			if out[ids[i]], err = decodeCall(op, s); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// Event is one desktop within one operation, as History lists it.
type Event struct {
	Operation Operation `json:"operation"`
	Desktop   Desktop   `json:"desktop"`
}

// History lists every operation that named a desktop id, in any project, the
// latest first.
func (r *Record) History(ctx context.Context, desktop string) ([]Event, error) {
	entries, err := r.historyEntries(ctx, desktop)
	if err != nil {
		return nil, err
	}
	var out []Event
	for op, n := range entries {
		c, err := r.Chunk(ctx, op, n)
		if errors.Is(err, ErrNotFound) {
			continue // never committed, or expired
		}
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(c.Desktops, func(d Desktop) bool { return d.ID == desktop })
		if i < 0 {
			continue
		}
		one := c.Desktops[i : i+1]
		if err := r.addFailures(ctx, c.Operation, one); err != nil {
			return nil, err
		}
		out = append(out, Event{c.Operation, one[0]})
	}
	slices.SortFunc(out, func(a, b Event) int { return b.Operation.AcceptedAt.Compare(a.Operation.AcceptedAt) })
	return out, nil
}

func historyField(desktop, op string) string { return desktop + ":" + op }

var escapeGlob = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

func (r *Record) historyEntries(ctx context.Context, desktop string) (map[string]int, error) {
	out := map[string]int{}
	for cursor := uint64(0); ; {
		kv, c, err := r.rdb.HScan(ctx, r.keys.history(historyBucket(desktop)), cursor, escapeGlob.Replace(desktop)+":*", 1000).Result()
		if err != nil {
			return nil, fmt.Errorf("reading the history of desktop %s: %w", desktop, err)
		}
		for i := 0; i+1 < len(kv); i += 2 {
			op := kv[i][len(desktop)+1:]
			if n, err := strconv.Atoi(kv[i+1]); err == nil && !strings.Contains(op, ":") {
				out[op] = n
			}
		}
		if cursor = c; cursor == 0 {
			return out, nil
		}
	}
}
