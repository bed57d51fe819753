package record

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/redis/go-redis/v9"
	"github.com/rs/xid"

	"github.com/detachd/detachd/tasks"
)

// An index leads from a text, a desktop's id or a name, to the chunks that contain it. It
// has buckets by the text's hash. A bucket is a STRING of entries of a fixed length,
// which takes no memory beyond its bytes; large hashes and sorted sets take three times
// as much.
//
// An entry is, in bytes: the hash (8), the operation (12), the first and the last chunk
// of a run (2 each), when the operation was accepted (6; the later, the smaller). Readers
// check it against the record, so an entry too many, or two texts with one hash, is
// harmless. A long bucket ends in spare entries, which new ones replace, so that what is entered
// does not take longer the more there is: Redis copies a bucket that a script writes anew, and Lua
// also hashes all of it. lua/lib/spare.lua says how they look.
//
// Several buckets share a hash tag, so that one script can process many of them, also where a
// proxy makes a Cluster look like one server.
const (
	indexBuckets = 4096
	indexTags    = 16
	hashBytes    = 8
	opAt         = hashBytes
	chunksAt     = opAt + 12
	lateAt       = chunksAt + 4
	entryBytes   = lateAt + 6
)

// spareEntry is how the spare entries of a long bucket begin.
var spareEntry = strings.Repeat("\x00", chunksAt)

// index returns the key of a bucket.
type index func(bucket int) string

func bucketOf(text string) int { return hashBucket(xxhash.Sum64String(text)) }

// hashBucket uses the last bits. A bucket is searched by the first bytes of a hash, which
// should differ within it.
func hashBucket(hash uint64) int { return int(hash % indexBuckets) }

// lateness sorts the latest time first.
func lateness(t time.Time) uint64 { return 1<<48 - 1 - uint64(t.UnixMilli())&(1<<48-1) }

// chunkPlace is a chunk in an index; its order is the order of search results.
type chunkPlace struct {
	late uint64
	chunkID
}

func placeOf(op Operation, chunk int) chunkPlace {
	return chunkPlace{lateness(op.AcceptedAt), chunkID{op.ID, chunk}}
}

func compareChunks(a, b chunkPlace) int {
	return cmp.Or(cmp.Compare(a.late, b.late), cmp.Compare(a.op, b.op), cmp.Compare(a.chunk, b.chunk))
}

// indexEntry is an entry that was read.
type indexEntry struct {
	chunkPlace
	last int // the last chunk of the run
}

func parseEntries(s string) []indexEntry {
	out := make([]indexEntry, 0, len(s)/entryBytes)
	for ; len(s) >= entryBytes; s = s[entryBytes:] {
		e := []byte(s[:entryBytes])
		if s[:chunksAt] == spareEntry {
			continue
		}
		first := chunkID{xid.ID(e[opAt:chunksAt]).String(), int(binary.BigEndian.Uint16(e[chunksAt:]))}
		late := binary.BigEndian.Uint64(e[lateAt-2:]) & (1<<48 - 1)
		out = append(out, indexEntry{chunkPlace{late, first}, int(binary.BigEndian.Uint16(e[chunksAt+2:]))})
	}
	return out
}

// chunksFrom returns the first n chunks of entries from a place on, each once.
func chunksFrom(entries []indexEntry, from chunkPlace, n int) (out []chunkPlace) {
	slices.SortFunc(entries, func(a, b indexEntry) int { return compareChunks(a.chunkPlace, b.chunkPlace) })
	for _, e := range entries {
		at := e.chunkPlace
		if at.late == from.late && at.op == from.op {
			at.chunk = max(at.chunk, from.chunk)
		}
		if len(out) > 0 && out[len(out)-1].late == at.late && out[len(out)-1].op == at.op {
			at.chunk = max(at.chunk, out[len(out)-1].chunk+1)
		}
		for ; at.chunk <= e.last; at.chunk++ {
			if compareChunks(at, from) < 0 {
				break // the operation is before from
			}
			if len(out) == n {
				return out
			}
			out = append(out, at)
		}
	}
	return out
}

// chunksIn returns all chunks of entries, each once.
func chunksIn(entries []indexEntry) (out []chunkID) {
	for _, at := range chunksFrom(entries, chunkPlace{}, math.MaxInt) {
		if !slices.Contains(out, at.chunkID) { // two producers that accept one request at once both write their time
			out = append(out, at.chunkID)
		}
	}
	return out
}

// indexWrites are new entries of an index, by bucket.
type indexWrites map[int][]byte

func (w indexWrites) add(op Operation, chunk int, text string) {
	id, err := xid.FromString(op.ID)
	if err != nil || chunk > math.MaxUint16 {
		return // no producer accepted this operation
	}
	e := make([]byte, 0, entryBytes)
	hash := xxhash.Sum64String(text)
	e = binary.BigEndian.AppendUint64(e, hash)
	e = append(e, id[:]...)
	e = binary.BigEndian.AppendUint16(e, uint16(chunk))
	e = binary.BigEndian.AppendUint16(e, uint16(chunk))
	e = append(e, binary.BigEndian.AppendUint64(nil, lateness(op.AcceptedAt))[2:]...)
	have := w[hashBucket(hash)]
	for i := len(have) - entryBytes; i >= 0; i -= entryBytes {
		if string(have[i:i+chunksAt]) != string(e[:chunksAt]) {
			continue
		}
		switch last := binary.BigEndian.Uint16(have[i+chunksAt+2:]); chunk {
		case int(last):
			return
		case int(last) + 1:
			binary.BigEndian.PutUint16(have[i+chunksAt+2:], uint16(chunk))
			return
		}
	}
	w[hashBucket(hash)] = append(have, e...)
}

// addDesktop adds a row to the index of desktops, unless it is to be looked up; see findRows.
func (w indexWrites) addDesktop(op Operation, chunk int, id string) {
	if _, is := lookedUp(id); !is {
		w.add(op, chunk, id)
	}
}

// log returns additions to the logs of operations, by operation; see addLogged.
func (w indexWrites) log(flag uint16) map[string][]byte {
	out, last := map[string][]byte{}, map[string]int{}
	for bucket, entries := range w {
		for _, e := range parseEntries(string(entries)) {
			if n, logged := last[e.op]; !logged || n != bucket {
				out[e.op], last[e.op] = binary.BigEndian.AppendUint16(out[e.op], uint16(bucket)|flag), bucket
			}
		}
	}
	return out
}

var scriptIndexAdd = script("index_add", "find", "spare")

var scriptIndexFind = script("index_find", "find")

var scriptIndexRemove = script("index_remove", "find", "spare")

// indexBatch is how many buckets a script processes: it takes about a millisecond if each
// has hundreds of entries. indexAtOnce is how many scripts one round trip has.
const (
	indexBatch  = 32
	indexAtOnce = 64
)

// bucketCalls runs a script over buckets; one call has buckets of the same tag.
type bucketCalls struct {
	script *redis.Script
	first  []any               // arguments before those of the buckets
	open   map[int]*scriptCall // by tag
	all    []*scriptCall
}

// add adds a bucket, and returns its call and its place in the call.
func (b *bucketCalls) add(bucket int, key string, args ...any) (c *scriptCall, place int) {
	tag := bucket % indexTags
	c = b.open[tag]
	if c == nil || len(c.keys) == indexBatch {
		c = &scriptCall{script: b.script, args: slices.Clone(b.first)}
		if b.open == nil {
			b.open = map[int]*scriptCall{}
		}
		b.open[tag], b.all = c, append(b.all, c)
	}
	c.keys, c.args = append(c.keys, key), append(c.args, args...)
	return c, len(c.keys) - 1
}

func (w indexWrites) calls(key index) iter.Seq[*scriptCall] {
	calls := bucketCalls{script: scriptIndexAdd, first: []any{entryBytes}}
	for bucket, entries := range w {
		calls.add(bucket, key(bucket), entries)
	}
	return slices.Values(calls.all)
}

// runBatches runs lists of scripts, one list after the other. It asks a list for more only when it has
// run what it has: all names of a large operation would take some megabytes as arguments.
func (r *Record) runBatches(ctx context.Context, lists ...iter.Seq[*scriptCall]) error {
	var batch []*scriptCall
	for _, calls := range lists {
		for c := range calls {
			if batch = append(batch, c); len(batch) < indexAtOnce {
				continue
			}
			if err := r.runScripts(ctx, batch, nil); err != nil {
				return err
			}
			batch = nil
		}
	}
	if len(batch) == 0 {
		return nil
	}
	return r.runScripts(ctx, batch, nil)
}

// find reads the entries of texts from an index, in the order of the texts.
func (r *Record) find(ctx context.Context, key index, texts ...string) ([][]indexEntry, error) {
	calls := bucketCalls{script: scriptIndexFind, first: []any{entryBytes}}
	asked, places := make([]*scriptCall, len(texts)), make([]int, len(texts))
	for i, text := range texts {
		hash := xxhash.Sum64String(text)
		bucket := hashBucket(hash)
		asked[i], places[i] = calls.add(bucket, key(bucket), binary.BigEndian.AppendUint64(nil, hash))
	}
	if err := r.runBatches(ctx, slices.Values(calls.all)); err != nil {
		return nil, fmt.Errorf("reading an index: %w", err)
	}
	out := make([][]indexEntry, len(texts))
	for i, c := range asked {
		found, err := c.reply.StringSlice()
		if err != nil || len(found) != len(c.keys) {
			return nil, fmt.Errorf("reading an index: unexpected reply %.100q: %w", found, err)
		}
		out[i] = parseEntries(found[places[i]])
	}
	return out, nil
}

// findRows reads the entries of rows by their ids: those of desktops from their index, and those of
// users and computers to be looked up from the index of names, which has other rows, too.
func (r *Record) findRows(ctx context.Context, ids ...string) ([][]indexEntry, error) {
	var desktops, names []string
	var ofDesktops, ofNames []int
	for i, id := range ids {
		if name, is := lookedUp(id); is {
			names, ofNames = append(names, foldName(name)), append(ofNames, i)
		} else {
			desktops, ofDesktops = append(desktops, id), append(ofDesktops, i)
		}
	}
	out := make([][]indexEntry, len(ids))
	for _, x := range []struct {
		key   index
		texts []string
		of    []int
	}{{r.keys.history, desktops, ofDesktops}, {r.keys.named, names, ofNames}} {
		if len(x.texts) == 0 {
			continue
		}
		found, err := r.find(ctx, x.key, x.texts...)
		if err != nil {
			return nil, err
		}
		for i, entries := range found {
			out[x.of[i]] = entries
		}
	}
	return out, nil
}

// lookedUp returns the name in the id of a row of a user or a computer.
func lookedUp(id string) (name string, is bool) {
	if name, is = tasks.UserOf(id); !is {
		name, is = tasks.ComputerOf(id)
	}
	return name, is
}

// buckets are some buckets of the two indexes.
type buckets struct{ history, names map[int]bool }

// The log of an operation names, for its removal, the buckets with entries that cannot be
// derived from its chunks: two bytes each.
const historyLogged = 1 << 15 // set for the index of desktops, not for that of names

// logCalls append to the log. They go before the entries, because a removal misses
// entries that are not in the log. They are not scripts: if Redis knew only the second
// of two scripts, it would run before the first.
func (r *Record) logCalls(w indexWrites, flag uint16) iter.Seq[*scriptCall] {
	return func(yield func(*scriptCall) bool) {
		for op, log := range w.log(flag) {
			if !yield(&scriptCall{args: []any{"APPEND", r.keys.logged(op), log}}) {
				return
			}
		}
	}
}

// addLogged adds the buckets that a log names.
func (b buckets) addLogged(log []byte) {
	for ; len(log) >= 2; log = log[2:] {
		n := binary.BigEndian.Uint16(log)
		if n&historyLogged != 0 {
			b.history[int(n&^historyLogged)] = true
		} else {
			b.names[int(n)] = true
		}
	}
}
