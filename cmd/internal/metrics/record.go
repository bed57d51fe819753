package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// readPatience bounds what reading the record takes of an answer.
const readPatience = 5 * time.Second

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// What is read from the record is the same in every process that reads it: take the
// max over them, not the sum.
var (
	redisUp        = desc("detachd_redis_up", "Whether the record could be read; if not, what is read from it is left out.")
	workersAlive   = desc("detachd_workers", "Workers that beat.")
	projectWorkers = desc("detachd_project_workers", "Workers that beat and serve a project.", "project")
	unserved       = desc("detachd_desktops_unserved", "Desktops of open operations that wait where no worker serves the project.", "project")
	repairs        = desc("detachd_record_repairs_total", "What the record had lost, or was left over, and was repaired, by kind; counted in the record itself.", "kind")
	orphans        = desc("detachd_record_orphans", "Entries that led to no operation when the whole record was last walked through, those that were dropped included.")
	unreadable     = desc("detachd_record_unreadable", "Operations, or chunks of some, that could not be read when the whole record was last walked through.")
	operations     = desc("detachd_operations", "Operations in the record.", "project")
	openOperations = desc("detachd_operations_open", "Operations under way: with work left, or with desktops that are not proven; of at most 10,000, the oldest.", "project")
	scheduledOps   = desc("detachd_operations_scheduled", "Operations that are to start later.", "project")
	openDesktops   = desc("detachd_desktops_open", "Desktops of open operations, by state.", "project", "state")
	failures       = desc("detachd_failures", "Desktops that failed or are held (class held), and were not taken up again.", "project", "class", "code")
	queueTasks     = desc("detachd_queue_tasks", "Tasks, of up to 100 desktops each, that wait in a queue.", "project", "queue")
	queueOldest    = desc("detachd_queue_oldest_seconds", "For how long the first task of a queue has been waiting.", "project", "queue")
	paused         = desc("detachd_project_paused", "Whether a project is paused, by what has paused it.", "project", "kind")
)

// recordCollector reads the record when it is asked.
type recordCollector struct {
	record   *record.Record
	projects []string
	codes    *known
}

// Watch adds what the record shows of projects. It is for one record, once.
func (m *Metrics) Watch(rec *record.Record, projects []string) {
	m.registry.MustRegister(&recordCollector{rec, projects, m.codes})
}

// Describe is of prometheus.Collector.
func (c *recordCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{redisUp, workersAlive, projectWorkers, unserved, repairs, orphans, unreadable, operations, openOperations, scheduledOps, openDesktops, failures, queueTasks, queueOldest, paused} {
		to <- d
	}
}

// Collect is of prometheus.Collector.
func (c *recordCollector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readPatience)
	defer cancel()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	workers, err := c.record.Workers(ctx)
	var all []tasks.Stats
	if err == nil {
		all, err = c.record.Stats(ctx, c.projects, time.Now())
	}
	var report record.RepairReport
	if err == nil {
		report, err = c.record.RepairReport(ctx)
	}
	gauge(redisUp, truth(err == nil))
	if err != nil {
		return
	}
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
	gauge(orphans, float64(report.Orphans))
	gauge(unreadable, float64(report.Unreadable))
	for _, s := range all {
		gauge(projectWorkers, float64(s.Workers), s.Project)
		gauge(unserved, float64(s.Unserved()), s.Project)
		gauge(operations, float64(s.Operations), s.Project)
		gauge(openOperations, float64(s.Open), s.Project)
		gauge(scheduledOps, float64(s.Scheduled), s.Project)
		for _, state := range []tasks.State{tasks.StateQueued, tasks.StateSending, tasks.StateAccepted} {
			gauge(openDesktops, float64(s.Counts.Of(state)), s.Project, state.String())
		}
		for _, q := range s.Queues {
			gauge(queueTasks, float64(q.Waiting), s.Project, q.Queue)
			gauge(queueOldest, float64(q.OldestMS)/1000, s.Project, q.Queue)
		}
		for _, kind := range []tasks.PauseKind{tasks.PauseThrottled, tasks.PauseAuth, tasks.PauseNoRight, tasks.PauseNotAPI, tasks.PauseOperator} {
			gauge(paused, truth(s.Pause != nil && s.Pause.Kind == kind), s.Project, string(kind))
		}
		for f, n := range c.failures(s) {
			gauge(failures, float64(n), f.Project, string(f.Class), f.Code)
		}
	}
}

// failures adds up those whose codes have no series of their own.
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
