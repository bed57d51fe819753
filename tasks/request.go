package tasks

import "time"

// MaxDesktops is the most desktops that one operation may name.
const MaxDesktops = 100_000

// MaxLookups is the most users and computers, together, that one operation may
// name: each is looked up in the cloud when the operation runs.
const MaxLookups = 10_000

// What Request.UnknownUsers can be.
const (
	HoldUnknown   = "hold"   // the row is held, USER_UNKNOWN
	IgnoreUnknown = "ignore" // the row ends as NoDesktop: HR feeds mostly name people who never had one
)

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

// RetryFilter says which desktops of an operation are to be taken up again.
type RetryFilter struct {
	Held bool   // the held ones, instead of the failed
	Code string // only those with this error code; empty: all
}
