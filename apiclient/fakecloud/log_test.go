package fakecloud_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

// record calls a cloud without a network between.
func record(c *fakecloud.Cloud, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	c.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

func TestLog(t *testing.T) {
	t.Parallel()
	clk := newClock()
	c := serve(t, fakecloud.Config{Clock: clk.Now, AutoCreate: true})
	first := c.send("POST", "/v2/"+proj+"/desktops/detach", `{"desktop_ids":["a"],"shutoff_after_detach":true}`,
		"User-Agent: tester", "X-Language: en-us", "Cookie: secret")
	clk.advance(time.Second)
	c.get("/desktops/detail?desktop_id=a")
	c.get("/nothing")

	log := c.Requests()
	require.Len(t, log, 3)
	shutoff := true
	require.Equal(t, fakecloud.Request{
		Seq: 1, Time: newClock().Now(), RequestID: first.header.Get("X-Request-Id"), Op: fakecloud.OpDetach,
		Method: "POST", Path: "/v2/" + proj + "/desktops/detach", Project: proj, DesktopIDs: []string{"a"}, Shutoff: &shutoff,
		Header: http.Header{"User-Agent": {"tester"}, "X-Language": {"en-us"}, "Content-Type": {"application/json"}},
		Body:   `{"desktop_ids":["a"],"shutoff_after_detach":true}`, Status: 200, Effect: true,
	}, log[0])
	require.Equal(t, "desktop_id=a", log[1].Query)
	require.Equal(t, []string{"a"}, log[1].DesktopIDs)
	require.Equal(t, newClock().Now().Add(time.Second), log[1].Time)
	require.False(t, log[1].Effect)
	require.Equal(t, 404, log[2].Status)
	require.Equal(t, 1, c.Calls())
	require.Equal(t, 1, c.CallsOf(fakecloud.OpDetail, proj))
}

func TestDiscardLog(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{DiscardLog: true, AutoCreate: true})
	c.detach("a")
	require.Empty(t, c.Requests())
	require.Equal(t, 1, c.Calls())
}

func TestOverlappingCalls(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{Latency: time.Hour, AutoCreate: true})
	ctx, giveUp := context.WithCancel(t.Context())
	done := make(chan error)
	for _, body := range []string{detachBody("a", "b", "c"), detachBody("c", "d", "a"), detachBody("e")} {
		go func() {
			_, err := c.try(ctx, "POST", "/v2/"+proj+"/desktops/detach", body)
			done <- err
		}()
	}
	require.NoError(t, c.Wait(within(t), func() bool { return c.Calls() == 3 }))
	require.Equal(t, 3, c.MaxInFlight())
	require.Equal(t, []string{"a", "c"}, c.InTwoCallsAtOnce())
	require.Equal(t, fakecloud.Attached, c.state("a"), "not before the latency is over")

	giveUp()
	for range 3 {
		require.ErrorIs(t, <-done, context.Canceled)
	}
	// A client that gives up does not stop what has reached the service.
	require.NoError(t, c.Wait(within(t), func() bool {
		for _, r := range c.Requests() {
			if !r.Effect {
				return false
			}
		}
		return true
	}))
	require.Equal(t, 2, c.DetachedTimes(proj, "a"))
	require.Equal(t, 1, c.DetachedTimes(proj, "b"))
}

func TestCallsOneAfterTheOtherDoNotOverlap(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{AutoCreate: true})
	c.http.Transport.(*http.Transport).DisableKeepAlives = false
	defer c.http.CloseIdleConnections()
	c.Fail(fakecloud.Fault{Calls: []int{3}, Status: 500})
	for range 100 {
		c.detach("a", "b")
	}
	c.detach("a", "a")
	require.Empty(t, c.InTwoCallsAtOnce())
	require.Equal(t, 1, c.MaxInFlight())
	require.Equal(t, 99, c.DetachedTimes(proj, "a"))
}

// A client may act on a reply the moment it comes: the call has to be over then.
func TestCallIsOverBeforeItsReplyIsWritten(t *testing.T) {
	t.Parallel()
	c := fakecloud.New(fakecloud.Config{AutoCreate: true})
	w := &atReply{httptest.NewRecorder(), func() {
		require.Equal(t, 200, c.Requests()[0].Status)
		require.True(t, c.Requests()[0].Effect)
		record(c, "POST", "/v2/p/desktops/detach", detachBody("a"))
	}}
	c.ServeHTTP(w, httptest.NewRequest("POST", "/v2/p/desktops/detach", strings.NewReader(detachBody("a"))))
	require.Equal(t, 2, c.Calls())
	require.Empty(t, c.InTwoCallsAtOnce())
	require.Equal(t, 1, c.MaxInFlight())
}

// atReply calls do when a reply begins.
type atReply struct {
	*httptest.ResponseRecorder
	do func()
}

func (w *atReply) WriteHeader(status int) {
	w.do()
	w.ResponseRecorder.WriteHeader(status)
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	c := fakecloud.New(fakecloud.Config{})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(http.ErrServerClosed)
	require.ErrorIs(t, c.Wait(ctx, func() bool { return false }), http.ErrServerClosed)
	require.NoError(t, c.Wait(ctx, func() bool { return true }))
}
