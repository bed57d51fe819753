package tasks

import "time"

// Failure is the reason why a desktop failed, is held, or is retried. Message and
// DesktopName come from the cloud; treat them as hostile input.
type Failure struct {
	OperationID string    `json:"operation_id"`
	Project     string    `json:"project"`
	DesktopID   string    `json:"desktop_id"`
	DesktopName string    `json:"desktop_name,omitempty"`
	Expect      []string  `json:"expected_users,omitempty"` // Desktop.Expected when the failure was written
	Code        string    `json:"code"`
	Message     string    `json:"message"`
	Class       Class     `json:"class"`
	Status      int       `json:"status,omitempty"` // HTTP status of the call
	RequestID   string    `json:"request_id,omitempty"`
	CallID      string    `json:"call_id,omitempty"`
	Attempts    int       `json:"attempts"`
	At          time.Time `json:"at"`
}

// Class is what a failure means for detaching. GET /v1/codes and the command
// "detachd codes" say what is done about each class. Clients keep one that they do not
// know.
type Class string

// The classes.
const (
	ClassTransient Class = "transient" // a fault that passes: retried
	ClassThrottled Class = "throttled" // too many calls: the project waits, and it is retried
	ClassConflict  Class = "conflict"  // the desktop is busy: retried
	ClassAmbiguous Class = "ambiguous" // the call may have had an effect: a reading decides
	ClassPoison    Class = "poison"    // one desktop spoils the call for the others: they are sent apart
	ClassAuth      Class = "auth"      // the credentials are refused: the project is paused
	ClassPolicy    Class = "policy"    // the IAM user lacks a permission: the project is paused
	ClassNotAPI    Class = "not_api"   // the reply is not from the API: the project is paused
	ClassDenied    Class = "denied"    // one desktop is refused for lack of a permission
	ClassLocal     Class = "local"     // the call was not sent
	ClassPermanent Class = "permanent" // retrying does not help
	ClassHeld      Class = "held"      // no error: a guard stopped it, and a person decides
)

// FailureFilter selects failures; an empty field matches all.
type FailureFilter struct {
	Project   string    `json:"project,omitempty"`
	Class     Class     `json:"class,omitempty"`
	Code      string    `json:"code,omitempty"`
	Operation string    `json:"operation,omitempty"`
	User      string    `json:"user,omitempty"`   // an expected user, or the leaver of the row; case-insensitive
	Source    string    `json:"source,omitempty"` // RequestedBy of the operation
	From      time.Time `json:"from,omitzero"`    // time of the failure
	To        time.Time `json:"to,omitzero"`      // exclusive
}

// FailureCount is the number of failures with one project, class and code.
type FailureCount struct {
	Project string `json:"project"`
	Class   Class  `json:"class"`
	Code    string `json:"code"`
	Count   int    `json:"count"`
	// OldestAt is the time of the oldest one. Only in Stats.
	OldestAt time.Time `json:"oldest_at,omitzero"`
}
