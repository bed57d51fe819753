package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker/policy"
)

// Planner says what requests would do. It reads the cloud, within the limit of
// readings that all workers share, and changes nothing there.
type Planner struct {
	project Project
	record  *record.Record
	limit   *limiter
	finder  finder
	now     func() time.Time
	log     zerolog.Logger
	beat    time.Duration
}

// NewPlanner makes one for a project. record is where plans are, and gives the names of
// the limits' keys.
func NewPlanner(rdb redis.UniversalClient, rec *record.Record, p Project, log zerolog.Logger) *Planner {
	return &Planner{
		project: p, record: rec, limit: limiterOf(rdb, rec, p, log), now: time.Now, log: log, beat: planBeat,
		finder: finder{
			api: p.API, told: func(ReadingOf, int, time.Time, error) {}, directory: &directory{}, now: time.Now,
			where: p.Alias, unknown: p.UnknownUsers,
		},
	}
}

const (
	// planUnasked is how long a plan is read on that nobody asks for.
	planUnasked = time.Minute
	// planBeat is how often is looked whether somebody does, and the plan kept in hand.
	planBeat = 5 * time.Second
	// smallPlan has so many rows at most. A person waits for it, and it takes few
	// readings: it goes among those that prove. A larger one takes what nobody else
	// wants, as it could hold up proofs for minutes.
	smallPlan = 1000
	// planTries is how often a reading is tried that is not refused: a cloud that says
	// nothing from the start is told soon, one that was there is waited for.
	planTries, planTriesLater = 3, 8
	planRetry, planRetryMax   = 200 * time.Millisecond, 10 * time.Second
)

// Read reads a plan on until all of it is read, the cloud refuses to, ctx ends, or
// nobody has asked for it for a minute. What was read is kept with every hundred rows,
// and the next that asks has it read on. An error is Redis', or record.ErrOvertaken.
func (p *Planner) Read(ctx context.Context, w *record.PlanWork) error {
	reading, stop := context.WithCancel(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		p.keep(reading, w, stop)
	}()
	err := w.Load(reading)
	if err == nil {
		err = newPlanning(p, w).all(reading)
	}
	ended := reading.Err() != nil
	stop()
	<-kept
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), planBeat)
	defer cancel()
	var cloud *apiclient.Error
	switch {
	case err == nil:
		return w.End(last, "")
	case !ended && errors.As(err, &cloud):
		p.log.Warn().Err(err).Str("project", p.project.Alias).Str("plan", w.ID).Msg("a plan could not be read")
		return w.End(last, err.Error())
	case ended:
		return w.Leave(last)
	}
	return errors.Join(err, w.Leave(last))
}

// keep keeps a plan in hand while it is asked for.
func (p *Planner) keep(ctx context.Context, w *record.PlanWork, stop func()) {
	beat := time.NewTicker(p.beat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			// Redis may be away for a moment: the next beat comes before the lease ends.
			if unasked, err := w.Keep(ctx); errors.Is(err, record.ErrOvertaken) || err == nil && unasked > planUnasked {
				stop()
				return
			}
		}
	}
}

// planning is one plan while it is read.
type planning struct {
	*Planner
	work     *record.PlanWork
	req      tasks.Request
	finder   finder
	priority priority
}

func newPlanning(p *Planner, w *record.PlanWork) *planning {
	x := &planning{Planner: p, work: w, req: w.Request, finder: p.finder, priority: toHint}
	if len(x.req.Desktops)+len(x.req.Users)+len(x.req.Computers) <= smallPlan {
		x.priority = toProve
	}
	x.finder.admit = x.admit
	return x
}

func (x *planning) admit(ctx context.Context) error {
	return x.limit.take(ctx, readRequest, x.priority)
}

// all reads, a hundred at a time, what is not read yet: the desktops that the request
// names, then the users and computers, then the desktops found by them.
func (x *planning) all(ctx context.Context) error {
	named := make([]record.Row, len(x.req.Desktops))
	for i, id := range x.req.Desktops {
		named[i] = record.Row{Desktop: tasks.Desktop{ID: id, Expect: x.req.Expect[id]}}
	}
	next, err := x.rows(ctx, 0, named)
	lookups := lookupsOf(x.req)
	if err != nil || len(lookups) == 0 {
		return err
	}
	if err := x.lookUp(ctx, lookups); err != nil {
		return err
	}
	byID := make(map[string]record.Row, len(named))
	for _, d := range named {
		byID[d.ID] = d
	}
	find := join(x.now(), lookups, x.work.AllFinds(), byID)
	x.work.SetFound(len(find.Desktops))
	for some := range slices.Chunk(lookups, record.ChunkSize) {
		if !x.work.Written(next) {
			rows := make([]tasks.Planned, len(some))
			for i, row := range some {
				rows[i] = plannedLookup(row, find.Rows[row.ID])
			}
			if err := x.work.AddRows(ctx, next, 0, rows); err != nil {
				return err
			}
		}
		next++
	}
	found := make([]record.Row, len(find.Desktops))
	for i, id := range find.Desktops {
		found[i] = record.Row{Desktop: tasks.Desktop{ID: id, Expect: find.Expect[id], FoundAs: find.FoundAs[id]}}
	}
	_, err = x.rows(ctx, next, found)
	return err
}

// lookUp finds users and computers.
func (x *planning) lookUp(ctx context.Context, lookups []record.Row) error {
	chunk := 0
	for some := range slices.Chunk(lookups, record.ChunkSize) {
		if x.work.Finds[chunk] == nil {
			var finds map[string]record.RowFind
			err := x.tried(ctx, func() (err error) {
				finds, err = x.finder.find(ctx, some, record.Operation{Operation: tasks.Operation{UnknownUsers: x.req.UnknownUsers}})
				return err
			})
			if err != nil {
				return err
			}
			if err := x.work.NoteFinds(ctx, chunk, len(some), finds); err != nil {
				return err
			}
		}
		chunk++
	}
	return nil
}

// rows plans desktops as chunks from the given one on; next is the chunk after them.
func (x *planning) rows(ctx context.Context, chunk int, rows []record.Row) (next int, err error) {
	for some := range slices.Chunk(rows, record.ChunkSize) {
		if !x.work.Written(chunk) {
			var planned []tasks.Planned
			err := x.tried(ctx, func() (err error) {
				planned, err = x.desktops(ctx, some)
				return err
			})
			if err != nil {
				return 0, err
			}
			if err := x.work.AddRows(ctx, chunk, len(planned), planned); err != nil {
				return 0, err
			}
		}
		chunk++
	}
	return chunk, nil
}

// tried reads again what failed and may yet succeed.
func (x *planning) tried(ctx context.Context, read func() error) error {
	for try := 1; ; try++ {
		err := read()
		most := planTries
		if x.work.Progress() > 0 {
			most = planTriesLater
		}
		var cloud *apiclient.Error
		if !errors.As(err, &cloud) || refused(err) || try >= most || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(backoff(planRetry, planRetryMax, try)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lookupsOf are the rows that a request would have for what it looks up.
func lookupsOf(req tasks.Request) []record.Row {
	out := make([]record.Row, 0, len(req.Users)+len(req.Computers))
	for _, name := range req.Users {
		out = append(out, record.Row{Desktop: tasks.Desktop{ID: tasks.UserRow(name)}})
	}
	for _, name := range req.Computers {
		id := tasks.ComputerRow(name)
		out = append(out, record.Row{Desktop: tasks.Desktop{ID: id, Expect: req.Expect[id]}})
	}
	return out
}

// desktops plans up to 100 desktops. One for which the cloud refuses to be asked is a
// row of its own kind, and does not keep the others from being read.
func (x *planning) desktops(ctx context.Context, rows []record.Row) ([]tasks.Planned, error) {
	spoilt := map[string]tasks.Planned{}
	for {
		var ids []string
		for _, row := range rows {
			if _, is := spoilt[row.ID]; !is {
				ids = append(ids, row.ID)
			}
		}
		read, seen, err := x.look(ctx, ids)
		if err == nil {
			out := make([]tasks.Planned, len(rows))
			for i, row := range rows {
				if p, is := spoilt[row.ID]; is {
					out[i] = p
				} else {
					out[i] = x.planned(row, lookAt(record.Operation{Operation: tasks.Operation{AllowShared: x.req.AllowShared}}, row, read, seen[row.ID]))
				}
			}
			return out, nil
		}
		e := asAPIError(err)
		before := len(spoilt)
		for _, row := range rows {
			if slices.Contains(policy.Culprits(e), row.ID) {
				spoilt[row.ID] = tasks.Planned{ID: row.ID, Expect: row.Expect, Does: "fail", Code: e.Code, Why: "it cannot be read: " + e.Message}
			}
		}
		if len(spoilt) == before || !refused(err) {
			return nil, err
		}
	}
}

// look makes one reading.
func (x *planning) look(ctx context.Context, ids []string) (read map[string]apiclient.Desktop, seen map[string]bool, err error) {
	if len(ids) == 0 {
		return nil, nil, nil
	}
	if err := x.admit(ctx); err != nil {
		return nil, nil, err
	}
	list, err := x.project.API.Desktops(ctx, ids)
	if err != nil {
		return nil, nil, err
	}
	read = byID(list)
	seen, err = x.seen(ctx, ids, read)
	return read, seen, err
}

func (p *Planner) seen(ctx context.Context, ids []string, read map[string]apiclient.Desktop) (map[string]bool, error) {
	missing := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { _, exists := read[id]; return exists })
	if len(missing) == 0 {
		return nil, nil
	}
	return p.record.Seen(ctx, p.project.Alias, missing)
}

// planned is what a reading would lead to.
func (p *Planner) planned(row record.Row, l policy.Look) tasks.Planned {
	verdict := policy.VerdictOf(l)
	out := tasks.Planned{ID: row.ID, Expect: l.Expect, Does: string(verdict.Before), Why: verdict.Why}
	if l.Exists {
		out.Now = beforeOf(l, p.now())
	}
	switch verdict.Before {
	case policy.Hold, policy.Later:
		out.Code, out.Why = verdict.Code, l.Reason(verdict)
	case policy.Send:
		losing := l.Users
		if l.JustThem() {
			losing = l.Leavers()
		}
		out.From = persons(losing)
	}
	return out
}

func plannedLookup(row record.Row, f record.RowFind) tasks.Planned {
	out := tasks.Planned{ID: row.ID, Expect: row.Expect}
	switch f.To {
	case tasks.StateHeld:
		out.Does, out.Code, out.Why = string(policy.Hold), f.Failure.Code, f.Failure.Message
	case tasks.StateExpanded:
		out.Does, out.Why = "find", "leads to "+f.Detail
	case tasks.StateNoDesktop:
		out.Does, out.Why = string(policy.Done), "the user has no desktop"
		if f.Note == tasks.NoteUnknownUser {
			out.Why = "Workspace does not know the user, which is to be ignored"
		}
	}
	return out
}
