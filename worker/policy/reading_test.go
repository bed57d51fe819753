package policy

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
)

func users(names ...string) []apiclient.User {
	var out []apiclient.User
	for _, n := range names {
		out = append(out, apiclient.User{Name: n, Type: "USER"})
	}
	return out
}

func planned(names ...string) *PlannedUsers { return &PlannedUsers{Users: PersonsOf(users(names...))} }

// Every row of the table, and which goes before which.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	group := apiclient.User{Name: "devs", Type: "GROUP"}
	cases := map[string]struct {
		d      apiclient.Desktop // AttachState ATTACHED, DEDICATED, ACTIVE and idle where not given
		gone   bool
		expect []string
		allow  bool
		seen   bool
		pinned bool // expect is what a reading pinned
		as     string
		plan   *PlannedUsers
		rule   string
		recall string

		before, unknown, after Action
		code                   string
		note                   Note
	}{
		"gone":           {gone: true, seen: true, before: Done, unknown: Done, after: Done, note: Gone},
		"gone, expected": {gone: true, seen: true, expect: []string{"ann"}, before: Done, unknown: Done, after: Done, note: Gone},
		"never seen":     {gone: true, before: Hold, unknown: Done, after: Done, code: "NOT_FOUND", note: Gone},
		"never seen, expected": {gone: true, expect: []string{"ann"},
			before: Hold, unknown: Done, after: Done, code: "NOT_FOUND", note: Gone},
		"deleted": {d: apiclient.Desktop{Users: users("ann"), Status: "DELETED"},
			before: Done, unknown: Done, after: Done, note: Gone},
		"deleted, another's": {d: apiclient.Desktop{Users: users("bob"), Status: "DELETED"}, expect: []string{"ann"},
			before: Done, unknown: Done, after: Done, note: Gone},
		"a status nobody knows": {d: apiclient.Desktop{Users: users("ann"), Status: "LEVITATING"}, before: Send, unknown: Send, after: Wait},
		"such a one, of another": {d: apiclient.Desktop{Users: users("bob"), Status: "LEVITATING"}, expect: []string{"ann"},
			before: Hold, unknown: Done, after: Done, code: "OTHER_USER", note: NotTheirs},
		"protected": {d: apiclient.Desktop{Users: users("ann")}, rule: "board",
			before: Hold, unknown: Send, after: Wait, code: "PROTECTED"},
		"protected, and detached already": {d: apiclient.Desktop{AttachState: "UNATTACH"}, rule: "board",
			before: Done, unknown: Done, after: Done, note: ReadBack},
		"protected, and another's": {d: apiclient.Desktop{Users: users("bob")}, expect: []string{"ann"}, rule: "board",
			before: Hold, unknown: Done, after: Done, code: "OTHER_USER", note: NotTheirs},
		"recalled, with another": {d: apiclient.Desktop{Users: users("ann", "bob")}, expect: []string{"ann", "bob"}, recall: "ann was",
			before: Hold, unknown: Send, after: Wait, code: "RECALLED"},
		"recalled, and another's": {d: apiclient.Desktop{Users: users("eve")}, expect: []string{"ann", "bob"}, recall: "ann was",
			before: Hold, unknown: Done, after: Done, code: "OTHER_USER", note: NotTheirs},
		"recalled, and detached already": {d: apiclient.Desktop{AttachState: "UNATTACH"}, recall: "ann was",
			before: Done, unknown: Done, after: Done, note: ReadBack},
		"renamed": {d: apiclient.Desktop{Users: users("ann"), ComputerName: "WS-2"}, as: "WS-1",
			before: Hold, unknown: Send, after: Wait, code: "COMPUTER_NAME"},
		"not renamed": {d: apiclient.Desktop{Users: users("ann"), ComputerName: "WS-1"}, as: "WS-1",
			before: Send, unknown: Send, after: Wait},
		"bare, given to an heir": {d: apiclient.Desktop{Users: users("heir")}, expect: []string{"ann"}, pinned: true,
			before: Hold, unknown: Done, after: Done, code: "OTHER_USER", note: NotTheirs},
		"bare, pinned, shared": {d: apiclient.Desktop{Users: users("ann", "bob"), Type: "SHARED"}, expect: []string{"ann", "bob"}, pinned: true,
			before: Hold, unknown: Send, after: Wait, code: "SHARED"},
		"decomposed": {d: apiclient.Desktop{Users: users("zoe\u0301")}, expect: []string{"zo\u00e9"},
			before: Send, unknown: Send, after: Wait},
		"free": {d: apiclient.Desktop{AttachState: "UNATTACH"}, before: Done, unknown: Done, after: Done, note: ReadBack},
		"freed": {d: apiclient.Desktop{AttachState: "DEATTACHED"}, expect: []string{"ann"},
			before: Done, unknown: Done, after: Done, note: ReadBack},
		"free, with a user still": {d: apiclient.Desktop{AttachState: "DEATTACHED", Users: users("ann")},
			before: Send, unknown: Send, after: Wait},
		"attached, without a user": {before: Send, unknown: Send, after: Wait},
		"detaching": {d: apiclient.Desktop{AttachState: "DEATTACHING", Users: users("ann")},
			before: Follow, unknown: Follow, after: Wait, note: ReadBack},
		"detaching, of another": {d: apiclient.Desktop{AttachState: "DEATTACHING", Users: users("bob")}, expect: []string{"ann"},
			before: Hold, unknown: Follow, after: Wait, code: "OTHER_USER", note: NotTheirs},
		"detaching others, shared": {d: apiclient.Desktop{Type: "SHARED", AttachState: "DEATTACHING", Users: users("bob")},
			expect: []string{"ann"}, before: Follow, unknown: Follow, after: Wait, note: ReadBack},
		"as planned": {d: apiclient.Desktop{Users: users("ann", "bob")}, plan: planned("bob", "ann"), allow: true,
			before: Send, unknown: Send, after: Wait},
		"planned, another name": {d: apiclient.Desktop{Users: users("heir")}, plan: planned("ann"),
			before: Hold, unknown: Send, after: Wait, code: "PLAN_CHANGED"},
		"planned, one more": {d: apiclient.Desktop{Type: "SHARED", Users: users("ann", "heir")}, plan: planned("ann"), expect: []string{"ann"},
			before: Hold, unknown: Send, after: Wait, code: "PLAN_CHANGED"},
		"planned, one less": {d: apiclient.Desktop{Type: "SHARED", Users: users("ann")}, plan: planned("ann", "bob"), allow: true,
			before: Hold, unknown: Send, after: Wait, code: "PLAN_CHANGED"},
		"planned, one taken by our own call": {
			d: apiclient.Desktop{Type: "SHARED", Users: users("ann")}, plan: &PlannedUsers{planned("ann", "bob").Users, true}, allow: true,
			before: Send, unknown: Send, after: Wait},
		"planned, sent, then another": {
			d: apiclient.Desktop{Type: "SHARED", Users: users("heir")}, plan: &PlannedUsers{planned("ann", "bob").Users, true}, allow: true,
			before: Hold, unknown: Send, after: Wait, code: "PLAN_CHANGED"},
		"planned, the same name again": {
			d: apiclient.Desktop{Users: []apiclient.User{{Name: "ann", ID: "new", Type: "USER"}}}, plan: planned("ann"),
			before: Hold, unknown: Send, after: Wait, code: "PLAN_CHANGED"},
		"planned, nobody was on it": {d: apiclient.Desktop{Users: users("ann")}, plan: planned(),
			before: Hold, unknown: Send, after: Wait, code: "PLAN_CHANGED"},
		"planned, being taken from another": {d: apiclient.Desktop{AttachState: "DEATTACHING", Users: users("heir")}, plan: planned("ann"),
			before: Hold, unknown: Send, after: Wait, code: "PLAN_CHANGED"},
		"planned, free by now": {d: apiclient.Desktop{AttachState: "UNATTACH"}, plan: planned("ann"),
			before: Done, unknown: Done, after: Done, note: ReadBack},
		"waiting": {d: apiclient.Desktop{AttachState: "WAITING", Users: users("ann")},
			before: Later, unknown: Follow, after: Wait, code: "BUSY", note: ReadBack},
		"theirs": {d: apiclient.Desktop{Users: users("ann")}, expect: []string{"ann"},
			before: Send, unknown: Send, after: Wait},
		"bare": {d: apiclient.Desktop{Users: users("ann")}, before: Send, unknown: Send, after: Wait},
		"another's": {d: apiclient.Desktop{Users: users("bob")}, expect: []string{"ann"},
			before: Hold, unknown: Done, after: Done, code: "OTHER_USER", note: NotTheirs},
		"another case of letters": {d: apiclient.Desktop{Users: users("Ann")}, expect: []string{"ann"},
			before: Hold, unknown: Done, after: Done, code: "OTHER_USER", note: NotTheirs},
		"another's, hibernated": {d: apiclient.Desktop{Users: users("bob"), Status: "HIBERNATED"}, expect: []string{"ann"},
			before: Hold, unknown: Done, after: Done, code: "OTHER_USER", note: NotTheirs},
		"another's, shared": {d: apiclient.Desktop{Users: users("bob"), Type: "SHARED"}, expect: []string{"ann"},
			before: Done, unknown: Done, after: Done, note: NotTheirs},
		"a group's": {d: apiclient.Desktop{Users: []apiclient.User{group}, Type: "SHARED"}, expect: []string{"ann"},
			before: Hold, unknown: Done, after: Done, code: "GROUP", note: NotTheirs},
		"a group of the user's name": {d: apiclient.Desktop{Users: []apiclient.User{{Name: "ann", Type: "GROUP"}}, Type: "SHARED"},
			expect: []string{"ann"}, before: Hold, unknown: Done, after: Done, code: "GROUP", note: NotTheirs},
		"frozen": {d: apiclient.Desktop{Users: users("ann"), Frozen: true},
			before: Hold, unknown: Send, after: Wait, code: "FROZEN"},
		"in maintenance": {d: apiclient.Desktop{Users: users("ann"), Maintenance: true},
			before: Hold, unknown: Send, after: Wait, code: "MAINTENANCE"},
		"hibernated": {d: apiclient.Desktop{Users: users("ann"), Status: "HIBERNATED"},
			before: Hold, unknown: Send, after: Wait, code: "HIBERNATED"},
		"broken": {d: apiclient.Desktop{Users: users("ann"), Status: "ERROR"},
			before: Hold, unknown: Send, after: Wait, code: "DESKTOP_ERROR"},
		"half deleted": {d: apiclient.Desktop{Users: users("ann"), TaskStatus: "deleteFailed"},
			before: Hold, unknown: Send, after: Wait, code: "DESKTOP_ERROR"},
		"shared, bare": {d: apiclient.Desktop{Users: users("ann", "bob"), Type: "SHARED"},
			before: Hold, unknown: Send, after: Wait, code: "SHARED"},
		"shared, allowed": {d: apiclient.Desktop{Users: users("ann", "bob"), Type: "SHARED"}, allow: true,
			before: Send, unknown: Send, after: Wait},
		"shared, named": {d: apiclient.Desktop{Users: users("ann", "bob"), Type: "SHARED"}, expect: []string{"ann"},
			before: Send, unknown: Send, after: Wait},
		"shared, of one": {d: apiclient.Desktop{Users: users("ann"), Type: "SHARED"}, before: Send, unknown: Send, after: Wait},
		"may be repeated": {d: apiclient.Desktop{AttachState: "DEATTACH_FAIL_CAN_DEATTACH_AGAIN", Users: users("ann")},
			before: Send, unknown: Send, after: Later, code: "DEATTACH_FAIL_CAN_DEATTACH_AGAIN"},
		"failed": {d: apiclient.Desktop{AttachState: "DEATTACHFAIL", Users: users("ann")},
			before: Send, unknown: Send, after: Once, code: "DEATTACHFAIL"},
		"assignment failed": {d: apiclient.Desktop{AttachState: "ATTACHFAIL"},
			before: Send, unknown: Send, after: Once, code: "ATTACHFAIL"},
		"assignment may be repeated": {d: apiclient.Desktop{AttachState: "ATTACH_FAIL_CAN_ATTACH_AGAIN"},
			before: Send, unknown: Send, after: Wait},
		"attaching": {d: apiclient.Desktop{AttachState: "ATTACHING", Users: users("ann")},
			before: Later, unknown: Send, after: Wait, code: "BUSY"},
		"rebooting": {d: apiclient.Desktop{Users: users("ann"), TaskStatus: "rebooting"},
			before: Later, unknown: Send, after: Wait, code: "BUSY"},
		"a state nobody knows": {d: apiclient.Desktop{AttachState: "LEVITATING"}, before: Send, unknown: Send, after: Wait},
		"no state":             {d: apiclient.Desktop{AttachState: "-"}, expect: []string{"ann"}, before: Send, unknown: Send, after: Wait},
	}
	hit := map[string]bool{}
	for name, c := range cases {
		if c.d.AttachState == "" {
			c.d.AttachState = "ATTACHED"
		}
		if c.d.Type == "" {
			c.d.Type = "DEDICATED"
		}
		if c.d.Status == "" {
			c.d.Status = "ACTIVE"
		}
		c.d.Process = -1
		row := VerdictOf(Look{
			Desktop: c.d, Exists: !c.gone, SeenBefore: c.seen,
			Expect: c.expect, Named: len(c.expect) > 0 && !c.pinned,
			Computer: c.as, AllowShared: c.allow, Plan: c.plan, Protected: c.rule, Recalled: c.recall,
		})
		hit[row.Reads] = true
		require.Equal(t, c.before, row.Before, "%s: before", name)
		require.Equal(t, c.unknown, row.Unknown, "%s: unknown", name)
		require.Equal(t, c.after, row.After, "%s: after", name)
		require.Equal(t, c.code, row.Code, name)
		require.Equal(t, c.note, row.Note, name)
	}
	for _, row := range verdictRows {
		require.True(t, hit[row.Reads], "no case for %q", row.Reads)
		require.NotEmpty(t, row.Why)
	}
	busy := VerdictOf(Look{Desktop: apiclient.Desktop{AttachState: "ATTACHED", Process: 99}, Exists: true})
	require.Equal(t, Later, busy.Before)
	require.Equal(t, Send, VerdictOf(Look{Desktop: apiclient.Desktop{AttachState: "ATTACHED", Process: 100}, Exists: true}).Before, "finished")
}

func TestJustThem(t *testing.T) {
	t.Parallel()
	of := func(kind string, us []apiclient.User, expect ...string) Look {
		return Look{Desktop: apiclient.Desktop{Type: kind, Users: us}, Exists: true, Expect: expect, Named: len(expect) > 0}
	}
	require.False(t, of("DEDICATED", users("ann"), "ann").JustThem())
	require.False(t, of("SHARED", users("ann", "bob")).JustThem(), "nobody is named")
	require.True(t, of("SHARED", users("ann", "bob"), "ann").JustThem())
	require.True(t, of("SHARED", users("ann"), "ann").JustThem(), "others may come between reading and call")
	require.True(t, of("DEDICATED", users("ann", "bob"), "ann").JustThem(), "whatever its type says")
	require.Equal(t, users("ann"), of("SHARED", users("bob", "ann", "Ann"), "ann", "eve").Leavers())
	pinned := Look{Desktop: apiclient.Desktop{Type: "SHARED", Users: users("ann", "bob")}, Exists: true, Expect: []string{"ann", "bob"}}
	require.False(t, pinned.JustThem(), "all who are on it were pinned")
	pinned.Users = users("ann", "bob", "new")
	require.True(t, pinned.JustThem(), "somebody else is on it by now")
	withGroup := append(users("ann"), apiclient.User{Name: "ann", Type: "GROUP"})
	require.Equal(t, users("ann"), of("SHARED", withGroup, "ann").Leavers(), "a group is nobody's name")
}
