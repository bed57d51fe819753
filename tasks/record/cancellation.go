package record

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/trail"
)

// cancelChunks is the number of chunks that are cancelled in one write.
const cancelChunks = 128

// Cancel cancels the desktops that are queued or on hold. tooLate counts those that were
// sent, or had ended, before. by is the person or program that cancels, for the trail.
func (r *Record) Cancel(ctx context.Context, op Operation, now time.Time, by string) (cancelled, tooLate int, err error) {
	if cancelled, err = r.cancelAll(ctx, []Operation{op}, now, by); err != nil {
		return cancelled, 0, err
	}
	after, err := r.Operation(ctx, op.ID)
	return cancelled, after.Total - after.Counts.Cancelled, err
}

// cancelAll is Cancel for many operations. Those that are gone are skipped.
func (r *Record) cancelAll(ctx context.Context, ops []Operation, now time.Time, by string) (cancelled int, err error) {
	var refs []chunkID
	var touched []string
	for _, op := range ops {
		if op.Sealed() && op.Counts.Held == 0 {
			continue
		}
		if op.Done() {
			if err := r.list(ctx, op, now); errors.Is(err, tasks.ErrNotFound) {
				continue
			} else if err != nil { // cancelling what is on hold removes the seal
				return 0, fmt.Errorf("cancelling operation %s: %w", op.ID, err)
			}
		}
		touched = append(touched, op.ID)
		for n := range op.Chunks() {
			refs = append(refs, chunkID{op.ID, n})
		}
	}
	tallies := map[string]int{}
	cancel := func(refs []chunkID) error {
		for some := range slices.Chunk(refs, cancelChunks) {
			// A desktop that is being sent may return to queued. A second reading finds desktops
			// that moved between the first reading and the write.
			for range 2 {
				n, err := r.cancelChunks(ctx, some, now, by, tallies)
				if cancelled += n; err != nil {
					return err
				}
				if n == 0 {
					break
				}
			}
		}
		return nil
	}
	if err := cancel(refs); err != nil {
		return cancelled, err
	}
	// What look-ups have found since ops were read. They find nothing more for rows that are cancelled.
	if refs, err = r.foundSince(ctx, ops); err == nil {
		err = cancel(refs)
	}
	if err != nil {
		return cancelled, err
	}
	r.addCancelled(ctx, now, tallies)
	_, err = r.Finish(ctx, touched)
	return cancelled, err
}

// foundSince returns the chunks that look-ups have added to operations since these were read.
func (r *Record) foundSince(ctx context.Context, ops []Operation) (refs []chunkID, err error) {
	chunks, ids := map[string]int{}, []string(nil)
	for _, op := range ops {
		if op.Users+op.Computers > 0 {
			chunks[op.ID], ids = op.Chunks(), append(ids, op.ID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	after, err := r.operations(ctx, ids)
	for _, op := range after {
		for n := chunks[op.ID]; n < op.Chunks(); n++ {
			refs = append(refs, chunkID{op.ID, n})
		}
	}
	return refs, err
}

// addCancelled adds the numbers of cancelled desktops to the tallies of their projects. An error
// does not matter here: tallies are only for display.
func (r *Record) addCancelled(ctx context.Context, now time.Time, tallies map[string]int) {
	var all []MinuteTally
	for project, n := range tallies {
		all = append(all, MinuteTally{Project: project, Minute: now, Tally: Tally{Tally: tasks.Tally{Cancelled: n}}})
	}
	if len(all) > 0 {
		_ = r.AddTallies(ctx, "", "", all)
	}
}

// cancelChunks cancels the desktops of chunks that are queued or on hold, and adds their
// number to the tallies of their projects.
func (r *Record) cancelChunks(ctx context.Context, refs []chunkID, now time.Time, by string, tallies map[string]int) (n int, err error) {
	chunks, err := r.chunks(ctx, refs)
	if err != nil {
		return 0, err
	}
	var changes []Change
	for _, c := range chunks {
		rows := slices.DeleteFunc(c.Desktops, func(d Row) bool { return !d.State.CanMove(tasks.StateCancelled) })
		if len(rows) == 0 {
			continue
		}
		if err := r.addFailures(ctx, c.Operation, rows); err != nil {
			return 0, err
		}
		ch := Change{Operation: c.Operation, Chunk: c.Number, By: by}
		for _, d := range rows {
			ch.Moves = append(ch.Moves, Move{Desktop: d, To: tasks.StateCancelled, Attempts: d.Attempts, CallID: d.CallID})
		}
		changes = append(changes, ch)
	}
	if len(changes) == 0 {
		return 0, nil
	}
	done, err := r.apply(ctx, now, changes, nil, nil)
	for i, a := range done {
		for _, d := range a.Desktops {
			if d.ID != "" {
				tallies[changes[i].Operation.Project]++
				n++
			}
		}
	}
	return n, err
}

// operationFilters are the filters of a valid request, one for each project of the caller.
func operationFilters(q tasks.CancellationRequest) (out []tasks.OperationFilter) {
	f := q.Filter
	to := f.To
	if to.IsZero() || !q.AsOf.IsZero() && q.AsOf.Before(to) {
		to = q.AsOf
	}
	for _, project := range projectsOf(f.Project, q.Projects) {
		out = append(out, tasks.OperationFilter{
			Project: project, RequestedBy: f.RequestedBy, Ticket: f.Ticket, From: f.From, To: to,
		})
	}
	return out
}

// matchCancellation returns the operations that a valid request matches, the latest first: they
// have most that was not sent yet.
func (r *Record) matchCancellation(ctx context.Context, q tasks.CancellationRequest) (all []Operation, err error) {
	for _, f := range operationFilters(q) {
		for token, more := "", true; more; more = token != "" {
			var page []Operation
			if page, token, err = r.Operations(ctx, f, 1000, token); err != nil {
				return nil, err
			}
			if all = append(all, page...); len(all) > tasks.MaxDesktops {
				return nil, tasks.ErrTooManyOperations
			}
		}
	}
	return all, nil
}

// MatchCancellation says what a cancellation would be about now. It writes nothing. Errors:
// *ValidationError, ErrTooManyOperations, those of Redis.
func (p *Producer) MatchCancellation(ctx context.Context, q tasks.CancellationRequest) (tasks.CancellationMatch, error) {
	out := tasks.CancellationMatch{By: []tasks.CancellationCount{}}
	if err := q.Validate(); err != nil {
		return out, err
	}
	q.AsOf = p.asOf(q)
	out.AsOf = q.AsOf
	ops, err := p.Record.matchCancellation(ctx, q)
	if err != nil {
		return out, err
	}
	out.Matched = len(ops)
	type group struct{ project, by string }
	groups := map[group]tasks.CancellationCount{}
	for _, op := range ops {
		out.Counts.Add(op.Counts)
		g := group{op.Project, op.RequestedBy}
		c := groups[g]
		groups[g] = tasks.CancellationCount{
			Project: op.Project, RequestedBy: op.RequestedBy, Operations: c.Operations + 1, Desktops: c.Desktops + op.Total,
		}
	}
	out.By = slices.AppendSeq(out.By, maps.Values(groups))
	slices.SortFunc(out.By, func(a, b tasks.CancellationCount) int {
		return cmp.Or(b.Desktops-a.Desktops, strings.Compare(a.Project, b.Project), strings.Compare(a.RequestedBy, b.RequestedBy))
	})
	return out, nil
}

// asOf is the time before which matches were accepted.
func (p *Producer) asOf(q tasks.CancellationRequest) time.Time {
	now := time.UnixMilli(p.now().UnixMilli()).UTC()
	if q.AsOf.IsZero() || q.AsOf.After(now) {
		return now
	}
	return q.AsOf
}

// Cancellation creates a cancellation of the operations that a request matches now. Workers
// carry it out, whatever process dies. Errors: *ValidationError, ErrTooManyOperations,
// ErrKeyReused, those of Redis. before is called with a new cancellation, before it exists;
// its error is returned.
func (p *Producer) Cancellation(
	ctx context.Context, q tasks.CancellationRequest, before ...func(Cancellation) error,
) (Cancellation, error) {
	r := p.Record
	now := time.UnixMilli(p.now().UnixMilli()).UTC()
	err := q.Validate()
	if err == nil && strings.TrimSpace(q.Reason) == "" {
		err = &tasks.ValidationError{Problems: []tasks.Problem{{Field: "reason", Message: "is missing: say why, for those who ask later"}}}
	}
	if err != nil {
		return Cancellation{}, err
	}
	id := bulkID(cancellationKind, q.RequestedBy, q.IdempotencyKey, now)
	q.IdempotencyKey = ""
	fp := fingerprintOf(q)
	if err := r.begun(ctx, cancellationKind, id, fp); !errors.Is(err, tasks.ErrNoCancellation) {
		x := Cancellation{}
		if err == nil {
			x, err = r.Cancellation(ctx, id)
			x.Replayed = true
		}
		return x, err
	}
	q.AsOf = p.asOf(q)
	x := Cancellation{Cancellation: tasks.Cancellation{
		ID: id, Filter: q.Filter, AsOf: q.AsOf, RequestedBy: q.RequestedBy, Reason: q.Reason, CreatedAt: now, Projects: []string{},
	}}
	found, err := r.matchCancellation(ctx, q)
	if err != nil {
		return Cancellation{}, err
	}
	if q.Matched != 0 && q.Matched != len(found) {
		return Cancellation{}, &tasks.ValidationError{Problems: []tasks.Problem{{
			Field: "matched", Message: fmt.Sprintf("is %d, but %d operations match: nothing was cancelled; look again", q.Matched, len(found)),
		}}}
	}
	x.Matched = len(found)
	items := make([]string, len(found))
	for i, op := range found {
		items[i] = cancelItem{op.Counts.Cancelled, op.ID}.String()
		if !slices.Contains(x.Projects, op.Project) {
			x.Projects = append(x.Projects, op.Project)
		}
	}
	slices.Sort(x.Projects)
	x.Scope = scopeOf(q.Filter.Project, q.Projects)
	for _, f := range before {
		if err := f(x); err != nil {
			return Cancellation{}, err
		}
	}
	mine, err := r.begin(ctx, cancellationKind, x.ID, fp, now, items, x)
	if err != nil {
		return Cancellation{}, err
	}
	x, err = r.Cancellation(ctx, x.ID)
	x.Replayed = x.items != mine
	return x, err
}

// cancelItem is an operation that matched.
type cancelItem struct {
	before int // its cancelled desktops when it was last counted
	op     string
}

func (x cancelItem) String() string { return fmt.Sprintf("%d %s", x.before, x.op) }

func (r *Record) cancelItems(ctx context.Context, x Cancellation, from, n int) ([]cancelItem, error) {
	vs, err := r.rdb.LRange(ctx, x.items, int64(from), int64(from+n-1)).Result()
	if err != nil {
		return nil, fmt.Errorf("reading cancellation %s: %w", x.ID, err)
	}
	out := make([]cancelItem, len(vs))
	for i, v := range vs {
		before, op, ok := strings.Cut(v, " ")
		n, err := strconv.Atoi(before)
		if err != nil || !ok {
			return nil, fmt.Errorf("cancellation %s has the unreadable entry %.60q", x.ID, v)
		}
		out[i] = cancelItem{n, op}
	}
	return out, nil
}

// fill adds what has changed since the cancellation was created.
func (x *Cancellation) fill(s storedBulk) {
	x.AbortedBy, x.EndedAt, x.items = s.Aborted, s.Ended.Time, s.Items
	x.next, x.Processed, x.Cancelled, x.TooLate, x.AcceptedSince = s.Next, s.Next-s.Again, s.Done, s.Late, s.Since
}

// Cancellation reads a cancellation; ErrNoCancellation if there is none.
func (r *Record) Cancellation(ctx context.Context, id string) (Cancellation, error) {
	return readBulk(ctx, r, cancellationKind, id, (*Cancellation).fill)
}

// CountCancellations is the number of cancellations.
func (r *Record) CountCancellations(ctx context.Context) (int, error) {
	return r.countBulks(ctx, cancellationKind)
}

// Cancellations lists cancellations, the latest first, at most size of them (default 100). An
// empty next means that there are no more.
func (r *Record) Cancellations(ctx context.Context, size int, token string) (out []Cancellation, next string, err error) {
	return listBulks(ctx, r, cancellationKind, size, token, (*Cancellation).fill)
}

// AbortCancellation ends a cancellation on behalf of by. What it has cancelled stays cancelled.
// A cancellation that has ended does not change.
func (r *Record) AbortCancellation(ctx context.Context, id string, now time.Time, by string) (Cancellation, error) {
	x, err := r.Cancellation(ctx, id)
	if err != nil || x.Done() {
		return x, err
	}
	if err := r.endBulk(ctx, cancellationKind, x.ID, x.items, now, cmp.Or(by, "somebody"), 0); err != nil {
		return Cancellation{}, err
	}
	return r.Cancellation(ctx, id)
}

// cancelBatch is the number of operations that are processed between two checks whether a
// cancellation was aborted.
const cancelBatch = 50

// AdvanceCancellations carries out all cancellations, for about the given time at most, and
// returns the number of cancelled desktops. One worker calls it repeatedly; two at a time only
// waste effort.
func (p *Producer) AdvanceCancellations(ctx context.Context, within time.Duration) (int, error) {
	return p.advanceBulks(ctx, cancellationKind, within, p.advanceCancellation)
}

// AdvanceCancellation carries out one cancellation, for about the given time at most.
func (p *Producer) AdvanceCancellation(ctx context.Context, id string, within time.Duration) error {
	_, err := p.advanceCancellation(ctx, id, time.Now().Add(within))
	return err
}

func (p *Producer) advanceCancellation(ctx context.Context, id string, until time.Time) (cancelled int, err error) {
	r := p.Record
	end := -1
	for first := true; first || time.Now().Before(until); first = false {
		x, err := r.Cancellation(ctx, id)
		if err != nil || x.Done() {
			return cancelled, err
		}
		items, err := r.cancelItems(ctx, x, x.next, cancelBatch)
		if err != nil {
			return cancelled, err
		}
		if len(items) == 0 {
			since, err := r.acceptedSince(ctx, x)
			if err != nil {
				return cancelled, err
			}
			return cancelled, r.endBulk(ctx, cancellationKind, id, x.items, p.now(), "", since)
		}
		// Operations that are in a call are looked at again in the next round: the call takes time.
		if end < 0 {
			n, err := r.rdb.LLen(ctx, x.items).Result()
			if err != nil {
				return cancelled, fmt.Errorf("reading cancellation %s: %w", id, err)
			}
			end = int(n)
		}
		items = items[:min(len(items), max(0, end-x.next))]
		if len(items) == 0 {
			return cancelled, nil
		}
		a, err := p.stop(ctx, x, items)
		if err != nil {
			return cancelled, err
		}
		if err := r.note(ctx, cancellationKind, id, x.items, a); err != nil {
			return cancelled, err
		}
		cancelled += a.done
	}
	return cancelled, nil
}

// stop cancels what was not sent of operations. Their counts tell what was cancelled: so a
// worker that died after it had cancelled, and before it noted that, leaves nothing uncounted.
func (p *Producer) stop(ctx context.Context, x Cancellation, items []cancelItem) (advanced, error) {
	r := p.Record
	out := advanced{seen: x.next, items: len(items)}
	ids := make([]string, len(items))
	for i, it := range items {
		ids[i] = it.op
	}
	ops, err := r.operations(ctx, ids)
	if err != nil {
		return out, err
	}
	if _, err := r.cancelAll(ctx, ops, p.now(), x.by()); err != nil {
		return out, err
	}
	if ops, err = r.operations(ctx, ids); err != nil {
		return out, err
	}
	after := make(map[string]Operation, len(ops))
	for _, op := range ops {
		after[op.ID] = op
	}
	for _, it := range items {
		op, ok := after[it.op]
		if !ok {
			continue // its retention is over
		}
		out.done += op.Counts.Cancelled - it.before
		if it.before = op.Counts.Cancelled; op.Counts.Queued+op.Counts.Sending > 0 {
			out.again = append(out.again, it.String())
			continue
		}
		if op.Counts.Accepted+op.Counts.Detached == 0 {
			continue
		}
		for some := range slices.Chunk(chunkRange(0, op.Chunks()), cancelChunks) {
			rows, err := r.readChunks(ctx, op, some...)
			if err != nil {
				return out, err
			}
			out.taken = append(out.taken, slices.DeleteFunc(rows, func(d Row) bool {
				return d.State != tasks.StateAccepted && d.State != tasks.StateDetached
			})...)
		}
	}
	out.late = len(out.taken)
	return out, nil
}

// by is the person in the trail.
func (x Cancellation) by() string {
	return strings.TrimSpace(x.RequestedBy + " by cancellation " + x.ID)
}

// acceptedSince counts the operations that match the filter of a cancellation and are not
// among its matches: they were accepted later, or at that moment.
func (r *Record) acceptedSince(ctx context.Context, x Cancellation) (int, error) {
	q := tasks.CancellationRequest{Filter: x.Filter, Projects: x.Scope}
	if from := x.AsOf.Add(-time.Minute); from.After(q.Filter.From) {
		q.Filter.From = from
	}
	now, err := r.matchCancellation(ctx, q)
	if errors.Is(err, tasks.ErrTooManyOperations) {
		return tasks.MaxDesktops, nil
	}
	if err != nil {
		return 0, err
	}
	known := map[string]bool{}
	for from := 0; from < x.Matched; from += 1000 {
		items, err := r.cancelItems(ctx, x, from, min(1000, x.Matched-from))
		if err != nil {
			return 0, err
		}
		for _, it := range items {
			known[it.op] = true
		}
	}
	return len(slices.DeleteFunc(now, func(op Operation) bool { return known[op.ID] })), nil
}

// CancellationProgress reads the desktops that were too late.
func (r *Record) CancellationProgress(ctx context.Context, x Cancellation) (tasks.CancellationProgress, error) {
	out := tasks.CancellationProgress{Cancellation: x.Cancellation}
	parts, err := r.takenParts(ctx, cancellationKind, x.ID)
	if err != nil {
		return out, err
	}
	err = r.takenRows(ctx, parts, func(d Row) { out.Late.Count(d.State) })
	return out, err
}

// TooLate lists the desktops that a cancellation was too late for, as they are now. It returns
// at most size of them (default 100); an empty next means that there are no more.
func (r *Record) TooLate(ctx context.Context, x Cancellation, size int, token string) (out []Row, next string, err error) {
	from, size, err := pageOf(size, token)
	if err != nil {
		return nil, "", err
	}
	parts, err := r.takenParts(ctx, cancellationKind, x.ID)
	if err != nil {
		return nil, "", err
	}
	var page []takenPart
	before := 0 // rows of the ranges that were passed
	for _, part := range parts {
		var some []trail.Range
		for _, x := range part.places {
			first, last := x.First+max(0, from-before), min(x.Last, x.First+from+size-1-before)
			if before += x.Last - x.First + 1; first <= last {
				some = append(some, trail.Range{First: first, Last: last})
			}
		}
		if len(some) > 0 {
			page = append(page, takenPart{part.chunkID, some})
		}
	}
	if from+size < before {
		next = strconv.Itoa(from + size)
	}
	err = r.takenRows(ctx, page, func(d Row) { out = append(out, d) })
	return out, next, err
}
