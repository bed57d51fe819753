package cli

import (
	"encoding/json"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/report"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/trail"
)

// Commands write the audit log with and without a server, with the person who gave them,
// also if the environment says another name. It is listed and verified.
func TestAudit(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		me, err := user.Current()
		require.NoError(t, err)
		s.env["USER"] = "somebody else"
		who := me.Username
		if s.url != "" {
			who = "jo" // the owner of the key
		}
		op := s.detached(t, "d1")
		s.ok(t, "pause", "hq", "--reason", "moving", "--for", "2h")
		s.ok(t, "resume", "hq", "--reason", "moved \x1b[31m")
		s.ok(t, "retry", op, "--reason", "once more")
		s.ok(t, "cancel", op, "--reason", "stays")
		made := s.json(t, exitOK, "keys", "create", "--name", "hr", "--role", "viewer", "--owner", "Ann Lee")
		require.Equal(t, "Ann Lee", made["owner"])
		require.Contains(t, s.ok(t, "keys", "list"), "Ann Lee")
		s.ok(t, "keys", "revoke", made["id"].(string), "--reason", "left")
		require.Equal(t, who, s.json(t, exitOK, "keys", "create", "--name", "hr", "--role", "viewer")["owner"])
		s.ok(t, "report", op, "--format", "csv")

		file := filepath.Join(t.TempDir(), "audit.json")
		text := s.ok(t, "audit", "--json")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		items := s.json(t, exitOK, "audit")["items"].([]any)
		var got []string
		for i := range items {
			e := items[len(items)-1-i].(map[string]any)
			reason, _ := e["reason"].(string)
			got = append(got, strings.TrimSpace(e["action"].(string)+" "+reason))
			require.Equal(t, who, e["owner"])
			require.NotEmpty(t, e["address"])
			require.NotEmpty(t, e["request_id"])
		}
		require.Equal(t, []string{
			"operation.created", "project.paused moving", "project.resumed moved \x1b[31m", "operation.retried once more", "operation.cancelled stays",
			"key.created", "key.revoked left", "key.created", "personal_data.downloaded",
		}, got)
		table := s.ok(t, "audit", "--by", who, "--action", "project.resumed")
		require.Contains(t, table, `moved \x1b[31m`)
		require.NotContains(t, table, "moving")
		require.Contains(t, s.run(t, "audit", "--target", "nothing").err, "no entry matches")
		require.Len(t, s.json(t, exitOK, "audit", "--limit", "2")["items"], 2)
		require.Empty(t, s.json(t, exitOK, "audit", "--until", "24h")["items"])

		// Verified as it is, against the record, and against a hash that was kept.
		hash := items[3].(map[string]any)["hash"].(string)
		r := s.run(t, "verify", file)
		require.Equal(t, exitOK, r.code, r.err)
		require.Contains(t, r.out, "entries 1 to 9")
		require.Contains(t, r.err, "--record", "what is not proven is said")
		r = s.run(t, "verify", file, "--record", "--head", strings.ToUpper(hash))
		require.Equal(t, exitOK, r.code, r.err)
		require.Contains(t, r.out, "entry 6 has the given hash")
		require.Contains(t, r.out, "it ends as the record does")
		require.Empty(t, r.err)
		s.refused(t, exitFailed, "no entry of the file has the hash", "verify", file, "--head", strings.Repeat("0", 64))
		s.ok(t, "pause", "hq")
		require.Contains(t, s.ok(t, "verify", file, "--record"), "continues with 1 entry")

		alter := func(text string) {
			t.Helper()
			require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		}
		alter(strings.Replace(text, "moving", "mowing", 1))
		s.refused(t, exitFailed, "entry 2 does not have the hash of its content", "verify", file)
		lines := strings.SplitAfter(text, "\n")
		alter(strings.Join(append(append([]string{}, lines[:3]...), lines[4:]...), ""))
		s.refused(t, exitFailed, "entries 7 to 7 are missing", "verify", file)
		alter(s.ok(t, "audit", "--json", "--action", "key.created"))
		s.refused(t, exitFailed, "without a filter", "verify", file)

		// A chain that was computed again holds in itself; the record and a kept hash tell.
		alter(forged(t, text))
		require.Contains(t, s.ok(t, "verify", file), "entries 1 to 9")
		s.refused(t, exitFailed, "the record does not have entry 9", "verify", file, "--record")
		s.refused(t, exitFailed, "no entry of the file has the hash", "verify", file, "--head", hash)

		// Somebody with access to Redis alters the record itself.
		st := s.here(t).store(t)
		log := st.Prefix + ":{audit}:log"
		entry := st.Redis.ZRangeWithScores(t.Context(), log, 1, 1).Val()[0]
		require.NoError(t, st.Redis.ZRem(t.Context(), log, entry.Member).Err())
		entry.Member = strings.Replace(entry.Member.(string), "moving", "mowing", 1)
		require.NoError(t, st.Redis.ZAdd(t.Context(), log, entry).Err())
		alter(s.ok(t, "audit", "--json"))
		s.refused(t, exitFailed, "entry 2 does not have the hash of its content", "verify", file)
	})
}

func TestSessions(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		require.Contains(t, s.run(t, "sessions", "list").err, "nobody is signed in")
		st := s.here(t).store(t)
		keys := access.NewKeys(st.Redis, st.Prefix, time.Now)
		secret, _, err := keys.Create(t.Context(), access.Key{Name: "desk", Owner: "Ann Lee", Role: access.Operator})
		require.NoError(t, err)
		session, _, err := keys.SignIn(t.Context(), string(secret), access.Browser{Address: "192.0.2.7", UserAgent: "Mozilla \x1b[31m"})
		require.NoError(t, err)
		id := access.SessionID(string(session))
		text := s.ok(t, "sessions", "list")
		for _, want := range []string{id, "Ann Lee", "desk", "192.0.2.7", `Mozilla \x1b[31m`} {
			require.Contains(t, text, want)
		}
		require.NotContains(t, text, string(session))
		require.Len(t, s.json(t, exitOK, "sessions", "list")["items"], 1)
		require.Contains(t, s.ok(t, "sessions", "end", id, "--reason", "laptop lost"), "ended")
		_, err = keys.Session(t.Context(), string(session), true)
		require.ErrorIs(t, err, access.ErrRefused)
		s.refused(t, exitUsage, "this session does not exist", "sessions", "end", id)
		s.refused(t, exitUsage, "next: detachd sessions list shows the sessions", "sessions", "end", id)
		events, _, err := st.Record.AuditLog(t.Context(), tasks.AuditFilter{Target: id}, 10, "")
		require.NoError(t, err)
		require.Len(t, events, 1)
		require.Equal(t, "laptop lost", events[0].Reason)
	})
}

// A server or a worker that starts with other guards leaves an entry, and one that starts
// with the same does not.
func TestChangedGuardsAreInTheAuditLog(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.ok(t, "keys", "create", "--name", "hr", "--role", "viewer")
	log := func() (out []tasks.AuditEvent) {
		t.Helper()
		events, _, err := s.store(t).Record.AuditLog(t.Context(), tasks.AuditFilter{Action: tasks.AuditConfiguration}, 10, "")
		require.NoError(t, err)
		return events
	}
	worker := func() string { t.Helper(); return s.untilSaid(t, "worker started", "worker").err }
	first := worker()
	worker()
	events := log()
	require.Len(t, events, 1)
	require.Equal(t, "worker", events[0].Target)
	require.Equal(t, "first start", events[0].Detail)
	require.Contains(t, first, `"hash":"`+events[0].Hash+`"`)

	f, err := os.OpenFile(s.config, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("\nretention: 100h\n")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	worker()
	events = log()
	require.Len(t, events, 2)
	require.Equal(t, "retention 2160h0m0s → 100h0m0s", events[0].Detail)
	for _, rate := range []string{"1000", "1000", "5"} {
		s.untilSaid(t, `"message":"serving"`, "serve", "--listen", anyPort, "--rate-limit", rate)
	}
	events = log()
	require.Len(t, events, 4)
	require.Equal(t, "serve", events[0].Target)
	require.Equal(t, "serve.rate_limit 1000 → 5", events[0].Detail)

	// Without an entry it does not start.
	require.NoError(t, s.keys.Set(t.Context(), "detachd:{audit}:log", "not a log", 0).Err())
	require.NotEqual(t, exitOK, s.untilSaid(t, "serving", "serve", "--listen", anyPort, "--rate-limit", "6").code)
}

// forged is a file of the audit log with another reason in entry 2, and all hashes computed again.
func forged(t *testing.T, text string) string {
	t.Helper()
	var page api.Page[tasks.AuditEvent]
	require.NoError(t, json.Unmarshal([]byte(text), &page))
	previous := ""
	for i := len(page.Items) - 1; i >= 0; i-- {
		e := &page.Items[i]
		e.Reason = strings.Replace(e.Reason, "moving", "mowing", 1)
		e.Previous = previous
		e.Hash = trail.LogHash(previous, record.AuditEntry(*e).Stored)
		previous = e.Hash
	}
	var out strings.Builder
	w := report.NewAuditWriter(&out)
	for _, e := range page.Items {
		require.NoError(t, w.Write(e))
	}
	require.NoError(t, w.Close(""))
	return out.String()
}
