package cli

import (
	"context"
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/deploy"
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
	require.Contains(t, r.err, "all data is deleted")
	require.NotContains(t, r.err, "detach call\"", "the log is for --verbose")
}

func TestDemoOfAnotherFile(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r := s.run(t, "demo", "--file", s.file(t, "project,desktop_id\nlab,d1\nlab,d2\nlab,d3\nlab,d4\nlab,d5\n"), "--verbose")
	require.Equal(t, exitOK, r.code, r.out+r.err)
	require.Contains(t, r.out, "detached")
	require.Contains(t, r.out, "Everything as planned: 1 failure")
	require.Contains(t, r.err, "operation ended")
	s.refused(t, exitUsage, "1 invalid row", "demo", "--file", s.file(t, "project,desktop_id\nlab,d1\nlab,\n"))
	s.refused(t, exitUsage, "no such file", "demo", "--file", "/nowhere")
}

func TestDemoThatIsInterruptedSaysSo(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r := s.untilSaid(t, "planned: ", "demo", "--json")
	require.NotEqual(t, exitOK, r.code)
}

// inDev runs detachd dev with flags while do works with its configuration, given what
// it had said by then.
func inDev(t *testing.T, do func(other *stage, said string), flags ...string) {
	t.Helper()
	inDevWith(t, newStage(t), do, flags...)
}

func inDevWith(t *testing.T, s *stage, do func(other *stage, said string), flags ...string) {
	t.Helper()
	other := &stage{env: map[string]string{}}
	tried := false
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var mu sync.Mutex
	notes := ""
	r := s.runWith(t, ctx, "", func(said string) {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(said, "# the whole list") { // stderr; the configuration is on stdout
			notes = said
		}
		_, rest, ok := strings.Cut(said, "DETACHD_CONFIG=")
		if tried || !ok {
			return
		}
		tried = true
		go func(said string) {
			defer interrupt()
			other.env["DETACHD_CONFIG"] = strings.Fields(rest)[0]
			do(other, said)
		}(notes)
	}, append([]string{"dev"}, flags...)...)
	require.Equal(t, exitOK, r.code, r.err)
	require.True(t, tried, r.err)
	require.Contains(t, r.err, "# the whole list")
	require.NoFileExists(t, other.env["DETACHD_CONFIG"])
}

// What dev says that one can try is true, word for word.
func TestDevIsTriedAsItSays(t *testing.T) {
	t.Parallel()
	inDev(t, func(other *stage, said string) {
		var hints [][2]string
		for line := range strings.Lines(said) {
			if command, means, ok := strings.Cut(strings.TrimSpace(line), " # "); ok {
				hints = append(hints, [2]string{strings.TrimSpace(command), strings.TrimSpace(means)})
			}
		}
		try := func(hint [2]string) {
			args := strings.Fields(strings.ReplaceAll(hint[0], "deploy/examples", "../../../deploy/examples"))[1:]
			want := exitOK
			if strings.Contains(hint[1], "on hold") {
				want = exitHeld
			}
			if r := other.run(t, args...); r.code != want {
				t.Errorf("%v: %d: %s%s", hint, r.code, r.out, r.err)
			}
		}
		if len(hints) != 5 {
			t.Errorf("%d hints: %s", len(hints), said)
			return
		}
		var each sync.WaitGroup
		for _, hint := range hints[:4] {
			each.Go(func() { try(hint) })
		}
		each.Wait()
		try(hints[4])
	})
}

// dev has what it was asked to create and nothing else.
func TestDevHasWhatIsCreated(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "more.csv")
	require.NoError(t, os.WriteFile(file, []byte("desktop_id,project,user\nmine,branch,zoe\nours,hq,zoe\nours,hq,ann\n"), 0o600))
	inDev(t, func(other *stage, _ string) {
		want := map[string]int{
			"--project branch mine --expected-user zoe": exitOK, "--project branch mine-not": exitHeld, "--project hq mine": exitHeld,
			"--project hq ours": exitHeld, "--project hq desktop-2 --expected-user user-2": exitOK, "--project branch desktop-1": exitOK,
			"--project hq desktop-3": exitHeld, "--project hq --user nobody.knows": exitHeld,
		}
		var each sync.WaitGroup
		for flags, code := range want {
			each.Go(func() {
				if r := other.run(t, append([]string{"detach", "--wait"}, strings.Fields(flags)...)...); r.code != code {
					t.Errorf("%s: %d: %s%s", flags, r.code, r.out, r.err)
				}
			})
		}
		each.Wait()
	}, "--desktops", "2", "--list", file)
}

func TestDevRefusesAListThatCannotBeCreated(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.refused(t, exitUsage, "1 invalid row", "dev", "--list", s.file(t, "project,desktop_id\nelsewhere,d1\n"))
	s.refused(t, exitUsage, "no such file", "dev", "--list", "/nowhere")
}

// Every desktop of the example list exists, with whom the list names on it.
func TestDevSceneIsTheExampleList(t *testing.T) {
	t.Parallel()
	p := Program{}
	scene, first, err := p.devScene(devOptions{})
	require.NoError(t, err)
	cloud := fakecloud.New(fakecloud.Config{})
	scene.stage(cloud, devProjects)
	rows, err := csv.NewReader(strings.NewReader(deploy.Leavers)).ReadAll()
	require.NoError(t, err)
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	require.Equal(t, rows[1][column["employee"]], first.User)
	for _, row := range rows[1:] {
		d, exists := cloud.Get(devProjects[row[column["project"]]], row[column["desktop_id"]])
		require.True(t, exists, row)
		require.True(t, has(d, row[column["employee"]]), row)
	}
	team, _ := cloud.Get(devProjects["hq"], devTeam)
	require.Equal(t, fakecloud.Shared, team.Type)
	require.Len(t, cloud.Desktops(devProjects["hq"]), 266+1)
	require.Len(t, cloud.Desktops(devProjects["branch"]), 154+1)
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

// The fake cloud that runs alone has what it is told to create, and no more.
func TestFakecloudHasWhatIsCreated(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	const id = "0123456789abcdef0123456789abcdef"
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	s.runWith(t, ctx, "", func(said string) {
		if !strings.HasPrefix(said, "http://") {
			return
		}
		go func() {
			defer interrupt()
			c, err := apiclient.New(apiclient.Config{ProjectID: id, Endpoint: strings.TrimSpace(said), Auth: apiclient.StaticToken("any")})
			if err != nil {
				t.Error(err)
				return
			}
			list, err := c.Desktops(ctx, []string{"desktop-1", "desktop-2", "desktop-3"})
			if err != nil || len(list) != 2 || list[1].Users[0].Name != "user-2" {
				t.Errorf("%v, %v", list, err)
			}
		}()
	}, "fakecloud", "--desktops", "2", "--project-id", id)
}
