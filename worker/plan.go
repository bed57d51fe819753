package worker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker/policy"
)

// Planner plans what requests would do. It reads the cloud, within the limit of readings that
// all workers share, and changes nothing there.
type Planner struct {
	project   Project
	record    *record.Record
	limit     *limiter
	directory *directory
	log       zerolog.Logger
	beat      time.Duration // planBeat; shorter in tests
}

// NewPlanner makes the planner of a project. record has the plans, and the names of the
// limits' keys.
func NewPlanner(rdb redis.UniversalClient, rec *record.Record, p Project, log zerolog.Logger) *Planner {
	return &Planner{project: p, record: rec, limit: limiterOf(rdb, rec, p, log), directory: &directory{}, log: log, beat: planBeat}
}

const (
	// planUnasked is how long a plan that no client asks for is read on.
	planUnasked = time.Minute
	// planBeat is how often that is checked and the lease of the plan renewed.
	planBeat = 5 * time.Second
	// smallPlan is the limit of rows of a plan with the priority of confirming readings: a
	// person waits for it, and it takes few readings. A larger one takes what is left,
	// because it could delay confirmations for minutes.
	smallPlan = 1000
	// planTries is how often a reading that fails and is not refused is tried. A cloud
	// that never answered is reported soon; after that a longer fault is waited out.
	planTries, planTriesLater = 3, 8
	planRetry, planRetryMax   = 200 * time.Millisecond, 10 * time.Second
)

// Read reads a plan on until it is complete, the cloud refuses, ctx ends, or no client has asked
// for it for a minute. It is kept with every hundred rows, and reading goes on when the next
// client asks. An error is that of Redis, or record.ErrOvertaken.
func (p *Planner) Read(ctx context.Context, w *record.PlanWork) error {
	ended, err := whileAsked(ctx, p.beat, w.Keep, func(ctx context.Context) error {
		if err := w.Load(ctx); err != nil {
			return err
		}
		return newPlanning(p, w).all(ctx)
	})
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), planBeat)
	defer cancel()
	switch {
	case err == nil:
		return w.End(last, time.Now(), "")
	case !ended && ofCloud(err):
		p.log.Warn().Err(err).Str("project", p.project.Alias).Str("plan", w.ID).Msg("a plan could not be read")
		return w.End(last, time.Now(), err.Error())
	case ended:
		return w.Leave(last)
	}
	return errors.Join(err, w.Leave(last))
}

// whileAsked reads while clients ask for it, and renews the lease with keep. ended reports that
// the reading was ended, by ctx or because no client asks.
func whileAsked(
	ctx context.Context, beat time.Duration, keep func(context.Context) (time.Duration, error), read func(context.Context) error,
) (ended bool, err error) {
	reading, stop := context.WithCancel(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		for wait(reading, beat) {
			// Redis may be away for a moment: the next beat comes before the lease ends.
			if unasked, err := keep(reading); errors.Is(err, record.ErrOvertaken) || err == nil && unasked > planUnasked {
				stop()
				return
			}
		}
	}()
	err = read(reading)
	ended = reading.Err() != nil
	stop()
	<-kept
	return ended, err
}

func ofCloud(err error) bool {
	_, is := errors.AsType[*apiclient.Error](err)
	return is
}

// planning is one plan while it is read.
type planning struct {
	*Planner
	work     *record.PlanWork
	req      tasks.Request
	priority priority
}

func newPlanning(p *Planner, w *record.PlanWork) *planning {
	x := &planning{Planner: p, work: w, req: w.Request, priority: toHint}
	if len(x.req.Desktops)+len(x.req.Users)+len(x.req.Computers) <= smallPlan {
		x.priority = toConfirm
	}
	return x
}

func (x *planning) admit(ctx context.Context) error {
	return x.limit.acquire(ctx, readRequest, x.priority)
}

// all reads what is not read yet, a hundred at a time: the desktops that the request names,
// then the users and computers, then the desktops found by them.
func (x *planning) all(ctx context.Context) error {
	named := x.work.Named
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
	find := join(lookups, x.work.AllFinds(), byID)
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
	finder := finder{
		api: x.project.API, admit: x.admit, report: func(ReadingOf, int, time.Time, error) {},
		directory: x.directory, alias: x.project.Alias, unknown: x.project.UnknownUsers,
	}
	chunk := 0
	for some := range slices.Chunk(lookups, record.ChunkSize) {
		if x.work.Finds[chunk] == nil {
			var finds map[string]record.RowFind
			err := x.tried(ctx, func() (err error) {
				finds, err = finder.find(ctx, some, record.Operation{Operation: tasks.Operation{UnknownUsers: x.req.UnknownUsers}})
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

// rows plans desktops as chunks, beginning with the given number; next is the number after them.
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

// tried repeats a reading that failed and may yet succeed.
func (x *planning) tried(ctx context.Context, read func() error) error {
	return tried(ctx, func() bool { return x.work.Progress() > 0 }, read)
}

// tried repeats a reading that failed and may yet succeed. began reports that the cloud has
// answered before.
func tried(ctx context.Context, began func() bool, read func() error) error {
	for try := 1; ; try++ {
		err := read()
		most := planTries
		if began() {
			most = planTriesLater
		}
		if !ofCloud(err) || refused(err) || try >= most || ctx.Err() != nil {
			return err
		}
		if !wait(ctx, backoff(planRetry, planRetryMax, try)) {
			return ctx.Err()
		}
	}
}

// lookupsOf returns the rows of the users and computers of a request.
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

// desktops plans up to 100 desktops. One that the cloud refuses to read would fail; the others
// are read all the same.
func (x *planning) desktops(ctx context.Context, rows []record.Row) ([]tasks.Planned, error) {
	op := record.Operation{Operation: tasks.Operation{AllowShared: x.req.AllowShared}}
	unreadable := map[string]tasks.Planned{}
	for {
		var ids []string
		for _, row := range rows {
			if _, is := unreadable[row.ID]; !is {
				ids = append(ids, row.ID)
			}
		}
		read, seen, err := x.read(ctx, ids)
		var protected protection
		if err == nil {
			protected, err = x.protection(ctx, read)
		}
		if err == nil {
			out := make([]tasks.Planned, len(rows))
			for i, row := range rows {
				if p, is := unreadable[row.ID]; is {
					out[i] = p
				} else {
					out[i] = planned(row, protected.judged(lookBefore(op, row, read, seen[row.ID])))
				}
			}
			return out, nil
		}
		e := asAPIError(err)
		before := len(unreadable)
		for _, row := range rows {
			if slices.Contains(e.Culprits(), row.ID) {
				unreadable[row.ID] = tasks.Planned{
					ID: row.ID, Expect: row.Expect, Does: string(policy.Fail), Code: e.Code, Why: "it cannot be read: " + e.Message,
				}
			}
		}
		if len(unreadable) == before || !refused(err) {
			return nil, err
		}
	}
}

// read makes one reading. seen are those desktops that it does not list and that were seen
// before.
func (x *planning) read(ctx context.Context, ids []string) (read map[string]*apiclient.Desktop, seen map[string]bool, err error) {
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
	if missing := notIn(read, ids); len(missing) > 0 {
		seen, err = x.record.Seen(ctx, x.project.Alias, missing)
	}
	return read, seen, err
}

func (x *planning) protection(ctx context.Context, read map[string]*apiclient.Desktop) (protection, error) {
	rules, err := x.record.Protections(ctx)
	if err != nil {
		return protection{}, err
	}
	ids := slices.Collect(maps.Keys(read))
	return protectionOf(rules, x.project.Alias, ids, func(pool string, ids []string) ([]string, error) {
		if err := x.admit(ctx); err != nil {
			return nil, err
		}
		return x.project.API.InPool(ctx, pool, ids)
	})
}

// planned returns what a reading would lead to.
func planned(row record.Row, r policy.Look) tasks.Planned {
	verdict := policy.VerdictOf(r)
	out := tasks.Planned{ID: row.ID, Expect: r.Expect, Does: string(verdict.Before), Why: verdict.Why}
	if r.Exists {
		out.Now = beforeOf(r, time.Now())
	}
	switch verdict.Before {
	case policy.Hold, policy.Later:
		out.Code, out.Why = verdict.Code, r.Reason(verdict)
	case policy.Send:
		out.From = policy.PersonsOf(r.Losing())
	}
	return out
}

func plannedLookup(row record.Row, f record.RowFind) tasks.Planned {
	out := tasks.Planned{ID: row.ID, Expect: row.Expect}
	switch f.To {
	case tasks.StateHeld:
		out.Does, out.Code, out.Why = string(policy.Hold), f.Failure.Code, f.Failure.Message
	case tasks.StateExpanded:
		out.Does, out.Why = string(policy.Find), "leads to "+f.Detail
	case tasks.StateNoDesktop:
		out.Does, out.Why = string(policy.Done), "the user has no desktop"
		if f.Note == tasks.NoteUnknownUser {
			out.Why = "Workspace does not know the user, and unknown users are ignored"
		}
	}
	return out
}
