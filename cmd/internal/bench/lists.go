package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/drill"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// shape is how desktops are spread over operations and projects.
type shape struct {
	name                string
	ops, each, projects int
}

// What fill puts in: the rare ones ten times at most, the others everywhere.
const (
	rareCode   = "WKS.00010032"
	commonCode = "WKS.00010110"
	rareUser   = "mia.leaver"
	rarePerson = "auditor"
	rareTicket = "HR-4711"
)

// lists is B9: the first page of lists, filtered by what is common and by what is
// rare, at a million desktops, 2 % of them failed.
func lists(e *env) ([]figure, error) {
	var out []figure
	for _, x := range []shape{{"10 operations", 10, bulkSize, 1}, {"100,000 operations", 100_000, 10, 1}} {
		e.rdb.FlushAll(e.ctx)
		l, err := e.fill(x)
		if err != nil {
			return nil, err
		}
		e.untilNoRewrite()
		h, err := e.serve(l.projects)
		if err != nil {
			return nil, err
		}
		for _, of := range []struct {
			name  string
			pages map[string]func(context.Context) (int, error)
		}{{"first page", l.pages()}, {"dashboard", h.pages(l)}} {
			slowest, p95, err := slowestOf(e.ctx, 100, of.pages)
			if err != nil {
				return nil, err
			}
			out = append(out, figure{fmt.Sprintf("B9 %s, 1,000,000 desktops, %s", of.name, x.name),
				fmt.Sprintf("p95 %.1f ms", p95), slowest, p95 / 50, "<= 50 ms", p95 <= 50})
		}
	}
	return out, nil
}

// slowestOf makes each page n times, and returns the one that takes longest and its p95 in ms.
func slowestOf(ctx context.Context, n int, pages map[string]func(context.Context) (int, error)) (slowest string, worst float64, err error) {
	for name, read := range pages {
		var took []float64
		for range n {
			start := time.Now()
			rows, err := read(ctx)
			if err != nil {
				return "", 0, fmt.Errorf("%s: %w", name, err)
			}
			if rows == 0 {
				return "", 0, fmt.Errorf("%s: the first page is empty", name)
			}
			took = append(took, millis(time.Since(start)))
		}
		if v := drill.Quantile(took, .95); v > worst {
			slowest, worst = name, v
		}
	}
	return slowest, worst, nil
}

// filled is a record with the desktops of a shape.
type filled struct {
	*record.Record
	projects []string
	op       record.Operation // one of them
	id       string           // of a desktop
}

// fill writes what workers would have written, without any.
func (e *env) fill(x shape) (*filled, error) {
	projects := aliases(x.projects)
	p, err := e.producerOf(projects)
	if err != nil {
		return nil, err
	}
	l := &filled{Record: p.Record, projects: projects, id: desktopIDs(0, 1)[0]}
	g, ctx := errgroup.WithContext(e.ctx)
	g.SetLimit(16)
	for i := range x.ops {
		g.Go(func() error {
			op, err := l.add(ctx, p, i, x)
			if i == x.ops/2 {
				l.op = op
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := e.takeTasks(); err != nil {
		return nil, err
	}
	_, err = p.Enqueue(e.ctx, tasks.Request{Project: alias, Desktops: []string{"waiting"}, RequestedBy: rarePerson, Ticket: rareTicket})
	return l, err
}

// takeTasks removes what is queued, as workers would have: else the first one to be measured has to take
// a task for every chunk that was filled in.
func (e *env) takeTasks() error {
	tasks := asynq.NewInspectorFromRedisClient(e.rdb)
	queues, err := tasks.Queues()
	for _, name := range queues {
		_, cannot := tasks.DeleteAllPendingTasks(name)
		err = errors.Join(err, cannot)
	}
	return err
}

func (l *filled) add(ctx context.Context, p *record.Producer, i int, x shape) (record.Operation, error) {
	project := l.projects[i%len(l.projects)]
	req := tasks.Request{Project: project, Desktops: desktopIDs(i*x.each, x.each), RequestedBy: "hr", Ticket: "HR-1"}
	rare := i%max(1, x.ops/10) == x.ops/20
	if rare {
		req.Expect = map[string][]string{req.Desktops[0]: {rareUser}}
	}
	op, err := p.Enqueue(ctx, req)
	if err != nil {
		return op, err
	}
	for n := range op.Chunks() {
		c, err := l.Chunk(ctx, op.ID, n)
		if err != nil {
			return op, err
		}
		now := time.Now()
		ch := record.Change{Operation: op, Chunk: n, By: "bench"}
		for k, d := range c.Desktops {
			m := record.Move{Desktop: d, To: tasks.StateDetached, Attempts: 1, Before: readAs(i*x.each+d.Place(), now)}
			switch {
			case rare && n == 0 && k == 0:
				m.Before.Users[0].Name = rareUser
				m.To, m.Failure = tasks.StateFailed, &tasks.Failure{Code: rareCode, Class: "conflict", Message: "being moved", At: now}
			case (d.Position+i*x.each)%50 == 7:
				m.To = tasks.StateFailed
				m.Failure = &tasks.Failure{Code: commonCode, Class: "permanent", Message: "Desktops cannot obtain valid IP addresses.", At: now}
			}
			ch.Moves = append(ch.Moves, m)
		}
		if _, err := l.Apply(ctx, now, []record.Change{ch}); err != nil {
			return op, err
		}
	}
	_, err = l.Finish(ctx, []string{op.ID})
	return op, err
}

// readAs is what a reading before the call shows of a typical desktop.
func readAs(i int, at time.Time) *tasks.Before {
	d := fakecloud.Typical(i)
	u := d.Users[0]
	return &tasks.Before{
		Name: d.ComputerName, Type: fakecloud.Dedicated, Status: fakecloud.Active, AttachState: fakecloud.Attached, ReadAt: at,
		Users: []tasks.Person{{Name: u.Name, ID: u.ID, Domain: u.Domain, Group: "users", Type: "USER"}},
	}
}

// pages are the lists, by what they are asked for; each returns how many rows it found.
func (l *filled) pages() map[string]func(context.Context) (int, error) {
	const size = 100
	out := map[string]func(context.Context) (int, error){}
	for name, f := range map[string]tasks.OperationFilter{
		"operations": {}, "operations of a project": {Project: alias},
		"operations of a rare requester": {Project: alias, RequestedBy: rarePerson},
		"operations of a rare ticket":    {Ticket: rareTicket}, "operations of the usual requester": {RequestedBy: "hr"},
		"open operations": {Open: true},
		"a rare requester's with the usual project, of today": {Project: alias, RequestedBy: rarePerson, From: time.Now().Add(-time.Hour)},
	} {
		out[name] = func(ctx context.Context) (int, error) { return rows(l.Operations(ctx, f, size, "")) }
	}
	for name, f := range map[string]tasks.DesktopFilter{"desktops": {}, "detached desktops": {States: []tasks.State{tasks.StateDetached}}} {
		out[name] = func(ctx context.Context) (int, error) { return rows(l.Desktops(ctx, l.op, f, size, "")) }
	}
	for name, f := range map[string]tasks.FailureFilter{
		"failures": {}, "failures of a project and class": {Project: alias, Class: "permanent"}, "failures of a common code": {Code: commonCode},
		"failures of a rare code": {Code: rareCode}, "failures of a rare user": {User: rareUser},
		"failures of the usual requester": {Source: "hr"},
		"failures of today":               {From: time.Now().Add(-time.Hour)},
	} {
		out[name] = func(ctx context.Context) (int, error) { return rows(l.Failures(ctx, f, size, "")) }
	}
	for name, text := range map[string]string{"search for a user": rareUser, "search for a desktop": l.id} {
		out[name] = func(ctx context.Context) (int, error) { return rows(l.Search(ctx, text, size, "")) }
	}
	return out
}

func rows[T any](page []T, _ string, err error) (int, error) { return len(page), err }
