package record

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// RepairReport is the result of the walk through the record so far.
type RepairReport struct {
	Repaired   Repairs   `json:"repaired"`             // in total; never null
	RepairedAt time.Time `json:"repaired_at,omitzero"` // the last time
	// Of the last complete round; zero: there was none yet.
	BegunAt    time.Time `json:"begun_at,omitzero"`
	EndedAt    time.Time `json:"ended_at,omitzero"`
	Operations int       `json:"operations"`
	Last       int       `json:"last"`       // repairs
	Orphans    int       `json:"orphans"`    // entries that led to no operation, dropped ones included
	Unreadable int       `json:"unreadable"` // operations and chunks
	// The operations of these, some of them if they are many.
	UnreadableIn []string `json:"unreadable_in,omitempty"`
}

// Fields of the walk's hash, besides a total for each RepairKind.
const (
	roundField      = "begun" // ms
	roundEndField   = "end"   // ms
	safeField       = "safe"  // ms: entries written more than repairSlack before it need no second check
	repairedAtField = "at"    // ms
	roundOpsField   = "operations"
	roundLastField  = "last"
	orphansField    = "orphans"
	unreadableField = "unreadable"
	unreadableIn    = "unreadable in" // ids, with spaces between them
)

// noteRepairs adds the repairs of a step.
func (r *Record) noteRepairs(ctx context.Context, now time.Time, some Repairs) error {
	if some.Total() == 0 {
		return nil
	}
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for kind, n := range some {
			p.HIncrBy(ctx, r.keys.repair(), string(kind), int64(n))
		}
		p.HSet(ctx, r.keys.repair(), repairedAtField, now.UnixMilli())
		return nil
	})
	return err
}

// noteRound writes the result of a complete round.
func (r *Record) noteRound(ctx context.Context, now time.Time, c RepairCursor) error {
	safe := c.begun
	if c.waiting && c.since.IsZero() {
		safe = time.UnixMilli(0)
	} else if c.waiting {
		safe = c.since.Add(repairSlack)
	}
	return r.rdb.HSet(ctx, r.keys.repair(), safeField, safe.UnixMilli(),
		roundField, c.begun.UnixMilli(), roundEndField, now.UnixMilli(), roundOpsField, c.operations,
		roundLastField, c.repairs.Total(), orphansField, c.orphans, unreadableField, c.unreadable,
		unreadableIn, strings.Join(c.unreadableIn, " "),
	).Err()
}

// RepairReport reads the result of the walk.
func (r *Record) RepairReport(ctx context.Context) (RepairReport, error) {
	v, err := r.rdb.HGetAll(ctx, r.keys.repair()).Result()
	if err != nil {
		return RepairReport{}, fmt.Errorf("reading the repair report: %w", err)
	}
	x := RepairReport{
		Repaired: Repairs{}, Operations: int(number(v[roundOpsField])), Last: int(number(v[roundLastField])),
		Orphans: int(number(v[orphansField])), Unreadable: int(number(v[unreadableField])),
		UnreadableIn: strings.Fields(v[unreadableIn]),
	}
	for _, kind := range RepairKinds {
		x.Repaired.add(kind, int(number(v[string(kind)])))
	}
	for field, t := range map[string]*time.Time{roundField: &x.BegunAt, roundEndField: &x.EndedAt, repairedAtField: &x.RepairedAt} {
		if ms := number(v[field]); ms != 0 {
			*t = time.UnixMilli(ms).UTC()
		}
	}
	return x, nil
}
