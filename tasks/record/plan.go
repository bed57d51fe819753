package record

import (
	"bytes"
	"cmp"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
	"github.com/rs/xid"
)

func kindOf(p tasks.Planned) string {
	if _, user := tasks.UserOf(p.ID); user {
		return "users"
	}
	if _, computer := tasks.ComputerOf(p.ID); computer {
		return "computers"
	}
	return "desktops"
}

// plannedOrder is the order in which a plan's rows are listed: rows that need a person
// come first.
var plannedOrder = []string{"hold", "fail", "send", "later", "follow", "find", "done"}

const (
	// planKept is how long a plan is kept after its last use, and how long it may be run
	// once it is done.
	planKept = time.Hour
	// planKnown is how long the hash of a plan is known, to tell an expired plan from none.
	planKnown = 24 * time.Hour
)

// The fields of a plan's hash: meta (JSON of planMeta), request (packed, see planRequest),
// state, progress (JSON of planProgress), asked (the time of the last request for it, ms),
// holder and until (the reader and the end of its lease, ms); for each chunk n of rows r<n>
// (the rows, packed) and s<n> (JSON: rows by what is done); and for each chunk n of look-ups
// f<n> (the results, packed).
type planMeta struct {
	Owner, Project, Operation  string
	Desktops, Users, Computers int
	At, Start, Due, Deadline   time.Time
}

type planProgress struct {
	Found, Read, Chunks int
	Counts              []tasks.PlannedCount
	People, Groups      int
	Error               string
	Hash                string    // once it is done
	DoneAt              time.Time // once it is done
}

// planRequest is what is planned, and decides. For what is left of an operation, Rows has
// more about each of Desktops.
type planRequest struct {
	tasks.Request
	Operation string       `json:",omitempty"`
	Rows      []plannedRow `json:",omitempty"`
}

// plannedRow is a row of an operation; see Row.
type plannedRow struct {
	Chunk, Position int
	Expect, Pinned  []string      `json:",omitempty"`
	FoundAs         string        `json:",omitempty"`
	Planned         *tasks.Before `json:",omitempty"`
}

// CreatePlan creates the plan of a valid request; nothing is read yet. Plan.Owner returns
// owner. before is called with its id before it exists; its error is returned.
func (r *Record) CreatePlan(
	ctx context.Context, now time.Time, owner string, req tasks.Request, before ...func(id string) error,
) (Plan, error) {
	wanted := tasks.Request{ // only the fields that decide
		Project: req.Project, Desktops: req.Desktops, Users: req.Users, Computers: req.Computers, Expect: req.Expect,
		UnknownUsers: req.UnknownUsers, AllowShared: req.AllowShared, ShutoffAfterDetach: req.ShutoffAfterDetach,
		NotBefore: req.NotBefore.UTC(), AtOnce: req.AtOnce, DueAt: req.DueAt.UTC(), Deadline: req.Deadline.UTC(),
	}
	now = now.UTC().Truncate(time.Millisecond)
	start, due, deadline := req.Times(now)
	return r.createPlan(ctx, planMeta{
		Owner: owner, Project: req.Project, Desktops: len(req.Desktops), Users: len(req.Users), Computers: len(req.Computers),
		At: now, Start: start.UTC(), Due: due.UTC(), Deadline: deadline.UTC(),
	}, planRequest{Request: wanted}, before)
}

// CreatePlanOf creates the plan of what is left of an operation that waits for an approval,
// as CreatePlan does.
func (r *Record) CreatePlanOf(
	ctx context.Context, now time.Time, owner string, op Operation, before ...func(id string) error,
) (Plan, error) {
	if !op.AwaitsApproval() {
		return Plan{}, fmt.Errorf("planning what is left of operation %s: %w", op.ID, tasks.ErrNotWaiting)
	}
	wanted := planRequest{Operation: op.ID, Request: tasks.Request{
		Project: op.Project, AllowShared: op.AllowShared, ShutoffAfterDetach: op.ShutoffAfterDetach,
	}}
	for n := range op.Chunks() {
		c, err := r.Chunk(ctx, op.ID, n)
		if err != nil {
			return Plan{}, err
		}
		for _, d := range c.Desktops {
			if d.State != tasks.StateQueued || op.LooksUp(n) {
				continue
			}
			wanted.Desktops = append(wanted.Desktops, d.ID)
			wanted.Rows = append(wanted.Rows, plannedRow{n, d.Position, d.Expect, d.Pinned, d.FoundAs, d.Planned})
		}
	}
	return r.createPlan(ctx, planMeta{
		Owner: owner, Project: op.Project, Operation: op.ID, Desktops: len(wanted.Desktops), At: now.UTC().Truncate(time.Millisecond),
		Start: op.NotBefore, Due: op.DueAt, Deadline: op.Deadline,
	}, wanted, before)
}

func (r *Record) createPlan(ctx context.Context, meta planMeta, wanted planRequest, before []func(id string) error) (Plan, error) {
	id := xid.NewWithTime(meta.At).String()
	for _, f := range before {
		if err := f(id); err != nil {
			return Plan{}, err
		}
	}
	key := r.keys.plan(id)
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, key, "meta", mustJSON(meta), "request", packJSON(wanted), "state", tasks.PlanReading, "progress", mustJSON(planProgress{}))
		p.PExpire(ctx, key, planKept)
		return nil
	})
	if err != nil {
		return Plan{}, fmt.Errorf("creating the plan: %w", err)
	}
	return planOf(id, tasks.PlanReading, meta, planProgress{}), nil
}

func planOf(id, state string, m planMeta, p planProgress) Plan {
	expires := time.Time{}
	if p.Hash != "" {
		expires = p.DoneAt.Add(planKept)
	}
	return Plan{Plan: tasks.Plan{
		ID: id, Project: m.Project, State: state, CreatedAt: m.At, NotBefore: m.Start, DueAt: m.Due, Deadline: m.Deadline,
		Desktops: m.Desktops, Users: m.Users, Computers: m.Computers,
		Found: p.Found, Read: p.Read, Total: m.Desktops + m.Users + m.Computers + p.Found, Counts: append([]tasks.PlannedCount{}, p.Counts...),
		People: p.People, Groups: p.Groups, Error: p.Error, Hash: p.Hash, ExpiresAt: expires, OperationID: m.Operation,
	}, Owner: m.Owner, chunks: p.Chunks}
}

// Plan reads the progress of a plan; ErrNoPlan if there is none.
func (r *Record) Plan(ctx context.Context, id string) (Plan, error) {
	fail := func(err error) (Plan, error) { return Plan{}, fmt.Errorf("reading plan %s: %w", id, err) }
	if strings.ContainsAny(id, "{}") {
		return fail(tasks.ErrNoPlan)
	}
	var v struct {
		Meta     string `redis:"meta"`
		State    string `redis:"state"`
		Progress string `redis:"progress"`
	}
	if err := r.rdb.HMGet(ctx, r.keys.plan(id), "meta", "state", "progress").Scan(&v); err != nil {
		return fail(err)
	}
	if v.Meta == "" || v.State == "" || v.Progress == "" {
		return fail(tasks.ErrNoPlan)
	}
	var meta planMeta
	var progress planProgress
	if err := errors.Join(decodeJSON(v.Meta, &meta), decodeJSON(v.Progress, &progress)); err != nil {
		return fail(err)
	}
	return planOf(id, v.State, meta, progress), nil
}

// PlanRows lists the rows of a plan that is done in plannedOrder, and within it in the order
// of the request: desktops, users, computers, desktops found. It returns at most size of
// them; an empty next means that there are no more. A plan that is not done has none.
func (r *Record) PlanRows(ctx context.Context, p Plan, size int, token string) (out []tasks.Planned, next string, err error) {
	fail := func(err error) ([]tasks.Planned, string, error) {
		return nil, "", fmt.Errorf("reading the rows of plan %s: %w", p.ID, err)
	}
	var from [3]int // index in plannedOrder, chunk, rows of these that were listed before
	if token != "" {
		if n, err := fmt.Sscanf(token+"|", "%d.%d.%d|", &from[0], &from[1], &from[2]); n != 3 || err != nil || slices.Min(from[:]) < 0 {
			return fail(tasks.ErrPageToken)
		}
	}
	if p.State != tasks.PlanDone || p.chunks == 0 {
		return nil, "", nil
	}
	sums, err := r.planSums(ctx, p)
	if err != nil {
		return fail(err)
	}
	for what := from[0]; what < len(plannedOrder); what++ {
		does := plannedOrder[what]
		for n := from[1]; n < len(sums); n++ {
			if sums[n][does] <= from[2] {
				from[2] = 0
				continue
			}
			if len(out) == size {
				return out, fmt.Sprintf("%d.%d.%d", what, n, from[2]), nil
			}
			rows, err := r.planChunk(ctx, p.ID, n)
			if err != nil {
				return fail(err)
			}
			rows = slices.DeleteFunc(rows, func(row tasks.Planned) bool { return row.Does != does })
			rows = rows[min(from[2], len(rows)):]
			if room := size - len(out); len(rows) > room {
				return append(out, rows[:room]...), fmt.Sprintf("%d.%d.%d", what, n, from[2]+room), nil
			}
			out, from[2] = append(out, rows...), 0
		}
		from[1] = 0
	}
	return out, "", nil
}

// planSums reads, for each chunk, the number of rows by what is done.
func (r *Record) planSums(ctx context.Context, p Plan) ([]map[string]int, error) {
	fields := make([]string, p.chunks)
	for n := range fields {
		fields[n] = "s" + strconv.Itoa(n)
	}
	v, err := r.rdb.HMGet(ctx, r.keys.plan(p.ID), fields...).Result()
	if err != nil {
		return nil, err
	}
	out := make([]map[string]int, len(v))
	for n := range v {
		s, there := v[n].(string)
		if !there {
			return nil, tasks.ErrNoPlan // expired meanwhile
		}
		if err := decodeJSON(s, &out[n]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (r *Record) planChunk(ctx context.Context, id string, n int) (rows []tasks.Planned, err error) {
	s, err := r.rdb.HGet(ctx, r.keys.plan(id), "r"+strconv.Itoa(n)).Result()
	if errors.Is(err, redis.Nil) {
		return nil, tasks.ErrNoPlan
	}
	if err != nil {
		return nil, err
	}
	return rows, unpackJSON(s, &rows)
}

// PlanWork is a plan that the caller reads. Only Keep may be called from other goroutines.
type PlanWork struct {
	Plan
	Request tasks.Request
	Named   []Row                      // the desktops that it names
	Finds   map[int]map[string]RowFind // results of look-ups, by chunk

	lease
	written  map[int]bool // chunks of rows
	progress planProgress
	counts   map[tasks.PlannedCount]int // keys without Count
	people   map[string]bool
	groups   map[string]bool
	wanted   planRequest
	digests  map[int]string // of what Hash covers, by chunk of rows
}

// TakePlan records a request for a plan. The caller gets it to read if it is not done, no
// other process reads it, and free is true; else the work is nil.
func (r *Record) TakePlan(ctx context.Context, p Plan, free bool) (*PlanWork, error) {
	l, err := r.take(ctx, r.keys.plan(p.ID), "plan "+p.ID, free, tasks.ErrNoPlan)
	if err != nil || l.holder == "" {
		return nil, err
	}
	return &PlanWork{Plan: p, lease: l}, nil
}

// Load reads the request and the rows that were read before.
func (w *PlanWork) Load(ctx context.Context) error {
	all, err := w.record.rdb.HGetAll(ctx, w.record.keys.plan(w.ID)).Result()
	if err != nil {
		return fmt.Errorf("reading plan %s: %w", w.ID, err)
	}
	w.Finds, w.written = map[int]map[string]RowFind{}, map[int]bool{}
	w.counts, w.people, w.groups = map[tasks.PlannedCount]int{}, map[string]bool{}, map[string]bool{}
	w.digests = map[int]string{}
	errs := []error{unpackJSON(all["request"], &w.wanted), decodeJSON(all["progress"], &w.progress)}
	w.Request, w.Named = w.wanted.Request, w.wanted.named()
	for field, v := range all {
		n, err := strconv.Atoi(field[1:])
		if err != nil {
			continue
		}
		switch field[0] {
		case 'r':
			var rows []tasks.Planned
			errs = append(errs, unpackJSON(v, &rows))
			w.written[n] = true
			w.count(rows)
			w.digests[n] = digestOf(rows)
		case 'f':
			var finds map[string]RowFind
			errs = append(errs, unpackJSON(v, &finds))
			w.Finds[n] = finds
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("reading plan %s: %w", w.ID, err)
	}
	return nil
}

// Progress is the number of rows that were read.
func (w *PlanWork) Progress() int { return w.progress.Read }

// Written reports whether a chunk of rows is stored.
func (w *PlanWork) Written(chunk int) bool { return w.written[chunk] }

func (w *PlanWork) count(rows []tasks.Planned) {
	for _, row := range rows {
		w.counts[tasks.PlannedCount{Of: kindOf(row), Does: row.Does, Code: row.Code}]++
		for _, who := range row.From {
			name := who.Domain + "\x00" + cmp.Or(who.ID, who.Name)
			if who.Type == "GROUP" {
				w.groups[name] = true
			} else {
				w.people[name] = true
			}
		}
	}
}

// NoteFinds keeps the results of a chunk of look-ups. They count as progress, but are not rows yet.
func (w *PlanWork) NoteFinds(ctx context.Context, chunk, lookedUp int, finds map[string]RowFind) error {
	w.Finds[chunk] = finds
	w.progress.Read += lookedUp
	return w.write(ctx, "f"+strconv.Itoa(chunk), packJSON(finds))
}

// AddRows keeps a chunk of rows. read is the number of them that were not counted as read
// before.
func (w *PlanWork) AddRows(ctx context.Context, chunk, read int, rows []tasks.Planned) error {
	sums := map[string]int{}
	for _, row := range rows {
		sums[row.Does]++
	}
	n := strconv.Itoa(chunk)
	w.written[chunk] = true
	w.progress.Read += read
	w.progress.Chunks = max(w.progress.Chunks, chunk+1)
	w.count(rows)
	w.digests[chunk] = digestOf(rows)
	return w.write(ctx, "r"+n, packJSON(rows), "s"+n, mustJSON(sums))
}

// SetFound sets the number of desktops that the look-ups found.
func (w *PlanWork) SetFound(n int) { w.progress.Found = n }

// End ends the plan: done if why is empty, else failed, and why says the reason.
func (w *PlanWork) End(ctx context.Context, now time.Time, why string) error {
	if w.progress.Error = why; why != "" {
		return w.write(ctx, "state", tasks.PlanFailed)
	}
	w.progress.Hash, w.progress.DoneAt = w.hash(), now.UTC().Truncate(time.Millisecond)
	// First the way to it: whoever reads the hash finds the plan.
	if err := w.record.rdb.Set(ctx, w.record.keys.planned(w.Owner, w.progress.Hash), w.ID, planKnown).Err(); err != nil {
		return fmt.Errorf("writing plan %s: %w", w.ID, err)
	}
	return w.write(ctx, "state", tasks.PlanDone)
}

// write writes fields with the progress.
func (w *PlanWork) write(ctx context.Context, fields ...any) error {
	p := &w.progress
	p.People, p.Groups, p.Counts = len(w.people), len(w.groups), nil
	for c, n := range w.counts {
		c.Count = n
		p.Counts = append(p.Counts, c)
	}
	slices.SortFunc(p.Counts, func(a, b tasks.PlannedCount) int {
		return cmp.Or(slices.Index(plannedOrder, a.Does)-slices.Index(plannedOrder, b.Does),
			strings.Compare(b.Of, a.Of), b.Count-a.Count, strings.Compare(a.Code, b.Code))
	})
	_, err := w.lease.write(ctx, append(fields, "progress", mustJSON(p))...)
	return err
}

// AllFinds joins the results of all chunks of look-ups.
func (w *PlanWork) AllFinds() map[string]RowFind {
	out := map[string]RowFind{}
	for _, finds := range w.Finds {
		maps.Copy(out, finds)
	}
	return out
}

// packJSON is deflated JSON: a hundred rows of a plan take 3 KB instead of 40.
func packJSON(v any) string {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err == nil {
		err = errors.Join(json.NewEncoder(w).Encode(v), w.Close())
	}
	if err != nil {
		panic(err) // cannot happen: our own types, into memory
	}
	return out.String()
}

func unpackJSON(s string, v any) error {
	text, err := io.ReadAll(flate.NewReader(strings.NewReader(s)))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}
