package tasks

import "time"

// Failure says why a desktop failed or is held, or why its last attempt failed. Message and
// DesktopName are the cloud's text: hostile input.
type Failure struct {
	OperationID string    `json:"operation_id"`
	Project     string    `json:"project"`
	DesktopID   string    `json:"desktop_id"`
	DesktopName string    `json:"desktop_name,omitempty"`
	Expect      []string  `json:"expected_users,omitempty"` // Desktop.Expected; filled in when it is written
	Code        string    `json:"code"`
	Message     string    `json:"message"`
	Class       string    `json:"class"`
	Status      int       `json:"status,omitempty"` // HTTP status of the call
	RequestID   string    `json:"request_id,omitempty"`
	CallID      string    `json:"call_id,omitempty"`
	Attempts    int       `json:"attempts"`
	At          time.Time `json:"at"`
}

// HeldClass is the class of what a guard held.
const HeldClass = "held"

// FailureFilter says which failures are wanted; empty fields want all.
type FailureFilter struct {
	Project   string    `json:"project,omitempty"`
	Class     string    `json:"class,omitempty"`
	Code      string    `json:"code,omitempty"`
	Operation string    `json:"operation,omitempty"`
	User      string    `json:"user,omitempty"`   // an expected user, or the leaver that the row names; whatever the case
	Source    string    `json:"source,omitempty"` // who asked for the operation
	From      time.Time `json:"from,omitzero"`    // of the failure
	To        time.Time `json:"to,omitzero"`      // not included
}

// FailureCount is the number of failures of one project, class and code.
type FailureCount struct {
	Project string `json:"project"`
	Class   string `json:"class"`
	Code    string `json:"code"`
	Count   int    `json:"count"`
}
