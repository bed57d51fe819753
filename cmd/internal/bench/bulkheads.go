package main

import (
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker"
)

// bulkheads is B14: what a bulk of one project loses while 100,000 desktops of another project
// of the same worker wait for its limit of calls. Few calls at a time leave the CPU some rest,
// which the projects have in common.
func bulkheads(e *env) ([]figure, error) {
	const n = 30_000
	side := func(waiting int) func() (float64, error) {
		return e.timed(n+bulkSize, 50*time.Millisecond, func(c *cloud) (time.Duration, error) { return e.beside(c, n, waiting) })
	}
	took, err := turns(longTurns, side(0), side(bulkSize))
	if err != nil {
		return nil, err
	}
	r := ratios(took[0], took[1])
	return []figure{{"B14 30,000, while 100,000 of a throttled project wait", medianSeconds(took[1]),
		r.of(longTurns, "alone "+medianSeconds(took[0])), r.median, ">= 0.95", r.median >= 0.95}}, nil
}

// beside measures a bulk of n desktops of the first of two projects, while some of the second
// wait.
func (e *env) beside(c *cloud, n, waiting int) (time.Duration, error) {
	w, err := workerOf(e.rdb, "bench-worker", []worker.API{c, c}, 0, func(cfg *worker.Config) {
		cfg.Projects[0].MaxInFlight, cfg.Projects[1].CallsPerMinute = 4, 10
	})
	if err != nil {
		return 0, err
	}
	if err := w.Start(e.ctx); err != nil {
		return 0, err
	}
	defer w.Stop()
	projects := aliases(2)
	p, err := e.producerOf(projects)
	if err != nil {
		return 0, err
	}
	accept := func(project string, desktops []string, until func(record.Operation) bool) error {
		op, err := p.Enqueue(e.ctx, tasks.Request{Project: project, Desktops: desktops})
		if err == nil {
			_, err = e.until(often, []string{op.ID}, until)
		}
		return err
	}
	if waiting > 0 {
		begun := func(op record.Operation) bool { return op.Counts.Queued < waiting }
		if err := accept(projects[1], desktopIDs(n, waiting), begun); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	err = accept(projects[0], desktopIDs(0, n), taken)
	return time.Since(start), err
}
