// Package metrics exports metrics to Prometheus: counters of this process, reported by the
// worker and the server, and gauges read from the record at each scrape. No label has values
// that outsiders could multiply.
package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker"
)

// Metrics is a worker.Observer, counts requests for the server, and is the http.Handler of
// all metrics in the format of Prometheus. Counters start at 0 with the process.
type Metrics struct {
	registry *prometheus.Registry
	handler  http.Handler
	codes    *known

	calls, throttles, readings, desktops, givenBack, retries, requests, accepted        *prometheus.CounterVec
	callSeconds, callDesktops, callWait, readingSeconds, removed, removedAccepted, took *prometheus.HistogramVec
}

var _ worker.Observer = (*Metrics)(nil)

var (
	cloudSeconds  = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	waitSeconds   = []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	serverSeconds = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	fill          = []float64{1, 2, 5, 10, 20, 40, 60, 80, 99, 100}
)

// New makes the Metrics of a process.
func New(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), codes: newKnown(knownCodes)}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "detachd_build_info", Help: "The version that runs; always 1.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.calls = m.counter("detachd_calls_total",
		"Detach calls by HTTP status (none: no reply) and class of error (empty: answered).", "project", "status", "class")
	m.throttles = m.counter("detachd_throttles_total", "Detach calls that the cloud refused as too many.", "project")
	m.callSeconds = m.histogram("detachd_call_duration_seconds", "Duration of detach calls.", cloudSeconds, "project")
	m.callDesktops = m.histogram("detachd_call_desktops", "Desktops in a detach call, at most 100.", fill, "project")
	m.callWait = m.histogram("detachd_call_wait_seconds", "Wait of the first desktop of a detach call for the call.", waitSeconds, "project")
	m.readings = m.counter("detachd_readings_total",
		"Requests that read desktops, users or jobs, by class of error (empty: answered).", "project", "of", "class")
	m.readingSeconds = m.histogram("detachd_reading_duration_seconds", "Duration of requests that read.", cloudSeconds, "project", "of")
	m.desktops = m.counter("detachd_desktops_total", "Desktops that ended, by outcome and failure code.", "project", "outcome", "code")
	m.givenBack = m.counter("detachd_given_back_total", "Desktops that undos gave back to their users, as a reading shows.", "project")
	m.retries = m.counter("detachd_retries_total", "Refusals of desktops that are retried, by class.", "project", "class")
	limits := make([]float64, len(record.RemovedSteps))
	for i, s := range record.RemovedSteps {
		limits[i] = float64(s)
	}
	m.removed = m.histogram("detachd_access_removed_seconds", "From due to confirmed detached.", limits, "project")
	m.removedAccepted = m.histogram("detachd_access_removed_since_accepted_seconds",
		"From the acceptance of the operation, or its start if later, to confirmed detached.", limits, "project")
	m.requests = m.counter("detachd_http_requests_total", "Requests by route and class of status.", "route", "method", "status")
	m.accepted = m.counter("detachd_accepted_total",
		"Accepted requests for operations, repeated ones too, by durability (none: Redis has no replica, or does not tell).", "durability")
	for _, d := range []tasks.Durability{"", tasks.OnReplica, tasks.OneCopy} {
		m.accepted.WithLabelValues(durability(d)) // an alert on an increase needs a 0 first
	}
	m.took = m.histogram("detachd_http_request_duration_seconds", "Duration of requests.", serverSeconds, "route")
	// Serve what can be read, even if a part fails.
	m.handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, CoalesceGather: true})
	return m
}

func (m *Metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	m.registry.MustRegister(h)
	return h
}

// ServeHTTP answers with all metrics.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.handler.ServeHTTP(w, r) }

// Call counts a detach call.
func (m *Metrics) Call(c worker.SeenCall) {
	m.calls.WithLabelValues(c.Project, status(c.Status), string(c.Class)).Inc()
	if c.Class == tasks.ClassThrottled {
		m.throttles.WithLabelValues(c.Project).Inc()
	}
	m.callSeconds.WithLabelValues(c.Project).Observe(c.Took.Seconds())
	m.callDesktops.WithLabelValues(c.Project).Observe(float64(c.Desktops))
	m.callWait.WithLabelValues(c.Project).Observe(c.Waited.Seconds())
}

// status is the label of an HTTP status of the cloud, which may be any number.
func status(n int) string {
	switch {
	case n == 0:
		return "none"
	case n < 100 || n > 599:
		return other
	}
	return strconv.Itoa(n)
}

// Reading counts a request that reads from the cloud.
func (m *Metrics) Reading(r worker.SeenReading) {
	m.readings.WithLabelValues(r.Project, string(r.Of), string(r.Class)).Inc()
	m.readingSeconds.WithLabelValues(r.Project, string(r.Of)).Observe(r.Took.Seconds())
}

// Move counts a desktop that ended, or is retried.
func (m *Metrics) Move(d worker.SeenMove) {
	switch {
	case d.GivenBack:
		m.givenBack.WithLabelValues(d.Project).Inc()
	case d.State == tasks.StateQueued:
		m.retries.WithLabelValues(d.Project, string(d.Class)).Inc()
	default:
		m.desktops.WithLabelValues(d.Project, d.State.String(), m.codes.name(d.Code)).Inc()
	}
	if d.Proven {
		m.removed.WithLabelValues(d.Project).Observe(d.Took.SinceDue.Seconds())
		m.removedAccepted.WithLabelValues(d.Project).Observe(d.Took.SinceAccepted.Seconds())
	}
}

// Request counts an answered request; route is of the server's table.
func (m *Metrics) Request(route, method string, status int, took time.Duration) {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default:
		method = other
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(status/100)+"xx").Inc()
	m.took.WithLabelValues(route).Observe(took.Seconds())
}

// Accepted counts an accepted request for an operation.
func (m *Metrics) Accepted(d tasks.Durability) { m.accepted.WithLabelValues(durability(d)).Inc() }

func durability(d tasks.Durability) string {
	if d == "" {
		return "none"
	}
	return string(d)
}
