package record

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/xid"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/cron"
)

// AllSchedules lists the schedules of the configuration and those in Redis, by name. Of two
// with one name the one of the configuration counts. One that cannot be read has a name only.
func (r *Record) AllSchedules(ctx context.Context) ([]tasks.Schedule, error) {
	stored, err := r.rdb.HGetAll(ctx, r.keys.schedules()).Result()
	if err != nil {
		return nil, fmt.Errorf("reading the schedules: %w", err)
	}
	for name := range r.schedules {
		delete(stored, name)
	}
	out := slices.AppendSeq(make([]tasks.Schedule, 0, len(r.schedules)+len(stored)), maps.Values(r.schedules))
	for name, text := range stored {
		out = append(out, decodeSchedule(name, text))
	}
	slices.SortFunc(out, func(a, b tasks.Schedule) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// FailingSchedules lists the schedules whose last run failed, by name.
func (r *Record) FailingSchedules(ctx context.Context) ([]tasks.Schedule, error) {
	names, err := r.rdb.SMembers(ctx, r.keys.schedulesFailing()).Result()
	if err != nil || len(names) == 0 {
		return nil, err
	}
	slices.Sort(names)
	stored, err := r.rdb.HMGet(ctx, r.keys.schedules(), names...).Result()
	if err != nil {
		return nil, fmt.Errorf("reading the schedules that failed: %w", err)
	}
	var out []tasks.Schedule
	for i, name := range names {
		if s, configured := r.schedules[name]; configured {
			out = append(out, s)
		} else if text, is := stored[i].(string); is {
			out = append(out, decodeSchedule(name, text))
		}
	}
	return out, nil
}

// configuredSchedules are the schedules of the configuration by name.
func configuredSchedules(list []tasks.Schedule) map[string]tasks.Schedule {
	out := make(map[string]tasks.Schedule, len(list))
	for _, s := range list {
		s = s.WithDefaults()
		s.Configured, s.By, s.At = true, "", time.Time{}
		out[s.Name] = s
	}
	return out
}

func decodeSchedule(name, text string) tasks.Schedule {
	var s tasks.Schedule
	if decodeJSON(text, &s) != nil || s.Name != name {
		return tasks.Schedule{Name: name}
	}
	s.Configured = false
	return s.WithDefaults()
}

// Schedule reads a schedule; ErrNoSchedule if there is none.
func (r *Record) Schedule(ctx context.Context, name string) (tasks.Schedule, error) {
	if s, ok := r.schedules[name]; ok {
		return s, nil
	}
	text, err := r.rdb.HGet(ctx, r.keys.schedules(), name).Result()
	if errors.Is(err, redis.Nil) {
		err = tasks.ErrNoSchedule
	}
	if err != nil {
		return tasks.Schedule{}, fmt.Errorf("reading the schedule %s: %w", name, err)
	}
	return decodeSchedule(name, text), nil
}

// CheckSchedule returns a *tasks.ValidationError that names what is wrong with a schedule, or
// nil: what tasks.Schedule.Validate says, its expression, its zone, and its catch-up window.
func CheckSchedule(s tasks.Schedule, retention time.Duration) error {
	var wrong *tasks.ValidationError
	if !errors.As(s.Validate(), &wrong) {
		wrong = &tasks.ValidationError{}
	}
	s = s.WithDefaults()
	if s.Cron != "" {
		wrong.Problems = append(wrong.Problems, CheckTicks(s.Cron, s.Zone)...)
	}
	if time.Duration(s.CatchUp) >= retention {
		wrong.Problems = append(wrong.Problems, tasks.Problem{Field: "catch_up", Value: s.CatchUp.String(),
			Message: fmt.Sprintf("is not shorter than the retention, %s, so that a tick could run twice", retention)})
	}
	if len(wrong.Problems) == 0 {
		return nil
	}
	return wrong
}

// CheckSchedule is CheckSchedule with the retention of the record.
func (r *Record) CheckSchedule(s tasks.Schedule) error { return CheckSchedule(s, r.retention) }

// CheckTicks names what is wrong with an expression or its zone.
func CheckTicks(expr, zone string) []tasks.Problem {
	if _, err := cron.Zone(zone); err != nil {
		return []tasks.Problem{{Field: "zone", Message: err.Error()}}
	}
	if _, err := cron.Parse(expr, zone); err != nil {
		return []tasks.Problem{{Field: "cron", Message: err.Error()}}
	}
	return nil
}

var scriptAddSchedule = script("add_schedule", "clock")

// AddSchedule adds a schedule. It has no tick before now. Errors: *tasks.ValidationError,
// ErrScheduleExists, ErrTooManySchedules. It does not know the projects.
func (r *Record) AddSchedule(ctx context.Context, s tasks.Schedule) error {
	if err := r.CheckSchedule(s); err != nil {
		return err
	}
	s = s.WithDefaults()
	s.Configured = false
	n := int64(0)
	if _, configured := r.schedules[s.Name]; !configured {
		var err error
		n, err = r.changeSchedule(ctx, &scriptCall{
			script: scriptAddSchedule, keys: []string{r.keys.schedules(), r.keys.schedulesVersion(), r.keys.schedule(s.Name)},
			args: []any{s.Name, mustJSON(s), tasks.MaxSchedules},
		})
		if err != nil {
			return fmt.Errorf("adding the schedule %s: %w", s.Name, err)
		}
	}
	switch n {
	case 0:
		return fmt.Errorf("adding the schedule %s: %w", s.Name, tasks.ErrScheduleExists)
	case -1:
		return fmt.Errorf("adding the schedule %s: %w", s.Name, tasks.ErrTooManySchedules)
	}
	return nil
}

// changeSchedule runs a script about schedules that must survive the loss of the primary.
func (r *Record) changeSchedule(ctx context.Context, call *scriptCall) (int64, error) {
	if _, err := r.durably(ctx, []*scriptCall{call}, nil); err != nil {
		return 0, err
	}
	return call.reply.Int64()
}

var scriptRemoveSchedule = script("remove_schedule")

// RemoveSchedule removes a schedule from Redis, and all that is known of its runs; its
// operations stay. Errors: ErrNoSchedule, ErrScheduleConfigured.
func (r *Record) RemoveSchedule(ctx context.Context, name string) error {
	fail := func(err error) error { return fmt.Errorf("removing the schedule %s: %w", name, err) }
	if _, configured := r.schedules[name]; configured {
		return fail(tasks.ErrScheduleConfigured)
	}
	k := r.keys
	n, err := r.changeSchedule(ctx, &scriptCall{
		script: scriptRemoveSchedule, args: []any{name},
		keys: []string{k.schedules(), k.schedulesVersion(), k.schedulesPaused(), k.schedulesFailing(), k.schedule(name), k.scheduleLists(name),
			k.schedulesAsked()},
	})
	if err == nil && n == 0 {
		err = tasks.ErrNoSchedule
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

var scriptChangeSchedule = script("change_schedule", "clock")

// decideSchedule writes or removes (value "") a field that people decide about. changed is
// false if there was nothing to remove.
func (r *Record) decideSchedule(ctx context.Context, name, field, value string) (changed bool, err error) {
	n, err := r.changeSchedule(ctx, &scriptCall{
		script: scriptChangeSchedule, args: []any{name, r.isConfigured(name), field, value},
		keys: []string{r.keys.schedules(), r.keys.schedulesPaused(), r.keys.schedulesFailing(), r.keys.schedule(name)},
	})
	if err == nil && n < 0 {
		err = tasks.ErrNoSchedule
	}
	if err != nil {
		return false, fmt.Errorf("changing the schedule %s: %w", name, err)
	}
	return n == 1, nil
}

func (r *Record) isConfigured(name string) int {
	if _, configured := r.schedules[name]; configured {
		return 1
	}
	return 0
}

// PauseSchedule makes ticks be skipped until ResumeSchedule; ErrNoSchedule if there is no such
// schedule. A run that has begun goes on.
func (r *Record) PauseSchedule(ctx context.Context, name string, p tasks.SchedulePause) error {
	_, err := r.decideSchedule(ctx, name, fieldPaused, mustJSON(p))
	return err
}

// ResumeSchedule ends a pause; resumed is false if there is none. Ticks that passed meanwhile
// do not run.
func (r *Record) ResumeSchedule(ctx context.Context, name string) (resumed bool, err error) {
	return r.decideSchedule(ctx, name, fieldPaused, "")
}

// SkipTick makes the first tick after now be skipped, unless it is running by then. It replaces
// an earlier skip. Errors: ErrNoSchedule, ErrNoTick.
func (r *Record) SkipTick(ctx context.Context, name string, now time.Time, by, note string) (tasks.ScheduleSkip, error) {
	views, err := r.viewSchedule(ctx, name, now, 1)
	if err != nil {
		return tasks.ScheduleSkip{}, err
	}
	if len(views.Next) == 0 {
		return tasks.ScheduleSkip{}, fmt.Errorf("schedule %s: %w", name, tasks.ErrNoTick)
	}
	skip := tasks.ScheduleSkip{Tick: views.Next[0], By: by, At: now.UTC(), Note: note}
	_, err = r.decideSchedule(ctx, name, fieldSkip, mustJSON(skip))
	return skip, err
}

// UnskipTick takes a skip back; ErrNoTick if there is none.
func (r *Record) UnskipTick(ctx context.Context, name string) error {
	changed, err := r.decideSchedule(ctx, name, fieldSkip, "")
	if err == nil && !changed {
		err = fmt.Errorf("schedule %s: %w", name, tasks.ErrNoTick)
	}
	return err
}

func (r *Record) viewSchedule(ctx context.Context, name string, now time.Time, next int) (tasks.ScheduleView, error) {
	s, err := r.Schedule(ctx, name)
	if err != nil {
		return tasks.ScheduleView{}, err
	}
	views, err := r.ScheduleViews(ctx, []tasks.Schedule{s}, now, next)
	if err != nil {
		return tasks.ScheduleView{}, err
	}
	return views[0], nil
}

// ScheduleViews reads the states of schedules in one round trip, and adds the next ticks of
// each.
func (r *Record) ScheduleViews(ctx context.Context, list []tasks.Schedule, now time.Time, next int) ([]tasks.ScheduleView, error) {
	states, err := r.scheduleStates(ctx, list)
	if err != nil {
		return nil, err
	}
	out := make([]tasks.ScheduleView, len(list))
	for i, s := range list {
		state := states[i]
		if state.Skip != nil && !state.Skip.Tick.At.After(now) {
			state.Skip = nil // it is over
		}
		out[i] = tasks.ScheduleView{Schedule: s, ScheduleState: state.ScheduleState, Next: []tasks.ScheduleTick{}}
		if ticks, err := NewTicks(s); err == nil {
			out[i].Next = ticks.Following(state.from(now), next)
		}
	}
	return out, nil
}

// ScheduleAsk is a run that a person asks for, apart from the ticks.
type ScheduleAsk struct {
	Schedule string    `json:"schedule"`
	ID       string    `json:"id"` // see AskRun
	By       string    `json:"by"`
	Note     string    `json:"note,omitempty"`
	At       time.Time `json:"at"`
}

var scriptAskRun = script("ask_run")

// AskRun asks for a run of a schedule now, also of a paused one, and returns its id. Any worker
// begins it. key, if not empty, makes it safe to ask twice until the run has ended. Errors:
// ErrNoSchedule, ErrTooManyRuns.
func (r *Record) AskRun(ctx context.Context, ask ScheduleAsk, key string) (id string, err error) {
	if key == "" {
		key = xid.New().String()
	}
	ask.ID = ask.Schedule + "!" + shortHash(ask.By+"\x00"+key, 16)
	n, err := r.changeSchedule(ctx, &scriptCall{
		script: scriptAskRun, keys: []string{r.keys.schedules(), r.keys.schedulesAsked()},
		args: []any{ask.Schedule, r.isConfigured(ask.Schedule), ask.ID, mustJSON(ask), tasks.MaxAskedRuns},
	})
	switch {
	case err != nil:
	case n == -1:
		err = tasks.ErrNoSchedule
	case n == -2:
		err = tasks.ErrTooManyRuns
	}
	if err != nil {
		return "", fmt.Errorf("asking for a run of the schedule %s: %w", ask.Schedule, err)
	}
	return ask.ID, nil
}
