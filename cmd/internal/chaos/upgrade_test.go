package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/drill"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// earlier is the version that this one may run beside. Move it when a release is made, and keep
// the promise of docs/upgrading.md.
const earlier = "82e10879a68a2650920e6684da8ccda2d2e456c4"

// buildEarlier builds that version of detachd, once for a user: later runs find it in the cache.
func buildEarlier(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	dir := filepath.Join(cache, "detachd-test-"+earlier[:12])
	binary := filepath.Join(dir, "detachd")
	if _, err := os.Stat(binary); err == nil {
		return binary
	}
	require.NoError(t, os.MkdirAll(dir, 0o755))
	source, err := os.MkdirTemp(dir, "source-") // another process may do the same
	require.NoError(t, err)
	defer func() { _ = os.RemoveAll(source) }()
	archive := filepath.Join(source, "source.tar")
	git := func(args ...string) (string, error) {
		c := exec.CommandContext(t.Context(), "git", append([]string{"-c", "safe.directory=*"}, args...)...)
		c.Dir = "../../.." // the whole tree, not this directory of it
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if shallow, err := git("rev-parse", "--is-shallow-repository"); err != nil || strings.TrimSpace(shallow) != "false" {
		t.Skipf("there is no history here, from which an upgrade is tried (git fetch --unshallow): %v\n%s", err, shallow)
	}
	if out, err := git("archive", "-o", archive, earlier); err != nil {
		redistest.Missing(t, fmt.Sprintf("the history has no commit %s, from which an upgrade is tried: %v\n%s", earlier, err, out))
	}
	for _, args := range [][]string{{"tar", "-xf", archive}, {"go", "build", "-buildvcs=false", "-o", "detachd", "./cmd/detachd"}} {
		c := exec.CommandContext(t.Context(), args[0], args[1:]...)
		c.Dir = source
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
	}
	require.NoError(t, os.Rename(filepath.Join(source, "detachd"), binary))
	return binary
}

// upgrade is an env whose processes are of two versions.
type upgrade struct {
	*env
	t        *testing.T
	old, now string         // binaries
	version  map[string]int // of each worker: 0 old, 1 now
	random   *rand.Rand
	key      string // for the servers
	before   int    // calls of the cloud before the last list was submitted
}

// use makes a version the one that the Env starts.
func (u *upgrade) use(binary string) {
	require.NoError(u.t, os.RemoveAll(u.Binary))
	require.NoError(u.t, os.Symlink(binary, u.Binary))
}

// work starts two workers of a version, and waits until the record knows them.
func (u *upgrade) work(ctx context.Context, binary string) []*drill.Process {
	u.use(binary)
	var out []*drill.Process
	for range 2 {
		p, err := u.Start("w", "worker")
		require.NoError(u.t, err)
		if out = append(out, p); binary == u.now {
			u.version[p.Name] = 1
		}
	}
	require.NoError(u.t, drill.Until(ctx, 20*time.Millisecond, func() (bool, error) {
		known := u.known(ctx)
		return known[out[0].Name] && known[out[1].Name], nil
	}))
	return out
}

// serve starts a server of a version, and returns its URL when it is ready.
func (u *upgrade) serve(ctx context.Context, binary string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(u.t, err)
	require.NoError(u.t, l.Close())
	u.use(binary)
	_, err = u.Start("server", "serve", "--listen", l.Addr().String())
	require.NoError(u.t, err)
	url := "http://" + l.Addr().String()
	require.NoError(u.t, drill.Until(ctx, 20*time.Millisecond, func() (bool, error) {
		resp, err := http.Get(url + "/readyz")
		if err != nil {
			return false, nil
		}
		return resp.StatusCode == http.StatusOK, resp.Body.Close()
	}))
	return url
}

// run runs a command of a version.
func (u *upgrade) run(binary, stdin string, args ...string) []byte {
	u.t.Helper()
	c := exec.CommandContext(u.t.Context(), binary, append(args, "--config", filepath.Join(u.Dir, "config.yaml"))...)
	c.Env, c.Stdin = append(os.Environ(), "CLOUD_TOKEN=made-up", "DETACHD_API_KEY="+u.key), strings.NewReader(stdin)
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	require.NoError(u.t, err, "%s %v: %s%s", binary, args, out, stderr.String())
	return out
}

// detach submits desktops with the command line of a version; flags may name a server.
func (u *upgrade) detach(ctx context.Context, binary string, n int, flags ...string) {
	kinds := []drill.Kind{drill.Plain, drill.Plain, drill.Pooled, drill.GivenAwayBare, drill.Nowhere}
	var file strings.Builder
	file.WriteString("project,desktop_id\n")
	for range n {
		d, _ := u.Draw(u.random, kinds)
		if drill.Nowhere.Has(d.ID) {
			u.missing = append(u.missing, d.ID)
		}
		fmt.Fprintf(&file, "%s,%s\n", drill.Project, d.ID)
	}
	var got struct {
		Items []struct{ ID string }
	}
	u.before = u.Cloud.Calls()
	require.NoError(u.t, json.Unmarshal(u.run(binary, file.String(), append([]string{"detach", "--file", "-", "--json"}, flags...)...), &got))
	require.Len(u.t, got.Items, 1)
	op, err := u.Record.Operation(ctx, got.Items[0].ID)
	require.NoError(u.t, err)
	u.ops = append(u.ops, op)
}

// kill kills workers while calls of the last list of at least 250 desktops are on the wire.
func (u *upgrade) kill(ctx context.Context, workers []*drill.Process) {
	require.NoError(u.t, u.Cloud.Wait(ctx, func() bool { return u.Cloud.Calls() >= u.before+3 }))
	for _, w := range workers {
		w.Kill()
	}
}

// A fleet of an earlier version is upgraded one worker after the other, by kill -9, and rolled back the
// same way, while both versions submit. What must not happen does not happen, each version works on
// what the other accepted, and each verifies the evidence of the other.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	redistest.Need(t)
	old := buildEarlier(t)
	now, err := drill.Build(t.Context(), t.TempDir())
	require.NoError(t, err)
	dir, server := t.TempDir(), redistest.Start(t)
	u := &upgrade{t: t, old: old, now: now, version: map[string]int{}, random: rand.New(rand.NewPCG(1, 1))}
	u.env = &env{excused: map[*drill.Process]bool{}, mistakes: map[string]mistake{}}
	u.scenario = scenario{Site: drill.Site{Binary: filepath.Join(dir, "program"), Dir: dir, Progress: io.Discard}, Desktops: 1e6, Operations: 1}
	u.producer, err = record.NewProducer(server.Client(t), record.ProducerConfig{Projects: []string{drill.Project}})
	require.NoError(t, err)
	u.Env, err = drill.Open(u.Site, drill.Setup{
		RedisURL: server.URL(), Redis: server.Client(t),
		Cloud: fakecloud.Config{
			Seed: 1, Latency: 200 * time.Millisecond, Jitter: 400 * time.Millisecond, EarlyEffects: 0.3, KeepsTime: true,
			ReadLatency: 20 * time.Millisecond, DetachDelay: 300 * time.Millisecond,
		},
		Worker: drill.Patient + ", shutdown_timeout: 8s", Limits: "max_in_flight: 2, call_timeout: 3s",
	})
	require.NoError(t, err)
	t.Cleanup(u.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	require.NoError(t, u.Do(ctx, u.roll))
	require.NoError(t, u.judge(ctx))
	var text strings.Builder
	u.verdict.print(&text)
	t.Log(text.String())
	require.Zero(t, u.verdict.violations().Count())
	require.NotZero(t, u.verdict.GivenBack)
	u.bothRead(ctx)
}

func (u *upgrade) roll(ctx context.Context) error {
	const many = 700
	u.working = ctx
	// together submits until workers of both versions have made calls of one operation: on a slow machine
	// the worker that is left has finished the last one when those of the other version have started.
	together := func() {
		for !u.shared(ctx, u.ops[len(u.ops)-1]) {
			u.detach(ctx, u.old, many)
		}
	}
	submit := func(n int) { require.NoError(u.t, u.submit(ctx, u.random, n, 30)) } // a Go program with the library of now
	u.key = strings.TrimSpace(string(u.run(u.old, "", "keys", "create", "--name", "hr", "--role", "admin")))
	oldServer, nowServer := u.serve(ctx, u.old), u.serve(ctx, u.now)
	first := u.work(ctx, u.old)
	u.detach(ctx, u.old, many, "--server", nowServer)
	u.kill(ctx, first[:1])
	second := u.work(ctx, u.now)
	together()
	u.detach(ctx, u.old, 250)
	u.detach(ctx, u.now, 250, "--server", oldServer)
	submit(0)
	u.kill(ctx, first[1:])
	// Only the new ones are left, and only the old command line submits.
	u.detach(ctx, u.old, 20)
	if err := u.sealed(ctx, u.ops); err != nil {
		return err
	}
	// Back.
	u.detach(ctx, u.now, many)
	u.kill(ctx, second[:1])
	u.work(ctx, u.old)
	together()
	u.detach(ctx, u.now, 250)
	u.detach(ctx, u.old, 250)
	submit(2)
	u.kill(ctx, second[1:])
	u.detach(ctx, u.now, 20)
	return u.settle(ctx)
}

// shared waits until workers of both versions have made calls of an operation, or it has ended.
func (u *upgrade) shared(ctx context.Context, op record.Operation) bool {
	var by [2]bool
	require.NoError(u.t, drill.Until(ctx, 20*time.Millisecond, func() (bool, error) {
		now, err := u.Record.Operation(ctx, op.ID)
		if err != nil {
			return false, err
		}
		calls, err := u.Record.Calls(ctx, op.ID)
		for _, c := range calls {
			by[u.version[c.Worker]] = true
		}
		return by[0] && by[1] || now.Sealed(), err
	}))
	return by[0] && by[1]
}

// bothRead has each version write the evidence of every operation, and verify that of the other.
func (u *upgrade) bothRead(ctx context.Context) {
	for _, op := range append(u.ops, u.undos...) {
		var rows [2]int
		for i, writer := range []string{u.old, u.now} {
			path := filepath.Join(u.Dir, fmt.Sprintf("%s-%d.json", op.ID, i))
			text := u.run(writer, "", "report", op.ID, "--format", "json")
			require.NoError(u.t, os.WriteFile(path, text, 0o600))
			var got struct{ Rows int }
			require.NoError(u.t, json.Unmarshal(text, &got))
			rows[i] = got.Rows
			for _, reader := range []string{u.old, u.now} {
				u.run(reader, "", "verify", path, "--record")
			}
		}
		require.Equal(u.t, [2]int{op.Total, op.Total}, rows)
	}
	report, err := u.Record.RepairReport(ctx)
	require.NoError(u.t, err)
	require.Zero(u.t, report.Unreadable)
	for _, binary := range []string{u.old, u.now} {
		u.run(binary, "", "doctor")
	}
}
