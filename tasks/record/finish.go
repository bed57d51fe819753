package record

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/xid"

	"github.com/detachd/detachd/tasks"
)

var scriptSeal = script("seal")

// Finish closes those of the given operations that have no open work left, and returns
// them. It settles the inbox, enters the users of their desktops into the index of
// names, seals their trails, indexes them again, which repairs the gaps of a crash, and
// removes them from the list of open operations. It skips an operation that is retried
// at the same time, and one that another goroutine is finishing. Harmless to repeat.
func (r *Record) Finish(ctx context.Context, ids []string) ([]Operation, error) {
	ids = r.finishing.begin(ids)
	defer r.finishing.end(ids)
	fail := func(err error) ([]Operation, error) {
		return nil, fmt.Errorf("finishing %d operations: %w", len(ids), err)
	}
	ops, err := r.operations(ctx, ids)
	if err != nil {
		return nil, err
	}
	ops = slices.DeleteFunc(ops, func(op Operation) bool { return !op.Done() })
	if len(ops) == 0 {
		return nil, nil
	}
	token := xid.New().String()
	_, err = r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, op := range ops {
			p.HSet(ctx, r.keys.op(op.ID), fieldSealing, token)
		}
		return nil
	})
	if err != nil {
		return fail(err)
	}
	settle, err := r.settleInbox(ctx, ops)
	if err != nil {
		return fail(err)
	}
	named := newNameWrites()
	heads, err := r.heads(ctx, ops, func(op Operation, e Evidence) error {
		return errors.Join(settle.add(ctx, op, e), named.addTrail(op, e))
	})
	if err == nil {
		err = settle.flush(ctx)
	}
	if err == nil {
		err = r.enterNames(ctx, named)
	}
	if err != nil {
		return fail(err)
	}
	seals := make([]*scriptCall, len(ops))
	for i, op := range ops {
		seals[i] = &scriptCall{script: scriptSeal, keys: []string{r.keys.op(op.ID)}, args: []any{token, heads[op.ID]}}
	}
	if err := r.runScripts(ctx, seals, nil); err != nil {
		return fail(err)
	}
	var ended []Operation
	for i, op := range ops {
		if done, err := seals[i].reply.Int(); err != nil {
			return fail(err)
		} else if done == 1 {
			op.Seal = heads[op.ID]
			ended = append(ended, op)
		}
	}
	if err := r.close(ctx, ended); err != nil {
		return fail(err)
	}
	return ended, nil
}

// finishing are the operations that this process is finishing. One that is large takes longer than
// from one sweep to the next.
type finishing struct {
	mu  sync.Mutex
	ids map[string]bool
}

// begin returns those of some operations that nobody else is finishing.
func (f *finishing) begin(ids []string) (mine []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ids == nil {
		f.ids = map[string]bool{}
	}
	for _, id := range ids {
		if !f.ids[id] {
			f.ids[id] = true
			mine = append(mine, id)
		}
	}
	return mine
}

func (f *finishing) end(ids []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		delete(f.ids, id)
	}
}

// close removes sealed operations from the list of open ones. It puts back an operation
// that was retried in the meantime.
func (r *Record) close(ctx context.Context, ops []Operation) error {
	if len(ops) == 0 {
		return nil
	}
	still := make([]*redis.StringCmd, len(ops))
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, op := range ops {
			r.indexOperation(ctx, p, op)
			p.ZAddNX(ctx, r.keys.operations(), redis.Z{Score: float64(op.AcceptedAt.UnixMilli()), Member: op.ID})
			p.ZAdd(ctx, r.keys.endedOps(), redis.Z{Score: float64(op.EndedAt.UnixMilli()), Member: op.ID})
			p.ZRem(ctx, r.keys.openOps(), op.ID)
			if !op.NotBefore.IsZero() {
				r.leaveScheduled(ctx, p, op.ID, op.Project)
			}
			if op.clearance != "" || op.requeued > 0 { // a retry drops the question
				r.unwait(ctx, p, op)
			}
			still[i] = p.HGet(ctx, r.keys.op(op.ID), fieldSeal)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	for i, op := range ops {
		if errors.Is(still[i].Err(), redis.Nil) {
			if err := r.list(ctx, op, op.EndedAt); err != nil && !errors.Is(err, tasks.ErrNotFound) {
				return err
			}
		}
	}
	return nil
}

var scriptStay = script("stay")

// stays is how long an operation is kept at least once somebody is about to change it.
const stays = time.Hour

// list adds an operation that is about to change to the open ones, so that a sweep
// finds it after a crash, and keeps it from being removed meanwhile; ErrNotFound if that has begun.
func (r *Record) list(ctx context.Context, op Operation, now time.Time) error {
	stay := &scriptCall{
		script: scriptStay, keys: []string{r.keys.op(op.ID)}, args: []any{now.Add(stays - r.retention).UnixMilli()},
	}
	err := r.runScripts(ctx, []*scriptCall{stay}, func(p redis.Pipeliner) {
		p.ZAddNX(ctx, r.keys.openOps(), redis.Z{Score: float64(op.AcceptedAt.UnixMilli()), Member: op.ID})
		p.ZRem(ctx, r.keys.endedOps(), op.ID)
	})
	if err != nil {
		return err
	}
	if n, err := stay.reply.Int(); err != nil || n == 0 {
		return fmt.Errorf("operation %s: %w", op.ID, errors.Join(tasks.ErrNotFound, err))
	}
	return nil
}
