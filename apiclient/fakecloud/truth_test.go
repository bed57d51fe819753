package fakecloud_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

// Lists go on showing a desktop as it was, whatever its job says.
func TestListsLagBehind(t *testing.T) {
	t.Parallel()
	clk := newClock()
	c := serve(t, fakecloud.Config{Clock: clk.Now, DetachDelay: time.Minute, ReadLag: time.Minute})
	c.Add(proj, fakecloud.Desktop{ID: "d", Type: fakecloud.Pooled, Users: []fakecloud.User{{Name: "ann"}}})
	job := jobID(t, c.detach("d"))
	clk.advance(time.Minute)
	require.Contains(t, c.get("/workspace-sub-jobs?job_id="+job).body, `"status":"SUCCESS"`)
	for _, path := range []string{"/desktops/detail?desktop_id=d", "/desktops/d", "/desktops/detail?user_names=ann"} {
		require.Contains(t, c.get(path).body, `"attach_state":"DEATTACHING"`, path)
	}
	d, _ := c.Get(proj, "d")
	require.Equal(t, fakecloud.Detached, d.AttachState, "the truth does not lag")
	clk.advance(time.Minute)
	require.Contains(t, c.get("/desktops/detail?desktop_id=d").body, `"attach_state":"DEATTACHED"`)
	require.Equal(t, 3, c.Reads(proj, "d"), "twice by its id in a list, once alone; not by its user's name")
}

// With a detach that takes effect at once, a list that lags shows the user.
func TestListsLagBehindADetachThatIsDone(t *testing.T) {
	t.Parallel()
	clk := newClock()
	c := serve(t, fakecloud.Config{Clock: clk.Now, ReadLag: time.Second})
	c.Add(proj, fakecloud.Desktop{ID: "d", Users: []fakecloud.User{{Name: "ann"}}})
	c.detach("d")
	require.Contains(t, c.get("/desktops/d").body, `"attach_state":"ATTACHED"`)
	c.Attach(proj, "d", fakecloud.User{Name: "zoe"})
	require.Contains(t, c.get("/desktops/d").body, `"user_name":"zoe"`, "what was done to it by hand is seen at once")
}

// A job ends partly: one desktop in time, one late, one badly, one never.
func TestAJobThatEndsPartly(t *testing.T) {
	t.Parallel()
	clk := newClock()
	c := serve(t, fakecloud.Config{Clock: clk.Now, DetachDelay: time.Minute, JobLag: time.Second})
	for _, d := range []fakecloud.Desktop{
		{ID: "in-time"}, {ID: "late", DetachTakes: time.Hour}, {ID: "badly", DetachEnds: []string{fakecloud.DetachFailed}},
		{ID: "never", DetachEnds: []string{fakecloud.Detaching}},
	} {
		d.Type = fakecloud.Pooled
		c.Add(proj, d)
	}
	job := jobID(t, c.detach("in-time", "late", "badly", "never"))
	states := func() []string {
		var body struct {
			Jobs []struct {
				Status string `json:"status"`
			} `json:"jobs"`
		}
		require.NoError(t, json.Unmarshal([]byte(c.get("/workspace-sub-jobs?job_id="+job).body), &body))
		var out []string
		for _, j := range body.Jobs {
			out = append(out, j.Status)
		}
		return out
	}
	clk.advance(time.Minute)
	require.Equal(t, []string{"RUNNING", "RUNNING", "RUNNING", "RUNNING"}, states(), "a part runs on for a second")
	d, _ := c.Get(proj, "in-time")
	require.Equal(t, fakecloud.Detached, d.AttachState)
	clk.advance(time.Second)
	require.Equal(t, []string{"SUCCESS", "RUNNING", "FAILED", "RUNNING"}, states())
	clk.advance(1000 * time.Hour)
	require.Equal(t, []string{"SUCCESS", "SUCCESS", "FAILED", "RUNNING"}, states())
	d, _ = c.Get(proj, "never")
	require.Equal(t, fakecloud.Detaching, d.AttachState)
	require.Equal(t, 409, c.detach("never").status)
}

// The truth about who lost what.
func TestRemovals(t *testing.T) {
	t.Parallel()
	clk := newClock()
	c := serve(t, fakecloud.Config{Clock: clk.Now, DetachDelay: time.Minute})
	ann, zoe, heir := fakecloud.User{Name: "ann"}, fakecloud.User{Name: "zoe"}, fakecloud.User{Name: "heir"}
	c.Add(proj,
		fakecloud.Desktop{ID: "one", Users: []fakecloud.User{ann}, AfterDetach: []fakecloud.User{heir}},
		fakecloud.Desktop{ID: "both", Type: fakecloud.Shared, Users: []fakecloud.User{ann, zoe}},
		fakecloud.Desktop{ID: "fails", Users: []fakecloud.User{ann}, DetachEnds: []string{fakecloud.DetachFailed}},
		fakecloud.Desktop{ID: "nobody", AttachState: fakecloud.Unattached},
	)
	c.detach("one", "fails", "nobody")
	c.send("POST", "/v2/"+proj+"/desktops/batch-detach", `{"desktops":[{"desktop_id":"both","detach_user_infos":[{"user_name":"ann"}]}]}`)
	require.Empty(t, c.Removals(proj), "it takes a minute")
	clk.advance(time.Minute)
	calls := c.Requests()
	got := map[string]fakecloud.Removal{}
	for _, r := range c.Removals(proj) {
		got[r.DesktopID+" "+r.User.Name] = r
	}
	require.Len(t, got, 2)
	require.Equal(t, calls[0].RequestID, got["one ann"].RequestID)
	require.Equal(t, clk.Now(), got["one ann"].Time)
	require.Equal(t, calls[1].RequestID, got["both ann"].RequestID)
	require.Equal(t, 1, c.DetachedInVain(proj, "nobody"))
	require.Zero(t, c.DetachedInVain(proj, "one"))
	d, _ := c.Get(proj, "one")
	require.Equal(t, "heir", d.Users[0].Name)
	require.Equal(t, fakecloud.Attached, d.AttachState)

	c.detach("one")
	clk.advance(time.Minute)
	d, _ = c.Get(proj, "one")
	require.Empty(t, d.Users, "given away once")
}

func TestListsThatAreShort(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{MaxPage: 2})
	c.Add(proj, fakecloud.Desktop{ID: "a"}, fakecloud.Desktop{ID: "b"}, fakecloud.Desktop{ID: "c"})
	c.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Desktop: "a", Omit: true, Times: 1})
	const all = "desktop_id=a&desktop_id=b&desktop_id=c&limit=100"
	ids, total := c.list(all)
	require.Equal(t, []string{"b", "c"}, ids)
	require.Equal(t, 2, total)
	ids, total = c.list(all)
	require.Equal(t, []string{"a", "b"}, ids)
	require.Equal(t, 3, total)
	ids, _ = c.list(all + "&offset=2")
	require.Equal(t, []string{"c"}, ids)
	require.Panics(t, func() { c.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Omit: true}) })
	require.Panics(t, func() { c.Fail(fakecloud.Fault{Desktop: "a", Omit: true}) })
}
