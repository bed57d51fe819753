package traces

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/detachd/detachd/tasks/spans"
)

// Config makes Traces.
type Config struct {
	Lookup  func(string) (string, bool) // os.LookupEnv, or none of the variables: the SDK reads those of the process
	Version string
	Log     zerolog.Logger
}

// Traces exports spans until Stop.
type Traces struct {
	Spans *spans.Maker // nil: nothing is exported

	provider *trace.TracerProvider
	exporter *exporter
	ended    atomic.Pointer[time.Time] // when the context of Start ended
}

// Start begins to export if the environment asks for it. What is wrong with the variables is
// logged and no error: nobody should keep access because spans cannot be exported.
func Start(ctx context.Context, cfg Config) *Traces {
	asked, to, err := wanted(cfg.Lookup)
	if err == nil && !asked {
		return &Traces{}
	}
	var t *Traces
	if err == nil {
		t, err = start(ctx, cfg)
	}
	if err != nil {
		cfg.Log.Error().Err(err).Msg("no traces are exported; everything else works")
		return &Traces{}
	}
	cfg.Log.Info().Str("to", to).Msg("traces are exported")
	return t
}

// wanted reports whether traces are asked for, and the host that they go to.
func wanted(lookup func(string) (string, bool)) (asked bool, host string, err error) {
	env := func(name string) string { value, _ := lookup(name); return strings.TrimSpace(value) }
	if strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") {
		return false, "", nil
	}
	endpoint := cmp.Or(env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), env("OTEL_EXPORTER_OTLP_ENDPOINT"))
	switch name := env("OTEL_TRACES_EXPORTER"); {
	case name == "none", name == "" && endpoint == "":
		return false, "", nil
	case name != "" && name != "otlp":
		return false, "", fmt.Errorf("OTEL_TRACES_EXPORTER is %q: use otlp or none", name)
	}
	if p := cmp.Or(env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), env("OTEL_EXPORTER_OTLP_PROTOCOL"), protocol); p != protocol {
		return false, "", fmt.Errorf("the protocol of OTLP is %q, which detachd does not speak: set OTEL_EXPORTER_OTLP_PROTOCOL to %s, "+
			"and OTEL_EXPORTER_OTLP_ENDPOINT to the collector's port for HTTP, which is usually 4318", p, protocol)
	}
	u, err := url.Parse(cmp.Or(endpoint, defaultEndpoint))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		// The value is not quoted: it may have a password.
		return false, "", fmt.Errorf("the endpoint of OTLP is not valid: use a URL such as %s", defaultEndpoint)
	}
	return true, u.Host, nil
}

const (
	protocol        = "http/protobuf"
	defaultEndpoint = "http://localhost:4318"
)

func start(ctx context.Context, cfg Config) (*Traces, error) {
	// These are of the process. What they say may quote variables, and so have secrets.
	otel.SetLogger(logr.New(sink{cfg.Log}))
	limited := &limited{log: cfg.Log, now: time.Now}

	var options []otlptracehttp.Option
	endpoint, _ := cfg.Lookup("OTEL_EXPORTER_OTLP_ENDPOINT")
	own, _ := cfg.Lookup("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	if endpoint == "" && own == "" { // without it, the exporter would use TLS
		options = append(options, otlptracehttp.WithEndpointURL(defaultEndpoint+"/v1/traces"))
	}
	out, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, err
	}
	is, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "detachd"), attribute.String("service.version", cfg.Version),
	), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	t := &Traces{exporter: &exporter{out, limited}}
	var wrong error // a sampler that the SDK does not know: it would take another one
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { wrong = errors.Join(wrong, err) }))
	t.provider = trace.NewTracerProvider(trace.WithResource(is), trace.WithBatcher(t.exporter), trace.WithoutPanicRecording())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { limited.lost(err, 0) }))
	if wrong != nil {
		_ = t.provider.Shutdown(ctx)
		return nil, fmt.Errorf("OTEL_TRACES_SAMPLER or OTEL_TRACES_SAMPLER_ARG: %w", wrong)
	}
	context.AfterFunc(ctx, func() { now := time.Now(); t.ended.Store(&now) })
	t.Spans = spans.New(t.provider.Tracer("github.com/detachd/detachd"))
	return t, nil
}

const (
	longestFlush  = 5 * time.Second
	shortestFlush = time.Second
)

// Stop exports what is left, for at most longestFlush of the time in which the process is to
// stop; that began when the context of Start ended, or else begins now.
func (t *Traces) Stop(within time.Duration) {
	if t.provider == nil {
		return
	}
	if ended := t.ended.Load(); ended != nil {
		within -= time.Since(*ended)
	}
	within = min(max(within, shortestFlush), longestFlush)
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		_ = t.exporter.Shutdown(ctx) // ends the request that still runs
		t.exporter.limited.log.Warn().Err(err).Dur("within_ms", within).Msg("the last traces could not be exported in time and are lost")
	}
}
