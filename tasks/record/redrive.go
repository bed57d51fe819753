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

	"github.com/redis/go-redis/v9"
	"github.com/rs/xid"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/trail"
)

// redriveOrphan is how long items are kept that belong to no redrive because their writer
// died.
const redriveOrphan = time.Hour

// Redrive creates a redrive of the failures that a request matches now. Workers retry them,
// whatever process dies. Errors: *ValidationError, ErrTooMany, ErrKeyReused, those of Redis.
// before is called with a new redrive, before it exists; its error is returned.
func (p *Producer) Redrive(ctx context.Context, q tasks.RedriveRequest, before ...func(Redrive) error) (Redrive, error) {
	r := p.Record
	now := time.UnixMilli(p.now().UnixMilli()).UTC()
	x := Redrive{Redrive: tasks.Redrive{
		ID: xid.NewWithTime(now).String(), Filter: q.Filter, Named: len(q.Desktops), PerSecond: q.PerSecond, RequestedBy: q.RequestedBy,
		Reason: q.Reason, CreatedAt: now, Projects: []string{},
	}}
	if q.IdempotencyKey != "" {
		sum := sha256.Sum256([]byte("redrive\x00" + q.RequestedBy + "\x00" + q.IdempotencyKey))
		var id xid.ID
		copy(id[:], sum[:])
		x.ID = id.String()
	}
	fail := func(err error) (Redrive, error) { return Redrive{}, fmt.Errorf("creating the redrive: %w", err) }
	if err := q.Validate(); err != nil {
		return Redrive{}, err
	}
	// A redrive that exists is returned at once: matching is costly.
	fp := fingerprintOf(q)
	if old, err := r.begun(ctx, x.ID, fp); err == nil || !errors.Is(err, tasks.ErrNoRedrive) {
		old.Replayed = true
		return old, err
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
		x.Scope = scopeOf(q)
	}
	for _, f := range before {
		if err := f(x); err != nil {
			return Redrive{}, err
		}
	}
	items := r.keys.redriveItems(x.ID, xid.New().String())
	if err := r.putRedriveItems(ctx, items, found); err != nil {
		return fail(err)
	}
	// The list entries come first, so that every redrive that exists is found.
	listed := redis.Z{Score: float64(now.UnixMilli()), Member: x.ID}
	_, err = r.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.ZAddNX(ctx, r.keys.redrives(), listed)
		pipe.ZAddNX(ctx, r.keys.openRedrives(), listed)
		pipe.ZRemRangeByScore(ctx, r.keys.redrives(), "-inf", formatMS(now.Add(-2*r.retention)))
		return nil
	})
	if err != nil {
		return fail(err)
	}
	if _, err := r.runScript(ctx, scriptRedrive, []string{r.keys.redrive(x.ID), items}, fp, mustJSON(x)); err != nil {
		return fail(err)
	}
	x, err = r.begun(ctx, x.ID, fp)
	x.Replayed = x.items != items
	return x, err
}

var scriptRedrive = script("redrive")

// scopeOf are the projects in which a request looks; empty: all.
func scopeOf(q tasks.RedriveRequest) []string {
	if q.Filter.Project != "" && (len(q.Projects) == 0 || slices.Contains(q.Projects, q.Filter.Project)) {
		return []string{q.Filter.Project}
	}
	return q.Projects
}

// fingerprintOf tells requests with the same idempotency key apart.
func fingerprintOf(q tasks.RedriveRequest) string {
	q.IdempotencyKey = ""
	sum := sha256.Sum256([]byte(mustJSON(q)))
	return hex.EncodeToString(sum[:16])
}

// begun reads the redrive that a request created.
func (r *Record) begun(ctx context.Context, id, fingerprint string) (Redrive, error) {
	fp, err := r.rdb.HGet(ctx, r.keys.redrive(id), "fp").Result()
	switch {
	case errors.Is(err, redis.Nil):
		return Redrive{}, tasks.ErrNoRedrive
	case err != nil:
		return Redrive{}, fmt.Errorf("reading redrive %s: %w", id, err)
	case fp != fingerprint:
		return Redrive{}, tasks.ErrKeyReused
	}
	return r.Redrive(ctx, id)
}

// putRedriveItems writes the matches. They expire unless a redrive keeps them.
func (r *Record) putRedriveItems(ctx context.Context, key string, found []tasks.Failure) error {
	for batch := range slices.Chunk(found, 2000) {
		values := make([]any, len(batch))
		for i, f := range batch {
			values[i] = formatMS(f.At) + " " + failureMember(f.OperationID, f.DesktopID)
		}
		var push *redis.IntCmd
		_, err := r.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
			push = p.RPush(ctx, key, values...)
			p.Expire(ctx, key, redriveOrphan)
			return nil
		})
		if err != nil {
			return cmp.Or(push.Err(), err) // err is EXECABORT then, which has no reason
		}
	}
	return nil
}

// Redrive reads a redrive; ErrNoRedrive if there is none.
func (r *Record) Redrive(ctx context.Context, id string) (Redrive, error) {
	xs, err := r.readRedrives(ctx, []string{id})
	if err == nil && len(xs) == 0 {
		err = fmt.Errorf("redrive %s: %w", id, tasks.ErrNoRedrive)
	}
	if err != nil {
		return Redrive{}, err
	}
	return xs[0], nil
}

// CountRedrives is the number of redrives.
func (r *Record) CountRedrives(ctx context.Context) (int, error) {
	n, err := r.rdb.ZCard(ctx, r.keys.redrives()).Result()
	if err != nil {
		return 0, fmt.Errorf("counting redrives: %w", err)
	}
	return int(n), nil
}

// Redrives lists redrives, the latest first, at most size of them (default 100). An empty
// next means that there are no more.
func (r *Record) Redrives(ctx context.Context, size int, token string) (out []Redrive, next string, err error) {
	if size <= 0 {
		size = 100
	}
	offset := 0
	if token != "" {
		if offset, err = strconv.Atoi(token); err != nil || offset < 0 {
			return nil, "", tasks.ErrPageToken
		}
	}
	ids, err := r.rdb.ZRevRange(ctx, r.keys.redrives(), int64(offset), int64(offset+size-1)).Result()
	if err != nil {
		return nil, "", fmt.Errorf("listing redrives: %w", err)
	}
	if len(ids) == size {
		next = strconv.Itoa(offset + size)
	}
	out, err = r.readRedrives(ctx, ids)
	return out, next, err
}

func (r *Record) readRedrives(ctx context.Context, ids []string) ([]Redrive, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, id := range ids {
			p.HMGet(ctx, r.keys.redrive(id), redriveFields...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading redrives: %w", err)
	}
	var out []Redrive
	for i, cmd := range cmds {
		var s storedRedrive
		if err := cmd.(*redis.SliceCmd).Scan(&s); err != nil {
			return nil, fmt.Errorf("redrive %s cannot be read: %w", ids[i], err)
		}
		if s.Meta == "" {
			continue
		}
		x := Redrive{items: s.Items}
		if err := decodeJSON(s.Meta, &x); err != nil {
			return nil, fmt.Errorf("redrive %s cannot be read: %w", ids[i], err)
		}
		x.AbortedBy, x.Retried, x.Skipped, x.EndedAt = s.Aborted, s.Retried, s.Next-s.Retried, s.Ended.Time
		out = append(out, x)
	}
	return out, nil
}

var scriptEndRedrive = script("end_redrive")

func (r *Record) endRedrive(ctx context.Context, x Redrive, now time.Time, by string) error {
	keys := []string{r.keys.redrive(x.ID), x.items, r.keys.redriveTaken(x.ID)}
	_, err := r.runScript(ctx, scriptEndRedrive, keys, now.UnixMilli(), by, r.retention.Milliseconds())
	if err == nil {
		err = r.rdb.ZRem(ctx, r.keys.openRedrives(), x.ID).Err()
	}
	if err != nil {
		return fmt.Errorf("ending redrive %s: %w", x.ID, err)
	}
	return nil
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
	if size <= 0 {
		size = 100
	}
	from := 0
	if token != "" {
		if from, err = strconv.Atoi(token); err != nil || from < 0 {
			return nil, "", tasks.ErrPageToken
		}
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
	r := p.Record
	zs, err := r.rdb.ZRangeWithScores(ctx, r.keys.openRedrives(), 0, 99).Result()
	if err != nil {
		return 0, fmt.Errorf("reading the open redrives: %w", err)
	}
	taken, until := 0, time.Now().Add(within)
	for _, z := range zs {
		id := z.Member.(string)
		n, err := p.advanceRedrive(ctx, id, until)
		if taken += n; errors.Is(err, tasks.ErrNoRedrive) {
			err = nil
			if p.now().Sub(time.UnixMilli(int64(z.Score))) > abandonedAfter { // else it may be about to be created
				err = r.rdb.ZRem(ctx, r.keys.openRedrives(), id).Err()
			}
		}
		if err != nil {
			return taken, err
		}
	}
	return taken, nil
}

var scriptAdvance = script("advance")

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
		keys := []string{r.keys.redrive(id), r.keys.redriveTaken(id)}
		if _, err := r.runScript(ctx, scriptAdvance, keys, append([]any{seen, len(items), len(moved)}, placesTaken(moved)...)...); err != nil {
			return taken, fmt.Errorf("advancing redrive %s: %w", id, err)
		}
	}
	return taken, nil
}

// placesTaken lists the chunks of desktops, each followed by the desktops' positions.
func placesTaken(ds []Row) (out []any) {
	var chunks []string
	places := map[string][]int{}
	for _, d := range ds {
		at := followMember(d.OperationID, d.Chunk)
		if places[at] == nil {
			chunks = append(chunks, at)
		}
		places[at] = append(places[at], d.Position)
	}
	for _, at := range chunks {
		out = append(out, at, trail.FormatRanges(trail.Ranges(places[at])))
	}
	return out
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
