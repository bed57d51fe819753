package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/cmd/internal/config"
	"github.com/detachd/detachd/cmd/internal/server"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

func TestMain(m *testing.M) {
	// The dialling goroutine of a closed pool sleeps for a second before it notices.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// Secrets of the stage; no output may have them.
const (
	cloudToken    = "cloud-token-that-nobody-may-see"
	redisPassword = "redis-password-that-nobody-may-see"
)

const hqID, branchID = "00000000000000000000000000000001", "00000000000000000000000000000002"

// stage is a redis-server, a fake cloud, and a configuration file that names
// them. No worker runs unless a test wants one.
type stage struct {
	redis  *redistest.Server
	keys   redis.UniversalClient // of the redis-server
	cloud  *fakecloud.Server
	config string
	env    map[string]string
	url    string // of the server that commands go through; empty: none
	key    string // for it
}

// inBothModes runs a test with commands that work on Redis, and with commands that
// go through a server.
func inBothModes(t *testing.T, test func(t *testing.T, s *stage)) {
	t.Helper()
	t.Parallel()
	bothModes(t, newStage, test)
}

func bothModes(t *testing.T, newStage func(*testing.T) *stage, test func(t *testing.T, s *stage)) {
	t.Helper()
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		test(t, newStage(t))
	})
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		s := newStage(t)
		s.serve(t)
		test(t, s)
	})
}

// serve starts a server that ends with the test, and has all commands go through
// it, with a key that may do all and is called as the user of the session is.
func (s *stage) serve(t *testing.T) {
	t.Helper()
	st := s.store(t)
	keys := access.NewKeys(st.Redis, st.Prefix, time.Now)
	secret, _, err := keys.Create(t.Context(), access.Key{Name: s.env["USER"], Role: access.Admin})
	require.NoError(t, err)
	s.url, s.key = s.serveOnly(t), string(secret)
	s.env["DETACHD_SERVER"], s.env["DETACHD_API_KEY"] = s.url, s.key
	// Commands have nothing but the server; what the test starts itself has.
	delete(s.env, "DETACHD_CONFIG")
}

// serveOnly starts a server that ends with the test and gives its URL.
func (s *stage) serveOnly(t *testing.T) string {
	t.Helper()
	st := s.store(t)
	srv := httptest.NewServer(server.New(server.Config{Store: st, Keys: access.NewKeys(st.Redis, st.Prefix, time.Now), Log: zerolog.Nop()}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// here runs a command that does its work on this machine whatever the mode.
func (s *stage) here(t *testing.T) *stage {
	t.Helper()
	env := map[string]string{}
	for k, v := range s.env {
		env[k] = v
	}
	delete(env, "DETACHD_SERVER")
	env["DETACHD_CONFIG"] = s.config
	local := *s
	local.env, local.url = env, ""
	return &local
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{redis: redistest.Start(t)}
	require.NoError(t, s.redis.Client(t).ConfigSet(t.Context(), "requirepass", redisPassword).Err())
	options := redistest.Options(s.redis.Addr())
	options.Password = redisPassword
	s.keys = redis.NewClient(options)
	t.Cleanup(func() { _ = s.keys.Close() })
	var err error
	s.cloud, err = fakecloud.Serve(fakecloud.Config{Token: cloudToken, AutoCreate: true}, "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(s.cloud.Close)
	s.config = filepath.Join(t.TempDir(), "config.yaml")
	s.env = map[string]string{"DETACHD_CONFIG": s.config, "CLOUD_TOKEN": cloudToken, "REDIS_PASSWORD": redisPassword, "USER": "jo"}
	s.configure(t, s.redis.Addr(), s.cloud.URL)
	return s
}

// changePassword makes the password of the configuration a wrong one.
func (s *stage) changePassword(t *testing.T) {
	t.Helper()
	require.NoError(t, s.keys.ConfigSet(t.Context(), "requirepass", "another").Err())
}

// keysLike lists the keys that match a pattern.
func (s *stage) keysLike(t *testing.T, pattern string) []string {
	t.Helper()
	keys, err := s.keys.Keys(t.Context(), pattern).Result()
	require.NoError(t, err)
	return keys
}

// worker starts a worker that ends with the test.
func (s *stage) worker(t *testing.T) {
	t.Helper()
	cfg, err := config.Load(s.config, lookup(s.env))
	require.NoError(t, err)
	a, err := app.New(cfg, lookup(s.env), zerolog.Nop(), "test", nil)
	require.NoError(t, err)
	t.Cleanup(a.Stop)
	require.NoError(t, a.Start(t.Context()))
}

// store looks at what the commands did.
func (s *stage) store(t *testing.T) *app.Store {
	t.Helper()
	cfg, err := config.Load(s.config, lookup(s.env))
	require.NoError(t, err)
	st, err := app.Open(cfg, lookup(s.env), "test")
	require.NoError(t, err)
	t.Cleanup(st.Close)
	return st
}

func (s *stage) operations(t *testing.T) []record.Operation {
	t.Helper()
	ops, _, err := s.store(t).Record.Operations(t.Context(), tasks.OperationFilter{}, 0, "")
	require.NoError(t, err)
	return ops
}

func (s *stage) rows(t *testing.T, op record.Operation) []record.Row {
	t.Helper()
	ds, _, err := s.store(t).Record.Desktops(t.Context(), op, tasks.DesktopFilter{}, op.Total, "")
	require.NoError(t, err)
	return ds
}

func lookup(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := env[name]; return v, ok }
}

// result is what a command line did.
type result struct {
	code     int
	out, err string
}

func (s *stage) run(t *testing.T, args ...string) result {
	t.Helper()
	return s.runWith(t, t.Context(), "", nil, args...)
}

// runWith runs a command line with a stdin and, if given, somebody who watches
// what it says on either output.
func (s *stage) runWith(t *testing.T, ctx context.Context, stdin string, watch func(string), args ...string) result {
	t.Helper()
	stdout, stderr := &watched{watch: watch}, &watched{watch: watch}
	p := Program{Version: "test", Stdin: strings.NewReader(stdin), Stdout: stdout, Stderr: stderr, LookupEnv: lookup(s.env), patience: time.Minute}
	code := p.Run(ctx, args)
	r := result{code, stdout.text(), stderr.text()}
	for _, secret := range []string{cloudToken, redisPassword, s.key} {
		if secret == "" {
			continue
		}
		require.NotContains(t, r.out+r.err, secret, "%v", args)
	}
	if code != exitOK {
		require.Contains(t, r.err, "next: ", "an error says what to do: %v", args)
	}
	return r
}

// watched is an output that tells what is written to it. Logs come from several
// goroutines.
type watched struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	watch func(string)
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(b)
	if w.watch != nil {
		w.watch(w.buf.String())
	}
	return len(b), nil
}

func (w *watched) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

// ok runs a command that has to succeed and gives its stdout.
func (s *stage) ok(t *testing.T, args ...string) string {
	t.Helper()
	r := s.run(t, args...)
	require.Equal(t, exitOK, r.code, "%v: %s", args, r.err)
	return r.out
}

// json runs a command with --json that has to end with code, and decodes its
// stdout, which has to be one document.
func (s *stage) json(t *testing.T, code int, args ...string) map[string]any {
	t.Helper()
	r := s.run(t, append(args, "--json")...)
	require.Equal(t, code, r.code, "%v: %s", args, r.err)
	return decodeOne(t, r.out)
}

func decodeOne(t *testing.T, text string) map[string]any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	var v map[string]any
	require.NoError(t, dec.Decode(&v), text)
	_, err := dec.Token()
	require.ErrorIs(t, err, io.EOF, "one document")
	return v
}

// refused runs a command that has to fail with code, without a result.
func (s *stage) refused(t *testing.T, code int, want string, args ...string) {
	t.Helper()
	r := s.run(t, args...)
	require.Equal(t, code, r.code, "%v: %s", args, r.err)
	require.Empty(t, r.out, "%v", args)
	require.Contains(t, r.err, want, "%v", args)
}

func (s *stage) file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "leavers.csv")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// detached has n desktops of hq recorded and gives the operation's id.
func (s *stage) detached(t *testing.T, args ...string) string {
	t.Helper()
	v := s.json(t, exitOK, append([]string{"detach", "--project", "hq"}, args...)...)
	ops := v["items"].([]any)
	require.Len(t, ops, 1)
	return ops[0].(map[string]any)["id"].(string)
}

func (s *stage) configure(t *testing.T, redis, cloud string) {
	t.Helper()
	text := fmt.Sprintf(`
redis: {url: "redis://%s/0", password: {env: REDIS_PASSWORD}}
worker: {max_attempts: 2, retry_base: 1ms, retry_max: 2ms, bulk_poll_interval: 5ms, urgent_poll_interval: 5ms, first_look: 100ms}
credentials:
- {name: main, kind: token, token: {env: CLOUD_TOKEN}, calls_per_minute: 0, reads_per_minute: 0}
projects:
- {alias: hq, project_id: %q, endpoint: %q, credentials: main, approval: {percent: 100}}
- {alias: branch, project_id: %q, endpoint: %q, credentials: main, approval: {percent: 100}}
codes: [{of: desktop, code: WKS.00099999, class: conflict, why: being moved}]
`, redis, hqID, cloud, branchID, cloud)
	require.NoError(t, os.WriteFile(s.config, []byte(text), 0o600))
}
