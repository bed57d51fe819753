package dashboard_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/cmd/internal/config"
	"github.com/detachd/detachd/cmd/internal/dashboard"
	"github.com/detachd/detachd/cmd/internal/server"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/redistest"
)

func TestMain(m *testing.M) {
	redis.SetLogger(silence{}) // it reports every failed dial, and tests take Redis away
	code := m.Run()
	endChromium()
	os.Exit(code)
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// projectIDs are the ids of the projects in the cloud.
var projectIDs = map[string]string{"hq": fmt.Sprintf("%032x", 1), "branch": fmt.Sprintf("%032x", 2)}

// stage is a redis-server, a fake cloud, a server with the dashboard, and a worker if a
// test starts one.
type stage struct {
	t      *testing.T
	redis  *redistest.Server
	rdb    redis.UniversalClient
	cloud  *fakecloud.Server
	store  *app.Store
	cfg    config.Config
	keys   *access.Keys
	inside *server.Inside
	url    string
	log    *logs // of the server and the worker
}

// logs collects the log.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func newStage(t *testing.T, change ...func(*config.Config)) *stage {
	t.Helper()
	return newStageBehind(t, func(cloud string) string { return cloud }, change...)
}

// newStageBehind puts an address in front of the cloud.
func newStageBehind(t *testing.T, door func(cloud string) string, change ...func(*config.Config)) *stage {
	t.Helper()
	s := &stage{t: t, redis: redistest.Start(t), log: &logs{}}
	var err error
	s.cloud, err = fakecloud.Serve(fakecloud.Config{Token: "t", AutoCreate: true}, "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(s.cloud.Close)
	s.cfg = config.Defaults()
	s.cfg.Redis.URL = apiclient.Secret(s.redis.URL())
	s.cfg.Worker.BulkPollInterval, s.cfg.Worker.UrgentPollInterval = 20*time.Millisecond, 20*time.Millisecond
	s.cfg.Worker.FirstLook = 100 * time.Millisecond
	s.cfg.Worker.MaxAttempts = 2
	s.cfg.Worker.RetryBase = 50 * time.Millisecond
	c := config.DefaultCredential()
	c.Name, c.Kind, c.Token = "main", "token", config.SecretRef{Value: "t"}
	c.CallsPerMinute, c.ReadsPerMinute = 6000, 6000
	s.cfg.Credentials = []config.Credential{c}
	endpoint := door(s.cloud.URL)
	for _, alias := range []string{"hq", "branch"} {
		s.cfg.Projects = append(s.cfg.Projects, config.Project{
			Alias: alias, ProjectID: projectIDs[alias], Endpoint: endpoint, Credential: "main", Limits: config.DefaultLimits(), Approval: config.NoApproval(),
		})
	}
	for _, f := range change {
		f(&s.cfg)
	}
	s.store, err = app.Open(s.cfg, noEnv, "test")
	require.NoError(t, err)
	t.Cleanup(s.store.Close)
	s.rdb = s.store.Redis
	s.keys = access.NewKeys(s.store.Redis, s.store.Prefix, time.Now)
	conf := server.Config{Store: s.store, Keys: s.keys, Log: zerolog.New(s.log), Now: time.Now}
	s.inside = server.NewInside(conf)
	srv := httptest.NewServer(dashboard.Serve(conf))
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

func noEnv(string) (string, bool) { return "", false }

// work starts a worker.
func (s *stage) work() (stop func()) {
	s.t.Helper()
	a, err := app.New(s.cfg, noEnv, zerolog.New(s.log), "test", nil)
	require.NoError(s.t, err)
	stop = sync.OnceFunc(a.Stop)
	s.t.Cleanup(stop)
	require.NoError(s.t, a.Start(s.t.Context()))
	return stop
}

// key creates a key.
func (s *stage) key(role access.Role, projects ...string) string {
	s.t.Helper()
	secret, _, err := s.keys.Create(s.t.Context(), access.Key{Name: string(role), Role: role, Projects: projects})
	require.NoError(s.t, err)
	return string(secret)
}

// session creates a key and signs in with it.
func (s *stage) session(role access.Role, projects ...string) string {
	s.t.Helper()
	session, _, err := s.keys.SignIn(s.t.Context(), s.key(role, projects...), access.Browser{})
	require.NoError(s.t, err)
	return string(session)
}

func (s *stage) sessionOf(k access.Key) string {
	s.t.Helper()
	secret, _, err := s.keys.Create(s.t.Context(), k)
	require.NoError(s.t, err)
	session, _, err := s.keys.SignIn(s.t.Context(), string(secret), access.Browser{})
	require.NoError(s.t, err)
	return string(session)
}

// waiting counts the operations that wait for an approval.
func (s *stage) waiting() int {
	s.t.Helper()
	n, err := s.api().CountOperations(s.t.Context(), tasks.OperationFilter{Waiting: true})
	require.NoError(s.t, err)
	return n
}

// api returns a client with the rights of an administrator.
func (s *stage) api() *api.Client {
	return s.inside.As(access.Key{Name: "hr", Role: access.Admin}, server.Origin{})
}

// submit creates an operation.
func (s *stage) submit(req api.OperationRequest) tasks.Operation {
	s.t.Helper()
	op, err := s.api().CreateOperation(s.t.Context(), req)
	require.NoError(s.t, err)
	return op
}

// ended waits until an operation has ended and is sealed.
func (s *stage) ended(id string) (op api.OperationState) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		var err error
		op, err = s.api().OperationState(s.t.Context(), id)
		return err == nil && op.Sealed()
	}, patience, 10*time.Millisecond)
	return op
}

// all dumps Redis by key, without sessions and times of use.
func (s *stage) all() map[string]string {
	s.t.Helper()
	out := map[string]string{}
	names := s.rdb.Scan(s.t.Context(), 0, "*", 1000).Iterator()
	for names.Next(s.t.Context()) {
		name := names.Val()
		if !strings.Contains(name, ":access:session") && !strings.HasSuffix(name, ":access:used") {
			out[name] = s.rdb.Dump(s.t.Context(), name).Val()
		}
	}
	require.NoError(s.t, names.Err())
	return out
}

// answer is a reply.
type answer struct {
	status int
	header http.Header
	body   string
}

// cookie returns a cookie of the answer, or nil.
func (a answer) cookie(name string) *http.Cookie {
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// direct follows no redirect.
var direct = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// do sends a request without a browser, with a session's cookie.
func (s *stage) do(method, path, session string, body io.Reader, header ...string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, body)
	require.NoError(s.t, err)
	if session != "" {
		req.AddCookie(&http.Cookie{Name: "__Host-detachd", Value: session})
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := direct.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func (s *stage) get(path, session string) answer {
	s.t.Helper()
	return s.do("GET", path, session, nil)
}

// post sends a form: pairs of a field and its value.
func (s *stage) post(path, session string, fields ...string) answer {
	s.t.Helper()
	return s.do("POST", path, session, strings.NewReader(form(fields...)), "Content-Type", "application/x-www-form-urlencoded")
}

func form(fields ...string) string {
	q := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		q.Add(fields[i], fields[i+1])
	}
	return q.Encode()
}

// multi encodes a form that may have files.
func multi(fields ...string) (body *bytes.Buffer, kind string) {
	body = &bytes.Buffer{}
	w := multipart.NewWriter(body)
	for i := 0; i < len(fields); i += 2 {
		_ = w.WriteField(fields[i], fields[i+1]) // a buffer takes all
	}
	_ = w.Close()
	return body, w.FormDataContentType()
}

// postMulti sends a form that may have files.
func (s *stage) postMulti(path, session string, fields ...string) answer {
	s.t.Helper()
	body, kind := multi(fields...)
	return s.do("POST", path, session, body, "Content-Type", kind)
}
