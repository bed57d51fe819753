package tasks

import (
	"time"
)

// CancellationFilter selects operations, whatever their state: in progress, scheduled,
// waiting for approval, finished. An empty field matches all.
type CancellationFilter struct {
	RequestedBy string    `json:"requested_by,omitempty"`
	Ticket      string    `json:"ticket,omitempty"`
	Project     string    `json:"project,omitempty"`
	From        time.Time `json:"from,omitzero"` // accepted at or after it; required without a ticket
	To          time.Time `json:"to,omitzero"`   // accepted before it
}

// CancellationRequest asks to cancel what was not sent of all operations that match.
type CancellationRequest struct {
	Filter   CancellationFilter
	Projects []string // only of these; empty: of all
	// AsOf: operations that were accepted at or after it are omitted. Zero, or later than the
	// time of the call: the time of the call.
	AsOf time.Time
	// Matched is the number of operations that the caller has seen. The request is refused
	// if another number matches. 0: any number.
	Matched        int
	RequestedBy    string // up to 255 characters
	Reason         string // required, up to 1,000 characters
	IdempotencyKey string // as in Request
}

// Validate returns a *ValidationError that lists every problem, or nil. It does not require a
// reason.
func (q CancellationRequest) Validate() error {
	var ps problems
	f := q.Filter
	switch {
	case f.RequestedBy == "" && f.Ticket == "" && f.Project == "":
		ps.add("filter", "", "names nothing: give requested_by, ticket or project")
	case f.From.IsZero() && f.Ticket == "":
		ps.add("filter.from", "", "is missing: without a ticket, say since when the operations were accepted")
	case !f.To.IsZero() && !f.From.Before(f.To):
		ps.add("filter.to", "", "is not after from: nothing would match")
	}
	ps.text("filter.requested_by", f.RequestedBy, MaxName)
	ps.text("filter.ticket", f.Ticket, MaxName)
	ps.text("requested_by", q.RequestedBy, MaxName)
	ps.text("reason", q.Reason, maxReason)
	ps.text("idempotency_key", q.IdempotencyKey, MaxName)
	return ps.err()
}

// CancellationMatch is what a cancellation would be about.
type CancellationMatch struct {
	AsOf    time.Time `json:"as_of"`   // operations that were accepted at or after it are not included
	Matched int       `json:"matched"` // operations
	// Counts are their rows. Queued and held ones would be cancelled, so would sending ones
	// that come back from their call; accepted and detached ones are too late.
	Counts Counts              `json:"counts"`
	By     []CancellationCount `json:"by"` // never null; the largest count first
}

// CancellationCount is a part of a CancellationMatch.
type CancellationCount struct {
	Project     string `json:"project"`
	RequestedBy string `json:"requested_by,omitempty"`
	Operations  int    `json:"operations"`
	Desktops    int    `json:"desktops"` // rows of any state
}

// Cancellation cancels what was not sent of all operations that match a filter. Its matches
// are fixed when it begins; operations that are accepted later are not included. It ends when
// no desktop of its matches is queued or in a call.
type Cancellation struct {
	ID          string             `json:"id"`
	Filter      CancellationFilter `json:"filter"`
	AsOf        time.Time          `json:"as_of"`
	RequestedBy string             `json:"requested_by"`
	Reason      string             `json:"reason"`
	CreatedAt   time.Time          `json:"created_at"`
	EndedAt     time.Time          `json:"ended_at,omitzero"` // all matches are processed, or it was aborted
	AbortedBy   string             `json:"aborted_by,omitempty"`
	Matched     int                `json:"matched"`   // operations
	Projects    []string           `json:"projects"`  // of the matches
	Processed   int                `json:"processed"` // of the matches: nothing of them is queued or in a call
	Cancelled   int                `json:"cancelled"` // desktops
	// TooLate are desktops of the processed operations that the cloud had accepted, or that
	// were detached already.
	TooLate int `json:"too_late"`
	// AcceptedSince are operations that match the filter and were accepted while it ran. They
	// are not cancelled. Known when it has ended.
	AcceptedSince int `json:"accepted_since,omitempty"`
}

// Done reports that it has ended.
func (x Cancellation) Done() bool { return !x.EndedAt.IsZero() }

// State returns the state of the cancellation, in the words of a redrive.
func (x Cancellation) State() RedriveState {
	return Redrive{EndedAt: x.EndedAt, AbortedBy: x.AbortedBy}.State()
}

// CancellationProgress is a cancellation with the results so far.
type CancellationProgress struct {
	Cancellation
	// Late are the desktops that were too late, by their state now. Rows of expired
	// operations are missing.
	Late Counts `json:"late"`
}
