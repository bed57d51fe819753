package cli

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var address = regexp.MustCompile(`"address":"([^"]+)"`)

func TestServe(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.refused(t, exitUsage, "there is no valid key", "serve", "--listen", anyPort)
	key := strings.TrimSpace(s.ok(t, "keys", "create", "--name", "hr", "--role", "producer"))
	var said string
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
			status, said = resp.StatusCode, string(text)
		}()
	}, "serve", "--listen", anyPort, "--worker")
	require.Equal(t, exitOK, r.code, r.err)
	require.Equal(t, http.StatusAccepted, status, said)
	require.Contains(t, r.err, "server stopped")
	require.NotContains(t, r.err, key)
	require.Equal(t, "hr", s.operations(t)[0].RequestedBy)
	s.refused(t, exitInternal, "--listen", "serve", "--listen", "nowhere:-1")
}

func TestKeys(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		if s.url == "" {
			require.Contains(t, s.run(t, "keys", "list").err, "there are no keys")
		}
		v := s.json(t, exitOK, "keys", "create", "--name", "hr", "--role", "viewer", "--project", "hq", "--expires", "+1h")
		id := v["id"].(string)
		require.True(t, strings.HasPrefix(v["key"].(string), id))
		text := s.ok(t, "keys", "list")
		require.Contains(t, text, id)
		require.NotContains(t, text, v["key"])
		require.Contains(t, s.ok(t, "keys", "revoke", id), "is revoked")
		require.NotEmpty(t, s.json(t, exitOK, "keys", "list")["keys"].([]any)[0].(map[string]any)["revoked_at"])
		if s.url == "" {
			s.refused(t, exitUsage, "there is no valid key", "serve", "--listen", anyPort)
		}
		for want, args := range map[string][]string{
			"no such key":                {"keys", "revoke", "dk_nowhere"},
			"is no role":                 {"keys", "create", "--name", "a", "--role", "root"},
			"small letters":              {"keys", "create", "--role", "viewer"},
			"is not configured":          {"keys", "create", "--name", "a", "--role", "viewer", "--project", "x"},
			"--expires \"x\" is no time": {"keys", "create", "--name", "a", "--role", "viewer", "--expires", "x"},
		} {
			s.refused(t, exitUsage, want, args...)
		}
	})
}
