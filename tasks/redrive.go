package tasks

import (
	"fmt"
	"strings"
	"time"
)

// DesktopRef names a desktop within an operation.
type DesktopRef struct {
	OperationID string `json:"operation_id"`
	DesktopID   string `json:"desktop_id"`
}

// RedriveRequest asks to retry failed or held desktops of any operations.
type RedriveRequest struct {
	// Filter selects from the inbox. Held desktops match only if Class is ClassHeld: the
	// guard would stop them again until somebody changes something. Not together with
	// Desktops.
	Filter FailureFilter
	// Desktops lists desktops, up to MaxDesktops, whether or not they are in the inbox.
	// Those that are neither failed nor held are skipped. nil: what Filter selects.
	Desktops       []DesktopRef
	Projects       []string // only of these; empty: of all
	PerSecond      int      // desktops a second, up to 10,000; 0: unlimited
	RequestedBy    string   // up to 255 characters
	Reason         string   // up to 1,000 characters
	IdempotencyKey string   // as in Request
}

const maxPerSecond = 10_000

// Validate returns a *ValidationError that lists every problem, or nil.
func (q RedriveRequest) Validate() error {
	var ps problems
	if q.Desktops != nil && len(q.Desktops) == 0 { // somebody's selection came out empty
		ps.add("desktops", "", "is empty: name some, or leave it out for all that the filter selects")
	}
	if n := len(q.Desktops); n > MaxDesktops {
		ps.add("desktops", "", "has %d desktops, more than %d", n, MaxDesktops)
	} else {
		seen := make(map[DesktopRef]int, n)
		for i, d := range q.Desktops {
			field := fmt.Sprintf("desktops[%d]", i)
			switch j, twice := seen[d]; {
			case twice:
				ps.add(field, "", "is the same as desktops[%d]", j)
			case d.OperationID == "" || d.DesktopID == "" || strings.ContainsAny(d.OperationID, "/{}"):
				ps.add(field, "", "does not name an operation and a desktop")
			}
			seen[d] = i
		}
	}
	if len(q.Desktops) > 0 && q.Filter != (FailureFilter{}) {
		ps.add("filter", "", "and desktops do not go together: give one of them")
	}
	if q.PerSecond < 0 || q.PerSecond > maxPerSecond {
		ps.add("per_second", "", "is not 0 to %d", maxPerSecond)
	}
	ps.text("requested_by", q.RequestedBy, MaxName)
	ps.text("reason", q.Reason, maxReason)
	ps.text("idempotency_key", q.IdempotencyKey, MaxName)
	return ps.err()
}

// DismissRequest asks to remove desktops from the inbox without a retry: a person has
// looked at them, and nothing needs to be done here.
type DismissRequest struct {
	// Filter selects from the inbox, held desktops included. Not together with Desktops.
	Filter FailureFilter
	// Desktops lists desktops, up to MaxDesktops. Those that are not in the inbox are
	// skipped. nil: what Filter selects.
	Desktops []DesktopRef
	// Matched is the number of matches that the caller has seen. The request is refused
	// if another number matches now. 0: any number.
	Matched  int
	Projects []string // only of these; empty: of all
	By       string   // up to 255 characters
	Reason   string   // required, up to 1,000 characters
}

// Validate returns a *ValidationError that lists every problem, or nil. It does not
// require a reason.
func (q DismissRequest) Validate() error {
	return RedriveRequest{Filter: q.Filter, Desktops: q.Desktops, RequestedBy: q.By, Reason: q.Reason}.Validate()
}

// Redrive is a bulk retry of failed or held desktops of any operations. Its matches are
// fixed when it begins; what fails later is not included.
type Redrive struct {
	ID          string        `json:"id"`
	Filter      FailureFilter `json:"filter,omitzero"` // as requested; empty if desktops were listed
	Named       int           `json:"named,omitempty"` // number of listed desktops
	PerSecond   int           `json:"per_second"`      // desktops; 0: unlimited
	RequestedBy string        `json:"requested_by"`
	Reason      string        `json:"reason,omitempty"`
	CreatedAt   time.Time     `json:"created_at"`
	EndedAt     time.Time     `json:"ended_at,omitzero"` // all matches are processed, or it was aborted
	AbortedBy   string        `json:"aborted_by,omitempty"`
	Matched     int           `json:"matched"`  // desktops that matched at the start
	Projects    []string      `json:"projects"` // of the matches
	Retried     int           `json:"retried"`  // of the matches
	// Skipped are matches that had changed before they were processed. After the kill of
	// a worker they include those that it had just retried.
	Skipped int `json:"skipped"`
}

// Done reports that it has ended.
func (x Redrive) Done() bool { return !x.EndedAt.IsZero() }

// RedriveState is the state of a redrive.
type RedriveState string

// The states of a redrive.
const (
	RedriveRunning RedriveState = "running"
	RedriveEnded   RedriveState = "ended" // all matches are processed
	RedriveAborted RedriveState = "aborted"
)

// State returns the state of the redrive.
func (x Redrive) State() RedriveState {
	switch {
	case !x.Done():
		return RedriveRunning
	case x.AbortedBy != "":
		return RedriveAborted
	}
	return RedriveEnded
}

// RedriveItem is a match of a redrive, and the desktop as it is now.
type RedriveItem struct {
	DesktopRef
	MatchedAt time.Time `json:"matched_at"` // time of the failure that matched
	Processed bool      `json:"processed"`  // retried or skipped
	Desktop   *Desktop  `json:"desktop,omitempty"`
}

// RedriveProgress is a redrive with the results so far.
type RedriveProgress struct {
	Redrive
	// Counts are the retried rows by their state now. Rows of expired operations are
	// missing.
	Counts Counts `json:"counts"`
	Left   int    `json:"left"` // matches not yet processed; 0 once it has ended
	Pace   Pace   `json:"pace"` // of these and of the rows in progress
}

// Moves reports whether anything may still change.
func (x RedriveProgress) Moves() bool { return x.Open() > 0 || !x.Done() }

// Open is the number of rows to be processed or in progress.
func (x RedriveProgress) Open() int { return x.Left + x.Counts.Unsettled() }

// Pace is the speed at which rows settle: they are detached, failed, held or in another
// state that needs no work.
type Pace struct {
	PerMinute float64   `json:"per_minute"`       // rows, over the last minute
	EndsAt    time.Time `json:"ends_at,omitzero"` // estimate; zero if nothing is left or nothing settled
}
