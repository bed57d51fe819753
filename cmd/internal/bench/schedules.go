package main

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/cmd/internal/drill"
	"github.com/detachd/detachd/cmd/internal/schedules"
	"github.com/detachd/detachd/cmd/internal/sources"
	"github.com/detachd/detachd/tasks"
)

// manySchedules is B11: what a process asks of Redis for 10,000 schedules of which none is due,
// and what it takes until all of them have run that are due at the same minute.
func manySchedules(e *env) ([]figure, error) {
	const n = tasks.MaxSchedules
	var sent atomic.Int64
	e.rdb.AddHook(countCommands{&sent})
	if err := e.addSchedules(n, "0 3 29 2 *"); err != nil {
		return nil, err
	}
	stop, err := e.tick()
	if err != nil {
		return nil, err
	}
	var u use
	if err = drill.Wait(e.ctx, 5*time.Second); err == nil { // until it has read them
		u, err = e.used(&sent, func() error { return drill.Wait(e.ctx, quiet) })
	}
	stop()
	if err != nil {
		return nil, err
	}
	out := u.figures("B11 10,000 schedules")
	out[0].Goal, out[0].Met = "<= 2", u.sent/quiet.Seconds() <= 2

	e.rdb.FlushAll(e.ctx)
	if err := e.addSchedules(n, "* * * * *"); err != nil {
		return nil, err
	}
	minute := time.Now().Truncate(time.Minute).Add(time.Minute)
	if err := drill.Wait(e.ctx, time.Until(minute)); err != nil {
		return nil, err
	}
	if stop, err = e.tick(); err != nil {
		return nil, err
	}
	defer stop()
	var last time.Duration
	u, err = e.used(&sent, func() error {
		return drill.Until(e.ctx, 50*time.Millisecond, func() (bool, error) {
			totals, err := e.record.ScheduleTotals(e.ctx)
			last = time.Since(minute)
			return totals.Results[tasks.RunStarted] >= n, err
		})
	})
	if err != nil {
		return nil, err
	}
	each := u.sent / n
	return append(out,
		figure{"B11 10,000 ticks of one minute, the last run", seconds(last), "goal: before the next minute",
			last.Seconds() / 60, "<= 60 s", last <= time.Minute},
		figure{"B11 Redis commands sent a tick", fmt.Sprintf("%.1f", each), fmt.Sprintf("run by Redis, scripts' too: %.1f", u.run/n),
			each / 30, "<= 30", each <= 30},
		figure{"B11 CPU a tick", fmt.Sprintf("%.2f ms", millis(u.ours)/n), fmt.Sprintf("Redis %.2f ms", millis(u.redis)/n),
			u.ours.Seconds() / u.redis.Seconds(), "no goal", true},
	), nil
}

// addSchedules adds schedules, each of a desktop of its own.
func (e *env) addSchedules(n int, cron string) error {
	for i, id := range desktopIDs(0, n) {
		s := tasks.Schedule{Name: fmt.Sprint("schedule-", i), Project: alias, Cron: cron, Source: tasks.ScheduleSource{Desktops: []string{id}}}
		if err := e.record.AddSchedule(e.ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// tick runs the schedules, and nothing that works on their operations.
func (e *env) tick() (stop func(), err error) {
	p, err := e.producer()
	if err != nil {
		return nil, err
	}
	t := schedules.New(schedules.Config{
		Producer: p, Projects: []string{alias}, Source: sources.New(sources.Config{}), Worker: "bench",
		Log: zerolog.New(os.Stderr).Level(zerolog.ErrorLevel),
	})
	ctx, cancel := context.WithCancel(e.ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		t.Run(ctx)
	}()
	return func() { cancel(); <-ended }, nil
}
