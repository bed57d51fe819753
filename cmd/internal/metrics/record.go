package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// readPatience limits the time of reading the record.
const readPatience = 5 * time.Second

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Gauges from the record are the same in every process: aggregate with max, not sum.
var (
	redisUp          = desc("detachd_redis_up", "Whether the record could be read; if not, its gauges are omitted.")
	redisWritable    = desc("detachd_redis_writable", "Whether Redis took a write: not if it is full, cannot save, or is a replica.")
	workersAlive     = desc("detachd_workers", "Living workers.")
	projectWorkers   = desc("detachd_project_workers", "Living workers that serve a project.", "project")
	unserved         = desc("detachd_desktops_unserved", "Desktops of open operations that wait, but no worker serves the project.", "project")
	repairs          = desc("detachd_record_repairs_total", "Repairs of lost or left-over parts of the record, counted in the record.", "kind")
	orphans          = desc("detachd_record_orphans", "Entries without an operation at the last full check, dropped ones included.")
	unreadable       = desc("detachd_record_unreadable", "Operations, or chunks, that were unreadable at the last full check of the record.")
	operations       = desc("detachd_operations", "Operations in the record.", "project")
	openOperations   = desc("detachd_operations_open", "Those with work left or unconfirmed desktops: 10,000 at most, the oldest.", "project")
	scheduledOps     = desc("detachd_operations_scheduled", "Operations that start later.", "project")
	awaiting         = desc("detachd_operations_awaiting_approval", "Operations that wait for a person; nothing of them is sent.", "project")
	openDesktops     = desc("detachd_desktops_open", "Desktops of open operations, by state.", "project", "state")
	failures         = desc("detachd_failures", "Desktops in the inbox: failed, or on hold (class held).", "project", "class", "code")
	queueTasks       = desc("detachd_queue_tasks", "Tasks, of up to 100 desktops each, that wait in a queue.", "project", "queue")
	queueOldest      = desc("detachd_queue_oldest_seconds", "Wait of the first task of a queue.", "project", "queue")
	schedulesPaused  = desc("detachd_schedules_paused", "Schedules that are paused.")
	schedulesFailing = desc("detachd_schedules_failing", "Schedules whose last run failed, or that paused themselves.")
	scheduleRuns     = desc("detachd_schedule_runs_total", "Runs of schedules, and missed ticks, by result, counted in the record.", "result")
	callsLimit       = desc("detachd_calls_per_minute_limit",
		"Detach calls a minute that the credential of a project may make, in all its projects together; 0: no limit.", "project", "credential")
	paused = desc("detachd_project_paused", "Whether a project is paused, by cause.", "project", "kind")
)

var pauseKinds = []tasks.PauseKind{tasks.PauseThrottled, tasks.PauseAuth, tasks.PauseNoRight, tasks.PauseNotAPI, tasks.PauseOperator,
	tasks.PauseStop,
}

// recordCollector reads the record at each scrape.
type recordCollector struct {
	record   *record.Record
	projects []Project
	aliases  []string
	codes    *known
}

// Project is a project of the configuration and the limit of its credential.
type Project struct {
	Alias, Credential string
	CallsPerMinute    int
}

// Watch adds the gauges of a record and its projects. Call it once.
func (m *Metrics) Watch(rec *record.Record, projects []Project) {
	c := &recordCollector{record: rec, projects: projects, codes: m.codes}
	for _, p := range projects {
		c.aliases = append(c.aliases, p.Alias)
		m.removed.WithLabelValues(p.Alias) // a rate needs a 0 first: a whole operation may come between two scrapes
	}
	m.registry.MustRegister(c)
}

// Describe implements prometheus.Collector.
func (c *recordCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		redisUp, redisWritable, workersAlive, projectWorkers, unserved, repairs, orphans, unreadable, operations, openOperations, scheduledOps,
		awaiting, openDesktops, failures, queueTasks, queueOldest, paused, schedulesPaused, schedulesFailing, scheduleRuns,
		callsLimit,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *recordCollector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readPatience)
	defer cancel()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, p := range c.projects {
		gauge(callsLimit, float64(p.CallsPerMinute), p.Alias, p.Credential)
	}
	workers, err := c.record.Workers(ctx)
	var all []tasks.Stats
	if err == nil {
		all, err = c.record.Stats(ctx, c.aliases, tasks.LastDay, time.Now())
	}
	var report record.RepairReport
	if err == nil {
		report, err = c.record.RepairReport(ctx)
	}
	var totals record.ScheduleTotals
	if err == nil {
		totals, err = c.record.ScheduleTotals(ctx)
	}
	gauge(redisUp, truth(err == nil))
	if err != nil {
		return
	}
	gauge(redisWritable, truth(c.record.TryWrite(ctx) == nil))
	alive := 0
	for _, w := range workers {
		if w.Alive() {
			alive++
		}
	}
	gauge(workersAlive, float64(alive))
	for _, kind := range record.RepairKinds {
		to <- prometheus.MustNewConstMetric(repairs, prometheus.CounterValue, float64(report.Repaired[kind]), string(kind))
	}
	gauge(schedulesPaused, float64(totals.Paused))
	gauge(schedulesFailing, float64(totals.Failing))
	for _, result := range tasks.ScheduleResults {
		to <- prometheus.MustNewConstMetric(scheduleRuns, prometheus.CounterValue, float64(totals.Results[result]), string(result))
	}
	gauge(orphans, float64(report.Orphans))
	gauge(unreadable, float64(report.Unreadable))
	for _, s := range all {
		gauge(projectWorkers, float64(s.Workers), s.Project)
		gauge(unserved, float64(s.Unserved()), s.Project)
		gauge(operations, float64(s.Operations), s.Project)
		gauge(openOperations, float64(s.Open), s.Project)
		gauge(scheduledOps, float64(s.Scheduled), s.Project)
		gauge(awaiting, float64(s.AwaitingApproval), s.Project)
		for _, state := range []tasks.State{tasks.StateQueued, tasks.StateSending, tasks.StateAccepted} {
			gauge(openDesktops, float64(s.Counts.Of(state)), s.Project, state.String())
		}
		for _, q := range s.Queues {
			gauge(queueTasks, float64(q.Waiting), s.Project, q.Queue)
			gauge(queueOldest, float64(q.OldestMS)/1000, s.Project, q.Queue)
		}
		for _, kind := range pauseKinds {
			gauge(paused, truth(s.Pause != nil && s.Pause.Kind == kind), s.Project, string(kind))
		}
		for f, n := range c.failures(s) {
			gauge(failures, float64(n), f.Project, string(f.Class), f.Code)
		}
	}
}

// failures sums up the counts, those of codes without their own series together.
func (c *recordCollector) failures(s tasks.Stats) map[tasks.FailureCount]int {
	out := map[tasks.FailureCount]int{}
	for _, f := range s.Failures {
		out[tasks.FailureCount{Project: f.Project, Class: f.Class, Code: c.codes.name(f.Code)}] += f.Count
	}
	return out
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
