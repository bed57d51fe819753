package tasks

import "time"

// PauseKind says who closed a project's gate.
type PauseKind string

// The kinds of pause. A stronger one is not replaced by a weaker.
const (
	PauseThrottled PauseKind = "throttled" // the cloud asked for fewer calls
	PauseAuth      PauseKind = "auth"      // the cloud refused the credentials
	PauseNoRight   PauseKind = "no_right"  // the cloud refuses whatever is asked: a right of the IAM user is missing
	PauseNotAPI    PauseKind = "not_api"   // something else than the API answers: a proxy, a firewall, a wrong endpoint
	PauseOperator  PauseKind = "operator"  // a person
)

// Pause is a closed gate: no call of the project leaves, from any worker.
type Pause struct {
	Kind   PauseKind `json:"kind"`
	Until  time.Time `json:"until,omitzero"` // zero: until it is resumed
	Reason string    `json:"reason"`
}
