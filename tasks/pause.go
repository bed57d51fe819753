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

// Blackout is a time of the configuration in which a project makes no detach call. Urgent
// operations and undos do not wait for its end.
type Blackout struct {
	Name   string    `json:"name"`
	Until  time.Time `json:"until"`
	Reason string    `json:"reason,omitempty"`
}

// Text says it for people, with the time in UTC.
func (b Blackout) Text() string {
	text := "blackout " + b.Name + " until " + b.Until.UTC().Format("2006-01-02 15:04 UTC")
	if b.Reason != "" {
		text += " (" + b.Reason + ")"
	}
	return text
}

// Pause stops all calls of a project, from every worker.
type Pause struct {
	Kind   PauseKind `json:"kind"`
	Until  time.Time `json:"until,omitzero"` // zero: until it is resumed
	Reason string    `json:"reason"`
}
