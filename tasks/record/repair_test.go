package record_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/xid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// round walks once through the whole record.
func (b *bundle) round() record.Repairs {
	b.t.Helper()
	all := record.Repairs{}
	var cursor record.RepairCursor
	for n := 0; ; n++ {
		require.Less(b.t, n, 10_000, "the round does not end")
		next, some, ended, err := b.r.RepairStep(b.t.Context(), b.now, cursor)
		require.NoError(b.t, err)
		for kind, of := range some {
			all[kind] += of
		}
		if cursor = next; ended {
			return all
		}
	}
}

// sweepAll gives all chunks with work left.
func (b *bundle) sweepAll() (out []record.OpenChunk) {
	b.t.Helper()
	for next, n := 0, 0; ; n++ {
		require.Less(b.t, n, 1000)
		swept, err := b.r.Sweep(b.t.Context(), b.now, next, 200, 0)
		require.NoError(b.t, err)
		out = append(out, swept.Chunks...)
		if next = swept.Next; next == 0 {
			return out
		}
	}
}

// dump is all that the record has, but for what is counted of repairs.
func (b *bundle) dump() map[string]string {
	b.t.Helper()
	out := map[string]string{}
	for _, key := range b.keys() {
		if key != b.prefix+":repair" {
			out[key] = b.rdb.Dump(b.t.Context(), key).Val()
		}
	}
	return out
}

// writes are what MONITOR showed, by what may be lost by itself: a hash tag, or a key
// without one. Each is what Redis did in one step: a command, or all of a script.
type writes map[string][][][]any

// notWrites are the commands that the record reads with, and what frames others.
var notWrites = strings.Fields(`eval evalsha hmget hget hgetall hkeys hvals hlen hexists zrange zrangebyscore zrevrange zrevrangebyscore zrangebylex
	zscore zmscore zcount zcard lrange llen lindex get mget getrange exists smembers sismember smismember scard time ping hello client command
	script select multi exec monitor info type ttl pttl dump scan zscan hscan keys strlen zrevrank zrank watch flushall config auth echo`)

// recordWrites runs f and gives the writes to keys that begin with prefix.
func recordWrites(t require.TestingT, addr, prefix string, f func(rdb *redis.Client)) writes {
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("MONITOR\r\n"))
	require.NoError(t, err)
	lines := bufio.NewReaderSize(conn, 1<<20)
	_, err = lines.ReadString('\n')
	require.NoError(t, err)
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	defer rdb.Close()
	done := make(chan error, 1)
	out := writes{}
	go func() { done <- out.read(lines, prefix) }()
	f(rdb)
	require.NoError(t, rdb.Echo(context.Background(), "the end of "+prefix).Err())
	require.NoError(t, <-done)
	return out
}

func (w writes) read(lines *bufio.Reader, prefix string) error {
	script := "" // the group whose script the last line was of
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		args, lua, err := parseMonitor(line)
		if err != nil {
			return err
		}
		name := strings.ToLower(args[0].(string))
		if name == "echo" && args[1] == "the end of "+prefix {
			return nil
		}
		if !lua {
			script = ""
		}
		if slices.Contains(notWrites, name) {
			continue
		}
		key := args[1].(string)
		if !strings.HasPrefix(key, prefix+":") {
			continue // asynq's
		}
		group := key
		if at := strings.Index(key, "{"); at >= 0 {
			group = tag(key)
		}
		if steps := w[group]; lua && script == group {
			steps[len(steps)-1] = append(steps[len(steps)-1], args)
		} else {
			w[group] = append(w[group], [][]any{args})
		}
		if lua {
			script = group
		}
	}
}

// parseMonitor reads a line such as: +1.5 [0 lua] "zadd" "a\x00b" "1".
func parseMonitor(line string) (args []any, lua bool, err error) {
	_, rest, ok := strings.Cut(line, "] ")
	lua = strings.Contains(line[:len(line)-len(rest)], " lua]")
	for ok && strings.HasPrefix(rest, `"`) {
		end := 1
		for rest[end] != '"' {
			if rest[end] == '\\' {
				end++
			}
			end++
		}
		text, err := strconv.Unquote(rest[:end+1])
		if err != nil {
			return nil, false, fmt.Errorf("%q: %w", rest[:end+1], err)
		}
		args = append(args, text)
		rest = strings.TrimPrefix(rest[end+1:], " ")
	}
	if len(args) == 0 {
		return nil, false, fmt.Errorf("line %q", line)
	}
	return args, lua, nil
}

// A run of everything that writes operations, some of which fail.
type repairRun struct {
	*bundle
	rt  *rapid.T
	ops []record.Operation
	n   int
}

func (r *repairRun) steps() map[string]func() {
	return map[string]func(){
		"accept":  r.accept,
		"accept2": r.accept,
		"move":    r.moveSome,
		"move2":   r.moveSome,
		"move3":   r.moveSome,
		"finish": func() {
			var ids []string
			for _, op := range r.ops {
				ids = append(ids, op.ID)
			}
			_, err := r.r.Finish(r.t.Context(), ids)
			require.NoError(r.rt, err)
		},
		"retry": func() {
			if op, ok := r.some(); ok {
				_, err := r.p.Retry(r.t.Context(), op, tasks.RetryFilter{}, "jo")
				require.NoError(r.rt, err)
			}
		},
		"cancel": func() {
			if op, ok := r.some(); ok {
				_, _, err := r.r.Cancel(r.t.Context(), op, r.now, "jo")
				require.NoError(r.rt, err)
			}
		},
		"find": func() {
			if op, ok := r.some(); ok && op.Users > 0 && !op.Done() {
				r.n++
				id := fmt.Sprint("found-", r.n)
				_, err := r.p.AddFound(r.t.Context(), op, record.Find{Desktops: []string{id}, Expect: map[string][]string{id: {"Mia"}}})
				require.NoError(r.rt, err)
			}
		},
		"redrive": func() {
			_, err := r.p.Redrive(r.t.Context(), tasks.RedriveRequest{RequestedBy: "jo"})
			require.NoError(r.rt, err)
		},
		"cancel many": func() {
			_, err := r.p.Cancellation(r.t.Context(), tasks.CancellationRequest{
				Filter: tasks.CancellationFilter{RequestedBy: "jo", From: r.now.Add(-time.Hour)}, RequestedBy: "jo", Reason: "r",
			})
			require.NoError(r.rt, err)
			_, err = r.p.AdvanceCancellations(r.t.Context(), time.Minute)
			require.NoError(r.rt, err)
		},
		"expire": func() {
			r.now = r.now.Add(time.Duration(rapid.IntRange(0, 30).Draw(r.rt, "hours")) * time.Hour)
			_, err := r.r.Expire(r.t.Context(), r.now, 10, 0)
			require.NoError(r.rt, err)
		},
	}
}

// some gives one of the operations, as it is.
func (r *repairRun) some() (record.Operation, bool) {
	if len(r.ops) == 0 {
		return record.Operation{}, false
	}
	op, err := r.r.Operation(r.t.Context(), rapid.SampledFrom(r.ops).Draw(r.rt, "operation").ID)
	return op, err == nil
}

func (r *repairRun) accept() {
	r.n++
	req := tasks.Request{Project: rapid.SampledFrom([]string{"hq", "branch"}).Draw(r.rt, "project"), RequestedBy: "hr"}
	size := rapid.SampledFrom([]int{1, 2, 3, 130}).Draw(r.rt, "size")
	req.Expect = map[string][]string{}
	for i := range size {
		id := fmt.Sprintf("d-%d-%d", r.n, i)
		req.Desktops = append(req.Desktops, id)
		if i%3 == 0 {
			req.Expect[id] = []string{"Zoe", fmt.Sprint("u-", i)}
		}
	}
	if rapid.Bool().Draw(r.rt, "users") {
		req.Users, req.Ticket = []string{"Mia"}, fmt.Sprint("T-", r.n)
	}
	if rapid.IntRange(0, 3).Draw(r.rt, "scheduled") == 0 {
		req.NotBefore = r.now.Add(time.Duration(rapid.SampledFrom([]int{1, 1000}).Draw(r.rt, "starts in")) * time.Hour)
	}
	op, err := r.p.Enqueue(r.t.Context(), req)
	require.NoError(r.rt, err)
	r.ops = append(r.ops, op)
}

func (r *repairRun) moveSome() {
	op, ok := r.some()
	if !ok {
		return
	}
	n := rapid.IntRange(0, op.Chunks()-1).Draw(r.rt, "chunk")
	c, err := r.r.Chunk(r.t.Context(), op.ID, n)
	require.NoError(r.rt, err)
	r.now = r.now.Add(time.Second)
	ch := record.Change{Operation: op, Chunk: n, By: "w", LookAt: r.now}
	to := rapid.SampledFrom(tasks.States).Draw(r.rt, "to")
	every := rapid.IntRange(1, 3).Draw(r.rt, "every")
	for i, d := range c.Desktops {
		if i%every != 0 || !d.State.CanMove(to) {
			continue
		}
		m := record.Move{Desktop: d, To: to, CallID: "c"}
		if to == tasks.StateFailed || to == tasks.StateHeld {
			m.Failure = &tasks.Failure{Code: "x", Class: "permanent", DesktopName: fmt.Sprint("PC-", i%5), At: r.now}
			m.Before = &tasks.Before{Name: "PC-9", Users: []tasks.Person{{Name: "Eve"}}}
		}
		ch.Moves = append(ch.Moves, m)
	}
	_, err = r.r.Apply(r.t.Context(), r.now, []record.Change{ch})
	require.NoError(r.rt, err)
}

// From any prefix of what each shard was told the walk, with the sweeps that there are
// anyhow, ends in a record that its operations allow, and then changes nothing more.
func TestRepairFromAnyPrefix(t *testing.T) {
	t.Parallel()
	from, to := redistest.Start(t), redistest.Start(t)
	source, target := from.Client(t), to.Client(t)
	rapid.Check(t, func(rt *rapid.T) {
		b := &bundle{t: t, prefix: "t" + strings.ToLower(rand.Text()[:8]), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
		require.NoError(rt, source.FlushAll(t.Context()).Err())
		all := recordWrites(rt, from.Addr(), b.prefix, func(rdb *redis.Client) {
			b.rdb = rdb
			b.p = b.producer()
			b.r = b.p.Record
			run := &repairRun{bundle: b, rt: rt}
			steps := run.steps()
			names := make([]string, 0, len(steps))
			for name := range steps {
				names = append(names, name)
			}
			slices.Sort(names)
			run.accept()
			for range rapid.IntRange(1, 12).Draw(rt, "steps") {
				steps[rapid.SampledFrom(names).Draw(rt, "step")]()
			}
		})
		require.NoError(rt, target.FlushAll(t.Context()).Err())
		b.rdb = target
		b.p = b.producer()
		b.r = b.p.Record
		groups := make([]string, 0, len(all))
		for group := range all {
			groups = append(groups, group)
		}
		slices.Sort(groups)
		_, err := target.Pipelined(t.Context(), func(p redis.Pipeliner) error {
			for _, group := range groups {
				steps := all[group]
				if rapid.IntRange(0, 2).Draw(rt, "loses") == 0 {
					steps = steps[:rapid.IntRange(0, len(steps)).Draw(rt, "up to")]
				}
				for _, step := range steps {
					for _, args := range step {
						p.Do(t.Context(), args...)
					}
				}
			}
			return nil
		})
		require.NoError(rt, err)
		b.now = b.now.Add(time.Hour) // whatever was being accepted is given up
		b.settle(rt)
		b.allowed(rt)
		before := b.dump()
		require.Zero(rt, b.round().Total(), "a further round finds something to repair")
		require.Equal(rt, before, b.dump(), "a further round changes something")
	})
}

// settle walks and sweeps until there is nothing left to repair.
func (b *bundle) settle(rt require.TestingT) {
	for n := 0; ; n++ {
		require.Less(rt, n, 8, "it does not settle")
		repaired := b.round()
		b.sweepAll()
		b.now = b.now.Add(11 * time.Minute) // what is given up by that may go
		// What has passed its retention is not listed again: it is about to be removed.
		over := strconv.FormatInt(b.now.Add(-24*time.Hour).UnixMilli(), 10)
		ended := b.rdb.ZRangeByScore(b.t.Context(), b.prefix+":ended", &redis.ZRangeBy{Min: "-inf", Max: over}).Val()
		if len(ended) > 0 || repaired.Total() > 0 {
			b.rdb.Del(b.t.Context(), b.prefix+":expiring") // the lease of who expired when it was cut off
			_, err := b.r.Expire(b.t.Context(), b.now, 100, 0)
			require.NoError(rt, err)
			continue
		}
		b.sweepAll()
		return
	}
}

// allowed asserts what the operations' own keys allow.
func (b *bundle) allowed(rt require.TestingT) {
	ctx := b.t.Context()
	ops := map[string]record.Operation{}
	for _, key := range b.keys() {
		id, isOp := strings.CutSuffix(key, "}:op")
		if !isOp {
			continue
		}
		id = strings.TrimPrefix(id, b.prefix+":{")
		op, err := b.r.Operation(ctx, id)
		require.NoError(rt, err, "what was never accepted, or is to be removed, is gone")
		ops[id] = op
	}
	in := func(key, id string) bool { return b.rdb.ZScore(ctx, b.prefix+":"+key, id).Err() == nil }
	swept := map[string]bool{}
	for _, c := range b.sweepAll() {
		swept[fmt.Sprint(c.Operation.ID, ":", c.Number)] = true
	}
	lists := map[string]map[string]bool{}
	for name, f := range map[string]tasks.OperationFilter{
		"all": {}, "hq": {Project: "hq"}, "branch": {Project: "branch"}, "hr": {RequestedBy: "hr"}, "open": {Open: true}, "scheduled": {Scheduled: true},
	} {
		f.Now = b.now
		found, next, err := b.r.Operations(ctx, f, 1000, "")
		require.NoError(rt, err)
		require.Empty(rt, next)
		lists[name] = map[string]bool{}
		for _, op := range found {
			lists[name][op.ID] = true
		}
	}
	for id, op := range ops {
		for _, list := range []string{"all", op.Project, "hr"} {
			require.True(rt, lists[list][id], "%s is not in the list %s", id, list)
		}
		require.Equal(rt, op.State(b.now) == tasks.OperationRunning, lists["open"][id], "%s in the list of the open ones", id)
		require.Equal(rt, op.State(b.now) == tasks.OperationScheduled, lists["scheduled"][id], "%s in the list of the scheduled ones", id)
		require.Equal(rt, op.Done(), in("ended", id), "%s among those that expire", id)
		require.Equal(rt, !op.Done(), in("open", id), "%s among those that are swept", id)
		counts := tasks.Counts{}
		rows, _, err := b.r.Desktops(ctx, op, tasks.DesktopFilter{}, 10_000, "")
		require.NoError(rt, err)
		for _, d := range rows {
			addTo(&counts, d.State)
			chunk := fmt.Sprint(id, ":", d.Chunk)
			if d.State.Open() {
				require.True(rt, swept[chunk], "%s has work left and is not swept", chunk)
			}
			if d.State == tasks.StateAccepted {
				require.True(rt, in("{p:"+op.Project+"}:follow", chunk), "%s is not followed", chunk)
			}
			events, err := b.r.History(ctx, d.ID)
			require.NoError(rt, err)
			require.True(rt, slices.ContainsFunc(events, func(e record.HistoryEntry) bool { return e.Operation.ID == id }), "%s is not in the history of %s", id, d.ID)
			if d.ID == rows[0].ID || d.ID == rows[len(rows)-1].ID {
				for _, name := range d.Expect {
					b.found(rt, name, op, d)
				}
			}
		}
		require.Equal(rt, counts, op.Counts, "counts equal rows")
	}
	b.nothingElse(rt, ops)
}

// found asserts that a row is found by a name.
func (b *bundle) found(rt require.TestingT, name string, op record.Operation, d record.Row) {
	names, _, err := b.r.UsersNamed(b.t.Context(), []string{op.Project}, name[:1], 1000)
	require.NoError(rt, err)
	require.True(rt, slices.ContainsFunc(names, func(x record.Name) bool { return x.Name == name }), "%s is not found by how it begins", name)
	ops, _, err := b.r.OperationsNamed(b.t.Context(), []string{op.Project}, op.ID[:6], 1000)
	require.NoError(rt, err)
	require.True(rt, slices.ContainsFunc(ops, func(x record.Operation) bool { return x.ID == op.ID }), op.ID)
	for token := ""; ; {
		events, next, err := b.r.Search(b.t.Context(), name, 1000, token)
		require.NoError(rt, err)
		if slices.ContainsFunc(events, func(e record.HistoryEntry) bool { return e.Operation.ID == op.ID && e.Desktop.ID == d.ID }) {
			return
		}
		require.NotEmpty(rt, next, "%s of %s is not found by %s", d.ID, op.ID, name)
		token = next
	}
}

func addTo(c *tasks.Counts, s tasks.State) {
	map[tasks.State]func(){
		tasks.StateQueued: func() { c.Queued++ }, tasks.StateSending: func() { c.Sending++ }, tasks.StateAccepted: func() { c.Accepted++ },
		tasks.StateDetached: func() { c.Detached++ }, tasks.StateFailed: func() { c.Failed++ }, tasks.StateHeld: func() { c.Held++ },
		tasks.StateCancelled: func() { c.Cancelled++ }, tasks.StateExpanded: func() { c.Expanded++ }, tasks.StateNoDesktop: func() { c.NoDesktop++ },
	}[s]()
}

// byRequester is how a failure's member begins in the sets by requester.
var byRequester = regexp.MustCompile(`^[^\x00]*\x00\d{16}/`)

// nothingElse asserts that no list, index or key is about any other operation.
func (b *bundle) nothingElse(rt require.TestingT, ops map[string]record.Operation) {
	ctx := b.t.Context()
	for _, key := range b.keys() {
		rest := strings.TrimPrefix(key, b.prefix+":")
		switch b.rdb.Type(ctx, key).Val() {
		case "zset":
			if strings.HasPrefix(rest, "redrives") || strings.HasPrefix(rest, "cancellations") || strings.HasPrefix(rest, "hq:") {
				continue
			}
			for _, member := range b.rdb.ZRange(ctx, key, 0, -1).Val() {
				id := byRequester.ReplaceAllString(member, "")
				id, _, _ = strings.Cut(id, ":")
				id, _, _ = strings.Cut(id, "/")
				require.Contains(rt, ops, id, "%s has %s", key, member)
			}
		case "string":
			if !strings.HasPrefix(rest, "desktops:") && !strings.HasPrefix(rest, "named:") {
				continue
			}
			bucket := b.rdb.Get(ctx, key).Val()
			for e := range slices.Chunk([]byte(bucket), 30) {
				require.Contains(rt, ops, xid.ID(e[8:20]).String(), "%s, accepted late %d", key, binary.BigEndian.Uint16(e[24:]))
			}
		}
		if strings.HasPrefix(rest, "{") && !strings.HasPrefix(rest, "{p:") && !strings.HasPrefix(rest, "{rd:") && !strings.HasPrefix(rest, "{cn:") {
			require.Contains(rt, ops, strings.Trim(rest[:strings.Index(rest, "}")], "{"), key)
		}
	}
}
