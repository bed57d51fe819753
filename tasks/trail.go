package tasks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// The trail of an operation is append-only: each change of a chunk adds one
// entry to the chunk's list, in the same step that makes the change. The
// entries of a chunk are chained by SHA-256, beginning with what was asked and
// the rows of the chunk,
//
//	h(0) = SHA-256("detachd trail 1\n" + accepted operation JSON + "\n" + chunk number + "\n" + rows)
//	h(n) = SHA-256(h(n-1) + entry n as stored)
//
// where a row is its id, a tab, its expected users joined by tabs, and a
// newline. The operation's head is SHA-256 of its chunks' last hashes, in the
// order of the chunks. Whoever has kept a head can tell whether any entry, row
// or part of the request was altered since: the head is stored when the
// operation ends, logged then, and part of every report.

// TrailEntry is one change of a chunk.
type TrailEntry struct {
	At     time.Time
	By     string         // the worker, or the person
	CallID string         // the call that it belongs to
	Moves  []TrailMove    // of its desktops
	Before map[int]Before // by position in the chunk: what was read before the call; times to the millisecond
}

// TrailMove is one step of some desktops of a chunk.
type TrailMove struct {
	From, To  State
	Note      Note
	Detail    string  // what the desktops were seen as, or the error's code; may be the cloud's text
	Positions []Range // in the chunk
}

// storedEntry is a TrailEntry as the script writes it. A move is a pair: from
// and to, note, and detail, separated by "|", and the positions.
type storedEntry struct {
	At     int64       `json:"t"`
	By     string      `json:"by"`
	CallID string      `json:"call"`
	Before string      `json:"b"` // see packBefore
	Moves  [][2]string `json:"m"`
}

func trailTag(m Move) string {
	detail := m.Detail
	if detail == "" && m.Failure != nil {
		detail = m.Failure.Code
	}
	if detail == "" && m.Note == NoNote {
		return `"` + string(m.Desktop.State) + string(m.To) + `||"` // almost all are so
	}
	return mustJSON(string(m.Desktop.State) + string(m.To) + "|" + string(m.Note) + "|" + detail)
}

// trailTogether is what the trail says of desktops that are moved together.
func trailTogether(ch Change, p plan) string {
	if len(p.together) == 0 {
		return ""
	}
	byTag := map[string][]int{} // the same status can still have been seen as different things
	for _, i := range p.together {
		tag := trailTag(ch.Moves[i])
		byTag[tag] = append(byTag[tag], ch.Moves[i].Desktop.Position)
	}
	parts := make([]string, 0, 1)
	for tag, places := range byTag {
		parts = append(parts, "["+tag+`,"`+encodeRanges(Ranges(places))+`"]`)
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

// trailHead is what an entry says of the whole change, to follow its time.
func trailHead(ch Change) string {
	head := struct {
		By     string `json:"by,omitempty"`
		CallID string `json:"call,omitempty"`
		Before string `json:"b,omitempty"`
	}{By: ch.By}
	if ch.Call != nil {
		head.CallID = ch.Call.ID
	}
	var read []beforeAt
	for _, m := range ch.Moves {
		if m.Before != nil {
			read = append(read, beforeAt{m.Desktop.Position, *m.Before})
		}
	}
	if len(read) > 0 {
		slices.SortFunc(read, func(a, b beforeAt) int { return a.position - b.position })
		head.Before = packBefore(read)
	}
	s := mustJSON(head)
	if s == "{}" {
		return ""
	}
	return "," + s[1:len(s)-1]
}

// ParseTrailEntry reads an entry as it is stored.
func ParseTrailEntry(raw string) (TrailEntry, error) {
	var s storedEntry
	if err := json.Unmarshal([]byte(raw), &s); err != nil {
		return TrailEntry{}, fmt.Errorf("an entry of the trail cannot be read: %w", err)
	}
	e := TrailEntry{At: time.UnixMilli(s.At).UTC(), By: s.By, CallID: s.CallID}
	if s.Before != "" {
		readings, err := unpackBefore(s.Before)
		if err != nil {
			return TrailEntry{}, fmt.Errorf("an entry of the trail cannot be read: %w", err)
		}
		e.Before = make(map[int]Before, len(readings))
		for _, b := range readings {
			e.Before[b.position] = b.Before
		}
	}
	for _, move := range s.Moves {
		f := strings.SplitN(move[0], "|", 3)
		if len(f) != 3 || len(f[0]) != 2 {
			return TrailEntry{}, fmt.Errorf("an entry of the trail cannot be read: move %q", move[0])
		}
		m := TrailMove{From: State(f[0][0]), To: State(f[0][1]), Note: Note(f[1]), Detail: f[2]}
		places, err := decodeRanges(move[1])
		if err != nil {
			return TrailEntry{}, fmt.Errorf("an entry of the trail cannot be read: %w", err)
		}
		for _, p := range places {
			if n := len(m.Positions); n > 0 && m.Positions[n-1].Last+1 == p.First {
				m.Positions[n-1].Last = p.Last
			} else {
				m.Positions = append(m.Positions, p)
			}
		}
		e.Moves = append(e.Moves, m)
	}
	return e, nil
}

// Chain is the hash chain of one chunk's trail, made with StartChain.
type Chain [sha256.Size]byte

// StartChain begins a chain. accepted is the operation's JSON as it was
// accepted (see Record.Accepted); of the rows, in the order of their positions,
// ID and Expect count.
func StartChain(accepted string, chunk int, rows []Desktop) Chain {
	h := sha256.New()
	fmt.Fprintf(h, "detachd trail 1\n%s\n%d\n", accepted, chunk)
	for _, d := range rows {
		fmt.Fprintf(h, "%s\t%s\n", d.ID, strings.Join(d.Expect, "\t"))
	}
	return Chain(h.Sum(nil))
}

// Add continues the chain with an entry as it is stored.
func (c Chain) Add(raw string) Chain { return sha256.Sum256(append(c[:], raw...)) }

// Head joins the chains of an operation's chunks, in their order, in hex.
func Head(chains []Chain) string {
	h := sha256.New()
	for _, c := range chains {
		h.Write(c[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Evidence is all that is known of one chunk.
type Evidence struct {
	Chunk    int
	Desktops []Desktop // by position, with Failure and Before
	Trail    []TrailEntry
	Raw      []string // the entries of Trail as they are stored
	Chain    Chain    // over all of them
}

// Check replays the trail: every step must begin where the one before it ended,
// and the last must end where the row stands.
func (e Evidence) Check() error {
	at := make([]State, len(e.Desktops))
	for i := range at {
		at[i] = Queued
	}
	for n, entry := range e.Trail {
		for p, s := range entry.Steps() {
			if p < 0 || p >= len(at) {
				return fmt.Errorf("chunk %d, entry %d of the trail is about row %d, which does not exist", e.Chunk, n, p)
			}
			if at[p] != s.From {
				return fmt.Errorf("chunk %d, entry %d of the trail takes %s from %s, but it was %s", e.Chunk, n, e.Desktops[p].ID, s.From, at[p])
			}
			at[p] = s.To
		}
	}
	for i, d := range e.Desktops {
		if at[i] != d.State {
			return fmt.Errorf("chunk %d: by its trail %s is %s, by its row %s", e.Chunk, d.ID, at[i], d.State)
		}
	}
	return nil
}

// Accepted gives the operation's JSON as it was accepted, byte for byte.
func (r *Record) Accepted(ctx context.Context, op string) (string, error) {
	s, err := r.rdb.HGet(ctx, r.keys.op(op), fieldOperation).Result()
	if errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("operation %s: %w", op, ErrNotFound)
	}
	return s, err
}

// Evidence reads all that is known of some chunks of an operation, first
// included and end not, in two round trips.
func (r *Record) Evidence(ctx context.Context, op Operation, first, end int) ([]Evidence, error) {
	refs := make([]chunkID, 0, end-first)
	for n := first; n < end; n++ {
		refs = append(refs, chunkID{op.ID, n})
	}
	out, err := r.evidence(ctx, refs)
	if err != nil {
		return nil, err
	}
	var all []Desktop
	for _, e := range out {
		all = append(all, e.Desktops...)
	}
	if err := r.addFailures(ctx, op, all); err != nil {
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

// evidence reads chunks, of any operations, with their trails as stored.
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
		err = ErrNotFound // removed meanwhile
	}
	if err != nil {
		return nil, fmt.Errorf("reading the trail: %w", err)
	}
	out := make([]Evidence, len(refs))
	for i, x := range refs {
		e := Evidence{Chunk: x.chunk, Raw: trails[i].Val()}
		if e.Desktops, err = decodePinned(x.op, x.chunk, chunks[i].Val(), trails[i].Val()); err != nil {
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

// heads computes the heads of operations' trails, by operation, and shows each chunk
// that it reads for that.
func (r *Record) heads(ctx context.Context, ops []Operation, show func(Operation, Evidence) error) (map[string]string, error) {
	var refs []chunkID
	byID := map[string]Operation{}
	for _, op := range ops {
		byID[op.ID] = op
		for n := range op.Chunks() {
			refs = append(refs, chunkID{op.ID, n})
		}
	}
	chains := map[string][]Chain{}
	for batch := range slices.Chunk(refs, 64) {
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
		out[id] = Head(cs)
	}
	return out, nil
}

// TrailHead computes the head of an operation's trail as it is now, in hex.
func (r *Record) TrailHead(ctx context.Context, op Operation) (string, error) {
	heads, err := r.heads(ctx, []Operation{op}, func(Operation, Evidence) error { return nil })
	return heads[op.ID], err
}

func followMember(op string, chunk int) string { return op + ":" + strconv.Itoa(chunk) }
