package tasks

import (
	"time"
)

// Operation is one accepted request. Its rows are the desktops and the users
// that it names and, once those users were looked up, the desktops found.
type Operation struct {
	ID                 string    `json:"id"`
	Project            string    `json:"project"`
	ShutoffAfterDetach bool      `json:"shutoff_after_detach"`
	Urgent             bool      `json:"urgent"`
	AllowShared        bool      `json:"allow_shared,omitempty"`
	NotBefore          time.Time `json:"not_before,omitzero"` // the start; zero: at once
	DueAt              time.Time `json:"due_at"`
	Deadline           time.Time `json:"deadline"`
	RequestedBy        string    `json:"requested_by,omitempty"`
	Reason             string    `json:"reason,omitempty"`
	Ticket             string    `json:"ticket,omitempty"`
	Trace              string    `json:"trace,omitempty"` // a W3C traceparent
	AcceptedAt         time.Time `json:"accepted_at"`
	EndedAt            time.Time `json:"ended_at,omitzero"`   // zero while desktops are still to be worked on, or to be proven
	Total              int       `json:"total"`               // rows
	Users              int       `json:"users,omitempty"`     // of those, rows that name a user
	Computers          int       `json:"computers,omitempty"` // of those, rows that name a computer
	UnknownUsers       string    `json:"unknown_users,omitempty"`
	Counts             Counts    `json:"counts"`
	// Seal is the head of the trail's hash chain, in hex; see package trail. It is there
	// from a moment after the operation's end until it is taken up again.
	Seal string `json:"seal,omitempty"`
	// Durability is of the answer that accepted the operation only.
	Durability Durability `json:"durability,omitempty"`
}

// Done reports that nothing is left to be worked on and everything that the
// cloud took is proven or given up.
func (o Operation) Done() bool { return !o.EndedAt.IsZero() }

// Sealed reports that it is Done and its trail has its Seal: nothing is left to be
// written, unless somebody retries or dismisses something.
func (o Operation) Sealed() bool { return o.Done() && o.Seal != "" }

// OperationState is where an operation is on its way.
type OperationState string

// The states of an operation.
const (
	OperationScheduled OperationState = "scheduled" // its start is still to come: nothing is late, and nothing waits
	OperationRunning   OperationState = "running"   // under way
	OperationFinished  OperationState = "finished"  // Done, also when it was cancelled before its start
)

// State is where the operation is at now.
func (o Operation) State(now time.Time) OperationState {
	switch {
	case o.Done():
		return OperationFinished
	case o.NotBefore.After(now):
		return OperationScheduled
	}
	return OperationRunning
}

// Counts is the number of desktops in each state; the sum is Operation.Total.
type Counts struct {
	Queued    int `json:"queued"`
	Sending   int `json:"sending"`
	Accepted  int `json:"accepted"`
	Detached  int `json:"detached"`
	Failed    int `json:"failed"`
	Held      int `json:"held"`
	Cancelled int `json:"cancelled"`
	Expanded  int `json:"expanded,omitempty"`   // users and computers whose desktops have rows of their own
	NoDesktop int `json:"no_desktop,omitempty"` // users who have none
}

// at is the number of a state; nil: there is no such state.
func (c *Counts) at(s State) *int {
	switch s {
	case StateQueued:
		return &c.Queued
	case StateSending:
		return &c.Sending
	case StateAccepted:
		return &c.Accepted
	case StateDetached:
		return &c.Detached
	case StateFailed:
		return &c.Failed
	case StateHeld:
		return &c.Held
	case StateCancelled:
		return &c.Cancelled
	case StateExpanded:
		return &c.Expanded
	case StateNoDesktop:
		return &c.NoDesktop
	}
	return nil
}

// Of is the number of desktops in a state.
func (c Counts) Of(s State) int {
	if n := c.at(s); n != nil {
		return *n
	}
	return 0
}

// Count counts one desktop more in a state.
func (c *Counts) Count(s State) { *c.at(s)++ }

// Set sets the number of desktops in a state.
func (c *Counts) Set(s State, n int) { *c.at(s) = n }

// Add adds other counts.
func (c *Counts) Add(o Counts) {
	for _, s := range States {
		*c.at(s) += o.Of(s)
	}
}

// Unsettled is the number of desktops for which something is still to be done: to be
// sent, or to be proven.
func (c Counts) Unsettled() int { return c.Queued + c.Sending + c.Accepted }

// OperationFilter says which operations are wanted; empty fields want all.
type OperationFilter struct {
	Project     string
	RequestedBy string
	Ticket      string
	Open        bool // only those under way: Running
	Scheduled   bool // only those whose start is still to come, the next first; with Open: none
	From, To    time.Time
	Now         time.Time // what starts are held against; zero: the time
}

// Durability is where an operation was when it was acknowledged; empty where there
// is no replica to be on, see NoReplicas.
type Durability string

// What a Durability may be.
const (
	OnReplica Durability = "replicated"
	OneCopy   Durability = "one_copy" // a failover now would lose it: it is accepted all the same
)
