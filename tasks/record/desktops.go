package record

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
)

// mayMatch reports whether a row may match, judged by its status alone. A row without a
// refusal has no code.
func mayMatch(f tasks.DesktopFilter, d Row) bool {
	return (len(f.States) == 0 || slices.Contains(f.States, d.State)) && (f.Code == "" || mayHaveFailure(d))
}

func mayHaveFailure(d Row) bool {
	return d.State == tasks.StateFailed || d.State == tasks.StateHeld || d.State.Open() && d.Attempts > 0
}

// Desktops lists an operation's desktops in the order of the request, with the last
// refusal of each. size limits the page (default 100). A page takes a bounded time: if
// few rows match it is short, or empty. An empty next marks the last page.
func (r *Record) Desktops(
	ctx context.Context, op Operation, f tasks.DesktopFilter, size int, token string,
) (out []Row, next string, err error) {
	if out, next, err = r.page(ctx, op, f, size, token); err == nil {
		err = r.addGivenBack(ctx, op, out)
	}
	return out, next, err
}

// page is Desktops without GivenBackBy.
func (r *Record) page(
	ctx context.Context, op Operation, f tasks.DesktopFilter, size int, token string,
) (out []Row, next string, err error) {
	if size <= 0 {
		size = 100
	}
	start := 0
	if token != "" {
		if start, err = strconv.Atoi(token); err != nil || start < 0 {
			return nil, "", tasks.ErrPageToken
		}
	}
	chunks, end, err := r.chunksMatching(ctx, op, f, start/ChunkSize)
	if err != nil {
		return nil, "", err
	}
	budget := max(pageChunks, chunksOf(size)+1)
	for ahead := min(32, chunksOf(size)+1); len(chunks) > 0; ahead = min(32, 2*ahead) {
		if budget <= 0 {
			return out, strconv.Itoa(chunks[0] * ChunkSize), nil
		}
		n := min(ahead, budget, len(chunks))
		rows, err := r.readChunks(ctx, op, chunks[:n]...)
		if err != nil {
			return nil, "", err
		}
		rows = slices.DeleteFunc(rows, func(d Row) bool { return d.Place() < start || !mayMatch(f, d) })
		if f.Code == "" {
			rows = rows[:min(len(rows), size-len(out)+1)] // one more, to know whether there is a next page
		}
		if err := r.addFailuresOf(ctx, op, rows, f.Code); err != nil {
			return nil, "", err
		}
		for _, d := range rows {
			if f.Code != "" && (d.Failure == nil || d.Failure.Code != f.Code) {
				continue
			}
			if len(out) == size {
				return out, strconv.Itoa(d.Place()), nil
			}
			out = append(out, d)
		}
		chunks, budget = chunks[n:], budget-n
	}
	if end < op.Chunks() {
		next = strconv.Itoa(end * ChunkSize)
	}
	return out, next, nil
}

// chunksMatching returns the chunks between first and end in which some row may match.
// Most rows share their chunk's common status, so few chunks have to be read for it.
func (r *Record) chunksMatching(ctx context.Context, op Operation, f tasks.DesktopFilter, first int) (out []int, end int, err error) {
	end = min(op.Chunks(), first+2000)
	all := len(f.States) == 0 && f.Code == ""
	var commons []*redis.StringCmd
	var now *redis.SliceCmd
	if !all && first < end {
		_, err = r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			now = p.HMGet(ctx, r.keys.op(op.ID), operationFields...) // op may be out of date
			for n := first; n < end; n++ {
				commons = append(commons, p.HGet(ctx, r.keys.chunk(op.ID, n), commonField))
			}
			return nil
		})
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, 0, fmt.Errorf("reading desktops of operation %s: %w", op.ID, err)
		}
		current, ok, err := decodeOperation(op.ID, now)
		if err != nil {
			return nil, 0, err
		}
		if !ok || len(f.States) > 0 && !slices.ContainsFunc(f.States, func(s tasks.State) bool { return current.Counts.Of(s) > 0 }) {
			return nil, op.Chunks(), nil
		}
	}
	for n := first; n < end; n++ {
		if !all {
			count, status, _ := strings.Cut(commons[n-first].Val(), "|")
			var common Row
			if err := decodeStatus(&common, status); err == nil && count == strconv.Itoa(op.chunkSize(n)) && !mayMatch(f, common) {
				continue
			}
		}
		out = append(out, n)
	}
	return out, end, nil
}

func (r *Record) readChunks(ctx context.Context, op Operation, chunks ...int) ([]Row, error) {
	cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, n := range chunks {
			p.HGetAll(ctx, r.keys.chunk(op.ID, n))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading desktops of operation %s: %w", op.ID, err)
	}
	var out []Row
	for i, cmd := range cmds {
		ds, err := decodeChunk(op.ID, chunks[i], cmd.(*redis.MapStringStringCmd).Val())
		if err != nil {
			return nil, err
		}
		out = append(out, ds...)
	}
	return out, nil
}

// addFailures fills in Row.Failure where there may be one.
func (r *Record) addFailures(ctx context.Context, op Operation, ds []Row) error {
	return r.addFailuresOf(ctx, op, ds, "")
}

// addFailuresOf is addFailures for at least the failures of one code; empty: all.
func (r *Record) addFailuresOf(ctx context.Context, op Operation, ds []Row, code string) error {
	var ids []string
	var at []int
	for i, d := range ds {
		if mayHaveFailure(d) {
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
	has := `"c":` + mustJSON(code) // as encodeFailure writes it; decoding all would take long
	for n, v := range values {
		s, ok := v.(string)
		if !ok || code != "" && !strings.Contains(s, has) {
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

// LastFailures reads the last refusals of an operation's desktops, by desktop id.
func (r *Record) LastFailures(ctx context.Context, op Operation, ds []Row) (map[string]*tasks.Failure, error) {
	ds = slices.Clone(ds)
	if err := r.addFailures(ctx, op, ds); err != nil {
		return nil, err
	}
	out := make(map[string]*tasks.Failure, len(ds))
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

// CallsNamed reads some of an operation's calls by id; it omits unrecorded ones.
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

// HistoryEntry is one desktop within one operation, as History lists it.
type HistoryEntry struct {
	Operation Operation `json:"operation"`
	Desktop   Row       `json:"desktop"`
}

// History lists every operation of any project that named a desktop id, the latest first.
func (r *Record) History(ctx context.Context, desktop string) ([]HistoryEntry, error) {
	entries, err := r.findRows(ctx, desktop)
	if err != nil {
		return nil, fmt.Errorf("reading the history of desktop %s: %w", desktop, err)
	}
	refs := chunksIn(entries[0])
	chunks, err := r.chunks(ctx, refs)
	if err != nil {
		return nil, err
	}
	var out []HistoryEntry
	for _, c := range chunks { // zero: never committed, or expired
		i := slices.IndexFunc(c.Desktops, func(d Row) bool { return d.ID == desktop })
		if i < 0 {
			continue
		}
		one := c.Desktops[i : i+1]
		err := r.addFailures(ctx, c.Operation, one)
		if err == nil {
			err = r.addGivenBack(ctx, c.Operation, one)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, HistoryEntry{c.Operation, one[0]})
	}
	slices.SortFunc(out, func(a, b HistoryEntry) int { return b.Operation.AcceptedAt.Compare(a.Operation.AcceptedAt) })
	return out, nil
}

// LastOperations returns the last operation that named each desktop, by its id, without
// reading the rows. Desktops that no operation named are missing.
func (r *Record) LastOperations(ctx context.Context, desktops []string) (map[string]Operation, error) {
	out := map[string]Operation{}
	if len(desktops) == 0 {
		return out, nil
	}
	entries, err := r.findRows(ctx, desktops...)
	if err != nil {
		return nil, fmt.Errorf("reading the history of desktops: %w", err)
	}
	places := make([][]chunkPlace, len(desktops))
	var ids []string
	for i, es := range entries {
		places[i] = chunksFrom(es, chunkPlace{}, seenEntries)
		for _, at := range places[i] {
			ids = append(ids, at.op)
		}
	}
	slices.Sort(ids)
	ops, err := r.operations(ctx, slices.Compact(ids))
	if err != nil {
		return nil, err
	}
	for i, desktop := range desktops {
		for _, at := range places[i] { // the latest first; of those that were never accepted, or have expired, none is known
			n := slices.IndexFunc(ops, func(op Operation) bool { return op.ID == at.op })
			if n >= 0 {
				out[desktop] = ops[n]
				break
			}
		}
	}
	return out, nil
}

// RowsNamed returns the rows that some desktops have in an operation, by id. It reads
// the chunks that the index names, or all chunks if those are fewer.
func (r *Record) RowsNamed(ctx context.Context, op Operation, ids []string) (map[string]Row, error) {
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	if len(wanted) >= op.Chunks() {
		return r.rowsAmong(ctx, op, wanted, chunkRange(0, op.Chunks()))
	}
	entries, err := r.findRows(ctx, ids...)
	if err != nil {
		return nil, err
	}
	var chunks []int
	indexed := map[string]bool{}
	for i, es := range entries {
		for _, at := range chunksIn(es) {
			if at.op == op.ID && at.chunk < op.Chunks() {
				chunks = append(chunks, at.chunk)
				indexed[ids[i]] = true
			}
		}
	}
	slices.Sort(chunks)
	out, err := r.rowsAmong(ctx, op, indexed, slices.Compact(chunks))
	if err == nil && len(out) < len(indexed) {
		// The index is out of date, or has another id with the same hash.
		return r.rowsAmong(ctx, op, wanted, chunkRange(0, op.Chunks()))
	}
	return out, err
}

// rowsAmong returns the wanted rows of chunks, by id.
func (r *Record) rowsAmong(ctx context.Context, op Operation, wanted map[string]bool, chunks []int) (map[string]Row, error) {
	out := make(map[string]Row, len(wanted))
	for batch := range slices.Chunk(chunks, 64) {
		ds, err := r.readChunks(ctx, op, batch...)
		if err != nil {
			return nil, err
		}
		for _, d := range ds {
			if wanted[d.ID] {
				out[d.ID] = d
			}
		}
	}
	return out, nil
}
