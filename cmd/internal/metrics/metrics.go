// Package metrics gives what Prometheus reads: what this process did, as the worker
// and the server tell it, and what the record shows when it is asked. It decides
// nothing, and keeps no label whose values others could multiply.
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

// Metrics is a worker.Observer, is told of requests by the server, and answers
// requests with everything in the format of Prometheus. Its counters are those of
// the process, and begin at 0 with it.
type Metrics struct {
	registry *prometheus.Registry
	handler  http.Handler
	codes    *known

	calls, throttles, readings, desktops, retries, requests, accepted                   *prometheus.CounterVec
	callSeconds, callDesktops, callWait, readingSeconds, removed, removedAccepted, took *prometheus.HistogramVec
}

var _ worker.Observer = (*Metrics)(nil)

var (
	cloudSeconds  = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	waitSeconds   = []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	serverSeconds = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	fill          = []float64{1, 2, 5, 10, 20, 40, 60, 80, 99, 100}
)

// New makes Metrics of a process of that version.
func New(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), codes: newKnown(knownCodes)}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "detachd_build_info", Help: "The version that runs; always 1.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.calls = m.counter("detachd_calls_total", "Detach calls, by HTTP status (none: no reply) and by what their error means (empty: answered).", "project", "status", "class")
	m.throttles = m.counter("detachd_throttles_total", "Detach calls that the cloud turned away as too many.", "project")
	m.callSeconds = m.histogram("detachd_call_duration_seconds", "How long detach calls took.", cloudSeconds, "project")
	m.callDesktops = m.histogram("detachd_call_desktops", "Desktops in a detach call, of at most 100.", fill, "project")
	m.callWait = m.histogram("detachd_call_wait_seconds", "How long the first desktop of a detach call waited to be put into one.", waitSeconds, "project")
	m.readings = m.counter("detachd_readings_total", "Requests that read desktops, users or jobs, by what their error means (empty: answered).", "project", "of", "class")
	m.readingSeconds = m.histogram("detachd_reading_duration_seconds", "How long requests took that read.", cloudSeconds, "project", "of")
	m.desktops = m.counter("detachd_desktops_total", "Desktops that ended, by outcome and by the code of the failure.", "project", "outcome", "code")
	m.retries = m.counter("detachd_retries_total", "Refusals of desktops that are tried again, by what they mean.", "project", "class")
	limits := make([]float64, len(record.RemovedSteps))
	for i, s := range record.RemovedSteps {
		limits[i] = float64(s)
	}
	m.removed = m.histogram("detachd_access_removed_seconds", "From when a desktop was due to the proof that it is detached.", limits, "project")
	m.removedAccepted = m.histogram("detachd_access_removed_since_accepted_seconds", "From when an operation was accepted, or its start if that was later, to the proof that a desktop is detached.", limits, "project")
	m.requests = m.counter("detachd_http_requests_total", "Requests to this process, by route and class of the status.", "route", "method", "status")
	m.accepted = m.counter("detachd_accepted_total", "Requests for operations that were accepted, now or before, by whether a replica of Redis had them (none: there is none, or Redis does not say).", "durability")
	for _, d := range []tasks.Durability{"", tasks.OnReplica, tasks.OneCopy} {
		m.accepted.WithLabelValues(durability(d)) // an alert on the first needs a 0 before it
	}
	m.took = m.histogram("detachd_http_request_duration_seconds", "How long answering requests took.", serverSeconds, "route")
	// What cannot be read is left out, and the rest is served.
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

// ServeHTTP answers with everything.
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

// status is an HTTP status; the cloud's may be anything.
func status(n int) string {
	switch {
	case n == 0:
		return "none"
	case n < 100 || n > 599:
		return other
	}
	return strconv.Itoa(n)
}

// Reading counts a request that read.
func (m *Metrics) Reading(r worker.SeenReading) {
	m.readings.WithLabelValues(r.Project, string(r.Of), string(r.Class)).Inc()
	m.readingSeconds.WithLabelValues(r.Project, string(r.Of)).Observe(r.Took.Seconds())
}

// Move counts a desktop that ended, or is tried again.
func (m *Metrics) Move(d worker.SeenMove) {
	switch d.State {
	case tasks.StateQueued:
		m.retries.WithLabelValues(d.Project, string(d.Class)).Inc()
	default:
		m.desktops.WithLabelValues(d.Project, d.State.String(), m.codes.name(d.Code)).Inc()
	}
	if d.Proven {
		m.removed.WithLabelValues(d.Project).Observe(d.Took.SinceDue.Seconds())
		m.removedAccepted.WithLabelValues(d.Project).Observe(d.Took.SinceAccepted.Seconds())
	}
}

// Request counts a request that was answered; route is of the server's table.
func (m *Metrics) Request(route, method string, status int, took time.Duration) {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default:
		method = other
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(status/100)+"xx").Inc()
	m.took.WithLabelValues(route).Observe(took.Seconds())
}

// Accepted counts a request for an operation that was accepted.
func (m *Metrics) Accepted(d tasks.Durability) { m.accepted.WithLabelValues(durability(d)).Inc() }

func durability(d tasks.Durability) string {
	if d == "" {
		return "none"
	}
	return string(d)
}
