package record

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/tasks"
)

// brake is the canary and the stop-loss of an operation. The script that moves desktops reads
// and writes it: it counts, and refuses calls, in the same step as a call is recorded as
// leaving. So there is no moment between the proof of the canary and its mark, and no call
// begins after a stop, whichever worker makes it.
type brake struct {
	Canary   int                `json:"canary"` // how many must be confirmed before the others may be in calls; 0: none, any more
	First    string             `json:"first"`  // the rows that have been in a call so far: " 0:d-1 0:d-2 ", each with its chunk
	Proven   int                `json:"proven"` // of these, confirmed
	Percent  int                `json:"percent"`
	Desktops int                `json:"desktops"`
	Tried    int                `json:"tried"` // in calls, or failed or on hold without one; since the last approval
	Bad      int                `json:"bad"`   // of these, failed or on hold
	Stopped  tasks.ClearanceWhy `json:"stopped"`
}

// BrakeEvent is what became of an operation's brake by a write.
type BrakeEvent int

// What became of a brake.
const (
	BrakeUnchanged  BrakeEvent = iota
	CanaryConfirmed            // the others may be in calls now
	BrakeStopped               // no desktop of it may be in a further call, until a person decides
)

// desktops is how many rows are desktops.
func (o Operation) desktops() int { return o.Total - o.lookups() }

// Asked is how many desktops the operation has ever asked for. It only grows: by what look-ups find
// and by what retries queue again.
func (o Operation) Asked() int { return o.desktops() + o.requeued }

// Requeued is how many rows retries have queued again.
func (o Operation) Requeued() int { return o.requeued }

// Stopped is why nothing of the operation may be in a further call; empty: it may.
func (o Operation) Stopped() tasks.ClearanceWhy {
	if o.brake == nil {
		return ""
	}
	return o.brake.Stopped
}

// CanaryPending reports that the operation's first desktops are not confirmed.
func (o Operation) CanaryPending() bool { return o.brake != nil && o.brake.Canary > 0 }

// listed are the rows of the canary that have been in a call, as chunk:id.
func (b *brake) listed() []string { return strings.Fields(b.First) }

// Brake gives an operation of many desktops its canary and its stop-loss, unless it has them,
// and returns it. It must have been looked up.
func (r *Record) Brake(ctx context.Context, op Operation, c tasks.Canary, s tasks.StopLoss) (Operation, error) {
	b := brake{First: " ", Percent: 100, Desktops: tasks.MaxDesktops}
	if op.desktops() > c.Above {
		b.Canary = c.Desktops
	}
	if op.desktops() > s.Above {
		b.Percent, b.Desktops = s.Percent, s.Desktops
	}
	if op.brake != nil || b == (brake{First: " ", Percent: 100, Desktops: tasks.MaxDesktops}) {
		return op, nil
	}
	var read *redis.SliceCmd
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.HSetNX(ctx, r.keys.op(op.ID), fieldBrake, mustJSON(b))
		read = p.HMGet(ctx, r.keys.op(op.ID), operationFields...)
		return nil
	})
	if err != nil {
		return op, fmt.Errorf("beginning operation %s: %w", op.ID, err)
	}
	again, ok, err := decodeOperation(op.ID, read)
	if err == nil && !ok {
		err = fmt.Errorf("operation %s: %w", op.ID, tasks.ErrNotFound)
	}
	return again, err
}

// Turn is which rows of an operation may be in calls while its canary is not confirmed.
type Turn struct {
	Pending bool // else all may
	Chunk   int  // the first chunk with work left: new ones are of it; -1: there is none
	Free    int  // how many new ones
	listed  map[string]bool
}

// CanaryTurn reads whose turn it is.
func (r *Record) CanaryTurn(ctx context.Context, op Operation) (Turn, error) {
	var read *redis.SliceCmd
	var open *redis.StringSliceCmd
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		read, open = p.HMGet(ctx, r.keys.op(op.ID), operationFields...), p.HKeys(ctx, r.keys.open(op.ID))
		return nil
	})
	if err != nil {
		return Turn{}, fmt.Errorf("reading the canary of operation %s: %w", op.ID, err)
	}
	op, ok, err := decodeOperation(op.ID, read)
	switch {
	case err != nil:
		return Turn{}, err
	case !ok:
		return Turn{}, fmt.Errorf("operation %s: %w", op.ID, tasks.ErrNotFound)
	}
	return op.turn(open.Val()), nil
}

func (o Operation) turn(open []string) Turn {
	t := Turn{Pending: o.CanaryPending() || o.Stopped() != "", Chunk: -1, listed: map[string]bool{}}
	if !t.Pending || o.Stopped() != "" {
		return t
	}
	for _, s := range open {
		if n, err := strconv.Atoi(s); err == nil && !o.LooksUp(n) && (t.Chunk < 0 || n < t.Chunk) {
			t.Chunk = n
		}
	}
	for _, row := range o.brake.listed() {
		t.listed[row] = true
	}
	t.Free = max(0, o.brake.Canary-len(t.listed))
	return t
}

// Pick returns the rows of a chunk that may be in a call, and the others.
func (t Turn) Pick(chunk int, rows []Row) (may, others []Row) {
	free := t.Free
	if chunk != t.Chunk {
		free = 0
	}
	for _, d := range rows {
		switch {
		case t.listed[canaryEntry(chunk, d.ID)]:
			may = append(may, d)
		case free > 0:
			may, free = append(may, d), free-1
		default:
			others = append(others, d)
		}
	}
	return may, others
}

func canaryEntry(chunk int, id string) string { return strconv.Itoa(chunk) + ":" + id }

// inTurn returns those of an operation's open chunks that have something to do while its
// canary is not confirmed. The others have no tasks until then.
func (o Operation) inTurn(open []string) (out []string) {
	t := o.turn(open)
	waits := t.Free == 0 && o.Counts.Accepted >= len(t.listed)-o.brake.Proven // for readings
	chunks := map[string]bool{}
	for row := range t.listed {
		chunk, _, _ := strings.Cut(row, ":")
		chunks[chunk] = true
	}
	for _, s := range open {
		n, err := strconv.Atoi(s)
		if err == nil && (o.LooksUp(n) || !waits && (n == t.Chunk || chunks[s])) {
			out = append(out, s)
		}
	}
	return out
}

// Continue enqueues what is left of an operation, for which its chunks waited.
func (p *Producer) Continue(ctx context.Context, op Operation) error {
	work, err := p.Record.openWork(ctx, p.now(), []Operation{op})
	if err != nil {
		return err
	}
	for _, c := range work {
		if err := p.Regenerate(ctx, c); err != nil { // a task that is about to end would stand in the way of Redispatch
			return err
		}
	}
	return nil
}

// StopCodes counts why desktops of an operation failed or are on hold, the most frequent
// first. Of a canary only its own count, else all since the last approval. It skips what
// does not count for the stop-loss.
func (r *Record) StopCodes(ctx context.Context, op Operation) ([]tasks.CodeCount, error) {
	all, err := r.rdb.HGetAll(ctx, r.keys.errors(op.ID)).Result()
	if err != nil {
		return nil, fmt.Errorf("reading the failures of operation %s: %w", op.ID, err)
	}
	first := map[string]bool{}
	if op.Stopped() == tasks.WhyCanary {
		for _, row := range op.brake.listed() {
			_, id, _ := strings.Cut(row, ":")
			first[id] = true
		}
	}
	var failures []tasks.Failure
	since := 0
	for id, stored := range all {
		f, final, err := decodeFailure(op.ID, op.Project, id, stored)
		if err != nil {
			return nil, err
		}
		_, isUser := tasks.UserOf(id)
		_, isComputer := tasks.ComputerOf(id)
		if !final || f.Code == tasks.CodeNotFound || isUser || isComputer || len(first) > 0 && !first[id] {
			continue
		}
		if failures = append(failures, f); op.Clearance == nil || !f.At.Before(op.Clearance.DecidedAt) {
			since++
		}
	}
	// Some that the brake counts may have been noticed before the approval, and written after it.
	if op.brake != nil {
		since = max(since, min(op.brake.Bad, len(failures)))
	}
	slices.SortFunc(failures, func(a, b tasks.Failure) int { return b.At.Compare(a.At) })
	counts := map[string]int{}
	for _, f := range failures[:since] {
		counts[f.Code]++
	}
	out := make([]tasks.CodeCount, 0, len(counts))
	for code, n := range counts {
		out = append(out, tasks.CodeCount{Code: code, Count: n})
	}
	slices.SortFunc(out, func(a, b tasks.CodeCount) int {
		return cmp.Or(b.Count-a.Count, strings.Compare(a.Code, b.Code))
	})
	return out, nil
}
