package record

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/tasks"
)

// Fields of the state of a schedule.
const (
	fieldPaused = "paused" // JSON of tasks.SchedulePause
	fieldSkip   = "skip"   // JSON of tasks.ScheduleSkip
)

// scheduleFields are read of a state. Only scripts read its "busy": until when which worker is
// at a run.
var scheduleFields = []string{
	"rev",   // changes with each run, and when the schedule is added; compare-and-set
	"last",  // the last tick, see encodeTick
	"since", // ms; ticks until then never run: it was added, or resumed
	fieldPaused, fieldSkip,
	"counts", // JSON of tasks.ScheduleCounts
	"runs",   // JSON of []tasks.ScheduleRun
	"made",   // JSON of the last run that made operations
	"rows",   // "5000 staff.csv": how many rows the list of those who stay had, and its name
}

// ScheduleState is a tasks.ScheduleState with what decides about the next tick.
type ScheduleState struct {
	tasks.ScheduleState
	Last  tasks.ScheduleTick // no ID; zero: none has passed
	Since time.Time          // ticks until then never run; zero: no worker knows the schedule
	Made  tasks.ScheduleRun  // the last run that made operations

	rev  string
	rows string // as in Redis
}

// RowsOf is how many rows a list of those who stay had the last time; -1: that list was never
// read. What another list or source had says nothing about it.
func (s ScheduleState) RowsOf(list string) int {
	if rows, name, _ := strings.Cut(s.rows, " "); rows != "" && name == list {
		return int(number(rows))
	}
	return -1
}

// from is the instant after which the next tick is.
func (s ScheduleState) from(now time.Time) time.Time {
	for _, t := range []time.Time{s.Last.At, s.Since} {
		if t.After(now) {
			now = t
		}
	}
	return now
}

func decodeScheduleState(name string, values []any) (ScheduleState, error) {
	text := make([]string, len(scheduleFields))
	for i, v := range values {
		text[i], _ = v.(string)
	}
	s := ScheduleState{rev: text[0], Last: decodeTick(text[1]), rows: text[8]}
	if text[2] != "" {
		s.Since = time.UnixMilli(number(text[2])).UTC()
	}
	for i, v := range map[int]any{3: &s.Paused, 4: &s.Skip, 5: &s.Counts, 6: &s.Runs, 7: &s.Made} {
		if text[i] == "" {
			continue
		}
		if err := decodeJSON(text[i], v); err != nil {
			return s, fmt.Errorf("the state of the schedule %s cannot be read: %s: %w", name, scheduleFields[i], err)
		}
	}
	return s, nil
}

// scheduleStates reads the states of schedules in one round trip.
func (r *Record) scheduleStates(ctx context.Context, list []tasks.Schedule) ([]ScheduleState, error) {
	cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, s := range list {
			p.HMGet(ctx, r.keys.schedule(s.Name), scheduleFields...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the states of schedules: %w", err)
	}
	out := make([]ScheduleState, len(list))
	for i, cmd := range cmds {
		if out[i], err = decodeScheduleState(list[i].Name, cmd.(*redis.SliceCmd).Val()); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// SchedulePoll is what a worker has to know each second.
type SchedulePoll struct {
	Now     time.Time // of Redis
	Version string    // changes when the schedules in Redis do; empty: Redis has lost them
	Asked   []ScheduleAsk
}

var errReply = errors.New("unexpected reply of a script")

var scriptPollSchedules = script("poll_schedules", "clock")

// PollSchedules costs one round trip, whatever the number of schedules.
func (r *Record) PollSchedules(ctx context.Context) (SchedulePoll, error) {
	v, err := r.runScript(ctx, scriptPollSchedules, []string{r.keys.schedulesVersion(), r.keys.schedulesAsked()})
	reply, _ := v.([]any)
	if err != nil || len(reply) < 2 {
		return SchedulePoll{}, fmt.Errorf("asking for the time of Redis: %w", cmp.Or(err, errReply))
	}
	ms, _ := reply[0].(int64)
	p := SchedulePoll{Now: time.UnixMilli(ms).UTC()}
	p.Version, _ = reply[1].(string)
	for i := 3; i < len(reply); i += 2 {
		id, _ := reply[i-1].(string)
		text, _ := reply[i].(string)
		var ask ScheduleAsk
		if decodeJSON(text, &ask) != nil {
			ask = ScheduleAsk{}
		}
		ask.ID = id
		p.Asked = append(p.Asked, ask)
	}
	slices.SortFunc(p.Asked, func(a, b ScheduleAsk) int { return a.At.Compare(b.At) })
	return p, nil
}

var scriptAdoptSchedules = script("adopt_schedules", "clock")

// adoptBatch is how many schedules a script enters.
const adoptBatch = 500

// AdoptSchedules enters the schedules of the configuration, forgets those that are in it no
// more, and reads the states of all that are given.
func (r *Record) AdoptSchedules(ctx context.Context, all []tasks.Schedule) ([]ScheduleState, error) {
	known, err := r.rdb.SMembers(ctx, r.keys.schedulesConfigured()).Result()
	if err != nil {
		return nil, fmt.Errorf("reading the names of schedules: %w", err)
	}
	gone := slices.DeleteFunc(known, func(name string) bool { return r.isConfigured(name) == 1 })
	if len(gone) > 0 {
		if err := r.rdb.SRem(ctx, r.keys.schedulesConfigured(), gone).Err(); err != nil {
			return nil, fmt.Errorf("forgetting schedules: %w", err)
		}
	}
	names := slices.Sorted(maps.Keys(r.schedules))
	for batch := range slices.Chunk(append(names, ""), adoptBatch) { // with none too: the version is set
		batch = slices.DeleteFunc(batch, func(name string) bool { return name == "" })
		call := &scriptCall{script: scriptAdoptSchedules, keys: []string{r.keys.schedulesVersion(), r.keys.schedulesConfigured()}}
		for _, name := range batch {
			call.keys, call.args = append(call.keys, r.keys.schedule(name)), append(call.args, name)
		}
		if err := r.runScripts(ctx, []*scriptCall{call}, nil); err != nil {
			return nil, fmt.Errorf("entering the schedules of the configuration: %w", err)
		}
	}
	out := make([]ScheduleState, 0, len(all))
	for batch := range slices.Chunk(all, adoptBatch) {
		states, err := r.scheduleStates(ctx, batch)
		if err != nil {
			return nil, err
		}
		out = append(out, states...)
	}
	return out, nil
}

var scriptBeginRun = script("begin_run", "clock")

// BeginScheduleRun reads the state of a schedule before a tick, or before a run that a person
// asked for (the zero tick). mine is false while another worker is at it, for lease at most:
// that saves reading a source twice, and decides nothing.
func (r *Record) BeginScheduleRun(
	ctx context.Context, name, worker string, tick tasks.ScheduleTick, lease time.Duration,
) (state ScheduleState, mine bool, err error) {
	at := ""
	if !tick.At.IsZero() {
		at = encodeTick(tick)
	}
	args := []any{worker, at, lease.Milliseconds()}
	for _, f := range scheduleFields {
		args = append(args, f)
	}
	v, err := r.runScript(ctx, scriptBeginRun, []string{r.keys.schedule(name)}, args...)
	reply, _ := v.([]any)
	if err != nil || len(reply) != 2+len(scheduleFields) {
		return state, false, fmt.Errorf("reading the schedule %s: %w", name, cmp.Or(err, errReply))
	}
	state, err = decodeScheduleState(name, reply[2:])
	return state, reply[0] == int64(1), err
}

// ScheduleResult is what became of a tick, or of a run that a person asked for.
type ScheduleResult struct {
	Run   tasks.ScheduleRun
	Tick  tasks.ScheduleTick // zero: a person asked
	Lists []string           // SHA-256 of the lists of the source
	Read  bool               // the source was read
	Stay  string             // the list of those who stay that has Run.Rows; empty: the source is another
	Pause *tasks.SchedulePause
	// Shifted is the number of ticks that are marked so: this one, and missed ones.
	Shifted int
}

var scriptCommitRun = script("commit_run", "clock")

// CommitScheduleRun writes what became of a run, by compare-and-set: written is false if the
// state has changed since it was read, or the schedule is gone (the error is ErrNoSchedule).
func (r *Record) CommitScheduleRun(ctx context.Context, name string, state ScheduleState, x ScheduleResult) (written bool, err error) {
	next := state.after(x)
	pause, skip, keep := "", 0, int64(0)
	if x.Read { // what is there was seen now
		keep = 2 * r.retention.Milliseconds()
	}
	if x.Pause != nil {
		pause = mustJSON(x.Pause)
	}
	if s := state.Skip; s != nil && !x.Tick.At.IsZero() && !s.Tick.At.After(x.Tick.At) {
		skip = 1
	}
	fields := []any{"counts", mustJSON(next.Counts), "runs", mustJSON(next.Runs)}
	if !x.Tick.At.IsZero() {
		fields = append(fields, "last", encodeTick(next.Last))
	}
	if len(x.Run.Operations) > 0 && !x.Run.At.Before(state.Made.At) {
		fields = append(fields, "made", mustJSON(x.Run))
	}
	if x.Read && x.Stay != "" {
		fields = append(fields, "rows", fmt.Sprintf("%d %s", x.Run.Rows, x.Stay))
	}
	k := r.keys
	call := &scriptCall{
		script: scriptCommitRun,
		keys: []string{k.schedule(name), k.scheduleLists(name), k.schedulesPaused(), k.schedulesFailing(), k.schedulesAsked(),
			k.schedulesCounts()},
		args: []any{name, state.rev, x.Run.ID, string(x.Run.Result), pause, skip, keep, x.Run.Missed, len(fields)},
	}
	call.args = append(call.args, fields...)
	for _, sha := range x.Lists {
		call.args = append(call.args, sha)
	}
	n, err := r.changeSchedule(ctx, call)
	if err == nil && n < 0 {
		err = tasks.ErrNoSchedule
	}
	if err != nil {
		return false, fmt.Errorf("writing the run %s: %w", x.Run.ID, err)
	}
	return n == 1, nil
}

// after is the state after a run.
func (s ScheduleState) after(x ScheduleResult) ScheduleState {
	next := s
	c := &next.Counts
	c.Missed += x.Run.Missed
	c.Shifted += x.Shifted
	switch x.Run.Result {
	case tasks.RunStarted:
		c.Runs++
	case tasks.RunNothing:
		c.Nothing++
	case tasks.RunFailed:
		c.Failed++
	case tasks.RunSkipped:
		c.Skipped++
	case tasks.RunMissed:
		c.Missed++
	}
	next.Runs = append([]tasks.ScheduleRun{x.Run}, s.Runs...)
	if len(s.Runs) > 0 && x.Run.Result == tasks.RunSkipped && s.Runs[0].Result == tasks.RunSkipped && s.Runs[0].Why == x.Run.Why {
		next.Runs = append([]tasks.ScheduleRun{x.Run}, s.Runs[1:]...) // a long pause does not hide the runs before it
	}
	next.Runs = next.Runs[:min(len(next.Runs), tasks.MaxScheduleRuns)]
	if x.Tick.At.After(s.Last.At) || x.Tick.At.Equal(s.Last.At) && x.Tick.Wall > s.Last.Wall {
		next.Last = x.Tick
	}
	return next
}

// ScheduleTotals are counts over all schedules.
type ScheduleTotals struct {
	Paused, Failing int                          // schedules; Failing: their last run failed, or they paused themselves
	Results         map[tasks.ScheduleResult]int // of all runs and missed ticks, ever
}

// ScheduleTotals reads the counts over all schedules.
func (r *Record) ScheduleTotals(ctx context.Context) (ScheduleTotals, error) {
	var paused, failing *redis.IntCmd
	var counts *redis.MapStringStringCmd
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		paused, failing = p.SCard(ctx, r.keys.schedulesPaused()), p.SCard(ctx, r.keys.schedulesFailing())
		counts = p.HGetAll(ctx, r.keys.schedulesCounts())
		return nil
	})
	if err != nil {
		return ScheduleTotals{}, fmt.Errorf("counting the schedules: %w", err)
	}
	out := ScheduleTotals{Paused: int(paused.Val()), Failing: int(failing.Val()), Results: map[tasks.ScheduleResult]int{}}
	for result, n := range counts.Val() {
		out.Results[tasks.ScheduleResult(result)] = int(number(n))
	}
	return out, nil
}

// DropAskedRun forgets a run that was asked for of a schedule that is gone.
func (r *Record) DropAskedRun(ctx context.Context, id string) error {
	if err := r.rdb.HDel(ctx, r.keys.schedulesAsked(), id).Err(); err != nil {
		return fmt.Errorf("forgetting the run %s: %w", id, err)
	}
	return nil
}

// ListsRun reports which lists, by SHA-256, have run of a schedule. It keeps them for longer
// than their operations, while they are seen.
func (r *Record) ListsRun(ctx context.Context, name string, lists []string) ([]bool, error) {
	if len(lists) == 0 {
		return nil, nil
	}
	scores, err := r.rdb.ZMScore(ctx, r.keys.scheduleLists(name), lists...).Result()
	if err != nil {
		return nil, fmt.Errorf("reading the lists that the schedule %s has run: %w", name, err)
	}
	out := make([]bool, len(scores))
	for i, score := range scores {
		out[i] = score != 0
	}
	return out, nil
}

// OperationsOf reads the operations of a run. Those whose retention is over are not among them.
func (r *Record) OperationsOf(ctx context.Context, run tasks.ScheduleRun) ([]Operation, error) {
	return r.operations(ctx, run.Operations)
}
