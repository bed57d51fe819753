package tasks

import (
	"time"
)

// Operation is an accepted request. Its rows are the desktops, users and computers of the
// request and, once users and computers are looked up, the desktops found.
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
	Owner              string    `json:"owner,omitempty"` // the person who owns the key of RequestedBy; empty: unknown
	Reason             string    `json:"reason,omitempty"`
	Ticket             string    `json:"ticket,omitempty"`
	Trace              string    `json:"trace,omitempty"` // a W3C traceparent
	Tracestate         string    `json:"tracestate,omitempty"`
	AcceptedAt         time.Time `json:"accepted_at"`
	EndedAt            time.Time `json:"ended_at,omitzero"`   // zero while work is left, or desktops are not yet confirmed
	Total              int       `json:"total"`               // rows
	Users              int       `json:"users,omitempty"`     // rows that name a user
	Computers          int       `json:"computers,omitempty"` // rows that name a computer
	UnknownUsers       string    `json:"unknown_users,omitempty"`
	Plan               string    `json:"plan,omitempty"` // hash of the plan that it runs, see Request.Plan
	Counts             Counts    `json:"counts"`
	// Seal is the audit seal: the head of the hash chain of the audit trail, in hex. It is
	// written shortly after the operation has finished, and removed by a retry.
	Seal string `json:"seal,omitempty"`
	// Clearance is set once the operation asked for more than passes without an approval.
	Clearance *Clearance `json:"clearance,omitempty"`
	// UndoOf is the operation whose desktops this one gives back to the users who had them.
	UndoOf string `json:"undo_of,omitempty"`
	// Undos are the operations that give desktops of this one back, the earliest first.
	Undos []string `json:"undos,omitempty"`
	// Estimate is set only in answers of the API, while there is something to send.
	Estimate *Estimate `json:"estimate,omitempty"`
	// Durability is set only in the answer that accepts the operation.
	Durability Durability `json:"durability,omitempty"`
	// Replayed is set only in the answer that accepts the operation: an earlier request with
	// the same idempotency key was accepted already.
	Replayed bool `json:"replayed,omitempty"`
}

// Done reports that the operation has finished: no row is left to be worked on, and
// everything that the cloud accepted is confirmed or given up.
func (o Operation) Done() bool { return !o.EndedAt.IsZero() }

// Sealed reports that the operation is Done and has its Seal. Nothing more is written
// unless a desktop is retried or dismissed.
func (o Operation) Sealed() bool { return o.Done() && o.Seal != "" }

// OperationState is the state of an operation.
type OperationState string

// The states of an operation.
const (
	OperationScheduled OperationState = "scheduled" // starts later: nothing is late, and nothing waits
	OperationWaiting   OperationState = "waiting"   // for an approval: nothing is sent
	OperationRunning   OperationState = "running"   // in progress
	OperationFinished  OperationState = "finished"  // Done; also if cancelled before its start
)

// State returns the state of the operation at now.
func (o Operation) State(now time.Time) OperationState {
	switch {
	case o.Done():
		return OperationFinished
	case o.NotBefore.After(now):
		return OperationScheduled
	case o.AwaitsApproval():
		return OperationWaiting
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
	Expanded  int `json:"expanded,omitempty"`   // users and computers; their desktops are rows of their own
	NoDesktop int `json:"no_desktop,omitempty"` // users without a desktop
}

// at returns the field of a state; nil: no such state.
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

// Count adds one desktop in a state.
func (c *Counts) Count(s State) { *c.at(s)++ }

// Add adds other counts.
func (c *Counts) Add(o Counts) {
	for _, s := range States {
		*c.at(s) += o.Of(s)
	}
}

// Unsettled is the number of desktops with work left: to be sent, or to be confirmed.
func (c Counts) Unsettled() int { return c.Queued + c.Sending + c.Accepted }

// OperationFilter selects operations; an empty field matches all.
type OperationFilter struct {
	Project     string
	RequestedBy string
	Ticket      string
	Open        bool // only OperationRunning
	Scheduled   bool // only OperationScheduled, the next start first; with Open: none
	Waiting     bool // only OperationWaiting
	// DueBefore lists unfinished operations that start and are due before it, the next due
	// first; not with Scheduled.
	DueBefore time.Time
	From, To  time.Time
	Now       time.Time // defaults to the time of the call
}

// Durability says whether a replica of Redis has the operation when it is acknowledged.
// Empty where Redis has no replicas.
type Durability string

// Values of Durability.
const (
	OnReplica Durability = "replicated"
	OneCopy   Durability = "one_copy" // accepted, but a failover now would lose it
)
