package record

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/queue"
)

// Followed is a chunk with desktops to be confirmed, leased to a worker for one poll.
type Followed struct {
	Chunk
	lease int64
}

// Look says when to poll a followed chunk again; a zero Next means never. Desktops that
// were accepted during the lease are followed in any case.
type Look struct {
	Followed Followed
	Next     time.Time
}

// Looks ends the leases of chunks of one project; see Apply.
type Looks []Look

var scriptTakeDue = script("take_due")

var scriptLook = script("look")

// TakeDue leases and reads up to limit chunks of a project whose poll is due. No other
// worker gets them until the lease is over or a Look ends it.
func (r *Record) TakeDue(ctx context.Context, project string, now time.Time, lease time.Duration, limit int) ([]Followed, error) {
	until := now.Add(lease).UnixMilli()
	v, err := r.runScript(ctx, scriptTakeDue, []string{r.keys.follow(project)}, now.UnixMilli(), until, limit)
	if err != nil {
		return nil, fmt.Errorf("reading the desktops to be confirmed in project %s: %w", project, err)
	}
	members, _ := v.([]any)
	if len(members) == 0 {
		return nil, nil
	}
	var refs []chunkID
	for _, m := range members {
		s, _ := m.(string)
		id, chunk, _ := strings.Cut(s, ":")
		n, err := strconv.Atoi(chunk)
		if err != nil {
			return nil, fmt.Errorf("the desktops to be confirmed in project %s have an unreadable entry %q", project, s)
		}
		refs = append(refs, chunkID{id, n})
	}
	out := make([]Followed, len(refs))
	chunks, err := r.chunks(ctx, refs)
	if err != nil {
		return nil, err
	}
	for i, c := range chunks {
		if c.Operation.ID == "" {
			expired := tasks.Operation{ID: refs[i].op, Project: project} // its Look ends it
			c = Chunk{Operation: Operation{Operation: expired}, Number: refs[i].chunk}
		}
		out[i] = Followed{Chunk: c, lease: until}
	}
	return out, nil
}

// InWork reads the chunks of payloads, in one round trip. It omits chunks that are gone,
// or that have been enqueued again since.
func (r *Record) InWork(ctx context.Context, ps []queue.Payload) ([]Chunk, error) {
	refs := make([]chunkID, len(ps))
	for i, p := range ps {
		refs[i] = chunkID{p.Operation, p.Chunk}
	}
	chunks, err := r.chunks(ctx, refs)
	var out []Chunk
	for i, c := range chunks {
		if c.Operation.ID != "" && c.Generation == ps[i].Generation {
			out = append(out, c)
		}
	}
	return out, err
}

// chunks reads chunks; see chunksWith.
func (r *Record) chunks(ctx context.Context, refs []chunkID) ([]Chunk, error) {
	return r.chunksWith(ctx, refs, func(redis.Pipeliner) {})
}

// chunksWith reads chunks in one round trip, with the caller's other commands, and in a second
// one the trails of those of which a row has moved. A missing chunk is zero.
func (r *Record) chunksWith(ctx context.Context, refs []chunkID, also func(redis.Pipeliner)) ([]Chunk, error) {
	metas, fields := map[string]*redis.SliceCmd{}, map[string][]string{}
	alls, trails := make([]*redis.MapStringStringCmd, len(refs)), make([]*redis.StringSliceCmd, len(refs))
	for _, x := range refs {
		if fields[x.op] == nil {
			fields[x.op] = slices.Clone(operationFields)
		}
		fields[x.op] = append(fields[x.op], generationField+strconv.Itoa(x.chunk))
	}
	fail := func(err error) ([]Chunk, error) { return nil, fmt.Errorf("reading %d chunks: %w", len(refs), err) }
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, x := range refs {
			alls[i] = p.HGetAll(ctx, r.keys.chunk(x.op, x.chunk))
		}
		for id, names := range fields { // after the rows: it knows of the retries that queued them again
			metas[id] = p.HMGet(ctx, r.keys.op(id), names...)
		}
		also(p)
		return nil
	})
	if err != nil {
		return fail(err)
	}
	ops := map[string]Operation{}
	for id, meta := range metas {
		if op, ok, err := decodeOperation(id, meta); err != nil {
			return nil, err
		} else if ok {
			ops[id] = op
		}
	}
	there := func(i int) bool { return ops[refs[i].op].ID != "" && len(alls[i].Val()) > 0 }
	_, err = r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, x := range refs {
			if there(i) && !unmoved(ops[x.op], alls[i].Val()) {
				trails[i] = p.LRange(ctx, r.keys.trail(x.op, x.chunk), 0, -1)
			}
		}
		return nil
	})
	if err != nil {
		return fail(err)
	}
	out := make([]Chunk, len(refs))
	for i, x := range refs {
		if !there(i) {
			continue
		}
		op, trail := ops[x.op], []string(nil)
		if trails[i] != nil {
			trail = trails[i].Val()
		}
		generation := metas[x.op].Val()[slices.Index(fields[x.op], generationField+strconv.Itoa(x.chunk))]
		out[i] = Chunk{Operation: op, Number: x.chunk, Generation: int(number(generation))}
		if out[i].Desktops, err = decodePinned(x.op, op.bound, x.chunk, alls[i].Val(), trail); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// unmoved reports that a chunk is as it was accepted, so that nothing is in its trail.
func unmoved(op Operation, values map[string]string) bool {
	queued := encodeStatus(tasks.Desktop{State: tasks.StateQueued, UpdatedAt: op.AcceptedAt})
	_, status, _ := strings.Cut(values[commonField], "|")
	for id, value := range values {
		if strings.Trim(id, " ") != "" && strings.Contains(value, ";") {
			return false
		}
	}
	return status == queued
}

func (l Looks) call(r *Record) *scriptCall {
	if len(l) == 0 {
		return nil
	}
	c := &scriptCall{script: scriptLook, keys: []string{r.keys.follow(l[0].Followed.Operation.Project)}}
	for _, x := range l {
		next := int64(0)
		if !x.Next.IsZero() {
			next = x.Next.UnixMilli()
		}
		c.args = append(c.args, followMember(x.Followed.Operation.ID, x.Followed.Number), x.Followed.lease, next)
	}
	return c
}
