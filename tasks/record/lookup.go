package record

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
	"github.com/rs/xid"
)

// RowFind is the result of looking up one row. The row goes to state To: StateExpanded,
// StateNoDesktop, or StateHeld or StateFailed with a Failure.
type RowFind struct {
	To      tasks.State    `json:"to"`
	Note    tasks.Note     `json:"note,omitempty"`
	Failure *tasks.Failure `json:"failure,omitempty"`
	Detail  string         `json:"detail,omitempty"`
	// Desktops are the ids of the desktops found.
	Desktops []string `json:"desktops,omitempty"`
}

// Find is the result of looking up all rows of an operation.
type Find struct {
	Desktops []string            // to be detached, each once; desktops that already have a row are skipped
	Expect   map[string][]string // per desktop, the users who lose it
	FoundAs  map[string]string   // per desktop, the computer name that found it
	Rows     map[string]RowFind  // per row looked up, by id
}

// ErrOvertaken means that another worker looked the rows up at the same time, or that one of them
// was moved meanwhile, by a cancel or its deadline. Nothing was written.
var ErrOvertaken = errors.New("the rows were looked up by another worker, or moved, at the same time")

// LookupRows reads an operation's rows that name users or computers.
func (r *Record) LookupRows(ctx context.Context, op Operation) ([]Row, error) {
	first, end := op.lookupChunks()
	return r.readChunks(ctx, op, chunkRange(first, end)...)
}

// NoteFinds keeps the results of the look-ups of one chunk until AddFound combines them
// for the operation.
func (r *Record) NoteFinds(ctx context.Context, op string, chunk int, finds map[string]RowFind) error {
	if err := r.rdb.HSet(ctx, r.keys.op(op), findField+strconv.Itoa(chunk), mustJSON(finds)).Err(); err != nil {
		return fmt.Errorf("storing the look-up results of operation %s: %w", op, err)
	}
	return nil
}

// Finds reads what NoteFinds kept, by chunk, and what the plan found that the operation runs, if
// it runs one. Chunks that were not looked up are missing in kept.
func (r *Record) Finds(ctx context.Context, op Operation) (kept, planned map[int]map[string]RowFind, err error) {
	ofPlan, err := r.plannedFinds(ctx, op)
	if err != nil {
		return nil, nil, err
	}
	kept, planned = map[int]map[string]RowFind{}, map[int]map[string]RowFind{}
	for n, p := range ofPlan {
		planned[n] = p.Finds
	}
	fields := findFields(op)
	if len(fields) == 0 {
		return kept, planned, nil
	}
	values, err := r.rdb.HMGet(ctx, r.keys.op(op.ID), fields...).Result()
	if err != nil {
		return nil, nil, fmt.Errorf("reading the look-up results of operation %s: %w", op.ID, err)
	}
	first, _ := op.lookupChunks()
	for i, v := range values {
		if s, noted := v.(string); noted {
			var finds map[string]RowFind
			if err := decodeJSON(s, &finds); err != nil {
				return nil, nil, fmt.Errorf("reading the look-up results of operation %s: %w", op.ID, err)
			}
			kept[first+i] = finds
		}
	}
	return kept, planned, nil
}

func findFields(op Operation) []string {
	first, end := op.lookupChunks()
	out := make([]string, 0, end-first)
	for n := first; n < end; n++ {
		out = append(out, findField+strconv.Itoa(n))
	}
	return out
}

var scriptPutFound = script("put_found")

var scriptCommitFound = script("commit_found")

// AddFound adds a row for every desktop that an operation's look-ups found, or for none of
// them, stores the results of the look-ups, and enqueues the new chunks. SettleLookups then
// writes the results to the rows; after a crash in between the next worker that reads the
// rows does it. The error is ErrOvertaken if the operation changed since the look-ups.
func (p *Producer) AddFound(ctx context.Context, op Operation, f Find) (Operation, error) {
	r := p.Record
	fail := func(err error) (Operation, error) {
		return op, fmt.Errorf("adding the desktops found for operation %s: %w", op.ID, err)
	}
	planned, err := r.plannedFinds(ctx, op)
	if err != nil {
		return fail(err)
	}
	token := xid.New().String()
	if err := r.rdb.HSet(ctx, r.keys.op(op.ID), fieldToken, token).Err(); err != nil {
		return fail(err)
	}
	trails, entries, err := r.stillLookedUp(ctx, op, f)
	if err != nil {
		return fail(err)
	}
	if err := r.writeHistory(ctx, op, f.Desktops, f.Expect, op.Chunks()); err != nil {
		return fail(err)
	}
	after := op
	after.found = slices.Clone(op.found)
	first, end := op.lookupChunks()
	commit := []any{token, encodeSizes(op.found), "", len(f.Desktops), mustJSON(f.Rows), first, end - 1, entries}
	var puts []*scriptCall
	for ids := range slices.Chunk(f.Desktops, ChunkSize) {
		n := after.Chunks()
		fields := newChunk(ids, f.Expect, p.now())
		if v, any := encodeFoundAs(ids, f.FoundAs); any {
			fields = append(fields, foundAsField, v)
		}
		fields = append(fields, pinFound(ids, planned)...)
		puts = append(puts, &scriptCall{
			script: scriptPutFound, keys: []string{r.keys.op(op.ID), r.keys.chunk(op.ID, n)}, args: append([]any{token}, fields...),
		})
		commit = append(commit, n, len(ids)) // Lua unpacks less than 8,000 values: 399,000 desktops, 39 for each of 10,000 users
		after.found = append(after.found, len(ids))
		after.Total += len(ids)
		after.Counts.Queued += len(ids)
	}
	commit[2] = encodeSizes(after.found)
	for batch := range slices.Chunk(puts, 50) {
		if err := r.runScripts(ctx, batch, nil); err != nil {
			return fail(err)
		}
	}
	v, err := r.runScript(ctx, scriptCommitFound, append([]string{r.keys.op(op.ID), r.keys.open(op.ID)}, trails...), commit...)
	if err != nil {
		return fail(err)
	}
	if done, _ := v.(int64); done == 0 {
		return fail(ErrOvertaken)
	}
	for n := op.Chunks(); n < after.Chunks(); n++ {
		if err := p.dispatch(ctx, after, n, 0, after.NotBefore); err != nil {
			break // a sweep enqueues it
		}
	}
	return after, nil
}

// stillLookedUp returns the trails of the rows that were looked up, and how many entries these have
// while all the rows are queued. The error is ErrOvertaken if one is not.
func (r *Record) stillLookedUp(ctx context.Context, op Operation, f Find) (trails []string, entries string, err error) {
	for _, n := range chunkRange(op.lookupChunks()) {
		trails = append(trails, r.keys.trail(op.ID, n))
	}
	cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error { // before the rows: so no move is missed
		for _, key := range trails {
			p.LLen(ctx, key)
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	all := make([]string, len(cmds))
	for i, cmd := range cmds {
		all[i] = strconv.FormatInt(cmd.(*redis.IntCmd).Val(), 10)
	}
	rows, err := r.LookupRows(ctx, op)
	if err != nil {
		return nil, "", err
	}
	for _, d := range rows {
		if _, looked := f.Rows[d.ID]; looked && d.State != tasks.StateQueued {
			return nil, "", ErrOvertaken
		}
	}
	return trails, strings.Join(all, ","), nil
}

// Found reads, by row, the results that AddFound stored and SettleLookups has not written
// yet; nil if there are none.
func (r *Record) Found(ctx context.Context, op string) (map[string]RowFind, error) {
	s, err := r.rdb.HGet(ctx, r.keys.op(op), fieldResolving).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the look-up results of operation %s: %w", op, err)
	}
	var out map[string]RowFind
	return out, decodeJSON(s, &out)
}

// SettleLookups writes the results that AddFound stored to the rows that were looked up.
// It returns what it wrote, also with an error that followed the write.
func (r *Record) SettleLookups(
	ctx context.Context, now time.Time, op Operation, found map[string]RowFind, by string,
) (changes []Change, done []Applied, err error) {
	rows, err := r.LookupRows(ctx, op)
	if err != nil {
		return nil, nil, err
	}
	for _, d := range rows {
		find, looked := found[d.ID]
		if !looked || d.State != tasks.StateQueued {
			continue
		}
		if n := len(changes); n == 0 || changes[n-1].Chunk != d.Chunk {
			changes = append(changes, Change{Operation: op, Chunk: d.Chunk, By: by})
		}
		ch := &changes[len(changes)-1]
		ch.Moves = append(ch.Moves, Move{
			Desktop: d, To: find.To, Attempts: d.Attempts, Note: find.Note, Failure: find.Failure, Detail: find.Detail,
		})
	}
	if done, err = r.apply(ctx, now, changes, nil, nil); err != nil {
		return nil, nil, err
	}
	if err := r.rdb.HDel(ctx, r.keys.op(op.ID), fieldResolving).Err(); err != nil {
		return changes, done, fmt.Errorf("finishing the look-ups of operation %s: %w", op.ID, err)
	}
	return changes, done, nil
}

// CountHints counts n more rows of an operation for which hints are searched, and returns
// how many of them may be, if the operation may have at most most.
func (r *Record) CountHints(ctx context.Context, op string, n, most int) (int, error) {
	total, err := r.rdb.HIncrBy(ctx, r.keys.op(op), fieldHints, int64(n)).Result()
	if err != nil {
		return 0, fmt.Errorf("counting the hints of operation %s: %w", op, err)
	}
	return min(n, max(0, most-int(total)+n)), nil
}

var scriptHint = script("hint")

// AddHints adds the probable intended name to the messages of held rows, by id. Rows that
// are no longer held with the code are skipped.
func (r *Record) AddHints(ctx context.Context, op Operation, code string, hints map[string]string) error {
	ids := slices.Sorted(maps.Keys(hints))
	if len(ids) == 0 {
		return nil
	}
	fail := func(err error) error { return fmt.Errorf("adding hints to operation %s: %w", op.ID, err) }
	values, err := r.rdb.HMGet(ctx, r.keys.errors(op.ID), ids...).Result()
	if err != nil {
		return fail(err)
	}
	var calls []*scriptCall
	for i, v := range values {
		s, ok := v.(string)
		if !ok {
			continue
		}
		f, final, err := decodeFailure(op.ID, op.Project, ids[i], s)
		if err != nil {
			return fail(err)
		}
		if !final || f.Code != code {
			continue
		}
		f.Message += ": " + hints[ids[i]]
		args := []any{ids[i], s, encodeFailure(f, final)}
		calls = append(calls, &scriptCall{script: scriptHint, keys: []string{r.keys.errors(op.ID)}, args: args})
	}
	if len(calls) == 0 {
		return nil
	}
	if err := r.runScripts(ctx, calls, nil); err != nil {
		return fail(err)
	}
	return nil
}
