package tasks

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks/trail"
)

// MaxDesktops is the most desktops that one operation may name.
const MaxDesktops = 100_000

// ChunkSize is the number of desktops of one operation that travel as one
// asynq task and live in one Redis hash: the most that one API call may name.
const ChunkSize = 100

// MaxLookups is the most users and computers, together, that one operation may
// name: each is looked up in the cloud when the operation runs.
const MaxLookups = 10_000

// What Request.UnknownUsers can be.
const (
	HoldUnknown   = "hold"   // the row is held, USER_UNKNOWN
	IgnoreUnknown = "ignore" // the row ends as NoDesktop: HR feeds mostly name people who never had one
)

// chunksOf is the number of chunks that so many rows take.
func chunksOf(total int) int { return (total + ChunkSize - 1) / ChunkSize }

// Request asks for desktops to be detached, or for all desktops of users, or
// both. Producer.Enqueue accepts it whole or refuses it whole.
type Request struct {
	Project  string   // alias of a configured project; required
	Desktops []string // desktop ids, up to MaxDesktops, printable, 1 to 255 characters, no duplicates
	// Users names leavers, up to MaxLookups, 1 to 64 characters each, no
	// duplicates: every desktop that has a user of exactly that name when the
	// operation runs is taken from that user. One who has none is a success.
	Users []string
	// Computers names computers, up to MaxLookups together with Users, no
	// duplicates: the desktop with exactly that computer name in the project when
	// the operation runs is meant. None, or several, of that name: held.
	Computers []string
	// Expect names, per desktop id of Desktops or ComputerRow of Computers, the
	// users from whom it is to be taken: somebody else's desktop is held, and on a
	// SHARED desktop just those named lose access. Where nobody is named, the users
	// that the first reading shows are the expected ones from then on.
	Expect map[string][]string
	// UnknownUsers says what becomes of a user of Users whom Workspace does not
	// know: HoldUnknown or IgnoreUnknown. Empty: as the worker's project says.
	UnknownUsers       string
	AllowShared        bool // take SHARED desktops from all their users although others than the expected are on them
	ShutoffAfterDetach bool // shut the desktop down once it is detached; not possible where just some users of a SHARED desktop are taken off
	Urgent             bool // goes through a queue and a call slot of its own
	// NotBefore is when the operation may start; one that has passed is refused.
	// Zero: at DueAt if that is still to come, else at once.
	NotBefore time.Time
	// AtOnce has the operation start at once although DueAt is still to come; not
	// together with NotBefore.
	AtOnce bool `json:",omitempty"`
	// DueAt is when access should be gone, the effective time that HR gave; what
	// the time to access removed is counted from. In the future it delays the
	// start, see NotBefore. Zero: the start.
	DueAt       time.Time
	Deadline    time.Time // after the start; zero: DefaultDeadline after the start
	RequestedBy string    // who asked, up to 255 characters
	Reason      string    // why, up to 1,000 characters
	Ticket      string    // up to 255 characters
	// IdempotencyKey, 1 to 255 characters, makes sending twice harmless: the
	// same key of the same RequestedBy with the same content answers the same
	// operation for as long as its record is kept. Empty: every call is new.
	IdempotencyKey string
	// Trace is the W3C traceparent of what asks, see ValidTraceparent: the call that
	// detaches carries it to the cloud. It is no part of the content that the same
	// IdempotencyKey must have: the operation keeps the first.
	Trace string `json:",omitempty"`
}

// DefaultDeadline is how long an operation is tried for, from its start.
const DefaultDeadline = 24 * time.Hour

// Times are when an operation of the request starts (zero: at once), is due and is
// given up, if it is accepted at now.
func (r Request) Times(now time.Time) (start, due, deadline time.Time) {
	switch {
	case !r.NotBefore.IsZero():
		start = r.NotBefore
	case !r.AtOnce && r.DueAt.After(now):
		start = r.DueAt
	}
	begins := later(now, start)
	if due = r.DueAt; due.IsZero() {
		due = begins
	}
	if deadline = r.Deadline; deadline.IsZero() {
		deadline = begins.Add(DefaultDeadline)
	}
	return start, due, deadline
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Operation is one accepted request. Its rows are the desktops and the users
// that it names and, once those users were looked up, the desktops found.
type Operation struct {
	ID                 string    `json:"id"`
	Project            string    `json:"project"`
	ShutoffAfterDetach bool      `json:"shutoff_after_detach"`
	Urgent             bool      `json:"urgent"`
	AllowShared        bool      `json:"allow_shared,omitempty"`
	NotBefore          time.Time `json:"not_before,omitzero"` // the start; zero: at once
	DueAt              time.Time `json:"due_at"`
	Deadline           time.Time `json:"deadline"`
	RequestedBy        string    `json:"requested_by,omitempty"`
	Reason             string    `json:"reason,omitempty"`
	Ticket             string    `json:"ticket,omitempty"`
	Trace              string    `json:"trace,omitempty"` // a W3C traceparent
	AcceptedAt         time.Time `json:"accepted_at"`
	EndedAt            time.Time `json:"ended_at,omitzero"`   // zero while desktops are still to be worked on, or to be proven
	Total              int       `json:"total"`               // rows
	Users              int       `json:"users,omitempty"`     // of those, rows that name a user
	Computers          int       `json:"computers,omitempty"` // of those, rows that name a computer
	UnknownUsers       string    `json:"unknown_users,omitempty"`
	Counts             Counts    `json:"counts"`
	// Seal is the head of the trail's hash chain, in hex; see package trail. It is there
	// from a moment after the operation's end until it is taken up again.
	Seal string `json:"seal,omitempty"`
	// Durability is of the answer that accepted the operation only.
	Durability Durability `json:"durability,omitempty"`

	found []int // rows of each chunk of desktops that were found by their users' names
}

// The rows of an operation are in chunks: first those of the desktops that the
// request names, then the look-ups (users, then computers), then those of the
// desktops found. Each of the three begins a chunk of its own.

// lookups is how many rows name a user or a computer.
func (o Operation) lookups() int { return o.Users + o.Computers }

func (o Operation) lookupChunks() (first, end int) {
	first = chunksOf(o.named())
	return first, first + chunksOf(o.lookups())
}

// named is how many desktops the request names.
func (o Operation) named() int {
	n := o.Total - o.lookups()
	for _, found := range o.found {
		n -= found
	}
	return n
}

// Chunks is how many chunks the operation has.
func (o Operation) Chunks() int {
	_, end := o.lookupChunks()
	return end + len(o.found)
}

// LooksUp reports that a chunk's rows name users or computers, not desktops.
func (o Operation) LooksUp(chunk int) bool {
	first, end := o.lookupChunks()
	return first <= chunk && chunk < end
}

// chunkSize is how many rows a chunk has.
func (o Operation) chunkSize(chunk int) int {
	first, end := o.lookupChunks()
	switch {
	case chunk < first:
		return min(ChunkSize, o.named()-chunk*ChunkSize)
	case chunk < end:
		return min(ChunkSize, o.lookups()-(chunk-first)*ChunkSize)
	}
	return o.found[chunk-end]
}

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

// Done reports that nothing is left to be worked on and everything that the
// cloud took is proven or given up.
func (o Operation) Done() bool { return !o.EndedAt.IsZero() }

// Sealed reports that it is Done and its trail has its Seal: nothing is left to be
// written, unless somebody retries or dismisses something.
func (o Operation) Sealed() bool { return o.Done() && o.Seal != "" }

// OperationState is where an operation is on its way.
type OperationState string

// The states of an operation.
const (
	OperationScheduled OperationState = "scheduled" // its start is still to come: nothing is late, and nothing waits
	OperationRunning   OperationState = "running"   // under way
	OperationFinished  OperationState = "finished"  // Done, also when it was cancelled before its start
)

// State is where the operation is at now.
func (o Operation) State(now time.Time) OperationState {
	switch {
	case o.Done():
		return OperationFinished
	case o.NotBefore.After(now):
		return OperationScheduled
	}
	return OperationRunning
}

// Counts is the number of desktops in each state; the sum is Operation.Total.
type Counts struct {
	Queued    int `json:"queued"`
	Sending   int `json:"sending"`
	Accepted  int `json:"accepted"`
	Detached  int `json:"detached"`
	Failed    int `json:"failed"`
	Held      int `json:"held"`
	Cancelled int `json:"cancelled"`
	Expanded  int `json:"expanded,omitempty"`   // users and computers whose desktops have rows of their own
	NoDesktop int `json:"no_desktop,omitempty"` // users who have none
}

// at is the number of a state; nil: there is no such state.
func (c *Counts) at(s State) *int {
	switch s {
	case StateQueued:
		return &c.Queued
	case StateSending:
		return &c.Sending
	case StateAccepted:
		return &c.Accepted
	case StateDetached:
		return &c.Detached
	case StateFailed:
		return &c.Failed
	case StateHeld:
		return &c.Held
	case StateCancelled:
		return &c.Cancelled
	case StateExpanded:
		return &c.Expanded
	case StateNoDesktop:
		return &c.NoDesktop
	}
	return nil
}

// Of is the number of desktops in a state.
func (c Counts) Of(s State) int {
	if n := c.at(s); n != nil {
		return *n
	}
	return 0
}

// Count counts one desktop more in a state.
func (c *Counts) Count(s State) { *c.at(s)++ }

// Add adds other counts.
func (c *Counts) Add(o Counts) {
	for _, s := range States {
		*c.at(s) += o.Of(s)
	}
}

// Unsettled is the number of desktops for which something is still to be done: to be
// sent, or to be proven.
func (c Counts) Unsettled() int { return c.Queued + c.Sending + c.Accepted }

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
	Chunk     int       `json:"-"`
	Position  int       `json:"-"` // within the chunk; Chunk*ChunkSize+Position is the place in the request

	// What it was read as, for compare-and-set; see codec.go.
	stored    string // its own value
	common    string // the status it shares with others; "": it has its own
	followers int    // how many share it
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

// Place is the row's place in its operation: chunk times ChunkSize, plus the
// position within the chunk. Without users it is the place in the request.
func (d Desktop) Place() int { return d.Chunk*ChunkSize + d.Position }

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

// Failure says why a desktop failed or is held, or why its last attempt failed. Message and
// DesktopName are the cloud's text: hostile input.
type Failure struct {
	OperationID string    `json:"operation_id"`
	Project     string    `json:"project"`
	DesktopID   string    `json:"desktop_id"`
	DesktopName string    `json:"desktop_name,omitempty"`
	Expect      []string  `json:"expected_users,omitempty"` // Desktop.Expected; filled in when it is written
	Code        string    `json:"code"`
	Message     string    `json:"message"`
	Class       string    `json:"class"`
	Status      int       `json:"status,omitempty"` // HTTP status of the call
	RequestID   string    `json:"request_id,omitempty"`
	CallID      string    `json:"call_id,omitempty"`
	Attempts    int       `json:"attempts"`
	At          time.Time `json:"at"`
}

// Call is one request to the API as far as one operation is concerned.
type Call struct {
	ID            string        `json:"id"`
	At            time.Time     `json:"at"`
	Duration      time.Duration `json:"-"`
	DurationMS    int64         `json:"duration_ms"`
	Status        int           `json:"status"`         // HTTP status, 0: no reply (or not yet)
	Code          string        `json:"code,omitempty"` // error_code of a refused call
	Message       string        `json:"message,omitempty"`
	RequestID     string        `json:"request_id,omitempty"`
	JobID         string        `json:"job_id,omitempty"`
	SuccessJobIDs []string      `json:"success_job_ids,omitempty"`
	Size          int           `json:"size"`              // desktops in the request, of all operations
	Refused       int           `json:"refused,omitempty"` // of those, that an answer which took others refused
	Desktops      []trail.Range `json:"-"`                 // this operation's desktops in it
	Worker        string        `json:"worker"`            // who made it
	Answered      bool          `json:"answered"`
}

func encodeSizes(sizes []int) string {
	parts := make([]string, len(sizes))
	for i, n := range sizes {
		parts[i] = strconv.Itoa(n)
	}
	return strings.Join(parts, ",")
}

func decodeSizes(s string) (out []int, total int, err error) {
	if s == "" {
		return nil, 0, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, 0, fmt.Errorf("the sizes of chunks, %q, cannot be read", s)
		}
		out, total = append(out, n), total+n
	}
	return out, total, nil
}

// chunkRange lists the chunks from first to end, which is not included.
func chunkRange(first, end int) []int {
	out := make([]int, 0, max(0, end-first))
	for n := first; n < end; n++ {
		out = append(out, n)
	}
	return out
}
