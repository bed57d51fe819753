package cli

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

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
	type by = map[string]int
	for _, x := range []struct {
		desktops           by
		minutes, perMinute int
	}{
		{by{"hq": 90_000}, 9, 100},
		{by{"hq": 90_001}, 10, 100},
		{by{"hq": 90_000, "branch": 20_000}, 11, 100},
		{by{"hq": 90_000, "lab": 20_000}, 20, 10},
		{by{"free": 100_000, "unknown": 100_000}, 0, 0},
		{nil, 0, 0},
	} {
		minutes, perMinute := estimate(x.desktops, projects)
		require.Equal(t, []int{x.minutes, x.perMinute}, []int{minutes, perMinute}, x.desktops)
	}
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
	require.Contains(t, r.err, "about 3 minutes at 1 call a minute, each of up to 100 desktops")
	require.NotContains(t, s.run(t, "detach", "--project", "hq", "d1").err, "a minute")
}
