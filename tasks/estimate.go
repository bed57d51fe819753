package tasks

import (
	"cmp"
	"fmt"
	"time"
)

const (
	rowsPerCall  = 100 // detach calls
	rowsPerUndo  = 50  // calls that give desktops back
	readsPerCall = 2   // at least: one before the call, and one that confirms
)

// EstimateWhy says why an Estimate has no time, or how to read it.
type EstimateWhy string

// The values of EstimateWhy.
const (
	EstimateApproval  EstimateWhy = "approval"  // no time: it waits for approval
	EstimatePaused    EstimateWhy = "paused"    // no time: its project is paused
	EstimateNoLimit   EstimateWhy = "no_limit"  // no time: no limit is configured, so its length depends on the cloud alone
	EstimateNoWorker  EstimateWhy = "no_worker" // from when a worker serves its project
	EstimateScheduled EstimateWhy = "scheduled" // from its start, without what is ahead of it then
	EstimateThrottled EstimateWhy = "throttled" // at least: the cloud throttles the project
)

// Estimate is how long it takes at least until an operation's last call has left, at the
// limits of the credentials and with what is queued before it now.
type Estimate struct {
	Seconds   int         `json:"seconds,omitempty"`    // omitted: see Why
	Calls     int         `json:"calls"`                // that it still needs
	Ahead     int         `json:"ahead"`                // calls of other operations that leave before them
	PerMinute int         `json:"per_minute,omitempty"` // calls that the limits allow
	Why       EstimateWhy `json:"why,omitempty"`
}

// Text says it for people: "about 9 minutes at 100 calls a minute, after 300 calls of others".
func (e Estimate) Text() string {
	switch e.Why {
	case EstimateApproval:
		return "no estimate: waits for approval"
	case EstimatePaused:
		return "no estimate: the project is paused"
	case EstimateNoLimit:
		return "no estimate: no limit is configured"
	}
	text := "less than a minute"
	if minutes := divideUp(e.Seconds, 60); minutes > 1 {
		text = fmt.Sprintf("about %d minutes", minutes)
	}
	if e.PerMinute == 1 {
		text += " at 1 call a minute"
	} else {
		text += fmt.Sprintf(" at %d calls a minute", e.PerMinute)
	}
	if e.Ahead > 0 {
		text += fmt.Sprintf(", after %d of other operations", e.Ahead)
	}
	switch e.Why {
	case EstimateScheduled:
		return text + ", from its start"
	case EstimateNoWorker:
		return text + ", once a worker runs"
	case EstimateThrottled:
		return text + ", or longer: the cloud throttles the project"
	}
	return text
}

// Budget is what the calls of an operation's project may use.
type Budget struct {
	CallsPerMinute int // of the credential; 0: unlimited
	ReadsPerMinute int // likewise
	Pause          *Pause
	Workers        int // that serve the project
}

// perMinute is the number of calls that both limits allow; 0: unlimited.
func (b Budget) perMinute() int {
	reads := 0
	if b.ReadsPerMinute > 0 {
		reads = max(1, b.ReadsPerMinute/readsPerCall)
	}
	if b.CallsPerMinute == 0 || reads == 0 {
		return max(b.CallsPerMinute, reads)
	}
	return min(b.CallsPerMinute, reads)
}

// Backlog is what an operation has to send.
type Backlog struct {
	Operation  string
	Project    string
	Urgent     bool
	AcceptedAt time.Time
	Rows       int // queued
}

// before reports whether it is sent before an operation.
func (x Backlog) before(o Operation) bool {
	if x.Urgent != o.Urgent {
		return x.Urgent
	}
	return cmp.Or(x.AcceptedAt.Compare(o.AcceptedAt), cmp.Compare(x.Operation, o.ID)) < 0
}

// EstimateOf estimates an operation; nil if it has nothing to send. backlog is of the projects
// that share its credential. Calls of a project are shared by its operations, so what is ahead
// is counted in whole calls of a project.
func EstimateOf(o Operation, now time.Time, b Budget, backlog []Backlog) *Estimate {
	rows, perCall := o.Counts.Queued, rowsPerCall
	if rows == 0 || o.Done() {
		return nil
	}
	if o.UndoOf != "" {
		perCall = rowsPerUndo
	}
	e := &Estimate{Calls: divideUp(rows, perCall), PerMinute: b.perMinute()}
	state := o.State(now)
	if state != OperationScheduled {
		ahead := map[string]int{}
		for _, x := range backlog {
			if x.Operation != o.ID && x.before(o) {
				ahead[x.Project] += x.Rows
			}
		}
		for _, n := range ahead {
			e.Ahead += divideUp(n, rowsPerCall)
		}
	}
	throttled := b.Pause != nil && b.Pause.Kind == PauseThrottled
	switch {
	case o.AwaitsApproval():
		e.Why = EstimateApproval
	case state == OperationScheduled:
		e.Why = EstimateScheduled
	case b.Pause != nil && !throttled:
		e.Why = EstimatePaused
	case b.Workers == 0:
		e.Why = EstimateNoWorker
	case throttled:
		e.Why = EstimateThrottled
	}
	if e.PerMinute == 0 && e.Why != EstimateApproval && e.Why != EstimatePaused {
		e.Why = EstimateNoLimit
	}
	switch e.Why {
	case EstimateApproval, EstimatePaused, EstimateNoLimit:
	default:
		e.Seconds = divideUp((e.Calls+e.Ahead)*60, e.PerMinute)
	}
	return e
}

func divideUp(n, by int) int { return (n + by - 1) / by }
