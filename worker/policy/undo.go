package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/detachd/detachd/apiclient"
)

// Undo is what is known of a desktop that is to be given back.
type Undo struct {
	Users        []apiclient.User // who lost it; none: nothing is recorded
	Old          bool             // longer ago than undos are made
	Gone, Locked []string         // users whom Workspace does not know, and who cannot sign in
}

// undoRows is the table for desktops that are to be given back. Giving a desktop to another
// user than its last deletes data, so it is done only if nobody has it, and to exactly the
// recorded users. A row with "hold" is a guard of the moment before the call. Source: the
// values of attach_state in the documentation of ListDesktopsDetail, and AttachInstances.
var undoRows = []VerdictRow{
	{"undo: not listed, or status DELETED", Hold, Send, Later, "UNDO_NO_DESKTOP", "the desktop no longer exists",
		"", func(l Look) bool { return !l.Exists || l.Status == "DELETED" }},
	{"undo: ATTACHED, with the recorded users", Done, Done, Done, "", "its users have it",
		ReadBack, func(l Look) bool { return l.state("ATTACHED") && l.returned() }},
	{"undo: POOLED", Hold, Send, Wait, "UNDO_POOLED", "a desktop of a pool is assigned through its pool",
		"", func(l Look) bool { return l.Type == "POOLED" }},
	{"undo: no users recorded, or without their user group", Hold, Send, Wait, "UNDO_NO_USERS", "the record does not show who had it",
		"", func(l Look) bool { return !l.known() }},
	{"undo: SHARED, with other users or some of the recorded ones", Hold, Send, Wait, "UNDO_OTHER_USER", "it has users",
		"", func(l Look) bool { return l.Type == "SHARED" && len(l.Users) > 0 && !l.returned() }},
	{"undo: another user", Hold, Send, Later, "UNDO_OTHER_USER", "assigned to someone else",
		"", func(l Look) bool { return l.strangers() }},
	{"undo: ATTACHING or WAITING", Later, Follow, Wait, "BUSY", "it is being assigned, or its removal is about to start",
		ReadBack, func(l Look) bool { return l.state("ATTACHING", "WAITING") }},
	{"undo: DEATTACHING", Later, Send, Wait, "BUSY", "it is being detached",
		"", func(l Look) bool { return l.state("DEATTACHING") }},
	{"undo: frozen", Hold, Send, Wait, "FROZEN", "a frozen desktop cannot be assigned",
		"", func(l Look) bool { return l.Frozen }},
	{"undo: in maintenance", Hold, Send, Wait, "MAINTENANCE", "a desktop in maintenance cannot be assigned",
		"", func(l Look) bool { return l.Maintenance }},
	{"undo: status ERROR or a failed deletion", Hold, Send, Wait, "DESKTOP_ERROR", "the desktop is broken",
		"", func(l Look) bool { return l.Status == "ERROR" || l.TaskStatus == "deleteFailed" }},
	{"undo: detached too long ago", Hold, Send, Wait, "UNDO_TOO_OLD", "it was detached longer ago than undos are made",
		"", func(l Look) bool { return l.Undo.Old }},
	{"undo: a user who does not exist", Hold, Send, Wait, "UNDO_USER_GONE", "Workspace does not know the user, or does not tell",
		"", func(l Look) bool { return len(l.Undo.Gone) > 0 }},
	{"undo: a user who is locked or disabled", Hold, Send, Wait, "UNDO_USER_LOCKED", "the user is locked or disabled",
		"", func(l Look) bool { return len(l.Undo.Locked) > 0 }},
	{"undo: ATTACH_FAIL_CAN_ATTACH_AGAIN", Send, Send, Later, "ATTACH_FAIL_CAN_ATTACH_AGAIN", "the cloud could not assign it yet",
		"", func(l Look) bool { return l.state("ATTACH_FAIL_CAN_ATTACH_AGAIN") }},
	{"undo: ATTACHFAIL", Send, Send, Once, "ATTACHFAIL", "the cloud could not assign it",
		"", func(l Look) bool { return l.state("ATTACHFAIL") }},
	{"undo: a task is running", Later, Send, Wait, "BUSY", "a task is running on it",
		"", func(l Look) bool { return l.TaskStatus != "" || l.Process >= 0 && l.Process < 100 }},
	{"undo: UNATTACH or DEATTACHED, without users", Send, Send, Wait, "", "nobody has it",
		"", func(l Look) bool { return l.state("UNATTACH", "DEATTACHED") && len(l.Users) == 0 }},
	{"undo: anything else", Later, Send, Wait, "BUSY", "its state does not show that nobody has it",
		"", func(Look) bool { return true }},
}

// known reports whether it is recorded who had the desktop, as a call must name them.
func (l Look) known() bool {
	incomplete := func(u apiclient.User) bool { return u.Name == "" || u.Group == "" }
	n := len(l.Undo.Users)
	return n > 0 && (n == 1 || l.Type == "SHARED") && !slices.ContainsFunc(l.Undo.Users, incomplete)
}

// returned reports whether exactly the recorded users have the desktop; of a SHARED one, they
// among others.
func (l Look) returned() bool {
	for _, u := range l.Undo.Users {
		if !slices.ContainsFunc(l.Users, func(o apiclient.User) bool { return sameUser(u, o) }) {
			return false
		}
	}
	return len(l.Undo.Users) > 0 && (l.Type == "SHARED" || len(l.Users) == len(l.Undo.Users))
}

// strangers reports whether somebody has the desktop who did not lose it.
func (l Look) strangers() bool {
	return slices.ContainsFunc(l.Users, func(o apiclient.User) bool {
		return !slices.ContainsFunc(l.Undo.Users, func(u apiclient.User) bool { return sameUser(u, o) })
	})
}

// sameUser compares ids, as a name can be given to a new account; without them names.
func sameUser(a, b apiclient.User) bool {
	if a.ID != "" && b.ID != "" {
		return a.ID == b.ID
	}
	return SameName(a.Name, b.Name) && IsGroup(a) == IsGroup(b)
}

// reason is Reason of a desktop that is to be given back.
func (u Undo) reason(l Look, row VerdictRow) string {
	names := func(list []string) string { return strings.Join(quoted(list), ", ") }
	switch {
	case len(u.Users) == 0:
		return fmt.Sprintf("%s: nothing was sent (read as %s)", row.Why, l.SeenBy())
	case row.Code == "UNDO_USER_GONE":
		return fmt.Sprintf("%s: %s", row.Why, names(u.Gone))
	case row.Code == "UNDO_USER_LOCKED":
		return fmt.Sprintf("%s: %s", row.Why, names(u.Locked))
	}
	var all []string
	for _, user := range u.Users {
		all = append(all, user.Name)
	}
	return fmt.Sprintf("%s: to be given back to %s, read as %s", row.Why, names(all), l.SeenBy())
}
