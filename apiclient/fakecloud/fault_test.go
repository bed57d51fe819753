package fakecloud_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

func TestErrorReplies(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault  fakecloud.Fault
		status int
		body   string // %s: the request id
	}{
		"poison": {fakecloud.Poison("b"), 400, `{"error_code":"WKS.0001","error_msg":"The request message input by the interface is empty."}`},
		"named": {fakecloud.Conflict("b", true), 409,
			`{"error_code":"WKS.00010032","error_msg":"Operation conflict. The desktop current instance status is [powering-off] and deny operation [DETACH_DESKTOP], resource id [b]."}`},
		"not named": {fakecloud.Conflict("b", false), 409, `{"error_code":"WKS.00010032","error_msg":"Operation conflict."}`},
		"throttled": {fakecloud.Throttle(1), 429,
			`{"error_code":"APIGW.0308","error_msg":"The throttling threshold has been reached: policy user over ratelimit,limit:10,time:1 second","request_id":"%s"}`},
		"unavailable": {fakecloud.Unavailable(1), 503, `{"error_code":"WKS.00050902","error_msg":"The service is now unavailable to process the request."}`},
		"timeout":     {fakecloud.BackendTimeout(1, false), 504, `{"error_code":"APIGW.0201","error_msg":"Backend timeout.","request_id":"%s"}`},
		"disabled":    {fakecloud.Disabled(proj), 403, `{"error_code":"WKS.00010099","error_msg":"The Workspace service is disabled."}`},
		"status only": {fakecloud.Fault{Status: 401}, 401, `{"error_code":"APIGW.0301","error_msg":"Incorrect IAM authentication information: Unauthorized","request_id":"%s"}`},
		"code only":   {fakecloud.Fault{Code: "WKS.0407"}, 400, `{"error_code":"WKS.0407","error_msg":"This operation cannot be performed because disks are being added."}`},
		"all given":   {fakecloud.Fault{Status: 418, Code: "X.1", Message: `<"é">`}, 418, `{"error_code":"X.1","error_msg":"<\"é\">"}`},
		"body":        {fakecloud.Fault{Status: 500, Body: `{"odd":1}`}, 500, `{"odd":1}`},
	} {
		c := serve(t, fakecloud.Config{AutoCreate: true})
		c.Fail(tc.fault)
		got := c.detach("a", "b")
		require.Equal(t, tc.status, got.status, name)
		want := tc.body
		if tc.fault.Body == "" && len(want) > 4 && want[len(want)-4:] == `%s"}` {
			want = fmt.Sprintf(want, got.header.Get("X-Request-Id"))
		}
		require.JSONEq(t, want, got.body, name)
		require.Equal(t, fakecloud.Attached, c.state("a"), name)
		require.Zero(t, c.DetachedTimes(proj, "b"), name)
		require.False(t, c.Requests()[0].Effect, name)
	}
}

func TestPoisonHitsOnlyCallsThatNameIt(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{AutoCreate: true})
	c.Fail(fakecloud.Poison("bad"))
	require.Equal(t, 400, c.detach("a", "bad").status)
	require.Equal(t, 200, c.detach("a").status)
	require.Equal(t, 400, c.detach("bad").status)
	batch := `{"desktops":[{"desktop_id":"bad","is_detach_all_users":true}]}`
	require.Equal(t, 400, c.send("POST", "/v2/"+proj+"/desktops/batch-detach", batch).status)
	require.Equal(t, 200, c.get("/desktops/bad").status, "only detach calls")
	c.ClearFaults()
	require.Equal(t, 200, c.detach("bad").status)
}

func TestAppliedErrorReply(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{AutoCreate: true})
	c.Fail(fakecloud.BackendTimeout(1, true))
	require.Equal(t, 504, c.detach("a").status)
	require.Equal(t, fakecloud.Detached, c.state("a"))
	require.True(t, c.Requests()[0].Effect)
}

func TestHeadersOfFaults(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{AutoCreate: true})
	f := fakecloud.Throttle(1)
	f.RetryAfter, f.Header = 1500*time.Millisecond, http.Header{"x-extra": {"1", "2"}}
	c.Fail(f, fakecloud.Fault{Status: 302, Header: http.Header{"Location": {"/elsewhere"}}, Times: 1})
	got := c.detach("a")
	require.Equal(t, "2", got.header.Get("Retry-After"))
	require.Equal(t, []string{"1", "2"}, got.header.Values("X-Extra"))
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	require.Equal(t, "/elsewhere", c.detach("a").header.Get("Location"))
}

func TestRepliesThatAreNoJSON(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{AutoCreate: true})
	c.Fail(fakecloud.Fault{HTML: true, Times: 1}, fakecloud.Fault{HTML: true, Status: 403, Times: 1},
		fakecloud.Fault{Effect: fakecloud.Garbage, Times: 1})
	for _, status := range []int{502, 403} {
		got := c.detach("a")
		require.Equal(t, status, got.status)
		require.Equal(t, "text/html", got.header.Get("Content-Type"))
		require.Contains(t, got.body, "<!DOCTYPE html>")
	}
	require.Zero(t, c.DetachedTimes(proj, "a"))
	got := c.detach("a")
	require.Equal(t, 200, got.status)
	require.NotContains(t, got.body, `"job_id"`)
	require.Equal(t, fakecloud.Detached, c.state("a"))
}

func TestCutConnections(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		effect   fakecloud.Effect
		happens  bool
		err      error
		status   int
		wantBody string
	}{
		"drop before": {fakecloud.DropBefore, false, io.EOF, 0, ""},
		"drop after":  {fakecloud.DropAfter, true, io.EOF, 0, ""},
		"truncate":    {fakecloud.Truncate, true, io.ErrUnexpectedEOF, 200, `{"failed_operation_l`},
	} {
		c := serve(t, fakecloud.Config{AutoCreate: true})
		c.Fail(fakecloud.Fault{Effect: tc.effect, Times: 1})
		got, err := c.try(t.Context(), "POST", "/v2/"+proj+"/desktops/detach", detachBody("a"))
		require.ErrorIs(t, err, tc.err, name)
		require.Equal(t, tc.wantBody, got.body, name)
		log := c.Requests()[0]
		require.Equal(t, tc.status, log.Status, name)
		require.Equal(t, tc.happens, log.Effect, name)
		require.Equal(t, tc.happens, c.DetachedTimes(proj, "a") == 1, name)
		require.Equal(t, 200, c.detach("a").status, name)
	}
}

func TestHangingUntilTheClientGivesUp(t *testing.T) {
	t.Parallel()
	for _, effect := range []fakecloud.Effect{fakecloud.HangBefore, fakecloud.HangAfter} {
		c := serve(t, fakecloud.Config{AutoCreate: true})
		c.Fail(fakecloud.Fault{Effect: effect})
		ctx, giveUp := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() {
			_, err := c.try(ctx, "POST", "/v2/"+proj+"/desktops/detach", detachBody("a"))
			failed <- err
		}()
		if effect == fakecloud.HangAfter {
			require.NoError(t, c.Wait(within(t), func() bool { return c.DetachedTimes(proj, "a") == 1 }))
		} else {
			require.NoError(t, c.Wait(within(t), func() bool { return c.Calls() == 1 }))
		}
		giveUp()
		require.ErrorIs(t, <-failed, context.Canceled)
		require.Equal(t, effect == fakecloud.HangAfter, c.state("a") == fakecloud.Detached)
		require.Zero(t, c.Requests()[0].Status)
	}
}

func TestWhichCallsAreHit(t *testing.T) {
	t.Parallel()
	const other = "otherproject"
	for name, tc := range map[string]struct {
		fault fakecloud.Fault
		want  string // of calls 1 to 6, odd ones in proj, even ones in other: x is hit
	}{
		"calls":            {fakecloud.Fault{Calls: []int{2, 3}}, ".xx..."},
		"calls of project": {fakecloud.Fault{Calls: []int{2, 3}, Project: other}, "...x.x"},
		"times":            {fakecloud.Fault{Times: 2}, "xx...."},
		"times of project": {fakecloud.Fault{Times: 2, Project: proj}, "x.x..."},
		"desktop":          {fakecloud.Fault{Desktop: "d3"}, "..x..."},
		"desktop or call":  {fakecloud.Fault{Desktop: "d3", Calls: []int{4}}, "......"},
		"another op":       {fakecloud.Fault{Op: fakecloud.OpDetail}, "......"},
		"project":          {fakecloud.Fault{Project: other}, ".x.x.x"},
	} {
		c := serve(t, fakecloud.Config{AutoCreate: true})
		tc.fault.Status = 500
		c.Fail(tc.fault)
		hit := ""
		for i := 1; i <= 6; i++ {
			project := []string{other, proj}[i%2]
			got := c.send("POST", "/v2/"+project+"/desktops/detach", detachBody(fmt.Sprint("d", i)))
			hit += map[int]string{200: ".", 500: "x"}[got.status]
		}
		require.Equal(t, tc.want, hit, name)
		require.Equal(t, 3, c.CallsOf(fakecloud.OpDetach, other))
	}
}

func TestFirstFaultDecides(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{AutoCreate: true})
	c.Fail(fakecloud.Fault{Status: 500, Times: 1}, fakecloud.Poison("a"), fakecloud.Fault{Status: 503})
	require.Equal(t, 500, c.detach("a").status)
	require.Equal(t, 400, c.detach("a").status)
	require.Equal(t, 503, c.detach("b").status)
}

func TestFaultsOfOtherOps(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{AutoCreate: true})
	c.Fail(
		fakecloud.Fault{Op: fakecloud.OpDetail, Desktop: "a", Status: 500},
		fakecloud.Fault{Op: fakecloud.OpToken, Status: 503},
		fakecloud.Fault{Op: fakecloud.OpJob, Effect: fakecloud.DropBefore},
		fakecloud.Fault{Op: fakecloud.OpSubJobs, Code: "APIGW.0308"})
	require.Equal(t, 500, c.get("/desktops/a").status)
	require.Equal(t, 500, c.get("/desktops/detail?desktop_id=b&desktop_id=a").status)
	require.Equal(t, 200, c.get("/desktops/detail?desktop_id=b").status)
	require.JSONEq(t, `{"error":{"code":503,"message":"Service Unavailable","title":"Service Unavailable"}}`,
		c.send("POST", "/v3/auth/tokens", tokenBody(ann, `{}`)).body)
	_, err := c.try(t.Context(), "GET", "/v2/"+proj+"/workspace-jobs/x", "")
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, 429, c.get("/workspace-sub-jobs?job_id=x").status)
	require.Equal(t, 200, c.detach("a").status)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{AutoCreate: true})
	once := fakecloud.Refused("b", "WKS.2", "later")
	once.Times = 1
	c.Fail(fakecloud.Refused("a", "WKS.1", "never"), once, fakecloud.Fault{Calls: []int{1}, Status: 500})

	require.Equal(t, 500, c.detach("a", "b", "c").status, "a call that fails uses up no refusal")
	got := c.detach("a", "b", "c")
	require.JSONEq(t, `{"job_id":"","failed_operation_list":[
		{"desktop_id":"a","desktop_name":"PC-a","error_code":"WKS.1","error_msg":"never"},
		{"desktop_id":"b","desktop_name":"PC-b","error_code":"WKS.2","error_msg":"later"}]}`, got.body)
	require.Equal(t, fakecloud.Attached, c.state("a"))
	require.Equal(t, fakecloud.Detached, c.state("c"))
	require.NotContains(t, c.detach("b").body, "WKS.2")
	require.Zero(t, c.DetachedTimes(proj, "a"))
}

func TestRateIsFixedBySeed(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) (hit string, refused int) {
		c := fakecloud.New(fakecloud.Config{Seed: seed, AutoCreate: true})
		c.Fail(fakecloud.Fault{Rate: 0.3, Status: 500}, fakecloud.Fault{Rate: 0.1, Refuse: &fakecloud.Refusal{Code: "WKS.1"}})
		for i := range 300 {
			got := record(c, "POST", "/v2/"+proj+"/desktops/detach", detachBody(fmt.Sprint("a", i), fmt.Sprint("b", i)))
			hit += map[int]string{200: ".", 500: "x"}[got.Code]
		}
		for _, d := range c.Desktops(proj) {
			if d.AttachState == fakecloud.Attached {
				refused++
			}
		}
		return hit, refused
	}
	one, refusedOne := run(1)
	again, _ := run(1)
	two, _ := run(2)
	require.Equal(t, one, again)
	require.NotEqual(t, one, two)
	failed := 0
	for _, mark := range one {
		if mark == 'x' {
			failed++
		}
	}
	require.InDelta(t, 90, failed, 30)
	require.InDelta(t, 2*failed+42, refusedOne, 25, "both desktops of failed calls, and a tenth of the rest")
}

func TestFaultsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	c := fakecloud.New(fakecloud.Config{})
	for _, f := range []fakecloud.Fault{
		{}, {Desktop: "a"}, {Applied: true}, {RetryAfter: 1}, {Op: "detatch", Status: 500},
		{Refuse: &fakecloud.Refusal{}, Status: 500}, {Refuse: &fakecloud.Refusal{}, Op: fakecloud.OpDetail},
		{Status: 409, NamesCulprit: true},
	} {
		require.Panics(t, func() { c.Fail(f) }, f.String())
	}
	require.NotPanics(t, func() { c.Fail(fakecloud.Fault{Delay: 1}) })
}
