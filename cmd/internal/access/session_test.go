package access

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/redistest"
)

// fixture is Keys on a Redis in memory, whose clock stands still as the test's does.
type fixture struct {
	*Keys
	t     *testing.T
	redis *miniredis.Miniredis
	now   time.Time
}

func newDoor(t *testing.T) *fixture {
	d := &fixture{t: t, redis: miniredis.RunT(t), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	rdb := redis.NewClient(&redis.Options{Addr: d.redis.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	d.Keys = NewKeys(rdb, "x", func() time.Time { return d.now })
	return d
}

func (d *fixture) pass(time time.Duration) {
	d.now = d.now.Add(time)
	d.redis.FastForward(time)
}

func (d *fixture) signIn(want Key) (session, secret string, key Key) {
	d.t.Helper()
	made, _, err := d.Create(d.t.Context(), want)
	require.NoError(d.t, err)
	s, key, err := d.SignIn(d.t.Context(), string(made), Browser{Address: "192.0.2.7", UserAgent: "Mozilla"})
	require.NoError(d.t, err)
	return string(s), string(made), key
}

func (d *fixture) in(session string, used bool) bool {
	d.t.Helper()
	_, err := d.Session(d.t.Context(), session, used)
	if err != nil {
		require.ErrorIs(d.t, err, ErrRefused)
	}
	return err == nil
}

func TestSession(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	session, secret, key := d.signIn(Key{Name: "desk", Role: Operator, Projects: []string{"hq"}})
	require.Len(t, session, 32)
	got, err := d.Session(t.Context(), session, true)
	require.NoError(t, err)
	require.Equal(t, key, got)
	other, _, err := d.SignIn(t.Context(), secret, Browser{})
	require.NoError(t, err)
	require.NotEqual(t, session, string(other), "each signing in is a session of its own")

	// It is stored hashed, and so is what it was begun with.
	for _, secret := range []string{session, secret[len(key.ID):]} {
		require.NotContains(t, d.redis.Dump(), secret)
	}
	for _, bad := range []string{"", "x", session + "x", session[1:], strings.ToLower(session), secret, "*", hash(session)} {
		require.False(t, d.in(bad, true), bad)
	}
	_, _, err = d.SignIn(t.Context(), session, Browser{})
	require.ErrorIs(t, err, ErrRefused, "a session does not work as a key")
	_, err = d.Authenticate(t.Context(), session)
	require.ErrorIs(t, err, ErrRefused)

	require.NoError(t, d.SignOut(t.Context(), session))
	require.False(t, d.in(session, true))
	require.True(t, d.in(string(other), true), "another goes on")
	require.NoError(t, d.SignOut(t.Context(), session))
	require.NoError(t, d.SignOut(t.Context(), ""))
}

func TestSessionEndsWhenItIsNotUsed(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	session, _, _ := d.signIn(Key{Name: "desk", Role: Viewer})
	for range 3 {
		d.pass(SessionIdle - time.Second)
		require.True(t, d.in(session, true))
	}
	for range 3 { // a page that is looked after by itself keeps nobody signed in
		d.pass(SessionIdle/4 - time.Second)
		require.True(t, d.in(session, false))
	}
	d.pass(SessionIdle/4 + 3*time.Second)
	require.False(t, d.in(session, false))
	require.False(t, d.in(session, true))
}

func TestSessionEndsAfterHalfADay(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	session, _, _ := d.signIn(Key{Name: "desk", Role: Viewer})
	for range 23 {
		d.pass(30 * time.Minute)
		require.True(t, d.in(session, true))
	}
	d.pass(30*time.Minute - time.Second)
	require.True(t, d.in(session, true))
	d.pass(time.Second)
	require.False(t, d.in(session, true), "however much it is used")
}

func TestSessionEndsWithItsKey(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	revoked, secret, key := d.signIn(Key{Name: "desk", Role: Viewer})
	expiring, _, _ := d.signIn(Key{Name: "temp", Role: Viewer, ExpiresAt: d.now.Add(time.Minute)})
	_, err := d.Revoke(t.Context(), key.ID)
	require.NoError(t, err)
	require.False(t, d.in(revoked, true))
	_, _, err = d.SignIn(t.Context(), secret, Browser{})
	require.ErrorIs(t, err, ErrRefused)
	require.True(t, d.in(expiring, true))
	d.pass(time.Minute)
	require.False(t, d.in(expiring, true))
}

// Anything but a session of ours is refused, and an outage of Redis does not count as an
// answer.
func TestSessionThatCannotBeRead(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	session, _, key := d.signIn(Key{Name: "desk", Role: Viewer})
	for _, value := range []string{"", key.ID, key.ID + " ", key.ID + " soon", "dk_nowhere0 " + "1772366400000"} {
		require.NoError(t, d.redis.Set(d.session(session), value))
		require.False(t, d.in(session, true), value)
	}
	d.redis.SetError("away")
	_, err := d.Session(t.Context(), session, true)
	require.ErrorContains(t, err, "away")
	require.NotErrorIs(t, err, ErrRefused)
	_, _, err = d.SignIn(t.Context(), "dk_"+strings.Repeat("a", 32), Browser{})
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrRefused)
	require.Error(t, d.SignOut(t.Context(), session))
}

// While Redis takes no writes, keys and sessions still open what it has, and a new session and
// the end of one are refused.
func TestWhileRedisTakesNoWrites(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	now := time.Now()
	k := NewKeys(server.Client(t), "x", func() time.Time { return now })
	secret, _, err := k.Create(t.Context(), Key{Name: "desk", Role: Admin})
	require.NoError(t, err)
	var sessions []string
	for range 3 {
		session, _, err := k.SignIn(t.Context(), string(secret), Browser{})
		require.NoError(t, err)
		sessions = append(sessions, string(session))
	}
	require.NoError(t, server.Client(t).Del(t.Context(), k.session(sessions[0])).Err()) // it was not used for an hour
	require.NoError(t, server.Client(t).ConfigSet(t.Context(), "min-replicas-to-write", "1").Err())
	now = now.Add(2 * time.Minute) // so that the use of the key is due to be written

	_, err = k.Authenticate(t.Context(), string(secret))
	require.NoError(t, err)
	for _, used := range []bool{true, false} {
		_, err = k.Session(t.Context(), sessions[0], used)
		require.ErrorIs(t, err, ErrRefused, "it has ended")
		key, err := k.Session(t.Context(), sessions[1], used)
		require.NoError(t, err)
		require.Equal(t, "desk", key.Name)
	}
	listed, err := k.Sessions(t.Context())
	require.NoError(t, err)
	require.Len(t, listed, 2)
	_, _, err = k.SignIn(t.Context(), string(secret), Browser{})
	require.ErrorContains(t, err, "NOREPLICAS")
	require.ErrorContains(t, k.SignOut(t.Context(), sessions[1]), "NOREPLICAS")

	now = now.Add(SessionLasts)
	listed, err = k.Sessions(t.Context())
	require.NoError(t, err)
	require.Empty(t, listed, "they have ended, and Redis still has them")
}

func (d *fixture) list() []Session {
	d.t.Helper()
	out, err := d.Sessions(d.t.Context())
	require.NoError(d.t, err)
	return out
}

func TestSessionsAreListedAndEnded(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	require.Empty(t, d.list())
	first, _, key := d.signIn(Key{Name: "desk", Owner: "Ann Lee", Role: Operator})
	began := d.now
	d.pass(40 * time.Minute)
	second, _, other := d.signIn(Key{Name: "root", Role: Admin})
	require.Equal(t, "root", other.Owner, "a key has an owner")
	require.True(t, d.in(first, true))
	d.pass(10 * time.Minute)
	require.True(t, d.in(first, false))
	browser := Browser{Address: "192.0.2.7", UserAgent: "Mozilla"}
	require.Equal(t, []Session{
		{ID: SessionID(second), Key: other, StartedAt: began.Add(40 * time.Minute), LastUsedAt: began.Add(40 * time.Minute), ExpiresAt: began.Add(100 * time.Minute), Browser: browser},
		{ID: SessionID(first), Key: key, StartedAt: began, LastUsedAt: began.Add(40 * time.Minute), ExpiresAt: began.Add(100 * time.Minute), Browser: browser},
	}, d.listed())
	for _, bad := range []string{"", SessionID(first)[1:], SessionID(first) + "0", hash(first), first, "*"} {
		require.NoError(t, d.EndSession(t.Context(), bad))
	}
	require.Len(t, d.list(), 2)
	require.False(t, d.in(SessionID(first), true), "the id opens nothing")

	require.NoError(t, d.EndSession(t.Context(), SessionID(first)))
	require.False(t, d.in(first, true))
	require.True(t, d.in(second, true))
	require.Len(t, d.list(), 1)
	require.NoError(t, d.SignOut(t.Context(), second))
	require.Empty(t, d.list())

	// What has ended by itself is not listed, and does not stay in the index.
	d.signIn(Key{Name: "desk", Role: Viewer})
	_, _, revoked := d.signIn(Key{Name: "old", Role: Viewer})
	_, err := d.Revoke(t.Context(), revoked.ID)
	require.NoError(t, err)
	require.Len(t, d.list(), 1)
	d.pass(SessionIdle)
	require.Empty(t, d.list())
	require.False(t, d.redis.Exists("x:access:sessions"))
}

// listed is list, without the time of the last use of keys.
func (d *fixture) listed() []Session {
	out := d.list()
	for i := range out {
		out[i].Key.LastUsedAt = time.Time{}
	}
	return out
}

// What happens before a session or a key is made can prevent it.
func TestRefusedBefore(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	no := errors.New("no entry, no act")
	_, _, err := d.Create(t.Context(), Key{Name: "desk", Role: Viewer}, func(k Key) error {
		require.Equal(t, "desk", k.Name)
		require.Len(t, k.ID, 11)
		return no
	})
	require.ErrorIs(t, err, no)
	keys, err := d.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, keys)
	_, secret, key := d.signIn(Key{Name: "desk", Role: Viewer})
	_, _, err = d.SignIn(t.Context(), secret, Browser{}, func(k Key, session string) error {
		require.Equal(t, key, k)
		require.Len(t, session, 20)
		return no
	})
	require.ErrorIs(t, err, no)
	require.Len(t, d.list(), 1)
}
