package worker

import (
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// Observer is told what a worker does, for counting. Its methods are called by
// many goroutines, in the middle of the work: they must return at once and never
// panic. What they do changes nothing.
type Observer interface {
	Call(SeenCall)
	Reading(SeenReading)
	Move(SeenMove)
}

// SeenCall is a detach call that was made.
type SeenCall struct {
	Project  string
	Status   int         // HTTP status; 0: no reply
	Code     string      // error_code of a refused call: the cloud's text; empty: it was answered
	Class    tasks.Class // what the error means; empty: it was answered
	Desktops int         // in the call
	Took     time.Duration
	// Waited is how long the first of its desktops waited to be put into a call.
	Waited time.Duration
}

// SeenReading is a request that read.
type SeenReading struct {
	Project string
	Of      ReadingOf
	Asked   int // desktops, users or jobs named
	Class   tasks.Class
	Took    time.Duration
}

// ReadingOf says what a reading was of.
type ReadingOf string

// What a reading can be of.
const (
	ReadDesktops  ReadingOf = "desktops"
	ReadUsers     ReadingOf = "users"     // their desktops
	ReadComputers ReadingOf = "computers" // their desktops
	ReadDirectory ReadingOf = "directory" // the users of Workspace
	ReadJob       ReadingOf = "job"
)

// SeenMove is a desktop that was moved, as the record has it now. A desktop that
// ends, is taken up again and ends once more is told twice.
type SeenMove struct {
	Project string
	State   tasks.State // Detached, Failed, Held or Expanded: it ends; Queued: what was refused is tried again
	Code    string      // of the failure, if there is one
	Class   tasks.Class // the same
	// Took is how long it took to the proof; Proven says that there is one, which a
	// user without a desktop has not.
	Took   tasks.Took
	Proven bool
}

// Observers tells several, in their order.
type Observers []Observer

// Call tells of a call.
func (os Observers) Call(x SeenCall) {
	for _, o := range os {
		o.Call(x)
	}
}

// Reading tells of a request that read.
func (os Observers) Reading(x SeenReading) {
	for _, o := range os {
		o.Reading(x)
	}
}

// Move tells of a desktop that was moved.
func (os Observers) Move(x SeenMove) {
	for _, o := range os {
		o.Move(x)
	}
}

// tellMoves tells of the moves of a change that were applied.
func tellMoves(o Observer, ch record.Change, a record.Applied) {
	for i, d := range a.Desktops {
		if d.ID == "" {
			continue
		}
		f := ch.Moves[i].Failure
		seen := SeenMove{Project: ch.Operation.Project, State: d.State}
		switch d.State {
		case tasks.StateDetached:
			seen.Took, seen.Proven = d.TookFrom(ch.Operation.Operation)
		case tasks.StateFailed, tasks.StateHeld:
		case tasks.StateExpanded, tasks.StateNoDesktop:
		case tasks.StateQueued:
			if f == nil {
				continue
			}
		default:
			continue
		}
		if f != nil {
			seen.Code, seen.Class = f.Code, f.Class
		}
		o.Move(seen)
	}
}

// tellReading tells of a reading that began at a time of the sender's clock.
func (s *sender) tellReading(of ReadingOf, asked int, begun time.Time, err error) {
	seen := SeenReading{Project: s.project.Alias, Of: of, Asked: asked, Took: s.now().Sub(begun)}
	if err != nil {
		seen.Class = s.policy.Call(err)
	}
	s.observer.Reading(seen)
}

// tellCall tells of a call for a group.
func (s *sender) tellCall(b *batch, group []*item, call *record.Call, err error) {
	seen := SeenCall{Project: s.project.Alias, Status: call.Status, Code: call.Code, Desktops: len(group), Took: call.Duration()}
	if err != nil {
		seen.Class = s.policy.Call(err)
	}
	for _, it := range group {
		seen.Waited = max(seen.Waited, b.begun.Sub(it.since))
	}
	s.observer.Call(seen)
}
