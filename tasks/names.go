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

// The index of names leads from a user or a computer to the chunks that name
// them. Plain bulks have no names, so that they pay nothing for it, but for the
// computers of those that ended failed or held. What it says is looked up in the record; an
// entry too many is harmless.
//
// An entry has a fixed length, whatever the text is: the name's hash, how late
// the operation was accepted (the later, the smaller), the operation, the chunk.
// So a range of a bucket is what a name has, the latest first.
const (
	nameHash  = 11 // characters: 8 bytes
	lateWidth = 9
	opWidth   = 20
	chunkText = 4
)

// maxIndexedName is the longest name, in bytes, that is indexed; a computer's may be
// anything.
const maxIndexedName = 255

// foldName is what names are compared as.
func foldName(s string) string { return strings.ToLower(s) }

func base36(n int64, width int) string {
	s := strconv.FormatInt(n, 36)
	return strings.Repeat("0", max(0, width-len(s))) + s
}

// lateness sorts the latest first.
func lateness(t time.Time) string {
	const end = 36*36*36*36*36*36*36*36*36 - 1 // in the year 5188
	return base36(end-t.UnixMilli(), lateWidth)
}

// chunkPlace is a chunk as the index names it; they sort as search lists them.
func chunkPlace(op Operation, chunk int) string {
	return lateness(op.AcceptedAt) + op.ID + base36(int64(chunk), chunkText)
}

// parseChunkPlace undoes chunkPlace.
func parseChunkPlace(s string) (late string, ref chunkID, ok bool) {
	if len(s) != lateWidth+opWidth+chunkText {
		return "", chunkID{}, false
	}
	n, err := strconv.ParseInt(s[lateWidth+opWidth:], 36, 32)
	return s[:lateWidth], chunkID{s[lateWidth : lateWidth+opWidth], int(n)}, err == nil
}

// nameEntry is an entry of the index.
func nameEntry(term, place string) string { return shortHash(term, 8) + place }

// nameWrites is what is to be entered into the index.
type nameWrites struct {
	buckets map[string][]string // by term, chunkPlaces
	ops     map[string]*strings.Builder
}

func (w *nameWrites) add(op Operation, chunk int, names ...string) {
	for _, name := range names {
		term := foldName(name)
		if term == "" || len(term) > maxIndexedName {
			continue
		}
		if w.buckets == nil {
			w.buckets, w.ops = map[string][]string{}, map[string]*strings.Builder{}
		}
		place := chunkPlace(op, chunk)
		if have := w.buckets[term]; len(have) > 0 && have[len(have)-1] == place {
			continue
		}
		w.buckets[term] = append(w.buckets[term], place)
		if w.ops[op.ID] == nil {
			w.ops[op.ID] = &strings.Builder{}
		}
		writeLogged(w.ops[op.ID], term, place)
	}
}

// addMove adds the names that a move brings into the record.
func (w *nameWrites) addMove(ch Change, m Move) {
	if m.Failure != nil && m.Failure.DesktopName != "" && (m.To == Failed || m.To == Held) { // not with each try
		w.add(ch.Operation, ch.Chunk, m.Failure.DesktopName)
	}
	if m.Before == nil {
		return
	}
	w.add(ch.Operation, ch.Chunk, m.Before.Name)
	for _, p := range m.Before.Users {
		if !slices.ContainsFunc(m.Desktop.Expect, func(s string) bool { return foldName(s) == foldName(p.Name) }) { // those are there
			w.add(ch.Operation, ch.Chunk, p.Name)
		}
	}
}

// logged is the length of what an operation's own list keeps of an entry, for its
// removal: the bucket, in hex, and the entry without the operation.
const logged = 3 + nameHash + lateWidth + chunkText

func writeLogged(b *strings.Builder, term, place string) {
	b.WriteString(nameBucket(term))
	b.WriteString(shortHash(term, 8))
	b.WriteString(place[:lateWidth])
	b.WriteString(place[lateWidth+opWidth:])
}

func (r *Record) indexNames(ctx context.Context, p redis.Pipeliner, w nameWrites) {
	for op, list := range w.ops {
		p.Append(ctx, r.keys.names(op), list.String()) // first: without it nothing would remove them
	}
	for term, places := range w.buckets {
		zs := make([]redis.Z, len(places))
		for i, place := range places {
			zs[i].Member = nameEntry(term, place)
		}
		p.ZAdd(ctx, r.keys.named(nameBucket(term)), zs...)
	}
}

// unindexNames removes an operation's entries.
func (r *Record) unindexNames(ctx context.Context, op string) error {
	list, err := r.rdb.Get(ctx, r.keys.names(op)).Result()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	if err != nil {
		return err
	}
	buckets := map[string][]any{}
	for ; len(list) >= logged; list = list[logged:] {
		bucket, hash, late, chunk := list[:3], list[3:3+nameHash], list[3+nameHash:logged-chunkText], list[logged-chunkText:logged]
		buckets[bucket] = append(buckets[bucket], hash+late+op+chunk)
	}
	_, err = r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for bucket, members := range buckets {
			p.ZRem(ctx, r.keys.named(bucket), members...)
		}
		return nil
	})
	return err
}

// chunksNamed gives up to n chunks that name somebody or a computer, from a
// chunkPlace on.
func (r *Record) chunksNamed(ctx context.Context, term, from string, n int) ([]string, error) {
	hash := shortHash(term, 8)
	entries, err := r.rdb.ZRangeByLex(ctx, r.keys.named(nameBucket(term)), &redis.ZRangeBy{
		Min: "[" + hash + from, Max: "(" + hash + "~", Count: int64(n),
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("reading the index of names: %w", err)
	}
	for i := range entries {
		entries[i] = entries[i][nameHash:]
	}
	return entries, nil
}
