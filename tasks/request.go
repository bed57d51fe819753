package tasks

import "time"

// MaxDesktops is the limit of desktops in one request.
const MaxDesktops = 100_000

// MaxLookups is the limit of users and computers, together, in one request. Each is
// looked up in the cloud when the operation runs.
const MaxLookups = 10_000

// Values of Request.UnknownUsers.
const (
	HoldUnknown   = "hold"   // the row is held with code USER_UNKNOWN
	IgnoreUnknown = "ignore" // the row ends as StateNoDesktop: HR feeds mostly name people who never had a desktop
)

// Request asks to detach desktops, all desktops of users, or both. It is accepted whole
// or refused whole.
type Request struct {
	Project  string   // alias of a configured project; required
	Desktops []string // desktop ids, up to MaxDesktops, printable, 1 to 255 characters, no duplicates
	// Users are leavers by name: up to MaxLookups, 1 to 64 characters each, no
	// duplicates. Each loses every desktop that lists exactly that user name when the
	// operation runs. A user without a desktop is a success.
	Users []string
	// Computers are desktops by computer name: up to MaxLookups together with Users, no
	// duplicates. The name is looked up in the project when the operation runs; the row
	// is held if no desktop, or more than one, has exactly that name.
	Computers []string
	// Expect lists the users who should lose access, by desktop id or ComputerRow. The
	// desktop of another user is held; on a SHARED desktop only the listed users lose
	// access. Without an entry, the users of the first reading are the expected ones
	// from then on.
	Expect map[string][]string
	// UnknownUsers decides about users that Workspace does not know: HoldUnknown or
	// IgnoreUnknown. Defaults to the setting of the worker's project.
	UnknownUsers       string
	AllowShared        bool // detach SHARED desktops from all users, even if some are not expected
	ShutoffAfterDetach bool // shut the desktop down after the detach; not for a SHARED desktop that keeps users
	Urgent             bool // uses its own queue and its own call slot
	// NotBefore is the earliest start; a time in the past is refused. Defaults to DueAt
	// if that is in the future, else to now.
	NotBefore time.Time
	// AtOnce starts the operation now even if DueAt is in the future; not together with
	// NotBefore.
	AtOnce bool `json:",omitempty"`
	// DueAt is when access should be gone: the effective time that HR gave. Time to access
	// removal counts from it. A time in the future delays the start, see NotBefore.
	// Defaults to the start.
	DueAt       time.Time
	Deadline    time.Time // must be after the start; defaults to DefaultDeadline after it
	RequestedBy string    // up to 255 characters
	// Owner is the person who asks, up to 255 characters: whoever that is may not approve a
	// large operation alone. It does not count as content for IdempotencyKey.
	Owner  string `json:",omitempty"`
	Reason string // up to 1,000 characters
	Ticket string // up to 255 characters
	// Plan is the hash of a plan, see Plan.Hash, which says everything but the fields from
	// Urgent on that do not change what is done: Urgent, RequestedBy, Reason, Ticket and
	// IdempotencyKey. A desktop whose users are not those that the plan read is held, and so is
	// one that a user got since.
	Plan string `json:",omitempty"`
	// IdempotencyKey, 1 to 255 characters, makes it safe to send a request twice: the same
	// key, RequestedBy and content return the same operation while its record is kept.
	// Empty: every call is new.
	IdempotencyKey string
	// Trace is the caller's W3C traceparent, see Traceparent, and Tracestate what came with
	// it. The detach calls continue the trace. They do not count as content for
	// IdempotencyKey; the operation keeps the first.
	Trace      string `json:",omitempty"`
	Tracestate string `json:",omitempty"`
}

// DefaultDeadline is how long after its start an operation is given up.
const DefaultDeadline = 24 * time.Hour

// Times returns the start (zero: at once), the due time and the deadline of the operation
// if it is accepted at now.
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

// RetryFilter selects the desktops of an operation to retry.
type RetryFilter struct {
	Held bool   // the held ones instead of the failed ones
	Code string // only those with this failure code; empty: all
}
