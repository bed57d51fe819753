package cli

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/detachd/detachd/cmd/internal/traces"
	"github.com/detachd/detachd/tasks/spans"
)

// untraced are the commands that make no span of themselves: they run until they are stopped, or
// have nothing to do with operations.
var untraced = []string{"worker", "serve", "demo", "dev", "fakecloud", "version", "completion"}

// lastSpans is how long the spans of a command may take to be exported when it has ended.
const lastSpans = 2 * time.Second

func (p *Program) startTraces(ctx context.Context, log zerolog.Logger) *traces.Traces {
	return traces.Start(ctx, traces.Config{Lookup: p.LookupEnv, Version: p.Version, Log: log})
}

// traced runs a command in a span, if the environment asks for traces.
func (p *Program) traced(cmd *cobra.Command, do func() error) error {
	if slices.Contains(untraced, cmd.Name()) {
		return do()
	}
	t := p.startTraces(cmd.Context(), p.consoleLog().Level(zerolog.WarnLevel))
	defer t.Stop(lastSpans)
	p.spans = t.Spans
	ctx, span := t.Spans.Command(cmd.Context(), cmd.CommandPath())
	cmd.SetContext(ctx)
	err := do()
	span.Exited(exitCode(err))
	return err
}

// exitCode is that of an error.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	return explain(err).code
}

// traced sends the context of the span that a request belongs to, unless it has another.
type traced struct{ next http.RoundTripper }

func (t traced) RoundTrip(req *http.Request) (*http.Response, error) {
	if x := spans.FromContext(req.Context()); x.Traceparent != "" && req.Header.Get("Traceparent") == "" {
		req = req.Clone(req.Context())
		req.Header.Set("Traceparent", x.Traceparent)
		if x.Tracestate != "" {
			req.Header.Set("Tracestate", x.Tracestate)
		}
	}
	return t.next.RoundTrip(req)
}
