package api

import (
	"fmt"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
)

// Problem is the body of every error: application/problem+json (RFC 9457).
type Problem struct {
	Type      string  `json:"type"`  // a paragraph of the server's documentation about the code
	Title     string  `json:"title"` // the name of the status
	Status    int     `json:"status"`
	Code      string  `json:"code"` // stable, for programs; keep unknown ones
	Detail    string  `json:"detail,omitempty"`
	RequestID string  `json:"request_id"`
	TraceID   string  `json:"trace_id,omitempty"` // of the request's traceparent
	Errors    []Fault `json:"errors,omitempty"`   // at most 100

	RetryAfter time.Duration `json:"-"` // of the header Retry-After
}

// Fault is one fault of a request.
type Fault struct {
	Pointer string `json:"pointer,omitempty"` // a JSON pointer into the body (RFC 6901), or the name of a parameter or header
	Detail  string `json:"detail"`
}

// Error is the text for people, with up to ten faults.
func (p *Problem) Error() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	const shown = 10
	for i, f := range p.Errors {
		if i == shown {
			return text + fmt.Sprintf("; and %d more", len(p.Errors)-shown)
		}
		text += "; " + strings.TrimSpace(f.Pointer+" "+f.Detail)
	}
	return text
}

// The codes that errors.Is understands, and others that callers may want to distinguish.
const (
	CodeNotFound  = "operation_not_found"
	CodeKeyReused = "idempotency_key_reused"
	CodePageToken = "page_token"
	CodeInvalid   = "invalid"
	CodeBusy      = "busy" // the server has too much to do; nothing was changed

	CodeRecordAltered = "record_altered" // a report: the record contradicts itself
	CodeUnsettled     = "unsettled"      // a report: the operation changed while it was read
	CodeNotDetachd    = "not_detachd"    // the answer did not come from detachd
)

// Is supports errors.Is with tasks.ErrNotFound, tasks.ErrKeyReused and tasks.ErrPageToken.
func (p *Problem) Is(target error) bool {
	switch target {
	case tasks.ErrNotFound:
		return p.Code == CodeNotFound
	case tasks.ErrKeyReused:
		return p.Code == CodeKeyReused
	case tasks.ErrPageToken:
		return p.Code == CodePageToken
	}
	return false
}
