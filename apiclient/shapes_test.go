package apiclient_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
)

// reads is what a client makes of a cloud with one desktop of each kind.
func reads(t *testing.T, shapes ...fakecloud.Shape) string {
	t.Helper()
	clock := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	cloud, err := fakecloud.Serve(fakecloud.Config{
		Shapes: shapes, MaxPage: 2, SuccessJobIDs: true, JobLag: time.Minute, Clock: func() time.Time { return clock },
	}, "127.0.0.1:0")
	require.NoError(t, err)
	defer cloud.Close()
	process := 50
	cloud.Add(project,
		fakecloud.Desktop{ID: "plain", Users: []fakecloud.User{{Name: "ben"}}, Tags: []string{"a=b", "empty="}},
		fakecloud.Desktop{
			ID: "shared", Type: fakecloud.Shared, TaskStatus: "migrating", TaskUntil: clock.Add(time.Hour), Process: &process,
			Users: []fakecloud.User{{Name: "ann", Domain: "d.local"}, {Name: "grüße \U0001f600", Type: "GROUP"}},
		},
		fakecloud.Desktop{ID: "frozen", Frozen: true}, fakecloud.Desktop{ID: "serviced", Maintenance: true},
		fakecloud.Desktop{ID: "free", AttachState: fakecloud.Unattached}, fakecloud.Desktop{ID: "pooled", Type: fakecloud.Pooled},
	)
	cloud.AddPeople(project, fakecloud.Person{Name: "zoe", Email: "zoe@example.com"}, fakecloud.Person{Name: "loc", Locked: true})
	cloud.Update(project, "pooled", func(d *fakecloud.Desktop) {
		d.PoolID, d.Created, d.LastUsed, d.LastUser = "p1", clock.Add(-99*24*time.Hour), clock.Add(-72*time.Hour), "u"
	})
	c := client(t, cloud.URL, func(c *apiclient.Config) { c.Endpoint = cloud.URL })
	ctx := t.Context()
	said := ""
	add := func(v any, err error) {
		t.Helper()
		require.NoError(t, err, shapes)
		said += fmt.Sprintf("%+v\n", v)
	}
	all, err := c.Desktops(ctx, []string{"plain", "shared", "frozen", "serviced", "free", "pooled", "nobody"})
	add(all, err)
	require.Len(t, all, 6)
	none, err := c.Desktops(ctx, []string{"nobody"})
	add(none, err)
	require.Empty(t, none)
	of, err := c.DesktopsOf(ctx, []string{"ann", "ben", "who"})
	add(of, err)
	named, err := c.DesktopsNamed(ctx, []string{"who"})
	add(named, err)
	users, err := c.Users(ctx)
	add(users, err)
	fleet, err := collected(c.Fleet(ctx, anyPage))
	add(fleet, err)
	require.Len(t, fleet, 6)
	pool, err := collected(c.PoolOf(ctx, "p1", anyPage))
	add(pool, err)
	require.Equal(t, []string{"pooled"}, pool)
	people, err := collected(c.People(ctx, anyPage))
	add(people, err)
	require.Equal(t, users, people)
	used, err := collected(c.Usage(ctx, clock.Add(-5*24*time.Hour), clock, 3, anyPage))
	add(used, err)
	require.Len(t, used, 6)
	require.Equal(t, apiclient.Usage{DesktopID: "pooled", Used: time.Hour, Idle: 72 * time.Hour, LastUser: "u"}, used[5])
	require.Zero(t, used[0].Used)
	unused, err := collected(c.Usage(ctx, clock.Add(-5*24*time.Hour), clock, 10_000, anyPage))
	add(unused, err)
	require.Empty(t, unused)
	accepted, err := c.Detach(ctx, apiclient.DetachRequest{DesktopIDs: []string{"plain", "frozen", "pooled"}})
	add(accepted, err)
	require.Len(t, accepted.Failed, 1)
	jobs, err := c.SubJobs(ctx, accepted.JobID)
	add(jobs, err)
	require.Len(t, jobs, 1)
	removed, err := c.DetachUsers(ctx, []apiclient.UserDetach{{DesktopID: "serviced", Users: []apiclient.User{{Name: "ann"}}}})
	add(removed, err)
	identity, err := c.Probe(ctx)
	add(identity, err)
	return regexp.MustCompile(`RequestID:\w+`).ReplaceAllString(said, "") // some shapes take more requests
}

// Replies that mean the same are read as the same, whatever their shape.
func TestEveryShapeMeansTheSame(t *testing.T) {
	t.Parallel()
	plain := reads(t)
	for _, shape := range fakecloud.AllShapes {
		t.Run(string(shape), func(t *testing.T) {
			t.Parallel()
			require.Equal(t, plain, reads(t, shape))
		})
	}
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, plain, reads(t, fakecloud.AllShapes...))
	})
}

// A 200 that does not say what was asked is an error, and never means that there is nothing.
func TestA200ThatSaysNothing(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`null`, `[]`, `""`, `{}`, `0`, ` `, `{"desktops":null,"users":null}`, `{"desktops":{},"users":{}}`, `{"desktops":"","users":""}`,
		`{"desktops":[null],"users":[null]}`, `{"desktops":[[]],"users":[[]]}`, `{"desktops":[{}],"users":[{}],"total_count":1}`,
		`{"desktops":[],"users":[],"total_count":1}`, `{"desktops":[],"users":[],"total_count":"1"}`, `{"desktops":null,"users":null,"total_count":"x"}`,
		`{"desktops":null,"users":null,"total_count":-0.5}`, `{"total_count":1e99}`, `{"error_code":"WKS.0001","error_msg":"no"}`,
		`{"desktops":[{"desktop_id":"d1","attach_user_infos":{"user_name":"ann"}}],"users":[1],"total_count":1}`,
		`{"desktops":[`, `<html></html>`, "\ufeff", `{"desktops":[]}{"desktops":[]}`, `{"data":{"desktops":[],"users":[],"total_count":0}}`,
	} {
		c := client(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			reply := body
			if strings.Contains(r.URL.Path, "statistics") {
				reply = strings.NewReplacer("users", "items", "total_count", "count").Replace(body)
			}
			answer(200, reply)(w, r)
		}).URL)
		_, err := c.Desktops(t.Context(), []string{"d1"})
		require.Error(t, err, body)
		_, err = c.DesktopsOf(t.Context(), []string{"ann"})
		require.Error(t, err, body)
		_, err = c.Users(t.Context())
		require.Error(t, err, body)
		_, err = collected(c.Fleet(t.Context(), anyPage))
		require.Error(t, err, body)
		if !strings.Contains(body, "attach_user_infos") { // it has none
			_, err = collected(c.PoolOf(t.Context(), "p", anyPage))
			require.Error(t, err, body)
		}
		_, err = collected(c.People(t.Context(), anyPage))
		require.Error(t, err, body)
		_, err = collected(c.Usage(t.Context(), time.Now(), time.Now(), 1, anyPage))
		require.Error(t, err, body)
	}
}

// What forbids a detach forbids it in any spelling, and if it is not understood.
func TestGuardsOfADesktopFailClosed(t *testing.T) {
	t.Parallel()
	for value, forbids := range map[string]bool{
		`true`: true, `"true"`: true, `"True"`: true, `1`: true, `"1"`: true, `"yes"`: true, `{}`: true, `[]`: true,
		`false`: false, `"false"`: false, `"FALSE"`: false, `0`: false, `"0"`: false, `null`: false, `""`: false,
	} {
		c := client(t, serve(t, answer(200,
			`{"desktops":[{"desktop_id":"d1","is_freeze":`+value+`,"in_maintenance_mode":`+value+`}],"total_count":1}`)).URL)
		got, err := c.Desktops(t.Context(), []string{"d1"})
		require.NoError(t, err, value)
		require.Equal(t, forbids, got[0].Frozen, value)
		require.Equal(t, forbids, got[0].Maintenance, value)
	}
}
