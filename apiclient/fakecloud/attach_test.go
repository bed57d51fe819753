package fakecloud_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

// attach sends an attach call with these desktops and returns the parts of its job.
func (c *cloud) attach(desktops ...string) []part {
	c.t.Helper()
	got := c.send("POST", "/v2/"+proj+"/desktops/attach", `{"desktops":[`+strings.Join(desktops, ",")+`]}`)
	require.Equal(c.t, 200, got.status, got.body)
	var job struct {
		ID string `json:"job_id"`
	}
	require.NoError(c.t, json.Unmarshal([]byte(got.body), &job))
	return c.parts(job.ID)
}

type part struct {
	Type     string `json:"job_type"`
	Status   string `json:"status"`
	Code     string `json:"error_code"`
	Entities struct {
		Desktop string `json:"desktop_id"`
	} `json:"entities"`
}

func (c *cloud) parts(job string) []part {
	c.t.Helper()
	var list struct {
		Jobs []part `json:"jobs"`
	}
	require.NoError(c.t, json.Unmarshal([]byte(c.get("/workspace-sub-jobs?job_id="+job).body), &list))
	return list.Jobs
}

const keepsAnn = `{"desktop_id":"a","user_id":"id-ann","user_name":"ann","user_group":"users","is_clear_data":false}`

// lent is a cloud whose desktop "a" was detached from ann.
func lent(t *testing.T, cfg fakecloud.Config) *cloud {
	t.Helper()
	c := serve(t, cfg)
	c.Add(proj, fakecloud.Desktop{ID: "a", Users: []fakecloud.User{{Name: "ann"}}})
	c.AddPeople(proj, fakecloud.Person{Name: "ben"})
	require.Equal(t, 200, c.detach("a").status)
	return c
}

func TestAttachGivesADesktopBack(t *testing.T) {
	t.Parallel()
	c := lent(t, fakecloud.Config{})
	parts := c.attach(keepsAnn)
	require.Len(t, parts, 1)
	require.Equal(t, "attachDesktops", parts[0].Type)
	require.Equal(t, "SUCCESS", parts[0].Status)
	require.Equal(t, "a", parts[0].Entities.Desktop)
	d, _ := c.Get(proj, "a")
	require.Equal(t, fakecloud.Attached, d.AttachState)
	require.Equal(t, []fakecloud.User{{ID: "id-ann", Name: "ann", Group: "users", Type: "USER"}}, d.Users)
	got := c.Assignments(proj)
	require.Len(t, got, 1)
	require.Equal(t, d.Users, got[0].Users)
	require.False(t, got[0].Cleared)
}

func TestAttachDeletesData(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body    string
		cleared bool
	}{
		"the same user, kept":           {keepsAnn, false},
		"the same user, by default":     {`{"desktop_id":"a","user_name":"ann","user_group":"users"}`, true},
		"the same user, as asked":       {`{"desktop_id":"a","user_name":"ann","user_group":"users","is_clear_data":true}`, true},
		"another user, although kept":   {`{"desktop_id":"a","user_name":"ben","user_group":"users","is_clear_data":false}`, true},
		"a user of the list, kept":      {`{"desktop_id":"a","is_clear_data":false,"attach_user_infos":[{"user_name":"ann","user_group":"users"}]}`, false},
		"a user of the list, in a null": {`{"desktop_id":"a","is_clear_data":null,"attach_user_infos":[{"user_name":"ann","user_group":"users"}]}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := lent(t, fakecloud.Config{})
			require.Equal(t, "SUCCESS", c.attach(test.body)[0].Status)
			got := c.Assignments(proj)
			require.Len(t, got, 1)
			require.Equal(t, test.cleared, got[0].Cleared)
		})
	}
}

// A failed attach deletes nothing, and the data is still there for the next one.
func TestAttachCanFail(t *testing.T) {
	t.Parallel()
	clk := newClock()
	c := lent(t, fakecloud.Config{Clock: clk.Now, DetachDelay: time.Minute})
	clk.advance(time.Minute)
	c.Update(proj, "a", func(d *fakecloud.Desktop) {
		d.AttachEnds = []string{fakecloud.AttachRepeatable, fakecloud.AttachFailed}
	})
	for _, end := range []string{fakecloud.AttachRepeatable, fakecloud.AttachFailed, fakecloud.Attached} {
		require.Equal(t, "RUNNING", c.attach(keepsAnn)[0].Status)
		require.Equal(t, fakecloud.Attaching, c.state("a"))
		busy := c.send("POST", "/v2/"+proj+"/desktops/attach", `{"desktops":[`+keepsAnn+`]}`)
		require.Equal(t, 409, busy.status)
		require.Contains(t, busy.body, "deny operation [ATTACH_DESKTOP]")
		clk.advance(time.Minute)
		require.Equal(t, end, c.state("a"))
	}
	got := c.Assignments(proj)
	require.Len(t, got, 1)
	require.False(t, got[0].Cleared)
	require.True(t, c.attach(`{"desktop_id":"a","user_name":"ben","user_group":"users"}`)[0].Code != "", "it is assigned")
}

func TestAttachRefusesDesktopsInItsJob(t *testing.T) {
	t.Parallel()
	c := lent(t, fakecloud.Config{})
	c.Add(proj, fakecloud.Desktop{ID: "taken"}, fakecloud.Desktop{ID: "pooled", Type: fakecloud.Pooled, AttachState: fakecloud.Unattached})
	c.UpdatePeople(proj, func(p *fakecloud.Person) bool { return p.Name != "ben" })
	to := func(desktop, user string) string {
		return `{"desktop_id":"` + desktop + `","user_name":"` + user + `","user_group":"users","is_clear_data":false}`
	}
	var codes []string
	for _, p := range c.attach(to("taken", "ann"), to("pooled", "ann"), to("none", "ann"), to("a", "ben"), to("a2", "ann")) {
		require.Equal(t, "FAILED", p.Status)
		codes = append(codes, p.Code)
	}
	require.Equal(t, []string{"WKS.00211102", "WKS.00211102", "WKS.00211902", "WKS.00170312", "WKS.00211902"}, codes)
	require.Empty(t, c.Assignments(proj))
	require.Equal(t, fakecloud.Detached, c.state("a"))
	for _, body := range []string{`{}`, `{"desktops":[{"desktop_id":"a"}]}`, `{"desktops":[{"desktop_id":"a","user_name":"ann"}]}`} {
		require.Equal(t, 400, c.send("POST", "/v2/"+proj+"/desktops/attach", body).status, body)
	}
}

func TestAttachAddsUsersToASharedDesktop(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{})
	c.Add(proj, fakecloud.Desktop{ID: "s", Type: fakecloud.Shared, Users: []fakecloud.User{{Name: "ann"}, {Name: "ops", Type: "GROUP"}}})
	require.Equal(t, 200, c.detach("s").status)
	c.attach(`{"desktop_id":"s","is_clear_data":false,"attach_user_infos":[{"user_name":"ops","user_group":"users","type":"GROUP"}]}`)
	c.attach(`{"desktop_id":"s","is_clear_data":false,"attach_user_infos":[{"user_name":"ann","user_group":"users","type":"USER"}]}`)
	d, _ := c.Get(proj, "s")
	require.Len(t, d.Users, 2)
	require.False(t, c.Assignments(proj)[0].Cleared)
}
