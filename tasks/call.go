package tasks

import (
	"time"
)

// Call is one request to the API as far as one operation is concerned.
type Call struct {
	ID            string    `json:"id"`
	At            time.Time `json:"at"`
	DurationMS    int64     `json:"duration_ms"`
	Status        int       `json:"status"`         // HTTP status, 0: no reply (or not yet)
	Code          string    `json:"code,omitempty"` // error_code of a refused call
	Message       string    `json:"message,omitempty"`
	RequestID     string    `json:"request_id,omitempty"`
	JobID         string    `json:"job_id,omitempty"`
	SuccessJobIDs []string  `json:"success_job_ids,omitempty"`
	Size          int       `json:"size"`              // desktops in the request, of all operations
	Refused       int       `json:"refused,omitempty"` // of those, that an answer which took others refused
	Worker        string    `json:"worker"`            // who made it
	Answered      bool      `json:"answered"`
}

// Duration is how long the call took.
func (c Call) Duration() time.Duration { return time.Duration(c.DurationMS) * time.Millisecond }
