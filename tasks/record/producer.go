package record

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/xid"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/queue"
)

// ProducerConfig makes a Producer.
type ProducerConfig struct {
	Projects []string         // aliases that requests may name; required
	Record   Config           // the same as the workers'
	Now      func() time.Time // default time.Now
	// Required says what requests of a project must have; none by default.
	Required map[string]tasks.Required
}

// Producer accepts requests: it writes them to the record and then enqueues
// them. It is safe for use by many goroutines.
type Producer struct {
	Record *Record

	projects []string
	required map[string]tasks.Required
	queue    queue.Client
	bell     *ringer
	now      func() time.Time
}

// NewProducer makes a Producer on the Redis that the workers use. The caller
// keeps rdb and closes it.
func NewProducer(rdb redis.UniversalClient, cfg ProducerConfig) (*Producer, error) {
	if len(cfg.Projects) == 0 {
		return nil, errors.New("tasks: ProducerConfig.Projects is empty: name at least one project")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	rec := New(rdb, cfg.Record)
	return &Producer{
		Record: rec, projects: slices.Clone(cfg.Projects), required: cfg.Required,
		queue: queue.NewClient(rdb), bell: &ringer{record: rec, now: time.Now, last: map[string]rung{}}, now: cfg.Now,
	}, nil
}

// Validate returns what is wrong with a new request in itself. It reads and writes nothing.
func (p *Producer) Validate(req tasks.Request) error { return req.Validate(p.known, p.now()) }

// Refusal returns the error with which Enqueue would refuse a new request: Validate's, what
// its project requires, and what is protected. It writes nothing.
func (p *Producer) Refusal(ctx context.Context, req tasks.Request) error {
	if err := p.Validate(req); err != nil {
		return err
	}
	if err := p.required[req.Project].Validate(req); err != nil {
		return err
	}
	return p.Protected(ctx, req)
}

// Protected returns a *tasks.ProtectedError if a request names what is protected.
func (p *Producer) Protected(ctx context.Context, req tasks.Request) error {
	rules, err := p.Record.Protections(ctx)
	if err != nil {
		return fmt.Errorf("the request was not accepted: %w", err)
	}
	return rules.Refuse(req.Canonical())
}

func (p *Producer) known(alias string) bool { return slices.Contains(p.projects, alias) }

// Enqueue accepts a request. When it returns an operation, every desktop of it is in the
// record and will reach a final state, whatever process dies. After an error nothing was
// accepted, unless it is an error of Redis after the last write (a lost reply). Sending again
// with the same IdempotencyKey tells, whatever has changed since: the time, what is protected,
// what the project requires. Errors: *ValidationError, *ProtectedError, ErrKeyReused,
// ErrSendAgain, those of Redis.
//
// If Redis has replicas it waits until one has the operation, for Config.ReplicaWait at most.
// Operation.Durability is the result: an operation that is OneCopy is accepted, but a failover
// within moments would lose it. Sending it again with the same IdempotencyKey waits again.
//
// before is called with the id of a new operation, before anything is written; its error is
// returned, and nothing is accepted.
func (p *Producer) Enqueue(ctx context.Context, req tasks.Request, before ...func(id string) error) (Operation, error) {
	if req.Plan != "" {
		return Operation{}, &tasks.ValidationError{Problems: []tasks.Problem{
			{Field: "plan", Message: "belongs to the key that made it: run it through the API or with detachd detach --plan"},
		}}
	}
	if refused := p.Refusal(ctx, req); refused != nil {
		return p.replay(ctx, req.Canonical(), refused)
	}
	req = req.Canonical()
	op := p.newOperation(req)
	if err := p.announce(ctx, op.ID, req, before); err != nil {
		return Operation{}, err
	}
	return p.submit(ctx, op, content{
		fingerprint: fingerprint(req), desktops: req.Desktops, lookups: lookupRows(req), expect: req.Expect,
	})
}

// content is what is written of an operation that is being accepted, besides the operation.
type content struct {
	fingerprint       string
	desktops, lookups []string // rows
	expect            map[string][]string
	had               map[string]tasks.Before // of an undo: Row.Had
	plan              *planRun                // that it runs; nil: none
	rows              string                  // of an undo: a hash of its rows, which depend on the time, too
}

// submit accepts an operation and enqueues its chunks.
func (p *Producer) submit(ctx context.Context, op Operation, content content) (Operation, error) {
	created, copies, err := p.accept(ctx, op, content)
	if err != nil {
		return Operation{}, err
	}
	if !created {
		return p.again(ctx, op.ID)
	}
	op.Durability = copies.durability()
	// The operation is accepted now: a sweep enqueues a task that cannot be enqueued here.
	for n := range op.Chunks() {
		if err := p.dispatch(ctx, op, n, 0, op.NotBefore); err != nil {
			break
		}
	}
	return op, nil
}

// announce calls before for a new operation. One that was accepted before is not new.
func (p *Producer) announce(ctx context.Context, id string, req tasks.Request, before []func(id string) error) error {
	if len(before) > 0 && req.IdempotencyKey != "" {
		if _, err := p.Record.fingerprintOf(ctx, id); !errors.Is(err, tasks.ErrNotFound) {
			return err
		}
	}
	for _, f := range before {
		if err := f(id); err != nil {
			return err
		}
	}
	return nil
}

// replay answers a request that is refused now: with the operation that it made earlier, or
// else with refused.
func (p *Producer) replay(ctx context.Context, req tasks.Request, refused error) (Operation, error) {
	if req.IdempotencyKey == "" {
		return Operation{}, refused
	}
	op := p.newOperation(req)
	fp, err := p.Record.fingerprintOf(ctx, op.ID)
	switch {
	case errors.Is(err, tasks.ErrNotFound):
		return Operation{}, refused
	case err != nil:
		return Operation{}, err
	case fp == fingerprint(req):
		return p.again(ctx, op.ID)
	case req.ValidateContent(p.known) != nil:
		return Operation{}, refused // what is invalid in itself is never a repetition
	}
	return Operation{}, fmt.Errorf("the request was not accepted: %w", tasks.ErrKeyReused)
}

// again returns an operation that was accepted before, once replicas have it.
func (p *Producer) again(ctx context.Context, id string) (Operation, error) {
	op, err := p.Record.Operation(ctx, id)
	if err != nil {
		return Operation{}, err
	}
	copies, err := p.Record.settled(ctx, op)
	if err != nil {
		return Operation{}, err
	}
	op.Durability, op.Replayed = copies.durability(), true
	return op, nil
}

func (p *Producer) newOperation(req tasks.Request) Operation {
	now := time.UnixMilli(p.now().UnixMilli()).UTC()
	start, due, deadline := req.Times(now)
	total := len(req.Desktops) + len(req.Users) + len(req.Computers)
	op := Operation{Operation: tasks.Operation{
		ID: xid.NewWithTime(now).String(), Project: req.Project, ShutoffAfterDetach: req.ShutoffAfterDetach,
		Urgent: req.Urgent, AllowShared: req.AllowShared, UnknownUsers: req.UnknownUsers,
		NotBefore: start.UTC(), DueAt: due.UTC(), Deadline: deadline.UTC(), RequestedBy: req.RequestedBy, Owner: req.Owner,
		Reason: req.Reason, Ticket: req.Ticket, AcceptedAt: now, Total: total,
		Trace: tasks.Traceparent(req.Trace), Tracestate: tasks.Tracestate(req.Tracestate),
		Plan: req.Plan, Users: len(req.Users), Computers: len(req.Computers), Counts: tasks.Counts{Queued: total},
	}}
	if req.IdempotencyKey != "" {
		op.ID = OperationID(req.RequestedBy, req.IdempotencyKey)
	}
	return op
}

// OperationID is the id of an operation with an idempotency key. It is a hash of the key: so
// the record itself is the table of keys, and another producer can repeat the work of one that
// died.
func OperationID(requestedBy, key string) string {
	sum := sha256.Sum256([]byte(requestedBy + "\x00" + key))
	var id xid.ID
	copy(id[:], sum[:])
	return id.String()
}

// fingerprint tells requests with the same idempotency key apart.
func fingerprint(req tasks.Request) string {
	// Content is compared; a trace is none, and neither is the owner of a key that replaced another of its name.
	req.IdempotencyKey, req.Trace, req.Tracestate, req.Owner = "", "", "", ""
	// The same instant is the same content, whatever its offset.
	req.NotBefore, req.DueAt, req.Deadline = req.NotBefore.UTC(), req.DueAt.UTC(), req.Deadline.UTC()
	sum := sha256.Sum256([]byte(mustJSON(req)))
	return hex.EncodeToString(sum[:16])
}

var scriptPutChunk = script("put_chunk")

var scriptAccept = script("accept")

// accept writes the record and waits for replicas. created is false if the operation was
// accepted before. The order makes it atomic: first the intent (so that a sweep finds and
// removes an operation that is never accepted), then the desktops and their history, and
// last the acceptance, in one step.
func (p *Producer) accept(ctx context.Context, op Operation, content content) (created bool, copies Copies, err error) {
	r := p.Record
	fail := func(err error) (bool, Copies, error) {
		return false, NoReplicas, fmt.Errorf("the request was not accepted: %w", err)
	}
	intent := redis.Z{Score: float64(op.AcceptedAt.UnixMilli()), Member: op.ID}
	index := mustJSON(indexedOf(op))
	open := []any{mustJSON(op), op.Deadline.UnixMilli(), op.Total}
	fields := make([][]any, 0, op.Chunks())
	for _, rows := range [][]string{content.desktops, content.lookups} {
		for ids := range slices.Chunk(rows, ChunkSize) {
			chunk := newChunk(ids, content.expect, op.AcceptedAt)
			if v, any := encodeHad(ids, content.had); any {
				chunk = append(chunk, hadField, v)
			}
			open, fields = append(open, len(fields), len(ids)), append(fields, chunk)
		}
	}
	if content.plan != nil {
		if err := content.plan.bind(fields); err != nil {
			return fail(err)
		}
	}
	chunks := make([]*scriptCall, len(fields))
	for n := range chunks {
		chunks[n] = &scriptCall{
			script: scriptPutChunk, keys: []string{r.keys.op(op.ID), r.keys.chunk(op.ID, n)},
			args: append([]any{content.fingerprint, index, content.rows}, fields[n]...),
		}
	}
	if err := r.rdb.ZAddNX(ctx, r.keys.openOps(), intent).Err(); err != nil {
		return fail(err)
	}
	for batch := range slices.Chunk(chunks, 50) {
		if err := r.runScripts(ctx, batch, nil); err != nil {
			return fail(err)
		}
		for _, c := range batch {
			switch reply, _ := c.reply.Text(); reply {
			case "accepted":
				return false, NoReplicas, nil
			case "other":
				return fail(tasks.ErrKeyReused)
			case "rows":
				_, err := r.removeAll(ctx, p.now(), []string{op.ID})
				return fail(cmp.Or(err, fmt.Errorf("another try of it had other desktops, and was rolled back: %w", tasks.ErrSendAgain)))
			}
		}
	}
	if err := r.writeHistory(ctx, op, content.desktops, content.expect, 0); err != nil {
		return fail(err)
	}
	if err := r.writeHistory(ctx, op, content.lookups, content.expect, chunksOf(len(content.desktops))); err != nil {
		return fail(err)
	}
	if err := r.enterScheduled(ctx, op); err != nil {
		return fail(err)
	}
	commit := &scriptCall{script: scriptAccept, keys: []string{r.keys.op(op.ID), r.keys.open(op.ID)}, args: open}
	for _, c := range chunks {
		commit.keys = append(commit.keys, c.keys[1])
	}
	intended := memberCall(r.keys.openOps(), op.ID)
	copies, err = r.durably(ctx, []*scriptCall{commit, intended, enter(r.keys.operations(), op)}, func(pipe redis.Pipeliner) {
		r.indexOperation(ctx, pipe, op)
	})
	if err != nil {
		return fail(err)
	}
	done, err := commit.reply.Int()
	switch {
	case err == nil && done == -1:
		err = fmt.Errorf("writing it took too long, it was rolled back: %w", tasks.ErrSendAgain)
	case err == nil && done == -2:
		err = fmt.Errorf("a failover of Redis lost a part of it while it was written: %w", tasks.ErrSendAgain)
	}
	if done < 0 {
		_, err2 := r.removeAll(ctx, p.now(), []string{op.ID}) // what was written after the removal
		err = errors.Join(err, err2, r.unindexOperation(ctx, op.ID, indexedOf(op)))
	}
	if err != nil {
		return fail(err)
	}
	if n, err := intended.reply.Int(); done == 1 && (err != nil || n == 0) { // a failover lost it
		if copies, err = r.settled(ctx, op); err != nil {
			return fail(err)
		}
	}
	return done == 1, copies, nil
}

// enter enters an operation into an index by acceptance time.
func enter(key string, op Operation) *scriptCall {
	return &scriptCall{args: []any{"ZADD", key, "NX", op.AcceptedAt.UnixMilli(), op.ID}}
}

var scriptIsMember = script("is_member")

func memberCall(key, id string) *scriptCall {
	return &scriptCall{script: scriptIsMember, keys: []string{key}, args: []any{id}}
}

var scriptIsAccepted = script("is_accepted")

// settled waits until replicas have an operation that was accepted, and its entries in the
// lists of all operations and, unless it has ended, of open ones.
func (r *Record) settled(ctx context.Context, op Operation) (Copies, error) {
	there := &scriptCall{script: scriptIsAccepted, keys: []string{r.keys.op(op.ID)}}
	calls := []*scriptCall{there, enter(r.keys.operations(), op)}
	if !op.Done() {
		calls = append(calls, enter(r.keys.openOps(), op))
	}
	copies, err := r.durably(ctx, calls, nil)
	if err != nil {
		return NoReplicas, fmt.Errorf("waiting for replicas of operation %s: %w", op.ID, err)
	}
	if n, err := there.reply.Int(); err != nil || n == 0 {
		return NoReplicas, fmt.Errorf("operation %s: %w", op.ID, errors.Join(tasks.ErrNotFound, err))
	}
	return copies, nil
}

// newChunk returns the fields of a chunk whose rows are all queued.
func newChunk(ids []string, expect map[string][]string, now time.Time) []any {
	fields := make([]any, 0, 4+2*len(ids))
	fields = append(fields, commonField, encodeCommon(len(ids), encodeStatus(tasks.Desktop{State: tasks.StateQueued, UpdatedAt: now})))
	fields = append(fields, packExpect(ids, expect)...)
	for i, id := range ids {
		fields = append(fields, id, encodePosition(Row{Position: i}))
	}
	return fields
}

// lookupRows are the rows to be looked up, in order.
func lookupRows(req tasks.Request) []string {
	out := make([]string, 0, len(req.Users)+len(req.Computers))
	for _, name := range req.Users {
		out = append(out, tasks.UserRow(name))
	}
	for _, name := range req.Computers {
		out = append(out, tasks.ComputerRow(name))
	}
	return out
}

// writeHistory enters an operation's desktops into their index, and the names in its rows into the
// index of names. The rows begin with the given chunk.
func (r *Record) writeHistory(ctx context.Context, op Operation, desktops []string, expect map[string][]string, chunk int) error {
	rows, names := indexWrites{}, newNameWrites()
	names.addText(op, operationID, op.ID)
	for i, id := range desktops {
		n := chunk + i/ChunkSize
		rows.addDesktop(op, n, id)
		names.addRow(op, n, Row{Desktop: tasks.Desktop{ID: id, Expect: expect[id]}})
	}
	logged := indexWrites{}
	if chunk >= op.Chunks() {
		logged = rows // the chunk may never be written
	}
	return r.runBatches(ctx, r.logCalls(logged, historyLogged), rows.calls(r.keys.history),
		r.logCalls(names.indexWrites, 0), names.calls(r.keys.named), r.listCalls(names))
}

// dispatch enqueues one generation of a chunk, and rings for it.
func (p *Producer) dispatch(ctx context.Context, op Operation, n, generation int, at time.Time) error {
	if !at.After(p.now()) {
		at = time.Time{}
	}
	payload := queue.Payload{Operation: op.ID, Project: op.Project, Chunk: n, Generation: generation}
	if err := p.queue.Enqueue(ctx, p.Record.QueueOf(op, n), payload, at); err != nil {
		return fmt.Errorf("enqueuing chunk %d of operation %s: %w", n, op.ID, err)
	}
	p.bell.ring(ctx, op.Project, queueOf(op, n), at)
	return nil
}

// Redispatch enqueues a chunk's current generation again, in case its task was never enqueued
// or got lost. It is harmless while the task exists.
func (p *Producer) Redispatch(ctx context.Context, c OpenChunk) error {
	return p.dispatch(ctx, *c.Operation, c.Number, c.Generation, c.Operation.NotBefore)
}

var scriptBump = script("bump")

// Regenerate enqueues a chunk as a new generation, in case its task is stuck with a worker
// that died. The old task does nothing when asynq runs it again.
func (p *Producer) Regenerate(ctx context.Context, c OpenChunk) error {
	key := p.Record.keys.op(c.Operation.ID)
	v, err := p.Record.runScript(ctx, scriptBump, []string{key}, generationField+strconv.Itoa(c.Number), c.Generation)
	if err != nil {
		return fmt.Errorf("renewing chunk %d of operation %s: %w", c.Number, c.Operation.ID, err)
	}
	generation, _ := v.(int64)
	if generation < 0 {
		return nil
	}
	return p.dispatch(ctx, *c.Operation, c.Number, int(generation), c.Operation.NotBefore)
}

// Retry queues an operation's failed or held desktops again and returns their number.
// Guards are not overridden: a desktop that has not changed is held again. Attempts start
// from 0, each desktop is read before it is sent, and the operation gets a new deadline,
// DefaultDeadline from now, unless it has a later one. by is the requester, for the trail.
func (p *Producer) Retry(ctx context.Context, op Operation, f tasks.RetryFilter, by string) (int, error) {
	r := p.Record
	from := tasks.StateFailed
	if f.Held {
		from = tasks.StateHeld
	}
	taken := 0
	for n := range op.Chunks() {
		c, err := r.Chunk(ctx, op.ID, n)
		if err != nil {
			return taken, err
		}
		if err := r.addFailures(ctx, op, c.Desktops); err != nil {
			return taken, err
		}
		moved, err := p.retryChunk(ctx, c, func(d Row) bool {
			return d.State == from && (f.Code == "" || d.Failure != nil && d.Failure.Code == f.Code)
		}, by)
		if taken += len(moved); err != nil {
			return taken, err
		}
	}
	return taken, nil
}

// retryChunk queues the wanted desktops of a chunk again and returns them. They must be
// failed or held and have their failures.
func (p *Producer) retryChunk(ctx context.Context, c Chunk, wanted func(Row) bool, by string) ([]Row, error) {
	op := c.Operation
	ch := Change{Operation: op, Chunk: c.Number, By: by}
	for _, d := range c.Desktops {
		if wanted(d) {
			ch.Moves = append(ch.Moves, Move{Desktop: d, To: tasks.StateQueued, CallID: d.CallID, Note: tasks.NoteRecheck, Failure: d.Failure})
		}
	}
	if len(ch.Moves) == 0 {
		return nil, nil
	}
	moved, err := p.reopen(ctx, p.now(), ch)
	if err != nil {
		return moved, err
	}
	return moved, p.Regenerate(ctx, OpenChunk{&op, c.Number, c.Generation})
}

var scriptReopen = script("reopen", "brake")

// reopen moves failed desktops back to queued. It enters the operation into the open list
// first, so that a sweep continues after a crash in between.
func (p *Producer) reopen(ctx context.Context, now time.Time, ch Change) ([]Row, error) {
	r, op := p.Record, ch.Operation
	err := r.list(ctx, op, now)
	if err == nil {
		keys := []string{r.keys.op(op.ID), r.keys.open(op.ID), r.keys.unproven(op.ID)}
		_, err = r.runScript(ctx, scriptReopen, keys, now.Add(tasks.DefaultDeadline).UnixMilli())
	}
	if err != nil {
		return nil, fmt.Errorf("reopening operation %s: %w", op.ID, err)
	}
	done, err := r.apply(ctx, now, []Change{ch}, nil, nil)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(done[0].Desktops, func(d Row) bool { return d.ID == "" }), nil
}
