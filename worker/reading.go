package worker

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
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

// VerdictRow is a row of the table of what a reading of a desktop means, at
// three moments: before it is sent, after a call whose outcome nobody knows, and
// after the cloud has accepted it. The first row that matches wins.
type VerdictRow struct {
	Reads                  string // what the reading shows
	Before, Unknown, After Action
	Code                   string // of the failure, where one is recorded
	Why                    string

	note  tasks.Note
	match func(look) bool
}

// verdictRows is the table. Source: the values of attach_state, status and
// task_status in the documentation of ListDesktopsDetail; what they mean for a
// detach is our reading of it, on the safe side. A list of users that is empty
// proves nothing while attach_state does not agree, and the other way round.
var verdictRows = []VerdictRow{
	{"not in the list, and never seen", Hold, Done, Done, "NOT_FOUND", "there is no such desktop, and none was ever seen",
		tasks.Gone, func(l look) bool { return !l.exists && !l.seenBefore }},
	{"not in the list, but seen before", Done, Done, Done, "", "the desktop no longer exists",
		tasks.Gone, func(l look) bool { return !l.exists }},
	{"status DELETED", Done, Done, Done, "", "the desktop was deleted",
		tasks.Gone, func(l look) bool { return l.Status == "DELETED" }},
	{"UNATTACH or DEATTACHED, without users", Done, Done, Done, "", "nobody is on it",
		tasks.ReadBack, func(l look) bool { return l.state("UNATTACH", "DEATTACHED") && len(l.Users) == 0 }},
	{"DEATTACHING or WAITING, of a single user who is not expected", Hold, Follow, Wait, "OTHER_USER", "it belongs to somebody else than expected",
		tasks.NotTheirs, func(l look) bool { return l.absent() && l.Type != "SHARED" && l.state("DEATTACHING", "WAITING") }},
	{"DEATTACHING", Follow, Follow, Wait, "", "it is being detached",
		tasks.ReadBack, func(l look) bool { return l.state("DEATTACHING") }},
	{"WAITING", Later, Follow, Wait, "BUSY", "an assignment or its removal has been asked for and has not begun",
		tasks.ReadBack, func(l look) bool { return l.state("WAITING") }},
	{"a group, and no expected user", Hold, Done, Done, "GROUP", "access may come through a group, which cannot be told from here",
		tasks.NotTheirs, func(l look) bool { return l.absent() && len(l.groups()) > 0 }},
	{"SHARED, on which no expected user is", Done, Done, Done, "", "the expected user is no longer on it",
		tasks.NotTheirs, func(l look) bool { return l.absent() && l.Type == "SHARED" }},
	{"only users who are not expected", Hold, Done, Done, "OTHER_USER", "it belongs to somebody else than expected",
		tasks.NotTheirs, func(l look) bool { return l.absent() }},
	{"another computer name than the one it was found by", Hold, Send, Wait, "COMPUTER_NAME", "the desktop was renamed since it was found by its computer's name",
		"", func(l look) bool { return l.computer != "" && !sameName(l.computer, l.ComputerName) }},
	{"frozen", Hold, Send, Wait, "FROZEN", "a frozen desktop cannot be detached: settle the order first",
		"", func(l look) bool { return l.Frozen }},
	{"in maintenance", Hold, Send, Wait, "MAINTENANCE", "a desktop in maintenance cannot be detached",
		"", func(l look) bool { return l.Maintenance }},
	{"HIBERNATED", Hold, Send, Wait, "HIBERNATED", "a hibernated desktop cannot be detached: wake it up first",
		"", func(l look) bool { return l.Status == "HIBERNATED" }},
	{"status ERROR or a deletion that failed", Hold, Send, Wait, "DESKTOP_ERROR", "the desktop is broken: look at it in the console",
		"", func(l look) bool { return l.Status == "ERROR" || l.TaskStatus == "deleteFailed" }},
	{"several users, none of them expected by name", Hold, Send, Wait, "SHARED", "others are on it: name the leavers, or allow it",
		"", func(l look) bool { return !l.allowShared && !l.named && len(l.Users) > 1 }},
	{"DEATTACH_FAIL_CAN_DEATTACH_AGAIN", Send, Send, Later, "DEATTACH_FAIL_CAN_DEATTACH_AGAIN", "the cloud's attempt failed and may be repeated",
		"", func(l look) bool { return l.state("DEATTACH_FAIL_CAN_DEATTACH_AGAIN") }},
	{"DEATTACHFAIL", Send, Send, Once, "DEATTACHFAIL", "the cloud could not detach it",
		"", func(l look) bool { return l.state("DEATTACHFAIL") }},
	{"ATTACHFAIL", Send, Send, Once, "ATTACHFAIL", "an assignment failed, and it is not detached",
		"", func(l look) bool { return l.state("ATTACHFAIL") }},
	{"ATTACHING", Later, Send, Wait, "BUSY", "it is being assigned",
		"", func(l look) bool { return l.state("ATTACHING") }},
	{"a task is running", Later, Send, Wait, "BUSY", "a task is running on it",
		"", func(l look) bool { return l.TaskStatus != "" || l.Process >= 0 && l.Process < 100 }},
	{"a status that is not known", Send, Send, Wait, "", "it is still attached, and the cloud decides what its status allows",
		"", func(l look) bool { return !slices.Contains(knownStatuses, l.Status) }},
	{"anything else: ATTACHED, ATTACH_FAIL_CAN_ATTACH_AGAIN, states not known", Send, Send, Wait, "", "it is still attached",
		"", func(look) bool { return true }},
}

// knownStatuses are those that the documentation of ListDesktopsDetail names, but
// for DELETED; older replies have none.
var knownStatuses = []string{"", "ACTIVE", "SHUTOFF", "ERROR", "HIBERNATED"}

// Verdicts gives the table of what a reading of a desktop means.
func Verdicts() []VerdictRow { return slices.Clone(verdictRows) }

// look is a reading of one desktop, and what is wanted of it.
type look struct {
	apiclient.Desktop
	exists      bool
	seenBefore  bool     // some reading of this project has shown it
	expect      []string // users whose access is to end; empty: everybody's
	named       bool     // expect is what the request says, and not what a reading pinned
	computer    string   // the computer's name that it was found by
	allowShared bool
}

// lookAt is a reading of a row's desktop. seenBefore says that an earlier reading has
// shown it; wherever a call was made one has.
func lookAt(op tasks.Operation, d tasks.Desktop, read map[string]apiclient.Desktop, seenBefore bool) look {
	desktop, exists := read[d.ID]
	return look{
		Desktop: desktop, exists: exists, seenBefore: seenBefore,
		expect: d.Expected(), named: len(d.Expect) > 0, computer: d.FoundAs, allowShared: op.AllowShared,
	}
}

// verdictOf finds the row that a look falls into.
func verdictOf(l look) VerdictRow {
	for _, row := range verdictRows {
		if row.match(l) {
			return row
		}
	}
	panic("the last row matches everything")
}

func (l look) state(any ...string) bool { return slices.Contains(any, l.AttachState) }

func isGroup(u apiclient.User) bool { return u.Type == "GROUP" }

// leavers are the expected users that are on the desktop. Names are compared
// exactly, in NFC: the cloud's own filters are fuzzy. A group is among them only if a
// reading pinned it: requests name users.
func (l look) leavers() []apiclient.User {
	var out []apiclient.User
	for _, u := range l.Users {
		if (!l.named || !isGroup(u)) && slices.ContainsFunc(l.expect, func(name string) bool { return sameName(name, u.Name) }) {
			out = append(out, u)
		}
	}
	return out
}

// sameName compares two names as the cloud may spell them: the same letters, composed
// or not.
func sameName(a, b string) bool { return norm.NFC.String(a) == norm.NFC.String(b) }

func (l look) groups() []apiclient.User {
	var out []apiclient.User
	for _, u := range l.Users {
		if isGroup(u) {
			out = append(out, u)
		}
	}
	return out
}

// absent says that users are expected, and that others are on the desktop but
// none of them is.
func (l look) absent() bool { return len(l.expect) > 0 && len(l.Users) > 0 && len(l.leavers()) == 0 }

// justThem says that the leavers have to be taken off by name, as taking
// everybody off would take others off too, or could.
func (l look) justThem() bool {
	leavers := l.leavers()
	return len(leavers) > 0 && (l.named && l.Type == "SHARED" || len(leavers) < len(l.Users))
}

// seen describes a reading in a few words, for the trail and for people. It is
// the cloud's text.
func (l look) seen() string {
	if !l.exists {
		return "not in the list"
	}
	return fmt.Sprintf("%.40s", l.AttachState)
}

// proof adds the request that read it, by which the cloud's side can find it.
func (l look) proof() string {
	if l.RequestID == "" {
		return l.seen()
	}
	return l.seen() + " by request " + l.RequestID
}

// seenBy adds the users.
func (l look) seenBy() string {
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

// reason says why a desktop is held or looked at later.
func (l look) reason(row VerdictRow) string {
	switch row.Code {
	case "OTHER_USER", "GROUP":
		return fmt.Sprintf("%s: expected %s, found %s", row.Why, strings.Join(quoted(l.expect), ", "), l.seenBy())
	case "SHARED":
		return fmt.Sprintf("%s: %s", row.Why, l.seenBy())
	}
	return fmt.Sprintf("%s (read as %s)", row.Why, l.seenBy())
}

func quoted(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = fmt.Sprintf("%q", n)
	}
	return out
}

// before is what the record keeps of a reading.
func (l look) before(at time.Time) *tasks.Before {
	return &tasks.Before{
		Name: l.ComputerName, Type: l.Type, Status: l.Status, AttachState: l.AttachState, Tags: l.Tags, Users: persons(l.Users), ReadAt: at.UTC(),
	}
}

// persons are users as the record has them; never nil.
func persons(users []apiclient.User) []tasks.Person {
	out := make([]tasks.Person, len(users))
	for i, u := range users {
		out[i] = tasks.Person{Name: u.Name, ID: u.ID, Domain: u.Domain, Group: u.Group, Type: u.Type}
	}
	return out
}

// pins are the names of those who are on a desktop when it is first read: from then
// on they are whose it is, if the request names nobody.
func (l look) pins() []string {
	var out []string
	for _, u := range l.Users {
		out = append(out, u.Name)
	}
	return out
}
