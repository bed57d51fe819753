package tasks

import "time"

// PauseKind is the cause of a pause.
type PauseKind string

// The kinds of pause, the weakest first. A weaker one never replaces a stronger one.
const (
	PauseThrottled PauseKind = "throttled" // the cloud asked for fewer calls
	PauseAuth      PauseKind = "auth"      // the cloud refused the credentials
	PauseNoRight   PauseKind = "no_right"  // the cloud refuses every call: the IAM user lacks a permission
	PauseNotAPI    PauseKind = "not_api"   // the replies do not come from the API: a proxy, a firewall, a wrong endpoint
	PauseOperator  PauseKind = "operator"  // a person
	PauseStop      PauseKind = "stop"      // a person stopped all projects at once; resuming one project does not end it
)

// Pause stops all calls of a project, from every worker.
type Pause struct {
	Kind   PauseKind `json:"kind"`
	Until  time.Time `json:"until,omitzero"` // zero: until it is resumed
	Reason string    `json:"reason"`
}
