package dashboard_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
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
	"github.com/detachd/detachd/tasks/redistest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	endChromium()
	os.Exit(code)
}

// ids of the projects in the cloud.
var projectIDs = map[string]string{"hq": fmt.Sprintf("%032x", 1), "branch": fmt.Sprintf("%032x", 2)}

// stage is a redis-server, a fake cloud, a server with the dashboard, and a worker
// once a test wants one.
type stage struct {
	t     *testing.T
	redis *redistest.Server
	rdb   redis.UniversalClient
	cloud *fakecloud.Server
	store *app.Store
	cfg   config.Config
	keys  *access.Keys
	url   string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, redis: redistest.Start(t)}
	var err error
	s.cloud, err = fakecloud.Serve(fakecloud.Config{Token: "t", AutoCreate: true}, "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(s.cloud.Close)
	s.cfg = config.Defaults()
	s.cfg.Redis.URL = apiclient.Secret(s.redis.URL())
	s.cfg.Worker.BulkPollInterval = s.cfg.Worker.UrgentPollInterval
	s.cfg.Worker.FirstLook = 100 * time.Millisecond
	for _, alias := range []string{"hq", "branch"} {
		limits := config.DefaultLimits()
		limits.CallsPerSecond = 100
		s.cfg.Projects = append(s.cfg.Projects, config.Project{
			Alias: alias, ProjectID: projectIDs[alias], Endpoint: s.cloud.URL, Limits: limits,
			Credentials: config.Credentials{Kind: "token", Token: config.SecretRef{Value: "t"}},
		})
	}
	s.store, err = app.Open(s.cfg, nobody, "test")
	require.NoError(t, err)
	t.Cleanup(s.store.Close)
	s.rdb = s.store.Redis
	s.keys = access.NewKeys(s.store.Redis, s.store.Prefix, time.Now)
	conf := server.Config{Store: s.store, Keys: s.keys, Log: zerolog.New(io.Discard), Now: time.Now}
	srv := httptest.NewServer(dashboard.Serve(conf))
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

func nobody(string) (string, bool) { return "", false }

// work starts a worker.
func (s *stage) work() {
	s.t.Helper()
	a, err := app.New(s.cfg, nobody, zerolog.Nop(), "test")
	require.NoError(s.t, err)
	s.t.Cleanup(a.Stop)
	require.NoError(s.t, a.Start(s.t.Context()))
}

// key makes a key.
func (s *stage) key(role access.Role, projects ...string) string {
	s.t.Helper()
	secret, _, err := s.keys.Create(s.t.Context(), access.Key{Name: string(role), Role: role, Projects: projects})
	require.NoError(s.t, err)
	return string(secret)
}

// post sends a form as a program would, with a session's cookie.
func (s *stage) post(path, session, kind string, body io.Reader, header ...string) *http.Response {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+path, body)
	require.NoError(s.t, err)
	req.Header.Set("Content-Type", kind)
	if session != "" {
		req.AddCookie(&http.Cookie{Name: "__Host-detachd", Value: session})
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(req)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}
