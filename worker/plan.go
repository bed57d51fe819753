package worker

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
)

// Planner says what requests would do. It reads the cloud, within the limit of
// readings that all workers share, and writes nothing.
type Planner struct {
	project Project
	record  *tasks.Record
	limit   *limiter
	finder  *finder
	now     func() time.Time
}

// NewPlanner makes one for a project. record gives the names of the limits' keys.
func NewPlanner(rdb redis.UniversalClient, record *tasks.Record, p Project, log zerolog.Logger) *Planner {
	out := &Planner{project: p, record: record, limit: limiterOf(rdb, record, p, log), now: time.Now}
	out.finder = &finder{
		api: p.API, admit: out.admit, told: func(ReadingOf, int, time.Time, error) {}, directory: &directory{}, now: time.Now,
		where: p.Alias, unknown: p.UnknownUsers,
	}
	return out
}

func (p *Planner) admit(ctx context.Context) error { return p.limit.take(ctx, readRequest, beforeCall) }

// Plan says what would become of a valid request, in its order: first the desktops
// that it names, then the users and computers, then the desktops found by them. left
// is how many it did not look at because there are more than tasks.MaxPlanned. An error
// is the cloud's, an *apiclient.Error, or that ctx ended.
func (p *Planner) Plan(ctx context.Context, req tasks.Request) (out []tasks.Planned, left int, err error) {
	desktops, lookups := req.Desktops, lookupsOf(req)
	if n := tasks.MaxPlanned; len(desktops) > n {
		left, desktops = len(desktops)-n, desktops[:n]
	}
	if n := tasks.MaxPlanned - len(desktops); len(lookups) > n {
		left, lookups = left+len(lookups)-n, lookups[:n]
	}
	rows := make([]tasks.Desktop, len(desktops))
	for i, id := range desktops {
		rows[i] = tasks.Desktop{ID: id, Expect: req.Expect[id]}
	}
	if out, err = p.desktops(ctx, req, rows); err != nil || len(lookups) == 0 {
		return out, left, err
	}
	finds := map[string]tasks.RowFind{}
	for some := range slices.Chunk(lookups, apiclient.MaxDesktopsPerCall) {
		found, err := p.finder.find(ctx, some, tasks.Operation{UnknownUsers: req.UnknownUsers})
		if err != nil {
			return nil, 0, err
		}
		maps.Copy(finds, found)
	}
	named := make(map[string]tasks.Desktop, len(req.Desktops))
	for _, id := range req.Desktops {
		named[id] = tasks.Desktop{ID: id, Expect: req.Expect[id]}
	}
	find := join(p.now(), lookups, finds, named)
	for _, row := range lookups {
		out = append(out, plannedLookup(row, find.Rows[row.ID]))
	}
	found := find.Desktops
	if n := max(0, 2*tasks.MaxPlanned-len(out)); len(found) > n {
		left, found = left+len(found)-n, found[:n]
	}
	rows = make([]tasks.Desktop, len(found))
	for i, id := range found {
		rows[i] = tasks.Desktop{ID: id, Expect: find.Expect[id], FoundAs: find.FoundAs[id]}
	}
	theirs, err := p.desktops(ctx, req, rows)
	return append(out, theirs...), left, err
}

// lookupsOf are the rows that a request would have for what it looks up.
func lookupsOf(req tasks.Request) []tasks.Desktop {
	out := make([]tasks.Desktop, 0, len(req.Users)+len(req.Computers))
	for _, name := range req.Users {
		out = append(out, tasks.Desktop{ID: tasks.UserRow(name)})
	}
	for _, name := range req.Computers {
		id := tasks.ComputerRow(name)
		out = append(out, tasks.Desktop{ID: id, Expect: req.Expect[id]})
	}
	return out
}

func (p *Planner) desktops(ctx context.Context, req tasks.Request, rows []tasks.Desktop) ([]tasks.Planned, error) {
	var out []tasks.Planned
	for some := range slices.Chunk(rows, apiclient.MaxDesktopsPerCall) {
		if err := p.admit(ctx); err != nil {
			return nil, err
		}
		ids := make([]string, len(some))
		for i, row := range some {
			ids[i] = row.ID
		}
		list, err := p.project.API.Desktops(ctx, ids)
		if err != nil {
			return nil, err
		}
		read := byID(list)
		seen, err := p.seen(ctx, ids, read)
		if err != nil {
			return nil, err
		}
		for _, row := range some {
			out = append(out, p.planned(row, lookAt(tasks.Operation{AllowShared: req.AllowShared}, row, read, seen[row.ID])))
		}
	}
	return out, nil
}

func (p *Planner) seen(ctx context.Context, ids []string, read map[string]apiclient.Desktop) (map[string]bool, error) {
	missing := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { _, exists := read[id]; return exists })
	if len(missing) == 0 {
		return nil, nil
	}
	return p.record.Seen(ctx, p.project.Alias, missing)
}

// planned is what a reading would lead to.
func (p *Planner) planned(row tasks.Desktop, l look) tasks.Planned {
	verdict := verdictOf(l)
	out := tasks.Planned{ID: row.ID, Expect: l.expect, Does: string(verdict.Before), Why: verdict.Why}
	if l.exists {
		out.Now = l.before(p.now())
	}
	switch verdict.Before {
	case Hold, Later:
		out.Code, out.Why = verdict.Code, l.reason(verdict)
	case Send:
		losing := l.Users
		if l.justThem() {
			losing = l.leavers()
		}
		out.From = persons(losing)
	}
	return out
}

func plannedLookup(row tasks.Desktop, f tasks.RowFind) tasks.Planned {
	out := tasks.Planned{ID: row.ID, Expect: row.Expect}
	switch f.To {
	case tasks.Held:
		out.Does, out.Code, out.Why = string(Hold), f.Failure.Code, f.Failure.Message
	case tasks.Resolved:
		out.Does, out.Why = "find", "leads to "+f.Detail
	case tasks.NoDesktop:
		out.Does, out.Why = string(Done), "the user has no desktop"
		if f.Note == tasks.Unknown {
			out.Why = "Workspace does not know the user, which is to be ignored"
		}
	}
	return out
}
