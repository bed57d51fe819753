package record

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
)

// DefaultRetention is how long an ended operation is kept. At 220 bytes a
// desktop, a fleet that detaches 10,000 desktops a day keeps 200 MB.
const DefaultRetention = 90 * 24 * time.Hour

// DefaultPrefix begins every key in Redis.
const DefaultPrefix = "detachd"

// Config makes a Record.
type Config struct {
	Prefix    string        // of every key; default DefaultPrefix
	Retention time.Duration // of ended operations; default DefaultRetention
	// Replicas is how many replicas are waited for where what was written must
	// survive the loss of the primary, fewer if fewer are connected; default
	// DefaultReplicas, negative: none. Where Redis has no replica nothing is waited for.
	Replicas int
	// ReplicaWait is how long, at most; default DefaultReplicaWait. It is cut to half
	// of the Redis client's ReadTimeout.
	ReplicaWait time.Duration
	// ReplicaReturns is how long a replica that is not connected any more is taken for
	// one that may take over; default DefaultReplicaReturns. Sentinels and Clusters
	// promote none that was cut off for long (see sentinel.conf on
	// down-after-milliseconds, and cluster-replica-validity-factor).
	ReplicaReturns time.Duration
}

// Record is what is remembered of every operation and desktop. It is safe for
// use by many goroutines and processes. Its methods return Redis' errors
// wrapped; when one fails nothing is known to be written, and calling again is
// harmless.
type Record struct {
	rdb       redis.UniversalClient
	keys      keys
	retention time.Duration
	replicas  *replicas
}

// New makes a Record on a Redis that is single, Sentinel or Cluster.
func New(rdb redis.UniversalClient, cfg Config) *Record {
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	if cfg.Retention == 0 {
		cfg.Retention = DefaultRetention
	}
	return &Record{rdb: rdb, keys: keys{cfg.Prefix}, retention: cfg.Retention, replicas: newReplicas(rdb, cfg)}
}

// QueueName is the asynq queue of that name of a project.
func (r *Record) QueueName(project string, q Queue) string { return r.keys.queue(project, q) }

// QueueOf is the asynq queue that carries a chunk's tasks.
func (r *Record) QueueOf(op Operation, chunk int) string {
	return r.keys.queue(op.Project, queueOf(op, chunk))
}

// Fields of an operation's hash.
const (
	fieldFingerprint = "fp"
	fieldOperation   = "meta"     // JSON of Operation as accepted; its presence is the acceptance
	fieldDeadline    = "deadline" // ms; a retry moves it
	fieldEnded       = "ended"    // ms
	fieldSeal        = "seal"     // head of the trail, from the operation's end until anything is added
	fieldSealing     = "sealing"  // the head is being computed; gone if anything was added meanwhile
	fieldFound       = "found"    // sizes of the chunks of desktops that were looked up
	fieldResolving   = "users"    // JSON of what was found, until the rows looked up say so; see SettleLookups
	fieldHints       = "hints"    // of how many rows hints were looked for
	findField        = "find"     // + chunk number: JSON of what its look-ups came to; see NoteFinds
	fieldToken       = "token"    // of the look-up that may write its finds
	fieldIndex       = "index"    // JSON of indexed, until the operation is accepted
	fieldExpired     = "expired"  // set while expiry removes the operation
	countField       = "n"        // + state letter
	generationField  = "g"        // + chunk number
)

// Operation reads one operation; ErrNotFound if there is none.
func (r *Record) Operation(ctx context.Context, id string) (Operation, error) {
	ops, err := r.operations(ctx, []string{id})
	if err != nil {
		return Operation{}, err
	}
	if len(ops) == 0 {
		return Operation{}, fmt.Errorf("operation %s: %w", id, tasks.ErrNotFound)
	}
	return ops[0], nil
}

// fingerprintOf gives the fingerprint of what an accepted operation was asked with;
// ErrNotFound if there is none.
func (r *Record) fingerprintOf(ctx context.Context, id string) (string, error) {
	var s struct {
		Fingerprint string `redis:"fp"`
		Meta        string `redis:"meta"`
		Expired     bool   `redis:"expired"`
	}
	if err := r.rdb.HMGet(ctx, r.keys.op(id), fieldFingerprint, fieldOperation, fieldExpired).Scan(&s); err != nil {
		return "", fmt.Errorf("reading operation %s: %w", id, err)
	}
	if s.Meta == "" || s.Expired {
		return "", fmt.Errorf("operation %s: %w", id, tasks.ErrNotFound)
	}
	return s.Fingerprint, nil
}

// operations reads those of the given operations that exist, in one round trip.
func (r *Record) operations(ctx context.Context, ids []string) ([]Operation, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, id := range ids {
			p.HMGet(ctx, r.keys.op(id), operationFields...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading operations: %w", err)
	}
	out := make([]Operation, 0, len(ids))
	for i, cmd := range cmds {
		op, ok, err := decodeOperation(ids[i], cmd.(*redis.SliceCmd))
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, op)
		}
	}
	return out, nil
}

// addFound adds the rows of the desktops that were found since the acceptance.
func (o *Operation) addFound(sizes string) error {
	found, total, err := decodeSizes(sizes)
	if err != nil {
		return fmt.Errorf("operation %s: %w", o.ID, err)
	}
	o.found = found
	o.Total += total
	return nil
}

// Chunk is what a worker needs to work on a chunk.
type Chunk struct {
	Operation  Operation
	Number     int
	Generation int   // as recorded; a task of an older one is stale
	Desktops   []Row // by position, with Pinned
}

// Chunk reads a chunk in one round trip; ErrNotFound if the operation is gone.
func (r *Record) Chunk(ctx context.Context, op string, n int) (Chunk, error) {
	return r.chunk(ctx, op, n, func(redis.Pipeliner) {})
}

// chunk reads a chunk and sends what else the caller has in the same round trip.
func (r *Record) chunk(ctx context.Context, op string, n int, also func(redis.Pipeliner)) (Chunk, error) {
	var meta *redis.SliceCmd
	var all *redis.MapStringStringCmd
	var trail *redis.StringSliceCmd
	fields := append(operationFields[:len(operationFields):len(operationFields)], generationField+strconv.Itoa(n))
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		meta = p.HMGet(ctx, r.keys.op(op), fields...)
		all = p.HGetAll(ctx, r.keys.chunk(op, n))
		trail = p.LRange(ctx, r.keys.trail(op, n), 0, -1)
		also(p)
		return nil
	})
	if err != nil {
		return Chunk{}, fmt.Errorf("reading chunk %d of operation %s: %w", n, op, err)
	}
	o, ok, err := decodeOperation(op, meta)
	if err != nil {
		return Chunk{}, err
	}
	if !ok || len(all.Val()) == 0 {
		return Chunk{}, fmt.Errorf("operation %s, chunk %d: %w", op, n, tasks.ErrNotFound)
	}
	c := Chunk{Operation: o, Number: n, Generation: int(number(meta.Val()[len(operationFields)]))}
	c.Desktops, err = decodePinned(op, n, all.Val(), trail.Val())
	return c, err
}

// TryWrite reports whether Redis takes a write, by a small key that goes away by
// itself. PING does not tell: it is answered by a Redis that is full, by a replica, and
// by one that cannot write to its disk. Of a Cluster it asks one shard.
func (r *Record) TryWrite(ctx context.Context) error {
	if err := r.rdb.Set(ctx, r.keys.probe(), "", time.Minute).Err(); err != nil {
		return fmt.Errorf("trying a write: %w", err)
	}
	return nil
}

// number reads an integer out of a reply; nil and "" are 0.
func number(v any) int64 {
	s, _ := v.(string)
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}
