package tasks

import (
	"time"
)

// Call is one request to the cloud, as seen by one operation.
type Call struct {
	ID            string    `json:"id"`
	At            time.Time `json:"at"`
	DurationMS    int64     `json:"duration_ms"`
	Status        int       `json:"status"`         // HTTP; 0: no reply, or not yet
	Code          string    `json:"code,omitempty"` // error_code of the reply
	Message       string    `json:"message,omitempty"`
	RequestID     string    `json:"request_id,omitempty"`
	JobID         string    `json:"job_id,omitempty"`
	SuccessJobIDs []string  `json:"success_job_ids,omitempty"`
	Size          int       `json:"size"`              // desktops in the request, over all operations
	Refused       int       `json:"refused,omitempty"` // of those, refused while others were accepted
	Worker        string    `json:"worker"`            // that sent it
	Answered      bool      `json:"answered"`
	// Trace is the W3C traceparent that the cloud got with the call. The call is its span; the
	// trace is that of the first traced operation in it, or of the first that is sampled where
	// spans are made.
	Trace string `json:"trace,omitempty"`
}

// Duration is how long the call took.
func (c Call) Duration() time.Duration { return time.Duration(c.DurationMS) * time.Millisecond }
