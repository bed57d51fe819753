package record

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
	"github.com/rs/xid"
)

// rowsMayBeLost reports whether an operation may have written entries of the indexes of rows
// since their last check.
func (s *repairStep) rowsMayBeLost(op Operation) bool {
	return op.State(s.now) == tasks.OperationRunning || !op.AcceptedAt.Before(s.cursor.since) ||
		op.Done() && !op.EndedAt.Before(s.cursor.since)
}

// repairBuckets drops entries of the indexes of rows that lead to no operation.
func (s *repairStep) repairBuckets(ctx context.Context, keys []string) error {
	cmds, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			p.GetRange(ctx, key, 0, -1)
		}
		return nil
	})
	if err != nil {
		return err
	}
	named := make([][]string, len(keys)) // operations
	var ids []string
	for i, cmd := range cmds {
		for _, e := range parseEntries(cmd.(*redis.StringCmd).Val()) {
			accepted := int64(1<<48 - 1 - e.late)
			if s.young(accepted) || accepted < s.cursor.since.UnixMilli() {
				continue
			}
			named[i], ids = append(named[i], e.op), append(ids, e.op)
		}
	}
	slices.Sort(ids)
	known, err := s.present(ctx, slices.Compact(ids))
	if err != nil {
		return err
	}
	var calls []*scriptCall
	for i, key := range keys {
		slices.Sort(named[i])
		var ops []byte
		for _, id := range slices.Compact(named[i]) {
			switch is := known[id]; {
			case is.there:
			case is.young:
				s.cursor.orphans++
				s.cursor.waiting = true
			default:
				raw, err := xid.FromString(id)
				if err != nil {
					continue // cannot happen: it was parsed from an id
				}
				ops = append(ops, raw[:]...)
				s.cursor.orphans++
				s.repairs.add(RepairedOrphan, 1)
			}
		}
		if len(ops) > 0 {
			calls = append(calls, &scriptCall{script: scriptIndexRemove, keys: []string{key}, args: []any{entryBytes, opAt, ops}})
		}
	}
	return s.runBatches(ctx, slices.Values(calls))
}

// readRows reads what the indexes should have of some chunks.
func (s *repairStep) readRows(ctx context.Context, refs []chunkID) error {
	var ids []string
	for _, x := range refs {
		if !slices.Contains(ids, x.op) {
			ids = append(ids, x.op)
		}
	}
	ops, err := s.operations(ctx, ids)
	if err != nil {
		return err
	}
	byID := map[string]Operation{}
	for _, op := range ops {
		byID[op.ID] = op
	}
	refs = slices.DeleteFunc(refs, func(x chunkID) bool { return byID[x.op].ID == "" }) // just removed
	shown, err := s.evidenceOf(ctx, refs)
	if err != nil {
		return err
	}
	failures, err := s.failuresIn(ctx, shown)
	if err != nil {
		return err
	}
	todo := &s.cursor.todo
	if todo.index == nil {
		todo.index, todo.names = indexWrites{}, newNameWrites()
	}
	rows, names := todo.index, todo.names
	for ref, e := range shown {
		op := byID[ref.op]
		names.addText(op, operationID, op.ID)
		for _, d := range e.Desktops {
			rows.addDesktop(op, ref.chunk, d.ID)
			names.addRow(op, ref.chunk, d)
			if d.State == tasks.StateFailed || d.State == tasks.StateHeld {
				names.addNames(op, ref.chunk, userName, d.Pinned...)
				names.addNames(op, ref.chunk, computerName, failures[tasks.DesktopRef{OperationID: op.ID, DesktopID: d.ID}].DesktopName)
			}
		}
		err := eachBefore(e.Raw, func(position int, b tasks.Before) {
			if position < len(e.Desktops) {
				if d := e.Desktops[position]; op.Done() || d.State == tasks.StateFailed || d.State == tasks.StateHeld {
					names.addReading(op, ref.chunk, d, b)
				}
			}
		})
		if err != nil {
			s.cursor.cannotRead(op.ID)
		}
	}
	todo.read += len(refs)
	return nil
}

// evidenceOf reads chunks. Unreadable ones are skipped and counted.
func (s *repairStep) evidenceOf(ctx context.Context, refs []chunkID) (map[chunkID]Evidence, error) {
	out := make(map[chunkID]Evidence, len(refs))
	all, err := s.evidence(ctx, refs)
	if err == nil {
		for i, e := range all {
			out[refs[i]] = e
		}
		return out, nil
	}
	if err := s.rdb.Ping(ctx).Err(); err != nil || len(refs) == 1 {
		s.cursor.cannotRead(refs[0].op)
		return out, err
	}
	for _, ref := range refs {
		one, err := s.evidenceOf(ctx, []chunkID{ref})
		if err != nil {
			return nil, err
		}
		maps.Copy(out, one)
	}
	return out, nil
}

// failuresIn reads the failures of failed and held rows.
func (s *repairStep) failuresIn(ctx context.Context, shown map[chunkID]Evidence) (map[tasks.DesktopRef]tasks.Failure, error) {
	var refs []tasks.DesktopRef
	for x, e := range shown {
		for _, d := range e.Desktops {
			if d.State == tasks.StateFailed || d.State == tasks.StateHeld {
				refs = append(refs, tasks.DesktopRef{OperationID: x.op, DesktopID: d.ID})
			}
		}
	}
	out := map[tasks.DesktopRef]tasks.Failure{}
	all, err := s.failuresNamed(ctx, refs)
	for _, f := range all {
		out[tasks.DesktopRef{OperationID: f.OperationID, DesktopID: f.DesktopID}] = f
	}
	return out, err
}

// enterRows adds what is missing of the chunks that were read to some buckets of the indexes of
// rows, and with the last ones to the lists of names.
func (s *repairStep) enterRows(ctx context.Context) error {
	todo := &s.cursor.todo
	rows, names := upTo(repairEnter, todo.index), upTo(repairEnter, todo.names.indexWrites)
	missingRows, err := s.missing(ctx, s.keys.history, rows)
	if err != nil {
		return err
	}
	missingNames, err := s.missing(ctx, s.keys.named, names)
	if err != nil {
		return err
	}
	logs, err := s.missingLogs(ctx, names)
	if err != nil {
		return err
	}
	n, err := s.dropRemoved(ctx, logs, missingRows, missingNames)
	if err != nil {
		return err
	}
	var calls []*scriptCall
	for id, log := range logs {
		calls = append(calls, &scriptCall{args: []any{"APPEND", s.keys.logged(id), log}})
	}
	calls = slices.AppendSeq(slices.AppendSeq(calls, missingRows.calls(s.keys.history)), missingNames.calls(s.keys.named))
	last := len(rows) == len(todo.index) && len(names) == len(todo.names.indexWrites)
	if last {
		calls = slices.AppendSeq(calls, s.listCalls(todo.names)) // which enters what is missing
	}
	if err := s.runFew(ctx, calls); err != nil {
		return err
	}
	s.repairs.add(RepairedIndex, n)
	if last {
		todo.read, todo.index, todo.names = 0, nil, nil
		return nil
	}
	// The cursor before this step has the same maps: what fails stays in them.
	maps.DeleteFunc(todo.index, func(bucket int, _ []byte) bool { return rows[bucket] != nil })
	maps.DeleteFunc(todo.names.indexWrites, func(bucket int, _ []byte) bool { return names[bucket] != nil })
	return nil
}

// dropRemoved drops what is missing of operations that were removed after their chunks were read:
// nothing would remove it again. It returns how many entries are left.
func (s *repairStep) dropRemoved(ctx context.Context, logs map[string][]byte, missing ...indexWrites) (n int, err error) {
	ids := slices.Collect(maps.Keys(logs))
	for _, w := range missing {
		for _, entries := range w {
			for _, e := range parseEntries(string(entries)) {
				ids = append(ids, e.op)
			}
		}
	}
	slices.Sort(ids)
	ops, err := s.operations(ctx, slices.Compact(ids))
	if err != nil {
		return 0, err
	}
	there := map[string]bool{}
	for _, op := range ops {
		there[op.ID] = true
	}
	maps.DeleteFunc(logs, func(id string, _ []byte) bool { return !there[id] })
	for _, w := range missing {
		for bucket, entries := range w {
			var keep []byte
			for e := range slices.Chunk(entries, entryBytes) {
				if there[parseEntries(string(e))[0].op] {
					keep, n = append(keep, e...), n+1
				}
			}
			if w[bucket] = keep; keep == nil {
				delete(w, bucket)
			}
		}
	}
	return n, nil
}

// upTo returns n of the buckets, or all.
func upTo(n int, w indexWrites) indexWrites {
	out := indexWrites{}
	for bucket, entries := range w {
		if len(out) == n {
			break
		}
		out[bucket] = entries
	}
	return out
}

// runFew runs a few scripts in each round trip, so that nobody waits long for Redis.
func (s *repairStep) runFew(ctx context.Context, calls []*scriptCall) error {
	for few := range slices.Chunk(calls, repairAtOnce) {
		if err := s.runScripts(ctx, few, nil); err != nil {
			return err
		}
	}
	return nil
}

// missing returns the entries whose chunks are missing in an index.
func (s *repairStep) missing(ctx context.Context, key index, w indexWrites) (indexWrites, error) {
	type asked struct {
		call  *scriptCall
		place int
	}
	calls, all := bucketCalls{script: scriptIndexFind, first: []any{entryBytes}}, make(map[int]asked, len(w))
	for bucket, entries := range w {
		hashes := make([]byte, 0, len(entries)/entryBytes*hashBytes)
		for e := range slices.Chunk(entries, entryBytes) {
			hashes = append(hashes, e[:hashBytes]...)
		}
		c, place := calls.add(bucket, key(bucket), hashes)
		all[bucket] = asked{c, place}
	}
	if err := s.runFew(ctx, calls.all); err != nil {
		return nil, err
	}
	out := indexWrites{}
	for bucket, x := range all {
		found, err := x.call.reply.StringSlice()
		if err != nil || x.place >= len(found) {
			return nil, fmt.Errorf("reading an index: unexpected reply %.100q: %w", found, err)
		}
		have := map[indexedChunk]bool{}
		for e := range slices.Chunk([]byte(found[x.place]), entryBytes) {
			for _, c := range runOf(e) {
				have[c] = true
			}
		}
		for e := range slices.Chunk(w[bucket], entryBytes) {
			if slices.ContainsFunc(runOf(e), func(c indexedChunk) bool { return !have[c] }) {
				out[bucket] = append(out[bucket], e...)
			}
		}
	}
	return out, nil
}

// indexedChunk is a chunk in the index, with the text by which it is found.
type indexedChunk struct {
	text string // its hash, and the operation
	n    int
}

// runOf returns the chunks of an entry.
func runOf(entry []byte) (out []indexedChunk) {
	for _, e := range parseEntries(string(entry)) {
		for n := e.chunk; n <= e.last; n++ {
			out = append(out, indexedChunk{string(entry[:chunksAt]), n})
		}
	}
	return out
}

// missingLogs returns the buckets of names that are missing in the logs of operations, by operation.
func (s *repairStep) missingLogs(ctx context.Context, names indexWrites) (map[string][]byte, error) {
	logs := names.log(0)
	ids := slices.Sorted(maps.Keys(logs))
	if len(ids) == 0 {
		return nil, nil
	}
	cmds, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, id := range ids {
			p.GetRange(ctx, s.keys.logged(id), 0, -1)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for i, id := range ids {
		known := buckets{map[int]bool{}, map[int]bool{}}
		known.addLogged([]byte(cmds[i].(*redis.StringCmd).Val()))
		var add []byte
		for b := range slices.Chunk(logs[id], 2) {
			if !known.names[int(binary.BigEndian.Uint16(b))] {
				add = append(add, b...)
			}
		}
		if len(add) > 0 {
			out[id] = add
		}
	}
	return out, nil
}
