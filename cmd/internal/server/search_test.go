package server

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
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
