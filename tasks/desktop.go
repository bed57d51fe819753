package tasks

import (
	"strings"
	"time"
)

// What the ids of rows that name no desktop begin with.
const (
	userRow     = "user:"
	computerRow = "computer:"
)

// UserRow is the id of the row that names a user.
func UserRow(name string) string { return userRow + name }

// ComputerRow is the id of the row that names a computer.
func ComputerRow(name string) string { return computerRow + name }

// UserOf gives the name if a row's id names a user.
func UserOf(id string) (name string, ok bool) { return strings.CutPrefix(id, userRow) }

// ComputerOf gives the name if a row's id names a computer.
func ComputerOf(id string) (name string, ok bool) { return strings.CutPrefix(id, computerRow) }

// Desktop is one desktop within an operation.
type Desktop struct {
	OperationID string   `json:"operation_id"`
	ID          string   `json:"id"` // a desktop id, or "user:" or "computer:" and a name
	State       State    `json:"state"`
	Expect      []string `json:"expected_users,omitempty"`
	// Pinned are the users and groups whom the first reading that showed any showed:
	// whose the desktop is from then on, where Expect names nobody. Filled in for
	// workers and where Before is.
	Pinned    []string  `json:"pinned_users,omitempty"`
	FoundAs   string    `json:"found_as,omitempty"` // the computer's name that it was found by
	Attempts  int       `json:"attempts"`           // calls that counted against the limit
	UpdatedAt time.Time `json:"updated_at"`         // when State was written
	CallID    string    `json:"call_id,omitempty"`  // the last call that named it
	Note      Note      `json:"note,omitempty"`
	NoteText  string    `json:"note_text,omitempty"` // Note.Text, for who shows it
	Failure   *Failure  `json:"failure,omitempty"`   // the last refusal that named it, kept with the failed and the retried
	Before    *Before   `json:"before,omitempty"`    // as last read before a call; only where evidence was asked for
}

// Expected are the users from whom the desktop is to be taken: those named, else
// those pinned.
func (d Desktop) Expected() []string {
	if len(d.Expect) > 0 {
		return d.Expect
	}
	return d.Pinned
}

// User gives the name if the row names a user.
func (d Desktop) User() (name string, ok bool) { return UserOf(d.ID) }

// Computer gives the name if the row names a computer.
func (d Desktop) Computer() (name string, ok bool) { return ComputerOf(d.ID) }

// Before is what a desktop was read as before it was sent: whose access it was.
// All texts are the cloud's: hostile input.
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

// DesktopFilter says which desktops of an operation are wanted.
type DesktopFilter struct {
	States []State // empty: all
	Code   string  // only those whose last refusal has this error code; empty: all
}

// Step is one step of a row, as the trail tells it. Detail is the cloud's text.
type Step struct {
	At       time.Time `json:"at"`
	From     State     `json:"from"`
	To       State     `json:"to"`
	By       string    `json:"by,omitempty"` // the worker, or the person
	Note     Note      `json:"note,omitempty"`
	NoteText string    `json:"note_text,omitempty"` // Note.Text
	Detail   string    `json:"detail,omitempty"`    // what it was seen as, or the error's code
	CallID   string    `json:"call_id,omitempty"`
}
