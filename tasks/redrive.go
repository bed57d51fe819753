package tasks

import "time"

// DesktopRef names a desktop within an operation.
type DesktopRef struct {
	OperationID string `json:"operation_id"`
	DesktopID   string `json:"desktop_id"`
}

// Redrive takes failed or held desktops, of any operations, up again. What it
// matched when it was begun is kept; what changes later is not among it.
type Redrive struct {
	ID          string        `json:"id"`
	Filter      FailureFilter `json:"filter,omitzero"` // what was asked for; empty where desktops were named
	PerSecond   int           `json:"per_second"`      // desktops; 0: as fast as they can be taken up
	RequestedBy string        `json:"requested_by"`
	Reason      string        `json:"reason,omitempty"`
	CreatedAt   time.Time     `json:"created_at"`
	EndedAt     time.Time     `json:"ended_at,omitzero"` // when all were looked at, or it was aborted
	Aborted     bool          `json:"aborted,omitempty"`
	AbortedBy   string        `json:"aborted_by,omitempty"`
	Matched     int           `json:"matched"` // desktops, at the start
	Retried     int           `json:"retried"` // of those: taken up again
	Skipped     int           `json:"skipped"` // of those: no longer what they were matched as
}
