package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
)

// A credential of every kind, whose secret stands in a file, and is wrong.
var credentialsOfFiles = map[string]string{
	"password": `kind: password, user: ann, domain: acme, password: {file: %[1]q}`,
	"token":    `kind: token, token: {file: %[1]q}`,
	"aksk":     `kind: aksk, access_key: {env: ACCESS_KEY}, secret_key: {file: %[1]q}`,
}

// A corrected secret needs no restart: workers read it when the project is resumed.
func TestResumeReadsSecretsAgain(t *testing.T) {
	t.Parallel()
	for kind, credential := range credentialsOfFiles {
		t.Run(kind, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, s *stage) {
				const right = "the-right-secret"
				cloud, err := fakecloud.Serve(fakecloud.Config{
					AutoCreate: true, Token: right, AccessKeys: map[string]string{"AK": right},
					Users: []fakecloud.IAMUser{{Name: "ann", Password: right, Domain: "acme"}},
				}, "127.0.0.1:0")
				require.NoError(t, err)
				t.Cleanup(cloud.Close)
				secret := filepath.Join(t.TempDir(), "secret")
				put := func(text string) { require.NoError(t, os.WriteFile(secret, []byte(text+"\n"), 0o600)) }
				put("wrong-secret")
				s.env["ACCESS_KEY"] = "AK"
				s.here(t).configureCredential(t, fmt.Sprintf(credential, secret), cloud.URL)
				here := s.here(t)
				for range 2 {
					here.worker(t)
				}
				record := here.store(t).Record
				paused := func(reason string) {
					t.Helper()
					require.Eventually(t, func() bool {
						p, err := record.ProjectPause(context.Background(), "hq")
						return err == nil && p != nil && p.Kind == tasks.PauseAuth && (reason == "" || strings.Contains(p.Reason, reason))
					}, time.Minute, 5*time.Millisecond)
				}
				op := s.detached(t, "d1")
				paused("")
				require.NoError(t, os.Remove(secret))
				s.ok(t, "resume", "hq")
				paused(secret) // and the reason names the file
				put("wrong-again")
				s.ok(t, "resume", "hq")
				require.Eventually(t, func() bool {
					p, err := record.ProjectPause(context.Background(), "hq")
					return err == nil && p != nil && !strings.Contains(p.Reason, secret)
				}, time.Minute, 5*time.Millisecond)
				put(right)
				s.ok(t, "resume", "hq")
				s.ok(t, "status", op, "--wait", "--timeout", "1m")
				require.Equal(t, 1, cloud.DetachedTimes(hqID, "d1"))
			})
		})
	}
}

// configureCredential is configure with that credential only.
func (s *stage) configureCredential(t *testing.T, credential, cloud string) {
	t.Helper()
	text := fmt.Sprintf(`
redis: {url: "redis://%s/0", password: {env: REDIS_PASSWORD}}
worker: {bulk_poll_interval: 5ms, urgent_poll_interval: 5ms, first_look: 100ms}
credentials:
- {name: main, %s, calls_per_minute: 0, reads_per_minute: 0}
projects:
- {alias: hq, project_id: %q, endpoint: %q, iam_endpoint: %[4]q, credentials: main}
`, s.redis.Addr(), credential, hqID, cloud)
	require.NoError(t, os.WriteFile(s.config, []byte(text), 0o600))
}
