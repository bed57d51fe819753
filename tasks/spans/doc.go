// Package spans makes the spans of OpenTelemetry: it has their names, and everything that may be
// in them. No other package adds to a span, so this is the place to see that none has personal
// data: there are ids of operations, calls and requests, aliases of projects, counts, codes and
// statuses, and no names of people, desktops or keys, and no text of people or of the cloud.
//
// The spans of an operation, each a child of the one further left:
//
//	POST /v1/operations          the request; a child of the caller's span, if it sent one
//	    accept operation         until it is in the record, which keeps this span for workers
//	        handle chunk         a run of a handler, in any worker; linked to its calls
//	            read desktops    before the call, or after one with an unknown outcome
//	            detach call      the request to the cloud, which gets this span
//	        read desktops        after the call
//	        confirm              what the readings showed
//	        operation            from its acceptance to its end
//
// A request to the cloud may be for several operations. It continues the trace of the first that
// is traced, and is linked to the others.
//
// Without a Maker there are no spans, and no cost: all methods of a nil Maker and of a nil Span do
// nothing. An operation without a trace has no spans in workers.
package spans
