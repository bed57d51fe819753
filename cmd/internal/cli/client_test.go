package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// served is a stage whose commands go through a server.
func served(t *testing.T) *stage {
	t.Helper()
	s := newStage(t)
	s.serve(t)
	return s
}

func TestServerAndKeyAreFoundWhereverTheyAreGiven(t *testing.T) {
	t.Parallel()
	s := served(t)
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte(s.key+"\n"), 0o600))
	for name, c := range map[string]struct {
		env  map[string]string
		args []string
	}{
		"environment":               {map[string]string{"DETACHD_SERVER": s.url, "DETACHD_API_KEY": s.key}, nil},
		"key in a file":             {map[string]string{"DETACHD_SERVER": s.url + "/", "DETACHD_API_KEY_FILE": file}, nil},
		"flags":                     {map[string]string{}, []string{"--server", s.url, "--key-file", file}},
		"flags before environment":  {map[string]string{"DETACHD_SERVER": "http://127.0.0.1:1", "DETACHD_API_KEY": "dk_other"}, []string{"--server", s.url, "--key-file", file}},
		"key before the key's file": {map[string]string{"DETACHD_SERVER": s.url, "DETACHD_API_KEY": s.key, "DETACHD_API_KEY_FILE": "/nowhere"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			other := &stage{env: c.env, key: s.key}
			require.Empty(t, other.ok(t, append([]string{"list"}, c.args...)...))
		})
	}
}

// Secrets that are in the wrong place, as a password in the URL, are in no error.
func TestErrorsQuoteNoSecret(t *testing.T) {
	t.Parallel()
	for _, server := range []string{
		"https://hr:hunter2@detachd.example.com", "https://hunter2@detachd.example.com", "hunter2@detachd.example.com", "https://x/?key=hunter2",
		"https://hr:hunter2@[::1", "https://hr:hunter2%zz@x", "ftp://hunter2@x", "https://x/#hunter2", "://hunter2", "hunter2",
	} {
		for _, args := range [][]string{{"list"}, {"doctor"}, {"codes"}, {"verify", "--record", "-"}} {
			s := &stage{env: map[string]string{"DETACHD_SERVER": server, "DETACHD_API_KEY": "dk_1"}}
			r := s.run(t, args...)
			require.NotEqual(t, exitOK, r.code)
			require.NotContains(t, r.out+r.err, "hunter2", "%s %v", server, args)
			s = &stage{env: map[string]string{"DETACHD_API_KEY": "dk_1"}}
			require.NotContains(t, s.run(t, append(args, "--server", server)...).err, "hunter2", "%s %v", server, args)
		}
	}
	s := &stage{env: map[string]string{"DETACHD_SERVER": "https://x"}}
	r := s.run(t, "list", "--key-file", "dk_hunter2")
	require.Equal(t, exitUsage, r.code)
	require.NotContains(t, r.err, "hunter2")
}

func TestServerWithoutAUsableKey(t *testing.T) {
	t.Parallel()
	s := served(t)
	for want, env := range map[string]map[string]string{
		"the server needs an API key":      {},
		"does not contain a valid API key": {"DETACHD_API_KEY": "dk_a b"},
		"/nowhere: no such file":           {"DETACHD_API_KEY_FILE": "/nowhere"},
		"use a URL such as https://detach": {"DETACHD_API_KEY": "dk_1", "DETACHD_SERVER": "detachd.example.com"},
	} {
		if env["DETACHD_SERVER"] == "" {
			env["DETACHD_SERVER"] = s.url
		}
		(&stage{env: env}).refused(t, exitUsage, want, "list")
	}
}

func TestServerRefusesWhoMayNot(t *testing.T) {
	t.Parallel()
	s := served(t)
	s.ok(t, "detach", "d1", "--project", "branch")
	with := func(key string) *stage {
		return &stage{env: map[string]string{"DETACHD_SERVER": s.url, "DETACHD_API_KEY": key}, key: key}
	}
	unknown := with("dk_" + strings.Repeat("a", 32))
	unknown.refused(t, exitNotAuthorised, "the key is not valid", "list")
	unknown.refused(t, exitNotAuthorised, "401 key_refused, request ", "detach", "d1", "--project", "hq")

	viewer := with(s.newKey(t, "viewer"))
	require.Contains(t, viewer.ok(t, "list"), "branch")
	viewer.refused(t, exitNotAuthorised, "this takes the role producer, and the key has viewer", "detach", "d1", "--project", "hq")
	viewer.refused(t, exitNotAuthorised, "use a key with that role", "cancel", s.operations(t)[0].ID)

	mine := with(s.newKey(t, "operator", "--project", "hq"))
	mine.refused(t, exitUsage, "--project: the key is for certain projects", "list")
	require.Empty(t, mine.ok(t, "list", "--project", "hq"))
	mine.refused(t, exitUsage, `project "branch" is not configured`, "detach", "d1", "--project", "branch")
	mine.refused(t, exitUsage, `project "branch" is not configured`, "pause", "branch")
	mine.refused(t, exitUsage, "no such operation", "status", s.operations(t)[0].ID)
}

// newKey makes a key and gives it.
func (s *stage) newKey(t *testing.T, role string, args ...string) string {
	t.Helper()
	env := s.here(t)
	return strings.TrimSpace(env.ok(t, append([]string{"keys", "create", "--name", role, "--role", role}, args...)...))
}

func TestTheKeyIsWhoAsks(t *testing.T) {
	t.Parallel()
	s := served(t)
	s.refused(t, exitUsage, "--requested-by cannot be used with a server", "detach", "d1", "--project", "hq", "--requested-by", "ann")
	producer := &stage{env: map[string]string{"DETACHD_SERVER": s.url, "DETACHD_API_KEY": s.newKey(t, "producer"), "USER": "jo"}}
	require.Equal(t, exitOK, producer.run(t, "detach", "d1", "--project", "hq").code)
	require.Equal(t, "producer", s.operations(t)[0].RequestedBy)
}

func TestServerAway(t *testing.T) {
	t.Parallel()
	away := &stage{env: map[string]string{"DETACHD_SERVER": "http://127.0.0.1:1/base", "DETACHD_API_KEY": "dk_secret"}, key: "dk_secret"}
	for _, args := range [][]string{
		{"detach", "d1", "--project", "hq"}, {"status", "x"}, {"list"}, {"desktops", "x"}, {"failures"}, {"history", "x"}, {"codes"},
		{"retry", "x"}, {"cancel", "x"}, {"report", "x"}, {"pause", "hq"}, {"resume", "hq"}, {"keys", "list"}, {"keys", "revoke", "x"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			away.refused(t, exitInternal, "cannot reach the server at 127.0.0.1:1", args...)
			away.refused(t, exitInternal, "that --server or DETACHD_SERVER is right\n", args...)
		})
	}
}

// A request that left may have been taken, unless it only asks.
func TestServerThatHangsUp(t *testing.T) {
	t.Parallel()
	mute := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	t.Cleanup(mute.Close)
	s := &stage{env: map[string]string{"DETACHD_SERVER": mute.URL, "DETACHD_API_KEY": "dk_secret"}, key: "dk_secret"}
	s.refused(t, exitInternal, "the request may have taken effect: check first", "keys", "create", "--name", "hr", "--role", "producer")
	s.refused(t, exitInternal, "that --server or DETACHD_SERVER is right\n", "list")
}

func TestServerWithoutItsRedis(t *testing.T) {
	t.Parallel()
	s := served(t)
	proxied := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Retry-After", "5")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"status":503,"code":"redis_away","detail":"Redis does not answer","request_id":"r1"}`)
	}))
	t.Cleanup(proxied.Close)
	s.env["DETACHD_SERVER"] = proxied.URL
	s.refused(t, exitInternal, "Redis does not answer (503 redis_away, request r1)", "list")
	s.refused(t, exitInternal, "the server asks to wait 5s", "list")
}

func TestServerThatIsSomethingElse(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		http.StatusOK: "did not come from detachd", http.StatusBadGateway: "502 Bad Gateway", http.StatusFound: `points to "https://sign.in/"`, http.StatusTeapot: "418",
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			if status == http.StatusFound {
				w.Header().Set("Location", "https://sign.in/")
			}
			w.WriteHeader(status)
			fmt.Fprint(w, "<html>sign in</html>")
		}))
		s := &stage{env: map[string]string{"DETACHD_SERVER": srv.URL, "DETACHD_API_KEY": "dk_1"}}
		s.refused(t, exitInternal, want, "list")
		s.refused(t, exitInternal, "check the address", "report", "x")
		srv.Close()
	}
}

// What only the server can know is told by the names of flags.
func TestFaultsOfTheServerNameFlags(t *testing.T) {
	t.Parallel()
	for pointer, want := range map[string]string{
		"/not_before": "--at:", "/deadline": "--deadline:", "/due_at": "--due-at:", "/desktops/17": "desktop 17", "/users/3": "--user:",
		"/projects/0": "--project:", "/expires_at": "--expires:", "/ticket": "--ticket:", "from": "--since:", "project": "--project:", "": "",
	} {
		require.Equal(t, want, flagOf(pointer), pointer)
	}
	f := explain(fmt.Errorf("asking: %w", &api.Problem{Status: 400, Code: api.CodeInvalid, Detail: "bad", Errors: []api.Fault{{Pointer: "/not_before", Detail: "is long ago"}}}))
	require.Equal(t, exitUsage, f.code)
	require.Equal(t, "bad; --at: is long ago", f.Error())
}

func TestCommandsThatAskNoServer(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for _, c := range []string{"worker", "serve", "dev", "demo", "fakecloud"} {
		s.refused(t, exitUsage, "detachd "+c+" runs on this machine", c, "--server", "http://127.0.0.1:1")
	}
}

func TestWaitingOutlastsAServerThatStumbles(t *testing.T) {
	t.Parallel()
	s := served(t)
	s.worker(t)
	var asked int
	stumbling := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/operations/") {
			if asked++; asked == 1 {
				http.Error(w, "bad gateway", http.StatusBadGateway)
				return
			}
		}
		req, err := http.NewRequestWithContext(r.Context(), r.Method, s.url+r.URL.String(), r.Body)
		if err != nil {
			return
		}
		req.Header = r.Header
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return
		}
		defer resp.Body.Close()
		w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		w.WriteHeader(resp.StatusCode)
		_, _ = fmt.Fprint(w, read(resp))
	}))
	t.Cleanup(func() { stumbling.Close(); http.DefaultTransport.(*http.Transport).CloseIdleConnections() })
	s.env["DETACHD_SERVER"] = stumbling.URL
	r := s.run(t, "detach", "d1", "--project", "hq", "--wait")
	require.Equal(t, exitOK, r.code, r.err)
	require.Greater(t, asked, 1)
}

func read(resp *http.Response) string {
	var b strings.Builder
	buf := make([]byte, 1<<16)
	for {
		n, err := resp.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}

func TestWaitingEndsWhenTheKeyDoes(t *testing.T) {
	t.Parallel()
	s := served(t)
	ctx, cancel := context.WithTimeout(t.Context(), maxOutage)
	defer cancel()
	r := s.runWith(t, ctx, "", func(text string) {
		if strings.Contains(text, "; waiting") {
			s.keys.Del(t.Context(), s.keysLike(t, "*:access:keys*")...)
		}
	}, "detach", "d1", "--project", "hq", "--wait")
	require.NoError(t, ctx.Err(), "it does not wait for a key to come back")
	require.Equal(t, exitNotAuthorised, r.code, r.err)
	require.Contains(t, r.err, "waiting ended, the work continues")
}

func TestDoctorOfAServer(t *testing.T) {
	t.Parallel()
	s := served(t)
	require.Equal(t, map[string]string{"server": "ok", "server ready": "ok", "key": "ok", "workers": "warn", "the rest": "ok"}, s.levels(t, exitOK))
	require.Contains(t, s.ok(t, "doctor"), "role admin, for all projects, no expiry")
	rec := s.store(t).Record
	require.NoError(t, rec.PauseProject(t.Context(), "hq", tasks.PauseNoRight, 0, "403"))
	require.Equal(t, "bad", s.levels(t, exitFailed)["pause hq"])
	require.NoError(t, rec.ResumeProject(t.Context(), "hq"))
	s.worker(t)
	require.Equal(t, "ok", s.levels(t, exitOK)["workers"])

	s.env["DETACHD_API_KEY"] = s.newKey(t, "viewer", "--project", "hq", "--expires", "+1h")
	require.Equal(t, "warn", s.levels(t, exitOK)["key"])
	require.Contains(t, s.ok(t, "doctor"), "role viewer, for project hq, until ")
	s.env["DETACHD_API_KEY"] = "dk_wrong"
	require.Equal(t, "bad", s.levels(t, exitNotAuthorised)["key"])
	s.env["DETACHD_SERVER"] = "http://127.0.0.1:1"
	require.Equal(t, map[string]string{"server": "bad"}, s.levels(t, exitFailed))
}

// The health check of a container needs no key and no configuration, and is red while Redis is away.
func TestDoctorAsksWhetherAServerIsReady(t *testing.T) {
	t.Parallel()
	s, broken := served(t), served(t)
	broken.redis.Stop()
	s.env = map[string]string{}
	require.Equal(t, map[string]string{"ready": "ok"}, s.levels(t, exitOK, "--ready", s.url))
	require.Equal(t, map[string]string{"ready": "bad"}, s.levels(t, exitFailed, "--ready", broken.url))
	require.Equal(t, map[string]string{"ready": "bad"}, s.levels(t, exitFailed, "--ready", "http://127.0.0.1:1"))
	require.Contains(t, s.run(t, "doctor", "--ready", "http://127.0.0.1:1").out, "check that the server or worker runs, and listens there (--listen)\n")
	r := s.run(t, "doctor", "--ready", "http://jo:hidden@127.0.0.1:8080")
	require.Equal(t, exitUsage, r.code)
	require.Contains(t, r.err, "invalid --ready")
	require.NotContains(t, r.err, "hidden")
	require.Equal(t, exitUsage, s.run(t, "doctor", "--ready", s.url, "--probe").code)
}

func TestALongListIsSplitForAServer(t *testing.T) {
	t.Parallel()
	whole := api.OperationRequest{Project: "hq", ExpectedUsers: map[string][]string{}, Users: []string{"ann", "bob"}, IdempotencyKey: "k", Ticket: "HR-1"}
	for i := range 1000 {
		id := fmt.Sprintf("desktop-%04d", i)
		whole.Desktops = append(whole.Desktops, id)
		whole.ExpectedUsers[id] = []string{"zoe"}
		computer := fmt.Sprintf("WS-%04d", i)
		whole.Computers = append(whole.Computers, computer)
		whole.ExpectedUsers[tasks.ComputerRow(computer)] = []string{"zoe"}
	}
	require.Equal(t, []api.OperationRequest{whole}, split(whole, 1<<20), "it fits")
	parts := split(whole, 8000)
	require.Equal(t, parts, split(whole, 8000), "the same again")
	var desktops, computers, users []string
	keys := map[string]bool{}
	for _, p := range parts {
		text, err := json.Marshal(p)
		require.NoError(t, err)
		require.LessOrEqual(t, len(text), 8000)
		require.Len(t, p.ExpectedUsers, len(p.Desktops)+len(p.Computers))
		require.Equal(t, "HR-1", p.Ticket)
		desktops, computers, users = append(desktops, p.Desktops...), append(computers, p.Computers...), append(users, p.Users...)
		keys[p.IdempotencyKey] = true
	}
	require.Equal(t, whole.Desktops, desktops)
	require.Equal(t, whole.Users, users)
	require.Equal(t, whole.Computers, computers)
	require.Len(t, keys, len(parts))
}

// The address of a server with the path of its API is a common mistake.
func TestTheAddressWithThePathOfTheAPI(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(t)
	s.refused(t, exitUsage, "next: check --server or DETACHD_SERVER: the address without /v1", "list", "--server", s.url+"/v1")
}
