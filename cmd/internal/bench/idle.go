package main

import (
	"fmt"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/detachd/detachd/cmd/internal/drill"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/worker"
)

// quiet is how long what is idle is watched.
const quiet = 10 * time.Second

// use is what was used in some time.
type use struct {
	sent, run   float64       // commands that a client sent, and that Redis ran, scripts' too
	ours, redis time.Duration // CPU of this process, and of Redis
}

// used measures what a function uses.
func (e *env) used(sent *atomic.Int64, do func() error) (use, error) {
	was, before := e.usedSoFar(), sent.Load()
	err := do()
	n := sent.Load() - before
	now := e.usedSoFar()
	return use{float64(n), now.run - was.run, now.ours - was.ours, now.redis - was.redis}, err
}

// usedSoFar does not know what was sent.
func (e *env) usedSoFar() use {
	u := use{run: e.float("stats", "total_commands_processed")}
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) == nil {
		u.ours = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	for _, field := range []string{"used_cpu_user", "used_cpu_sys"} {
		u.redis += time.Duration(e.float("cpu", field) * float64(time.Second))
	}
	return u
}

// idle is B10: what a worker with nothing to do asks of Redis, by the number of its projects,
// and how soon it sends urgent work of projects that it did not serve before.
func idle(e *env) ([]figure, error) {
	var sent atomic.Int64
	e.rdb.AddHook(countCommands{&sent})
	var out []figure
	for _, n := range []int{1, 20, 100} {
		e.rdb.FlushAll(e.ctx)
		some, err := e.idleWith(n, &sent)
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	return out, nil
}

func (e *env) idleWith(projects int, sent *atomic.Int64) ([]figure, error) {
	c, err := e.cloud(projects, 0)
	if err != nil {
		return nil, err
	}
	defer c.end()
	t := &trips{waiting: map[string]*trip{}}
	w, err := workerOf(e.rdb, "bench-worker", slices.Repeat([]worker.API{&counting{Client: c.Client, tell: t.note}}, projects), 0)
	if err != nil {
		return nil, err
	}
	if err := w.Start(e.ctx); err != nil {
		return nil, err
	}
	defer w.Stop()
	stop, err := e.tick()
	if err != nil {
		return nil, err
	}
	defer stop()
	if err := drill.Wait(e.ctx, 15*time.Second); err != nil { // until it has begun, and repaired what there is
		return nil, err
	}
	u, err := e.used(sent, func() error { return drill.Wait(e.ctx, quiet) })
	if err != nil {
		return nil, err
	}
	who := fmt.Sprintf("B10 an idle worker with %d projects", projects)
	out := u.figures(who)
	perSecond, cpu := u.sent/quiet.Seconds(), u.ours.Seconds()/quiet.Seconds()
	out[0].Goal, out[0].Met = "<= 10", perSecond <= 10
	out[1].Goal, out[1].Met = "<= 1 %", cpu <= 0.01
	if projects < 100 {
		return out, nil
	}
	p, err := e.producerOf(aliases(projects))
	if err != nil {
		return nil, err
	}
	i := 0
	toReading, _, err := sample(e.ctx, projects, func() (float64, float64, error) {
		id, project := desktopIDs(i, 1)[0], aliases(projects)[i]
		i++
		trip, start := t.begin(id), time.Now()
		if _, err := p.Enqueue(e.ctx, tasks.Request{Project: project, Desktops: []string{id}, Urgent: true}); err != nil {
			return 0, 0, err
		}
		select {
		case <-trip.over:
			return millis(trip.at[reading].Sub(start)), 0, nil
		case <-e.ctx.Done():
			return 0, 0, e.ctx.Err()
		}
	})
	p50, p99 := drill.Quantile(toReading, .5), drill.Quantile(toReading, .99)
	return append(out, figure{"B10 urgent, accepted to reading, idle project", fmt.Sprintf("p50 %.1f p99 %.1f ms", p50, p99),
		"goal 15 ms", p99 / 15, "p99 <= 15 ms", p99 <= 15}), err
}

// figures are those of a quiet time.
func (u use) figures(who string) []figure {
	s := quiet.Seconds()
	percent := func(d time.Duration) float64 { return 100 * d.Seconds() / s }
	return []figure{
		{who + ", commands sent a second", fmt.Sprintf("%.1f", u.sent/s),
			fmt.Sprintf("run by Redis, scripts' too: %.1f", u.run/s), u.run / max(u.sent, 1), "no goal", true},
		{who + ", CPU", fmt.Sprintf("%.1f %% of a core", percent(u.ours)), fmt.Sprintf("Redis %.1f %%", percent(u.redis)),
			u.ours.Seconds() / max(u.redis.Seconds(), 0.001), "no goal", true},
	}
}
