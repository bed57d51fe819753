package record

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
)

// seenEntries is the number of operations of a desktop that are read at once.
const seenEntries = 4

// Seen returns which of a few hundred desktops a reading of this project has shown, in any
// operation: a row of that id has a state before, or ended as gone, which implies one. It is
// for ids that are missing in the cloud's lists. It reads the latest operations first, and
// stops when it finds a reading; of an id that was never seen it reads all.
func (r *Record) Seen(ctx context.Context, project string, ids []string) (map[string]bool, error) {
	out := map[string]bool{}
	found, err := r.findRows(ctx, ids...)
	if err != nil {
		return nil, err
	}
	left := map[string][]chunkID{}
	for i, id := range ids {
		if chunks := chunksIn(found[i]); len(chunks) > 0 {
			left[id] = chunks
		}
	}
	for len(left) > 0 {
		wanted := map[chunkID][]string{}
		for id, chunks := range left {
			n := min(seenEntries, len(chunks))
			for _, at := range chunks[:n] {
				wanted[at] = append(wanted[at], id)
			}
			left[id] = chunks[n:]
		}
		if err := r.addSeen(ctx, project, wanted, out); err != nil {
			return nil, fmt.Errorf("checking whether %d desktops were ever seen: %w", len(ids), err)
		}
		for id, chunks := range left {
			if out[id] || len(chunks) == 0 {
				delete(left, id)
			}
		}
	}
	return out, nil
}

// addSeen marks the wanted rows of chunks that were seen.
func (r *Record) addSeen(ctx context.Context, project string, wanted map[chunkID][]string, seen map[string]bool) error {
	var ids []string
	for at := range wanted {
		ids = append(ids, at.op)
	}
	slices.Sort(ids)
	var refs []chunkID
	for batch := range slices.Chunk(slices.Compact(ids), 256) {
		ops, err := r.operations(ctx, batch)
		if err != nil {
			return err
		}
		theirs := map[string]bool{}
		for _, op := range ops {
			theirs[op.ID] = op.Project == project
		}
		for at := range wanted {
			if theirs[at.op] {
				refs = append(refs, at)
			}
		}
	}
	for batch := range slices.Chunk(refs, 64) {
		rows, trails := make([]*redis.SliceCmd, len(batch)), make([]*redis.StringSliceCmd, len(batch))
		_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, at := range batch {
				rows[i] = p.HMGet(ctx, r.keys.chunk(at.op, at.chunk), append([]string{commonField}, wanted[at]...)...)
				trails[i] = p.LRange(ctx, r.keys.trail(at.op, at.chunk), 0, -1)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i, at := range batch {
			if err := addSeenRows(wanted[at], rows[i].Val(), trails[i].Val(), seen); err != nil {
				return fmt.Errorf("operation %s, chunk %d: %w", at.op, at.chunk, err)
			}
		}
	}
	return nil
}

// addSeenRows is addSeen for rows of one chunk; values has the common value first.
func addSeenRows(ids []string, values []any, trail []string, seen map[string]bool) error {
	common, _ := values[0].(string)
	_, status, _ := strings.Cut(common, "|")
	at := map[int]string{} // by position
	for i, id := range ids {
		value, is := values[1+i].(string)
		if !is {
			continue // not in this chunk: its hash collides
		}
		position, own, alone := strings.Cut(value, ";")
		if !alone {
			own = status
		}
		var d Row
		if err := decodeStatus(&d, own); err != nil {
			return err
		}
		n, err := strconv.ParseInt(position, 36, 32)
		if err != nil {
			return err
		}
		if d.Note == tasks.NoteGone {
			seen[id] = true
		} else {
			at[int(n)] = id
		}
	}
	if len(at) == 0 {
		return nil
	}
	return eachBefore(trail, func(position int, _ tasks.Before) {
		if id, wanted := at[position]; wanted {
			seen[id] = true
		}
	})
}
