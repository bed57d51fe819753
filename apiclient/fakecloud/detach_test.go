package fakecloud_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

func TestDetachOfACommonDesktop(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{})
	c.Add(proj, fakecloud.Desktop{ID: "a"}, fakecloud.Desktop{ID: "b"})

	got := c.detach("a")

	require.Equal(t, 200, got.status)
	require.JSONEq(t, `{"failed_operation_list":[],"job_id":""}`, got.body)
	require.Equal(t, "application/json;charset=UTF-8", got.header.Get("Content-Type"))
	a, _ := c.Get(proj, "a")
	require.Equal(t, fakecloud.Detached, a.AttachState)
	require.Empty(t, a.Users)
	require.Equal(t, fakecloud.Shutoff, a.Status, "a single-user desktop is shut down")
	require.Equal(t, 1, c.DetachedTimes(proj, "a"))
	require.Equal(t, fakecloud.Attached, c.state("b"))
	require.Zero(t, c.DetachedTimes(proj, "b"))
}

func TestDetachTakesItsTimeOnTheClock(t *testing.T) {
	t.Parallel()
	clk := newClock()
	c := serve(t, fakecloud.Config{Clock: clk.Now, DetachDelay: time.Minute})
	c.Add(proj, fakecloud.Desktop{ID: "a", Users: []fakecloud.User{{Name: "ann"}}})

	require.Equal(t, 200, c.detach("a").status)
	clk.advance(time.Minute - 1)
	d, _ := c.Get(proj, "a")
	require.Equal(t, fakecloud.Detaching, d.AttachState)
	require.Len(t, d.Users, 1)
	again := c.detach("a")
	require.Equal(t, 409, again.status)
	require.Contains(t, again.body, "[DEATTACHING]")

	clk.advance(1)
	require.Equal(t, fakecloud.Detached, c.state("a"))
	require.Contains(t, c.get("/desktops/a").body, `"attach_user_infos":[]`)
}

func TestUnattachedDesktopIsAcceptedHarmlessly(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{DetachDelay: time.Hour})
	c.Add(proj, fakecloud.Desktop{ID: "a", AttachState: fakecloud.Unattached})

	got := c.detach("a")

	require.JSONEq(t, `{"failed_operation_list":[],"job_id":""}`, got.body)
	require.Equal(t, fakecloud.Unattached, c.state("a"))
	require.Equal(t, 1, c.DetachedTimes(proj, "a"))
}

func TestDesktopsRefusedInA200(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{})
	c.Add(proj,
		fakecloud.Desktop{ID: "good"},
		fakecloud.Desktop{ID: "asleep", ComputerName: "PC-1", Status: fakecloud.Hibernated},
		fakecloud.Desktop{ID: "frozen", Frozen: true},
		fakecloud.Desktop{ID: "maint", Maintenance: true})

	got := c.detach("asleep", "good", "frozen", "maint", "nobody")

	require.Equal(t, 200, got.status)
	require.JSONEq(t, `{"job_id":"","failed_operation_list":[
		{"desktop_id":"asleep","desktop_name":"PC-1","error_code":"WKS.00990001","error_msg":"Desktops in the hibernated state cannot be unbound."},
		{"desktop_id":"frozen","desktop_name":"PC-frozen","error_code":"WKS.00990002","error_msg":"The desktop is frozen."},
		{"desktop_id":"maint","desktop_name":"PC-maint","error_code":"WKS.00990003","error_msg":"The desktop is in maintenance mode."},
		{"desktop_id":"nobody","desktop_name":"","error_code":"WKS.00990004","error_msg":"The desktop does not exist."}]}`, got.body)
	require.Equal(t, fakecloud.Detached, c.state("good"))
	for _, id := range []string{"asleep", "frozen", "maint"} {
		require.Equal(t, fakecloud.Attached, c.state(id))
		require.Zero(t, c.DetachedTimes(proj, id))
	}
	_, found := c.Get(proj, "nobody")
	require.False(t, found)
}

func TestBusyDesktopFailsTheWholeCall(t *testing.T) {
	t.Parallel()
	clk := newClock()
	c := serve(t, fakecloud.Config{Clock: clk.Now})
	c.Add(proj, fakecloud.Desktop{ID: "good"},
		fakecloud.Desktop{ID: "busy", TaskStatus: "rebooting", TaskUntil: clk.Now().Add(time.Minute)})

	got := c.detach("good", "busy")

	require.Equal(t, 409, got.status)
	require.JSONEq(t, `{"error_code":"WKS.00010032","error_msg":"Operation conflict. The desktop current instance status is [rebooting] and deny operation [DETACH_DESKTOP], resource id [busy]."}`, got.body)
	require.Equal(t, fakecloud.Attached, c.state("good"))

	clk.advance(time.Minute)
	require.Equal(t, 200, c.detach("good", "busy").status)
	for _, state := range []string{fakecloud.Attaching, fakecloud.Waiting} {
		c.Update(proj, "busy", func(d *fakecloud.Desktop) { d.AttachState = state })
		require.Equal(t, 409, c.detach("busy").status)
	}
}

func TestInvalidDetachCalls(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{AutoCreate: true})
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprint("d", i)
	}
	for name, body := range map[string]string{
		"no body":        ``,
		"no JSON":        `{"desktop_ids":["a"]`,
		"trailing data":  `{"desktop_ids":["a"]} x`,
		"no list":        `{}`,
		"null":           `{"desktop_ids":null}`,
		"empty list":     `{"desktop_ids":[]}`,
		"empty id":       `{"desktop_ids":["a",""]}`,
		"long id":        detachBody(strings.Repeat("x", 256)),
		"twice":          detachBody("a", "b", "a"),
		"101":            detachBody(many...),
		"wrong type":     `{"desktop_ids":"a"}`,
		"number":         `{"desktop_ids":[1]}`,
		"wrong case":     `{"Desktop_IDs":["a"]}`,
		"shutoff string": `{"desktop_ids":["a"],"shutoff_after_detach":"true"}`,
	} {
		got := c.send("POST", "/v2/"+proj+"/desktops/detach", body)
		require.Equal(t, 400, got.status, name)
		require.Contains(t, got.body, `"error_code":"WKS.0`, name)
		require.Contains(t, got.body, `"error_msg":"`, name)
	}
	require.Equal(t, 200, c.detach(many[:100]...).status)
	require.Len(t, c.Desktops(proj), 100, "an invalid call touches nothing")
}

func TestPowerAfterDetach(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{AutoCreate: true})
	c.Add(proj, fakecloud.Desktop{ID: "shared", Type: fakecloud.Shared, Status: fakecloud.Shutoff,
		Users: []fakecloud.User{{Name: "ann"}, {Name: "bob"}, {Name: "ops", Type: "GROUP"}}})
	c.Add(proj, fakecloud.Desktop{ID: "shared-off", Type: fakecloud.Shared})
	send := func(id, shutoff string) fakecloud.Desktop {
		got := c.send("POST", "/v2/"+proj+"/desktops/detach", `{"desktop_ids":["`+id+`"]`+shutoff+`}`)
		require.Equal(t, 200, got.status)
		d, _ := c.Get(proj, id)
		require.Empty(t, d.Users)
		return d
	}
	require.Equal(t, fakecloud.Active, send("shared", "").Status)
	require.Equal(t, fakecloud.Shutoff, send("shared-off", `,"shutoff_after_detach":true`).Status)
	require.Equal(t, fakecloud.Active, send("one", `,"shutoff_after_detach":false`).Status)
	require.Equal(t, fakecloud.Shutoff, send("two", `,"shutoff_after_detach":true`).Status)

	log := c.Requests()
	require.Nil(t, log[0].Shutoff)
	require.True(t, *log[1].Shutoff)
	require.False(t, *log[2].Shutoff)
}

func TestAcceptedDetachMayFailLater(t *testing.T) {
	t.Parallel()
	clk := newClock()
	c := serve(t, fakecloud.Config{Clock: clk.Now, DetachDelay: time.Minute})
	c.Add(proj, fakecloud.Desktop{ID: "a", DetachEnds: []string{fakecloud.DetachRepeatable, fakecloud.DetachFailed}})
	for _, end := range []string{fakecloud.DetachRepeatable, fakecloud.DetachFailed} {
		require.Equal(t, 200, c.detach("a").status)
		require.Equal(t, fakecloud.Detaching, c.state("a"))
		clk.advance(time.Minute)
		d, _ := c.Get(proj, "a")
		require.Equal(t, end, d.AttachState)
		require.Len(t, d.Users, 1)
	}
	c.detach("a")
	clk.advance(time.Minute)
	require.Equal(t, fakecloud.Detached, c.state("a"))
	require.Equal(t, 3, c.DetachedTimes(proj, "a"))
}

func TestBatchDetachTakesNamedUsers(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{})
	users := []fakecloud.User{{Name: "ann"}, {Name: "bob"}, {Name: "ann", Type: "GROUP"}}
	c.Add(proj,
		fakecloud.Desktop{ID: "s1", Type: fakecloud.Shared, Users: users},
		fakecloud.Desktop{ID: "s2", Type: fakecloud.Shared, Users: users})
	batch := func(desktops string) answer {
		return c.send("POST", "/v2/"+proj+"/desktops/batch-detach", `{"desktops":[`+desktops+`]}`)
	}
	names := func(id string) (all []string) {
		d, _ := c.Get(proj, id)
		for _, u := range d.Users {
			all = append(all, u.Type+" "+u.Name)
		}
		return all
	}

	got := batch(`{"desktop_id":"s1","detach_user_infos":[{"user_name":"ann"},{"user_name":"zoe"}]},
		{"desktop_id":"s2","is_detach_all_users":true,"detach_user_infos":[{"user_name":"ann"}]}`)

	require.Equal(t, 200, got.status, got.body)
	require.JSONEq(t, `{"failed_operation_list":[],"job_id":""}`, got.body)
	require.Equal(t, []string{"USER bob", "GROUP ann"}, names("s1"))
	require.Equal(t, fakecloud.Attached, c.state("s1"))
	require.Empty(t, names("s2"))
	require.Equal(t, fakecloud.Detached, c.state("s2"))

	batch(`{"desktop_id":"s1","detach_user_infos":[{"user_name":"bob","type":"USER"},{"user_name":"ann","type":"GROUP"}]}`)
	require.Equal(t, fakecloud.Detached, c.state("s1"))

	log := c.Requests()
	require.Equal(t, fakecloud.OpDetach, log[0].Op)
	require.Equal(t, "/v2/"+proj+"/desktops/batch-detach", log[0].Path)
	require.Equal(t, []string{"s1", "s2"}, log[0].DesktopIDs)
	require.Contains(t, log[0].Body, "zoe")
}

func TestInvalidBatchDetachCalls(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{AutoCreate: true})
	user := `{"user_name":"ann"}`
	for name, body := range map[string]string{
		"empty":       `{"desktops":[]}`,
		"ids":         `{"desktop_ids":["a"]}`,
		"nobody":      `{"desktops":[{"desktop_id":"a"}]}`,
		"no name":     `{"desktops":[{"desktop_id":"a","detach_user_infos":[{"user_id":"1"}]}]}`,
		"no id":       `{"desktops":[{"is_detach_all_users":true}]}`,
		"twice":       `{"desktops":[{"desktop_id":"a","is_detach_all_users":true},{"desktop_id":"a","is_detach_all_users":true}]}`,
		"501 users":   `{"desktops":[{"desktop_id":"a","detach_user_infos":[` + strings.Join(slices.Repeat([]string{user}, 501), ",") + `]}]}`,
		"no object":   `{"desktops":["a"]}`,
		"user string": `{"desktops":[{"desktop_id":"a","detach_user_infos":["ann"]}]}`,
	} {
		got := c.send("POST", "/v2/"+proj+"/desktops/batch-detach", body)
		require.Equal(t, 400, got.status, name)
	}
	require.Empty(t, c.Desktops(proj))
}

func TestSuccessJobIDs(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{SuccessJobIDs: true, AutoCreate: true})
	c.Fail(fakecloud.Refused("b", "WKS.1", "no"))
	got := c.detach("a", "b", "c")
	require.Regexp(t, `"success_job_ids":\["[0-9a-f-]{36}","[0-9a-f-]{36}"\]`, got.body)
}
