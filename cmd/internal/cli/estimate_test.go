package cli

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks/api"
)

// Projects of one credential share its calls; the slowest credential decides.
func TestHowLong(t *testing.T) {
	t.Parallel()
	project := func(alias, credential string, perMinute int) api.Project {
		return api.Project{Alias: alias, Limits: api.Limits{Credential: credential, CallsPerMinute: perMinute}}
	}
	projects := []api.Project{project("hq", "main", 100), project("branch", "main", 100), project("lab", "lab", 10), project("free", "free", 0)}
	longest := func(desktops map[string]int) (text string) {
		var out strings.Builder
		p := &Program{Stderr: &out}
		p.sayLongest(estimates(desktops, projects, time.Now()))
		return out.String()
	}
	for want, desktops := range map[string]map[string]int{
		"about 9 minutes at 100 calls a minute\n":                                 {"hq": 90_000},
		"about 10 minutes at 100 calls a minute\n":                                {"hq": 90_001},
		"about 11 minutes at 100 calls a minute, after 900 of other operations\n": {"hq": 90_000, "branch": 20_000},
		"about 20 minutes at 10 calls a minute\n":                                 {"hq": 90_000, "lab": 20_000},
		"": {"free": 100_000, "unknown": 100_000},
	} {
		require.Equal(t, want, longest(desktops), desktops)
	}
	require.Empty(t, longest(nil))
}

// A long list is answered with how long it takes at the limit.
func TestDetachSaysHowLong(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	text, err := os.ReadFile(s.config)
	require.NoError(t, err)
	text = bytes.Replace(text, []byte("calls_per_minute: 0"), []byte("calls_per_minute: 1"), 1)
	require.NoError(t, os.WriteFile(s.config, text, 0o600))
	var list strings.Builder
	list.WriteString("desktop_id\n")
	for i := range 250 {
		fmt.Fprintf(&list, "d%d\n", i)
		s.cloud.Add(hqID, fakecloud.Desktop{ID: fmt.Sprintf("d%d", i), Users: []fakecloud.User{{Name: "zoe"}}})
	}
	plan := s.runWith(t, t.Context(), list.String(), nil, "detach", "--project", "hq", "--file", "-", "--plan")
	require.Contains(t, plan.err, "about 3 minutes at 1 call a minute")
	r := s.runWith(t, t.Context(), list.String(), nil, "detach", "--project", "hq", "--file", "-")
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.err, "about 3 minutes at 1 call a minute")
	require.Contains(t, s.run(t, "detach", "--project", "hq", "d1").err, "about 4 minutes at 1 call a minute, after 3 of other operations")
	require.Regexp(t, `estimate +about 3 minutes at 1 call a minute, once a worker runs\n`, s.ok(t, "status", s.operations(t)[1].ID))
}
