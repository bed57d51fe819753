package server

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/detachd/detachd/tasks"
)

// statsAge is how old an answer to GET /v1/stats may be: reading takes time where
// many operations are open, and several look at once.
const statsAge = 2 * time.Second

// statsPatience bounds a reading, for which all wait who ask meanwhile.
const statsPatience = 10 * time.Second

// statsCache is what was read last, of all projects.
type statsCache struct {
	mu   sync.Mutex
	at   time.Time
	last []tasks.Stats
}

func (c *statsCache) read(ctx context.Context, now func() time.Time, read func(context.Context, time.Time) ([]tasks.Stats, error)) ([]tasks.Stats, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := now(); c.last == nil || t.Sub(c.at) >= statsAge {
		// Not ended by who happens to ask first: the others wait for it, too.
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

// getStats is GET /v1/stats: the projects that the key is for, or one of them.
func (s *server) getStats(r *request) error {
	q := r.query("project")
	project := q.text("project")
	if project != "" && (!slices.Contains(s.Store.Projects, project) || !r.sees(project)) {
		q.bad("project", "there is no such project")
	}
	if err := q.err(); err != nil {
		return err
	}
	all, err := s.stats.read(r.Context(), s.Now, func(ctx context.Context, now time.Time) ([]tasks.Stats, error) {
		return s.record.Stats(ctx, s.Store.Projects, now)
	})
	var out []tasks.Stats
	for _, x := range all {
		if r.sees(x.Project) && (project == "" || project == x.Project) {
			out = append(out, x)
		}
	}
	return answerPage(r, out, "", err)
}

// Metrics counts requests, and answers GET /metrics in the format of Prometheus.
type Metrics interface {
	http.Handler
	// Request counts a request: by a route of the table, "pages" for what is not the
	// API's, or "none".
	Request(route, method string, status int, took time.Duration)
	// Accepted counts a request for an operation that was accepted, now or before.
	Accepted(d tasks.Durability)
}

// getMetrics is GET /metrics. Its series name all projects.
func (s *server) getMetrics(r *request) error {
	if err := r.query().err(); err != nil {
		return err
	}
	if err := r.everywhere(); err != nil {
		return err
	}
	if s.Metrics == nil {
		return problem(http.StatusNotFound, "not_found", "this server does not count")
	}
	s.Metrics.ServeHTTP(r.w, r.Request)
	return nil
}

// Probes gives a handler of /healthz, /readyz and /metrics that asks for no key, for a
// worker that runs by itself. Who reaches it learns the projects' names.
func Probes(cfg Config) http.Handler {
	cfg.Pages = nil
	s := newServer(cfg)
	s.routes = []route{
		{"GET", "/healthz", "", (*server).healthz},
		{"GET", "/readyz", "", (*server).readyz},
		{"GET", "/metrics", "", (*server).getMetrics},
	}
	return s
}

// statusWriter notes the status of what a handler of pages answers.
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
