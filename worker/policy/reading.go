package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
)

// Action is what follows from a reading of a desktop.
type Action string

// The actions; see Does. Fail and Find are only in plans.
const (
	Done   Action = "done"
	Follow Action = "follow"
	Send   Action = "send"
	Later  Action = "later"
	Once   Action = "once"
	Hold   Action = "hold"
	Wait   Action = "wait"
	Fail   Action = "fail"
	Find   Action = "find"
)

// Actions lists the actions.
var Actions = []Action{Done, Follow, Send, Later, Once, Hold, Wait, Fail, Find}

// Does says in words what an action is.
func (a Action) Does() string {
	return map[Action]string{
		Done:   "nothing to do: the reading proves that it is detached, or there is nothing to detach",
		Follow: "being detached already: it is read until there is proof",
		Send:   "it is sent, or sent again",
		Later:  "busy: it is read again later; uses one attempt",
		Once:   "it is sent again once, then fails",
		Hold:   "on hold: a person decides",
		Wait:   "no proof yet: it is read again until the time for a proof is over",
		Fail:   "it cannot be read, and fails",
		Find:   "a user or a computer: its desktops have their own rows",
	}[a]
}

// Note is what a reading shows about a desktop that needs no call.
type Note string

// The notes.
const (
	Gone      Note = "gone"       // it no longer exists
	ReadBack  Note = "read_back"  // it is detached, or being detached
	NotTheirs Note = "not_theirs" // it has other users than the expected ones
)

// VerdictRow is a row of the table of what a reading of a desktop means at three
// moments: before it is sent, after a call with an unknown outcome, and after the cloud
// accepted it. The first row that matches wins.
type VerdictRow struct {
	Reads                  string // what the reading shows
	Before, Unknown, After Action
	Code                   string // of the failure, where one is recorded
	Why                    string
	Note                   Note // how it was proven, where the state alone does not say it

	match func(Look) bool
}

// verdictRows is the table. Source: the values of attach_state, status and
// task_status in the documentation of ListDesktopsDetail; what they mean for a
// detach is our interpretation, on the safe side. An empty list of users proves
// nothing unless attach_state agrees, and vice versa.
var verdictRows = []VerdictRow{
	{"not listed, never seen", Hold, Done, Done, "NOT_FOUND", "the project has no such desktop, and never showed one",
		Gone, func(l Look) bool { return !l.Exists && !l.SeenBefore }},
	{"not listed, but seen before", Done, Done, Done, "", "the desktop no longer exists",
		Gone, func(l Look) bool { return !l.Exists }},
	{"status DELETED", Done, Done, Done, "", "the desktop was deleted",
		Gone, func(l Look) bool { return l.Status == "DELETED" }},
	{"UNATTACH or DEATTACHED, without users", Done, Done, Done, "", "it has no user",
		ReadBack, func(l Look) bool { return l.state("UNATTACH", "DEATTACHED") && len(l.Users) == 0 }},
	{"other users than those of the plan that is run", Hold, Send, Wait, "PLAN_CHANGED", "its users have changed since the plan",
		"", func(l Look) bool { return l.changed() }},
	{"DEATTACHING or WAITING, a single user who is not expected", Hold, Follow, Wait, "OTHER_USER", "assigned to someone else",
		NotTheirs, func(l Look) bool { return l.Absent() && l.Type != "SHARED" && l.state("DEATTACHING", "WAITING") }},
	{"DEATTACHING", Follow, Follow, Wait, "", "it is being detached",
		ReadBack, func(l Look) bool { return l.state("DEATTACHING") }},
	{"WAITING", Later, Follow, Wait, "BUSY", "an assignment or its removal was requested and has not started",
		ReadBack, func(l Look) bool { return l.state("WAITING") }},
	{"a group, and no expected user", Hold, Done, Done, "GROUP", "the user may have access through a group, which a reading does not show",
		NotTheirs, func(l Look) bool { return l.Absent() && len(l.groups()) > 0 }},
	{"SHARED, without an expected user", Done, Done, Done, "", "the expected user is no longer on it",
		NotTheirs, func(l Look) bool { return l.Absent() && l.Type == "SHARED" }},
	{"only users who are not expected", Hold, Done, Done, "OTHER_USER", "assigned to someone else",
		NotTheirs, func(l Look) bool { return l.Absent() }},
	{"somebody who was recalled, and others", Hold, Send, Wait, tasks.CodeRecalled, "one of those who would lose it was recalled",
		"", func(l Look) bool { return l.Recalled != "" }},
	{"something protected", Hold, Send, Wait, "PROTECTED", "a rule protects the desktop or a user who would lose it",
		"", func(l Look) bool { return l.Protected != "" }},
	{"another computer name than it was found by", Hold, Send, Wait, "COMPUTER_NAME", "the computer was renamed since it was found",
		"", func(l Look) bool { return l.Computer != "" && !SameName(l.Computer, l.ComputerName) }},
	{"frozen", Hold, Send, Wait, "FROZEN", "a frozen desktop cannot be detached",
		"", func(l Look) bool { return l.Frozen }},
	{"in maintenance", Hold, Send, Wait, "MAINTENANCE", "a desktop in maintenance cannot be detached",
		"", func(l Look) bool { return l.Maintenance }},
	{"HIBERNATED", Hold, Send, Wait, "HIBERNATED", "a hibernated desktop cannot be detached",
		"", func(l Look) bool { return l.Status == "HIBERNATED" }},
	{"status ERROR or a failed deletion", Hold, Send, Wait, "DESKTOP_ERROR", "the desktop is broken",
		"", func(l Look) bool { return l.Status == "ERROR" || l.TaskStatus == "deleteFailed" }},
	{"several users, none of them expected by name", Hold, Send, Wait, "SHARED", "several users are on it, and none was named",
		"", func(l Look) bool { return !l.AllowShared && !l.Named && len(l.Users) > 1 }},
	{"DEATTACH_FAIL_CAN_DEATTACH_AGAIN", Send, Send, Later, "DEATTACH_FAIL_CAN_DEATTACH_AGAIN", "the cloud could not detach it yet",
		"", func(l Look) bool { return l.state("DEATTACH_FAIL_CAN_DEATTACH_AGAIN") }},
	{"DEATTACHFAIL", Send, Send, Once, "DEATTACHFAIL", "the cloud could not detach it",
		"", func(l Look) bool { return l.state("DEATTACHFAIL") }},
	{"ATTACHFAIL", Send, Send, Once, "ATTACHFAIL", "an assignment failed, and the desktop is not detached",
		"", func(l Look) bool { return l.state("ATTACHFAIL") }},
	{"ATTACHING", Later, Send, Wait, "BUSY", "it is being assigned",
		"", func(l Look) bool { return l.state("ATTACHING") }},
	{"a task is running", Later, Send, Wait, "BUSY", "a task is running on it",
		"", func(l Look) bool { return l.TaskStatus != "" || l.Process >= 0 && l.Process < 100 }},
	{"an unknown status", Send, Send, Wait, "", "it is still attached; the cloud decides what its status allows",
		"", func(l Look) bool { return !slices.Contains(knownStatuses, l.Status) }},
	{"anything else: ATTACHED, ATTACH_FAIL_CAN_ATTACH_AGAIN, unknown states", Send, Send, Wait, "", "it is still attached",
		"", func(Look) bool { return true }},
}

// knownStatuses are those in the documentation of ListDesktopsDetail, except DELETED;
// older replies have none.
var knownStatuses = []string{"", "ACTIVE", "SHUTOFF", "ERROR", "HIBERNATED"}

// Verdicts is the table of what a reading of a desktop means: of one that is to be detached,
// and then of one that is to be given back.
func Verdicts() []VerdictRow { return slices.Concat(verdictRows, undoRows) }

// Look is a reading of one desktop, and what is to be done with it.
type Look struct {
	apiclient.Desktop
	Exists      bool
	SeenBefore  bool     // an earlier reading of this project showed it
	Expect      []string // users whose access is to end; empty: everybody's
	Named       bool     // Expect comes from the request, not from a first reading
	Computer    string   // the computer name by which it was found
	AllowShared bool
	Plan        *PlannedUsers // nil: no plan binds the row, or it is not read before a call
	Undo        *Undo         // it is to be given back; nil: it is to be detached
	Recalled    string        // why it is on hold because of a recall; empty: none, or no call is considered
	Protected   string        // the rule that forbids a call with it; empty: none, or no call is considered
}

// PlannedUsers are the users that a plan read.
type PlannedUsers struct {
	Users []tasks.Person
	Sent  bool // a call has named the desktop since, so that some of them may be gone
}

// changed reports whether a desktop has other users than the plan read, anybody more or,
// before the first call, anybody less.
func (l Look) changed() bool {
	if l.Plan == nil {
		return false
	}
	planned := map[string]bool{}
	for _, p := range l.Plan.Users {
		planned[p.Identity()] = true
	}
	now := map[string]bool{}
	for _, p := range PersonsOf(l.Users) {
		now[p.Identity()] = true
		if !planned[p.Identity()] {
			return true
		}
	}
	return len(now) < len(planned) && !l.Plan.Sent
}

// PersonsOf are the users of a reading as the record has them; never nil.
func PersonsOf(users []apiclient.User) []tasks.Person {
	out := make([]tasks.Person, len(users))
	for i, u := range users {
		out[i] = tasks.Person{Name: u.Name, ID: u.ID, Domain: u.Domain, Group: u.Group, Type: u.Type}
	}
	return out
}

// VerdictOf finds the row of a reading.
func VerdictOf(l Look) VerdictRow {
	rows := verdictRows
	if l.Undo != nil {
		rows = undoRows
	}
	for _, row := range rows {
		if row.match(l) {
			return row
		}
	}
	panic("the last row matches everything")
}

func (l Look) state(any ...string) bool { return slices.Contains(any, l.AttachState) }

// IsGroup reports whether a user of a desktop is a group.
func IsGroup(u apiclient.User) bool { return u.Type == "GROUP" }

// Leavers are the expected users that are on the desktop. Names are compared exactly, in
// NFC, because the cloud's own filters are fuzzy. A group counts only if the first reading
// pinned it: requests name users.
func (l Look) Leavers() []apiclient.User {
	var out []apiclient.User
	for _, u := range l.Users {
		if (!l.Named || !IsGroup(u)) && slices.ContainsFunc(l.Expect, func(name string) bool { return SameName(name, u.Name) }) {
			out = append(out, u)
		}
	}
	return out
}

// SameName compares two names by their letters, composed or not: the cloud spells both ways.
func SameName(a, b string) bool { return NameKey(a) == NameKey(b) }

// NameKey is the same for names that SameName says are the same.
func NameKey(name string) string { return norm.NFC.String(name) }

func (l Look) groups() []apiclient.User {
	var out []apiclient.User
	for _, u := range l.Users {
		if IsGroup(u) {
			out = append(out, u)
		}
	}
	return out
}

// Absent reports that the desktop has users, but none of those who are to lose it.
func (l Look) Absent() bool {
	return l.Undo == nil && len(l.Expect) > 0 && len(l.Users) > 0 && len(l.Leavers()) == 0
}

// JustThem reports that only the leavers must be detached, by name: detaching everybody
// would, or could, detach others too.
func (l Look) JustThem() bool {
	leavers := l.Leavers()
	return l.Undo == nil && len(leavers) > 0 && (l.Named && l.Type == "SHARED" || len(leavers) < len(l.Users))
}

// Losing are the users and groups that a call would detach.
func (l Look) Losing() []apiclient.User {
	if l.JustThem() {
		return l.Leavers()
	}
	return l.Users
}

// seen describes a reading in a few words, for the trail and for people; it is the
// cloud's text.
func (l Look) seen() string {
	if !l.Exists {
		return "not listed"
	}
	return fmt.Sprintf("%.40s", l.AttachState)
}

// Proof is what was seen, and the id of the request that read it, for the cloud's support.
func (l Look) Proof() string {
	if l.RequestID == "" {
		return l.seen()
	}
	return l.seen() + " by request " + l.RequestID
}

// ProofAfterCall is what a reading after a call showed, for the audit trail.
func (l Look) ProofAfterCall() string {
	if l.Absent() && l.Type != "SHARED" && len(l.groups()) == 0 {
		return "detached from the leaver, since assigned to someone else: " + l.Proof()
	}
	return l.Proof()
}

// SeenBy is what was seen, and the users that it shows.
func (l Look) SeenBy() string {
	if len(l.Users) == 0 {
		return l.seen()
	}
	return l.seen() + ", " + namesOf(PersonsOf(l.Users))
}

// namesOf lists the names of the first three.
func namesOf(people []tasks.Person) string {
	names := make([]string, 0, 4)
	for i, p := range people {
		if i == 3 {
			names = append(names, fmt.Sprintf("and %d more", len(people)-i))
			break
		}
		names = append(names, fmt.Sprintf("%q", p.Name))
	}
	return strings.Join(names, ", ")
}

// Reason says why a desktop is on hold, or is read again later.
func (l Look) Reason(row VerdictRow) string {
	if l.Undo != nil {
		return l.Undo.reason(l, row)
	}
	switch row.Code {
	case "OTHER_USER", "GROUP":
		return fmt.Sprintf("%s: expected %s, found %s", row.Why, strings.Join(quoted(l.Expect), ", "), l.SeenBy())
	case tasks.CodeRecalled:
		return l.Recalled
	case "PROTECTED":
		return fmt.Sprintf("protected by the rule %s, and nothing was sent (read as %s)", l.Protected, l.SeenBy())
	case "SHARED":
		return fmt.Sprintf("%s: %s", row.Why, l.SeenBy())
	case "PLAN_CHANGED":
		return fmt.Sprintf("%s: it read %s, and now %s is found", row.Why, cmp.Or(namesOf(l.Plan.Users), "nobody"), l.SeenBy())
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

// Pins are the users of the first reading. If the request names none, these are the
// expected users from then on.
func (l Look) Pins() []string {
	var out []string
	for _, u := range l.Users {
		out = append(out, u.Name)
	}
	return out
}
