package worker

import (
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// Observer receives what a worker does, for counting. Its methods are called by many
// goroutines in the middle of the work: they must return at once and never panic.
type Observer interface {
	Call(SeenCall)
	Reading(SeenReading)
	Move(SeenMove)
}

// SeenCall is a detach call that was made.
type SeenCall struct {
	Project  string
	Status   int         // HTTP status; 0: no reply
	Code     string      // error_code of a refused call, as the cloud sent it; empty for a 200
	Class    tasks.Class // what the error means; empty for a 200
	Desktops int         // in the call
	Took     time.Duration
	Waited   time.Duration // in the lane, of the desktop that waited longest
}

// SeenReading is any other request to the cloud: it reads.
type SeenReading struct {
	Project string
	Of      ReadingOf
	Asked   int         // how many desktops, users or jobs it names
	Class   tasks.Class // of the error; empty: none
	Took    time.Duration
}

// ReadingOf is what a reading is of.
type ReadingOf string

// Values of ReadingOf.
const (
	readDesktops  ReadingOf = "desktops"
	readUsers     ReadingOf = "users"     // their desktops
	readComputers ReadingOf = "computers" // their desktops
	readDirectory ReadingOf = "directory" // the users of Workspace
	readJob       ReadingOf = "job"
	readFleet     ReadingOf = "fleet" // how many desktops have a user
)

// SeenMove is a row that was moved, as the record has it now. A row that ends, is retried and
// ends again is reported twice.
type SeenMove struct {
	Project string
	// GivenBack: an undo gave it back to its users. Nothing else is set, nor is anything else
	// reported of an undo: what is counted is the removal of access.
	GivenBack bool
	State     tasks.State // StateQueued: it was refused and is retried; all others are ends
	Code      string      // of the failure, if there is one
	Class     tasks.Class // the same
	// Took is how long it took until the desktop was confirmed. Proven says that it was;
	// a user without a desktop never is.
	Took   tasks.Took
	Proven bool
}

// Observers reports to several, in their order.
type Observers []Observer

// Call reports a call.
func (os Observers) Call(x SeenCall) {
	for _, o := range os {
		o.Call(x)
	}
}

// Reading reports a reading.
func (os Observers) Reading(x SeenReading) {
	for _, o := range os {
		o.Reading(x)
	}
}

// Move reports a move.
func (os Observers) Move(x SeenMove) {
	for _, o := range os {
		o.Move(x)
	}
}

// reportMoves reports the moves of a change that were applied.
func reportMoves(o Observer, ch record.Change, a record.Applied) {
	for i, d := range a.Desktops {
		if d.ID == "" {
			continue
		}
		if ch.Operation.UndoOf != "" {
			if d.State == tasks.StateDetached {
				o.Move(SeenMove{Project: ch.Operation.Project, GivenBack: true})
			}
			continue
		}
		f := ch.Moves[i].Failure
		seen := SeenMove{Project: ch.Operation.Project, State: d.State}
		switch d.State {
		case tasks.StateDetached:
			seen.Took, seen.Proven = d.TookFrom(ch.Operation.Operation)
		case tasks.StateFailed, tasks.StateHeld, tasks.StateExpanded, tasks.StateNoDesktop:
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
