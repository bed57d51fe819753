package traces

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/sdk/trace"
)

// exporter logs what it cannot export.
type exporter struct {
	trace.SpanExporter
	limited *limited
}

func (e *exporter) ExportSpans(ctx context.Context, list []trace.ReadOnlySpan) error {
	if err := e.SpanExporter.ExportSpans(ctx, list); err != nil {
		e.limited.lost(err, len(list))
	}
	return nil
}

// quiet is how long a line of the log is the last one.
const quiet = time.Minute

// limited logs that spans are lost.
type limited struct {
	log zerolog.Logger
	now func() time.Time

	mu    sync.Mutex
	said  time.Time
	spans int // lost since
}

func (l *limited) lost(err error, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spans += n
	if now := l.now(); l.said.IsZero() || now.Sub(l.said) >= quiet {
		l.log.Warn().Err(err).Int("spans", l.spans).
			Msg("traces cannot be exported, and these spans are lost; everything else works: look at OTEL_EXPORTER_OTLP_ENDPOINT and the collector")
		l.said, l.spans = now, 0
	}
}

// sink logs the errors of the SDK without their values: one may be OTEL_EXPORTER_OTLP_HEADERS.
type sink struct{ log zerolog.Logger }

func (sink) Init(logr.RuntimeInfo)            {}
func (sink) Enabled(int) bool                 { return false }
func (sink) Info(int, string, ...any)         {}
func (s sink) WithValues(...any) logr.LogSink { return s }
func (s sink) WithName(string) logr.LogSink   { return s }

func (s sink) Error(_ error, what string, _ ...any) {
	s.log.Warn().Str("what", what).Msg("a variable of OpenTelemetry is not valid and is ignored: look at those that begin with OTEL_")
}
