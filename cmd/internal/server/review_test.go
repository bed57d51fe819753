package server

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/tasks"
)

// Who came back comes from all projects of the key, page by page and as a file, for that key
// alone; a project that cannot be read is named.
func TestWhoCameBackOverHTTP(t *testing.T) {
	t.Parallel()
	cloud, err := fakecloud.Serve(fakecloud.Config{Token: "token"}, "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(cloud.Close)
	b := newBenchOn(t, cloud.URL)
	b.srv.planPatience = time.Minute
	op := b.detached("d1") // from zoe, u1
	hq := b.cfg.Projects[0].ProjectID
	for i := range 5 {
		cloud.Add(hq, fakecloud.Desktop{ID: fmt.Sprint("new-", i), ComputerName: "=PC", Users: []fakecloud.User{{Name: "zoe", ID: "u1"}, {Name: "bob"}}})
	}
	key := b.key[access.Producer]
	a := b.do(key, "POST", "/v1/access-reviews", `{"since":"1h"}`)
	require.Equal(t, http.StatusOK, a.status, a.body)
	var x tasks.AccessReview
	require.NoError(t, json.Unmarshal([]byte(a.body), &x))
	require.Equal(t, "/v1/access-reviews/"+x.ID, a.header.Get("Location"))
	require.True(t, x.Complete)
	require.Equal(t, []int{1, 1, 1, 1}, []int{x.Desktops, x.People, x.Read, x.CameBack})
	require.Equal(t, []tasks.ReviewedAccess{{Project: "branch", Read: true}, {Project: "hq", People: 1, Read: true}}, x.Projects)
	stale := b.do(b.newKey(access.Key{Name: "stale", Role: access.Producer, Projects: []string{"hq", "gone"}}), "POST", "/v1/access-reviews", `{"since":"1h"}`)
	require.Contains(t, stale.body, `"project":"gone"`, "a project that is not configured here is not skipped without a word")
	event := b.audit()[1]
	require.Equal(t, []any{tasks.AuditPersonalData, x.ID, "branch, hq"}, []any{event.Action, event.Target, event.Project})

	seen := map[string]bool{}
	path := "/v1/access-reviews/" + x.ID
	for token, more := "", true; more; more = token != "" {
		page := b.do(key, "GET", path+"/items?page_size=2&page_token="+token, "").json(t)
		for _, item := range page["items"].([]any) {
			row := item.(map[string]any)
			seen[row["desktop_id"].(string)] = true
			require.Equal(t, []any{"zoe", "other_desktop", op}, []any{row["user"], row["how"], row["detached_operation_id"]})
		}
		token, _ = page["next_page_token"].(string)
	}
	require.Len(t, seen, 5)
	named := b.create(`{"project":"hq","desktops":["new-3"]}`)
	before := len(b.audit())
	a = b.do(key, "GET", path+"/items?format=csv", "")
	require.Equal(t, `attachment; filename="`+x.ID+`.csv"`, a.header.Get("Content-Disposition"))
	rows, err := csv.NewReader(strings.NewReader(a.body)).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 6)
	require.Equal(t, cameBackColumns, rows[0])
	require.Equal(t, []string{"came_back", "hq", "zoe", "u1", "other_desktop", "false", "new-3", "'=PC", "ATTACHED", "zoe, bob"}, rows[4][:10])
	require.Equal(t, named, rows[4][14], "the last operation that named it")
	require.Len(t, b.audit(), before+1, "a download of personal data")
	require.Equal(t, 200, b.do(key, "HEAD", path+"/items?format=csv", "").status)
	require.Len(t, b.audit(), before+1)
	require.Equal(t, 400, b.do(key, "GET", path+"/items?format=xml", "").status)

	// It is of that key, and of its projects.
	for _, of := range []string{path, path + "/items"} {
		require.Equal(t, 404, b.do(b.key[access.Admin], "GET", of, "").status)
		require.Equal(t, 403, b.do(b.key[access.Viewer], "GET", of, "").status)
	}
	bound := b.newKey(access.Key{Name: "bound", Role: access.Producer, Projects: []string{"branch"}})
	mine := b.do(bound, "POST", "/v1/access-reviews", `{"since":"1h"}`).json(t)
	require.Equal(t, []any{0., 0.}, []any{mine["people"], mine["desktops"]}, "a bound key learns nothing of other projects")
	require.Equal(t, 403, b.do(bound, "POST", "/v1/access-reviews", `{"since":"1h","project":"hq"}`).status)
	for body, why := range map[string]string{
		`{}`: "is missing", `{"since":"2199-01-01T00:00:00Z"}`: "in the future", `{"since":"2020-01-01T00:00:00Z"}`: "not in the record any more",
		`{"since":"1h","project":"nowhere"}`: "not a configured project", `{"since":"soon"}`: "or a duration such as 30d",
	} {
		a := b.do(key, "POST", "/v1/access-reviews", body)
		require.Equal(t, 400, a.status, body)
		require.Contains(t, a.body, why)
	}

	cloud.Stop()
	mine = b.do(key, "POST", "/v1/access-reviews", `{"since":"1h","project":"hq"}`).json(t)
	require.Equal(t, []any{"done", false, "hq"}, []any{mine["state"], mine["complete"], mine["project"]})
	a = b.do(key, "GET", "/v1/access-reviews/"+mine["id"].(string)+"/items?format=csv", "")
	require.Contains(t, a.body, "\nnot_read,hq,", "not as if nobody came back")
}

// A review that its server leaves is read on by another, and has no list before it is done.
func TestAReviewOutlivesItsServer(t *testing.T) {
	t.Parallel()
	b, gate, _ := planBench(t, 1)
	b.srv.planPatience = 0
	b.detached("d1")
	key := b.key[access.Producer]
	a := b.do(key, "POST", "/v1/access-reviews", `{"since":"1h"}`)
	require.Equal(t, http.StatusAccepted, a.status)
	id := a.json(t)["id"].(string)
	a = b.do(key, "GET", "/v1/access-reviews/"+id+"/items", "")
	require.Equal(t, []any{409, "review_not_done"}, []any{a.status, a.json(t)["code"]})
	second, err := app.Open(b.cfg, func(string) (string, bool) { return "", false }, "test")
	require.NoError(t, err)
	t.Cleanup(second.Close)
	keys, err := b.keys.List(t.Context())
	require.NoError(t, err)
	b.store.Close() // its reading ends, and is left
	close(gate)
	cfg := b.srv.Config
	cfg.Store = second
	as := NewInside(cfg).As(keys[slices.IndexFunc(keys, func(k access.Key) bool { return k.Role == access.Producer })], Origin{})
	var x tasks.AccessReview
	require.Eventually(t, func() bool {
		x, err = as.AccessReview(t.Context(), id)
		return err == nil && x.State == tasks.PlanDone
	}, time.Minute, 10*time.Millisecond)
	require.True(t, x.Complete)
	items, _, err := as.CameBack(t.Context(), id, 0, "")
	require.NoError(t, err)
	require.Empty(t, items)
}
