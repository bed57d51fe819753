package metrics

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
	"github.com/detachd/detachd/worker"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

const projectID = "0bec5db98280d2d02fd6c00c2de791ce"

// page is what Prometheus reads.
func page(t *testing.T, m *Metrics) (map[string]*dto.MetricFamily, string) {
	t.Helper()
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, 200, w.Code)
	text := w.Body.String()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	require.NoError(t, err, text)
	return families, text
}

// value adds up the series of a family that have the labels.
func value(t *testing.T, families map[string]*dto.MetricFamily, name string, labels ...string) (sum float64) {
	t.Helper()
	require.Contains(t, families, name)
	for _, m := range families[name].Metric {
		has := map[string]string{}
		for _, l := range m.Label {
			has[l.GetName()] = l.GetValue()
		}
		match := true
		for i := 0; i < len(labels); i += 2 {
			match = match && has[labels[i]] == labels[i+1]
		}
		if match {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// ends is an Observer that hears of a desktop's end.
type ends chan tasks.State

func (e ends) Call(worker.SeenCall)       {}
func (e ends) Reading(worker.SeenReading) {}
func (e ends) Move(x worker.SeenMove) {
	if x.State != tasks.StateQueued {
		e <- x.State
	}
}

// afterARun gives metrics of a worker that has done an operation, with a
// throttled call, a refusal, a retry and something that waits.
func afterARun(t *testing.T, rdb redis.UniversalClient) *Metrics {
	t.Helper()
	cloud, err := fakecloud.Serve(fakecloud.Config{Token: "t", AutoCreate: true}, "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(cloud.Close)
	cloud.Fail(fakecloud.Fault{Calls: []int{1}, Status: 429})
	cloud.Fail(fakecloud.Fault{Calls: []int{2}, Status: 503})
	cloud.Fail(fakecloud.Fault{Desktop: "bad", Refuse: &fakecloud.Refusal{Code: "WKS.00010110", Message: "no address"}})
	cloud.Add(projectID, fakecloud.Desktop{ID: "frozen", Frozen: true})
	transport := apiclient.NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	api, err := apiclient.New(apiclient.Config{ProjectID: projectID, Endpoint: cloud.URL, Auth: apiclient.StaticToken("t"), Transport: transport})
	require.NoError(t, err)
	m, told := New("1.2.3"), make(ends, 4)
	w, err := worker.New(worker.Config{
		Redis: rdb, ID: "w", Log: zerolog.Nop(), RetryBase: time.Millisecond, RetryMax: 10 * time.Millisecond, FirstLook: 10 * time.Millisecond,
		BulkPollInterval: 5 * time.Millisecond, UrgentPollInterval: 5 * time.Millisecond, Observer: worker.Observers{m, told},
		Projects: []worker.Project{{Alias: "hq", API: api, CallTimeout: 35 * time.Second}},
	})
	require.NoError(t, err)
	require.NoError(t, w.Start(t.Context()))
	t.Cleanup(w.Stop)
	p, err := record.NewProducer(rdb, record.ProducerConfig{Projects: []string{"hq"}})
	require.NoError(t, err)
	op, err := p.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: []string{"d1", "d2", "bad", "frozen"}})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		op, err = p.Record.Operation(t.Context(), op.ID)
		return err == nil && op.Done()
	}, time.Minute, 10*time.Millisecond)
	require.Equal(t, tasks.Counts{Detached: 2, Failed: 1, Held: 1}, op.Counts)
	for range op.Total {
		<-told // the record is written before observers are told
	}
	m.Watch(p.Record, []Project{{"hq", "main", 100}, {"branch", "main", 100}})
	m.Request("/v1/stats", "GET", 200, time.Millisecond)
	m.Request("none", "PROPFIND-OF-SOMEBODY", 404, time.Millisecond)
	m.Move(worker.SeenMove{Project: "hq", GivenBack: true})
	return m
}

// A new process has the times of all projects with nothing in them, or an alert would not see
// those that come before the second scrape.
func TestTimesBeginWithNothing(t *testing.T) {
	t.Parallel()
	m := New("1.2.3")
	m.Watch(record.New(redistest.Mini(t), record.Config{}), []Project{{Alias: "hq"}, {Alias: "branch"}})
	families, _ := page(t, m)
	removed := families["detachd_access_removed_seconds"]
	require.NotNil(t, removed)
	require.Len(t, removed.Metric, 2)
	for _, x := range removed.Metric {
		require.Zero(t, x.GetHistogram().GetSampleCount())
		require.Len(t, x.GetHistogram().GetBucket(), len(record.RemovedSteps)+1, "and the rest")
	}
}

func TestWhatARunLeavesBehind(t *testing.T) {
	t.Parallel()
	rdb := redistest.Mini(t)
	m := afterARun(t, rdb)
	rec := record.New(rdb, record.Config{})
	require.NoError(t, rec.PauseProject(t.Context(), "branch", tasks.PauseAuth, 0, "refused"))
	p, err := record.NewProducer(rdb, record.ProducerConfig{Projects: []string{"hq"}})
	require.NoError(t, err)
	op, err := p.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: []string{"d3"}, NotBefore: time.Now().Add(time.Hour)})
	require.NoError(t, err)
	asked, err := rec.AskApproval(t.Context(), op, tasks.Clearance{Why: tasks.WhyLimit, ExpiresAt: time.Now().Add(time.Hour)})
	require.NoError(t, err)
	require.True(t, asked)
	failedRun(t, rec)
	families, text := page(t, m)
	for _, x := range []struct {
		want   float64
		name   string
		labels []string
	}{
		{1, "detachd_build_info", []string{"version", "1.2.3"}},
		{1, "detachd_redis_up", nil},
		{1, "detachd_redis_writable", nil},
		{1, "detachd_workers", nil},
		{1, "detachd_project_workers", []string{"project", "hq"}},
		{0, "detachd_project_workers", []string{"project", "branch"}},
		{0, "detachd_record_repairs_total", []string{"kind", "open"}},
		{0, "detachd_desktops_unserved", []string{"project", "branch"}},
		{0, "detachd_record_orphans", nil},
		{0, "detachd_record_unreadable", nil},
		{2, "detachd_operations", []string{"project", "hq"}},
		{0, "detachd_operations_open", nil},
		{0, "detachd_desktops_open", []string{"project", "hq", "state", "accepted"}},
		{2, "detachd_desktops_total", []string{"project", "hq", "outcome", "detached", "code", ""}},
		{1, "detachd_desktops_total", []string{"outcome", "failed", "code", "WKS.00010110"}},
		{1, "detachd_desktops_total", []string{"outcome", "held", "code", "FROZEN"}},
		{1, "detachd_failures", []string{"project", "hq", "class", "permanent", "code", "WKS.00010110"}},
		{1, "detachd_failures", []string{"class", "held", "code", "FROZEN"}},
		{1, "detachd_calls_total", []string{"status", "429", "class", "throttled"}},
		{1, "detachd_calls_total", []string{"status", "503"}},
		{1, "detachd_throttles_total", []string{"project", "hq"}},
		{100, "detachd_calls_per_minute_limit", []string{"project", "branch", "credential", "main"}},
		{0, "detachd_queue_tasks", []string{"project", "hq", "queue", "small"}},
		{0, "detachd_queue_oldest_seconds", nil},
		{1, "detachd_project_paused", []string{"project", "branch", "kind", "auth"}},
		{1, "detachd_project_paused", nil},
		{0, "detachd_project_paused", []string{"kind", "stop"}},
		{1, "detachd_operations_awaiting_approval", []string{"project", "hq"}},
		{0, "detachd_operations_awaiting_approval", []string{"project", "branch"}},
		{2, "detachd_access_removed_seconds", []string{"project", "hq"}},
		{1, "detachd_given_back_total", []string{"project", "hq"}},
		{1, "detachd_schedules_paused", nil},
		{1, "detachd_schedules_failing", nil},
		{1, "detachd_schedule_runs_total", []string{"result", "failed"}},
		{7, "detachd_schedule_runs_total", []string{"result", "missed"}},
		{0, "detachd_schedule_runs_total", []string{"result", "started"}},
		{1, "detachd_http_requests_total", []string{"route", "/v1/stats", "method", "GET", "status", "2xx"}},
		{1, "detachd_http_requests_total", []string{"route", "none", "method", "other", "status", "4xx"}},
		{1, "detachd_http_request_duration_seconds", []string{"route", "/v1/stats"}},
	} {
		require.InDelta(t, x.want, value(t, families, x.name, x.labels...), 0, "%s %v\n%s", x.name, x.labels, text)
	}
	calls := value(t, families, "detachd_calls_total")
	require.GreaterOrEqual(t, calls, 3.0)
	for _, name := range []string{"detachd_call_duration_seconds", "detachd_call_desktops", "detachd_call_wait_seconds"} {
		require.InDelta(t, calls, value(t, families, name), 0, name)
	}
	for _, name := range []string{"detachd_retries_total", "detachd_readings_total", "detachd_reading_duration_seconds", "go_goroutines", "process_open_fds"} {
		require.Positive(t, value(t, families, name), name)
	}
	_, err = rec.StopAll(t.Context(), "a wrong feed")
	require.NoError(t, err)
	stopped, _ := page(t, m)
	require.InDelta(t, 2, value(t, stopped, "detachd_project_paused", "kind", "stop"), 0, "both projects")
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	require.NoError(t, err)
	require.Empty(t, problems, "names follow the conventions")
}

// Without Redis what the process counted is served all the same.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	defer rdb.Close()
	m := New("1")
	m.Watch(record.New(rdb, record.Config{}), []Project{{Alias: "hq"}})
	m.Call(worker.SeenCall{Project: "hq", Status: 200})
	families, _ := page(t, m)
	require.Zero(t, value(t, families, "detachd_redis_up"))
	require.NotContains(t, families, "detachd_workers")
	require.InDelta(t, 1, value(t, families, "detachd_calls_total"), 0)
}

// A Redis that is full answers reads, and says that it takes no writes.
func TestRedisRefusesWrites(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	m := New("1")
	m.Watch(record.New(rdb, record.Config{}), []Project{{Alias: "hq"}})
	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory", "1").Err())
	families, _ := page(t, m)
	require.InDelta(t, 1, value(t, families, "detachd_redis_up"), 0)
	require.Zero(t, value(t, families, "detachd_redis_writable"))
	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory", "0").Err())
	families, _ = page(t, m)
	require.InDelta(t, 1, value(t, families, "detachd_redis_writable"), 0)
}

// The page about running has every metric of detachd, and no other.
func TestThePageHasEveryMetric(t *testing.T) {
	t.Parallel()
	families, _ := page(t, afterARun(t, redistest.Mini(t)))
	text, err := os.ReadFile("../../../docs/running.md")
	require.NoError(t, err)
	_, text, ok := bytes.Cut(text, []byte("## Monitoring"))
	require.True(t, ok)
	var want, got []string
	for name := range families {
		if strings.HasPrefix(name, "detachd_") {
			want = append(want, name)
		}
	}
	for _, m := range regexp.MustCompile("`(detachd_[a-z_]+)`").FindAllSubmatch(text, -1) {
		got = append(got, string(m[1]))
	}
	require.ElementsMatch(t, want, got)
}

// What others write makes no end of series.
func TestCardinalityIsBounded(t *testing.T) {
	t.Parallel()
	m := New("1")
	rec := &recordCollector{codes: m.codes}
	hostile := []string{"a\nb", `x"} 1`, "<script>", strings.Repeat("A", 65), "\xff", "ümlaut", " ", "1"}
	for _, code := range hostile {
		m.Move(worker.SeenMove{Project: "hq", State: tasks.StateFailed, Code: code})
		m.Call(worker.SeenCall{Project: "hq", Status: -1, Code: code})
	}
	var s tasks.Stats
	for n := range 10_000 {
		code := fmt.Sprintf("WKS.%08d", n)
		m.Move(worker.SeenMove{Project: "hq", State: tasks.StateFailed, Code: code})
		m.Call(worker.SeenCall{Project: "hq", Status: n, Code: code})
		s.Failures = append(s.Failures, tasks.FailureCount{Project: "hq", Class: "permanent", Code: code, Count: 2})
	}
	m.Move(worker.SeenMove{Project: "hq", State: tasks.StateFailed, Code: "WKS.00000000"})
	families, _ := page(t, m)
	require.Len(t, families["detachd_desktops_total"].Metric, knownCodes+1)
	require.InDelta(t, 2, value(t, families, "detachd_desktops_total", "code", "WKS.00000000"), 0, "the first that came")
	require.InDelta(t, 10_000-knownCodes+len(hostile), value(t, families, "detachd_desktops_total", "code", "other"), 0)
	require.LessOrEqual(t, len(families["detachd_calls_total"].Metric), 502)
	got := rec.failures(s)
	require.Len(t, got, knownCodes+1)
	require.Equal(t, 2*(10_000-knownCodes), got[tasks.FailureCount{Project: "hq", Class: "permanent", Code: "other"}])
}

// Whatever the cloud calls an error, the page can be read.
func FuzzCodes(f *testing.F) {
	for _, seed := range []string{"WKS.0001", "a\nb", `x"} 1`, "\xff", "a{b=\"c\"}", "A\n", ""} {
		f.Add(seed, 400)
	}
	m := New("1")
	f.Fuzz(func(t *testing.T, code string, status int) {
		m.Move(worker.SeenMove{Project: "hq", State: tasks.StateFailed, Code: code})
		m.Call(worker.SeenCall{Project: "hq", Status: status, Code: code})
		w := httptest.NewRecorder()
		m.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(w.Body)
		require.NoError(t, err)
		require.LessOrEqual(t, len(families["detachd_desktops_total"].Metric), knownCodes+2)
	})
}

// The alerts ask for series that exist, with labels that they have.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../deploy/helm/detachd/files/prometheus-rules.yaml")
	require.NoError(t, err)
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	dec.KnownFields(true)
	require.NoError(t, dec.Decode(&rules))
	families, _ := page(t, afterARun(t, redistest.Mini(t)))
	n := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			require.NotEmpty(t, r.Annotations["summary"], r.Alert)
			require.NotEmpty(t, r.Annotations["action"], r.Alert)
			require.NotEmpty(t, r.Labels["severity"], r.Alert)
			n += queries(t, families, r.Alert, r.Expr)
		}
	}
	require.GreaterOrEqual(t, n, 7)
}

// failedRun makes a schedule fail, and pause itself, after seven missed ticks.
func failedRun(t *testing.T, rec *record.Record) {
	t.Helper()
	x := tasks.Schedule{Name: "nightly", Project: "hq", Cron: "0 18 * * *", Source: tasks.ScheduleSource{Desktops: []string{"d1"}}}
	require.NoError(t, rec.AddSchedule(t.Context(), x))
	tick := tasks.ScheduleTick{ID: "nightly@2199-01-01T18:00 UTC", Wall: "2199-01-01T18:00", At: time.Date(2199, 1, 1, 18, 0, 0, 0, time.UTC)}
	state, mine, err := rec.BeginScheduleRun(t.Context(), "nightly", "w", tick, time.Minute)
	require.NoError(t, err)
	require.True(t, mine)
	written, err := rec.CommitScheduleRun(t.Context(), "nightly", state, record.ScheduleResult{
		Tick: tick, Run: tasks.ScheduleRun{ID: tick.ID, Result: tasks.RunFailed, Missed: 7}, Pause: &tasks.SchedulePause{By: tasks.PausedItself},
	})
	require.NoError(t, err)
	require.True(t, written)
}
