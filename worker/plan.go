package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
)

// Planner says what requests would do. It reads the cloud, within the rate limit of
// readings that all workers share, and writes nothing.
type Planner struct {
	api   API
	admit func(context.Context) error
	now   func() time.Time
}

// NewPlanner makes one for a project. record gives the names of the limits' keys.
func NewPlanner(rdb redis.UniversalClient, record *tasks.Record, p Project, log zerolog.Logger) *Planner {
	return &Planner{
		api: p.API, now: time.Now,
		admit: newAdmission(redis_rate.NewLimiter(rdb), record.ReadRateKey(p.Alias), p.ReadsPerSecond, max(1, p.Burst), log),
	}
}

// Plan says what would become of a valid request, in its order: first the desktops
// that it names, then the users, then the desktops found by their names. left is
// how many it did not look at because there are more than tasks.MaxPlanned. An error is
// the cloud's, an *apiclient.Error, or that ctx ended.
func (p *Planner) Plan(ctx context.Context, req tasks.Request) (out []tasks.Planned, left int, err error) {
	desktops, users := req.Desktops, req.Users
	if n := tasks.MaxPlanned; len(desktops) > n {
		left, desktops = len(desktops)-n, desktops[:n]
	}
	if n := tasks.MaxPlanned - len(desktops); len(users) > n {
		left, users = left+len(users)-n, users[:n]
	}
	if out, err = p.desktops(ctx, req, desktops, req.Expect); err != nil || len(users) == 0 {
		return out, left, err
	}
	find, err := p.users(ctx, users, req)
	if err != nil {
		return nil, 0, err
	}
	for _, name := range users {
		out = append(out, plannedUser(name, find.Users[name]))
	}
	found := find.Desktops
	if n := max(0, 2*tasks.MaxPlanned-len(out)); len(found) > n {
		left, found = left+len(found)-n, found[:n]
	}
	theirs, err := p.desktops(ctx, req, found, find.Expect)
	return append(out, theirs...), left, err
}

func (p *Planner) desktops(ctx context.Context, req tasks.Request, ids []string, expect map[string][]string) ([]tasks.Planned, error) {
	var out []tasks.Planned
	for some := range slices.Chunk(ids, apiclient.MaxDesktopsPerCall) {
		if err := p.admit(ctx); err != nil {
			return nil, err
		}
		list, err := p.api.Desktops(ctx, some)
		if err != nil {
			return nil, err
		}
		read := byID(list)
		for _, id := range some {
			d, exists := read[id]
			l := look{Desktop: d, exists: exists, expect: expect[id], allowShared: req.AllowShared}
			out = append(out, p.planned(id, l))
		}
	}
	return out, nil
}

// planned is what a reading would lead to.
func (p *Planner) planned(id string, l look) tasks.Planned {
	row := verdictOf(l)
	out := tasks.Planned{ID: id, Expect: l.expect, Does: string(row.Before), Why: row.Why}
	if l.exists {
		out.Now = l.before(p.now())
	}
	if row.Before == Hold || row.Before == Later {
		out.Code, out.Why = row.Code, l.reason(row)
	}
	if out.Does == string(Send) {
		losing := l.Users
		if l.justThem() {
			losing = l.leavers()
		}
		for _, u := range losing {
			out.From = append(out.From, tasks.Person{Name: u.Name, ID: u.ID, Group: u.Group, Type: u.Type})
		}
	}
	return out
}

func (p *Planner) users(ctx context.Context, names []string, req tasks.Request) (tasks.Find, error) {
	var listed []apiclient.Desktop
	for some := range slices.Chunk(names, apiclient.MaxDesktopsPerCall) {
		if err := p.admit(ctx); err != nil {
			return tasks.Find{}, err
		}
		list, err := p.api.DesktopsOf(ctx, some)
		if err != nil {
			return tasks.Find{}, err
		}
		listed = append(listed, list...)
	}
	rows := make([]tasks.Desktop, len(names))
	for i, name := range names {
		rows[i].ID = tasks.UserRow(name)
	}
	named := make(map[string][]string, len(req.Desktops))
	for _, id := range req.Desktops {
		named[id] = req.Expect[id]
	}
	return matchUsers(p.now(), rows, listed, named), nil
}

func plannedUser(name string, f tasks.UserFind) tasks.Planned {
	out := tasks.Planned{ID: tasks.UserRow(name)}
	switch f.To {
	case tasks.Held:
		out.Does, out.Code, out.Why = string(Hold), f.Failure.Code, f.Failure.Message
	case tasks.Resolved:
		out.Does, out.Why = "find", fmt.Sprintf("has %s", strings.Replace(f.Detail, "1 desktops", "1 desktop", 1))
	default:
		out.Does, out.Why = string(Done), "the user has no desktop"
	}
	return out
}
