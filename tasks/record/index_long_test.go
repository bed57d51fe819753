package record

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/detachd/detachd/tasks/redistest"
)

// longBucket is one with its scripts, and those of the commit before it had spare entries.
type longBucket struct {
	*Record
	key                        string
	earlierAdd, earlierRemoval *redis.Script
}

func newLongBucket(t *testing.T, rdb redis.UniversalClient) *longBucket {
	t.Helper()
	earlier := func(name string) *redis.Script {
		text, err := os.ReadFile("testdata/earlier_" + name + ".lua")
		require.NoError(t, err)
		return redis.NewScript(string(text))
	}
	return &longBucket{Record: New(rdb, Config{}), earlierAdd: earlier("index_add"), earlierRemoval: earlier("index_remove")}
}

func (b *longBucket) run(t require.TestingT, s *redis.Script, args ...any) *redis.Cmd {
	c := &scriptCall{script: s, keys: []string{b.key}, args: args}
	require.NoError(t, b.runScripts(context.Background(), []*scriptCall{c}, nil))
	return c.reply
}

// entry is one of some hundred texts of an operation, as indexWrites makes them.
func (*longBucket) entry(op, text int) string {
	e := binary.BigEndian.AppendUint64(nil, uint64(text)*0x9e3779b97f4a7c15+1)
	e = append(binary.BigEndian.AppendUint32(e, 0x69000000), make([]byte, 4)...)
	e = binary.BigEndian.AppendUint32(e, uint32(op))
	e = append(e, 0, 0, 0, 0)
	return string(append(e, binary.BigEndian.AppendUint64(nil, lateness(time.UnixMilli(1772366400000)))[2:]...))
}

// A long bucket has what was entered, whoever of two successive versions enters and removes; what
// only this version wrote is in it once after a while, and little of it is spare.
func TestLongBucketsAgainstAModel(t *testing.T) {
	t.Parallel()
	for name, rdb := range map[string]redis.UniversalClient{"redis": redistest.Start(t).Client(t), "miniredis": redistest.Mini(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newLongBucket(t, rdb)
			run := 0
			rapid.Check(t, func(t *rapid.T) {
				run++
				b.key = fmt.Sprint("bucket-", run)
				beside := rapid.Bool().Draw(t, "beside an earlier version")
				script := func(ours, earlier *redis.Script) *redis.Script {
					if beside && rapid.IntRange(0, 2).Draw(t, "by the earlier one") == 0 {
						return earlier
					}
					return ours
				}
				model := map[string]bool{}
				repeated := 0
				add := func(most int) {
					var entries []string
					for range rapid.IntRange(1, most).Draw(t, "entries") {
						e := b.entry(rapid.IntRange(1, 9).Draw(t, "operation"), rapid.IntRange(0, 300).Draw(t, "text"))
						if slices.Contains(entries, e) { // as indexWrites sees to it
							continue
						}
						if model[e] {
							repeated++
						}
						entries, model[e] = append(entries, e), true
					}
					if s := script(scriptIndexAdd, b.earlierAdd); s == b.earlierAdd {
						b.run(t, s, entryBytes, opAt, strings.Join(entries, ""))
					} else {
						b.run(t, s, entryBytes, strings.Join(entries, ""))
					}
				}
				add(120)
				for range rapid.IntRange(1, 30).Draw(t, "steps") {
					if rapid.IntRange(0, 9).Draw(t, "step") > 0 {
						add(3)
						continue
					}
					op := b.entry(rapid.IntRange(1, 9).Draw(t, "removed"), 0)[opAt:chunksAt]
					b.run(t, script(scriptIndexRemove, b.earlierRemoval), entryBytes, opAt, op)
					for e := range model {
						if e[opAt:chunksAt] == op {
							delete(model, e)
						}
					}
				}

				stored := rdb.Get(context.Background(), b.key).Val()
				require.Zero(t, len(stored)%entryBytes)
				have, times := map[string]bool{}, 0
				for e := range slices.Chunk([]byte(stored), entryBytes) {
					if string(e[:chunksAt]) != string(make([]byte, chunksAt)) {
						have[string(e)] = true
						times++
					}
				}
				require.Equal(t, model, have)
				if len(stored) <= 1024 || beside {
					return
				}
				require.LessOrEqual(t, times, len(have)+min(repeated, len(have)/8+1))
				require.LessOrEqual(t, len(stored)/entryBytes, times+times/8)
				for _, e := range parseEntries(stored) {
					require.Equal(t, int64(1772366400000), int64(1<<48-1-e.late), "spare ones are no entries")
				}
				var e string
				for e = range model {
					break
				}
				found, err := b.run(t, scriptIndexFind, entryBytes, e[:hashBytes]).StringSlice()
				require.NoError(t, err)
				require.Contains(t, found[0], e)
			})
		})
	}
}

// What a desktop of a small operation costs does not grow with the bucket that it enters: of a
// hundred entries few write the bucket anew.
func TestALongBucketIsRarelyWrittenAnew(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	b := newLongBucket(t, rdb)
	b.key = "bucket"
	var many strings.Builder
	for text := range 2000 {
		many.WriteString(b.entry(1, text))
	}
	b.run(t, scriptIndexAdd, entryBytes, many.String())
	written := func() string { return rdb.InfoMap(t.Context(), "commandstats").Val()["Commandstats"]["cmdstat_mset"] }
	before := written()
	for i := range 100 {
		b.run(t, scriptIndexAdd, entryBytes, b.entry(2+i, rand.IntN(2000)))
	}
	require.Equal(t, before, written())
	require.Equal(t, 2100, len(parseEntries(rdb.Get(t.Context(), b.key).Val())), "entries")
}

// An earlier version removes entries of a long bucket, and its counts stay as they were. Then this
// version removes so many that the bucket is short. What it has left is still in it after the next add.
func TestALongBucketThatTwoVersionsMadeShort(t *testing.T) {
	t.Parallel()
	for name, rdb := range map[string]redis.UniversalClient{"redis": redistest.Start(t).Client(t), "miniredis": redistest.Mini(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newLongBucket(t, rdb)
			b.key = "bucket"
			entries := func(op, from, to int) (out []string) {
				for text := from; text < to; text++ {
					out = append(out, b.entry(op, text))
				}
				return out
			}
			add := func(some []string) { b.run(t, scriptIndexAdd, entryBytes, strings.Join(some, "")) }
			remove := func(s *redis.Script, op int) { b.run(t, s, entryBytes, opAt, b.entry(op, 0)[opAt:chunksAt]) }
			stay, late := entries(1, 0, 28), entries(4, 99, 100)
			add(slices.Concat(stay, entries(2, 28, 34), entries(3, 34, 37)))
			remove(b.earlierRemoval, 3)
			remove(scriptIndexRemove, 2)
			add(late)
			var have []string
			for e := range slices.Chunk([]byte(rdb.Get(t.Context(), b.key).Val()), entryBytes) {
				if string(e[:chunksAt]) != spareEntry {
					have = append(have, string(e))
				}
			}
			require.Equal(t, slices.Concat(stay, late), have)
		})
	}
}
