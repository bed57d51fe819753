package policy

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/detachd/detachd/apiclient"
)

// Action is what a reading of a desktop has done about it.
type Action string

// The actions.
const (
	Done   Action = "done"   // detached: the reading is the proof
	Follow Action = "follow" // it is being detached: followed until it is proven
	Send   Action = "send"   // go ahead: it is sent (again)
	Later  Action = "later"  // busy: looked at again later, one attempt spent
	Once   Action = "once"   // sent again once, then failed
	Hold   Action = "hold"   // held: a person decides
	Wait   Action = "wait"   // nothing yet: looked at again until the time for a proof is over
)

// Note is what a reading shows of a desktop that needs no call.
type Note string

// The notes.
const (
	Gone      Note = "gone"       // it no longer exists
	ReadBack  Note = "read_back"  // it is detached, or being detached
	NotTheirs Note = "not_theirs" // none of the expected users is on it
)

// VerdictRow is a row of the table of what a reading of a desktop means, at
// three moments: before it is sent, after a call whose outcome nobody knows, and
// after the cloud has accepted it. The first row that matches wins.
type VerdictRow struct {
	Reads                  string // what the reading shows
	Before, Unknown, After Action
	Code                   string // of the failure, where one is recorded
	Why                    string
	Note                   Note // of what is proven, where the state alone does not say it

	match func(Look) bool
}

// verdictRows is the table. Source: the values of attach_state, status and
// task_status in the documentation of ListDesktopsDetail; what they mean for a
// detach is our reading of it, on the safe side. A list of users that is empty
// proves nothing while attach_state does not agree, and the other way round.
var verdictRows = []VerdictRow{
	{"not in the list, and never seen", Hold, Done, Done, "NOT_FOUND", "there is no such desktop, and none was ever seen",
		Gone, func(l Look) bool { return !l.Exists && !l.SeenBefore }},
	{"not in the list, but seen before", Done, Done, Done, "", "the desktop no longer exists",
		Gone, func(l Look) bool { return !l.Exists }},
	{"status DELETED", Done, Done, Done, "", "the desktop was deleted",
		Gone, func(l Look) bool { return l.Status == "DELETED" }},
	{"UNATTACH or DEATTACHED, without users", Done, Done, Done, "", "nobody is on it",
		ReadBack, func(l Look) bool { return l.state("UNATTACH", "DEATTACHED") && len(l.Users) == 0 }},
	{"DEATTACHING or WAITING, of a single user who is not expected", Hold, Follow, Wait, "OTHER_USER", "it belongs to somebody else than expected",
		NotTheirs, func(l Look) bool { return l.Absent() && l.Type != "SHARED" && l.state("DEATTACHING", "WAITING") }},
	{"DEATTACHING", Follow, Follow, Wait, "", "it is being detached",
		ReadBack, func(l Look) bool { return l.state("DEATTACHING") }},
	{"WAITING", Later, Follow, Wait, "BUSY", "an assignment or its removal has been asked for and has not begun",
		ReadBack, func(l Look) bool { return l.state("WAITING") }},
	{"a group, and no expected user", Hold, Done, Done, "GROUP", "access may come through a group, which cannot be told from here",
		NotTheirs, func(l Look) bool { return l.Absent() && len(l.groups()) > 0 }},
	{"SHARED, on which no expected user is", Done, Done, Done, "", "the expected user is no longer on it",
		NotTheirs, func(l Look) bool { return l.Absent() && l.Type == "SHARED" }},
	{"only users who are not expected", Hold, Done, Done, "OTHER_USER", "it belongs to somebody else than expected",
		NotTheirs, func(l Look) bool { return l.Absent() }},
	{"another computer name than the one it was found by", Hold, Send, Wait, "COMPUTER_NAME", "the desktop was renamed since it was found by its computer's name",
		"", func(l Look) bool { return l.Computer != "" && !SameName(l.Computer, l.ComputerName) }},
	{"frozen", Hold, Send, Wait, "FROZEN", "a frozen desktop cannot be detached: settle the order first",
		"", func(l Look) bool { return l.Frozen }},
	{"in maintenance", Hold, Send, Wait, "MAINTENANCE", "a desktop in maintenance cannot be detached",
		"", func(l Look) bool { return l.Maintenance }},
	{"HIBERNATED", Hold, Send, Wait, "HIBERNATED", "a hibernated desktop cannot be detached: wake it up first",
		"", func(l Look) bool { return l.Status == "HIBERNATED" }},
	{"status ERROR or a deletion that failed", Hold, Send, Wait, "DESKTOP_ERROR", "the desktop is broken: look at it in the console",
		"", func(l Look) bool { return l.Status == "ERROR" || l.TaskStatus == "deleteFailed" }},
	{"several users, none of them expected by name", Hold, Send, Wait, "SHARED", "others are on it: name the leavers, or allow it",
		"", func(l Look) bool { return !l.AllowShared && !l.Named && len(l.Users) > 1 }},
	{"DEATTACH_FAIL_CAN_DEATTACH_AGAIN", Send, Send, Later, "DEATTACH_FAIL_CAN_DEATTACH_AGAIN", "the cloud's attempt failed and may be repeated",
		"", func(l Look) bool { return l.state("DEATTACH_FAIL_CAN_DEATTACH_AGAIN") }},
	{"DEATTACHFAIL", Send, Send, Once, "DEATTACHFAIL", "the cloud could not detach it",
		"", func(l Look) bool { return l.state("DEATTACHFAIL") }},
	{"ATTACHFAIL", Send, Send, Once, "ATTACHFAIL", "an assignment failed, and it is not detached",
		"", func(l Look) bool { return l.state("ATTACHFAIL") }},
	{"ATTACHING", Later, Send, Wait, "BUSY", "it is being assigned",
		"", func(l Look) bool { return l.state("ATTACHING") }},
	{"a task is running", Later, Send, Wait, "BUSY", "a task is running on it",
		"", func(l Look) bool { return l.TaskStatus != "" || l.Process >= 0 && l.Process < 100 }},
	{"a status that is not known", Send, Send, Wait, "", "it is still attached, and the cloud decides what its status allows",
		"", func(l Look) bool { return !slices.Contains(knownStatuses, l.Status) }},
	{"anything else: ATTACHED, ATTACH_FAIL_CAN_ATTACH_AGAIN, states not known", Send, Send, Wait, "", "it is still attached",
		"", func(Look) bool { return true }},
}

// knownStatuses are those that the documentation of ListDesktopsDetail names, but
// for DELETED; older replies have none.
var knownStatuses = []string{"", "ACTIVE", "SHUTOFF", "ERROR", "HIBERNATED"}

// Verdicts gives the table of what a reading of a desktop means.
func Verdicts() []VerdictRow { return slices.Clone(verdictRows) }

// Look is a reading of one desktop, and what is wanted of it.
type Look struct {
	apiclient.Desktop
	Exists      bool
	SeenBefore  bool     // some reading of this project has shown it
	Expect      []string // users whose access is to end; empty: everybody's
	Named       bool     // Expect is what the request says, and not what a reading pinned
	Computer    string   // the computer's name that it was found by
	AllowShared bool
}

// VerdictOf finds the row that a look falls into.
func VerdictOf(l Look) VerdictRow {
	for _, row := range verdictRows {
		if row.match(l) {
			return row
		}
	}
	panic("the last row matches everything")
}

func (l Look) state(any ...string) bool { return slices.Contains(any, l.AttachState) }

// IsGroup says that a user of a desktop is a group.
func IsGroup(u apiclient.User) bool { return u.Type == "GROUP" }

// Leavers are the expected users that are on the desktop. Names are compared
// exactly, in NFC: the cloud's own filters are fuzzy. A group is among them only if a
// reading pinned it: requests name users.
func (l Look) Leavers() []apiclient.User {
	var out []apiclient.User
	for _, u := range l.Users {
		if (!l.Named || !IsGroup(u)) && slices.ContainsFunc(l.Expect, func(name string) bool { return SameName(name, u.Name) }) {
			out = append(out, u)
		}
	}
	return out
}

// SameName compares two names as the cloud may spell them: the same letters, composed
// or not.
func SameName(a, b string) bool { return norm.NFC.String(a) == norm.NFC.String(b) }

func (l Look) groups() []apiclient.User {
	var out []apiclient.User
	for _, u := range l.Users {
		if IsGroup(u) {
			out = append(out, u)
		}
	}
	return out
}

// Absent says that users are expected, and that others are on the desktop but
// none of them is.
func (l Look) Absent() bool { return len(l.Expect) > 0 && len(l.Users) > 0 && len(l.Leavers()) == 0 }

// JustThem says that the leavers have to be taken off by name, as taking
// everybody off would take others off too, or could.
func (l Look) JustThem() bool {
	leavers := l.Leavers()
	return len(leavers) > 0 && (l.Named && l.Type == "SHARED" || len(leavers) < len(l.Users))
}

// seen describes a reading in a few words, for the trail and for people. It is
// the cloud's text.
func (l Look) seen() string {
	if !l.Exists {
		return "not in the list"
	}
	return fmt.Sprintf("%.40s", l.AttachState)
}

// Proof is what was seen, and the request that read it, by which the cloud's side can find it.
func (l Look) Proof() string {
	if l.RequestID == "" {
		return l.seen()
	}
	return l.seen() + " by request " + l.RequestID
}

// ProofAfterCall is what a reading after a call showed, for the trail.
func (l Look) ProofAfterCall() string {
	if l.Absent() && l.Type != "SHARED" && len(l.groups()) == 0 {
		return "taken from the leaver; since given to another: " + l.Proof()
	}
	return l.Proof()
}

// SeenBy is what was seen, and the users.
func (l Look) SeenBy() string {
	if len(l.Users) == 0 {
		return l.seen()
	}
	names := make([]string, 0, 3)
	for i, u := range l.Users {
		if i == 3 {
			names = append(names, fmt.Sprintf("and %d more", len(l.Users)-i))
			break
		}
		names = append(names, fmt.Sprintf("%q", u.Name))
	}
	return l.seen() + ", " + strings.Join(names, ", ")
}

// Reason says why a desktop is held or looked at later.
func (l Look) Reason(row VerdictRow) string {
	switch row.Code {
	case "OTHER_USER", "GROUP":
		return fmt.Sprintf("%s: expected %s, found %s", row.Why, strings.Join(quoted(l.Expect), ", "), l.SeenBy())
	case "SHARED":
		return fmt.Sprintf("%s: %s", row.Why, l.SeenBy())
	}
	return fmt.Sprintf("%s (read as %s)", row.Why, l.SeenBy())
}

func quoted(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = fmt.Sprintf("%q", n)
	}
	return out
}

// Pins are the names of those who are on a desktop when it is first read: from then
// on they are whose it is, if the request names nobody.
func (l Look) Pins() []string {
	var out []string
	for _, u := range l.Users {
		out = append(out, u.Name)
	}
	return out
}
