// Package producer is for Go programs that put detach requests into the Redis of the
// workers themselves. Others send them to the HTTP API, see package tasks/api.
//
// A request is validated whole, written to the record, and only then enqueued. What
// Enqueue returns as accepted is not lost, whatever process dies.
package producer

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// Config makes a Producer.
type Config struct {
	Projects  []string      // the aliases that a request may name; required
	Prefix    string        // of every key, as the workers have it; defaults to "detachd"
	Retention time.Duration // of finished operations; defaults to 90 days
}

// Producer accepts requests. It is safe for use by many goroutines.
type Producer struct{ p *record.Producer }

// New makes a Producer on the Redis that the workers use: a single server, Sentinels or
// a Cluster. The caller keeps rdb and closes it.
func New(rdb redis.UniversalClient, c Config) (*Producer, error) {
	p, err := record.NewProducer(rdb, record.ProducerConfig{
		Projects: c.Projects, Record: record.Config{Prefix: c.Prefix, Retention: c.Retention},
	})
	if err != nil {
		return nil, err
	}
	return &Producer{p}, nil
}

// Validate says what Enqueue would refuse about the request, as a
// *tasks.ValidationError, and writes nothing.
func (p *Producer) Validate(r tasks.Request) error { return p.p.Validate(r) }

// Enqueue accepts a request whole, or refuses it whole. When it returns an operation,
// each of its desktops ends in a recorded state, whatever process dies. On an error
// nothing was accepted, unless the reply of Redis was lost on the way: send the request
// again with the same IdempotencyKey, which answers the operation that there is, also
// when its times have passed by then, or something in it is protected since.
//
// Errors: *tasks.ValidationError; *tasks.ProtectedError, it names what is protected by rules
// in Redis (a worker also knows those of its configuration); tasks.ErrKeyReused, the key belongs to a request with
// other content; tasks.ErrSendAgain, a cause that has passed; those of Redis.
//
// Where Redis has replicas it waits up to a second until one has the operation, and
// Durability of the operation says whether one has. A failover within moments would
// lose an operation that is tasks.OneCopy; sending it again waits again.
func (p *Producer) Enqueue(ctx context.Context, r tasks.Request) (tasks.Operation, error) {
	op, err := p.p.Enqueue(ctx, r)
	return op.Operation, err
}

// Operation reads how far an operation is; tasks.ErrNotFound if there is none, or its
// retention is over.
func (p *Producer) Operation(ctx context.Context, id string) (tasks.Operation, error) {
	op, err := p.p.Record.Operation(ctx, id)
	return op.Operation, err
}
