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
	return s.runBatches(ctx, calls)
}

// repairRows adds rows to the indexes in which they are missing.
func (s *repairStep) repairRows(ctx context.Context, refs []chunkID) error {
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
	rows, names := indexWrites{}, newNameWrites()
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
			s.cursor.unreadable++
		}
	}
	return s.enterRows(ctx, rows, names)
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
		s.cursor.unreadable++
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

// enterRows adds missing entries to the indexes of rows.
func (s *repairStep) enterRows(ctx context.Context, rows indexWrites, names *nameWrites) error {
	missingRows, n, err := s.missing(ctx, s.keys.history, rows)
	if err != nil {
		return err
	}
	missingNames, m, err := s.missing(ctx, s.keys.named, names.indexWrites)
	if err != nil {
		return err
	}
	logs, err := s.missingLogs(ctx, names.indexWrites)
	if err != nil {
		return err
	}
	calls := append(missingRows.calls(s.keys.history), missingNames.calls(s.keys.named)...)
	calls = append(calls, s.listCalls(names)...) // which enters what is missing
	if err := s.runBatches(ctx, append(logs, calls...)); err != nil {
		return err
	}
	s.repairs.add(RepairedIndex, n+m)
	return nil
}

// missing returns the entries whose chunks are missing in an index, and their number.
func (s *repairStep) missing(ctx context.Context, key index, w indexWrites) (out indexWrites, n int, err error) {
	type asked struct {
		call          *scriptCall
		place, bucket int
		entry         []byte
	}
	calls := bucketCalls{script: scriptIndexFind, first: []any{entryBytes}}
	var all []asked
	for bucket, entries := range w {
		for e := range slices.Chunk(entries, entryBytes) {
			c, place := calls.add(bucket, key(bucket), e[:hashBytes])
			all = append(all, asked{c, place, bucket, e})
		}
	}
	if err := s.runBatches(ctx, calls.all); err != nil {
		return nil, 0, err
	}
	out = indexWrites{}
	for _, x := range all {
		found, err := x.call.reply.StringSlice()
		if err != nil || x.place >= len(found) {
			return nil, 0, fmt.Errorf("reading an index: unexpected reply %.100q: %w", found, err)
		}
		wanted, have := parseEntries(string(x.entry))[0], map[int]bool{}
		for _, e := range parseEntries(found[x.place]) {
			for chunk := e.chunk; e.op == wanted.op && chunk <= e.last; chunk++ {
				have[chunk] = true
			}
		}
		for chunk := wanted.chunk; chunk <= wanted.last; chunk++ {
			if !have[chunk] {
				out[x.bucket] = append(out[x.bucket], x.entry...)
				n++
				break
			}
		}
	}
	return out, n, nil
}

// missingLogs returns the calls that add the buckets of names to the logs of operations in
// which they are missing.
func (s *repairStep) missingLogs(ctx context.Context, names indexWrites) ([]*scriptCall, error) {
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
	var out []*scriptCall
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
			out = append(out, &scriptCall{args: []any{"APPEND", s.keys.logged(id), add}})
		}
	}
	return out, nil
}
