package tasks

import (
	"fmt"
	"strings"
)

// State is where a desktop is on its way. It is stored as its letter and shown
// as its name.
type State byte

// The states.
const (
	StateQueued    State = 'Q' // to be sent, at once or later
	StateSending   State = 'S' // written before the request leaves; found again after a crash it means "unknown"
	StateAccepted  State = 'A' // the cloud took the request; not yet proof
	StateDetached  State = 'D' // the cloud itself said so
	StateFailed    State = 'F' // retries used up, the deadline passed, or an error no retry can mend
	StateHeld      State = 'H' // a guard stopped it; a person decides
	StateCancelled State = 'X' // taken back before it was sent
	StateExpanded  State = 'R' // of a row that names a user or a computer: the desktops were found and have rows of their own
	StateNoDesktop State = 'N' // of a row that names a user: there is no desktop to take; a success, but nothing was detached
)

// States lists every state in the order of a desktop's life.
var States = []State{StateQueued, StateSending, StateAccepted, StateDetached, StateFailed, StateHeld, StateCancelled, StateExpanded, StateNoDesktop}

var stateNames = map[State]string{
	StateQueued: "queued", StateSending: "sending", StateAccepted: "accepted", StateDetached: "detached",
	StateFailed: "failed", StateHeld: "held", StateCancelled: "cancelled", StateExpanded: "expanded", StateNoDesktop: "no_desktop",
}

// legalMoves are the arrows of a desktop's life; the record refuses any other.
var legalMoves = map[State]string{
	StateQueued:   "QSADFHXRN", // Q: read as busy; D, A: a reading showed it detached, or on its way, already; F: the deadline passed in the queue
	StateSending:  "QADFH",
	StateAccepted: "QDF", // Q: the cloud says that its own attempt failed and may be repeated
	StateFailed:   "Q",   // a person or a redrive
	StateHeld:     "QX",
}

// CanMove reports whether a desktop in state s may go to state to.
func (s State) CanMove(to State) bool { return strings.IndexByte(legalMoves[s], byte(to)) >= 0 }

// Open reports that a desktop in this state is still to be sent, or to be read
// because nobody knows whether it was. An accepted one is not open: it is
// followed until it is proven.
func (s State) Open() bool { return s == StateQueued || s == StateSending }

// Valid reports that there is such a state.
func (s State) Valid() bool { return stateNames[s] != "" }

// String gives the name, for example "queued".
func (s State) String() string {
	if n, ok := stateNames[s]; ok {
		return n
	}
	return fmt.Sprintf("unknown state %q", byte(s))
}

// MarshalText gives the name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes a name.
func (s *State) UnmarshalText(b []byte) error {
	got, err := ParseState(string(b))
	*s = got
	return err
}

// ParseState turns a name into a state; the error lists the names.
func ParseState(name string) (State, error) {
	names := make([]string, 0, len(States))
	for _, s := range States {
		if s.String() == name {
			return s, nil
		}
		names = append(names, s.String())
	}
	return 0, fmt.Errorf("unknown state %q: use one of %s", name, strings.Join(names, ", "))
}

// Note says how a desktop came to its state where the state alone does not, or
// how it is to be treated from now on. Its value is the code that travels as JSON;
// one that this version does not know is kept as it is.
type Note string

// The notes.
const (
	NoteNone        Note = ""
	NoteGone        Note = "gone"         // detached: the desktop no longer exists
	NoteReadBack    Note = "read_back"    // confirmed by reading the desktop
	NoteByJob       Note = "by_job"       // accepted: the cloud follows it as a job
	NoteNotTheirs   Note = "not_theirs"   // detached: none of the expected users is on the desktop (any more)
	NoteUnknownUser Note = "unknown_user" // no desktop: Workspace does not know the user, which was to be ignored
	NoteSuspect     Note = "suspect"      // refused once; from now on sent only together with other suspects, and read before
	NoteDenied      Note = "denied"       // refused alone for want of a right, which may be one of the project
	NoteRecheck     Note = "retried"      // retried by a person: read before it is sent
	NoteDismissed   Note = "dismissed"    // in the trail only: taken out of the inbox by a person; the row stays as it is
)

// Notes lists every note.
var Notes = []Note{
	NoteGone, NoteReadBack, NoteByJob, NoteNotTheirs, NoteUnknownUser, NoteSuspect, NoteDenied, NoteRecheck, NoteDismissed,
}

var noteTexts = map[Note]string{
	NoteGone: "no longer exists", NoteReadBack: "confirmed by reading the desktop", NoteByJob: "tracked as a job of the cloud",
	NoteNotTheirs: "the expected user is not on it", NoteUnknownUser: "not known to Workspace, ignored as requested",
	NoteSuspect: "sent apart from others", NoteDenied: "refused: a permission is missing", NoteRecheck: "retried",
	NoteDismissed: "dismissed",
}

// Text says it for people; of a note that this version does not know it is the code.
func (n Note) Text() string {
	if t, ok := noteTexts[n]; ok {
		return t
	}
	return string(n)
}
