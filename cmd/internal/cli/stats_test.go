package cli

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
)

func TestStats(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.detached(t, "d1", "d2", "d3")
		require.NoError(t, s.store(t).Record.PauseProject(t.Context(), "branch", tasks.PauseOperator, 0, "jo:\x1b[31m moving"))
		s.ok(t, "detach", "--project", "branch", "--user", "zoe", "--due-at", "+2h")
		lines := strings.Split(s.ok(t, "stats"), "\n")
		require.Regexp(t, `^PROJECT +TO APPROVE +SCHEDULED +DUE TODAY +QUEUED +SENDING +ACCEPTED BY CLOUD +FAILED +ON HOLD +DETACHED 24H +WAITING TASKS +OLDEST +CALLS/MIN +THROTTLED 1H +PAUSED$`, lines[0])
		require.Regexp(t, `^hq +0 +0 +\d +3 +0 +0 +0 +0 +0 +1 +\d+s +0 +0 +-$`, lines[1])
		require.Regexp(t, `^branch +0 +1 +[01] +0 .* operator: jo:\\x1b\[31m moving$`, lines[2], "nothing acts on the terminal")
		v := s.json(t, exitOK, "stats", "--project", "hq")["items"].([]any)
		require.Len(t, v, 1)
		hq := v[0].(map[string]any)
		require.InDelta(t, 3, hq["counts"].(map[string]any)["queued"], 0)
		require.Len(t, hq["buckets"], 96)
		long := strings.Repeat("no right ", 20) + "at the end"
		require.NoError(t, s.store(t).Record.PauseProject(t.Context(), "hq", tasks.PauseNoRight, 0, long))
		require.Contains(t, s.here(t).run(t, "stats").err, long+"\n  next: give the IAM user the permission, then: detachd resume hq\n", "the table cuts it")
		s.refused(t, exitUsage, "--project: there is no such project", "stats", "--project", "nowhere")
	})
}

// scraped runs a command that serves, looks at its /metrics until that has all lines,
// and interrupts it.
func (s *stage) scraped(t *testing.T, key string, lines []string, args ...string) {
	t.Helper()
	s.cloud.Fail(fakecloud.Fault{Desktop: "d2", Refuse: &fakecloud.Refusal{Code: "WKS.00010110", Message: "no address"}})
	s.detached(t, "d1", "d2")
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	at := make(chan string, 1)
	ended := make(chan result)
	told := sync.Once{}
	go func() {
		ended <- s.runWith(t, ctx, "", func(text string) {
			if m := address.FindStringSubmatch(text); m != nil {
				told.Do(func() { at <- m[1] })
			}
		}, args...)
	}()
	var addr string
	select {
	case addr = <-at:
	case r := <-ended:
		require.FailNow(t, "it does not serve", r.err)
	}
	require.Eventually(t, func() bool {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+addr+"/metrics", nil)
		require.NoError(t, err)
		if key != "" {
			req.Header.Set("Authorization", "Bearer "+key)
		}
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		page := read(resp)
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK && !slices.ContainsFunc(lines, func(line string) bool { return !strings.Contains(page, line+"\n") })
	}, time.Minute, 10*time.Millisecond)
	interrupt()
	r := <-ended
	require.Equal(t, exitOK, r.code, r.err)
}

// The server and the worker in its process have one page, which takes a key; a worker
// by itself serves one to everybody.
func TestMetricsOfServerAndWorker(t *testing.T) {
	t.Parallel()
	lines := []string{
		`detachd_build_info{version="test"} 1`, `detachd_redis_up 1`, `detachd_workers 1`,
		`detachd_desktops_total{code="",outcome="detached",project="hq"} 1`,
		`detachd_desktops_total{code="WKS.00010110",outcome="failed",project="hq"} 1`,
		`detachd_failures{class="permanent",code="WKS.00010110",project="hq"} 1`,
	}
	t.Run("serve", func(t *testing.T) {
		t.Parallel()
		s := newStage(t)
		key := strings.TrimSpace(s.ok(t, "keys", "create", "--name", "prometheus", "--role", "viewer"))
		s.scraped(t, key, lines, "serve", "--worker", "--listen", anyPort)
	})
	t.Run("worker", func(t *testing.T) {
		t.Parallel()
		newStage(t).scraped(t, "", lines, "worker", "--listen", anyPort)
	})
	newStage(t).refused(t, exitInternal, "--listen", "worker", "--listen", "nowhere:-1")
}
