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

// RedriveRequest asks for failed or held desktops, of any operations, to be taken
// up again.
type RedriveRequest struct {
	// Filter says which of the inbox; what is held is among them only if Class is "held",
	// because a guard that stopped it stops it again until somebody changed
	// something. Leave it empty where Desktops are named.
	Filter FailureFilter
	// Desktops names them, up to MaxDesktops, whether or not they are in the inbox.
	// Those that are neither failed nor held (any more) are left out.
	Desktops       []DesktopRef
	Projects       []string // only of these; empty: of all
	PerSecond      int      // how many are taken up a second, up to 10,000; 0: as fast as they can be
	RequestedBy    string   // who asks, up to 255 characters
	Reason         string   // up to 1,000 characters
	IdempotencyKey string   // as Request's
}

const maxPerSecond = 10_000

func (q RedriveRequest) Validate() error {
	var ps problems
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
	if len(ps) > 0 {
		return &ValidationError{Problems: ps}
	}
	return nil
}

// DismissRequest asks for desktops to leave the inbox without anything being done
// about them: somebody has looked, and nothing is to be done here.
type DismissRequest struct {
	// Filter says which, what is held included. Leave it empty where Desktops are named.
	Filter FailureFilter
	// Desktops names them, up to MaxDesktops. Those that are not in the inbox are
	// left out.
	Desktops []DesktopRef
	// Matched is how many whoever asks has seen to match; it is refused if they are
	// another number now. 0: whatever it is.
	Matched  int
	Projects []string // only of these; empty: of all
	By       string   // who dismisses them, up to 255 characters
	Reason   string   // required, up to 1,000 characters
}

func (q DismissRequest) Validate() error {
	return RedriveRequest{Filter: q.Filter, Desktops: q.Desktops, RequestedBy: q.By, Reason: q.Reason}.Validate()
}

// Redrive takes failed or held desktops, of any operations, up again. What it
// matched when it was begun is kept; what fails later is not among it.
type Redrive struct {
	ID          string        `json:"id"`
	Filter      FailureFilter `json:"filter,omitzero"` // what was asked for; empty where desktops were named
	Named       int           `json:"named,omitempty"` // how many desktops were named
	PerSecond   int           `json:"per_second"`      // desktops; 0: as fast as they can be taken up
	RequestedBy string        `json:"requested_by"`
	Reason      string        `json:"reason,omitempty"`
	CreatedAt   time.Time     `json:"created_at"`
	EndedAt     time.Time     `json:"ended_at,omitzero"` // when all were looked at, or it was aborted
	AbortedBy   string        `json:"aborted_by,omitempty"`
	Matched     int           `json:"matched"`  // desktops, at the start
	Projects    []string      `json:"projects"` // of those
	Retried     int           `json:"retried"`  // of those: taken up again
	// Skipped are those that were no longer what they were matched as. When a
	// worker was killed, they include what it had just taken up.
	Skipped int `json:"skipped"`
}

// Done reports that it has ended.
func (x Redrive) Done() bool { return !x.EndedAt.IsZero() }

// RedriveState is where a redrive is on its way.
type RedriveState string

// The states of a redrive.
const (
	RedriveRunning RedriveState = "running"
	RedriveEnded   RedriveState = "ended" // all that it matched was looked at
	RedriveAborted RedriveState = "aborted"
)

// State is where the redrive is.
func (x Redrive) State() RedriveState {
	switch {
	case !x.Done():
		return RedriveRunning
	case x.AbortedBy != "":
		return RedriveAborted
	}
	return RedriveEnded
}

// RedriveItem is a desktop that a redrive matched, and what it is now.
type RedriveItem struct {
	DesktopRef
	MatchedAt time.Time `json:"matched_at"` // when it had failed
	Taken     bool      `json:"taken"`      // the redrive has come to it
	Desktop   *Desktop  `json:"desktop,omitempty"`
}

// RedriveProgress is a redrive with what came of what it took up.
type RedriveProgress struct {
	Redrive
	// Counts are the rows that it has taken up, as they are now: those detached,
	// failed again, held again, and still under way. What has passed its retention is
	// missing.
	Counts Counts `json:"counts"`
	Left   int    `json:"left"` // not yet come to; 0 once it has ended
	Pace   Pace   `json:"pace"` // at which these, and what is under way, come to their end
}

// Moves reports that something of it may still change.
func (x RedriveProgress) Moves() bool { return x.Open() > 0 || !x.Done() }

// Open is how many are to be taken up, or are under way.
func (x RedriveProgress) Open() int { return x.Left + x.Counts.Unsettled() }

// Pace is how fast rows come to their end: detached, failed, held, or another state
// that nothing is to be done in.
type Pace struct {
	PerMinute float64   `json:"per_minute"`       // rows, as in the last minute
	EndsAt    time.Time `json:"ends_at,omitzero"` // when the rest will have, at that rate; zero where there is no rest or no rate
}
