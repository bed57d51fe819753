package access

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/redistest"
)

func TestRolesIncludeEachOther(t *testing.T) {
	t.Parallel()
	for i, r := range Roles {
		for j, wanted := range Roles {
			require.Equal(t, i >= j, r.Includes(wanted), "%s for %s", r, wanted)
		}
		require.False(t, r.Includes("root"))
		require.False(t, Role("root").Includes(r))
		require.False(t, Role("").Includes(r))
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	rdb := redistest.Mini(t)
	now := time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)
	k := NewKeys(rdb, "x", func() time.Time { return now })
	secret, key, err := k.Create(t.Context(), Key{Name: "hr", Role: Producer, Projects: []string{"hq"}, UnknownUsers: "ignore", CreatedBy: "ann", ExpiresAt: now.Add(time.Hour)})
	require.NoError(t, err)
	sent := string(secret)
	require.Len(t, sent, 35)
	require.True(t, strings.HasPrefix(sent, key.ID))
	require.True(t, key.Sees("hq"))
	require.False(t, key.Sees("branch"))
	for _, value := range rdb.HGetAll(t.Context(), "x:access:keys").Val() {
		require.NotContains(t, value, sent[11:], "it is stored hashed")
	}

	got, err := k.Authenticate(t.Context(), sent)
	require.NoError(t, err)
	require.Equal(t, key, got)
	flipped := sent[:len(sent)-1] + "!"
	for _, bad := range []string{"", "dk_", sent[1:], sent + "x", flipped, key.ID, strings.ToUpper(sent), "dk_" + strings.Repeat("a", 32)} {
		_, err := k.Authenticate(t.Context(), bad)
		require.ErrorIs(t, err, ErrRefused, bad)
	}
	list, err := k.List(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, now.Truncate(time.Minute), list[0].LastUsedAt)

	now = now.Add(time.Hour)
	_, err = k.Authenticate(t.Context(), sent)
	require.ErrorIs(t, err, ErrRefused, "it has expired")

	secret, key, err = k.Create(t.Context(), Key{Name: "desk", Role: Viewer})
	require.NoError(t, err)
	require.True(t, key.Sees("anything"))
	_, err = k.Revoke(t.Context(), key.ID)
	require.NoError(t, err)
	revoked, err := k.Revoke(t.Context(), key.ID)
	require.NoError(t, err)
	require.Equal(t, now, revoked.RevokedAt)
	_, err = k.Authenticate(t.Context(), string(secret))
	require.ErrorIs(t, err, ErrRefused)
	_, err = k.Revoke(t.Context(), "dk_nowhere0")
	require.ErrorIs(t, err, ErrNotFound)
	list, err = k.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"desk", "hr"}, []string{list[0].Name, list[1].Name})
}

// A key whose reply was lost, so that the client sent it again, is as if that had not happened.
func TestTheReplyOfANewKeyIsLost(t *testing.T) {
	t.Parallel()
	rdb := redistest.Mini(t)
	rdb.AddHook(redistest.Twice{})
	k := NewKeys(rdb, "x", time.Now)
	secret, key, err := k.Create(t.Context(), Key{Name: "hr", Role: Producer})
	require.NoError(t, err)
	got, err := k.Authenticate(t.Context(), string(secret))
	require.NoError(t, err)
	require.Equal(t, key.ID, got.ID)
}

func TestKeysThatMakeNoSense(t *testing.T) {
	t.Parallel()
	k := NewKeys(redistest.Mini(t), "x", time.Now)
	for want, key := range map[string]Key{
		"lower-case letters":     {Name: "No Way", Role: Viewer},
		"not a role":             {Name: "a", Role: "root"},
		"not 1 to 120 printable": {Name: "a", Role: Viewer, Owner: "Zoe\u202e"},
		"mail address":           {Name: "a", Role: Viewer, Owner: strings.Repeat("x", 121)},
		"a person":               {Name: "a", Role: Viewer, Owner: " zoe"},
		"in the past":            {Name: "a", Role: Viewer, ExpiresAt: time.Now().Add(-time.Second)},
	} {
		_, _, err := k.Create(t.Context(), key)
		require.ErrorContains(t, err, want)
	}
	list, err := k.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, list)
}
