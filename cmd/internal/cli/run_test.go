package cli

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// untilSaid runs a command that goes on until it is interrupted, which happens
// once it has said the text.
func (s *stage) untilSaid(t *testing.T, text string, args ...string) result {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	return s.runWith(t, ctx, "", func(said string) {
		if strings.Contains(said, text) {
			interrupt()
		}
	}, args...)
}

func TestWorkerRunsUntilInterrupted(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	id := s.detached(t, "d1")
	r := s.untilSaid(t, "operation ended", "worker")
	require.Equal(t, exitOK, r.code, r.err)
	require.Empty(t, r.out, "the log goes to stderr")
	require.Contains(t, r.err, `"operation":"`+id+`"`)
	require.Contains(t, r.err, "worker stopped")
	require.Equal(t, 1, s.operations(t)[0].Counts.Detached)
}

func TestDemoGoesAsPlanned(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	evidence := filepath.Join(t.TempDir(), "evidence.json")
	r := s.run(t, "demo", "--json", "--seed", "7", "--report", evidence)
	require.Equal(t, exitOK, r.code, r.out+r.err)
	v := decodeOne(t, r.out)
	require.Equal(t, true, v["as_planned"])
	require.NotEmpty(t, v["job_ids"])
	for _, list := range []string{"failures", "held"} {
		require.NotEmpty(t, v[list])
		for _, f := range v[list].([]any) {
			require.NotEmpty(t, f.(map[string]any)["planned"])
		}
	}
	require.Len(t, v["access_removed"], 3)
	require.Contains(t, s.ok(t, "verify", evidence), "every step was replayed")
	statuses := v["cloud"].(map[string]any)["detach_calls_by_status"].(map[string]any)
	for _, status := range []string{"200", "400", "409", "429"} {
		require.NotEmpty(t, statuses[status], status)
	}
	require.Contains(t, r.err, "forgotten")
	require.NotContains(t, r.err, "detach call\"", "the log is for --verbose")
}

func TestDemoOfAnotherFile(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r := s.run(t, "demo", "--file", s.file(t, "project,desktop_id\nlab,d1\nlab,d2\nlab,d3\nlab,d4\nlab,d5\n"), "--verbose")
	require.Equal(t, exitOK, r.code, r.out+r.err)
	require.Contains(t, r.out, "detached")
	require.Contains(t, r.out, "All of it is as planned: 1 failure")
	require.Contains(t, r.err, "operation ended")
	s.refused(t, exitUsage, "1 bad row", "demo", "--file", s.file(t, "project,desktop_id\nlab,d1\nlab,\n"))
	s.refused(t, exitUsage, "no such file", "demo", "--file", "/nowhere")
}

func TestDemoThatIsInterruptedSaysSo(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r := s.untilSaid(t, "are going to fail", "demo", "--json")
	require.NotEqual(t, exitOK, r.code)
}

func TestDevIsUsableFromAnotherTerminal(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	other := &stage{env: map[string]string{}}
	tried := false
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	r := s.runWith(t, ctx, "", func(said string) {
		_, rest, ok := strings.Cut(said, "DETACHD_CONFIG=")
		if tried || !ok {
			return
		}
		tried = true
		go func() {
			defer interrupt()
			other.env["DETACHD_CONFIG"] = strings.Fields(rest)[0]
			r := other.run(t, "detach", "--project", "hq", "d1", "--wait")
			if r.code != exitOK {
				t.Errorf("%d: %s", r.code, r.err)
			}
		}()
	}, "dev")
	require.Equal(t, exitOK, r.code, r.err)
	require.True(t, tried, r.err)
	require.Contains(t, r.err, "FORGOTTEN")
	require.NoFileExists(t, other.env["DETACHD_CONFIG"])
}

func TestFakecloudPrintsItsAddress(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	r := s.runWith(t, ctx, "", nil, "fakecloud", "--latency", "1ms", "--auto-create")
	require.Equal(t, exitOK, r.code)
	require.Regexp(t, `^http://127\.0\.0\.1:\d+\n$`, r.out)
	s.refused(t, exitInternal, "--listen", "fakecloud", "--listen", "nowhere:-1")
}
