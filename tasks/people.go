package tasks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/xid"
)

// Find is what looking up an operation's users came to.
type Find struct {
	Desktops []string            // to be detached, each once, and none that has a row already
	Expect   map[string][]string // per desktop, the users it was found by
	Users    map[string]UserFind // per user looked up, by name
}

// UserFind is what became of one user of an operation: their row goes to To,
// which is Resolved, NoDesktop, Held or Failed, with a Failure.
type UserFind struct {
	To      State    `json:"to"`
	Note    Note     `json:"note,omitempty"`
	Failure *Failure `json:"failure,omitempty"`
	Detail  string   `json:"detail,omitempty"`
}

// ErrOvertaken says that another worker looked the users up at the same time,
// and that nothing was written.
var ErrOvertaken = errors.New("the users were looked up by another worker at the same time")

// UserRows reads an operation's rows that name users.
func (r *Record) UserRows(ctx context.Context, op Operation) ([]Desktop, error) {
	first, end := op.lookupChunks()
	return r.readChunks(ctx, op, chunkRange(first, end)...)
}

// Expected gives the desktops that have rows in an operation, each with its
// expected users.
func (r *Record) Expected(ctx context.Context, op Operation) (map[string][]string, error) {
	out := make(map[string][]string, op.Total)
	const ahead = 64
	for first := 0; first < op.Chunks(); first += ahead {
		ds, err := r.readChunks(ctx, op, chunkRange(first, min(first+ahead, op.Chunks()))...)
		if err != nil {
			return nil, err
		}
		for _, d := range ds {
			if _, isUser := d.User(); !isUser {
				out[d.ID] = d.Expect
			}
		}
	}
	return out, nil
}

// scriptPutFound writes a chunk of desktops found, while the look-up that found
// them is the latest.
//
//	KEYS  operation, chunk
//	ARGV  token, then field, value, …
//	Returns 1 if it was written
var scriptPutFound = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], unpack(ARGV, 2))
return 1
`)

// scriptCommitFound makes the desktops found rows of the operation.
//
//	KEYS  operation, open
//	ARGV  token, sizes of the chunks found before, and with those added, how
//	      many rows are added, JSON of what became of the users, then
//	      chunk, size, …
//	Returns 1 if it was done
var scriptCommitFound = redis.NewScript(`
local v = redis.call('HMGET', KEYS[1], 'token', 'found')
if v[1] ~= ARGV[1] or (v[2] or '') ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], 'token')
redis.call('HSET', KEYS[1], 'users', ARGV[5])
if #ARGV > 5 then
  redis.call('HSET', KEYS[1], 'found', ARGV[3])
  redis.call('HINCRBY', KEYS[1], 'nQ', ARGV[4])
  redis.call('HSET', KEYS[2], unpack(ARGV, 6))
end
return 1
`)

// AddFound makes the desktops that were found by an operation's users rows of
// it, all or none, notes what is to become of the users' rows, and enqueues the
// new chunks. SettleUsers then writes what was noted; a crash in between leaves
// that to whoever looks at the users next. If the operation is no longer as it
// was when the users were looked up the error is ErrOvertaken.
func (p *Producer) AddFound(ctx context.Context, op Operation, f Find) (Operation, error) {
	r := p.Record
	fail := func(err error) (Operation, error) {
		return op, fmt.Errorf("adding the desktops found by the users of operation %s: %w", op.ID, err)
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
	commit := []any{token, encodeSizes(op.found), "", len(f.Desktops), mustJSON(f.Users)}
	var puts []*scriptCall
	for ids := range slices.Chunk(f.Desktops, ChunkSize) {
		n := after.Chunks()
		puts = append(puts, &scriptCall{
			script: scriptPutFound, keys: []string{r.keys.op(op.ID), r.keys.chunk(op.ID, n)},
			args: append([]any{token}, newChunk(ids, f.Expect, p.now())...),
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

// Found reads what AddFound noted and SettleUsers has not yet written; nil if
// there is nothing.
func (r *Record) Found(ctx context.Context, op string) (map[string]UserFind, error) {
	s, err := r.rdb.HGet(ctx, r.keys.op(op), fieldResolving).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what was found by the users of operation %s: %w", op, err)
	}
	var out map[string]UserFind
	return out, decodeJSON(s, &out)
}

// SettleUsers writes what AddFound noted to the users' rows. It returns what it
// wrote, also with an error that came after that.
func (r *Record) SettleUsers(ctx context.Context, now time.Time, op Operation, found map[string]UserFind, by string) (changes []Change, done []Applied, err error) {
	rows, err := r.UserRows(ctx, op)
	if err != nil {
		return nil, nil, err
	}
	for _, d := range rows {
		name, _ := d.User()
		find, looked := found[name]
		if !looked || d.State != Queued {
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
	if done, err = r.apply(ctx, now, changes, nil); err != nil {
		return nil, nil, err
	}
	if err := r.rdb.HDel(ctx, r.keys.op(op.ID), fieldResolving).Err(); err != nil {
		return changes, done, fmt.Errorf("settling the users of operation %s: %w", op.ID, err)
	}
	return changes, done, nil
}
