package record

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/xid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/redistest"
	"github.com/detachd/detachd/tasks/trail"
)

// Entries of few different bytes, so that they are found across the limits of two,
// against a list of them.
func TestBucketsAgainstAModel(t *testing.T) {
	t.Parallel()
	for name, rdb := range map[string]redis.UniversalClient{"redis": redistest.Start(t).Client(t), "miniredis": redistest.Mini(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := New(rdb, Config{})
			run := 0
			rapid.Check(t, func(t *rapid.T) {
				run++
				key := fmt.Sprint("bucket-", run)
				bytes := func(name string, n int) string {
					return string(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 0, 0, 1, '%', '\n'}), n, n).Draw(t, name))
				}
				call := func(s *redis.Script, args ...any) *redis.Cmd {
					c := &scriptCall{script: s, keys: []string{key}, args: args}
					for range len(args) - 2 { // for each hash
						if s == scriptIndexFind {
							c.keys = append(c.keys, key)
						}
					}
					require.NoError(t, r.runScripts(context.Background(), []*scriptCall{c}, nil))
					return c.reply
				}
				var model []string
				// window gives bytes that the bucket has, across the limits of two entries,
				// too, or any.
				window := func(name string, n int) string {
					have := strings.Join(model, "")
					if len(have) < n || rapid.IntRange(0, 3).Draw(t, name+" is new") == 0 {
						return bytes(name, n)
					}
					at := rapid.IntRange(0, len(have)-n).Draw(t, name+" at")
					return have[at : at+n]
				}
				for range rapid.IntRange(1, 6).Draw(t, "steps") {
					switch rapid.IntRange(0, 2).Draw(t, "step") {
					case 0:
						var add []string
						for range rapid.IntRange(1, 5).Draw(t, "entries") {
							e := window("entry", entryBytes)
							if len(model) > 0 && rapid.Bool().Draw(t, "again") {
								e = rapid.SampledFrom(model).Draw(t, "known")
							}
							if !slices.Contains(add, e) { // as indexWrites sees to it
								add = append(add, e)
							}
						}
						call(scriptIndexAdd, entryBytes, strings.Join(add, ""))
						for _, e := range add {
							if !slices.Contains(model, e) {
								model = append(model, e)
							}
						}
					case 1:
						var ops []string
						for range rapid.IntRange(1, 3).Draw(t, "operations") {
							op := window("operation", chunksAt-opAt)
							if len(model) > 0 && rapid.Bool().Draw(t, "has entries") {
								op = rapid.SampledFrom(model).Draw(t, "of")[opAt:chunksAt]
							}
							ops = append(ops, op)
						}
						call(scriptIndexRemove, entryBytes, opAt, strings.Join(ops, ""))
						model = slices.DeleteFunc(model, func(e string) bool { return slices.Contains(ops, e[opAt:chunksAt]) })
					case 2:
						hashes := []any{window("hash", hashBytes)}
						if len(model) > 0 {
							hashes = append(hashes, rapid.SampledFrom(model).Draw(t, "at")[:hashBytes])
						}
						got, err := call(scriptIndexFind, append([]any{entryBytes}, hashes...)...).StringSlice()
						require.NoError(t, err)
						together, entries := "", ""
						for i, hash := range hashes {
							var want []string
							for _, e := range model {
								if e[:hashBytes] == hash.(string) {
									want = append(want, e)
								}
							}
							require.Equal(t, strings.Join(want, ""), got[i])
							together, entries = together+hash.(string), entries+got[i]
						}
						got, err = call(scriptIndexFind, entryBytes, together).StringSlice()
						require.NoError(t, err)
						require.Equal(t, []string{entries}, got, "the hashes of one bucket")
					}
					have, err := rdb.Get(context.Background(), key).Result()
					if len(model) == 0 {
						require.ErrorIs(t, err, redis.Nil, "an empty bucket is gone")
					} else {
						require.Equal(t, strings.Join(model, ""), have)
					}
				}
			})
		})
	}
}

// The chunks of a text are those that were added, each once, the latest operation
// first, from any place on; runs of chunks are one entry.
func TestChunksOfEntries(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := indexWrites{}
		want := map[chunkPlace]bool{}
		ops := make([]Operation, 3)
		for i := range ops {
			ops[i] = Operation{Operation: tasks.Operation{ID: xid.New().String(), AcceptedAt: time.UnixMilli(int64(rapid.IntRange(0, 2).Draw(t, "at")))}}
		}
		for range rapid.IntRange(0, 30).Draw(t, "adds") {
			op, chunk := ops[rapid.IntRange(0, 2).Draw(t, "op")], rapid.IntRange(0, 9).Draw(t, "chunk")
			w.add(op, chunk, "text")
			want[placeOf(op, chunk)] = true
		}
		var entries []indexEntry
		for _, b := range w {
			entries = append(entries, parseEntries(string(b))...)
		}
		var all []chunkPlace
		for at := range want {
			all = append(all, at)
		}
		slices.SortFunc(all, compareChunks)
		got := chunksFrom(slices.Clone(entries), chunkPlace{}, 1000)
		require.Equal(t, len(all), len(got))
		for i := range all {
			require.Equal(t, all[i], got[i])
			require.Equal(t, all[i:min(len(all), i+3)], chunksFrom(slices.Clone(entries), all[i], 3), "from a place on")
			parsed, position, err := parseChunkToken(all[i].token(7))
			require.NoError(t, err)
			require.Equal(t, all[i], parsed)
			require.Equal(t, 7, position)
		}
	})
	w := indexWrites{}
	for chunk := range 1000 {
		w.add(Operation{Operation: tasks.Operation{ID: "d6i2kg1ksdudvkgfa510"}}, chunk, "everywhere")
	}
	for _, b := range w {
		require.Len(t, b, entryBytes)
	}
}

// An entry of another id with the same hash names chunks that do not have it: it is
// looked at, and no more.
func TestHashesThatMeet(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	p, err := NewProducer(redistest.Mini(t), ProducerConfig{Projects: []string{"hq"}})
	require.NoError(t, err)
	r := p.Record
	ids := make([]string, 250)
	for i := range ids {
		ids[i] = fmt.Sprint("d", i)
	}
	op, err := p.Enqueue(ctx, tasks.Request{Project: "hq", Desktops: ids})
	require.NoError(t, err)
	d := r.readAll(t, op)[0]
	_, err = r.Apply(ctx, op.AcceptedAt, []Change{{Operation: op, Moves: []Move{{Desktop: d, To: tasks.StateSending, Before: &tasks.Before{Name: "PC"}}}}})
	require.NoError(t, err)
	w := indexWrites{}
	w.add(op, 0, "other")
	w.add(op, 1, "d0")
	w.add(op, 700, "d0")
	require.NoError(t, r.runBatches(ctx, w.calls(r.keys.history), w.calls(r.keys.named)))

	seen, err := r.Seen(ctx, "hq", []string{"other", "d0", "d1", "none"})
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"d0": true}, seen)
	rows, err := r.RowsNamed(ctx, op, []string{"other", "d0"})
	require.NoError(t, err)
	require.Len(t, rows, 1)
	// A find that was overtaken has left an entry; the row is elsewhere.
	moved := indexWrites{}
	moved.add(op, 0, "d249")
	require.NoError(t, r.rdb.Set(ctx, r.keys.history(bucketOf("d249")), moved[bucketOf("d249")], 0).Err())
	rows, err = r.RowsNamed(ctx, op, []string{"d249"})
	require.NoError(t, err)
	require.Equal(t, 2, rows["d249"].Chunk)

	for id, n := range map[string]int{"other": 0, "d0": 1, "d200": 1} {
		events, err := r.History(ctx, id)
		require.NoError(t, err)
		require.Len(t, events, n, id)
		found, _, err := r.Search(ctx, id, 10, "")
		require.NoError(t, err)
		require.Len(t, found, n, id)
	}
}

func (r *Record) readAll(t *testing.T, op Operation) []Row {
	ds, err := r.readChunks(t.Context(), op, chunkRange(0, op.Chunks())...)
	require.NoError(t, err)
	return ds
}

// What 20,000 desktops leave in Redis, with their state before, of which 2 % failed.
func TestADesktopAtRestIsSmall(t *testing.T) {
	t.Parallel()
	ctx, rdb := t.Context(), redistest.Start(t).Client(t)
	p, err := NewProducer(rdb, ProducerConfig{Projects: []string{"hq"}})
	require.NoError(t, err)
	const total = 20_000
	read := readings(2 * total)
	ids := make([]string, total)
	for i := range ids {
		ids[i] = read[total+i].Users[0].ID
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	op, err := p.Enqueue(ctx, tasks.Request{Project: "hq", Desktops: ids, RequestedBy: "hr", Reason: "left the company"})
	require.NoError(t, err)
	r := p.Record
	apply := func(n int, from, to tasks.State, change func(*Change, *Move)) {
		c, err := r.Chunk(ctx, op.ID, n)
		require.NoError(t, err)
		ch := Change{Operation: op, Chunk: n, By: "worker-7c9f4"}
		for _, d := range c.Desktops {
			if d.State == from {
				m := Move{Desktop: d, To: to, CallID: "d4k2m0h5tq3s7g8p9v20"}
				change(&ch, &m)
				ch.Moves = append(ch.Moves, m)
			}
		}
		_, err = r.Apply(ctx, now, []Change{ch})
		require.NoError(t, err)
	}
	call := Call{Call: tasks.Call{ID: "d4k2m0h5tq3s7g8p9v20", At: now, DurationMS: (time.Second).Milliseconds(), Status: 200, RequestID: "5f1d3c2b4a596877", JobID: xid.New().String(), Size: 100, Worker: "worker-7c9f4", Answered: true}, Desktops: []trail.Range{{First: 0, Last: 99}}}
	for n := range op.Chunks() {
		apply(n, tasks.StateQueued, tasks.StateSending, func(_ *Change, m *Move) { m.Before = &read[m.Desktop.Place()].Before })
		apply(n, tasks.StateSending, tasks.StateAccepted, func(ch *Change, m *Move) {
			mine := call
			mine.ID = xid.New().String()
			ch.Call = &mine
			if i := m.Desktop.Position; i%50 == 0 {
				m.To, m.Attempts, m.Failure = tasks.StateFailed, 1, &tasks.Failure{
					DesktopName: read[m.Desktop.Place()].Name, Code: "WKS.00010110", Message: "Desktops cannot obtain valid IP addresses.",
					Class: "permanent", CallID: call.ID, RequestID: call.RequestID, Attempts: 1, At: now,
				}
			}
		})
		apply(n, tasks.StateAccepted, tasks.StateDetached, func(_ *Change, m *Move) { m.Note, m.Detail = tasks.NoteReadBack, "UNATTACH" })
	}
	ended, err := r.Finish(ctx, []string{op.ID})
	require.NoError(t, err)
	require.Equal(t, tasks.Counts{Detached: total * 49 / 50, Failed: total / 50}, ended[0].Counts)

	size, by := int64(0), map[string]int64{}
	for _, key := range rdb.Keys(ctx, DefaultPrefix+":*").Val() {
		bytes := rdb.MemoryUsage(ctx, key, 0).Val()
		size += bytes
		what, _, _ := strings.Cut(strings.TrimPrefix(strings.ReplaceAll(key, "{"+op.ID+"}:", ""), DefaultPrefix+":"), ":")
		by[what] += bytes
	}
	for what, bytes := range by {
		t.Logf("%8.2f %s", float64(bytes)/total, what)
	}
	t.Log(size/total, "bytes a desktop")
	require.LessOrEqual(t, size/total, int64(400))
}
