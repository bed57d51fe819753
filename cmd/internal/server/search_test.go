package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks/api"
)

func TestSearchOverHTTP(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	hq := b.create(`{"project":"hq","desktops":["d1","d2"],"expected_users":{"d1":["Zoe"]},"users":["ann"]}`)
	b.create(`{"project":"branch","desktops":["d1","d3"],"expected_users":{"d3":["zoe"]}}`)
	found := func(key, q string) (out []string) {
		for token := ""; ; {
			a := b.do(key, "GET", "/v1/desktops?page_size=1&q="+q+"&page_token="+token, "")
			require.Equal(t, http.StatusOK, a.status, a.body)
			v := a.json(t)
			for _, x := range v["items"].([]any) {
				out = append(out, x.(map[string]any)["desktop"].(map[string]any)["id"].(string))
			}
			if token, _ = v["next_page_token"].(string); token == "" {
				return out
			}
		}
	}
	all, one := b.key[access.Viewer], b.newKey(access.Key{Name: "one", Role: access.Viewer, Projects: []string{"hq"}})
	require.ElementsMatch(t, []string{"d1", "d3"}, found(all, "ZOE"))
	require.Equal(t, []string{"d1"}, found(one, "zoe"), "rows that the key may not see are omitted")
	require.Equal(t, []string{"d1", "d1"}, found(all, "D1"))
	require.Equal(t, []string{"user:ann"}, found(all, "Ann%20"))
	require.Empty(t, found(all, "zo"), "whole names only")
	for _, bad := range []string{"", "?q=%20", "?q=a&page_token=x", "?q=a&page_token=" + hq + ".0", "?q=a&page_token=.-1"} {
		require.Equal(t, http.StatusBadRequest, b.do(all, "GET", "/v1/desktops"+bad, "").status, bad)
	}
}

// One search finds things of every kind by how they begin, and a bound key only its own.
func TestFindOverHTTP(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	hq := b.create(`{"project":"hq","users":["Zoe.Leaver"],"computers":["ZOE-PC"],"desktops":["d1"],"ticket":"HR-7"}`, "Idempotency-Key", "a")
	branch := b.create(`{"project":"branch","users":["zoe.other"],"ticket":"HR-7"}`, "Idempotency-Key", "b")
	b.failed("branch", "d9")
	redrive := b.do(b.key[access.Operator], "POST", "/v1/redrives", `{"filter":{"project":"branch"},"per_second":1}`).json(t)["id"].(string)
	bound := b.newKey(access.Key{Name: "bound", Role: access.Viewer, Projects: []string{"hq"}})
	find := func(key, text string) (out api.Found) {
		t.Helper()
		a := b.do(key, "GET", "/v1/search?q="+url.QueryEscape(text), "")
		require.Equal(t, 200, a.status, a.body)
		require.NoError(t, json.Unmarshal([]byte(a.body), &out))
		require.Equal(t, text, out.Query)
		return out
	}
	key := b.key[access.Viewer]
	people := func(x api.Found) (out []string) {
		for _, p := range x.People.Items {
			out = append(out, p.Name)
		}
		return out
	}
	operations := func(x api.Found) (out []string) {
		for _, op := range x.Operations.Items {
			out = append(out, op.ID)
		}
		return out
	}
	require.Equal(t, []string{"Zoe.Leaver", "zoe.other"}, people(find(key, "ZOE.")))
	require.Equal(t, []string{"Zoe.Leaver"}, people(find(bound, "ZOE.")))
	require.ElementsMatch(t, []string{hq, branch}, operations(find(key, "HR-7")))
	require.Equal(t, []string{hq}, operations(find(bound, "HR-7")))
	for _, n := range []int{6, 12, len(branch)} {
		require.Contains(t, operations(find(key, strings.ToUpper(branch[:n]))), branch)
		require.NotContains(t, operations(find(bound, branch[:n])), branch)
		require.Equal(t, redrive, find(key, redrive[:n]).Redrives.Items[0].ID)
		require.Empty(t, find(bound, redrive[:n]).Redrives.Items)
	}
	require.Empty(t, operations(find(key, branch[:5])), "too short to mean an id")
	found := find(key, "zoe-")
	require.Len(t, found.Desktops.Items, 1)
	require.Equal(t, "computer:ZOE-PC", found.Desktops.Items[0].Desktop.ID)
	require.Len(t, find(key, "d1").Desktops.Items, 1)
	require.Len(t, find(key, "zoe.leaver").Desktops.Items, 1)
	require.Empty(t, find(bound, "zoe.other").Desktops.Items)
	var users []string
	for i := range 21 {
		users = append(users, fmt.Sprintf("%q", fmt.Sprintf("many-%02d", i)))
	}
	b.create(`{"project":"hq","users":[` + strings.Join(users, ",") + `]}`)
	found = find(key, "many")
	require.Len(t, found.People.Items, 20)
	require.True(t, found.People.More)
	require.False(t, find(key, "many-0").People.More)
	require.Equal(t, 400, b.do(key, "GET", "/v1/search?q=%20", "").status)
}
