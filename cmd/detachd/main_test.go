package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/redistest"
)

// The test binary is the program itself when asked to be, so that what runs is
// under the race detector too and needs no build of its own.
const beProgram = "DETACHD_TEST_BE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(beProgram) != "" {
		main() // exits
	}
	os.Exit(m.Run())
}

// process is a program that runs until the test ends it.
type process struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = env
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	if args[0] == "worker" || args[0] == "serve" { // the log is what they say
		out, err = cmd.StderrPipe()
		require.NoError(t, err)
	}
	require.NoError(t, cmd.Start())
	p := &process{cmd, bufio.NewReader(out)}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return p
}

// until reads lines up to one that has text, and gives that.
func (p *process) until(t *testing.T, text string) string {
	t.Helper()
	for {
		line, err := p.out.ReadString('\n')
		require.NoError(t, err, "it ended without saying %q", text)
		if strings.Contains(line, text) {
			return strings.TrimSpace(line)
		}
	}
}

// terminate ends it as systemd and Kubernetes do, and gives what it still said.
func (p *process) terminate(t *testing.T) string {
	t.Helper()
	return p.end(t, syscall.SIGTERM)
}

func (p *process) end(t *testing.T, sig syscall.Signal) string {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(sig))
	rest, err := io.ReadAll(p.out)
	require.NoError(t, err)
	require.NoError(t, p.cmd.Wait(), "it ends with 0")
	return string(rest)
}

func TestWorkerProcessesDoWhatIsHandedOver(t *testing.T) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP) // or the workers ignore it, if the tests run under nohup
	redis := redistest.Start(t)
	env := append(os.Environ(), "DETACHD_REDIS_URL="+redis.URL(), "CLOUD_TOKEN=made-up", beProgram+"=1")
	cloud := start(t, env, "fakecloud", "--auto-create", "--latency", "5ms")
	config := filepath.Join(t.TempDir(), "detachd.yaml")
	text := fmt.Sprintf(`worker: {first_look: 500ms}
credentials:
- {name: main, kind: token, token: {env: CLOUD_TOKEN}, calls_per_minute: 0, reads_per_minute: 0}
projects:
- alias: hq
  project_id: "00000000000000000000000000000001"
  endpoint: %s
  credentials: main
  approval: {percent: 100}
`, cloud.until(t, "http://"))
	require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
	env = append(env, "DETACHD_CONFIG="+config)
	run := func(stdin string, args ...string) string {
		cmd := exec.Command(os.Args[0], args...)
		cmd.Env, cmd.Stdin = env, strings.NewReader(stdin)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		require.NoError(t, err, "%v: %s", args, stderr.String())
		return string(out)
	}
	require.Equal(t, "detachd dev\n", run("", "version"))
	workers := []*process{start(t, env, "worker"), start(t, env, "worker")}
	for _, w := range workers {
		w.until(t, "worker started")
	}
	require.Contains(t, run("", "doctor"), "2 running")

	var csv strings.Builder
	csv.WriteString("desktop_id,project\n")
	for i := range 2500 {
		fmt.Fprintf(&csv, "d%d,hq\n", i)
	}
	var got struct {
		Operations []struct {
			Counts map[string]int `json:"counts"`
		} `json:"items"`
	}
	require.NoError(t, json.Unmarshal([]byte(run(csv.String(), "detach", "--file", "-", "--wait", "--json")), &got))
	require.Equal(t, 2500, got.Operations[0].Counts["detached"])
	for i, w := range workers {
		require.Contains(t, w.end(t, []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP}[i]), "worker stopped")
	}
	require.NotContains(t, run("", "doctor"), "2 running")
	cloud.terminate(t)
}

// A TZ means what it says, and one that cannot be loaded is refused. The zones are in
// the program, as containers have none.
func TestTimeZone(t *testing.T) {
	redis := redistest.Start(t)
	config := filepath.Join(t.TempDir(), "detachd.yaml")
	require.NoError(t, os.WriteFile(config, []byte(`{credentials: [{name: main, kind: token, token: {env: CLOUD_TOKEN}}],
  projects: [{alias: hq, project_id: "00000000000000000000000000000001", endpoint: "http://127.0.0.1:1", credentials: main}]}`), 0o600))
	run := func(tz string) (string, error) {
		cmd := exec.Command(os.Args[0], "detach", "d1", "--project", "hq", "--due-at", "2199-11-30")
		cmd.Env = []string{beProgram + "=1", "TZ=" + tz, "DETACHD_CONFIG=" + config, "CLOUD_TOKEN=x", "USER=jo", "DETACHD_REDIS_URL=" + redis.URL()}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run("Asia/Shanghai")
	require.NoError(t, err, out)
	require.Contains(t, out, "it starts 2199-11-30 00:00:00 +08:00")
	out, err = run("Europe/Berlni")
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 2, exit.ExitCode())
	require.Contains(t, out, `TZ="Europe/Berlni" cannot be loaded`)
	main, err := parser.ParseFile(token.NewFileSet(), "main.go", nil, parser.ImportsOnly)
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(main.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"time/tzdata"` }))
}

// Whatever ends dev also ends the redis-server that it started.
func TestDevLeavesNoRedisServer(t *testing.T) {
	redistest.Need(t)
	signals := []syscall.Signal{syscall.SIGTERM}
	if runtime.GOOS == "linux" { // elsewhere a process is not ended with one that is killed
		signals = append(signals, syscall.SIGKILL)
	}
	for _, sig := range signals {
		dev := start(t, append(os.Environ(), beProgram+"=1", "TMPDIR="+t.TempDir()), "dev")
		socket := strings.TrimPrefix(strings.Fields(dev.until(t, "redis "))[1], "unix://")
		conn, err := net.Dial("unix", socket)
		require.NoError(t, err)
		_, err = conn.Write([]byte("PING\r\n"))
		require.NoError(t, err)
		answer := bufio.NewReader(conn)
		line, err := answer.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "+PONG\r\n", line)
		require.NoError(t, dev.cmd.Process.Signal(sig))
		_, err = answer.ReadString('\n') // returns when the server is gone
		require.Error(t, err)
	}
}
