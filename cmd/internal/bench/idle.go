package main

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/detachd/detachd/cmd/internal/drill"
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

// idle is B10: what a worker with nothing to do asks of Redis.
func idle(e *env) ([]figure, error) {
	c, err := e.cloud(1, 0)
	if err != nil {
		return nil, err
	}
	var sent atomic.Int64
	e.rdb.AddHook(countCommands{&sent})
	stop, err := e.run(c)
	if err != nil {
		return nil, err
	}
	defer stop()
	if err := drill.Wait(e.ctx, 3*time.Second); err != nil { // until it has begun
		return nil, err
	}
	u, err := e.used(&sent, func() error { return drill.Wait(e.ctx, quiet) })
	if err != nil {
		return nil, err
	}
	return u.figures("B10 an idle worker"), nil
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
