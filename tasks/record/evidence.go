package record

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/trail"
)

// TrailEntry is one change of a chunk; see package trail.
type TrailEntry struct {
	trail.Entry
	Before map[int]tasks.Before // Readings, by position in the chunk; times to the millisecond
}

func trailTag(m Move) string {
	detail := m.Detail
	if detail == "" && m.Failure != nil {
		detail = m.Failure.Code
	}
	return trail.Move{From: byte(m.Desktop.State), To: byte(m.To), Note: noteLetter(m.Note), Detail: detail}.Tag()
}

// trailTogether returns the moves in the trail of desktops that are moved together.
func trailTogether(ch Change, p plan) string {
	if len(p.together) == 0 {
		return ""
	}
	byTag := map[string][]int{} // desktops with the same status can have different details
	for _, i := range p.together {
		tag := trailTag(ch.Moves[i])
		byTag[tag] = append(byTag[tag], ch.Moves[i].Desktop.Position)
	}
	parts := make([]string, 0, 1)
	for tag, places := range byTag {
		parts = append(parts, "["+tag+`,"`+trail.FormatRanges(trail.Ranges(places))+`"]`)
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

// trailHead returns the part of an entry about the whole change; it follows the time.
func trailHead(ch Change) string {
	e := trail.Entry{By: ch.By}
	if ch.Call != nil {
		e.CallID = ch.Call.ID
	}
	var read []beforeAt
	for _, m := range ch.Moves {
		if m.Before == nil {
			continue
		}
		if read == nil {
			read = make([]beforeAt, 0, len(ch.Moves))
		}
		read = append(read, beforeAt{m.Desktop.Position, *m.Before})
	}
	if len(read) > 0 {
		slices.SortFunc(read, func(a, b beforeAt) int { return a.position - b.position })
		e.Readings = packBefore(read)
	}
	return e.Common()
}

// ParseTrailEntry reads a stored entry.
func ParseTrailEntry(raw string) (TrailEntry, error) {
	parsed, err := trail.Parse(raw)
	e := TrailEntry{Entry: parsed}
	if err != nil || e.Readings == "" {
		return e, err
	}
	readings, err := unpackBefore(e.Readings)
	if err != nil {
		return TrailEntry{}, fmt.Errorf("an entry of the trail cannot be read: %w", err)
	}
	e.Before = make(map[int]tasks.Before, len(readings))
	for _, b := range readings {
		e.Before[b.position] = b.Before
	}
	return e, nil
}

// StartChain begins the chain of a chunk. accepted is the operation's accepted JSON (see
// Record.Accepted); rows are in the order of their positions.
func StartChain(accepted string, chunk int, rows []Row) trail.Chain {
	return trail.Start(accepted, chunk, trailRows(rows))
}

func trailRows(ds []Row) []trail.Row {
	out := make([]trail.Row, len(ds))
	for i, d := range ds {
		out[i] = trail.Row{ID: d.ID, Expect: d.Expect, State: byte(d.State)}
	}
	return out
}

// Evidence is everything that the record has about one chunk.
type Evidence struct {
	Chunk    int
	Desktops []Row // by position, with Failure and Before
	Trail    []TrailEntry
	Raw      []string    // the stored entries of Trail
	Chain    trail.Chain // over all of them

	read *trailReadings // in Raw
}

// Check replays the trail: see trail.Check.
func (e Evidence) Check() error {
	entries := make([]trail.Entry, len(e.Trail))
	for i, x := range e.Trail {
		entries[i] = x.Entry
	}
	return trail.Check(e.Chunk, trailRows(e.Desktops), entries, tasks.StateQueued)
}

// Accepted returns the operation's JSON as it was accepted, byte for byte.
func (r *Record) Accepted(ctx context.Context, op string) (string, error) {
	s, err := r.rdb.HGet(ctx, r.keys.op(op), fieldOperation).Result()
	if errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("operation %s: %w", op, tasks.ErrNotFound)
	}
	return s, err
}

// Evidence reads everything about the chunks of an operation from first up to, but
// without, end, in two round trips.
func (r *Record) Evidence(ctx context.Context, op Operation, first, end int) ([]Evidence, error) {
	refs := make([]chunkID, 0, end-first)
	for n := first; n < end; n++ {
		refs = append(refs, chunkID{op.ID, n})
	}
	out, err := r.evidence(ctx, refs)
	if err != nil {
		return nil, err
	}
	var all []Row
	for _, e := range out {
		all = append(all, e.Desktops...)
	}
	if err := r.addFailures(ctx, op, all); err != nil {
		return nil, err
	}
	if err := r.addGivenBack(ctx, op, all); err != nil {
		return nil, err
	}
	for i := range out {
		n := copy(out[i].Desktops, all)
		all = all[n:]
		for _, raw := range out[i].Raw {
			entry, err := ParseTrailEntry(raw)
			if err != nil {
				return nil, fmt.Errorf("operation %s, chunk %d: %w", op.ID, out[i].Chunk, err)
			}
			out[i].Trail = append(out[i].Trail, entry)
			for p, b := range entry.Before {
				if p < n {
					out[i].Desktops[p].readAs(b)
				}
			}
		}
	}
	return out, nil
}

// chunkID names a chunk of any operation.
type chunkID struct {
	op    string
	chunk int
}

// evidence reads chunks of any operations, with their stored trails.
func (r *Record) evidence(ctx context.Context, refs []chunkID) ([]Evidence, error) {
	accepted := map[string]*redis.StringCmd{}
	chunks, trails := make([]*redis.MapStringStringCmd, len(refs)), make([]*redis.StringSliceCmd, len(refs))
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, x := range refs {
			if accepted[x.op] == nil {
				accepted[x.op] = p.HGet(ctx, r.keys.op(x.op), fieldOperation)
			}
			chunks[i] = p.HGetAll(ctx, r.keys.chunk(x.op, x.chunk))
			trails[i] = p.LRange(ctx, r.keys.trail(x.op, x.chunk), 0, -1)
		}
		return nil
	})
	if errors.Is(err, redis.Nil) {
		err = tasks.ErrNotFound // it was removed in the meantime
	}
	if err != nil {
		return nil, fmt.Errorf("reading the trail: %w", err)
	}
	out := make([]Evidence, len(refs))
	for i, x := range refs {
		e := Evidence{Chunk: x.chunk, Raw: trails[i].Val(), read: &trailReadings{trail: trails[i].Val()}}
		if e.Desktops, err = decodePinnedFrom(x.op, true, x.chunk, chunks[i].Val(), e.read); err != nil {
			return nil, err
		}
		e.Chain = StartChain(accepted[x.op].Val(), x.chunk, e.Desktops)
		for _, raw := range e.Raw {
			e.Chain = e.Chain.Add(raw)
		}
		out[i] = e
	}
	return out, nil
}

// headsAtOnce is the number of chunks whose evidence is in memory at once.
const headsAtOnce = 16

// heads computes the heads of operations' trails, by operation. It passes each chunk
// that it reads to show.
func (r *Record) heads(ctx context.Context, ops []Operation, show func(Operation, Evidence) error) (map[string]string, error) {
	var refs []chunkID
	byID := map[string]Operation{}
	for _, op := range ops {
		byID[op.ID] = op
		for n := range op.Chunks() {
			refs = append(refs, chunkID{op.ID, n})
		}
	}
	chains := map[string][]trail.Chain{}
	for batch := range slices.Chunk(refs, headsAtOnce) {
		es, err := r.evidence(ctx, batch)
		if err != nil {
			return nil, err
		}
		for i, e := range es {
			id := batch[i].op
			chains[id] = append(chains[id], e.Chain)
			if err := show(byID[id], e); err != nil {
				return nil, fmt.Errorf("operation %s, chunk %d: %w", id, e.Chunk, err)
			}
		}
	}
	out := make(map[string]string, len(ops))
	for id, cs := range chains {
		out[id] = trail.Head(cs)
	}
	return out, nil
}

// TrailHead computes the current head of an operation's trail, in hex.
func (r *Record) TrailHead(ctx context.Context, op Operation) (string, error) {
	heads, err := r.heads(ctx, []Operation{op}, func(Operation, Evidence) error { return nil })
	return heads[op.ID], err
}

func followMember(op string, chunk int) string { return op + ":" + strconv.Itoa(chunk) }
