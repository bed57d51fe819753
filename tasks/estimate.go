package tasks

import (
	"cmp"
	"fmt"
	"slices"
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
	EstimateBlackout  EstimateWhy = "blackout"  // no time: it waits for the end of Blackout
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
	Blackout  *Blackout   `json:"blackout,omitempty"` // for EstimateBlackout
	Late      bool        `json:"late,omitempty"`     // the deadline is not after the end of Blackout
}

// Short is the time alone, for lists: "about 9 minutes".
func (e Estimate) Short() string {
	switch minutes := divideUp(e.Seconds, 60); {
	case minutes == 0:
		return "no estimate"
	case minutes > 1:
		return fmt.Sprintf("about %d minutes", minutes)
	}
	return "less than a minute"
}

// Text says it for people: "about 9 minutes at 100 calls a minute, after 300 calls of others".
func (e Estimate) Text() string {
	text := e.Short()
	switch e.Why {
	case EstimateApproval:
		return text + ": waits for approval"
	case EstimatePaused:
		return text + ": the project is paused"
	case EstimateBlackout:
		return text + ": " + e.Blackout.Text() + e.late()
	case EstimateNoLimit:
		return text + ": no limit is configured"
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

func (e Estimate) late() string {
	if e.Late {
		return "; its deadline is not after that, so nothing will be sent"
	}
	return ""
}

// Budget is what the calls of an operation's project may use.
type Budget struct {
	CallsPerMinute int // of the credential; 0: unlimited
	ReadsPerMinute int // likewise
	Pause          *Pause
	Blackout       *Blackout
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

// compare is negative if it is sent before another one.
func (x Backlog) compare(y Backlog) int {
	if x.Urgent != y.Urgent {
		if x.Urgent {
			return -1
		}
		return 1
	}
	return cmp.Or(x.AcceptedAt.Compare(y.AcceptedAt), cmp.Compare(x.Operation, y.Operation))
}

// Line is what the operations of a project have to send, in the order in which it is sent.
// Rows is a sum: of an operation and of all before it.
type Line []Backlog

// LinesOf makes the line of each project.
func LinesOf(all []Backlog) map[string]Line {
	out := map[string]Line{}
	for _, x := range slices.SortedFunc(slices.Values(all), Backlog.compare) {
		line := out[x.Project]
		if n := len(line); n > 0 {
			x.Rows += line[n-1].Rows
		}
		out[x.Project] = append(line, x)
	}
	return out
}

// before is how many rows are sent before those of an operation.
func (l Line) before(o Operation) int {
	i, _ := slices.BinarySearchFunc(l, Backlog{Operation: o.ID, Urgent: o.Urgent, AcceptedAt: o.AcceptedAt}, Backlog.compare)
	if i == 0 {
		return 0
	}
	return l[i-1].Rows
}

// EstimateOf estimates an operation; nil if it has nothing to send. lines are of the projects
// that share its credential. Calls of a project are shared by its operations, so what is ahead
// is counted in whole calls of a project.
func EstimateOf(o Operation, now time.Time, b Budget, lines ...Line) *Estimate {
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
		for _, l := range lines {
			e.Ahead += divideUp(l.before(o), rowsPerCall)
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
	case b.Blackout != nil && !o.Urgent:
		e.Why, e.Blackout, e.Late = EstimateBlackout, b.Blackout, !o.Deadline.IsZero() && !o.Deadline.After(b.Blackout.Until)
	case b.Workers == 0:
		e.Why = EstimateNoWorker
	case throttled:
		e.Why = EstimateThrottled
	}
	switch {
	case e.Why == EstimateApproval, e.Why == EstimatePaused, e.Why == EstimateBlackout:
	case e.PerMinute == 0:
		e.Why = EstimateNoLimit
	default:
		e.Seconds = divideUp((e.Calls+e.Ahead)*60, e.PerMinute)
	}
	return e
}

func divideUp(n, by int) int { return (n + by - 1) / by }
