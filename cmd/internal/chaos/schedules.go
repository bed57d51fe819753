package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/drill"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// late is how long after its minute a tick may run although Redis was there: in time, and until
// another worker has the run of a dead one.
const late = 90 * time.Second

// period is a time from one moment to another.
type period struct{ from, to time.Time }

// scheduled is a schedule, and what is known of it when everything is over. Its desktop has its
// name.
type scheduled struct {
	tasks.Schedule
	asked []string // ids of runs that were asked for; it has no ticks then
	view  tasks.ScheduleView
	last  time.Time // its last tick that is judged
	ops   map[string]record.Operation
}

// addSchedules adds schedules that are all due at each minute from the next one on. One of ten
// runs only if it is asked to.
func (e *env) addSchedules(ctx context.Context) error {
	start := time.Now().Truncate(time.Minute).Add(time.Minute)
	for n := range e.Schedules {
		s := tasks.Schedule{
			Name: fmt.Sprint("tick-", n), Project: drill.Project, Cron: "* * * * *", Zone: []string{"UTC", "Asia/Kathmandu"}[n%2], Start: start,
			Missed:  []tasks.ScheduleMissed{tasks.MissedOnce, tasks.MissedSkip}[n/2%2],
			Overlap: []tasks.ScheduleOverlap{tasks.OverlapAllow, tasks.OverlapAllow, tasks.OverlapSkip}[n%3],
		}
		if n%10 == 0 {
			s.Name, s.Cron, s.Overlap = fmt.Sprint("asked-", n), "0 0 29 2 *", tasks.OverlapAllow
		}
		s.Source.Desktops = []string{s.Name}
		e.Cloud.Add(drill.ProjectID, fakecloud.Desktop{ID: s.Name, Users: drill.Users(drill.Leaver)})
		if err := e.Record.AddSchedule(ctx, s); err != nil {
			return err
		}
		e.schedules = append(e.schedules, &scheduled{Schedule: s.WithDefaults()})
	}
	return nil
}

// scheduleOf finds the schedule of a desktop; nil: it has none.
func (e *env) scheduleOf(desktop string) *scheduled {
	i := slices.IndexFunc(e.schedules, func(s *scheduled) bool { return s.Name == desktop })
	if i < 0 {
		return nil
	}
	return e.schedules[i]
}

// askRuns asks for runs, each until it is known to be accepted.
func (e *env) askRuns(ctx context.Context, r *rand.Rand) error {
	for n := range e.Kills {
		if err := drill.Wait(ctx, e.Every); err != nil || e.Schedules == 0 {
			return err
		}
		s := e.schedules[r.IntN(len(e.schedules))/10*10]
		err := drill.Until(ctx, 100*time.Millisecond, func() (bool, error) {
			ask := record.ScheduleAsk{Schedule: s.Name, By: "chaos", At: time.Now()}
			id, err := e.producer.Record.AskRun(ctx, ask, fmt.Sprint("run-", n))
			if err == nil {
				s.asked = append(s.asked, id)
			}
			return err == nil, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// victim draws a worker after a wait. If a minute begins meanwhile, the wait ends, and it is one
// that is at the ticks of that minute.
func (e *env) victim(ctx context.Context, r *rand.Rand, wait time.Duration) (*drill.Process, error) {
	now := time.Now()
	minute := now.Truncate(time.Minute).Add(time.Minute)
	if len(e.schedules) == 0 || minute.After(now.Add(wait)) {
		if err := drill.Wait(ctx, wait); err != nil {
			return nil, err
		}
		return e.some(ctx, r)
	}
	if err := drill.Wait(ctx, time.Until(minute)); err != nil {
		return nil, err
	}
	for time.Since(minute) < 3*time.Second {
		if w := e.atTick(ctx, e.schedules[r.IntN(len(e.schedules))]); w != nil {
			return w, drill.Wait(ctx, time.Duration(r.Int64N(int64(100*time.Millisecond))))
		}
		if err := drill.Wait(ctx, 5*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return e.some(ctx, r)
}

// atTick is the worker that is at a tick now; nil: none is, or Redis is away.
func (e *env) atTick(ctx context.Context, s *scheduled) *drill.Process {
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	busy, err := e.Redis.HGet(ctx, "detachd:{schedules}:state:"+s.Name, "busy").Result() // until when, and the worker
	all := e.Processes()
	i := slices.IndexFunc(all, func(p *drill.Process) bool { return err == nil && p.Running() && strings.HasSuffix(busy, " "+p.Name) })
	if i < 0 {
		return nil
	}
	e.count(func(v *verdict) { v.KilledAtTick++ })
	return all[i]
}

// settleSchedules waits until all runs are over, reads the schedules, and waits until their
// operations are finished and sealed.
func (e *env) settleSchedules(ctx context.Context) error {
	err := drill.Until(ctx, 200*time.Millisecond, func() (bool, error) {
		p, err := e.Record.PollSchedules(ctx)
		if err != nil || len(p.Asked) > 0 {
			return false, err
		}
		return e.readSchedules(ctx, p.Now.Truncate(time.Minute))
	})
	if err != nil {
		return fmt.Errorf("schedules: %w", err)
	}
	for _, s := range e.schedules {
		var list []record.Operation
		for token := ""; ; {
			page, next, err := e.Record.Operations(ctx, tasks.OperationFilter{RequestedBy: tasks.ScheduleRequester(s.Name)}, 100, token)
			if err != nil {
				return err
			}
			list = append(list, page...)
			if token = next; token == "" {
				break
			}
		}
		if err := e.sealed(ctx, list); err != nil {
			return err
		}
		s.ops = map[string]record.Operation{}
		for _, op := range list {
			s.ops[op.ID] = op
		}
	}
	return nil
}

// readSchedules reads the states of all schedules; false if one has not run at the last tick.
func (e *env) readSchedules(ctx context.Context, last time.Time) (bool, error) {
	list := make([]tasks.Schedule, len(e.schedules))
	for i, s := range e.schedules {
		list[i] = s.Schedule
	}
	views, err := e.Record.ScheduleViews(ctx, list, time.Now(), 1)
	if err != nil {
		return false, err
	}
	for i, s := range e.schedules {
		s.view, s.last = views[i], last
		ran := slices.ContainsFunc(s.view.Runs, func(x tasks.ScheduleRun) bool { return x.Scheduled.Equal(last) })
		if !ran && s.ticks() {
			return false, nil
		}
	}
	return true, nil
}

// ticks says that a schedule is due at each minute.
func (s *scheduled) ticks() bool { return s.Cron == "* * * * *" }

// judgeSchedules compares ticks and runs that were asked for with their operations.
func (e *env) judgeSchedules(ctx context.Context) error {
	v := &e.verdict
	for _, s := range e.schedules {
		for _, op := range s.ops {
			own := map[string]record.Row{}
			if err := e.judgeOperation(ctx, op, own); err != nil {
				return err
			}
			if row := own[s.Name]; row.State != tasks.StateDetached {
				v.Unproven = append(v.Unproven, fmt.Sprintf("%s of %s: %s %+v", s.Name, op.ID, row.State, row.Failure))
			}
		}
		if err := e.judgeRuns(s); err != nil {
			return err
		}
		d, _ := e.Cloud.Get(drill.ProjectID, s.Name)
		if len(s.ops) > 0 && drill.On(d, drill.Leaver) {
			v.Unproven = append(v.Unproven, s.Name)
		}
		if e.Cloud.DetachedInVain(drill.ProjectID, s.Name) > 0 {
			v.SentAgain = append(v.SentAgain, s.Name)
		}
	}
	return nil
}

func (e *env) judgeRuns(s *scheduled) error {
	if s.ticks() {
		return e.judgeTicks(s)
	}
	e.judgeAsked(s)
	return nil
}

// judgeAsked wants one operation for each run that was asked for.
func (e *env) judgeAsked(s *scheduled) {
	v := &e.verdict
	v.Asked += len(s.asked)
	for _, id := range s.asked {
		if _, ran := s.ops[s.operation(id)]; !ran {
			v.TicksLost = append(v.TicksLost, id)
		}
	}
	if n := len(s.ops) - len(s.asked); n > 0 {
		v.TicksDoubled = append(v.TicksDoubled, fmt.Sprintf("%s: %d more operations than runs", s.Name, n))
	}
}

// operation is the id of the operation of a run.
func (s *scheduled) operation(run string) string {
	return record.OperationID(tasks.ScheduleRequester(s.Name), run)
}

// judgeTicks wants one operation for each tick, or a count that says why there is none.
func (e *env) judgeTicks(s *scheduled) error {
	v, c := &e.verdict, s.view.Counts
	ticks, err := record.NewTicks(s.Schedule)
	if err != nil {
		return err
	}
	all, ran, excused := 0, 0, 0
	known := map[string]bool{} // also of ticks that have come since it was read
	for tick, ok := ticks.After(s.Start.Add(-1)); ok && tick.At.Before(time.Now()); tick, ok = ticks.Next(tick) {
		id := s.operation(tick.ID)
		known[id] = true
		if tick.At.After(s.last) {
			continue
		}
		all++
		if _, has := s.ops[id]; has {
			ran++
		}
		if slices.ContainsFunc(e.outagesOfRedis, func(p period) bool { return p.from.Before(tick.At.Add(late)) && p.to.After(tick.At) }) {
			excused++
		}
	}
	v.Ticks, v.TicksRan, v.TicksMissed, v.TicksSkipped = v.Ticks+all, v.TicksRan+ran, v.TicksMissed+c.Missed, v.TicksSkipped+c.Skipped
	for id := range s.ops {
		if !known[id] {
			v.TicksDoubled = append(v.TicksDoubled, s.Name+": operation "+id+" is of no tick")
		}
	}
	says := fmt.Sprintf("%s: %d ticks, %d ran, counted as %+v", s.Name, all, ran, c)
	once := func(x tasks.ScheduleRun) bool { return x.Result == tasks.RunMissed }
	switch counted := c.Runs + c.Nothing + c.Failed + c.Skipped + c.Missed; {
	case counted < all, ran < c.Runs:
		v.TicksLost = append(v.TicksLost, says)
	case counted > all, ran > c.Runs+c.Failed:
		v.Miscounted = append(v.Miscounted, says)
	case c.Missed > excused, s.Missed == tasks.MissedOnce && slices.ContainsFunc(s.view.Runs, once):
		v.TicksLost = append(v.TicksLost, says+", missed without a reason")
	}
	return nil
}
