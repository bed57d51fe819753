package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/alicebob/miniredis/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/cmd/internal/config"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// bench is a server on a Redis in memory, with a key of each role.
type bench struct {
	t     *testing.T
	redis *miniredis.Miniredis
	cfg   config.Config
	store *app.Store
	keys  *access.Keys
	url   string
	log   *bytes.Buffer
	key   map[access.Role]string
	srv   *server
}

func newBench(t *testing.T, change ...func(*Config)) *bench {
	t.Helper()
	return newBenchOn(t, "http://127.0.0.1:1", change...)
}

// newBenchOn has a cloud.
func newBenchOn(t *testing.T, cloud string, change ...func(*Config)) *bench {
	t.Helper()
	redis := miniredis.RunT(t)
	b := newBenchAt(t, "redis://"+redis.Addr(), cloud, change...)
	b.redis = redis
	return b
}

// newBenchAt is on another Redis, and its own is nil.
func newBenchAt(t *testing.T, redis, cloud string, change ...func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, log: &bytes.Buffer{}, key: map[access.Role]string{}}
	cfg := config.Defaults()
	cfg.Redis.URL = apiclient.Secret(redis)
	c := config.DefaultCredential()
	c.Name, c.Kind, c.Token = "main", "token", config.SecretRef{Value: "token"}
	cfg.Credentials = []config.Credential{c}
	for i, alias := range []string{"hq", "branch"} {
		cfg.Projects = append(cfg.Projects, config.Project{
			Alias: alias, ProjectID: fmt.Sprintf("%032d", i), Endpoint: cloud, Credential: "main", Limits: config.DefaultLimits(), Approval: config.NoApproval(),
		})
	}
	cfg.Protected = []config.Protected{{Name: "configured", Pools: []string{"never"}}}
	cfg.Worker.Lists = t.TempDir()
	cfg.Schedules = []tasks.Schedule{{Name: "configured", Project: "hq", Cron: "@yearly", Source: tasks.ScheduleSource{Users: []string{"ann"}}}}
	b.cfg = cfg
	var err error
	b.store, err = app.Open(cfg, func(string) (string, bool) { return "", false }, "test")
	require.NoError(t, err)
	t.Cleanup(b.store.Close)
	b.keys = access.NewKeys(b.store.Redis, "detachd", time.Now)
	for _, role := range access.Roles {
		b.key[role] = b.newKey(access.Key{Name: string(role), Role: role})
	}
	conf := Config{Store: b.store, Keys: b.keys, Log: zerolog.New(zerolog.SyncWriter(b.log)), Metrics: &counted{}}
	for _, f := range change {
		f(&conf)
	}
	b.srv = newServer(conf)
	srv := httptest.NewServer(b.srv)
	t.Cleanup(srv.Close)
	b.url = srv.URL
	return b
}

func (b *bench) newKey(k access.Key) string {
	b.t.Helper()
	secret, _, err := b.keys.Create(b.t.Context(), k)
	require.NoError(b.t, err)
	return string(secret)
}

// answer is a reply.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request. The answer is as the contract says.
func (b *bench) do(key, method, path, body string, header ...string) answer {
	b.t.Helper()
	return b.send(b.request(key, method, path, body, header...))
}

func (b *bench) request(key, method, path, body string, header ...string) *http.Request {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	require.NoError(b.t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

// exchange is send for goroutines that are not the test's.
func exchange(req *http.Request) (answer, error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(text)}, err
}

func (b *bench) send(req *http.Request) answer {
	b.t.Helper()
	a, err := exchange(req)
	require.NoError(b.t, err)
	if b.srv.Pages == nil || isAPI(req.URL.Path) {
		theContract().check(b.t, req.Method, req.URL.RequestURI(), a)
		require.False(b.t, strings.ContainsFunc(a.body, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }), "%q", a.body)
	}
	if a.status >= 400 && req.Method != http.MethodHead {
		p := a.problem(b.t)
		require.Equal(b.t, a.status, p.Status)
		require.Equal(b.t, a.header.Get("X-Request-Id"), p.RequestID)
	}
	return a
}

func (a answer) problem(t *testing.T) (p api.Problem) {
	t.Helper()
	require.Equal(t, "application/problem+json", a.header.Get("Content-Type"), a.body)
	require.NoError(t, json.Unmarshal([]byte(a.body), &p))
	return p
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.body), &v), a.body)
	return v
}

// create has an operation accepted and gives its id.
func (b *bench) create(body string, header ...string) string {
	b.t.Helper()
	a := b.do(b.key[access.Producer], "POST", "/v1/operations", body, header...)
	require.Equal(b.t, http.StatusAccepted, a.status, a.body)
	id := a.json(b.t)["id"].(string)
	require.Equal(b.t, "/v1/operations/"+id, a.header.Get("Location"))
	return id
}

// Text of people and of the cloud cannot act on the terminal that shows an answer, and is
// the same when it was decoded. send looks at every answer.
func TestAnswersAreHarmlessOnATerminal(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const evil = "a\x1b[2J\u009b31m\u202eb\x7f"
	body, err := json.Marshal(api.OperationRequest{Project: "hq", Desktops: []string{"d1"}, Reason: evil, Ticket: "\u202e"})
	require.NoError(t, err)
	id := b.create(string(body))
	require.Equal(t, evil, b.do(b.key[access.Viewer], "GET", "/v1/operations/"+id, "").json(t)["reason"])
	for _, path := range []string{"/v1/operations", "/v1/operations/" + id + "/report?format=json", "/v1/operations/" + id + "/report?format=csv"} {
		require.Contains(t, b.do(b.key[access.Viewer], "GET", path, "").body, `\u202e`, path)
	}
	b.do(b.key[access.Producer], "POST", "/v1/operations", `{"project":"`+"\u202e\u009b"+`","desktops":["d1"]}`)
}

// Every route, for every role and for none.
func TestEveryRouteAsksForItsRole(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, rt := range routes {
		path := strings.NewReplacer("{id}", "nowhere", "{desktop}", "no:where", "{alias}", "nowhere").Replace(rt.path)
		for _, role := range append([]access.Role{""}, access.Roles...) {
			status := b.do(b.key[role], rt.method, path, "").status
			name := fmt.Sprintf("%s %s as %q", rt.method, rt.path, role)
			switch {
			case rt.role == "":
				require.Equal(t, http.StatusOK, status, name)
			case role == "":
				require.Equal(t, http.StatusUnauthorized, status, name)
			case !role.Includes(rt.role):
				require.Equal(t, http.StatusForbidden, status, name)
			default:
				require.NotContains(t, []int{401, 403}, status, name)
			}
		}
	}
	for _, bad := range []string{"dk_" + strings.Repeat("a", 32), "nonsense"} {
		require.Equal(t, http.StatusUnauthorized, b.do(bad, "GET", "/v1/operations", "").status)
	}
}

func TestOperationOverHTTP(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const body = `{"project":"hq","desktops":["d1","d2"],"expected_users":{"d1":["zoe"]},"users":["ann"],"due_at":"2026-01-02T03:04:05Z","reason":"left","ticket":"HR-1"}`
	id := b.create(body, "Idempotency-Key", "k1")
	require.Equal(t, id, b.create(body, "Idempotency-Key", "k1"), "sent again")
	a := b.do(b.key[access.Producer], "POST", "/v1/operations", `{"project":"hq","desktops":["d9"]}`, "Idempotency-Key", "k1")
	require.Equal(t, http.StatusUnprocessableEntity, a.status)
	viewer := b.key[access.Viewer]
	v := b.do(viewer, "GET", "/v1/operations/"+id, "").json(t)
	require.Equal(t, "producer", v["requested_by"], "the key's name")
	require.Equal(t, false, v["done"])
	require.Contains(t, v, "access_removed")
	for query, computed := range map[string]bool{
		"": true, "?access_removed=true": true, "?access_removed=false": false, "?access_removed_up_to=3": true, "?access_removed_up_to=2": false,
		"?access_removed_up_to=3&access_removed=false": false,
	} {
		v := b.do(viewer, "GET", "/v1/operations/"+id+query, "").json(t)
		require.Equal(t, computed, v["access_removed"] != nil, query)
		require.Equal(t, computed, v["pace"] != nil, query)
		require.Equal(t, "running", v["state"], query)
	}
	list := b.do(viewer, "GET", "/v1/operations?project=hq&open=true&page_size=1", "").json(t)
	require.Len(t, list["items"], 1)
	rows := b.do(viewer, "GET", "/v1/operations/"+id+"/desktops?state=queued&state=held", "").json(t)["items"].([]any)
	require.Len(t, rows, 3)
	require.Equal(t, []any{"zoe"}, rows[0].(map[string]any)["expected_users"])
	require.Empty(t, b.do(viewer, "GET", "/v1/operations/"+id+"/calls", "").json(t)["items"])
	require.Len(t, b.do(viewer, "GET", "/v1/desktops/d1", "").json(t)["events"], 1)
	require.Empty(t, b.do(viewer, "GET", "/v1/failures?project=hq&class=held", "").json(t)["items"])

	a = b.do(viewer, "GET", "/v1/operations/"+id+"/report?format=html", "")
	require.Equal(t, http.StatusOK, a.status)
	require.Contains(t, a.header.Get("Content-Disposition"), "attachment")
	require.Contains(t, a.body, "HR-1")

	operator := b.key[access.Operator]
	require.InDelta(t, 3, b.do(operator, "POST", "/v1/operations/"+id+":cancel", "").json(t)["cancelled"], 0)
	require.InDelta(t, 0, b.do(operator, "POST", "/v1/operations/"+id+":retry", `{"held":true}`).json(t)["retried"], 0)
}

func TestValidateOnlyWritesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	a := b.do(b.key[access.Producer], "POST", "/v1/operations", `{"project":"hq","desktops":["d1"],"validate_only":true}`)
	require.Equal(t, http.StatusOK, a.status)
	hr := b.client(access.Key{Name: "hr", Role: access.Producer})
	valid, err := hr.ValidateOperation(t.Context(), api.OperationRequest{Project: "hq", Desktops: []string{"d1", "d2"}})
	require.NoError(t, err)
	require.True(t, valid.Valid)
	require.Equal(t, 2, valid.Desktops)
	_, err = hr.ValidateOperation(t.Context(), api.OperationRequest{Project: "nowhere", Desktops: []string{"d1"}})
	require.ErrorContains(t, err, "project")
	require.Empty(t, b.do(b.key[access.Viewer], "GET", "/v1/operations", "").json(t)["items"])
}

// What is wrong is refused whole, with a pointer to it.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for body, pointer := range map[string]string{
		`{}`:                                    "/project",
		`{"project":"hq","desktops":["d1",""]}`: "/desktops/1",
		`{"project":"hq","desktops":["d1","d1"]}`:            "/desktops/1",
		`{"project":"nowhere","desktops":["d1"]}`:            "/project",
		`{"project":"hq","desktops":["d1"],"due_at":"soon"}`: "/due_at",
		`{"project":"hq","users":["a\u0000b"]}`:              "/users/0",
		`{"project":"hq","desktops":["d1"],"x":1}`:           "/x",
	} {
		a := b.do(b.key[access.Producer], "POST", "/v1/operations", body)
		require.Equal(t, 400, a.status, "%s: %s", body, a.body)
		p := a.problem(t)
		require.NotEmpty(t, p.Errors, a.body)
		require.Equal(t, pointer, p.Errors[0].Pointer, "%s: %s", body, a.body)
	}
	a := b.do(b.key[access.Producer], "POST", "/v1/operations", `{}`, "Content-Type", "text/plain")
	require.Equal(t, http.StatusUnsupportedMediaType, a.status)
	for _, path := range []string{
		"/v1/operations?page_size=0", "/v1/operations?page_size=1001", "/v1/operations?pagesize=1", "/v1/operations?open=maybe", "/v1/operations?from=x",
		"/v1/operations?page_token=x", "/v1/operations/x?access_removed_up_to=-1", "/v1/operations/x?access_removed_up_to=few", "/v1/failures?page_token=x", "/v1/failures?code=a&code=b", "/v1/desktops/%20",
	} {
		a = b.do(b.key[access.Viewer], "GET", path, "")
		require.Equal(t, 400, a.status, path)
		require.NotEmpty(t, a.problem(t).Errors, path)
	}
	require.Empty(t, b.do(b.key[access.Viewer], "GET", "/v1/operations", "").json(t)["items"], "nothing was done")
}

func TestWhatIsNotServed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, path := range []string{"/", "/v1", "/v1/operations/", "/v1/operations/x:nonsense", "/v2/operations", "/v1//operations"} {
		require.Equal(t, 404, b.do(b.key[access.Admin], "POST", path, "").status, path)
	}
	a := b.do(b.key[access.Admin], "DELETE", "/v1/operations", "")
	require.Equal(t, 405, a.status)
	require.Equal(t, "POST, GET, HEAD", a.header.Get("Allow"))
	for _, path := range []string{"/v1/operations/nowhere", "/v1/operations/nowhere/desktops", "/v1/operations/nowhere/report"} {
		require.Equal(t, 404, b.do(b.key[access.Admin], "GET", path, "").status, path)
	}
}

// A key for certain projects neither sees nor touches others.
func TestKeysOfCertainProjects(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	other := b.create(`{"project":"branch","desktops":["d1"]}`)
	mine := b.newKey(access.Key{Name: "mine", Role: access.Operator, Projects: []string{"hq"}})
	require.Equal(t, 403, b.do(mine, "POST", "/v1/operations", `{"project":"branch","desktops":["d2"]}`).status)
	for _, project := range []string{"branch", "nowhere"} {
		a := b.do(mine, "POST", "/v1/operations", `{"project":"`+project+`","desktops":["d2","d2"]}`)
		require.Equal(t, 403, a.status, "whether there is a project %s is not told", project)
	}
	require.Equal(t, 403, b.do(mine, "POST", "/v1/plans", `{"project":"branch","desktops":["d2"]}`).status, "it would say who is on it")
	require.Equal(t, 202, b.do(mine, "POST", "/v1/operations", `{"project":"hq","desktops":["d1"]}`).status)
	for _, path := range []string{"", "/desktops", "/calls", "/report"} {
		require.Equal(t, 404, b.do(mine, "GET", "/v1/operations/"+other+path, "").status, path)
	}
	for _, verb := range []string{":cancel", ":retry"} {
		require.Equal(t, 404, b.do(mine, "POST", "/v1/operations/"+other+verb, "").status, verb)
	}
	require.Equal(t, 404, b.do(mine, "POST", "/v1/projects/branch:pause", "").status)
	require.Len(t, b.do(mine, "GET", "/v1/desktops/d1", "").json(t)["events"], 1)
	for _, path := range []string{"/v1/operations", "/v1/failures"} {
		require.Equal(t, 400, b.do(mine, "GET", path, "").status)
		require.Equal(t, 400, b.do(mine, "GET", path+"?project=branch", "").status)
		require.Equal(t, 200, b.do(mine, "GET", path+"?project=hq", "").status)
	}
}

func TestPauseOverHTTP(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	require.Equal(t, 200, b.do(b.key[access.Operator], "POST", "/v1/projects/hq:pause", `{"reason":"moving","for_seconds":60}`).status)
	pause, err := b.store.Record.ProjectPause(t.Context(), "hq")
	require.NoError(t, err)
	require.Equal(t, "operator: moving", pause.Reason)
	require.False(t, pause.Until.IsZero())
	for _, body := range []string{`{"for_seconds":-1}`, `{"for_seconds":31536001}`, `{"reason":"` + strings.Repeat("x", 1001) + `"}`} {
		require.Equal(t, 400, b.do(b.key[access.Operator], "POST", "/v1/projects/hq:pause", body).status, "%.60s", body)
	}
	require.Equal(t, 200, b.do(b.key[access.Operator], "POST", "/v1/projects/hq:resume", "").status)
	pause, err = b.store.Record.ProjectPause(t.Context(), "hq")
	require.NoError(t, err)
	require.Nil(t, pause)
}

// Without Redis nothing is accepted, and it says so.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	require.Equal(t, 200, b.do("", "GET", "/readyz", "").status)
	addr := b.redis.Addr()
	b.redis.Close()
	require.Eventually(t, func() bool { return b.do("", "GET", "/readyz", "").status == 503 }, time.Minute, 10*time.Millisecond)
	require.Equal(t, 200, b.do("", "GET", "/healthz", "").status)
	a := b.do(b.key[access.Producer], "POST", "/v1/operations", `{"project":"hq","desktops":["d1"]}`)
	require.Equal(t, 503, a.status)
	require.NotEmpty(t, a.header.Get("Retry-After"))
	require.NotContains(t, a.body, addr, "nothing of the inside is told")
	require.NotContains(t, b.log.String(), b.key[access.Producer])
}

// The trace that a request came with goes on to the cloud; anything else
// is ignored.
func TestTraceparentOfARequest(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for sent, kept := range map[string]any{trace: trace, "01" + trace[2:] + "-more": trace, "00-1-2-3": nil} {
		a := b.do(b.key[access.Producer], "POST", "/v1/operations", `{"project":"hq","desktops":["d1"]}`, "Traceparent", sent, "Tracestate", "rojo=1")
		require.Equal(t, http.StatusAccepted, a.status)
		require.Equal(t, kept, a.json(t)["trace"])
		require.Equal(t, kept != nil, a.json(t)["tracestate"] == "rojo=1", "it goes with the traceparent")
		id := b.do(b.key[access.Viewer], "GET", "/v1/operations/nowhere", "", "Traceparent", sent).problem(t).TraceID
		require.Equal(t, map[any]string{trace: trace[3:35], nil: ""}[kept], id)
	}
}
