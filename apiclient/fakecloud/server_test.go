package fakecloud_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

func TestEveryReplyHasRequestIDAndDate(t *testing.T) {
	t.Parallel()
	clk := newClock()
	c := serve(t, fakecloud.Config{Clock: clk.Now, Projects: []string{proj}})
	seen := map[string]bool{}
	for _, path := range []string{"/", "/v2/" + proj + "/desktops/detail", "/v2/nobody/desktops/detail", "/v3/auth/tokens"} {
		got := c.send("GET", path, "")
		id := got.header.Get("X-Request-Id")
		require.Regexp(t, "^[0-9a-f]{32}$", id)
		require.False(t, seen[id], "ids are not repeated")
		seen[id] = true
		require.Equal(t, "Fri, 02 Jan 2026 03:04:05 GMT", got.header.Get("Date"))
	}
}

func TestWhatIsNotServed(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{Projects: []string{proj}, AutoCreate: true})
	for request, want := range map[string]string{
		"GET /v2/" + proj + "/desktop":                  "404 APIGW.0101",
		"GET /v2/" + proj + "/statistics/metrics/users": "404 APIGW.0101",
		"POST /v2/" + proj + "/desktops":                "405 WKS.00000405",
		"GET /v2/" + proj + "/desktops/":                "404 APIGW.0101",
		"GET /v2/" + proj + "/desktops/a/b":             "404 APIGW.0101",
		"GET /v2/" + proj + "/users/a":                  "404 APIGW.0101",
		"GET /v2//desktops/a":                           "404 APIGW.0101",
		"GET /v1/" + proj + "/desktops/a":               "404 APIGW.0101",
		"GET /":                                         "404 APIGW.0101",
		"GET /v2/" + proj + "/desktops/detach":          "405 WKS.00000405",
		"POST /v2/" + proj + "/desktops/detail":         "405 WKS.00000405",
		"DELETE /v2/" + proj + "/desktops/a":            "405 WKS.00000405",
		"GET /v3/auth/tokens":                           "405 WKS.00000405",
		"POST /v2/nobody/desktops/detach":               "404 WKS.00211902",
		"GET /v2/nobody/workspace-sub-jobs?job_id":      "404 WKS.00211902",
	} {
		method, path, _ := strings.Cut(request, " ")
		got := c.send(method, path, detachBody("a"))
		status, code, _ := strings.Cut(want, " ")
		require.Equal(t, status, strconv.Itoa(got.status), request)
		require.Contains(t, got.body, `"error_code":"`+code+`"`, request)
	}
	require.Empty(t, c.Desktops(proj))
}

func TestTooBigABody(t *testing.T) {
	t.Parallel()
	c := fakecloud.New(fakecloud.Config{})
	got := record(c, "POST", "/v2/"+proj+"/desktops/detach", strings.Repeat(" ", 12<<20)+detachBody("a"))
	require.Equal(t, 413, got.Code)
	require.Contains(t, got.Body.String(), "APIGW.0201")
}

// A client that goes away before its request has arrived made no call: none is logged or numbered.
func TestHalfARequest(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{AutoCreate: true})
	c.Fail(fakecloud.Fault{Calls: []int{1}, Status: 503})
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.URL, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /v2/%s/desktops/detach HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", proj)
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Empty(t, string(got))
	require.Empty(t, c.Requests())
	require.Zero(t, c.Calls())
	require.Equal(t, 503, c.detach("a").status)
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	clk := newClock()
	c := serve(t, fakecloud.Config{Clock: clk.Now, AutoCreate: true, RateLimit: 2, RateBurst: 3, RetryAfter: 1200 * time.Millisecond})
	expect := func(statuses ...int) {
		t.Helper()
		for _, want := range statuses {
			require.Equal(t, want, c.detach("a").status)
		}
	}
	expect(200, 200, 200, 429)
	clk.advance(499 * time.Millisecond)
	expect(429)
	clk.advance(time.Millisecond)
	expect(200, 429)
	clk.advance(time.Hour)
	expect(200, 200, 200)
	got := c.detach("a")
	require.Equal(t, "2", got.header.Get("Retry-After"))
	require.JSONEq(t, `{"error_code":"APIGW.0308","request_id":"`+got.header.Get("X-Request-Id")+`",
		"error_msg":"The throttling threshold has been reached: policy user over ratelimit,limit:2,time:1 second"}`, got.body)
	require.Equal(t, 200, c.get("/desktops/a").status, "only detach calls")
	require.Equal(t, 7, c.DetachedTimes(proj, "a"))
}

func TestDelayOfAFaultIsCutShort(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{AutoCreate: true})
	c.Fail(fakecloud.Fault{Delay: time.Hour, Status: 500})
	failed := make(chan error)
	go func() {
		_, err := c.try(t.Context(), "POST", "/v2/"+proj+"/desktops/detach", detachBody("a"))
		failed <- err
	}()
	require.NoError(t, c.Wait(within(t), func() bool { return c.Calls() == 1 }))
	c.Stop()
	require.Error(t, <-failed)
	require.Zero(t, c.DetachedTimes(proj, "a"))
}

func TestStopAndRestart(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{AutoCreate: true})
	c.Fail(fakecloud.Fault{Calls: []int{2}, Effect: fakecloud.HangAfter})
	c.detach("a")
	url := c.URL
	failed := make(chan error)
	go func() {
		_, err := c.try(t.Context(), "POST", "/v2/"+proj+"/desktops/detach", detachBody("b"))
		failed <- err
	}()
	require.NoError(t, c.Wait(within(t), func() bool { return c.DetachedTimes(proj, "b") == 1 }))

	c.Stop()
	require.ErrorIs(t, <-failed, io.EOF, "what hangs is cut off")
	c.Stop()
	_, err := c.try(t.Context(), "GET", "/", "")
	require.ErrorContains(t, err, "refused")

	read := make(chan string)
	go func() { read <- c.URL }() // for the race detector: needs no lock
	require.NoError(t, c.Restart())
	require.NoError(t, c.Restart())
	require.Equal(t, url, <-read)
	require.Equal(t, url, c.URL)
	require.Equal(t, 200, c.detach("b").status)
	require.Equal(t, fakecloud.Detached, c.state("a"), "the desktops are still there")
	require.Equal(t, 2, c.DetachedTimes(proj, "b"))
	c.Close()
	c.Close()
}

// The server does not notice the end of a connection on which more has arrived.
func TestStopEndsWhatHangsOnAPipelinedConnection(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{AutoCreate: true})
	c.Fail(fakecloud.Fault{Effect: fakecloud.HangBefore})
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.URL, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	body := detachBody("a")
	_, err = fmt.Fprintf(conn, "POST /v2/%s/desktops/detach HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s%s",
		proj, len(body), body, strings.Repeat("GET ", 16<<10)) // more than the server's buffer
	require.NoError(t, err)
	require.NoError(t, c.Wait(within(t), func() bool { return c.Calls() == 1 }))
	c.Stop()
	require.Zero(t, c.DetachedTimes(proj, "a"))
}

func TestStopWaitsForWhatIsBeingDone(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{AutoCreate: true, Latency: time.Hour})
	failed := make(chan error, 20)
	for i := range cap(failed) {
		go func() {
			_, err := c.try(t.Context(), "POST", "/v2/"+proj+"/desktops/detach", detachBody(strconv.Itoa(i)))
			failed <- err
		}()
	}
	require.NoError(t, c.Wait(within(t), func() bool { return c.Calls() == cap(failed) }))
	c.Stop()
	for _, r := range c.Requests() {
		require.True(t, r.Effect)
	}
	for range cap(failed) {
		require.Error(t, <-failed)
	}
}

func TestServeReportsAnAddressInUse(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{})
	_, err := fakecloud.Serve(fakecloud.Config{}, strings.TrimPrefix(c.URL, "http://"))
	require.ErrorContains(t, err, "fakecloud: listen")
}

// What waits for its latency is let go by Stop; what has none is answered.
func TestReadLatency(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"a list": "/desktops/detail", "a desktop": "/desktops/a", "users": "/users", "jobs": "/workspace-sub-jobs?job_id=j", "a job": "/workspace-jobs/j",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, fakecloud.Config{ReadLatency: time.Hour})
			c.Add(proj, fakecloud.Typical(1))
			failed := make(chan error, 1)
			go func() {
				_, err := c.try(t.Context(), "GET", "/v2/"+proj+request, "")
				failed <- err
			}()
			require.NoError(t, c.Wait(within(t), func() bool { return len(c.Requests()) == 1 }))
			require.Equal(t, 200, c.detach(fakecloud.TypicalID(1)).status, "calls do not wait")
			select {
			case <-failed:
				t.Fatal("the reading did not wait")
			default:
			}
			c.Stop()
			require.Error(t, <-failed)
		})
	}
}

// A slow call may take effect at its end or, as drawn, when it arrives.
func TestEarlyEffects(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{Latency: time.Hour, EarlyEffects: 1})
	c.Add(proj, fakecloud.Desktop{ID: "a"})
	answered := make(chan error, 1)
	go func() {
		_, err := c.try(t.Context(), "POST", "/v2/"+proj+"/desktops/detach", detachBody("a"))
		answered <- err
	}()
	require.Eventually(t, func() bool { return c.state("a") == fakecloud.Detached }, time.Minute, time.Millisecond)
	require.Zero(t, c.Requests()[0].Status)
	select {
	case <-answered:
		t.Fatal("the reply did not wait")
	default:
	}
	c.Stop()
	require.Error(t, <-answered)
	require.True(t, c.Requests()[0].Effect)
}

// A call that nobody waits for any more is under way all the same until its time
// is over.
func TestKeepsTime(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{AutoCreate: true, Latency: time.Hour, KeepsTime: true})
	ctx, giveUp := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() {
		_, err := c.try(ctx, "POST", "/v2/"+proj+"/desktops/detach", detachBody("a"))
		answered <- err
	}()
	require.NoError(t, c.Wait(within(t), func() bool { return c.Calls() == 1 }))
	giveUp()
	require.ErrorIs(t, <-answered, context.Canceled)
	again, stop := context.WithCancel(t.Context())
	go func() {
		_, err := c.try(again, "POST", "/v2/"+proj+"/desktops/detach", detachBody("a"))
		answered <- err
	}()
	require.NoError(t, c.Wait(within(t), func() bool { return c.Calls() == 2 }))
	require.Equal(t, []string{"a"}, c.InTwoCallsAtOnce(), "the first is not over")
	require.Equal(t, fakecloud.Attached, c.state("a"))
	stop()
	require.Error(t, <-answered)
	c.Stop()
	require.Equal(t, 2, c.DetachedTimes(proj, "a"))
}
