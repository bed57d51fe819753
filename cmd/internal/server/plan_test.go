package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/tasks/api"
)

// planBench is a bench with a cloud and the desktops d-0000 and so on, each of a user of
// its own, but that every tenth has two. The cloud answers once gate is closed.
func planBench(t *testing.T, desktops int) (b *bench, gate chan struct{}, ask string) {
	t.Helper()
	cloud, err := fakecloud.Serve(fakecloud.Config{Token: "token"}, "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(cloud.Close)
	to, err := url.Parse(cloud.URL)
	require.NoError(t, err)
	gate = make(chan struct{})
	proxy := httputil.NewSingleHostReverseProxy(to)
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-gate:
			proxy.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(door.Close)
	b = newBenchOn(t, door.URL)
	var ids []string
	for i := range desktops {
		d := fakecloud.Desktop{ID: fmt.Sprintf("d-%04d", i), Users: []fakecloud.User{{Name: fmt.Sprintf("u-%04d", i)}}}
		if i%10 == 0 {
			d.Type, d.Users = fakecloud.Shared, append(d.Users, fakecloud.User{Name: "other"})
		}
		cloud.Add(b.cfg.Projects[0].ProjectID, d)
		ids = append(ids, fmt.Sprintf("%q", d.ID))
	}
	return b, gate, fmt.Sprintf(`{"project":"hq","desktops":[%s]}`, strings.Join(ids, ","))
}

// planned waits until a plan is not read any more.
func (b *bench) planned(key, id, query string) map[string]any {
	b.t.Helper()
	var plan map[string]any
	require.Eventually(b.t, func() bool {
		plan = b.do(key, "GET", "/v1/plans/"+id+query, "").json(b.t)
		return plan["state"] != "reading"
	}, time.Minute, 10*time.Millisecond)
	return plan
}

// A small plan is answered whole.
func TestASmallPlanIsWholeAtOnce(t *testing.T) {
	t.Parallel()
	b, gate, ask := planBench(t, 20)
	close(gate)
	b.srv.planPatience = time.Minute
	a := b.do(b.key[access.Producer], "POST", "/v1/plans", ask)
	require.Equal(t, http.StatusOK, a.status, a.body)
	plan := a.json(t)
	require.Equal(t, "done", plan["state"])
	require.Len(t, plan["items"], 20)
	require.Equal(t, "/v1/plans/"+plan["id"].(string), a.header.Get("Location"))
}

// A plan that takes longer is read on in the background, and its rows come page by page, held first, each once. Others do not see it.
func TestALargePlanIsReadInTheBackground(t *testing.T) {
	t.Parallel()
	b, gate, ask := planBench(t, 1200)
	b.srv.planPatience = 0
	a := b.do(b.key[access.Producer], "POST", "/v1/plans", ask)
	require.Equal(t, http.StatusAccepted, a.status, a.body)
	require.Empty(t, a.json(t)["items"])
	require.EqualValues(t, 1200, a.json(t)["total"])
	id := a.json(t)["id"].(string)
	require.Equal(t, "reading", b.do(b.key[access.Producer], "GET", "/v1/plans/"+id, "").json(t)["state"])
	require.Equal(t, http.StatusNotFound, b.do(b.key[access.Admin], "GET", "/v1/plans/"+id, "").status, "it is not that key's")

	close(gate)
	plan := b.planned(b.key[access.Producer], id, "?page_size=1000")
	require.EqualValues(t, 1200, plan["read"])
	rows := plan["items"].([]any)
	next := b.do(b.key[access.Producer], "GET", "/v1/plans/"+id+"?page_size=1000&page_token="+plan["next_page_token"].(string), "").json(t)
	require.Nil(t, next["next_page_token"])
	rows = append(rows, next["items"].([]any)...)
	seen := map[any]bool{}
	for i, row := range rows {
		row := row.(map[string]any)
		require.Equal(t, i < 120, row["does"] == "hold", "held first")
		seen[row["id"]] = true
	}
	require.Len(t, seen, 1200)
	require.Equal(t, 400, b.do(b.key[access.Producer], "GET", "/v1/plans/"+id+"?page_token=x", "").status)
}

// What a process leaves because it ends, another reads on.
func TestAPlanOutlivesItsServer(t *testing.T) {
	t.Parallel()
	b, gate, ask := planBench(t, 300)
	b.srv.planPatience = 0
	id := b.do(b.key[access.Producer], "POST", "/v1/plans", ask).json(t)["id"].(string)

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
	var plan api.Plan
	require.Eventually(t, func() bool {
		plan, err = as.PlanByID(t.Context(), id, 0, "")
		return err == nil && plan.State == "done"
	}, time.Minute, 10*time.Millisecond)
	require.Equal(t, 300, plan.Read)
	require.Equal(t, 270, plan.People)
}

// That the cloud does not let it be read is what became of the plan.
func TestAPlanThatCannotBeRead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.srv.planPatience = time.Minute
	a := b.do(b.key[access.Producer], "POST", "/v1/plans", `{"project":"hq","desktops":["d1"]}`)
	require.Equal(t, http.StatusAccepted, a.status)
	require.Equal(t, "failed", a.json(t)["state"])
	require.Contains(t, a.json(t)["error"], "refused")
}
