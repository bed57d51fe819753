package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/dashboard"
	"github.com/detachd/detachd/cmd/internal/metrics"
	"github.com/detachd/detachd/cmd/internal/server"
	"github.com/detachd/detachd/tasks/queue"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// userOfDocs gives the ACL SETUSER that docs/configuration.md tells people to run, for the prefix
// abc and a password.
func userOfDocs(t *testing.T, password string) []any {
	t.Helper()
	text, err := os.ReadFile("../../../docs/configuration.md")
	require.NoError(t, err)
	found := regexp.MustCompile(`(?m)^\$ redis-cli (ACL SETUSER (?:.*\\\n)*.*)$`).FindSubmatch(text)
	require.NotNil(t, found, "docs/configuration.md has the command")
	line := strings.NewReplacer("\\\n", " ", "'", "", "~detachd:", "~abc:", ">PASSWORD", ">"+password).Replace(string(found[1]))
	var args []any
	for _, word := range strings.Fields(line) {
		args = append(args, word)
	}
	require.Contains(t, args, "~abc:*")
	require.Contains(t, args, ">"+password)
	return args
}

// restrict makes the user on a server, configures the stage to be it, and gives the
// administrator's connection.
func (s *stage) restrict(t *testing.T, server *redistest.Server, scheme string) redis.UniversalClient {
	t.Helper()
	admin := server.Client(t)
	require.NoError(t, admin.Do(t.Context(), userOfDocs(t, redisPassword)...).Err())
	text := fmt.Sprintf(`
redis: {url: %q, username: detachd, password: {env: REDIS_PASSWORD}, prefix: abc}
worker: {id: again, max_attempts: 2, retry_base: 1ms, retry_max: 2ms, bulk_poll_interval: 5ms, urgent_poll_interval: 5ms, first_look: 100ms}
credentials:
- {name: main, kind: token, token: {env: CLOUD_TOKEN}, calls_per_minute: 60000, reads_per_minute: 120000, burst: 100}
projects:
- {alias: hq, project_id: %q, endpoint: %q, credentials: main}
`, scheme+server.Addr(), hqID, s.cloud.URL)
	require.NoError(t, os.WriteFile(s.config, []byte(text), 0o600))
	return admin
}

// nothingRefused fails if the server has refused anything to any user since it began.
func nothingRefused(t *testing.T, admin redis.UniversalClient) {
	t.Helper()
	log, err := admin.Do(t.Context(), "ACL", "LOG").Slice()
	require.NoError(t, err)
	require.Empty(t, log, "what docs/configuration.md allows does not suffice")
}

// visitor asks a server's pages and API; status is what it has to be answered with.
type visitor struct {
	url, key string
	session  *http.Cookie
}

func (v *visitor) do(t *testing.T, method, path string, form url.Values) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, v.url+path, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if strings.HasPrefix(path, "/v1/") || path == "/metrics" {
		req.Header.Set("Authorization", "Bearer "+v.key)
	} else if v.session != nil {
		req.AddCookie(v.session)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Less(t, res.StatusCode, 400, "%s %s: %s", method, path, body)
	for _, c := range res.Cookies() {
		v.session = c
	}
	return res, string(body)
}

// readsAll asks for all that the contract lets one read without an id, and for what has these ids.
func (v *visitor) readsAll(t *testing.T, ids map[string]string) {
	t.Helper()
	_, text := v.do(t, http.MethodGet, "/openapi.json", nil)
	var contract struct {
		Paths map[string]map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(text), &contract))
	read := 0
	for path, methods := range contract.Paths {
		for below, id := range ids {
			if rest, ok := strings.CutPrefix(path, below); ok {
				path = strings.Replace(below, "{id}", id, 1) + rest
			}
		}
		if methods["get"] == nil || strings.Contains(path, "{") || !strings.HasPrefix(path, "/v1/") {
			continue
		}
		query := map[string]string{"/v1/search": "?q=mia", "/v1/desktops": "?q=d7"}[path]
		v.do(t, http.MethodGet, path+query, nil)
		read++
	}
	require.GreaterOrEqual(t, read, 25)
}

// The user that docs/configuration.md describes suffices for all that detachd does, and may do no
// more; and every key has the configured prefix, but for those of asynq.
func TestARestrictedUserAndAPrefixSuffice(t *testing.T) {
	t.Parallel()
	redisServer := redistest.Start(t)
	redistest.StartReplica(t, redisServer, redisServer.Addr()) // so that acceptances wait for it
	s := newStage(t)
	admin := s.restrict(t, redisServer, "redis://")
	s.cloud.Add(hqID,
		fakecloud.Desktop{ID: "d1", ComputerName: "PC-1", Users: []fakecloud.User{{Name: "mia"}}},
		fakecloud.Desktop{ID: "d10", ComputerName: "PC-10", Users: []fakecloud.User{{Name: "heir"}}},
		fakecloud.Desktop{ID: "d9", ComputerName: "PC-9", Users: []fakecloud.User{{Name: "zoe"}}},
	)
	for _, id := range []string{"d2", "d3", "d4"} {
		s.cloud.Fail(fakecloud.Refused(id, "WKS.00010110", "no address"))
	}
	st := s.store(t)

	// What a worker had in hand that was killed is taken over by one of the same name.
	lost := s.detached(t, "d8")
	_, err := st.Record.Beat(t.Context(), "again")
	require.NoError(t, err)
	_, err = st.Record.Begin(t.Context(), "again", []record.Run{
		{Mark: "r1", Payload: queue.Payload{Operation: lost, Project: "hq", Generation: 1}},
	}, nil)
	require.NoError(t, err)
	s.worker(t)

	key := strings.TrimSpace(s.ok(t, "keys", "create", "--name", "all", "--role", "admin"))
	key = regexp.MustCompile(`dk_\w+`).FindString(key)
	s.ok(t, "keys", "list")
	m := metrics.New("test")
	watch(m, st)
	srv := httptest.NewServer(dashboard.Serve(server.Config{Store: st, Keys: access.NewKeys(st.Redis, st.Prefix, time.Now), Log: zerolog.Nop(), Now: time.Now, Metrics: m}))
	t.Cleanup(srv.Close)
	desk := &visitor{url: srv.URL, key: key}

	s.ok(t, "status", lost, "--wait")
	require.Equal(t, exitFailed, s.run(t, "detach", "--project", "hq", "--wait", "d1", "d2", "d3", "d4").code)
	require.Contains(t, s.ok(t, "detach", "--project", "hq", "--user", "zoe", "--plan"), "d9")
	s.ok(t, "detach", "--project", "hq", "--user", "zoe", "--wait")
	s.ok(t, "detach", "--project", "hq", "--urgent", "--wait", "d5")
	require.Equal(t, exitHeld, s.run(t, "detach", "--project", "hq", "--computer", "PC-10", "--expected-user", "somebody", "--wait").code)
	later := s.detached(t, "--at", "+2h", "d6")
	s.ok(t, "list", "--scheduled")
	s.ok(t, "cancel", later)
	s.ok(t, "cancel", "--project", "hq", "--since", "2199-01-01T00:00:00Z", "--reason", "none", "--confirm", "0")
	s.ok(t, "cancellation", "list")
	recalled := s.run(t, "recall", "--user", "zoe", "--source", "nobody", "--reason", "none")
	require.Equal(t, exitFailed, recalled.code, "it names nobody: "+recalled.err)
	s.ok(t, "recall", "list")
	s.ok(t, "pause", "hq", "--reason", "because")
	op := s.detached(t, "d7")
	s.ok(t, "resume", "hq")
	s.ok(t, "status", op, "--wait")

	for _, args := range [][]string{{"list"}, {"list", "--open"}, {"desktops", op}, {"history", "d7"}, {"failures"}, {"stats"}, {"redrive", "list"}} {
		s.ok(t, args...)
	}
	report := filepath.Join(t.TempDir(), "report.html")
	s.ok(t, "report", op, "-o", report)
	s.ok(t, "verify", report, "--record")
	s.cloud.ClearFaults()
	failed := s.operations(t)
	for _, o := range failed {
		if o.Counts.Failed > 0 {
			require.Equal(t, exitOK, s.run(t, "dismiss", o.ID, "d4", "--reason", "gone").code)
			s.ok(t, "retry", o.ID, "--code", "WKS.none")
		}
	}
	redrive := s.json(t, exitOK, "redrive", "start", "--code", "WKS.00010110", "--reason", "corrected")["id"].(string)
	require.Eventually(t, func() bool { return s.json(t, exitOK, "redrive", "show", redrive)["ended_at"] != nil }, time.Minute, 20*time.Millisecond)

	desk.do(t, http.MethodPost, "/signin", url.Values{"key": {key}})
	for _, path := range []string{
		"/", "/operations", "/operations/" + op, "/failures", "/search?q=mia", "/search?q=d7", "/new", "/projects", "/keys", "/sessions", "/codes",
		"/metrics", "/readyz", "/healthz",
	} {
		_, body := desk.do(t, http.MethodGet, path, nil)
		require.NotEmpty(t, body, path)
	}
	desk.readsAll(t, map[string]string{"/v1/operations/{id}": op, "/v1/redrives/{id}": redrive})
	var many []string
	for i := range 300 {
		many = append(many, fmt.Sprint("m", i))
	}
	large := s.detached(t, many...)
	require.Eventually(t, func() bool { return strings.Contains(s.ok(t, "list", "--waiting"), large) }, time.Minute, 50*time.Millisecond)
	s.ok(t, "approve", large, "--reason", "known", "--yes")
	s.ok(t, "status", large, "--wait")
	s.ok(t, "undo", large, "--desktop", "m1", "--reason", "stays", "--wait")
	s.ok(t, "protect", "add", "lab", "--desktop", "d11")
	s.ok(t, "schedule", "add", "nightly", "--project", "hq", "--cron", "0 2 * * *", "--user", "nobody")
	for _, args := range [][]string{{"list"}, {"show", "nightly"}, {"skip-next", "nightly"}, {"skip-next", "nightly", "--undo"}, {"run", "nightly"}, {"pause", "nightly", "--reason", "x"}, {"resume", "nightly"}, {"remove", "nightly", "--reason", "x"}} {
		s.ok(t, append([]string{"schedule"}, args...)...)
	}
	s.ok(t, "pause", "--all", "--reason", "because")
	s.ok(t, "resume", "--all", "--reason", "it is over")
	s.ok(t, "doctor")
	until := time.Now().Add(200 * 24 * time.Hour) // when the retention of all of it is over
	_, err = st.Record.Expire(t.Context(), until, 100, time.Minute)
	require.NoError(t, err)

	nothingRefused(t, admin)
	keys := keysOf(t, admin)
	require.Greater(t, len(keys), 20)
	for _, k := range keys {
		require.True(t, strings.HasPrefix(k, "abc:") || strings.HasPrefix(k, "asynq:"), "%s has no prefix", k)
	}
	theUserMayDoNoMore(t, st.Redis)
}

// What does harm, or is of other programs on the same Redis, is refused.
func theUserMayDoNoMore(t *testing.T, rdb redis.UniversalClient) {
	t.Helper()
	for _, command := range []string{
		"FLUSHALL", "KEYS *", "CONFIG SET maxmemory 1", "CONFIG REWRITE", "SHUTDOWN", "ACL LIST", "SCRIPT FLUSH", "CLIENT LIST",
		"MONITOR", "REPLICAOF NO ONE", "GET other:key", "SET detachd:key v", "HGETALL other", "PUBLISH other x", "SUBSCRIBE other", "SORT abc:x",
		"MODULE LIST", "EVAL return(redis.call('GET','other:key')) 0", "CLUSTER RESET", "SAVE", "MIGRATE h 1 abc:x 0 1",
	} {
		var args []any
		for _, word := range strings.Fields(command) {
			args = append(args, word)
		}
		err := rdb.Do(t.Context(), args...).Err()
		require.Error(t, err, command)
		require.Regexp(t, "NOPERM|ACL failure|can't access|can't run|No permissions", err.Error(), command)
	}
}

// The same user on a Cluster.
func TestARestrictedUserOnACluster(t *testing.T) {
	t.Parallel()
	node := redistest.StartCluster(t)
	s := newStage(t)
	admin := s.restrict(t, node, "redis+cluster://")
	s.cloud.Fail(fakecloud.Refused("d2", "WKS.00010110", "no address"))
	s.worker(t)
	require.Equal(t, exitFailed, s.run(t, "detach", "--project", "hq", "--wait", "d1", "d2").code)
	s.ok(t, "failures")
	s.ok(t, "list")
	s.ok(t, "doctor")
	nothingRefused(t, admin)
	for _, k := range keysOf(t, admin) {
		require.True(t, strings.HasPrefix(k, "abc:") || strings.HasPrefix(k, "asynq:"), "%s has no prefix", k)
	}
}
