package tasks

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"
)

// MaxRecalls is the largest number of recalls that Redis keeps at a time.
const MaxRecalls = 10_000

// RecallRequest asks to take one person back out of requests that were sent earlier.
type RecallRequest struct {
	User    string // as the requests name the person, in the same case
	Source  string // RequestedBy of the operations; empty: any
	Ticket  string // empty: any
	Project string // empty: any
	// Projects are those that the caller may change; empty: all.
	Projects       []string
	RequestedBy    string // who recalls, up to 255 characters
	Reason         string // required, up to 1,000 characters
	IdempotencyKey string // as in Request
}

// Canonical is the request with the name in NFC.
func (q RecallRequest) Canonical() RecallRequest {
	q.User = norm.NFC.String(q.User)
	return q
}

// Validate returns a *ValidationError that lists every problem, or nil.
func (q RecallRequest) Validate() error {
	var ps problems
	if why := CheckUserName(q.User); why != "" {
		ps.add("user", q.User, "%s", why)
	}
	if strings.TrimSpace(q.Reason) == "" {
		ps.add("reason", "", "is missing: say why, for those who ask later")
	}
	ps.text("source", q.Source, MaxName)
	ps.text("ticket", q.Ticket, MaxName)
	ps.text("project", q.Project, MaxName)
	ps.text("requested_by", q.RequestedBy, MaxName)
	ps.text("reason", q.Reason, maxReason)
	ps.text("idempotency_key", q.IdempotencyKey, MaxName)
	return ps.err()
}

// Recall takes one person back out of all operations that were accepted until CreatedAt and
// match it. From then on no call begins that would take a desktop from this person because of
// them, also not by a retry. Operations that are accepted later are not concerned.
type Recall struct {
	ID          string    `json:"id"`
	User        string    `json:"user"`
	Source      string    `json:"source,omitempty"` // who requested the operations; empty: anybody
	Ticket      string    `json:"ticket,omitempty"`
	Project     string    `json:"project,omitempty"`
	Projects    []string  `json:"projects,omitempty"` // only of these; empty: of all
	RequestedBy string    `json:"requested_by"`       // who recalled
	Reason      string    `json:"reason"`
	CreatedAt   time.Time `json:"created_at"`
}

// Covers reports whether an operation is one of those that the recall is about. An undo gives
// a desktop back, so none is.
func (x Recall) Covers(op Operation) bool {
	return x.matches(op) && !op.AcceptedAt.After(x.CreatedAt)
}

// AcceptedLater reports whether only the time of its acceptance keeps an operation out.
func (x Recall) AcceptedLater(op Operation) bool {
	return x.matches(op) && op.AcceptedAt.After(x.CreatedAt)
}

func (x Recall) matches(op Operation) bool {
	return op.UndoOf == "" && (x.Source == "" || x.Source == op.RequestedBy) && (x.Ticket == "" || x.Ticket == op.Ticket) &&
		(x.Project == "" || x.Project == op.Project) && (len(x.Projects) == 0 || slices.Contains(x.Projects, op.Project))
}

// Of reports whether a row is about the person: it names the user, or its desktop is to be
// taken from the user. others are to lose it too.
func (x Recall) Of(d Desktop) (is bool, others []string) {
	if name, named := d.User(); named {
		return x.names(name), nil
	}
	for _, name := range d.Expected() {
		if x.names(name) {
			is = true
		} else {
			others = append(others, name)
		}
	}
	return is, others
}

func (x Recall) names(name string) bool { return norm.NFC.String(name) == x.User }

// By is who cancelled a row, for its audit trail.
func (x Recall) By() string { return strings.TrimSpace(x.RequestedBy + " by recall " + x.ID) }

// HeldText says why a desktop is on hold that others are to lose too.
func (x Recall) HeldText(others []string) string {
	return fmt.Sprintf("%q was recalled (%s: %s), and the request takes it from %s too: "+
		"submit those again without %q, and cancel this", x.User, x.RequestedBy, x.Reason, quotedNames(others), x.User)
}

func quotedNames(names []string) string {
	quoted := make([]string, 0, 4)
	for i, name := range names {
		if i == 3 {
			quoted = append(quoted, fmt.Sprintf("%d more", len(names)-i))
			break
		}
		quoted = append(quoted, fmt.Sprintf("%q", name))
	}
	return strings.Join(quoted, ", ")
}

// RecallOutcome says what a recall did about a row, as it is now.
type RecallOutcome string

// The outcomes.
const (
	RecallCancelled RecallOutcome = "cancelled" // by this recall, or another one of the person
	RecallHeld      RecallOutcome = "held"      // others are to lose the desktop too: a person decides
	RecallInCall    RecallOutcome = "in_call"   // the call may take effect; if it does not, none follows
	RecallQueued    RecallOutcome = "queued"    // it came back from its call; it is cancelled at its turn
	RecallTooLate   RecallOutcome = "too_late"  // the cloud accepted it, or it is detached
	RecallFailed    RecallOutcome = "failed"    // nothing follows: a retry is cancelled
	RecallNothing   RecallOutcome = "nothing"   // it takes nothing from the person
)

// RecallOutcomeOf is the outcome of a row that is about the person, in an operation that the
// recall covers.
func RecallOutcomeOf(d Desktop) RecallOutcome {
	switch d.State {
	case StateCancelled:
		if d.Note == NoteRecalled {
			return RecallCancelled
		}
	case StateHeld:
		return RecallHeld
	case StateSending:
		return RecallInCall
	case StateQueued:
		return RecallQueued
	case StateFailed:
		return RecallFailed
	case StateAccepted, StateDetached:
		if d.CallID != "" && d.GivenBackBy == "" { // without a call nobody lost it by this operation
			return RecallTooLate
		}
	}
	return RecallNothing
}

// RecalledRow is a row that is about the person.
type RecalledRow struct {
	OperationID string        `json:"operation_id"`
	Project     string        `json:"project"`
	RequestedBy string        `json:"requested_by,omitempty"` // the operation
	ID          string        `json:"id"`                     // of a Desktop
	State       State         `json:"state"`
	Outcome     RecallOutcome `json:"outcome"`
	Others      []string      `json:"others,omitempty"` // who lose, or lost, the desktop too
	GivenBackBy string        `json:"given_back_by,omitempty"`
}

// RecallCounts are numbers of rows.
type RecallCounts struct {
	Cancelled int `json:"cancelled"`
	Held      int `json:"held"`
	InCall    int `json:"in_call"`
	Queued    int `json:"queued"`
	TooLate   int `json:"too_late"`
	Failed    int `json:"failed"`
	Nothing   int `json:"nothing"`
}

// Add counts a row.
func (c *RecallCounts) Add(o RecallOutcome) {
	switch o {
	case RecallCancelled:
		c.Cancelled++
	case RecallHeld:
		c.Held++
	case RecallInCall:
		c.InCall++
	case RecallQueued:
		c.Queued++
	case RecallTooLate:
		c.TooLate++
	case RecallFailed:
		c.Failed++
	default:
		c.Nothing++
	}
}

// Total is the number of rows.
func (c RecallCounts) Total() int {
	return c.Cancelled + c.Held + c.InCall + c.Queued + c.TooLate + c.Failed + c.Nothing
}

// RecallUndo gives back desktops of an operation that a recall was too late for, if nobody
// else lost them too.
type RecallUndo struct {
	OperationID string   `json:"operation_id"`
	Project     string   `json:"project"`
	Desktops    []string `json:"desktops"`
	Path        string   `json:"path"`    // POST it with these desktops and a reason
	Command     string   `json:"command"` // the same at the command line
}

// NewRecallUndo is the undo of desktops of an operation.
func NewRecallUndo(x Recall, op, project string, desktops []string) RecallUndo {
	command := "detachd undo " + op
	for _, id := range desktops {
		command += " --desktop " + shellWord(id)
	}
	return RecallUndo{
		OperationID: op, Project: project, Desktops: desktops, Path: "/v1/operations/" + op + ":undo",
		Command: command + ` --reason "recall ` + x.ID + `"`,
	}
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// shellWord makes a desktop's id, which may be any text, one word for a shell.
func shellWord(id string) string {
	if plainWord.MatchString(id) {
		return id
	}
	return "'" + strings.ReplaceAll(id, "'", `'\''`) + "'"
}

// RecallResult is a recall and what became of the rows that are about the person, now.
type RecallResult struct {
	Recall
	Counts RecallCounts  `json:"counts"`
	Rows   []RecalledRow `json:"rows"`           // at most 1000, the latest operation first; never null
	More   bool          `json:"more,omitempty"` // there are more rows; Counts has all
	Undo   []RecallUndo  `json:"undo"`           // of the rows that are too late; never null
	// AcceptedLater counts rows of operations that match and were accepted after the recall:
	// it does not concern them.
	AcceptedLater int `json:"accepted_later,omitempty"`
	// OtherSpellings are names in operations that differ from the user's in upper and lower
	// case only: somebody else, or a misspelled name. Nothing of them was recalled.
	OtherSpellings []string `json:"other_spellings,omitempty"`
}
