package record

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
)

// repairOperations adds operations to the lists in which they are missing. It reads those
// operations twice, as they may have moved between two reads: sure marks the second read.
func (s *repairStep) repairOperations(ctx context.Context, ids []string, sure bool) error {
	metas, there := make([]*redis.SliceCmd, len(ids)), make([]*redis.IntCmd, len(ids))
	open, unproven := make([]*redis.StringSliceCmd, len(ids)), make([]*redis.StringSliceCmd, len(ids))
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			there[i] = p.Exists(ctx, s.keys.op(id))
			metas[i] = p.HMGet(ctx, s.keys.op(id), operationFields...)
			open[i], unproven[i] = p.HVals(ctx, s.keys.open(id)), p.HVals(ctx, s.keys.unproven(id))
		}
		return nil
	})
	if err != nil {
		return err
	}
	missing := map[RepairKind]entries{}
	for _, kind := range RepairKinds {
		missing[kind] = entries{}
	}
	var doubtful []Operation
	for i, id := range ids {
		var v storedOperation
		err := metas[i].Scan(&v)
		op, accepted, err2 := v.operation(id)
		switch {
		case there[i].Val() == 0: // it was just removed
		case err != nil || err2 != nil:
			s.cursor.cannotRead(id)
		case v.Expired && v.Meta != "": // its removal has begun: the ended list continues it
			missing[RepairedEnded].add(s.keys.endedOps(), max(0, v.Ended.UnixMilli()), id)
		case !accepted:
			missing[RepairedAbandoned].add(s.keys.openOps(), s.now.UnixMilli(), id)
		default:
			if !sure {
				s.noteOperation(op)
			}
			if inDoubt(op, sum(open[i].Val()), sum(unproven[i].Val())) {
				doubtful = append(doubtful, op)
			} else {
				s.belongs(op, missing)
			}
		}
	}
	if sure {
		if err := s.recountAll(ctx, doubtful, missing); err != nil {
			return err
		}
		return s.enter(ctx, missing)
	}
	again, err := s.absent(ctx, missing)
	if err != nil {
		return err
	}
	again = append(again, idsOf(doubtful)...)
	if len(again) == 0 {
		return nil
	}
	slices.Sort(again)
	return s.repairOperations(ctx, slices.Compact(again), true)
}

// noteOperation counts an operation, and adds its rows to the work if they must be checked.
func (s *repairStep) noteOperation(op Operation) {
	s.cursor.operations++
	if s.rowsMayBeLost(op) {
		for n := range op.Chunks() {
			s.cursor.todo.rows = append(s.cursor.todo.rows, chunkID{op.ID, n})
		}
	}
}

// absent returns the operations that have a missing entry.
func (s *repairStep) absent(ctx context.Context, missing map[RepairKind]entries) (ids []string, err error) {
	var of [][]redis.Z
	var scores []*redis.FloatSliceCmd
	_, err = s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, byKey := range missing {
			for key, zs := range byKey {
				members := make([]string, len(zs))
				for i, z := range zs {
					members[i] = z.Member.(string)
				}
				of, scores = append(of, zs), append(scores, p.ZMScore(ctx, key, members...))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, zs := range of {
		for n, score := range scores[i].Val() {
			if score == 0 { // the client returns 0 for a missing member
				ids = append(ids, zs[n].Member.(string))
			}
		}
	}
	return ids, nil
}

// recountAll counts the rows of operations whose counts cannot be right. An operation whose
// counts changed is processed once more, as it may have ended with the change.
func (s *repairStep) recountAll(ctx context.Context, doubtful []Operation, missing map[RepairKind]entries) error {
	for _, op := range doubtful {
		changed, err := s.recount(ctx, op)
		if err != nil {
			return err
		}
		if changed {
			s.repairs.add(RepairedCounts, 1)
			s.cursor.todo.ops = append(s.cursor.todo.ops, op.ID)
		} else {
			s.belongs(op, missing)
		}
	}
	return nil
}

// belongs adds the entries that an operation should have to missing.
func (s *repairStep) belongs(op Operation, missing map[RepairKind]entries) {
	accepted := op.AcceptedAt.UnixMilli()
	switch {
	case op.Sealed():
		missing[RepairedEnded].add(s.keys.endedOps(), op.EndedAt.UnixMilli(), op.ID)
		if s.now.Sub(op.EndedAt) >= s.retention {
			return // it will soon be removed from the lists
		}
	default: // Finish removes it when it is sealed
		missing[RepairedOpen].add(s.keys.openOps(), accepted, op.ID)
	}
	for _, key := range append(s.keys.indexesOf(indexedOf(op)), s.keys.operations()) {
		missing[RepairedList].add(key, accepted, op.ID)
	}
	if op.NotBefore.After(op.AcceptedAt) && !op.Done() {
		for _, project := range []string{"", op.Project} {
			missing[RepairedScheduled].add(s.keys.scheduled(project), -ceilMS(op.NotBefore), op.ID)
		}
	}
}

func sum(values []string) (n int) {
	for _, v := range values {
		n += int(number(v))
	}
	return n
}

// inDoubt reports that an operation's counts cannot be right. This may also be so if rows
// change during the read.
func inDoubt(op Operation, open, unproven int) bool {
	total := 0
	for _, state := range tasks.States {
		total += op.Counts.Of(state)
	}
	return open != op.Counts.Queued+op.Counts.Sending || unproven != op.Counts.Accepted ||
		total != op.Total || op.Done() != (open+unproven == 0)
}

var scriptRecount = script("recount", "by_bytes")

// countsText is counts in the format of scriptRecount.
func countsText(counts tasks.Counts, open, unproven map[string]string) string {
	var out []string
	for _, state := range tasks.States {
		out = append(out, strconv.Itoa(counts.Of(state)))
	}
	for _, hash := range []map[string]string{open, unproven} {
		var list []string
		for chunk, n := range hash {
			list = append(list, chunk+"="+n)
		}
		slices.Sort(list)
		out = append(out, strings.Join(list, ","))
	}
	return strings.Join(out, ";")
}

// recount sets an operation's counts to those of its rows if they differ and no row changes
// meanwhile.
func (s *repairStep) recount(ctx context.Context, op Operation) (changed bool, err error) {
	var was *redis.SliceCmd
	var open, unproven *redis.MapStringStringCmd
	_, err = s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		was = p.HMGet(ctx, s.keys.op(op.ID), operationFields...)
		open, unproven = p.HGetAll(ctx, s.keys.open(op.ID)), p.HGetAll(ctx, s.keys.unproven(op.ID))
		return nil
	})
	if err != nil {
		return false, err
	}
	var stored storedOperation
	if err := was.Scan(&stored); err != nil {
		return false, err
	}
	counts := tasks.Counts{}
	left := [2]map[string]string{{}, {}}
	for first := 0; first < op.Chunks(); first += 64 {
		rows, err := s.readChunks(ctx, op, chunkRange(first, min(first+64, op.Chunks()))...)
		if err != nil {
			s.cursor.cannotRead(op.ID)
			return false, s.rdb.Ping(ctx).Err() // Redis answers, so the rows are unreadable
		}
		for _, d := range rows {
			counts.Count(d.State)
			for i, is := range []bool{d.State.Open(), d.State == tasks.StateAccepted} {
				if is {
					chunk := strconv.Itoa(d.Chunk)
					left[i][chunk] = strconv.Itoa(int(number(left[i][chunk])) + 1)
				}
			}
		}
	}
	before := countsText(stored.counts(), open.Val(), unproven.Val())
	ended := !stored.Ended.IsZero()
	if before == countsText(counts, left[0], left[1]) && ended == (len(left[0])+len(left[1]) == 0) {
		return false, nil
	}
	args := []any{s.now.UnixMilli(), before, 2 * len(left[0]), 2 * len(left[1])}
	for _, hash := range left {
		for chunk, n := range hash {
			args = append(args, chunk, n)
		}
	}
	for _, state := range tasks.States {
		args = append(args, countField+string(state), counts.Of(state))
	}
	v, err := s.runScript(ctx, scriptRecount, []string{s.keys.op(op.ID), s.keys.open(op.ID), s.keys.unproven(op.ID)}, args...)
	done, _ := v.(int64)
	return done == 1, err
}
