package server

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/detachd/detachd/tasks"
)

// statsAge is the age up to which a result answers GET /v1/stats: reading many open
// operations takes time, and several clients ask at once.
const statsAge = 2 * time.Second

// statsPatience limits a reading, for which later callers wait too.
const statsPatience = 10 * time.Second

// statsCaches has the last reading of each range.
type statsCaches struct{ hour, day, week statsCache }

func (c *statsCaches) of(within tasks.StatsRange) *statsCache {
	switch within {
	case tasks.LastHour:
		return &c.hour
	case tasks.LastWeek:
		return &c.week
	}
	return &c.day
}

// statsCache is the last reading, of all projects.
type statsCache struct {
	mu   sync.Mutex
	at   time.Time
	last []tasks.Stats
}

func (c *statsCache) read(
	ctx context.Context, now func() time.Time, read func(context.Context, time.Time) ([]tasks.Stats, error),
) ([]tasks.Stats, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := now(); c.last == nil || t.Sub(c.at) >= statsAge {
		// The first caller must not cancel it: others wait for the same result.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statsPatience)
		defer cancel()
		all, err := read(ctx, t)
		if err != nil {
			return nil, err
		}
		c.at, c.last = t, all
	}
	return c.last, nil
}

// getStats is GET /v1/stats: the projects that the key is for, or one of them, and their results
// of the last hour, day or week.
func (s *server) getStats(r *request) error {
	q := r.query("project", "range")
	project, within := q.text("project"), tasks.StatsRange(cmp.Or(q.text("range"), string(tasks.LastDay)))
	if within.Steps() == 0 {
		q.bad("range", "is not 1h, 24h or 7d")
	}
	if project != "" && (!slices.Contains(s.Store.Projects, project) || !r.maySee(project)) {
		q.bad("project", "there is no such project")
	}
	if err := q.err(); err != nil {
		return err
	}
	all, err := s.stats.of(within).read(r.Context(), s.Now, func(ctx context.Context, now time.Time) ([]tasks.Stats, error) {
		return s.record.Stats(ctx, s.Store.Projects, within, now)
	})
	var out []tasks.Stats
	for _, x := range all {
		x.TargetSeconds = int(s.Store.Target.Seconds())
		if r.maySee(x.Project) && (project == "" || project == x.Project) {
			out = append(out, x)
		}
	}
	return answerPage(r, out, "", err)
}

// Metrics counts requests, and answers GET /metrics in the format of Prometheus.
type Metrics interface {
	http.Handler
	// Request counts a request; route is of the table, "pages" or "none".
	Request(route, method string, status int, took time.Duration)
	// Accepted counts an accepted request for an operation, repeated ones too.
	Accepted(d tasks.Durability)
}

// getMetrics is GET /metrics. Its series name all projects.
func (s *server) getMetrics(r *request) error {
	if err := r.requireAllProjects(); err != nil {
		return err
	}
	if s.Metrics == nil {
		return problem(http.StatusNotFound, "not_found", "this server has no metrics")
	}
	s.Metrics.ServeHTTP(r.w, r.Request)
	return nil
}

// Probes is a handler of /healthz, /readyz and /metrics without keys, for a worker that runs
// by itself. It reveals the names of the projects.
func Probes(cfg Config) http.Handler {
	cfg.Pages = nil
	s := newServer(cfg)
	s.routes = []route{
		{"GET", "/healthz", "", (*server).healthz},
		{"GET", "/readyz", "", (*server).readyz},
		{"GET", "/metrics", "", noInput((*server).getMetrics)},
	}
	return s
}

// statusWriter records the status that a handler of pages answers.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 || w.status < 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Flush makes it an http.Flusher.
func (w *statusWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
