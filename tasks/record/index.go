package record

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/redis/go-redis/v9"
	"github.com/rs/xid"
)

// An index leads from a text, a desktop's id or a name, to the chunks that have to
// do with it. It is spread over buckets by the text's hash, each a STRING of
// entries of a fixed length, which takes nothing but its bytes however many there
// are; hashes and sorted sets take three times as much once they are large.
//
// An entry is, in bytes: the hash (8), the operation (12), the first and the last
// chunk of a run (2 each), how late the operation was accepted (6; the later, the
// smaller). What it says is looked up in the record: one too many is harmless, and
// so are two texts of one hash.
//
// Some buckets share a hash tag, so that one script can go through many of them.
const (
	indexBuckets = 4096
	indexTags    = 16
	hashBytes    = 8
	opAt         = hashBytes
	chunksAt     = opAt + 12
	lateAt       = chunksAt + 4
	entryBytes   = lateAt + 6
)

// index gives the key of a bucket.
type index func(bucket int) string

func bucketOf(text string) int { return hashBucket(xxhash.Sum64String(text)) }

// hashBucket takes the last bits, as a bucket is searched by the first bytes of a
// hash, which should differ.
func hashBucket(hash uint64) int { return int(hash % indexBuckets) }

// lateness sorts the latest first.
func lateness(t time.Time) uint64 { return 1<<48 - 1 - uint64(t.UnixMilli())&(1<<48-1) }

// chunkPlace is a chunk as an index names it; they sort as search lists them.
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

// indexEntry is an entry as it is read.
type indexEntry struct {
	chunkPlace
	last int // chunk of the run
}

func parseEntries(s string) []indexEntry {
	out := make([]indexEntry, 0, len(s)/entryBytes)
	for ; len(s) >= entryBytes; s = s[entryBytes:] {
		e := []byte(s[:entryBytes])
		out = append(out, indexEntry{
			chunkPlace{binary.BigEndian.Uint64(e[lateAt-2:]) & (1<<48 - 1), chunkID{xid.ID(e[opAt:chunksAt]).String(), int(binary.BigEndian.Uint16(e[chunksAt:]))}},
			int(binary.BigEndian.Uint16(e[chunksAt+2:])),
		})
	}
	return out
}

// chunksFrom gives the first n chunks of entries from a place on, each once.
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
				break // an operation before it
			}
			if len(out) == n {
				return out
			}
			out = append(out, at)
		}
	}
	return out
}

// chunksIn gives all chunks of entries, each once.
func chunksIn(entries []indexEntry) (out []chunkID) {
	for _, at := range chunksFrom(entries, chunkPlace{}, math.MaxInt) {
		if !slices.Contains(out, at.chunkID) { // two who accept the same request at once both write their time
			out = append(out, at.chunkID)
		}
	}
	return out
}

// indexWrites is what is to be entered into an index, by bucket.
type indexWrites map[int][]byte

func (w indexWrites) add(op Operation, chunk int, text string) {
	id, err := xid.FromString(op.ID)
	if err != nil || chunk > math.MaxUint16 {
		return // no operation that a producer accepted
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

// log gives, by operation, what its log is to have; see addLogged.
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

var scriptIndexAdd = script("index_add", "find")

var scriptIndexFind = script("index_find", "find")

var scriptIndexRemove = script("index_remove", "find")

// indexBatch is how many buckets a script goes through, about a millisecond's work
// where each has hundreds of entries, and indexAtOnce how many scripts are sent in
// one round trip.
const (
	indexBatch  = 32
	indexAtOnce = 64
)

// bucketCalls runs a script over buckets, as many as share a tag in one go.
type bucketCalls struct {
	script *redis.Script
	first  []any               // arguments before those of the buckets
	open   map[int]*scriptCall // by tag
	all    []*scriptCall
}

// add gives the script that a bucket has been added to, and its place there.
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

func (w indexWrites) calls(key index) []*scriptCall {
	calls := bucketCalls{script: scriptIndexAdd, first: []any{entryBytes, opAt}}
	for bucket, entries := range w {
		calls.add(bucket, key(bucket), entries)
	}
	return calls.all
}

func (r *Record) runBatches(ctx context.Context, calls []*scriptCall) error {
	for batch := range slices.Chunk(calls, indexAtOnce) {
		if err := r.runScripts(ctx, batch, nil); err != nil {
			return err
		}
	}
	return nil
}

// find reads what an index has of texts, in their order.
func (r *Record) find(ctx context.Context, key index, texts ...string) ([][]indexEntry, error) {
	calls := bucketCalls{script: scriptIndexFind, first: []any{entryBytes}}
	asked, places := make([]*scriptCall, len(texts)), make([]int, len(texts))
	for i, text := range texts {
		hash := xxhash.Sum64String(text)
		bucket := hashBucket(hash)
		asked[i], places[i] = calls.add(bucket, key(bucket), binary.BigEndian.AppendUint64(nil, hash))
	}
	if err := r.runBatches(ctx, calls.all); err != nil {
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

// buckets are some of the two indexes.
type buckets struct{ history, names map[int]bool }

// The log of an operation says, for its removal, which buckets have entries of it
// that its chunks do not tell: two bytes each.
const historyLogged = 1 << 15 // of the index of desktops, and not of names

// logCalls append to the log; they go before the entries, as nothing would remove
// those without it. No script does it: Redis may not know one, and know the other.
func (r *Record) logCalls(w indexWrites, flag uint16) (out []*scriptCall) {
	for op, log := range w.log(flag) {
		out = append(out, &scriptCall{args: []any{"APPEND", r.keys.logged(op), log}})
	}
	return out
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
