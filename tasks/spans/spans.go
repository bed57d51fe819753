package spans

import (
	"context"
	"regexp"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/detachd/detachd/tasks"
)

// Maker makes spans. A nil Maker makes none.
type Maker struct{ tracer trace.Tracer }

// New makes a Maker.
func New(t trace.Tracer) *Maker { return &Maker{t} }

// Span is a span that has begun. A nil Span is none, or one that is not sampled.
type Span struct{ span trace.Span }

// Context is where a trace goes on, as the record and requests have it.
type Context struct{ Traceparent, Tracestate string }

// Of is the context of an operation.
func Of(op tasks.Operation) Context { return Context{op.Trace, op.Tracestate} }

func (c Context) remote() trace.SpanContext {
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(),
		propagation.MapCarrier{"traceparent": c.Traceparent, "tracestate": c.Tracestate}))
}

func contextOf(x trace.SpanContext) Context {
	return Context{"00-" + x.TraceID().String() + "-" + x.SpanID().String() + "-" + x.TraceFlags().String(), x.TraceState().String()}
}

// FromContext is the context of the span that ctx has; zero if it has none.
func FromContext(ctx context.Context) Context {
	if x := trace.SpanContextFromContext(ctx); x.IsValid() {
		return contextOf(x)
	}
	return Context{}
}

// Current is the span that ctx has; nil if it has none.
func Current(ctx context.Context) *Span {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		return &Span{span}
	}
	return nil
}

// Context is where the trace goes on from this span; zero if there is none.
func (s *Span) Context() Context {
	if s == nil {
		return Context{}
	}
	return contextOf(s.span.SpanContext())
}

// begin begins a span within that of ctx, or within parent if it has a trace.
func (m *Maker) begin(
	ctx context.Context, parent Context, name string, kind trace.SpanKind, o ...trace.SpanStartOption,
) (context.Context, *Span) {
	if parent.Traceparent != "" {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent.remote())
	}
	ctx, span := m.tracer.Start(ctx, name, append(o, trace.WithSpanKind(kind))...)
	if !span.IsRecording() {
		return ctx, nil
	}
	return ctx, &Span{span}
}

// end ends a span; failed != "" says what went wrong.
func (s *Span) end(failed string, at ...attribute.KeyValue) {
	if failed != "" {
		s.span.SetStatus(codes.Error, "")
		at = append(at, errorType.String(failed))
	}
	s.span.SetAttributes(at...)
	s.span.End()
}

// Attributes: all that there are.
const (
	httpMethod = attribute.Key("http.request.method")
	httpRoute  = attribute.Key("http.route")
	httpStatus = attribute.Key("http.response.status_code")
	errorType  = attribute.Key("error.type")

	attrOperation      = attribute.Key("detachd.operation")
	attrProject        = attribute.Key("detachd.project")
	attrRows           = attribute.Key("detachd.rows")
	attrReplayed       = attribute.Key("detachd.replayed")
	attrChunk          = attribute.Key("detachd.chunk")
	attrWorker         = attribute.Key("detachd.worker")
	attrDesktops       = attribute.Key("detachd.desktops")
	attrOperations     = attribute.Key("detachd.operations")
	attrReading        = attribute.Key("detachd.reading")
	attrWhy            = attribute.Key("detachd.why")
	attrCall           = attribute.Key("detachd.call")
	attrCode           = attribute.Key("detachd.code")
	attrRequestID      = attribute.Key("detachd.request_id")
	attrCloudRequestID = attribute.Key("detachd.cloud_request_id")
	attrExitCode       = attribute.Key("process.exit.code")
)

// sane is what codes and ids of the cloud may look like to be in a span.
var sane = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

func saneOr(text string) string {
	if text == "" || sane.MatchString(text) {
		return text
	}
	return "other"
}

// Request begins the span of a request to the API that arrived at a time, of one of its routes.
// caller is where the caller's trace goes on.
func (m *Maker) Request(
	ctx context.Context, caller Context, at time.Time, method, route, id string,
) (context.Context, *Span) {
	if m == nil {
		return ctx, nil
	}
	return m.begin(ctx, caller, method+" "+route, trace.SpanKindServer, trace.WithTimestamp(at),
		trace.WithAttributes(httpMethod.String(method), httpRoute.String(route), attrRequestID.String(id)))
}

// Answered ends the span of a request. code is that of the problem, if there is one.
func (s *Span) Answered(status int, code string) {
	if s == nil {
		return
	}
	at := []attribute.KeyValue{httpStatus.Int(status)}
	if code != "" {
		at = append(at, attrCode.String(code))
	}
	failed := ""
	if status >= 500 {
		failed = code
	}
	s.end(failed, at...)
}

// Command begins the span of a command line.
func (m *Maker) Command(ctx context.Context, path string) (context.Context, *Span) {
	if m == nil {
		return ctx, nil
	}
	return m.begin(ctx, Context{}, path, trace.SpanKindInternal)
}

// Exited ends the span of a command line.
func (s *Span) Exited(code int) {
	if s == nil {
		return
	}
	failed := ""
	if code != 0 {
		failed = "exit"
	}
	s.end(failed, attrExitCode.Int(code))
}

// Accept begins the span in which an operation is accepted. The operation is to go on from it, so
// its context replaces that of the request.
func (m *Maker) Accept(ctx context.Context, traceparent, tracestate *string) *Span {
	if m == nil {
		return nil
	}
	_, s := m.begin(ctx, Context{}, "accept operation", trace.SpanKindProducer)
	if s != nil {
		x := s.Context()
		*traceparent, *tracestate = x.Traceparent, x.Tracestate
	}
	return s
}

// Accepted ends the span in which an operation was accepted, or was not. A replayed one has the
// span of the first request, and this one is linked to it.
func (s *Span) Accepted(op tasks.Operation, replayed bool, err error) {
	switch {
	case s == nil:
	case err != nil:
		s.end("refused")
	default:
		if first := Of(op).remote(); replayed && first.IsValid() {
			s.span.AddLink(trace.Link{SpanContext: first})
		}
		s.end("", attrOperation.String(op.ID), attrProject.String(op.Project), attrRows.Int(op.Total), attrReplayed.Bool(replayed))
	}
}

// Chunk begins the span of a handler's run.
func (m *Maker) Chunk(ctx context.Context, op tasks.Operation, chunk int, worker string) (context.Context, *Span) {
	if m == nil || op.Trace == "" {
		return ctx, nil
	}
	return m.begin(ctx, Of(op), "handle chunk", trace.SpanKindConsumer, trace.WithAttributes(
		attrOperation.String(op.ID), attrProject.String(op.Project), attrChunk.Int(chunk), attrWorker.String(worker)))
}

// Handled ends the span of a handler's run.
func (s *Span) Handled(err error) {
	if s == nil {
		return
	}
	failed := ""
	if err != nil {
		failed = "redis"
	}
	s.end(failed)
}

// Part is an operation that a request to the cloud is for: within a span of its own, or else of
// its context.
type Part struct {
	Of     Context
	Within *Span
}

func (p Part) context() trace.SpanContext {
	if p.Within != nil {
		return p.Within.span.SpanContext()
	}
	return p.Of.remote()
}

// cloud begins the span of a request to the cloud. It continues the trace of the first part that
// is sampled, and is linked to the others, and their spans to it.
func (m *Maker) cloud(parts []Part, name, project string, desktops int, at ...attribute.KeyValue) *Span {
	var sampled []trace.SpanContext
	var within []*Span
	for _, p := range parts {
		if x := p.context(); x.IsSampled() {
			sampled, within = append(sampled, x), append(within, p.Within)
		}
	}
	if len(sampled) == 0 {
		return nil
	}
	links := make([]trace.Link, 0, len(sampled)-1)
	for _, x := range sampled[1:] {
		links = append(links, trace.Link{SpanContext: x})
	}
	at = append(at, attrProject.String(project), attrDesktops.Int(desktops), attrOperations.Int(len(sampled)))
	ctx := trace.ContextWithRemoteSpanContext(context.Background(), sampled[0])
	_, span := m.begin(ctx, Context{}, name, trace.SpanKindClient, trace.WithLinks(links...), trace.WithAttributes(at...))
	for _, w := range within[1:] {
		w.link(span)
	}
	return span
}

// link links a span to another.
func (s *Span) link(to *Span) {
	if s != nil && to != nil {
		s.span.AddLink(trace.Link{SpanContext: to.span.SpanContext()})
	}
}

// Call begins the span of a call, which is to carry its context.
func (m *Maker) Call(parts []Part, undo bool, project, id string, desktops int) *Span {
	if m == nil {
		return nil
	}
	name := "detach call"
	if undo {
		name = "attach call"
	}
	return m.cloud(parts, name, project, desktops, attrCall.String(id))
}

// Called ends the span of a call. class is that of the error.
func (s *Span) Called(c tasks.Call, class tasks.Class) {
	if s == nil {
		return
	}
	at := make([]attribute.KeyValue, 0, 5)
	if c.Status != 0 {
		at = append(at, httpStatus.Int(c.Status))
	}
	if c.Code != "" {
		at = append(at, attrCode.String(saneOr(c.Code)))
	}
	if c.RequestID != "" {
		at = append(at, attrCloudRequestID.String(saneOr(c.RequestID)))
	}
	s.end(string(class), at...)
}

// Why says what a reading is for.
type Why string

// Values of Why.
const (
	BeforeCall Why = "before the call"
	AfterCall  Why = "after the call"
	Unknown    Why = "unknown outcome"
	LookUp     Why = "look-up of names"
)

// Reading begins the span of a request that reads.
func (m *Maker) Reading(parts []Part, of string, why Why, project string, asked int) *Span {
	if m == nil {
		return nil
	}
	return m.cloud(parts, "read "+of, project, asked, attrReading.String(of), attrWhy.String(string(why)))
}

// Read ends the span of a request that read. class is that of the error.
func (s *Span) Read(class tasks.Class) {
	if s != nil {
		s.end(string(class))
	}
}

// Confirm makes the span of what readings showed of a chunk, linked to them: how many desktops
// went to which state since begun.
func (m *Maker) Confirm(op tasks.Operation, chunk int, begun time.Time, readings []*Span, moved map[tasks.State]int) {
	if m == nil || op.Trace == "" {
		return
	}
	at := []attribute.KeyValue{attrOperation.String(op.ID), attrProject.String(op.Project), attrChunk.Int(chunk)}
	_, span := m.begin(context.Background(), Of(op), "confirm", trace.SpanKindInternal,
		trace.WithTimestamp(begun), trace.WithAttributes(append(at, counted(moved)...)...))
	if span == nil {
		return
	}
	for _, r := range readings {
		span.link(r)
	}
	span.end("")
}

func counted(n map[tasks.State]int) (out []attribute.KeyValue) {
	for _, state := range tasks.States {
		if n[state] > 0 {
			out = append(out, attribute.Int("detachd."+state.String(), n[state]))
		}
	}
	return out
}

// Ended makes the span of an operation that has ended, from its acceptance.
func (m *Maker) Ended(op tasks.Operation) {
	if m == nil || op.Trace == "" {
		return
	}
	moved := map[tasks.State]int{}
	for _, state := range tasks.States {
		moved[state] = op.Counts.Of(state)
	}
	at := []attribute.KeyValue{attrOperation.String(op.ID), attrProject.String(op.Project), attrRows.Int(op.Total)}
	_, span := m.begin(context.Background(), Of(op), "operation", trace.SpanKindInternal,
		trace.WithTimestamp(op.AcceptedAt), trace.WithAttributes(append(at, counted(moved)...)...))
	if span != nil {
		span.span.End(trace.WithTimestamp(op.EndedAt))
	}
}
