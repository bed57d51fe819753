package record

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
)

// Redrive creates a redrive of the failures that a request matches now. Workers retry them,
// whatever process dies. Errors: *ValidationError, ErrTooMany, ErrKeyReused, those of Redis.
// before is called with a new redrive, before it exists; its error is returned.
func (p *Producer) Redrive(ctx context.Context, q tasks.RedriveRequest, before ...func(Redrive) error) (Redrive, error) {
	r := p.Record
	now := time.UnixMilli(p.now().UnixMilli()).UTC()
	x := Redrive{Redrive: tasks.Redrive{
		ID:     bulkID(redriveKind, q.RequestedBy, q.IdempotencyKey, now),
		Filter: q.Filter, Named: len(q.Desktops), PerSecond: q.PerSecond, RequestedBy: q.RequestedBy,
		Reason: q.Reason, CreatedAt: now, Projects: []string{},
	}}
	if err := q.Validate(); err != nil {
		return Redrive{}, err
	}
	// A redrive that exists is returned at once: matching is costly.
	q.IdempotencyKey = ""
	fp := fingerprintOf(q)
	if err := r.begun(ctx, redriveKind, x.ID, fp); !errors.Is(err, tasks.ErrNoRedrive) {
		if err == nil {
			x, err = r.Redrive(ctx, x.ID)
			x.Replayed = true
		}
		return x, err
	}
	found, err := r.matchRedrive(ctx, q)
	if err != nil {
		return Redrive{}, err
	}
	x.Matched = len(found)
	for _, f := range found {
		if !slices.Contains(x.Projects, f.Project) {
			x.Projects = append(x.Projects, f.Project)
		}
	}
	slices.Sort(x.Projects)
	if len(found) == 0 {
		x.Scope = scopeOf(q.Filter.Project, q.Projects)
	}
	for _, f := range before {
		if err := f(x); err != nil {
			return Redrive{}, err
		}
	}
	items := make([]string, len(found))
	for i, f := range found {
		items[i] = formatMS(f.At) + " " + failureMember(f.OperationID, f.DesktopID)
	}
	mine, err := r.begin(ctx, redriveKind, x.ID, fp, now, items, x)
	if err != nil {
		return Redrive{}, err
	}
	x, err = r.Redrive(ctx, x.ID)
	x.Replayed = x.items != mine
	return x, err
}

// scopeOf are the projects in which a request for one project, or for all that the caller
// sees, looks; empty: all.
func scopeOf(project string, seen []string) []string {
	if project != "" && (len(seen) == 0 || slices.Contains(seen, project)) {
		return []string{project}
	}
	return seen
}

// fill adds what has changed since the redrive was created.
func (x *Redrive) fill(s storedBulk) {
	x.AbortedBy, x.Retried, x.Skipped, x.EndedAt, x.items = s.Aborted, s.Done, s.Next-s.Done, s.Ended.Time, s.Items
}

// Redrive reads a redrive; ErrNoRedrive if there is none.
func (r *Record) Redrive(ctx context.Context, id string) (Redrive, error) {
	return readBulk(ctx, r, redriveKind, id, (*Redrive).fill)
}

// CountRedrives is the number of redrives.
func (r *Record) CountRedrives(ctx context.Context) (int, error) {
	return r.countBulks(ctx, redriveKind)
}

// Redrives lists redrives, the latest first, at most size of them (default 100). An empty
// next means that there are no more.
func (r *Record) Redrives(ctx context.Context, size int, token string) (out []Redrive, next string, err error) {
	return listBulks(ctx, r, redriveKind, size, token, (*Redrive).fill)
}

func (r *Record) endRedrive(ctx context.Context, x Redrive, now time.Time, by string) error {
	return r.endBulk(ctx, redriveKind, x.ID, x.items, now, by, 0)
}

// AbortRedrive ends a redrive on behalf of by. Desktops that it has retried go on, and so do
// those that a worker retries at this moment, up to about a second's worth. A redrive that has
// ended does not change.
func (r *Record) AbortRedrive(ctx context.Context, id string, now time.Time, by string) (Redrive, error) {
	x, err := r.Redrive(ctx, id)
	if err != nil || x.Done() {
		return x, err
	}
	if by == "" {
		by = "somebody"
	}
	if err := r.endRedrive(ctx, x, now, by); err != nil {
		return Redrive{}, err
	}
	return r.Redrive(ctx, id)
}

// RedriveItems lists the matches of a redrive in the order in which they are retried, each
// with its present state. It returns at most size of them (default 100); an empty next means
// that there are no more.
func (r *Record) RedriveItems(ctx context.Context, x Redrive, size int, token string) (out []tasks.RedriveItem, next string, err error) {
	from, size, err := pageOf(size, token)
	if err != nil {
		return nil, "", err
	}
	items, err := r.redriveItems(ctx, x, from, size)
	if err != nil {
		return nil, "", err
	}
	rows, err := r.locate(ctx, items)
	if err != nil {
		return nil, "", err
	}
	for i, it := range items {
		it.Processed = from+i < x.Retried+x.Skipped
		for _, c := range rows {
			for j := range c.Desktops {
				if d := &c.Desktops[j]; d.OperationID == it.OperationID && d.ID == it.DesktopID {
					it.Desktop = &d.Desktop
				}
			}
		}
		out = append(out, it)
	}
	if len(items) == size && from+size < x.Matched {
		next = strconv.Itoa(from + size)
	}
	return out, next, nil
}

func (r *Record) redriveItems(ctx context.Context, x Redrive, from, n int) ([]tasks.RedriveItem, error) {
	vs, err := r.rdb.LRange(ctx, x.items, int64(from), int64(from+n-1)).Result()
	if err != nil {
		return nil, fmt.Errorf("reading redrive %s: %w", x.ID, err)
	}
	out := make([]tasks.RedriveItem, len(vs))
	for i, v := range vs {
		at, member, _ := strings.Cut(v, " ")
		ms, err := strconv.ParseInt(at, 10, 64)
		op, desktop, ok := strings.Cut(member, "/")
		if err != nil || !ok {
			return nil, fmt.Errorf("redrive %s has the unreadable entry %.60q", x.ID, v)
		}
		out[i] = tasks.RedriveItem{DesktopRef: tasks.DesktopRef{OperationID: op, DesktopID: desktop}, MatchedAt: time.UnixMilli(ms).UTC()}
	}
	return out, nil
}

// redriveBatch is the number of desktops that are processed between two checks whether a
// redrive was aborted.
const redriveBatch = 200

// AdvanceRedrives retries the desktops of every redrive that are due, for about the given
// time at most, and returns their number. One worker calls it repeatedly; two at a time only
// waste effort.
func (p *Producer) AdvanceRedrives(ctx context.Context, within time.Duration) (int, error) {
	return p.advanceBulks(ctx, redriveKind, within, p.advanceRedrive)
}

func (p *Producer) advanceRedrive(ctx context.Context, id string, until time.Time) (taken int, err error) {
	r := p.Record
	for first := true; first || time.Now().Before(until); first = false {
		x, err := r.Redrive(ctx, id)
		if err != nil {
			return taken, err
		}
		seen := x.Retried + x.Skipped
		if x.Done() || seen >= x.Matched {
			return taken, r.endRedrive(ctx, x, p.now(), "")
		}
		n := min(redriveBatch, x.due(p.now())-seen)
		if n <= 0 {
			return taken, nil
		}
		items, err := r.redriveItems(ctx, x, seen, n)
		if err != nil {
			return taken, err
		}
		if len(items) == 0 { // its retention has ended
			return taken, r.endRedrive(ctx, x, p.now(), "")
		}
		moved, err := p.take(ctx, x, items)
		if err != nil {
			return taken, err
		}
		taken += len(moved)
		if err := r.note(ctx, redriveKind, id, x.items, advanced{seen: seen, items: len(items), done: len(moved), taken: moved}); err != nil {
			return taken, err
		}
	}
	return taken, nil
}

// due is the number of items that may have been processed by now.
func (x Redrive) due(now time.Time) int {
	if x.PerSecond == 0 {
		return x.Matched
	}
	elapsed := max(0, now.Sub(x.CreatedAt)) // clocks differ
	return min(x.Matched, int(elapsed.Seconds()*float64(x.PerSecond)))
}

// take retries the items that have not changed since they were matched.
func (p *Producer) take(ctx context.Context, x Redrive, items []tasks.RedriveItem) ([]Row, error) {
	matched := make(map[tasks.DesktopRef]time.Time, len(items))
	for _, it := range items {
		matched[it.DesktopRef] = it.MatchedAt
	}
	chunks, err := p.Record.locate(ctx, items)
	if err != nil {
		return nil, err
	}
	var taken []Row
	for _, c := range chunks {
		as := func(d Row) bool {
			return (d.State == tasks.StateFailed || d.State == tasks.StateHeld) && d.Failure != nil &&
				d.Failure.At.Equal(matched[tasks.DesktopRef{OperationID: d.OperationID, DesktopID: d.ID}])
		}
		moved, err := p.retryChunk(ctx, c, as, x.by())
		if taken = append(taken, moved...); err != nil {
			return taken, err
		}
	}
	return taken, nil
}

// by is the requester of a retry in the trail.
func (x Redrive) by() string { return strings.TrimSpace(x.RequestedBy + " by redrive " + x.ID) }
