package app

import (
	"context"
	"os"

	"github.com/rs/xid"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/cmd/internal/config"
	"github.com/detachd/detachd/cmd/internal/schedules"
	"github.com/detachd/detachd/cmd/internal/sources"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/spans"
	"github.com/detachd/detachd/worker"
	"github.com/detachd/detachd/worker/policy"
)

var _ worker.API = (*apiclient.Client)(nil)

// App is a worker process.
type App struct {
	*Store

	worker *worker.Worker
	ticker *schedules.Ticker // nil: this process runs no schedules
	log    zerolog.Logger
	undo   cleanups
}

// New creates the process; nothing is sent and nothing runs until Start. lookup is that of
// Open. maker makes the spans, if there are to be any, and observers get the events of the
// worker. The caller must call Stop, unless New returns an error.
func New(
	cfg config.Config, lookup func(string) (string, bool), log zerolog.Logger, version string, maker *spans.Maker,
	observers ...worker.Observer,
) (*App, error) {
	s, err := Open(cfg, lookup, version)
	if err != nil {
		return nil, err
	}
	a := &App{Store: s, log: log}
	a.undo.add("store", func() error { s.Close(); return nil })
	if a.worker, err = newWorker(s, log, maker, observers); err != nil {
		a.Stop()
		return nil, err
	}
	if cfg.Worker.Schedules {
		a.ticker = newTicker(s, log, maker)
	}
	return a, nil
}

func newTicker(s *Store, log zerolog.Logger, maker *spans.Maker) *schedules.Ticker {
	return schedules.New(schedules.Config{
		Producer: s.Producer, Projects: s.Projects, Worker: workerID(s.cfg.Worker.ID), Log: log, Spans: maker,
		Source: sources.New(sources.Config{
			Lists: s.cfg.Worker.Lists, Settle: s.cfg.Worker.Settle,
			Fleet: func(project string) (sources.Fleet, error) { return s.Planner(project, log) },
		}),
	})
}

func newWorker(s *Store, log zerolog.Logger, maker *spans.Maker, observers worker.Observers) (*worker.Worker, error) {
	w := s.cfg.Worker
	cfg := worker.Config{
		Redis: s.Redis, Record: recordConfig(*s.cfg), ID: workerID(w.ID), Log: log,
		MaxAttempts: w.MaxAttempts, RetryBase: w.RetryBase, RetryMax: w.RetryMax,
		BulkPollInterval: w.BulkPollInterval, UrgentPollInterval: w.UrgentPollInterval, ShutdownTimeout: w.ShutdownTimeout,
		FirstLook: w.FirstLook, ConfirmWithin: w.ConfirmWithin, Rules: Rules(*s.cfg), Observer: observers, Spans: maker,
	}
	for _, p := range s.cfg.Projects {
		project, err := s.project(p)
		if err != nil {
			return nil, err
		}
		cfg.Projects = append(cfg.Projects, project)
	}
	return worker.New(cfg)
}

// project returns the project of workers and planners.
func (s *Store) project(p config.Project) (worker.Project, error) {
	client, err := s.Client(p.Alias)
	c, _ := s.cfg.CredentialOf(p)
	limit, canary, stopLoss := p.Approval.Limit(), tasks.Canary(p.Approval.Canary), tasks.StopLoss(p.Approval.StopLoss)
	return worker.Project{
		Alias: p.Alias, ProjectID: p.ProjectID, Region: p.Region, API: client, UnknownUsers: p.UnknownUsers,
		Credential: c.Name, CallsPerMinute: c.CallsPerMinute, ReadsPerMinute: c.ReadsPerMinute, Burst: c.Burst,
		MaxInFlight: p.Limits.MaxInFlight, MaxReads: p.Limits.MaxReads,
		CallTimeout: p.Limits.CallTimeout + config.CallMargin, Limit: &limit, ApprovalExpires: p.Approval.Expires,
		SecondPersonAbove: &p.Approval.SecondPersonAbove, UndoSecondPersonAbove: &p.Approval.UndoSecondPersonAbove,
		UndoWithin: p.Approval.UndoWithin, Canary: &canary, StopLoss: &stopLoss, Blackouts: p.BlackoutTimes(),
	}, err
}

// Rules returns the rules of the configuration's error codes.
func Rules(cfg config.Config) []policy.Rule {
	var out []policy.Rule
	for _, c := range cfg.Codes {
		out = append(out, policy.Rule{Of: policy.RuleOf(c.Of), Status: c.Status, Code: c.Code, Class: tasks.Class(c.Class), Why: c.Why})
	}
	return out
}

// workerID returns the configured id, or a new one: a worker with the id of a dead worker
// would hide its death.
func workerID(configured string) string {
	if configured != "" {
		return configured
	}
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	return host + "-" + xid.New().String()
}

// Start starts the worker and, unless it is configured not to, the schedules; and returns.
func (a *App) Start(ctx context.Context) error {
	if err := a.worker.Start(ctx); err != nil {
		return err
	}
	a.undo.add("worker", func() error { a.worker.Stop(); return nil })
	if a.ticker == nil {
		return nil
	}
	ticking, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); a.ticker.Run(ticking) }()
	a.undo.add("schedules", func() error { stop(); <-ended; return nil })
	return nil
}

// Stop stops the worker gracefully, within worker.shutdown_timeout, and then closes its
// connections. It may be called more than once.
func (a *App) Stop() {
	a.undo.run(func(name string, err error) { a.log.Warn().Err(err).Str("part", name).Msg("stopping failed") })
}

// Run starts the worker and stops it when ctx ends.
func (a *App) Run(ctx context.Context) error {
	defer a.Stop()
	if err := a.Start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	a.log.Info().Msg("stopping: waiting for calls in flight")
	return nil
}
