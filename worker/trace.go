package worker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/spans"
)

// spanOf returns the traceparent of a call: a child span of the first traced operation in
// it, or "". A call has one, and may be for several operations.
func spanOf(group []*item) string {
	for _, it := range group {
		if parent := tasks.Traceparent(it.job.op.Trace); parent != "" {
			return childSpan(parent)
		}
	}
	return ""
}

// withSpan makes the request of a call carry its span, and the tracestate of the operation
// that it continues.
func withSpan(ctx context.Context, group []*item, span string) context.Context {
	for _, it := range group {
		if op := it.job.op; span != "" && tasks.TraceID(op.Trace) == tasks.TraceID(span) {
			return apiclient.WithTrace(ctx, span, op.Tracestate)
		}
	}
	return ctx
}

// childSpan returns a traceparent with another span id.
func childSpan(traceparent string) string {
	var span [8]byte
	_, _ = rand.Read(span[:]) // it never fails
	span[0] |= 1              // all zeros would be invalid
	return traceparent[:36] + hex.EncodeToString(span[:]) + traceparent[52:]
}

// tagged adds the trace of an operation to a line of the log.
func tagged(op tasks.Operation) func(*zerolog.Event) {
	return func(line *zerolog.Event) {
		if id := tasks.TraceID(op.Trace); id != "" {
			line.Str("trace_id", id)
		}
	}
}

// partsOf are the traced operations of a group, each once.
func (s *shared) partsOf(group []*item) (out []spans.Part) {
	if s.cfg.Spans == nil {
		return nil
	}
	var seen []string
	for _, it := range group {
		if op := it.job.op; op.Trace != "" && !slices.Contains(seen, op.ID) {
			out, seen = append(out, spans.Part{Of: spans.Of(op.Operation), Within: it.job.span}), append(seen, op.ID)
		}
	}
	return out
}

// partsIn is the operation of a handler.
func partsIn(ctx context.Context) []spans.Part { return []spans.Part{{Within: spans.Current(ctx)}} }

// reading is one that has a span.
type reading struct {
	span *spans.Span
	ids  []string // sorted
}

func contains(sorted []string, id string) bool {
	_, is := slices.BinarySearch(sorted, id)
	return is
}

// beginReading begins the span of a reading of the desktops for which of returns true.
func (f *follower) beginReading(what ReadingOf, asked int, chunks []record.Followed, of func(record.Row) bool) *spans.Span {
	if f.cfg.Spans == nil {
		return nil
	}
	var parts []spans.Part
	var seen []string
	for _, c := range chunks {
		op := c.Operation
		if op.Trace != "" && !slices.Contains(seen, op.ID) && slices.ContainsFunc(inState(c.Desktops, tasks.StateAccepted), of) {
			parts, seen = append(parts, spans.Part{Of: spans.Of(op.Operation)}), append(seen, op.ID)
		}
	}
	return f.cfg.Spans.Reading(parts, string(what), spans.AfterCall, f.project.Alias, asked)
}

// traceConfirmed makes the spans of what readings showed.
func (f *follower) traceConfirmed(changes []record.Change, applied []record.Applied, readings []reading, begun time.Time) {
	if f.cfg.Spans == nil {
		return
	}
	for i, c := range changes {
		var shown []*spans.Span
		for _, r := range readings {
			if slices.ContainsFunc(c.Moves, func(m record.Move) bool { return contains(r.ids, m.Desktop.ID) }) {
				shown = append(shown, r.span)
			}
		}
		moved := map[tasks.State]int{}
		for _, d := range applied[i].Desktops {
			if d.ID != "" {
				moved[d.State]++
			}
		}
		f.cfg.Spans.Confirm(c.Operation.Operation, c.Chunk, begun, shown, moved)
	}
}
