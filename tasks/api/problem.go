package api

import (
	"fmt"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
)

// Problem is the body of every error: application/problem+json (RFC 9457).
type Problem struct {
	Type      string  `json:"type"` // about:blank: Title is the status' name
	Title     string  `json:"title"`
	Status    int     `json:"status"`
	Code      string  `json:"code"` // stable; for programs
	Detail    string  `json:"detail,omitempty"`
	RequestID string  `json:"request_id"`
	TraceID   string  `json:"trace_id,omitempty"` // of the request's traceparent
	Errors    []Fault `json:"errors,omitempty"`   // at most 100

	RetryAfter time.Duration `json:"-"` // what the header Retry-After says
}

// Fault is one thing that is wrong with a request.
type Fault struct {
	Pointer string `json:"pointer,omitempty"` // into the body (RFC 6901), or the name of a query parameter
	Detail  string `json:"detail"`
}

// Error gives what a person has to know.
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

// The codes that errors.Is understands, and others that the client's callers may
// want to tell apart.
const (
	CodeNotFound  = "operation_not_found"
	CodeKeyReused = "idempotency_key_reused"
	CodePageToken = "page_token"
	CodeInvalid   = "invalid"
	CodeBusy      = "busy" // the server has too much at hand; nothing was done

	CodeRecordAltered = "record_altered" // a report: the record contradicts itself
	CodeUnsettled     = "unsettled"      // a report: the operation was changed meanwhile
	CodeNotDetachd    = "not_detachd"    // it was not detachd that answered
)

// Is makes errors.Is(err, tasks.ErrNotFound) and its kin work.
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
