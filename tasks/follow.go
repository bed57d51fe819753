package tasks

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Followed is a chunk with desktops that the cloud has accepted and that are
// not proven yet, taken by a worker for a look.
type Followed struct {
	Chunk
	lease int64
}

// Look says when a followed chunk is to be looked at again; the zero Next, never.
// What was accepted since it was taken is followed all the same.
type Look struct {
	Followed Followed
	Next     time.Time
}

// scriptTakeDue takes members that are due, for a while.
//
//	KEYS  follow
//	ARGV  now ms, end of the lease ms, how many at most
//	Returns the members
var scriptTakeDue = redis.NewScript(`
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for i = 1, #due do redis.call('ZADD', KEYS[1], ARGV[2], due[i]) end
return due
`)

// scriptLook ends a lease.
//
//	KEYS  follow
//	ARGV  member, the lease, the next look in ms or 0 (none)
//
// If the score is not the lease the chunk was entered, or taken, since.
var scriptLook = redis.NewScript(`
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then return 0 end
if ARGV[3] == '0' then return redis.call('ZREM', KEYS[1], ARGV[1]) end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return 1
`)

// TakeDue takes chunks of a project that are to be looked at by now, at most
// limit, and reads them. No other worker gets them until the lease is over or
// a Look ends it.
func (r *Record) TakeDue(ctx context.Context, project string, now time.Time, lease time.Duration, limit int) ([]Followed, error) {
	until := now.Add(lease).UnixMilli()
	v, err := r.runScript(ctx, scriptTakeDue, []string{r.keys.follow(project)}, now.UnixMilli(), until, limit)
	if err != nil {
		return nil, fmt.Errorf("looking for what is to be proven in project %s: %w", project, err)
	}
	members, _ := v.([]any)
	if len(members) == 0 {
		return nil, nil
	}
	type read struct {
		id   string
		n    int
		meta *redis.SliceCmd
		all  *redis.MapStringStringCmd
	}
	reads := make([]read, 0, len(members))
	_, err = r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, m := range members {
			s, _ := m.(string)
			id, chunk, _ := strings.Cut(s, ":")
			n, err := strconv.Atoi(chunk)
			if err != nil {
				return fmt.Errorf("unreadable entry %q", s)
			}
			x := read{id: id, n: n}
			x.meta, x.all = r.pipeChunk(ctx, p, id, n)
			reads = append(reads, x)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading what is to be proven in project %s: %w", project, err)
	}
	out := make([]Followed, 0, len(reads))
	for _, x := range reads {
		c, err := decodeChunkReply(x.id, x.n, x.meta, x.all)
		if errors.Is(err, ErrNotFound) {
			c = Chunk{Operation: Operation{ID: x.id, Project: project}, Number: x.n} // expired: its Look ends it
		} else if err != nil {
			return nil, err
		}
		out = append(out, Followed{Chunk: c, lease: until})
	}
	return out, nil
}

func (l Look) call(r *Record) *scriptCall {
	next := int64(0)
	if !l.Next.IsZero() {
		next = l.Next.UnixMilli()
	}
	c := l.Followed
	return &scriptCall{script: scriptLook, keys: []string{r.keys.follow(c.Operation.Project)}, args: []any{followMember(c.Operation.ID, c.Number), c.lease, next}}
}

// mendFollow enters what is not proven and not followed, which a crash between
// the two writes, or a Redis that lost the last of them, can leave.
func (r *Record) mendFollow(ctx context.Context, now time.Time, open []Operation) error {
	var some []Operation
	for _, op := range open {
		if op.Counts.Accepted > 0 {
			some = append(some, op)
		}
	}
	if len(some) == 0 {
		return nil
	}
	fail := func(err error) error { return fmt.Errorf("sweeping what is not proven: %w", err) }
	cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, op := range some {
			p.HKeys(ctx, r.keys.unproven(op.ID))
		}
		return nil
	})
	if err != nil {
		return fail(err)
	}
	_, err = r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, op := range some {
			for _, chunk := range cmds[i].(*redis.StringSliceCmd).Val() {
				p.ZAddNX(ctx, r.keys.follow(op.Project), redis.Z{Score: float64(now.UnixMilli()), Member: op.ID + ":" + chunk})
			}
		}
		return nil
	})
	if err != nil {
		return fail(err)
	}
	return nil
}
