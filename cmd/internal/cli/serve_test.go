package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/detachd/detachd/cmd/internal/metrics"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/api"
)

var address = regexp.MustCompile(`"address":"([^"]+:\d+)"`)

func TestServe(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.refused(t, exitUsage, "there is no valid API key", "serve", "--listen", anyPort)
	key := strings.TrimSpace(s.ok(t, "keys", "create", "--name", "hr", "--role", "producer"))
	var said, policy string
	var status int
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	asked := false
	r := s.runWith(t, ctx, "", func(text string) {
		m := address.FindStringSubmatch(text)
		if asked || m == nil {
			return
		}
		asked = true
		go func() {
			defer interrupt()
			req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+m[1]+"/v1/operations", strings.NewReader(`{"project":"hq","desktops":["d1"]}`))
			if err != nil {
				return
			}
			req.Header.Set("Authorization", "Bearer "+key)
			req.Header.Set("Content-Type", "application/json")
			req.Close = true
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return
			}
			text, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			status, said, policy = resp.StatusCode, string(text), resp.Header.Get("RateLimit-Policy")
		}()
	}, "serve", "--listen", anyPort, "--worker")
	require.Equal(t, exitOK, r.code, r.err)
	require.Equal(t, http.StatusAccepted, status, said)
	require.Equal(t, `"default";q=2000;w=2`, policy)
	require.Contains(t, r.err, "server stopped")
	require.NotContains(t, r.err, key)
	require.Equal(t, "hr", s.operations(t)[0].RequestedBy)
	s.refused(t, exitInternal, "--listen", "serve", "--listen", "nowhere:-1")
	s.refused(t, exitUsage, "--rate-limit is negative", "serve", "--listen", anyPort, "--rate-limit", "-1")
}

// Streams of events do not hold a stop up: Shutdown would wait for them in vain, and
// say so.
func TestServeStopsInSpiteOfStreams(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	st := s.store(t)
	p := Program{Now: time.Now}
	try, err := p.newDemoServer(t.Context(), st, metrics.New("test"), "test")
	require.NoError(t, err)
	id := s.detached(t, "d1")
	l, err := net.Listen("tcp", anyPort)
	require.NoError(t, err)
	ctx, interrupt := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serveOn(ctx, l, try.handler, zerolog.Nop()) }()
	c, err := api.New(api.Config{Server: "http://" + l.Addr().String(), Key: string(try.key), HTTP: &http.Client{Transport: &http.Transport{}}})
	require.NoError(t, err)
	watching, leave := context.WithCancel(t.Context())
	watched := make(chan error, 1)
	go func() {
		watched <- c.Watch(watching, id, func(api.OperationState) error { interrupt(); return nil })
	}()
	require.NoError(t, <-ended)
	leave()
	require.ErrorIs(t, <-watched, context.Canceled)
}

// Who is slow does not keep its connection: with the head of a request, or in reading
// an answer.
func TestServeSendsTheSlowAway(t *testing.T) {
	t.Parallel()
	left := make(chan error, 1)
	srv := httpServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				left <- err
				return
			}
		}
	}), zerolog.Nop())
	srv.ReadHeaderTimeout /= 100 // a server without has none here either
	srv.WriteTimeout /= 1000
	closed := make(chan struct{}, 10)
	srv.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			closed <- struct{}{}
		}
	}
	l, err := net.Listen("tcp", anyPort)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	for _, head := range []string{"", "GET / HTTP/1.1\r\nHost: x\r\nX: ", "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 64<<10)} {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		_, _ = fmt.Fprint(c, head) // the server may have closed it by then
		_, _ = io.Copy(io.Discard, c)
		require.NoError(t, c.Close())
	}
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	_, err = fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	require.Error(t, <-left)
	require.NoError(t, c.Close())

	c, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	go func() {
		_, _ = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("x", 64<<10))
	}()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, resp.StatusCode)
	require.NoError(t, resp.Body.Close())
	require.NoError(t, c.Close())
	for range 5 {
		<-closed
	}
	require.NoError(t, srv.Close())
	require.ErrorIs(t, <-ended, http.ErrServerClosed)
}

func TestKeys(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		if s.url == "" {
			require.Contains(t, s.run(t, "keys", "list").err, "there are no keys")
		}
		v := s.json(t, exitOK, "keys", "create", "--name", "hr", "--role", "viewer", "--project", "hq", "--unknown-users", "ignore", "--expires", "+1h")
		require.Equal(t, "ignore", v["unknown_users"])
		id := v["id"].(string)
		require.True(t, strings.HasPrefix(v["key"].(string), id))
		text := s.ok(t, "keys", "list")
		require.Contains(t, text, id)
		require.Contains(t, text, "ignore")
		require.NotContains(t, text, v["key"])
		require.Contains(t, s.ok(t, "keys", "revoke", id), " revoked")
		require.NotEmpty(t, s.json(t, exitOK, "keys", "list")["items"].([]any)[0].(map[string]any)["revoked_at"])
		if s.url == "" {
			s.refused(t, exitUsage, "there is no valid API key", "serve", "--listen", anyPort)
		}
		for want, args := range map[string][]string{
			"no such key":             {"keys", "revoke", "dk_nowhere"},
			"neither hold nor ignore": {"keys", "create", "--name", "a", "--role", "viewer", "--unknown-users", "drop"},
			"is not a role":           {"keys", "create", "--name", "a", "--role", "root"},
			"lower-case letters":      {"keys", "create", "--role", "viewer"},
			"is not configured":       {"keys", "create", "--name", "a", "--role", "viewer", "--project", "x"},
			"invalid --expires \"x\"": {"keys", "create", "--name", "a", "--role", "viewer", "--expires", "x"},
		} {
			s.refused(t, exitUsage, want, args...)
		}
	})
}
