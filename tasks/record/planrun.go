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
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
)

// named returns the rows of the desktops that a plan is asked about.
func (q planRequest) named() []Row {
	out := make([]Row, len(q.Desktops))
	for i, id := range q.Desktops {
		out[i].ID = id
		if q.Operation == "" {
			out[i].Expect = q.Expect[id]
			continue
		}
		x := q.Rows[i]
		out[i].Expect, out[i].Pinned, out[i].FoundAs, out[i].Planned = x.Expect, x.Pinned, x.FoundAs, x.Planned
	}
	return out
}

// digestOf is what the hash of a plan covers of some rows: which they are, from whom they are
// to be taken, and who was read on them. What would be done follows from that and from the
// state of the desktop, which may change.
func digestOf(rows []tasks.Planned) string {
	type line struct {
		ID            string
		Expect, Users []string
	}
	lines := make([]line, len(rows))
	for i, row := range rows {
		lines[i] = line{row.ID, row.Expect, nil}
		if row.Now == nil {
			continue
		}
		lines[i].Users = []string{} // it exists
		for _, p := range row.Now.Users {
			lines[i].Users = append(lines[i].Users, p.Domain+"\x00"+p.Identity())
		}
		slices.Sort(lines[i].Users)
	}
	sum := sha256.Sum256([]byte(mustJSON(lines)))
	return hex.EncodeToString(sum[:])
}

// hash is Plan.Hash.
func (w *PlanWork) hash() string {
	digests := make([]string, w.progress.Chunks)
	for n := range digests {
		digests[n] = w.digests[n]
	}
	sum := sha256.Sum256([]byte(mustJSON(w.wanted) + strings.Join(digests, "")))
	return hex.EncodeToString(sum[:])
}

// planRun is a plan that is done, to be run or approved. Its rows are unpacked chunk by
// chunk: all of them take much memory.
type planRun struct {
	planRequest
	hash   string
	chunks int
	fields map[string]string
}

// planToRun reads a plan by its hash.
func (r *Record) planToRun(ctx context.Context, now time.Time, owner, hash string) (planRun, error) {
	fail := func(err error) (planRun, error) {
		return planRun{}, fmt.Errorf("reading the plan %.12s: %w", hash, err)
	}
	id, err := r.rdb.Get(ctx, r.keys.planned(owner, hash)).Result()
	if errors.Is(err, redis.Nil) {
		return fail(tasks.ErrNoPlan)
	}
	if err != nil {
		return fail(err)
	}
	fields, err := r.rdb.HGetAll(ctx, r.keys.plan(id)).Result()
	if err != nil {
		return fail(err)
	}
	if fields["state"] != tasks.PlanDone {
		return fail(tasks.ErrPlanExpired) // its own key is gone
	}
	var meta planMeta
	var progress planProgress
	run := planRun{hash: hash, fields: fields}
	err = errors.Join(
		decodeJSON(fields["meta"], &meta), decodeJSON(fields["progress"], &progress), unpackJSON(fields["request"], &run.planRequest),
	)
	switch {
	case err != nil:
		return fail(err)
	case meta.Owner != owner || progress.Hash != hash:
		return fail(tasks.ErrNoPlan)
	case !now.Before(progress.DoneAt.Add(planKept)):
		return fail(tasks.ErrPlanExpired)
	}
	run.chunks = progress.Chunks
	return run, nil
}

// rows returns the rows of one of the plan's chunks.
func (p planRun) rows(chunk int) (out []tasks.Planned, err error) {
	s, there := p.fields["r"+strconv.Itoa(chunk)]
	if !there {
		return nil, tasks.ErrNoPlan
	}
	return out, unpackJSON(s, &out)
}

// readingIn is the reading that a row of a plan is bound to.
func readingIn(row tasks.Planned) tasks.Before {
	if row.Now == nil {
		return tasks.Before{Users: []tasks.Person{}}
	}
	return *row.Now
}

// plannedFinds is what a plan found for a chunk of look-ups: the desktops, and the readings
// of these.
type plannedFinds struct {
	Finds map[string]RowFind
	Now   map[string]tasks.Before
}

// bind adds to the fields of each chunk of a new operation what the plan read: for desktops
// their users, for look-ups what was found.
func (p planRun) bind(chunks [][]any) error {
	named := chunksOf(len(p.Desktops))
	for n := range named {
		rows, err := p.rows(n)
		if err != nil {
			return err
		}
		bound := make([]beforeAt, len(rows))
		for i, row := range rows {
			bound[i] = beforeAt{i, readingIn(row)}
		}
		chunks[n] = append(chunks[n], plannedField, packBefore(bound))
	}
	finds := make([]plannedFinds, len(chunks)-named)
	leads := map[string][]int{} // a desktop: the chunks of look-ups that lead to it
	for i := range finds {
		if err := unpackJSON(p.fields["f"+strconv.Itoa(i)], &finds[i].Finds); err != nil {
			return err
		}
		finds[i].Now = map[string]tasks.Before{}
		for _, f := range finds[i].Finds {
			for _, id := range f.Desktops {
				leads[id] = append(leads[id], i)
			}
		}
	}
	for n := len(chunks); n < p.chunks; n++ {
		rows, err := p.rows(n)
		if err != nil {
			return err
		}
		for _, row := range rows {
			for _, i := range leads[row.ID] {
				finds[i].Now[row.ID] = readingIn(row)
			}
		}
	}
	for i := range finds {
		chunks[named+i] = append(chunks[named+i], plannedFindsField, packJSON(finds[i]))
	}
	return nil
}

// plannedFinds reads, by chunk of look-ups, what the plan found that an operation runs.
func (r *Record) plannedFinds(ctx context.Context, op Operation) (map[int]plannedFinds, error) {
	out := map[int]plannedFinds{}
	if op.Plan == "" {
		return out, nil
	}
	chunks := chunkRange(op.lookupChunks())
	cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, n := range chunks {
			p.HGet(ctx, r.keys.chunk(op.ID, n), plannedFindsField)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading what the plan of operation %s found: %w", op.ID, err)
	}
	for i, cmd := range cmds {
		var finds plannedFinds
		if err := unpackJSON(cmd.(*redis.StringCmd).Val(), &finds); err != nil {
			return nil, fmt.Errorf("reading what the plan of operation %s found: %w", op.ID, err)
		}
		out[chunks[i]] = finds
	}
	return out, nil
}

// pinFound returns the fields of a chunk of desktops found that bind them to the plan.
func pinFound(ids []string, planned map[int]plannedFinds) []any {
	if len(planned) == 0 {
		return nil
	}
	bound := make([]beforeAt, len(ids))
	for i, id := range ids {
		bound[i] = beforeAt{i, tasks.Before{Users: []tasks.Person{}}}
		for _, finds := range planned {
			if b, read := finds.Now[id]; read {
				bound[i].Before = b
			}
		}
	}
	return []any{plannedField, packBefore(bound)}
}

// EnqueuePlan is Enqueue for a request that runs a plan of this owner, see tasks.Request.Plan.
// before is also given the whole request. Errors are those of Enqueue, ErrNoPlan and
// ErrPlanExpired.
func (p *Producer) EnqueuePlan(
	ctx context.Context, owner string, req tasks.Request, before func(id string, whole tasks.Request) error,
) (Operation, error) {
	if err := p.Validate(req); err != nil {
		return Operation{}, err
	}
	run, err := p.Record.planToRun(ctx, p.now(), owner, req.Plan)
	if err == nil && run.Operation != "" {
		err = fmt.Errorf("the plan is of what is left of operation %s, which an approval runs: %w", run.Operation, tasks.ErrPlanChanged)
	}
	if err != nil {
		return p.replay(ctx, req, err)
	}
	whole := run.Request
	whole.Plan, whole.Urgent, whole.RequestedBy, whole.Reason, whole.Ticket = req.Plan, req.Urgent, req.RequestedBy, req.Reason, req.Ticket
	whole.Trace, whole.Tracestate = req.Trace, req.Tracestate
	whole.IdempotencyKey = req.IdempotencyKey
	now := p.now()
	if !whole.NotBefore.IsZero() && whole.NotBefore.Before(now) || !whole.Deadline.IsZero() && !whole.Deadline.After(now) {
		return p.replay(ctx, req, tasks.ErrPlanExpired)
	}
	asked := whole
	asked.Plan = ""
	if refused := p.Refusal(ctx, asked); refused != nil { // rules and requirements may be newer than the plan
		return p.replay(ctx, req, refused)
	}
	op := p.newOperation(whole)
	if err := p.announce(ctx, op.ID, req, []func(string) error{func(id string) error { return before(id, whole) }}); err != nil {
		return Operation{}, err
	}
	return p.submit(ctx, op, content{
		fingerprint: fingerprint(req), desktops: whole.Desktops, lookups: lookupRows(whole), expect: whole.Expect, plan: &run,
	})
}

// planToApprove reads the plan of an approval; nil if it has none.
func (r *Record) planToApprove(ctx context.Context, now time.Time, op Operation, a tasks.Approval) (*planRun, error) {
	if a.Plan == "" {
		return nil, nil
	}
	run, err := r.planToRun(ctx, now, a.PlanOwner, a.Plan)
	if err == nil && run.Operation != op.ID {
		err = tasks.ErrPlanChanged
	}
	if err != nil {
		return nil, fmt.Errorf("approving operation %s: %w", op.ID, err)
	}
	return &run, nil
}

// pin binds the rows of an operation that waits to what a plan of it read, if there is one.
// Until the approval that is harmless: it is repeated by the next plan that is approved.
func (p *Producer) pin(ctx context.Context, op Operation, run *planRun, a tasks.Approval) (err error) {
	if run == nil {
		return nil
	}
	fail := func(err error) error { return fmt.Errorf("approving operation %s: %w", op.ID, err) }
	next, planned := 0, map[string]tasks.Before{} // of the chunk
	var rows []tasks.Planned                      // unpacked, and not in planned yet
	at := 0                                       // the place of the first of them in run.Rows
	for n := range op.Chunks() {
		clear(planned)
		for at < len(run.Rows) && run.Rows[at].Chunk == n {
			if len(rows) == 0 {
				if rows, err = run.rows(next); err != nil {
					return fail(err)
				}
				next++
			}
			planned[rows[0].ID] = readingIn(rows[0])
			rows, at = rows[1:], at+1
		}
		if err := p.pinChunk(ctx, op, n, planned, a); err != nil {
			return fail(err)
		}
	}
	return nil
}

var scriptPin = script("pin")

// pinChunk writes the pins of a chunk. It then writes its rows anew, so that a worker that read
// them without their pins cannot send them.
func (p *Producer) pinChunk(ctx context.Context, op Operation, n int, planned map[string]tasks.Before, a tasks.Approval) error {
	r := p.Record
	c, err := r.Chunk(ctx, op.ID, n)
	if err != nil || op.LooksUp(n) {
		return err
	}
	var bound []beforeAt
	ch := Change{Operation: op, Chunk: n, By: a.By}
	for _, d := range c.Desktops {
		b, shown := planned[d.ID]
		switch {
		case d.State != tasks.StateQueued:
		case !shown:
			return fmt.Errorf("desktop %s is not in the plan: %w", d.ID, tasks.ErrPlanChanged)
		default:
			ch.Moves = append(ch.Moves, Move{
				Desktop: d, To: tasks.StateQueued, Attempts: d.Attempts, CallID: d.CallID, Note: d.Note, Detail: "in plan " + a.Plan[:12],
			})
		}
		if d.Planned != nil { // what binds it already is not loosened
			b, shown = *d.Planned, true
		}
		if shown {
			bound = append(bound, beforeAt{d.Position, b})
		}
	}
	begin := 0
	if n == 0 {
		begin = 1
	}
	v, err := r.runScript(ctx, scriptPin, []string{r.keys.op(op.ID), r.keys.chunk(op.ID, n)},
		op.clearance, a.Plan, begin, plannedField, packBefore(bound))
	if err != nil {
		return err
	}
	if done, _ := v.(int64); done == 0 {
		return cmp.Or(p.decided(ctx, op), tasks.ErrPlanChanged)
	}
	if len(ch.Moves) == 0 {
		return nil
	}
	_, err = r.apply(ctx, p.now(), []Change{ch}, nil, nil)
	return err
}

// decided returns ErrNotWaiting if an operation does not wait any more.
func (p *Producer) decided(ctx context.Context, op Operation) error {
	now, err := p.Record.Operation(ctx, op.ID)
	if err == nil && !now.AwaitsApproval() {
		err = tasks.ErrNotWaiting
	}
	return err
}
