package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

// counted is Metrics that keeps what it is told.
type counted struct {
	mu       sync.Mutex
	seen     []string
	accepted []tasks.Durability
}

func (c *counted) ServeHTTP(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "detachd_x 1") }

func (c *counted) Request(route, method string, status int, _ time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, fmt.Sprint(route, " ", method, " ", status/100))
}

func (c *counted) Accepted(d tasks.Durability) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.accepted = append(c.accepted, d)
}

func (b *bench) stats(key, query string) map[string]tasks.Stats {
	b.t.Helper()
	a := b.do(key, "GET", "/v1/stats"+query, "")
	require.Equal(b.t, http.StatusOK, a.status, a.body)
	var p api.Page[tasks.Stats]
	require.NoError(b.t, json.Unmarshal([]byte(a.body), &p))
	out := map[string]tasks.Stats{}
	for _, s := range p.Items {
		out[s.Project] = s
	}
	return out
}

func TestStatsOverHTTP(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := time.Now()
	pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	b := newBench(t, func(c *Config) { c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now } })
	b.create(`{"project":"hq","desktops":["d1","d2"]}`)
	require.NoError(t, b.store.Record.AddTallies(t.Context(), "w", "1", []record.MinuteTally{{Project: "branch", Minute: now, Tally: record.Tally{Tally: tasks.Tally{Calls: 7, Throttled: 1}}}}))
	viewer := b.key[access.Viewer]
	all := b.stats(viewer, "")
	require.Len(t, all, 2)
	require.Equal(t, 2, all["hq"].Counts.Queued)
	require.Equal(t, 1, all["hq"].Waiting)
	require.Equal(t, 1, all["branch"].Throttled)
	require.Equal(t, 7, all["branch"].Buckets[95].Calls)
	require.Equal(t, 7, all["branch"].Results.Calls)
	for within, buckets := range map[string]int{"1h": 60, "24h": 96, "7d": 84} {
		require.Len(t, b.stats(b.key[access.Viewer], "?range="+within)["branch"].Buckets, buckets)
	}
	require.Equal(t, 400, b.do(b.key[access.Viewer], "GET", "/v1/stats?range=2d", "").status)
	require.Len(t, b.stats(viewer, "?project=branch"), 1)

	mine := b.newKey(access.Key{Name: "mine", Role: access.Viewer, Projects: []string{"branch"}})
	require.Equal(t, map[string]tasks.Stats{"branch": all["branch"]}, b.stats(mine, ""), "it need not name one")
	for key, query := range map[string]string{mine: "?project=hq", viewer: "?project=nowhere"} {
		a := b.do(key, "GET", "/v1/stats"+query, "")
		require.Equal(t, 400, a.status)
		require.Equal(t, []api.Fault{{Pointer: "project", Detail: "there is no such project"}}, a.problem(t).Errors)
	}
	require.Equal(t, 400, b.do(viewer, "GET", "/v1/stats?page=1", "").status)

	b.create(`{"project":"hq","desktops":["d3"]}`)
	pass(statsAge - 1)
	require.Equal(t, 2, b.stats(viewer, "")["hq"].Counts.Queued, "it is read once for all who ask")
	pass(1)
	require.Equal(t, 3, b.stats(viewer, "")["hq"].Counts.Queued)
	pass(statsAge)
	b.redis.Close()
	require.Equal(t, 503, b.do(viewer, "GET", "/v1/stats", "").status, "and not what was read before")
}

func TestMetricsOverHTTP(t *testing.T) {
	t.Parallel()
	m := &counted{}
	b := newBench(t, func(c *Config) {
		c.Metrics = m
		c.Pages = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Request-Id", "r")
			if r.URL.Path != "/" {
				http.Redirect(w, r, "/", http.StatusSeeOther)
			}
			_, isFlusher := w.(http.Flusher)
			_ = http.NewResponseController(w).Flush()
			_, _ = fmt.Fprint(w, isFlusher)
		})
	})
	viewer := b.key[access.Viewer]
	require.Equal(t, "detachd_x 1\n", b.do(viewer, "GET", "/metrics", "").body)
	mine := b.newKey(access.Key{Name: "mine", Role: access.Admin, Projects: []string{"hq"}})
	a := b.do(mine, "GET", "/metrics", "")
	require.Equal(t, http.StatusForbidden, a.status)
	require.Contains(t, a.problem(t).Detail, "certain projects")
	b.do(viewer, "GET", "/v1/operations/secret-1", "")
	b.do(viewer, "GET", "/v1/secret-2", "")
	b.do(viewer, "DELETE", "/v1/operations", "")
	require.Equal(t, "true", b.do("", "GET", "/", "").body, "a page may stream")
	b.do("", "GET", "/secret-3", "")
	b.create(`{"project":"hq","desktops":["d1"]}`)
	m.mu.Lock()
	defer m.mu.Unlock()
	require.Equal(t, []string{
		"/metrics GET 2", "/metrics GET 4", "/v1/operations/{id} GET 4", "none GET 4", "none DELETE 4", "pages GET 2", "pages GET 3", "pages GET 2",
		"/v1/operations POST 2",
	}, m.seen, "never a path as it came")

	b = newBench(t, func(c *Config) { c.Metrics = nil })
	a, err := exchange(b.request(b.key[access.Viewer], "GET", "/metrics", ""))
	require.NoError(t, err)
	require.Equal(t, 404, a.status, "there is nothing that counts")
}

// What a worker serves by itself takes no key, and there is nothing else.
func TestProbes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	srv := Probes(Config{Store: b.store, Metrics: &counted{}, Pages: http.NotFoundHandler()})
	for _, rt := range slices.Concat(routes, []route{{"GET", "/", "", nil}}) {
		want := http.StatusNotFound
		if slices.Contains([]string{"/healthz", "/readyz", "/metrics"}, rt.path) {
			want = http.StatusOK
		}
		require.Equal(t, want, served(srv, rt.method, rt.path), rt.path)
	}
	require.Equal(t, http.StatusMethodNotAllowed, served(srv, "POST", "/metrics"))
	b.redis.Close()
	require.Eventually(t, func() bool { return served(srv, "GET", "/readyz") == http.StatusServiceUnavailable }, time.Minute, 10*time.Millisecond)
	require.Equal(t, http.StatusOK, served(srv, "GET", "/healthz"))
}

func served(h http.Handler, method, path string) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Code
}
