package app

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/goleak"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/config"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/spans"
	"github.com/detachd/detachd/worker"
	"github.com/detachd/detachd/worker/policy"
)

func TestMain(m *testing.M) {
	// The dialling goroutine of a closed pool sleeps for a second before it notices.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

const token = "token-that-nobody-may-see"

func embedded(t *testing.T) (*Embedded, config.Config) {
	t.Helper()
	e, err := StartEmbedded(fakecloud.Config{Token: token, AutoCreate: true}, "", "127.0.0.1:0", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(e.Stop)
	cfg := config.Defaults()
	cfg.Redis.URL = apiclient.Secret(e.RedisURL)
	c := config.DefaultCredential()
	c.Name, c.Kind, c.Token = "main", "token", config.SecretRef{Value: token}
	cfg.Credentials = []config.Credential{c}
	cfg.Projects = []config.Project{{
		Alias: "hq", ProjectID: "00000000000000000000000000000001", Endpoint: e.Cloud.URL, Credential: "main", Limits: config.DefaultLimits(), Approval: config.NoApproval(),
	}}
	return e, cfg
}

func none(string) (string, bool) { return "", false }

func TestAppDetaches(t *testing.T) {
	t.Parallel()
	e, cfg := embedded(t)
	var log bytes.Buffer
	a, err := New(cfg, none, zerolog.New(zerolog.SyncWriter(&log)), "1.2.3", nil)
	require.NoError(t, err)
	require.NoError(t, a.Start(t.Context()))
	op, err := a.Producer.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: []string{"d1"}})
	require.NoError(t, err)
	require.NoError(t, e.Cloud.Wait(t.Context(), func() bool { return e.Cloud.DetachedTimes(cfg.Projects[0].ProjectID, "d1") == 1 }))
	a.Stop()
	a.Stop()
	require.Contains(t, log.String(), op.ID)
	require.NotContains(t, log.String()+fmt.Sprintf("%+v", a.Store), token)
	require.Equal(t, "detachd/1.2.3", e.Cloud.Requests()[0].Header.Get("User-Agent"))
}

// Every worker process runs schedules, unless it is configured not to.
func TestAppRunsSchedules(t *testing.T) {
	t.Parallel()
	e, cfg := embedded(t)
	cfg.Schedules = []tasks.Schedule{{
		Name: "nightly", Project: "hq", Cron: "0 0 1 1 *", Source: tasks.ScheduleSource{Desktops: []string{"d1"}}, Owner: "Zoe Doe",
	}}
	maker := spans.New(sdk.NewTracerProvider().Tracer("test"))
	start := func() *App {
		a, err := New(cfg, none, zerolog.Nop(), "test", maker)
		require.NoError(t, err)
		require.NoError(t, a.Start(t.Context()))
		t.Cleanup(a.Stop)
		return a
	}
	cfg.Worker.Schedules = false
	idle := start()
	_, err := idle.Record.AskRun(t.Context(), record.ScheduleAsk{Schedule: "nightly", By: "zoe", At: time.Now()}, "")
	require.NoError(t, err)
	require.Nil(t, idle.ticker)
	cfg.Worker.Schedules = true
	start()
	require.NoError(t, e.Cloud.Wait(t.Context(), func() bool { return e.Cloud.DetachedTimes(cfg.Projects[0].ProjectID, "d1") == 1 }))
	ops, _, err := idle.Record.Operations(t.Context(), tasks.OperationFilter{}, 10, "")
	require.NoError(t, err)
	require.Len(t, ops, 1)
	require.Equal(t, []string{"schedule:nightly", "Zoe Doe"}, []string{ops[0].RequestedBy, ops[0].Owner})
	require.NotEmpty(t, ops[0].Trace)
}

// A worker reads files, fleets and lists of those who stay, and runs what it finds once.
func TestAppReadsWhatSchedulesName(t *testing.T) {
	t.Parallel()
	e, cfg := embedded(t)
	project := cfg.Projects[0].ProjectID
	for _, user := range []string{"ann", "ben", "cat", "dan", "eve"} {
		e.Cloud.Add(project, fakecloud.Desktop{ID: user + "s", ComputerName: "PC-" + user, Tags: []string{"of=" + user}, Users: []fakecloud.User{{Name: user}}})
	}
	cfg.Worker.Lists, cfg.Worker.Settle = t.TempDir(), 10*time.Millisecond
	for name, text := range map[string]string{"leavers.csv": "user\nann\n", "stay.csv": "user\nann\nben\ncat\ndan\n", "bad.csv": "user\nben\nsecret\tname\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(cfg.Worker.Lists, name), []byte(text), 0o600))
	}
	a, err := New(cfg, none, zerolog.Nop(), "test", nil)
	require.NoError(t, err)
	t.Cleanup(a.Stop)
	require.NoError(t, a.Start(t.Context()))
	list := []tasks.Schedule{
		{Name: "bad", Source: tasks.ScheduleSource{File: "bad.csv"}},
		{Name: "empty", Source: tasks.ScheduleSource{NotIn: &tasks.NotIn{File: "stay.csv", Rows: 100}}},
		{Name: "file", Source: tasks.ScheduleSource{File: "leavers*.csv"}},
		{Name: "not-in", Source: tasks.ScheduleSource{NotIn: &tasks.NotIn{File: "stay.csv", Rows: 4}}},
		{Name: "outside", Source: tasks.ScheduleSource{File: "../stay.csv"}},
		{Name: "tagged", Source: tasks.ScheduleSource{Selector: &tasks.Selector{Tag: "of=dan"}}},
	}
	run := func(times int) []tasks.ScheduleView {
		for i := range list {
			list[i].Project, list[i].Cron, list[i].Overlap = "hq", "0 0 1 1 *", tasks.OverlapAllow
			if times == 1 {
				require.NoError(t, a.Record.AddSchedule(t.Context(), list[i]))
			}
			_, err := a.Record.AskRun(t.Context(), record.ScheduleAsk{Schedule: list[i].Name, By: "zoe", At: time.Now()}, "")
			require.NoError(t, err)
		}
		var views []tasks.ScheduleView
		require.Eventually(t, func() bool {
			views, err = a.Record.ScheduleViews(t.Context(), list, time.Now(), 1)
			return err == nil && !slices.ContainsFunc(views, func(v tasks.ScheduleView) bool { return len(v.Runs) < times })
		}, time.Minute, 10*time.Millisecond)
		return views
	}
	results := func(views []tasks.ScheduleView) (out []string) {
		for _, v := range views {
			out = append(out, v.Name+" "+string(v.Runs[0].Result))
		}
		return out
	}
	first := run(1)
	require.Equal(t, []string{"bad failed", "empty failed", "file started", "not-in started", "outside failed", "tagged started"}, results(first))
	require.Contains(t, first[0].Runs[0].Why, "line 3")
	require.NotContains(t, first[0].Runs[0].Why, "secret")
	require.Contains(t, first[1].Runs[0].Why, "has 4 users, and at least 80 are required, 80 % of 100")
	detached := func() (out string) {
		for _, user := range []string{"ann", "ben", "cat", "dan", "eve"} {
			out += fmt.Sprint(e.Cloud.DetachedTimes(project, user+"s"))
		}
		return out
	}
	require.NoError(t, e.Cloud.Wait(t.Context(), func() bool { return detached() == "10011" }))
	second := run(2)
	require.Equal(t, []string{"bad failed", "empty failed", "file nothing", "not-in nothing", "outside failed", "tagged nothing"}, results(second))
	require.Equal(t, "10011", detached())
}

// What the configuration says by default is what workers and the record take by default.
func TestDefaultsAreThoseOfThePackages(t *testing.T) {
	t.Parallel()
	w := worker.Config{Projects: []worker.Project{{}}}.WithDefaults()
	require.Equal(t, config.Worker{
		MaxAttempts: w.MaxAttempts, RetryBase: w.RetryBase, RetryMax: w.RetryMax, BulkPollInterval: w.BulkPollInterval, UrgentPollInterval: w.UrgentPollInterval,
		FirstLook: w.FirstLook, ConfirmWithin: w.ConfirmWithin, ShutdownTimeout: w.ShutdownTimeout, Schedules: true, Settle: 5 * time.Second,
	}, config.Defaults().Worker)
	p := w.Projects[0]
	require.Equal(t, config.Limits{MaxInFlight: p.MaxInFlight, MaxReads: p.MaxReads, CallTimeout: p.CallTimeout}, config.DefaultLimits())
	require.Equal(t, p.Burst, config.DefaultCredential().Burst)
	require.Equal(t, record.DefaultPrefix, config.Defaults().Redis.Prefix)
	require.Equal(t, record.DefaultRetention, config.Defaults().Retention)
	require.Equal(t, tasks.DefaultTarget, config.Defaults().AccessRemovedWithin)
}

// What the configuration takes as a class, the worker takes as well.
func TestCodesOfTheConfigurationReachTheWorker(t *testing.T) {
	t.Parallel()
	_, cfg := embedded(t)
	for of, classes := range map[string][]string{"call": config.CallClasses, "desktop": config.DesktopClasses} {
		for _, class := range classes {
			cfg.Codes = append(cfg.Codes, config.Code{Of: of, Code: "X." + class, Class: class, Why: "because"})
		}
	}
	require.NoError(t, cfg.Validate())
	a, err := New(cfg, none, zerolog.Nop(), "test", nil)
	require.NoError(t, err)
	a.Stop()
	require.Equal(t, policy.Rule{Of: policy.OfCall, Code: "X.transient", Class: tasks.ClassTransient, Why: "because"},
		Rules(config.Config{Codes: []config.Code{{Of: "call", Code: "X.transient", Class: "transient", Why: "because"}}})[0])
	cfg.Codes[0].Class = "nonsense"
	_, err = New(cfg, none, zerolog.Nop(), "test", nil)
	require.ErrorContains(t, err, "nonsense")
}

func TestAppThatCannotStart(t *testing.T) {
	t.Parallel()
	_, cfg := embedded(t)
	noSecret := cfg
	noSecret.Credentials = []config.Credential{cfg.Credentials[0]}
	noSecret.Credentials[0].Token = config.SecretRef{Env: "NOT_SET"}
	_, err := New(noSecret, none, zerolog.Nop(), "test", nil)
	require.ErrorContains(t, err, "NOT_SET")

	twice := cfg
	twice.Credentials = append([]config.Credential{{Name: "other", Kind: "token", Token: config.SecretRef{Value: token}}}, cfg.Credentials...)
	_, err = New(twice, none, zerolog.Nop(), "test", nil)
	require.ErrorContains(t, err, "credentials other and main are the same identity")
	require.NotContains(t, err.Error(), token)

	noProject := cfg
	noProject.Projects = nil
	_, err = New(noProject, none, zerolog.Nop(), "test", nil)
	require.ErrorIs(t, err, ErrNoProject)

	noRedis := cfg
	noRedis.Redis.URL = "redis://127.0.0.1:1/0"
	a, err := New(noRedis, none, zerolog.Nop(), "test", nil)
	require.NoError(t, err, "it connects when it starts")
	require.Error(t, a.Run(t.Context()))
}

func TestEmbeddedAddressInUse(t *testing.T) {
	t.Parallel()
	e, _ := embedded(t)
	_, err := StartEmbedded(fakecloud.Config{}, "", "127.0.0.1:0", e.Cloud.URL[len("http://"):])
	require.ErrorContains(t, err, "fake cloud")
}

func TestCleanupsRunBackwardsWhateverFails(t *testing.T) {
	t.Parallel()
	var cs cleanups
	var done, failed []string
	for _, name := range []string{"first", "second", "third"} {
		cs.add(name, func() error {
			done = append(done, name)
			if name == "second" {
				return errors.New("it fails")
			}
			return nil
		})
	}
	tell := func(name string, _ error) { failed = append(failed, name) }
	cs.run(tell)
	cs.run(tell)
	require.Equal(t, []string{"third", "second", "first"}, done)
	require.Equal(t, []string{"second"}, failed)
}

// Text of the cloud in a log cannot act on the terminal that shows it.
func TestLogIsHarmlessOnATerminal(t *testing.T) {
	t.Parallel()
	const evil = "a\x1b[2J\u009b31m\u202eb\x7f"
	for _, format := range []string{"json", "console"} {
		for _, colour := range []bool{false, true} {
			var b bytes.Buffer
			log, err := NewLogger(config.Log{Level: "info", Format: format}, &b, true, colour)
			require.NoError(t, err)
			log.Info().Str("text", evil).Err(errors.New(evil)).Strs("list", []string{evil}).Bytes("bytes", []byte(evil)).
				Interface("any", map[string]string{evil: evil}).Msg(evil)
			shown := b.String()
			if format == "console" && colour {
				require.Contains(t, shown, "\x1b[", "its own colours")
				shown = regexp.MustCompile("\x1b\\[[0-9]+m").ReplaceAllString(shown, "")
			}
			require.NotContains(t, shown, "2J\u009b")
			require.Regexp(t, `^[^\x00-\x09\x0b-\x1f\x7f-\x{9f}\x{202e}]+$`, shown)
		}
	}
}

func TestLogFormats(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		format   string
		terminal bool
		json     bool
	}{{"auto", false, true}, {"auto", true, false}, {"json", true, true}, {"console", false, false}} {
		var b bytes.Buffer
		log, err := NewLogger(config.Log{Level: "info", Format: c.format}, &b, c.terminal, false)
		require.NoError(t, err)
		log.Debug().Msg("not shown")
		log.Info().Msg("shown")
		require.Equal(t, c.json, b.Bytes()[0] == '{', "%+v: %s", c, b.String())
		require.NotContains(t, b.String(), "\x1b", "no colour")
		require.NotContains(t, b.String(), "not shown")
	}
}
