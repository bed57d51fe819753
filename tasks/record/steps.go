package record

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
)

// Steps iterates over the steps of an entry, each with its row's position in the chunk. Only
// Check tells whether there is such a row.
func (e TrailEntry) Steps() iter.Seq2[int, tasks.Step] {
	return func(yield func(int, tasks.Step) bool) {
		for p, m := range e.Each() {
			note := noteOf(m.Note)
			s := tasks.Step{
				At: e.At, From: tasks.State(m.From), To: tasks.State(m.To), By: e.By,
				Note: note, NoteText: note.Text(), Detail: m.Detail, CallID: e.CallID,
			}
			if !yield(p, s) {
				return
			}
		}
	}
}

// Steps reads the steps of one row of an operation, and fills in Before and Pinned.
func (r *Record) Steps(ctx context.Context, d *Row) ([]tasks.Step, error) {
	raws, err := r.rdb.LRange(ctx, r.keys.trail(d.OperationID, d.Chunk), 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("reading the trail of operation %s: %w", d.OperationID, err)
	}
	var out []tasks.Step
	for _, raw := range raws {
		e, err := ParseTrailEntry(raw)
		if err != nil {
			return nil, fmt.Errorf("operation %s, chunk %d: %w", d.OperationID, d.Chunk, err)
		}
		if b, read := e.Before[d.Position]; read {
			d.readAs(b)
		}
		for p, s := range e.Steps() {
			if p == d.Position {
				out = append(out, s)
			}
		}
	}
	return out, nil
}

// AddBefore fills in Before and Pinned of rows of an operation, in one round trip. It reads
// the trail of every chunk that has one of the rows.
func (r *Record) AddBefore(ctx context.Context, op Operation, ds []Row) error {
	rows := map[int][]*Row{} // by chunk
	var chunks []int
	for i := range ds {
		n := ds[i].Chunk
		if rows[n] == nil {
			chunks = append(chunks, n)
		}
		rows[n] = append(rows[n], &ds[i])
	}
	if len(chunks) == 0 {
		return nil
	}
	cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, n := range chunks {
			p.LRange(ctx, r.keys.trail(op.ID, n), 0, -1)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the trail of operation %s: %w", op.ID, err)
	}
	for i, n := range chunks {
		err := eachBefore(cmds[i].(*redis.StringSliceCmd).Val(), func(position int, b tasks.Before) {
			if at := slices.IndexFunc(rows[n], func(d *Row) bool { return d.Position == position }); at >= 0 {
				rows[n][at].readAs(b)
			}
		})
		if err != nil {
			return fmt.Errorf("operation %s, chunk %d: %w", op.ID, n, err)
		}
	}
	return nil
}
