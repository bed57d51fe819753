package tasks

import (
	"fmt"
	"strings"
)

// State is the state of a row. It is stored as its letter; JSON and text use its name.
type State byte

// The states.
const (
	StateQueued    State = 'Q' // to be sent, now or later
	StateSending   State = 'S' // written before the call; after a crash its outcome is unknown
	StateAccepted  State = 'A' // the cloud accepted the call, which proves nothing yet
	StateDetached  State = 'D' // confirmed by a reading
	StateFailed    State = 'F' // retries exhausted, deadline passed, or an error that no retry can fix
	StateHeld      State = 'H' // a guard stopped it; a person decides
	StateCancelled State = 'X' // cancelled before it was sent
	StateExpanded  State = 'R' // of a user or computer: its desktops were found, and are rows of their own
	StateNoDesktop State = 'N' // of a user: no desktop to detach, which is a success
)

// States lists every state, in the order in which a desktop passes through them.
var States = []State{StateQueued, StateSending, StateAccepted, StateDetached, StateFailed, StateHeld, StateCancelled, StateExpanded,
	StateNoDesktop}

var stateNames = map[State]string{
	StateQueued: "queued", StateSending: "sending", StateAccepted: "accepted", StateDetached: "detached",
	StateFailed: "failed", StateHeld: "held", StateCancelled: "cancelled", StateExpanded: "expanded", StateNoDesktop: "no_desktop",
}

// legalMoves are the allowed changes of state; the record refuses any other.
var legalMoves = map[State]string{
	StateQueued:   "QSADFHXRN", // Q: read as busy; D, A: a reading shows it detached, or being detached; F: the deadline passed
	StateSending:  "QADFH",
	StateAccepted: "QDF", // Q: the cloud reports that its attempt failed and may be retried
	StateFailed:   "Q",   // a retry
	StateHeld:     "QX",
}

// CanMove reports whether a row may change from state s to state to.
func (s State) CanMove(to State) bool { return strings.IndexByte(legalMoves[s], byte(to)) >= 0 }

// Open reports that a row in this state is still to be sent, or to be read because it is
// unknown whether it was. An accepted row is not open: it is followed until confirmed.
func (s State) Open() bool { return s == StateQueued || s == StateSending }

// Valid reports whether the state exists.
func (s State) Valid() bool { return stateNames[s] != "" }

// String returns the name, for example "queued".
func (s State) String() string {
	if n, ok := stateNames[s]; ok {
		return n
	}
	return fmt.Sprintf("unknown state %q", byte(s))
}

// MarshalText returns the name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a name.
func (s *State) UnmarshalText(b []byte) error {
	got, err := ParseState(string(b))
	*s = got
	return err
}

// ParseState returns the state of a name; its error lists the names.
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

// Note says how a desktop reached its state where the state alone does not, or
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
	NoteSuspect     Note = "suspect"      // refused once: from now on read first, and sent only with other suspects
	NoteDenied      Note = "denied"       // refused on its own for lack of a permission, which the whole project may lack
	NoteRecheck     Note = "retried"      // retried by a person: read before it is sent
	NoteRecalled    Note = "recalled"     // cancelled: the person was taken back out of the request, see Recall
	NoteDismissed   Note = "dismissed"    // in the audit trail only: removed from the inbox by a person; the row stays as it is
)

// Notes lists every note.
var Notes = []Note{
	NoteGone, NoteReadBack, NoteByJob, NoteNotTheirs, NoteUnknownUser, NoteSuspect, NoteDenied, NoteRecheck, NoteRecalled,
	NoteDismissed,
}

var noteTexts = map[Note]string{
	NoteGone: "no longer exists", NoteReadBack: "confirmed by reading the desktop", NoteByJob: "tracked as a job of the cloud",
	NoteNotTheirs: "the expected user is not on it", NoteUnknownUser: "not known to Workspace, ignored as requested",
	NoteSuspect: "sent apart from others", NoteDenied: "refused: a permission is missing", NoteRecheck: "retried",
	NoteRecalled: "recalled", NoteDismissed: "dismissed",
}

// Text says it for people; of a note that this version does not know it is the code.
func (n Note) Text() string {
	if t, ok := noteTexts[n]; ok {
		return t
	}
	return string(n)
}
