package schedules

import (
	"context"
	"encoding/json"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/cmd/internal/sources"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/spans"
)

// Source reads what a schedule names; *sources.Reader implements it. A Read that does not
// return when its ctx ends stops no other schedule.
type Source interface {
	Read(ctx context.Context, s tasks.Schedule, lastRows int) (sources.Found, error)
}

// Config makes a Ticker.
type Config struct {
	Producer *record.Producer
	Projects []string // that this process knows
	Source   Source
	Worker   string // unique among living processes
	Log      zerolog.Logger
	Spans    *spans.Maker // optional

	Every       time.Duration // how often Redis is asked for the time; default 2s
	Lease       time.Duration // how long others wait for a process at a run; default 20s, at most half of inTime
	Retry       time.Duration // how often a source is tried that is not ready; default 15s
	ReadTimeout time.Duration // of a source; default 30m
	SlowAfter   time.Duration // after this long a reading of a source takes no place from other runs; default 1m
	RunTimeout  time.Duration // of making the operations; default 5m
	StepTimeout time.Duration // of a step in Redis; default 10s
}

func (c Config) withDefaults() Config {
	for _, x := range []struct {
		d *time.Duration
		v time.Duration
	}{
		{&c.Every, 2 * time.Second}, {&c.Lease, 20 * time.Second}, {&c.Retry, 15 * time.Second}, {&c.ReadTimeout, 30 * time.Minute},
		{&c.SlowAfter, time.Minute}, {&c.RunTimeout, 5 * time.Minute}, {&c.StepTimeout, 10 * time.Second},
	} {
		if *x.d == 0 {
			*x.d = x.v
		}
	}
	return c
}

// mostRuns is how many schedules a process runs at a time, without those whose sources are slow.
const mostRuns = 64

// unknownWait is how long a process that does not know the project of a schedule leaves its
// ticks to others.
const unknownWait = inTime / 2

// Ticker makes the operations of all schedules when they are due.
type Ticker struct {
	cfg    Config
	record *record.Record
	clock  record.Clock
	slow   atomic.Int32 // readings that take long

	// These are of the goroutine of Run.
	version string // of the schedules that are in entries; empty: never read
	entries map[string]*entry
	running int
	broken  map[string]string // schedules that cannot be read, and why
	done    chan outcome
	away    bool // Redis could not be read
}

// entry is a schedule as this process knows it.
type entry struct {
	schedule tasks.Schedule
	ticks    record.Ticks
	tick     tasks.ScheduleTick // the next; no ID: there is none
	look     time.Time          // when to look at it; not before the tick
	trying   string             // id of a tick or run that was tried and was not ready
	askedAt  time.Time          // when a run that was asked for is to be tried again
	running  bool
	reader   *reader
}

// outcome is how a run has left its schedule.
type outcome struct {
	entry *entry
	asked bool
	tick  tasks.ScheduleTick
	look  time.Time
	retry string // id, if it is to be tried again
	lost  bool   // Redis does not know the schedule
}

// New makes a Ticker.
func New(cfg Config) *Ticker {
	return &Ticker{
		cfg: cfg.withDefaults(), record: cfg.Producer.Record, entries: map[string]*entry{}, broken: map[string]string{},
		done: make(chan outcome),
	}
}

// Run ticks until ctx ends, and returns when nothing that it began is left but sources that do
// not return.
func (t *Ticker) Run(ctx context.Context) {
	every := time.NewTicker(t.cfg.Every)
	defer every.Stop()
	for {
		t.poll(ctx)
		for wait := true; wait; {
			select {
			case x := <-t.done:
				t.ended(x)
				t.begin(ctx)
			case <-every.C:
				wait = false
			case <-ctx.Done():
				for t.running > 0 {
					t.ended(<-t.done)
				}
				return
			}
		}
	}
}

// poll reads the time, and what has changed, and begins what is due.
func (t *Ticker) poll(ctx context.Context) {
	step, cancel := context.WithTimeout(ctx, t.cfg.StepTimeout)
	defer cancel()
	p, err := t.record.PollSchedules(step)
	if err == nil {
		t.clock.Set(p.Now)
		if p.Version != t.version || p.Version == "" {
			err = t.reload(ctx, p.Version)
		}
	}
	if err != nil {
		if ctx.Err() == nil && !t.away {
			t.cfg.Log.Warn().Err(err).Msg("schedules: Redis cannot be read, runs wait for it")
		}
		t.away = true
		return
	}
	t.away = false
	t.begin(ctx)
	for _, ask := range p.Asked {
		t.asked(ctx, ask)
	}
}

// reload reads all schedules, and the states of those that are new here.
func (t *Ticker) reload(ctx context.Context, version string) error {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.RunTimeout)
	defer cancel()
	list, err := t.record.AllSchedules(ctx)
	if err != nil {
		return err
	}
	entries, fresh := make(map[string]*entry, len(list)), []tasks.Schedule{}
	broken := map[string]string{}
	for _, s := range list {
		if old := t.entries[s.Name]; old != nil && version != "" && t.version != "" && equal(old.schedule, s) {
			entries[s.Name] = old
			continue
		}
		e := &entry{schedule: s, reader: &reader{}}
		if err := s.Validate(); err != nil {
			broken[s.Name] = err.Error()
			continue
		}
		if e.ticks, err = record.NewTicks(s); err != nil {
			broken[s.Name] = err.Error()
			continue
		}
		if old := t.entries[s.Name]; old != nil {
			e.reader = old.reader
		}
		entries[s.Name], fresh = e, append(fresh, s)
	}
	states, err := t.record.AdoptSchedules(ctx, fresh)
	if err != nil {
		return err
	}
	for i, s := range fresh {
		e := entries[s.Name]
		if states[i].Since.IsZero() {
			broken[s.Name] = "Redis has lost its state: remove it, and add it again"
			delete(entries, s.Name)
			continue
		}
		tick, _ := first(e.ticks, states[i])
		t.await(e, tick)
	}
	for name, why := range broken {
		if t.broken[name] != why {
			t.cfg.Log.Error().Str("schedule", name).Str("why", why).Msg("schedules: a schedule cannot be read, it does not run")
		}
	}
	t.entries, t.broken, t.version = entries, broken, version
	return nil
}

// await makes an entry wait for a tick.
func (t *Ticker) await(e *entry, tick tasks.ScheduleTick) {
	e.tick, e.look, e.trying = tick, tick.At, ""
	if !t.knows(e.schedule) {
		e.look = tick.At.Add(unknownWait)
	}
}

func (t *Ticker) knows(s tasks.Schedule) bool { return slices.Contains(t.cfg.Projects, s.Project) }

// begin starts the runs of ticks that are due. It compares times with thousands of entries,
// which is cheaper than keeping them in order.
func (t *Ticker) begin(ctx context.Context) {
	now := t.clock.Now()
	for _, e := range t.entries {
		if t.full() {
			return
		}
		if e.running || e.tick.ID == "" || e.look.After(now) {
			continue
		}
		t.start(ctx, e, nil)
	}
}

func (t *Ticker) full() bool { return t.running-int(t.slow.Load()) >= mostRuns }

// forgetAsked is after what time a run is forgotten that was asked for of a schedule that no
// process knows.
const forgetAsked = time.Hour

// asked starts a run that a person asked for.
func (t *Ticker) asked(ctx context.Context, ask record.ScheduleAsk) {
	e, now := t.entries[ask.Schedule], t.clock.Now()
	switch {
	case e == nil && now.Sub(ask.At) > forgetAsked:
		step, cancel := context.WithTimeout(ctx, t.cfg.StepTimeout)
		defer cancel()
		if err := t.record.DropAskedRun(step, ask.ID); err != nil {
			t.cfg.Log.Warn().Err(err).Msg("schedules: a run cannot be forgotten")
		}
	case e == nil || e.running || t.full() || e.askedAt.After(now):
	case !t.knows(e.schedule) && now.Sub(ask.At) < unknownWait:
	default:
		t.start(ctx, e, &ask)
	}
}

func (t *Ticker) start(ctx context.Context, e *entry, ask *record.ScheduleAsk) {
	e.running = true
	t.running++
	r := &run{Ticker: t, schedule: e.schedule, ticks: e.ticks, ask: ask, trying: e.trying, reader: e.reader}
	if ask == nil {
		r.tick = e.tick
	}
	go func() {
		x := r.do(ctx)
		x.entry, x.asked = e, ask != nil
		t.done <- x
	}()
}

// ended takes note of how a run has left its schedule.
func (t *Ticker) ended(x outcome) {
	e := x.entry
	e.running = false
	t.running--
	switch {
	case x.lost:
		t.version = "" // it is read again with the next poll
		e.look = t.clock.Now().Add(t.cfg.Every)
	case x.asked:
		e.askedAt = x.look
	case x.retry != "":
		e.look, e.trying = x.look, x.retry
	case !x.look.IsZero():
		e.look = x.look
	default:
		t.await(e, x.tick)
	}
}

// equal reports that two schedules say the same.
func equal(a, b tasks.Schedule) bool {
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errA == nil && errB == nil && string(x) == string(y)
}
