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
	Queued    State = 'Q' // to be sent, at once or later
	Sending   State = 'S' // written before the request leaves; found again after a crash it means "unknown"
	Accepted  State = 'A' // the cloud took the request; not yet proof
	Detached  State = 'D' // the cloud itself said so
	Failed    State = 'F' // retries used up, the deadline passed, or an error no retry can mend
	Held      State = 'H' // a guard stopped it; a person decides
	Cancelled State = 'X' // taken back before it was sent
	Resolved  State = 'R' // of a row that names a user or a computer: the desktops were found and have rows of their own
	NoDesktop State = 'N' // of a row that names a user: there is no desktop to take; a success, but nothing was detached
)

// States lists every state in the order of a desktop's life.
var States = []State{Queued, Sending, Accepted, Detached, Failed, Held, Cancelled, Resolved, NoDesktop}

var stateNames = map[State]string{
	Queued: "queued", Sending: "sending", Accepted: "accepted", Detached: "detached",
	Failed: "failed", Held: "held", Cancelled: "cancelled", Resolved: "resolved", NoDesktop: "no_desktop",
}

// legalMoves are the arrows of a desktop's life; the record refuses any other.
var legalMoves = map[State]string{
	Queued:   "QSADFHXRN", // Q: read as busy; D, A: a reading showed it detached, or on its way, already; F: the deadline passed in the queue
	Sending:  "QADFH",
	Accepted: "QDF", // Q: the cloud says that its own attempt failed and may be repeated
	Failed:   "Q",   // a person or a redrive
	Held:     "QX",
}

// CanMove reports whether a desktop in state s may go to state to.
func (s State) CanMove(to State) bool { return strings.IndexByte(legalMoves[s], byte(to)) >= 0 }

// Open reports that a desktop in this state is still to be sent, or to be read
// because nobody knows whether it was. An accepted one is not open: it is
// followed until it is proven.
func (s State) Open() bool { return s == Queued || s == Sending }

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
// how it is to be treated from now on.
type Note string

// The notes. Each is stored as its letter.
const (
	NoNote    Note = ""
	Gone      Note = "g" // detached: the desktop no longer exists
	ReadBack  Note = "r" // established by reading the desktop
	ByJob     Note = "j" // accepted: the cloud follows it as a job
	NotTheirs Note = "n" // detached: none of the expected users is on the desktop (any more)
	Unknown   Note = "u" // no desktop: Workspace does not know the user, which was to be ignored
	Suspect   Note = "s" // refused once; from now on sent only together with other suspects, and read before
	Denied    Note = "p" // refused alone for want of a right, which may be one of the project
	Recheck   Note = "k" // taken up again by a person: read before it is sent
	Dismissed Note = "d" // in the trail only: taken out of the inbox by a person; the row stays as it is
)

var noteTexts = map[Note]string{
	Gone: "no longer exists", ReadBack: "established by reading the desktop", ByJob: "followed by its job",
	NotTheirs: "the expected user is not on it", Unknown: "not known to Workspace, ignored as asked",
	Suspect: "sent apart from others", Denied: "refused for want of a right", Recheck: "taken up again",
	Dismissed: "dismissed",
}

// String gives the text for people.
func (n Note) String() string { return noteTexts[n] }

// MarshalText gives the text for people.
func (n Note) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText takes the text that MarshalText gives.
func (n *Note) UnmarshalText(b []byte) error {
	for k, v := range noteTexts {
		if v == string(b) {
			*n = k
			return nil
		}
	}
	*n = NoNote
	return nil
}
