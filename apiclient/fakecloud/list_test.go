package fakecloud_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

func TestDesktopDetail(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{})
	half := 50
	c.Add(proj, fakecloud.Desktop{ID: "a", ComputerName: "PC1", Type: fakecloud.Shared, TaskStatus: "migrating", Process: &half,
		Frozen: true, Users: []fakecloud.User{{ID: "1", Name: "ann", Domain: "d.local"}, {Name: "ops", Type: "GROUP"}}})

	for _, path := range []string{"/desktops/a", "/desktops/detail"} {
		var body map[string]any
		require.NoError(t, json.Unmarshal([]byte(c.get(path).body), &body))
		d, single := body["desktop"].(map[string]any)
		if !single {
			require.EqualValues(t, 1, body["total_count"])
			d = body["desktops"].([]any)[0].(map[string]any)
		}
		require.Equal(t, "a", d["desktop_id"])
		require.Equal(t, "PC1", d["computer_name"])
		require.Equal(t, "SHARED", d["desktop_type"])
		require.Equal(t, "ATTACHED", d["attach_state"])
		require.Equal(t, "ACTIVE", d["status"])
		require.Equal(t, "migrating", d["task_status"])
		require.EqualValues(t, 50, d["process"])
		require.Equal(t, true, d["is_freeze"])
		require.Equal(t, false, d["in_maintenance_mode"])
		require.Equal(t, "REGISTERED", d["login_status"])
		require.Equal(t, "ann", d["user_name"])
		require.Equal(t, []any{"ann"}, d["user_list"])
		require.Equal(t, []any{"ops"}, d["user_group_list"])
		require.Equal(t, []any{
			map[string]any{"user_id": "1", "user_name": "ann", "domain": "d.local", "user_group": "users", "type": "USER"},
			map[string]any{"user_id": "id-ops", "user_name": "ops", "domain": "", "user_group": "users", "type": "GROUP"},
		}, d["attach_user_infos"])
		require.IsType(t, map[string]any{}, d["addresses"])
	}
	c.Update(proj, "a", func(d *fakecloud.Desktop) { d.Process = nil })
	require.Contains(t, c.get("/desktops/a").body, `"process":null`)
}

func TestUnknownDesktop(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{})
	got := c.get("/desktops/nobody")
	require.Equal(t, 404, got.status)
	require.JSONEq(t, `{"error_code":"WKS.00211902","error_msg":"The desktop nobody does not exist."}`, got.body)
	ids, total := c.list("desktop_id=nobody")
	require.Empty(t, ids)
	require.Zero(t, total)
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{})
	c.Add(proj,
		fakecloud.Desktop{ID: "a", ComputerName: "PC1", Users: []fakecloud.User{{Name: "ann"}}, PoolID: "p1"},
		fakecloud.Desktop{ID: "b", ComputerName: "PC2", Users: []fakecloud.User{{Name: "anna"}, {Name: "bob"}}, Type: fakecloud.Shared},
		fakecloud.Desktop{ID: "c", ComputerName: "MAC", AttachState: fakecloud.Unattached, Status: fakecloud.Hibernated})
	for query, want := range map[string][]string{
		"":                                 {"a", "b", "c"},
		"desktop_id=c&desktop_id=a":        {"c", "a"},
		"desktop_id=c,a":                   {},
		"desktop_id=a&desktop_id=a":        {"a"},
		"user_names=ann":                   {"a"},
		"user_names=ann&user_names=bob":    {"a", "b"},
		"user_name=ann":                    {"a", "b"},
		"user_name=ann&user_names=bob":     {"b"},
		"status=HIBERNATED":                {"c"},
		"desktop_type=SHARED":              {"b"},
		"computer_name=PC":                 {"a", "b"},
		"user_attached=true":               {"a", "b"},
		"user_attached=false":              {"c"},
		"pool_id=p1":                       {"a"},
		"pool_id=p1&desktop_id=b":          {},
		"user_names=ann&status=HIBERNATED": {},
		"desktop_id=b&user_names=ann":      {},
	} {
		ids, total := c.list(query)
		require.Equal(t, want, ids, query)
		require.Equal(t, len(want), total, query)
	}
	require.Equal(t, 400, c.get("/desktops/detail?"+strings.Repeat("desktop_id=x&", 101)).status)
	require.Equal(t, 400, c.get("/desktops/detail?"+strings.Repeat("user_names=x&", 101)).status)
}

func TestFuzzyUserNames(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{FuzzyUserNames: true})
	c.Add(proj, fakecloud.Desktop{ID: "a", Users: []fakecloud.User{{Name: "anna"}}})
	ids, _ := c.list("user_names=ann")
	require.Equal(t, []string{"a"}, ids)
}

func TestPaging(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{})
	for i := range 501 {
		c.Add(proj, fakecloud.Desktop{ID: fmt.Sprintf("d%03d", i)})
	}
	c.Remove(proj, "d000")
	c.Add(proj, fakecloud.Desktop{ID: "last"})
	ids, total := c.list("")
	require.Len(t, ids, 500)
	require.Equal(t, "d001", ids[0])
	require.Equal(t, 501, total)
	ids, total = c.list("offset=500&limit=10")
	require.Equal(t, []string{"last"}, ids)
	require.Equal(t, 501, total)
	ids, total = c.list("offset=7&limit=2&computer_name=PC-d")
	require.Equal(t, []string{"d008", "d009"}, ids)
	require.Equal(t, 500, total)
	ids, _ = c.list("offset=9999")
	require.Empty(t, ids)
	ids, _ = c.list("limit=0")
	require.Empty(t, ids)
	for _, query := range []string{"limit=501", "limit=-1", "offset=-1", "offset=x"} {
		require.Equal(t, 400, c.get("/desktops/detail?"+query).status, query)
	}
}

func TestAutoCreate(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{AutoCreate: true})
	require.Contains(t, c.get("/desktops/0123456789abcdef").body, `"user_name":"user-6789abcdef"`)
	ids, _ := c.list("desktop_id=b")
	require.Equal(t, []string{"b"}, ids)
	b, found := c.Get(proj, "b")
	require.True(t, found)
	require.Equal(t, fakecloud.Dedicated, b.Type)
	require.Equal(t, fakecloud.Attached, b.AttachState)
	require.Len(t, b.Users, 1)

	require.Equal(t, 200, c.detach("b", "new").status)
	require.Equal(t, fakecloud.Detached, c.state("b"))
	d, _ := c.Get(proj, "new")
	require.Equal(t, fakecloud.Desktop{ID: "new", ComputerName: "PC-new", Type: "DEDICATED", Status: "SHUTOFF",
		LoginStatus: "UNREGISTER", AttachState: "DEATTACHED"}, d)

	c.Remove(proj, "b")
	require.Contains(t, c.detach("b").body, fakecloud.CodeNotFound, "what was removed stays away")
}
