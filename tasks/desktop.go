package tasks

import (
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"
)

// Prefixes of row ids that are not desktop ids.
const (
	userRow     = "user:"
	computerRow = "computer:"
)

// UserRow is the id of the row that names a user.
func UserRow(name string) string { return userRow + name }

// ComputerRow is the id of the row that names a computer.
func ComputerRow(name string) string { return computerRow + name }

// UserOf returns the user name if the row id names a user.
func UserOf(id string) (name string, ok bool) { return strings.CutPrefix(id, userRow) }

// ComputerOf returns the computer name if the row id names a computer.
func ComputerOf(id string) (name string, ok bool) { return strings.CutPrefix(id, computerRow) }

// Desktop is one row of an operation: a desktop, or a user or computer to look up.
type Desktop struct {
	OperationID string   `json:"operation_id"`
	ID          string   `json:"id"` // a desktop id, or "user:" or "computer:" and a name
	State       State    `json:"state"`
	Expect      []string `json:"expected_users,omitempty"`
	// Pinned are the users and groups of the first reading that showed any. Without
	// Expect, they are the expected ones from then on. Set for workers, and where Before
	// is set.
	Pinned    []string  `json:"pinned_users,omitempty"`
	FoundAs   string    `json:"found_as,omitempty"` // the computer name that led to it
	Attempts  int       `json:"attempts"`           // calls that count against the limit
	UpdatedAt time.Time `json:"updated_at"`         // last change of State
	CallID    string    `json:"call_id,omitempty"`  // the last call that named it
	Note      Note      `json:"note,omitempty"`
	NoteText  string    `json:"note_text,omitempty"` // Note.Text, for display
	Failure   *Failure  `json:"failure,omitempty"`   // the last refusal; kept while the desktop is failed, held or retried
	// GivenBackBy is the undo that gave the desktop back to its users; the state stays.
	GivenBackBy string  `json:"given_back_by,omitempty"`
	Before      *Before `json:"before,omitempty"` // the last reading before a call; only where evidence is requested
}

// Expected returns the users who should lose access: Expect, else Pinned.
func (d Desktop) Expected() []string {
	if len(d.Expect) > 0 {
		return d.Expect
	}
	return d.Pinned
}

// User returns the name if the row names a user.
func (d Desktop) User() (name string, ok bool) { return UserOf(d.ID) }

// Computer returns the name if the row names a computer.
func (d Desktop) Computer() (name string, ok bool) { return ComputerOf(d.ID) }

// Before is a reading of a desktop before the detach call: it shows who had access. All
// texts come from the cloud; treat them as hostile input.
type Before struct {
	Name        string    `json:"name"` // of the computer
	Type        string    `json:"type"` // DEDICATED, SHARED, POOLED
	Status      string    `json:"status,omitempty"`
	AttachState string    `json:"attach_state"`
	Users       []Person  `json:"users"`          // never null
	Tags        []string  `json:"tags,omitempty"` // key=value
	ReadAt      time.Time `json:"read_at"`
}

// Person is a user or a group on a desktop.
type Person struct {
	Name   string `json:"name"`
	ID     string `json:"id,omitempty"`
	Domain string `json:"domain,omitempty"`
	Group  string `json:"group,omitempty"` // the user group on the desktop, such as "sudo"
	Type   string `json:"type,omitempty"`  // USER or GROUP
}

// Identity tells people and groups apart: two with the same identity are the same. A user
// who was deleted and created again under the same name is another one.
func (p Person) Identity() string {
	return p.Type + "\x00" + p.ID + "\x00" + norm.NFC.String(p.Name)
}

// DesktopFilter selects desktops of an operation.
type DesktopFilter struct {
	States []State // empty: all
	Code   string  // only those whose last refusal has this code; empty: all
}

// Step is one change of a row, from the audit trail. Detail comes from the cloud.
type Step struct {
	At       time.Time `json:"at"`
	From     State     `json:"from"`
	To       State     `json:"to"`
	By       string    `json:"by,omitempty"` // the worker or the person
	Note     Note      `json:"note,omitempty"`
	NoteText string    `json:"note_text,omitempty"` // Note.Text
	Detail   string    `json:"detail,omitempty"`    // what the reading showed, or the failure code
	CallID   string    `json:"call_id,omitempty"`
}
