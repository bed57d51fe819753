package server

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
)

// What a person still has comes from all projects of the key, with what was done last; a
// project that cannot be read is named, and is never nothing.
func TestAccessOfAPersonOverHTTP(t *testing.T) {
	t.Parallel()
	cloud, err := fakecloud.Serve(fakecloud.Config{Token: "token"}, "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(cloud.Close)
	b := newBenchOn(t, cloud.URL)
	hq, branch := b.cfg.Projects[0].ProjectID, b.cfg.Projects[1].ProjectID
	cloud.Add(hq, fakecloud.Desktop{ID: "d1", ComputerName: "PC-1", Users: []fakecloud.User{{Name: "zoe: ü/2"}}})
	cloud.Add(branch, fakecloud.Desktop{ID: "d2", Users: []fakecloud.User{{Name: "zoe: ü/2"}}})
	b.create(`{"project":"hq","desktops":["d1"]}`)
	last := b.create(`{"project":"hq","desktops":["d1"],"reason":"again"}`)
	ask := func(key, name string) (out tasks.Access) {
		t.Helper()
		a := b.do(key, "GET", "/v1/users/"+url.PathEscape(name)+"/access", "")
		require.Equal(t, http.StatusOK, a.status, a.body)
		require.NoError(t, json.Unmarshal([]byte(a.body), &out))
		return out
	}
	key := b.key[access.Producer]
	got := ask(key, "zoe: ü/2")
	require.True(t, got.Complete)
	require.WithinDuration(t, time.Now(), got.ReadAt, time.Minute)
	require.Len(t, got.Items, 2)
	require.Equal(t, []string{"hq", "d1", "PC-1"}, []string{got.Items[0].Project, got.Items[0].DesktopID, got.Items[0].ComputerName})
	require.Equal(t, last, got.Items[0].LastOperationID)
	require.Empty(t, got.Items[1].LastOperationID)
	require.Equal(t, []tasks.AccessRead{{Project: "hq", Read: true, Known: true}, {Project: "branch", Read: true, Known: true}}, got.Projects)

	got = ask(b.newKey(access.Key{Name: "bound", Role: access.Producer, Projects: []string{"branch"}}), "zoe: ü/2")
	require.Len(t, got.Items, 1)
	require.Len(t, got.Projects, 1, "a bound key learns nothing of other projects")

	got = ask(b.newKey(access.Key{Name: "stale", Role: access.Producer, Projects: []string{"hq", "gone"}}), "nobody")
	require.False(t, got.Complete, "a project of the key that is not configured here cannot be read")
	require.Equal(t, []bool{true, false}, []bool{got.Projects[0].Read, got.Projects[1].Read})
	require.Contains(t, got.Projects[1].Error, "cannot read this project")

	got = ask(key, "nobody")
	require.True(t, got.Complete)
	require.Equal(t, []tasks.AccessDesktop{}, got.Items)
	require.False(t, got.Projects[0].Known)

	cloud.Stop()
	got = ask(key, "zoe: ü/2")
	require.False(t, got.Complete)
	require.NotEmpty(t, got.Projects[0].Error)
	require.False(t, got.Projects[0].Read)
	b.srv.accessPatience = time.Nanosecond
	got = ask(key, "nobody")
	require.False(t, got.Complete)
	require.Contains(t, got.Projects[1].Error, "took too long")

	require.Equal(t, 400, b.do(key, "GET", "/v1/users/%0A/access", "").status)
	require.Equal(t, 403, b.do(b.key[access.Viewer], "GET", "/v1/users/zoe/access", "").status)
}
