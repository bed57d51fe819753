package policy

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
)

// Every row of the table of an undo, and which goes before which.
func TestVerdictsOfAnUndo(t *testing.T) {
	t.Parallel()
	person := func(name string) apiclient.User {
		return apiclient.User{ID: "id-" + name, Name: name, Group: "users", Type: "USER"}
	}
	group := apiclient.User{ID: "g", Name: "ops", Group: "users", Type: "GROUP"}
	some := func(users ...apiclient.User) []apiclient.User { return users }
	ann, ben := person("ann"), person("ben")
	cases := map[string]struct {
		d    apiclient.Desktop // DEATTACHED, DEDICATED, ACTIVE and idle where not given
		gone bool
		undo Undo // of ann where no users are given
		none bool // of nobody

		before, unknown, after Action
		code                   string
	}{
		"free":           {before: Send, unknown: Send, after: Wait},
		"never assigned": {d: apiclient.Desktop{AttachState: "UNATTACH"}, before: Send, unknown: Send, after: Wait},
		"back":           {d: apiclient.Desktop{AttachState: "ATTACHED", Users: some(ann)}, before: Done, unknown: Done, after: Done},
		"back, known by name": {d: apiclient.Desktop{AttachState: "ATTACHED", Users: users("ann")},
			before: Done, unknown: Done, after: Done},
		"back, although old": {d: apiclient.Desktop{AttachState: "ATTACHED", Users: some(ann)}, undo: Undo{Old: true},
			before: Done, unknown: Done, after: Done},
		"a namesake": {d: apiclient.Desktop{AttachState: "ATTACHED", Users: some(apiclient.User{ID: "new", Name: "ann", Group: "users"})},
			before: Hold, unknown: Send, after: Later, code: "UNDO_OTHER_USER"},
		"another's": {d: apiclient.Desktop{AttachState: "ATTACHED", Users: some(ben)},
			before: Hold, unknown: Send, after: Later, code: "UNDO_OTHER_USER"},
		"theirs and another's": {d: apiclient.Desktop{AttachState: "ATTACHED", Users: some(ann, ben)},
			before: Hold, unknown: Send, after: Later, code: "UNDO_OTHER_USER"},
		"about to be another's": {d: apiclient.Desktop{AttachState: "ATTACHING", Users: some(ben)},
			before: Hold, unknown: Send, after: Later, code: "UNDO_OTHER_USER"},
		"gone":    {gone: true, before: Hold, unknown: Send, after: Later, code: "UNDO_NO_DESKTOP"},
		"deleted": {d: apiclient.Desktop{Status: "DELETED"}, before: Hold, unknown: Send, after: Later, code: "UNDO_NO_DESKTOP"},
		"pooled":  {d: apiclient.Desktop{Type: "POOLED"}, before: Hold, unknown: Send, after: Wait, code: "UNDO_POOLED"},
		"nobody":  {none: true, before: Hold, unknown: Send, after: Wait, code: "UNDO_NO_USERS"},
		"nobody, and it is another's": {none: true, d: apiclient.Desktop{AttachState: "ATTACHED", Users: some(ben)},
			before: Hold, unknown: Send, after: Wait, code: "UNDO_NO_USERS"},
		"without a user group": {undo: Undo{Users: users("ann")}, before: Hold, unknown: Send, after: Wait, code: "UNDO_NO_USERS"},
		"two of a desktop of one": {undo: Undo{Users: some(ann, ben)}, before: Hold, unknown: Send, after: Wait,
			code: "UNDO_NO_USERS"},
		"shared": {d: apiclient.Desktop{Type: "SHARED"}, undo: Undo{Users: some(ann, group)}, before: Send, unknown: Send, after: Wait},
		"shared, back among others": {d: apiclient.Desktop{Type: "SHARED", AttachState: "ATTACHED", Users: some(ben, group, ann)},
			undo: Undo{Users: some(ann, group)}, before: Done, unknown: Done, after: Done},
		"shared, some back": {d: apiclient.Desktop{Type: "SHARED", AttachState: "ATTACHED", Users: some(ann)},
			undo: Undo{Users: some(ann, group)}, before: Hold, unknown: Send, after: Wait, code: "UNDO_OTHER_USER"},
		"shared, others stayed": {d: apiclient.Desktop{Type: "SHARED", AttachState: "ATTACHED", Users: some(ben)},
			before: Hold, unknown: Send, after: Wait, code: "UNDO_OTHER_USER"},
		"attaching": {d: apiclient.Desktop{AttachState: "ATTACHING"}, before: Later, unknown: Follow, after: Wait, code: "BUSY"},
		"attaching to them": {d: apiclient.Desktop{AttachState: "ATTACHING", Users: some(ann)},
			before: Later, unknown: Follow, after: Wait, code: "BUSY"},
		"waiting":     {d: apiclient.Desktop{AttachState: "WAITING"}, before: Later, unknown: Follow, after: Wait, code: "BUSY"},
		"detaching":   {d: apiclient.Desktop{AttachState: "DEATTACHING", Users: some(ann)}, before: Later, unknown: Send, after: Wait, code: "BUSY"},
		"frozen":      {d: apiclient.Desktop{Frozen: true}, before: Hold, unknown: Send, after: Wait, code: "FROZEN"},
		"maintenance": {d: apiclient.Desktop{Maintenance: true}, before: Hold, unknown: Send, after: Wait, code: "MAINTENANCE"},
		"broken":      {d: apiclient.Desktop{Status: "ERROR"}, before: Hold, unknown: Send, after: Wait, code: "DESKTOP_ERROR"},
		"old":         {undo: Undo{Old: true}, before: Hold, unknown: Send, after: Wait, code: "UNDO_TOO_OLD"},
		"no user":     {undo: Undo{Gone: []string{"ann"}}, before: Hold, unknown: Send, after: Wait, code: "UNDO_USER_GONE"},
		"locked":      {undo: Undo{Locked: []string{"ann"}}, before: Hold, unknown: Send, after: Wait, code: "UNDO_USER_LOCKED"},
		"again": {d: apiclient.Desktop{AttachState: "ATTACH_FAIL_CAN_ATTACH_AGAIN"}, before: Send, unknown: Send, after: Later,
			code: "ATTACH_FAIL_CAN_ATTACH_AGAIN"},
		"again, of a locked user": {d: apiclient.Desktop{AttachState: "ATTACHFAIL"}, undo: Undo{Locked: []string{"ann"}},
			before: Hold, unknown: Send, after: Wait, code: "UNDO_USER_LOCKED"},
		"failed": {d: apiclient.Desktop{AttachState: "ATTACHFAIL"}, before: Send, unknown: Send, after: Once, code: "ATTACHFAIL"},
		"busy":   {d: apiclient.Desktop{TaskStatus: "rebooting"}, before: Later, unknown: Send, after: Wait, code: "BUSY"},
		"contradictory": {d: apiclient.Desktop{AttachState: "ATTACHED"}, before: Later, unknown: Send, after: Wait,
			code: "BUSY"},
		"unknown":             {d: apiclient.Desktop{AttachState: "LEVITATING"}, before: Later, unknown: Send, after: Wait, code: "BUSY"},
		"free, with a user":   {d: apiclient.Desktop{Users: some(ann)}, before: Later, unknown: Send, after: Wait, code: "BUSY"},
		"a failed detachment": {d: apiclient.Desktop{AttachState: "DEATTACHFAIL"}, before: Later, unknown: Send, after: Wait, code: "BUSY"},
	}
	hit := map[string]bool{}
	for name, c := range cases {
		if c.d.AttachState == "" {
			c.d.AttachState = "DEATTACHED"
		}
		if c.d.Type == "" {
			c.d.Type = "DEDICATED"
		}
		c.d.Process = -1
		if len(c.undo.Users) == 0 && !c.none {
			c.undo.Users = some(ann)
		}
		look := Look{Desktop: c.d, Exists: !c.gone, SeenBefore: true, Expect: []string{"ann"}, Named: true, Undo: &c.undo}
		row := VerdictOf(look)
		hit[row.Reads] = true
		require.Equal(t, c.before, row.Before, "%s: before", name)
		require.Equal(t, c.unknown, row.Unknown, "%s: unknown", name)
		require.Equal(t, c.after, row.After, "%s: after", name)
		require.Equal(t, c.code, row.Code, name)
		require.False(t, look.Absent() || look.JustThem(), "%s: these are of a detach", name)
		require.Contains(t, look.Reason(row), row.Why, name)
		if row.Before == Send { // a call would delete the data of somebody else
			require.NotContains(t, c.d.Users, ben, name)
		}
	}
	for _, row := range undoRows {
		require.True(t, hit[row.Reads], "no case for %q", row.Reads)
	}
}
