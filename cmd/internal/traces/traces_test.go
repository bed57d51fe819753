package traces

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/detachd/detachd/tasks/spans"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// set sets variables of the process, which the SDK reads.
func set(t *testing.T, env map[string]string) (lookup func(string) (string, bool)) {
	t.Helper()
	for name, value := range env {
		t.Setenv(name, value)
	}
	return func(name string) (string, bool) { v, ok := env[name]; return v, ok }
}

func TestWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	const there = "http://collector:4318"
	for _, c := range []struct {
		env  string
		host string // empty: it is not asked for
		err  string
	}{
		{"", "", ""},
		{"OTEL_SERVICE_NAME=x", "", ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=" + there, "collector:4318", ""},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://other/x OTEL_EXPORTER_OTLP_ENDPOINT=" + there, "other", ""},
		{"OTEL_TRACES_EXPORTER=otlp", "localhost:4318", ""},
		{"OTEL_TRACES_EXPORTER=none OTEL_EXPORTER_OTLP_ENDPOINT=" + there, "", ""},
		{"OTEL_SDK_DISABLED=TRUE OTEL_EXPORTER_OTLP_ENDPOINT=" + there, "", ""},
		{"OTEL_SDK_DISABLED=true OTEL_TRACES_EXPORTER=zipkin", "", ""},
		{"OTEL_SDK_DISABLED=false OTEL_TRACES_EXPORTER=otlp", "localhost:4318", ""},
		{"OTEL_TRACES_EXPORTER=zipkin", "", `OTEL_TRACES_EXPORTER is "zipkin": use otlp or none`},
		{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "", ""},
		{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_ENDPOINT=" + there, "", "set OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf OTEL_TRACES_EXPORTER=otlp", "localhost:4318", ""},
		{"OTEL_EXPORTER_OTLP_PROTOCOL=http/json OTEL_TRACES_EXPORTER=otlp", "", `is "http/json"`},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318", "", "use a URL such as http://localhost:4318"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=unix:///run/collector", "", "use a URL such as"},
	} {
		env := map[string]string{}
		for _, field := range strings.Fields(c.env) {
			name, value, _ := strings.Cut(field, "=")
			env[name] = value
		}
		asked, host, err := wanted(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
		require.Equal(t, c.host != "", asked, c.env)
		require.Equal(t, c.host, host, c.env)
		if c.err == "" {
			require.NoError(t, err, c.env)
		} else {
			require.ErrorContains(t, err, c.err, c.env)
		}
	}
}

// Unless traces are asked for, there are no spans and no goroutine, whatever else is set.
func TestNothingIsExportedUnasked(t *testing.T) {
	var asked atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer srv.Close()
	for _, env := range []map[string]string{
		{"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": srv.URL, "OTEL_SDK_DISABLED": "true"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": srv.URL, "OTEL_TRACES_EXPORTER": "none"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": srv.URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
	} {
		before := goleak.IgnoreCurrent()
		tr := Start(t.Context(), Config{Lookup: set(t, env), Log: zerolog.Nop()})
		require.Nil(t, tr.Spans)
		require.NoError(t, goleak.Find(before))
		_, span := tr.Spans.Command(t.Context(), "detachd")
		span.Exited(0)
		tr.Stop(time.Minute)
	}
	require.Zero(t, asked.Load())
}

func TestSamplerOfTheEnvironment(t *testing.T) {
	for sampler, sampled := range map[string]bool{"always_off": false, "always_on": true, "parentbased_always_on": true} {
		t.Run(sampler, func(t *testing.T) {
			got := make(chan struct{}, 10)
			srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got <- struct{}{} }))
			defer srv.Close()
			env := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": srv.URL, "OTEL_TRACES_SAMPLER": sampler}
			tr := Start(t.Context(), Config{Lookup: set(t, env), Log: zerolog.Nop()})
			_, span := tr.Spans.Command(t.Context(), "detachd")
			require.Equal(t, sampled, span != nil)
			require.Equal(t, sampled, span.Context() != spans.Context{})
			span.Exited(0)
			tr.Stop(time.Minute)
			require.Equal(t, sampled, len(got) > 0)
		})
	}
}

// What the variables have wrong is said once, without their values, and without them nothing is
// exported and everything works.
func TestVariablesThatAreWrong(t *testing.T) {
	const secret = "password-of-the-collector"
	for _, c := range []struct {
		env  map[string]string
		says string
		off  bool // nothing is exported
	}{
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "ftp://user:" + secret + "@collector"}, "the endpoint of OTLP is not valid", true},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "usually 4318", true},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_HEADERS": secret}, "parse headers", false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "some"}, "OTEL_TRACES_SAMPLER_ARG: unsupported sampler", true},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "5"}, "OTEL_TRACES_SAMPLER_ARG: invalid trace ID ratio", true},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_RESOURCE_ATTRIBUTES": "xx"}, "OTEL_RESOURCE_ATTRIBUTES: ", true},
	} {
		t.Run(c.says, func(t *testing.T) {
			var log bytes.Buffer
			tr := Start(t.Context(), Config{Lookup: set(t, c.env), Log: zerolog.New(zerolog.SyncWriter(&log))})
			tr.Stop(time.Minute)
			require.Contains(t, log.String(), c.says)
			require.Equal(t, c.off, tr.Spans == nil, "exports")
			require.Equal(t, c.off, strings.Contains(log.String(), "no traces are exported"), "says so")
			require.NotContains(t, log.String(), "spans are lost")
			require.NotContains(t, log.String(), secret)
		})
	}
}

// Neither a collector that is away nor one that never answers is waited for.
func TestDeadCollectors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	require.NoError(t, err)
	defer l.Close()
	for name, address := range map[string]string{"away": "127.0.0.1:1", "silent": l.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			var log logged
			env := map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + address, "OTEL_BSP_MAX_QUEUE_SIZE": "8", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2",
			}
			ctx, end := context.WithCancel(t.Context())
			tr := Start(ctx, Config{Lookup: set(t, env), Log: zerolog.New(&log)})
			for range 10_000 {
				_, span := tr.Spans.Command(t.Context(), "detachd")
				span.Exited(0)
			}
			end()
			tr.Stop(time.Nanosecond)
			require.NoError(t, goleak.Find(before, // the connections end with the collector
				goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop")))
			require.Contains(t, log.String(), " are lost")
		})
	}
}

type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// A collector that fails all day makes a line a minute, which counts what was lost.
func TestOneLineAMinute(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	now := time.Unix(0, 0).Add(time.Hour)
	l := &limited{log: zerolog.New(&log), now: func() time.Time { return now }}
	for range 600 { // ten minutes
		l.lost(errors.New("it is away"), 5)
		now = now.Add(time.Second)
	}
	require.Equal(t, 10, strings.Count(log.String(), "\n"))
	require.Equal(t, 9, strings.Count(log.String(), `"spans":300`), log.String())
}
