package record

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
	"github.com/rs/xid"
)

// RowFind is what looking up one row came to: the row goes to To, which is StateExpanded,
// NoDesktop, Held or Failed, the latter two with a Failure.
type RowFind struct {
	To      tasks.State    `json:"to"`
	Note    tasks.Note     `json:"note,omitempty"`
	Failure *tasks.Failure `json:"failure,omitempty"`
	Detail  string         `json:"detail,omitempty"`
	// Desktops are the ids that were found.
	Desktops []string `json:"desktops,omitempty"`
}

// Find is what looking up all of an operation's rows came to.
type Find struct {
	Desktops []string            // to be detached, each once, and none that has a row already
	Expect   map[string][]string // per desktop, the users from whom it is to be taken
	FoundAs  map[string]string   // per desktop, the computer's name that it was found by
	Rows     map[string]RowFind  // per row looked up, by id
}

// ErrOvertaken says that another worker looked the rows up at the same time,
// and that nothing was written.
var ErrOvertaken = errors.New("the rows were looked up by another worker at the same time")

// LookupRows reads an operation's rows that name users or computers.
func (r *Record) LookupRows(ctx context.Context, op Operation) ([]Row, error) {
	first, end := op.lookupChunks()
	return r.readChunks(ctx, op, chunkRange(first, end)...)
}

// NoteFinds keeps what looking up the rows of one chunk came to, until AddFound says
// what it comes to for the operation.
func (r *Record) NoteFinds(ctx context.Context, op string, chunk int, finds map[string]RowFind) error {
	if err := r.rdb.HSet(ctx, r.keys.op(op), findField+strconv.Itoa(chunk), mustJSON(finds)).Err(); err != nil {
		return fmt.Errorf("noting what was looked up for operation %s: %w", op, err)
	}
	return nil
}

// Finds reads what NoteFinds kept, by chunk; those not looked up are missing.
func (r *Record) Finds(ctx context.Context, op Operation) (map[int]map[string]RowFind, error) {
	out := map[int]map[string]RowFind{}
	fields := findFields(op)
	if len(fields) == 0 {
		return out, nil
	}
	values, err := r.rdb.HMGet(ctx, r.keys.op(op.ID), fields...).Result()
	if err != nil {
		return nil, fmt.Errorf("reading what was looked up for operation %s: %w", op.ID, err)
	}
	first, _ := op.lookupChunks()
	for i, v := range values {
		if s, noted := v.(string); noted {
			var finds map[string]RowFind
			if err := decodeJSON(s, &finds); err != nil {
				return nil, fmt.Errorf("reading what was looked up for operation %s: %w", op.ID, err)
			}
			out[first+i] = finds
		}
	}
	return out, nil
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

// AddFound makes the desktops that an operation's look-ups found rows of it, all or
// none, notes what is to become of the rows that were looked up, and enqueues the new
// chunks. SettleLookups then writes what was noted; a crash in between leaves that to
// whoever looks at the rows next. If the operation is no longer as it was when the
// rows were looked up the error is ErrOvertaken.
func (p *Producer) AddFound(ctx context.Context, op Operation, f Find) (Operation, error) {
	r := p.Record
	fail := func(err error) (Operation, error) {
		return op, fmt.Errorf("adding the desktops found for operation %s: %w", op.ID, err)
	}
	token := xid.New().String()
	if err := r.rdb.HSet(ctx, r.keys.op(op.ID), fieldToken, token).Err(); err != nil {
		return fail(err)
	}
	if err := r.writeHistory(ctx, op, f.Desktops, f.Expect, op.Chunks()); err != nil {
		return fail(err)
	}
	after := op
	after.found = slices.Clone(op.found)
	first, end := op.lookupChunks()
	commit := []any{token, encodeSizes(op.found), "", len(f.Desktops), mustJSON(f.Rows), first, end - 1}
	var puts []*scriptCall
	for ids := range slices.Chunk(f.Desktops, ChunkSize) {
		n := after.Chunks()
		fields := newChunk(ids, f.Expect, p.now())
		if v, any := encodeFoundAs(ids, f.FoundAs); any {
			fields = append(fields, foundAsField, v)
		}
		puts = append(puts, &scriptCall{
			script: scriptPutFound, keys: []string{r.keys.op(op.ID), r.keys.chunk(op.ID, n)}, args: append([]any{token}, fields...),
		})
		commit = append(commit, n, len(ids))
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
	v, err := r.runScript(ctx, scriptCommitFound, []string{r.keys.op(op.ID), r.keys.open(op.ID)}, commit...)
	if err != nil {
		return fail(err)
	}
	if done, _ := v.(int64); done == 0 {
		return fail(ErrOvertaken)
	}
	for n := op.Chunks(); n < after.Chunks(); n++ {
		if err := p.dispatch(ctx, after, n, 0, after.NotBefore); err != nil {
			break // a reconciler enqueues it
		}
	}
	return after, nil
}

// Found reads what AddFound noted, by row, and SettleLookups has not yet written; nil
// if there is nothing.
func (r *Record) Found(ctx context.Context, op string) (map[string]RowFind, error) {
	s, err := r.rdb.HGet(ctx, r.keys.op(op), fieldResolving).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what was found for operation %s: %w", op, err)
	}
	var out map[string]RowFind
	return out, decodeJSON(s, &out)
}

// SettleLookups writes what AddFound noted to the rows that were looked up. It returns
// what it wrote, also with an error that came after that.
func (r *Record) SettleLookups(ctx context.Context, now time.Time, op Operation, found map[string]RowFind, by string) (changes []Change, done []Applied, err error) {
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
		return changes, done, fmt.Errorf("settling the look-ups of operation %s: %w", op.ID, err)
	}
	return changes, done, nil
}

// CountHints adds to how many rows of an operation hints were looked for, and gives
// how many of n more may be, if most may in all.
func (r *Record) CountHints(ctx context.Context, op string, n, most int) (int, error) {
	total, err := r.rdb.HIncrBy(ctx, r.keys.op(op), fieldHints, int64(n)).Result()
	if err != nil {
		return 0, fmt.Errorf("counting the hints of operation %s: %w", op, err)
	}
	return min(n, max(0, most-int(total)+n)), nil
}

var scriptHint = script("hint")

// AddHints adds to the messages of held rows, by id, what was probably meant. Rows that
// are no longer held with a code are left alone.
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
		calls = append(calls, &scriptCall{script: scriptHint, keys: []string{r.keys.errors(op.ID)}, args: []any{ids[i], s, encodeFailure(f, final)}})
	}
	if len(calls) == 0 {
		return nil
	}
	if err := r.runScripts(ctx, calls, nil); err != nil {
		return fail(err)
	}
	return nil
}
