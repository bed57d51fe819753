package dashboard_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// audit is the audit log, the earliest first.
func (s *stage) audit() (out []tasks.AuditEvent) {
	s.t.Helper()
	page, next, err := s.store.Record.AuditLog(s.t.Context(), tasks.AuditFilter{}, 1000, "")
	require.NoError(s.t, err)
	require.Empty(s.t, next)
	for _, e := range page {
		out = append([]tasks.AuditEvent{e}, out...)
	}
	return out
}

// Who signs in, works and signs out is in the audit log, with the address and the session;
// so is every action of a page, once.
func TestTheAuditLogHasWhatPeopleDo(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	secret, key, err := s.keys.Create(t.Context(), access.Key{Name: "desk", Owner: "Ann Lee", Role: access.Admin})
	require.NoError(t, err)
	a := s.post("/signin", "", "key", string(secret))
	require.Equal(t, http.StatusSeeOther, a.status)
	session := a.cookie("__Host-detachd").Value
	other := s.post("/signin", "", "key", string(secret)).cookie("__Host-detachd").Value

	op := s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d1"}})
	before := len(s.audit())
	for _, path := range []string{"/", "/keys", "/failures", "/operations/" + op.ID} {
		require.Equal(t, http.StatusOK, s.get(path, session).status)
	}
	require.Len(t, s.audit(), before, "who only reads is not in it")
	require.Equal(t, http.StatusOK, s.get("/failures.csv?project=hq", session).status)
	require.Equal(t, http.StatusOK, s.get("/operations/"+op.ID+"/report?format=csv", session).status)
	for path, reason := range map[string]string{
		"/projects/hq/pause": "a", "/projects/hq/resume": "b", "/operations/" + op.ID + "/cancel": "d",
	} {
		require.Equal(t, http.StatusSeeOther, s.post(path, session, "reason", reason).status, path)
	}
	require.Equal(t, http.StatusSeeOther, s.post("/keys/"+key.ID+"/revoke", other, "reason", "e").status)
	// A session ends with its key, so signing out needs another.
	secret, _, err = s.keys.Create(t.Context(), access.Key{Name: "next", Owner: "Bo", Role: access.Viewer})
	require.NoError(t, err)
	third := s.post("/signin", "", "key", string(secret)).cookie("__Host-detachd").Value
	require.Equal(t, http.StatusSeeOther, s.post("/signout", third).status)
	require.Equal(t, http.StatusSeeOther, s.get("/", third).status)

	events := s.audit()
	got := map[string]tasks.AuditEvent{}
	for _, e := range events {
		if e.KeyName == "hr" {
			continue // the client of the test
		}
		require.Equal(t, tasks.AuditStarted, e.Outcome)
		require.Equal(t, "127.0.0.1", e.Address, e.Action)
		require.Contains(t, []string{"Ann Lee", "Bo"}, e.Owner)
		got[string(e.Action)+" "+e.Reason] = e
		for _, hidden := range []string{session, other, third, string(secret)} {
			require.NotContains(t, e.Target+e.Detail, hidden)
			require.NotContains(t, s.log.String(), hidden)
		}
	}
	for what, target := range map[string]string{
		"project.paused a": "hq", "project.resumed b": "hq", "operation.cancelled d": op.ID, "key.revoked e": key.ID,
		"session.ended ": access.SessionID(third), "session.started ": access.SessionID(third), "personal_data.downloaded ": op.ID,
	} {
		require.Contains(t, got, what)
		require.Equal(t, target, got[what].Target, what)
	}
	require.Len(t, events, 1+3+2+4+1, "each once: a submission, three sign-ins, two downloads, four actions, a sign-out")
	require.Equal(t, len(events), strings.Count(s.log.String(), `"message":"audit"`))
}

// Without an entry nobody signs in or out, and no file is sent.
func TestNoEntryNoSession(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	key, session := s.key(access.Viewer), s.session(access.Viewer)
	require.NoError(t, s.rdb.Set(t.Context(), s.store.Prefix+":{audit}:log", "not a log", 0).Err())
	a := s.post("/signin", "", "key", key)
	require.GreaterOrEqual(t, a.status, 500)
	require.Nil(t, a.cookie("__Host-detachd"))
	a = s.get("/failures.csv?project=hq", session)
	require.GreaterOrEqual(t, a.status, 500)
	require.NotContains(t, a.body, "desktop_id")
	require.GreaterOrEqual(t, s.post("/signout", session).status, 500)
	require.Equal(t, http.StatusOK, s.get("/", session).status, "the session has not ended, and the page says so")
}

// What a role or a session refuses is a line of the log.
func TestRefusalsOfPagesAreLines(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	lines := func() int { return strings.Count(s.log.String(), `"message":"refused"`) }
	require.Equal(t, http.StatusSeeOther, s.get("/", "").status)
	require.Zero(t, lines(), "a visit without a session is not an attempt")
	require.Equal(t, http.StatusForbidden, s.get("/keys", s.session(access.Viewer)).status)
	require.Equal(t, 1, lines())
	require.Equal(t, http.StatusSeeOther, s.get("/", "forged").status)
	require.Equal(t, 2, lines())
	require.Equal(t, http.StatusUnauthorized, s.post("/signin", "", "key", "hunter2").status)
	require.Equal(t, 3, lines())
	require.NotContains(t, s.log.String(), "hunter2")
	require.NotContains(t, s.log.String(), "forged")
}
