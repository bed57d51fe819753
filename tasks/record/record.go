package record

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/gather"
	"github.com/redis/go-redis/v9"
)

// DefaultRetention is how long an operation is kept after its end. At 250 bytes a desktop,
// a fleet that detaches 10,000 desktops a day keeps 230 MB.
const DefaultRetention = 90 * 24 * time.Hour

// DefaultPrefix is the default prefix of every key in Redis.
const DefaultPrefix = "detachd"

// Config makes a Record.
type Config struct {
	Prefix    string        // of every key; default DefaultPrefix
	Retention time.Duration // of ended operations; default DefaultRetention
	// Replicas is the number of replicas to wait for after a write that must survive the
	// loss of the primary, or all that are connected if fewer are; default DefaultReplicas,
	// negative: none.
	Replicas int
	// ReplicaWait is the longest wait; default DefaultReplicaWait. It is reduced to half of
	// the Redis client's ReadTimeout.
	ReplicaWait time.Duration
	// ReplicaReturns is how long a replica may become the primary after it lost its
	// connection; default DefaultReplicaReturns. Sentinel and Cluster do not promote one that
	// was disconnected for long (see down-after-milliseconds in sentinel.conf, and
	// cluster-replica-validity-factor).
	ReplicaReturns time.Duration
	// Protected are the protections of the configuration, besides those in Redis.
	Protected []tasks.Protection
	// Schedules are those of the configuration, besides those in Redis.
	Schedules []tasks.Schedule
}

// Record is the record of every operation and desktop. It is safe for use by many
// goroutines and processes. Its methods wrap the errors of Redis; after an error the write
// may or may not have happened, and calling again is harmless.
type Record struct {
	rdb       redis.UniversalClient
	keys      keys
	retention time.Duration
	replicas  *replicas
	audit     auditLog
	audited   gather.Group[tasks.AuditEvent]
	past      *pastTallies
	open      *openKept
	protected protected
	schedules map[string]tasks.Schedule // of the configuration, by name
	recalls   recalls
	finishing finishing
	failed    gather.Group[nameWrites] // names of desktops that failed
}

// New makes a Record on a single Redis, a Sentinel or a Cluster.
func New(rdb redis.UniversalClient, cfg Config) *Record {
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	if cfg.Retention == 0 {
		cfg.Retention = DefaultRetention
	}
	r := &Record{
		rdb: rdb, keys: keys{cfg.Prefix}, retention: cfg.Retention, replicas: newReplicas(rdb, cfg), past: &pastTallies{}, open: &openKept{},
		protected: protected{configured: cfg.Protected}, schedules: configuredSchedules(cfg.Schedules),
	}
	r.audited.Most, r.audited.Together = auditBatch, r.appendAudit
	r.failed.Together = r.writeNames
	return r
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
	fieldOperation   = "meta"      // JSON of Operation as accepted; if present, it is accepted
	fieldDeadline    = "deadline"  // ms; a retry moves it
	fieldEnded       = "ended"     // ms
	fieldSeal        = "seal"      // head of the trail, from the operation's end until the next entry
	fieldClearance   = "clearance" // JSON of tasks.Clearance; removed by a retry
	fieldBrake       = "brake"     // JSON of brake; removed by a retry of an ended operation
	fieldSealing     = "sealing"   // the head is being computed; removed by an entry meanwhile
	fieldFound       = "found"     // sizes of the chunks of desktops that were looked up
	fieldResolving   = "users"     // JSON of look-up results until SettleLookups writes them to the rows
	fieldHints       = "hints"     // number of rows for which hints were searched
	findField        = "find"      // + chunk number: JSON of its look-up results; see NoteFinds
	fieldToken       = "token"     // of the look-up that may write its results
	fieldIndex       = "index"     // JSON of indexed, until the operation is accepted
	fieldExpired     = "expired"   // set while expiry removes the operation
	countField       = "n"         // + state letter
	generationField  = "g"         // + chunk number
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

// fingerprintOf returns the fingerprint of the request of an accepted operation; ErrNotFound
// if there is none.
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

// operations reads the given operations, in one round trip. Missing ones are skipped.
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

// addFound adds the rows of desktops that look-ups found after the acceptance.
func (o *Operation) addFound(sizes string) error {
	found, total, err := decodeSizes(sizes)
	if err != nil {
		return fmt.Errorf("operation %s: %w", o.ID, err)
	}
	o.found = found
	o.Total += total
	return nil
}

// Chunk is a chunk as a worker needs it.
type Chunk struct {
	Operation  Operation
	Number     int
	Generation int   // as recorded; a task of an older generation is stale
	Desktops   []Row // by position, with Pinned
}

// Chunk reads a chunk; ErrNotFound if the operation is gone.
func (r *Record) Chunk(ctx context.Context, op string, n int) (Chunk, error) {
	chunks, err := r.chunks(ctx, []chunkID{{op, n}})
	if err == nil && chunks[0].Operation.ID == "" {
		err = fmt.Errorf("operation %s, chunk %d: %w", op, n, tasks.ErrNotFound)
	}
	if err != nil {
		return Chunk{}, err
	}
	return chunks[0], nil
}

// TryWrite reports whether Redis accepts a write, with a small key that expires. PING is not
// enough: a Redis that is full, a replica, or cannot write to its disk answers it. Of a
// Cluster only one shard is tested.
func (r *Record) TryWrite(ctx context.Context) error {
	if err := r.rdb.Set(ctx, r.keys.probe(), "", time.Minute).Err(); err != nil {
		return fmt.Errorf("trying a write: %w", err)
	}
	return nil
}

// number reads an integer from a reply; nil and "" are 0.
func number(v any) int64 {
	s, _ := v.(string)
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}
