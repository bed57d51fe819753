package tasks

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"
)

// Limit is how many desktops may be detached within a window without an approval: in a
// project, and of one source in it.
type Limit struct {
	Desktops int           // desktops; 0: none passes without an approval
	Percent  int           // of the desktops that have a user; 0: none passes, 100 or more: no limit by this
	Any      bool          // exceeding either of the two stops an operation; otherwise only exceeding both
	Window   time.Duration // the length of the sliding window
}

// DefaultLimit stops an operation that brings a project to more than 50 desktops and more
// than 20 % of its assigned desktops within 24 hours. One leaver of a team of five passes.
var DefaultLimit = Limit{Desktops: 50, Percent: 20, Window: 24 * time.Hour}

// DefaultSecondPersonAbove is the number of desktops above which another person than the one
// who asked must approve.
const DefaultSecondPersonAbove = 500

// DefaultUndoSecondPersonAbove is the same for desktops that an undo gives back.
const DefaultUndoSecondPersonAbove = 100

// DependsOnFleet reports whether Allowed depends on the number of assigned desktops, if so
// many desktops are asked for.
func (l Limit) DependsOnFleet(asked int) bool {
	if l.Desktops == 0 || l.Percent == 0 || l.Percent >= 100 {
		return false
	}
	return l.Any == (asked <= l.Desktops)
}

// Allowed is the number of desktops that pass within a window if the project has so many
// assigned ones.
func (l Limit) Allowed(assigned int) int {
	share := math.MaxInt
	if l.Percent < 100 {
		share = assigned * l.Percent / 100
	}
	switch {
	case l.Desktops == 0 || l.Percent == 0:
		return 0
	case l.Any:
		return min(l.Desktops, share)
	}
	return max(l.Desktops, share)
}

// Canary is how an operation of many desktops begins: the first few are sent, and the others
// only when those are confirmed.
type Canary struct {
	Desktops int // to be confirmed first; 0: none, all are sent at once
	Above    int // only operations of more desktops have a canary; 0: all have one
}

// StopLoss is how many desktops of an operation may fail or be on hold before the rest waits
// for a person: more than Desktops of them, or more than Percent of those that were tried. The percentage
// is of 100 desktops at least, as many as a call has, because one of three says little.
type StopLoss struct {
	Desktops int // 0: the first one stops it; MaxDesktops: no limit by this
	Percent  int // of the desktops that were tried; 0: the first one stops it, 100: no limit by this
	Above    int // only operations of more desktops are stopped; 0: all are
}

// DefaultCanary and DefaultStopLoss are for operations of more than 100 desktops.
var (
	DefaultCanary   = Canary{Desktops: 5, Above: 100}
	DefaultStopLoss = StopLoss{Percent: 10, Desktops: 50, Above: 100}
)

// NoStopLoss stops nothing.
var NoStopLoss = StopLoss{Percent: 100, Desktops: MaxDesktops}

// ClearanceState is the state of a question whether an operation may begin.
type ClearanceState string

// The states of a clearance.
const (
	ClearanceWaiting  ClearanceState = "waiting"  // for a person; nothing is sent
	ClearanceApproved ClearanceState = "approved" // by a person
	ClearanceRejected ClearanceState = "rejected" // by a person; what was not sent is cancelled
	ClearanceExpired  ClearanceState = "expired"  // nobody answered in time; as rejected
)

// ClearanceWhy is why an operation waits for a person.
type ClearanceWhy string

// The reasons of a clearance.
const (
	WhyLimit    ClearanceWhy = "limit"     // it asks for more desktops than pass without an approval
	WhyCanary   ClearanceWhy = "canary"    // one of its first desktops failed or is on hold
	WhyStopLoss ClearanceWhy = "stop_loss" // too many of its desktops failed or are on hold
	WhyUndo     ClearanceWhy = "undo"      // it gives many desktops back
)

// CodeCount is how many desktops failed or are on hold with a code.
type CodeCount struct {
	Code  string `json:"code"`
	Count int    `json:"count"`
}

// Clearance is the question whether an operation may begin, or go on, and its answer.
type Clearance struct {
	State        ClearanceState `json:"state"`
	Why          ClearanceWhy   `json:"why"`
	Codes        []CodeCount    `json:"codes,omitempty"` // that caused WhyCanary or WhyStopLoss, the most frequent first
	AskedAt      time.Time      `json:"asked_at"`
	ExpiresAt    time.Time      `json:"expires_at"`     // without an answer the operation is cancelled then
	Desktops     int            `json:"desktops"`       // that the operation asks for
	Used         int            `json:"used"`           // desktops of the project within the window, without it
	UsedBySource int            `json:"used_by_source"` // of these, of the same source
	Assigned     int            `json:"assigned"`       // desktops of the project that have a user, by the cloud; 0: not read
	Allowed      int            `json:"allowed"`        // desktops within the window
	WindowS      int            `json:"window_seconds"` // length of the window
	// SecondPersonAbove is how many desktops within the window the person who asked may
	// approve; 0: none.
	SecondPersonAbove int       `json:"second_person_above"`
	DecidedAt         time.Time `json:"decided_at,omitzero"`  // approved, rejected or expired
	DecidedBy         string    `json:"decided_by,omitempty"` // the person
	Reason            string    `json:"reason,omitempty"`     // of the decision
	Plan              string    `json:"plan,omitempty"`       // hash of the plan that was approved
}

// NeedsSecondPerson reports whether another person than the one who asked must approve. What
// is approved meanwhile can make it necessary.
func (c Clearance) NeedsSecondPerson() bool { return c.Used+c.Desktops > c.SecondPersonAbove }

// Question is why the operation waits, and how much it asks for.
func (c Clearance) Question() string {
	switch c.Why {
	case WhyCanary:
		return fmt.Sprintf("one of its first desktops failed or is on hold%s; %d have not been sent", c.codes(), c.Desktops)
	case WhyStopLoss:
		return fmt.Sprintf("too many of its desktops failed or are on hold%s; %d have not been sent", c.codes(), c.Desktops)
	case WhyUndo:
		if c.SecondPersonAbove == 0 {
			return fmt.Sprintf("it gives %s back, and every undo takes a second person", desktops(c.Desktops))
		}
		return fmt.Sprintf("it gives %s back, and more than %d take a second person", desktops(c.Desktops), c.SecondPersonAbove)
	case WhyLimit:
	}
	if c.Allowed == 0 {
		return fmt.Sprintf("it asks for %s, and none of its project passes without an approval", desktops(c.Desktops))
	}
	window := strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace((time.Duration(c.WindowS) * time.Second).String())
	others := "others"
	if c.Used == 1 {
		others = "other"
	}
	return fmt.Sprintf("it asks for %s, after %d %s within %s; more than %d need an approval",
		desktops(c.Desktops), c.Used, others, window, c.Allowed)
}

func desktops(n int) string {
	if n == 1 {
		return "1 desktop"
	}
	return fmt.Sprintf("%d desktops", n)
}

func (c Clearance) codes() string {
	var out []string
	for _, x := range c.Codes {
		out = append(out, fmt.Sprintf("%s: %d", x.Code, x.Count))
	}
	if len(out) == 0 {
		return ""
	}
	return " (" + strings.Join(out, ", ") + ")"
}

// SamePerson reports whether the owner of a key is the person who asked for the operation:
// two keys of one person are one person. by is the name of the key; an owner who is not
// known has the name of the key.
func (o Operation) SamePerson(by, owner string) bool {
	same := func(a, b string) bool { return strings.EqualFold(person(a), person(b)) }
	return same(by, o.RequestedBy) || same(cmp.Or(person(owner), by), cmp.Or(person(o.Owner), o.RequestedBy))
}

func person(name string) string { return strings.TrimSpace(norm.NFKC.String(name)) }

// SamePersonError says that a person may not approve what the same person asked for.
type SamePersonError struct {
	Asked           string // the person
	Desktops, Above int
}

func (e *SamePersonError) Error() string {
	return fmt.Sprintf("%s asked for these %d desktops, and nobody may approve more than %d within the window alone; "+
		"nothing was changed: another person with the role approver or admin may approve it, with a key of their own (you may reject it)",
		e.Asked, e.Desktops, e.Above)
}

// Approval is a person's answer that an operation may begin.
type Approval struct {
	By     string // name of the key, or of the person at the command line
	Owner  string // the person who answers for the key; empty: as By
	Reason string
	// Plan is the hash of a plan of what is left of the operation, which PlanOwner made. The
	// approval is bound to it: what changed since is held. Empty: to nothing.
	Plan, PlanOwner string
}

// AwaitsApproval reports whether the operation waits for a person's decision.
func (o Operation) AwaitsApproval() bool {
	return !o.Done() && o.Clearance != nil && o.Clearance.State == ClearanceWaiting
}
