package apiclient_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
)

const htmlPage = "<!DOCTYPE html><html><body>Sign in</body></html>"

// What counts as an answer of the API, by status and content, for a call that
// changes something.
func TestAnswersThatAreNotTheAPIs(t *testing.T) {
	t.Parallel()
	const json, html, plain = "application/json", "text/html; charset=utf-8", "text/plain"
	const refusal = `{"error_code":"WKS.0001","error_msg":"m"}`
	for _, test := range []struct {
		status     int
		kind, body string
		notAPI     bool
		effect     apiclient.Effect
	}{
		{407, json, refusal, true, none},
		{407, html, htmlPage, true, none},
		{407, plain, "", true, none},
		{301, plain, "", true, none},
		{302, html, htmlPage, true, none},
		{307, json, `{}`, true, none},
		{200, html, htmlPage, true, possible},
		{200, json, htmlPage, true, possible},
		{200, json, "\ufeff \n" + htmlPage, true, possible},
		{200, plain, "It works!", true, possible},
		{200, json, `["d1"]`, true, possible},
		{200, json, `"ok"`, true, possible},
		{200, json, `{"a":`, true, possible},
		{200, html, "", true, possible},
		{200, json, "", false, possible},
		{201, html, htmlPage, true, possible},
		{400, html, htmlPage, true, none},
		{400, json, refusal, false, none},
		{400, html, refusal, false, none}, // what it is decides, not how it is labelled
		{401, html, htmlPage, true, none},
		{401, json, "", false, none},
		{403, html, htmlPage, true, none},
		{403, plain, "Forbidden", true, none},
		{403, json, `{"message":"Forbidden"}`, false, none},
		{403, json, "", false, none},
		{404, html, htmlPage, true, none},
		{429, html, htmlPage, true, none},
		{429, json, refusal, false, none},
		{500, html, htmlPage, true, possible},
		{500, plain, "oops", true, possible},
		{500, json, refusal, false, possible},
		{500, plain, "", false, possible},
		{502, html, htmlPage, true, possible},
		{503, html, htmlPage, true, possible},
		{504, html, htmlPage, true, possible},
		{502, plain, htmlPage, true, possible},
		{502, plain, "no healthy upstream", false, possible},
		{503, plain, "no healthy upstream", false, possible},
		{504, plain, "upstream request timeout", false, possible},
		{503, html, "", true, possible},
		{503, plain, "", false, possible},
	} {
		t.Run(fmt.Sprint(test.status, " ", test.kind, " ", test.body), func(t *testing.T) {
			t.Parallel()
			srv := serve(t, answer(test.status, test.body, "Content-Type", test.kind))
			host := strings.TrimPrefix(srv.URL, "http://")
			_, err := detachOne(t, client(t, srv.URL))
			e := fault(t, err)
			require.Equal(t, test.notAPI, e.NotAPI)
			require.Equal(t, test.effect, e.Effect)
			require.Equal(t, host, e.Host)
			require.Equal(t, test.status == 401 && !test.notAPI, e.AuthFault)
			require.Equal(t, test.notAPI, strings.Contains(e.Error(), "answered by "+host), e.Error())

			_, err = client(t, srv.URL).Desktops(t.Context(), []string{"d1"})
			e = fault(t, err)
			require.Equal(t, test.notAPI, e.NotAPI, "a reading is judged alike")
			require.Equal(t, none, e.Effect)
		})
	}
}

// A list's place is taken by something else; what contradicts itself is the API's.
func TestListsThatAreNotTheAPIs(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]bool{
		`{"status":"ok"}`: true, `{}`: true,
		`{"desktops":[],"users":[],"total_count":2}`: false, `{"desktops":[{}],"users":[{}]}`: false,
	} {
		c := client(t, serve(t, answer(200, body)).URL)
		_, err := c.Desktops(t.Context(), []string{"d1"})
		require.Equal(t, want, fault(t, err).NotAPI, body)
		_, err = c.Users(t.Context())
		require.Equal(t, want, fault(t, err).NotAPI, body)
	}
}

// What was cut off on its way says nothing about who sent it.
func TestACutAnswerIsTroubleOfTheNetwork(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, `{"failed_operation_list":[`)
	})
	_, err := detachOne(t, client(t, srv.URL))
	require.False(t, fault(t, err).NotAPI)
	require.Equal(t, possible, fault(t, err).Effect)
}

func TestARedirectSaysWhereTo(t *testing.T) {
	t.Parallel()
	srv := serve(t, answer(302, "", "Location", "https://login.example.com/sso?session=private"))
	_, err := detachOne(t, client(t, srv.URL))
	require.ErrorContains(t, err, "a redirect to https://login.example.com:")
	require.NotContains(t, err.Error(), "private")
}

// A token is not given up for a proxy's 401.
func TestAProxys401DoesNotCostTheToken(t *testing.T) {
	t.Parallel()
	var fetches atomic.Int32
	idp := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fetches.Add(1)
		answer(201, `{"token":{}}`, "X-Subject-Token", "tok")(w, r)
	})
	srv := serve(t, answer(401, htmlPage, "Content-Type", "text/html"))
	c := client(t, srv.URL, func(c *apiclient.Config) { c.Auth = passwordToken(t, idp.URL, newClock()) })
	for range 3 {
		_, err := detachOne(t, c)
		require.True(t, fault(t, err).NotAPI)
		require.False(t, fault(t, err).AuthFault)
	}
	require.EqualValues(t, 1, fetches.Load())
}

// A page in IAM's place does not refuse the password.
func TestAPageInIAMsPlace(t *testing.T) {
	t.Parallel()
	idp := serve(t, answer(403, htmlPage, "Content-Type", "text/html"))
	srv := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("sent without a token") })
	c := client(t, srv.URL, func(c *apiclient.Config) { c.Auth = passwordToken(t, idp.URL, newClock()) })
	_, err := detachOne(t, c)
	e := fault(t, err)
	require.True(t, e.NotAPI)
	require.False(t, e.AuthFault)
	require.Equal(t, strings.TrimPrefix(idp.URL, "http://"), e.Host)
}

// connectProxy answers every CONNECT with a status line.
func connectProxy(t *testing.T, status string) *url.URL {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 "+status+"\r\nContent-Length: 0\r\n\r\n")
			}
			_ = conn.Close()
		}
	}()
	return &url.URL{Scheme: "http", Host: l.Addr().String()}
}

// A proxy that does not connect answers before anything has left.
func TestAProxyThatDoesNotConnect(t *testing.T) {
	t.Parallel()
	for status, notAPI := range map[string]bool{
		"407 Proxy Authentication Required": true, "403 Forbidden": true, "302 Found": true,
		"502 Bad Gateway": false, "504 Gateway Time-out": false,
	} {
		proxy := connectProxy(t, status)
		c := client(t, "https://workspace.example.com", func(c *apiclient.Config) {
			tr := transport(t)
			tr.Proxy = http.ProxyURL(proxy)
			c.Transport = tr
		})
		_, err := detachOne(t, c)
		e := fault(t, err)
		require.Equal(t, notAPI, e.NotAPI, status)
		require.Equal(t, none, e.Effect, status)
		require.Equal(t, proxy.Host, e.Host, status)
		require.Equal(t, status[:3], fmt.Sprint(e.Status))
		require.ErrorContains(t, err, proxy.Host)
	}
}

// Of plain HTTP through a proxy, the proxy is who answers.
func TestAProxyOfPlainHTTP(t *testing.T) {
	t.Parallel()
	proxy := serve(t, answer(407, "", "Proxy-Authenticate", "Basic"))
	address, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	c := client(t, "http://workspace.example.com", func(c *apiclient.Config) {
		tr := transport(t)
		tr.Proxy = http.ProxyURL(address)
		c.Transport, c.AllowHTTP = tr, true
	})
	_, err = detachOne(t, c)
	require.True(t, fault(t, err).NotAPI)
	require.Equal(t, address.Host, fault(t, err).Host)
}

// Local tells what this client refuses from what became of a request.
func TestLocalRefusals(t *testing.T) {
	t.Parallel()
	refuses := client(t, serve(t, func(http.ResponseWriter, *http.Request) { t.Error("sent") }).URL)
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"an id":    func() error { _, err := refuses.Desktops(ctx, []string{""}); return err },
		"a detach": func() error { _, err := refuses.Detach(ctx, apiclient.DetachRequest{}); return err },
		"nobody": func() error {
			_, err := refuses.DetachUsers(ctx, []apiclient.UserDetach{{DesktopID: "d"}})
			return err
		},
		"a name":     func() error { _, err := refuses.DesktopsOf(ctx, []string{"a", "a"}); return err },
		"a computer": func() error { _, err := refuses.DesktopsNamed(ctx, nil); return err },
		"a job":      func() error { _, err := refuses.SubJobs(ctx, ".."); return err },
	} {
		e := fault(t, call())
		require.True(t, e.Local, name)
		require.False(t, e.NotAPI, name)
		require.Zero(t, e.Status, name)
	}
	gone := serve(t, nil)
	gone.Close()
	badToken := func(c *apiclient.Config) { c.Auth = apiclient.StaticToken("a\nb") }
	for name, c := range map[string]*apiclient.Client{
		"an outage": client(t, gone.URL), "a 400": client(t, serve(t, answer(400, `{}`)).URL), "a bad token": client(t, gone.URL, badToken),
		"an authenticator": client(t, gone.URL, func(c *apiclient.Config) { c.Auth = broken{} }),
		"nonsense":         client(t, serve(t, answer(200, `{}`)).URL),
		"an endless list":  client(t, serve(t, answer(200, `{"desktops":[{"desktop_id":"x"},{"desktop_id":"y"}],"total_count":9}`)).URL),
	} {
		_, err := c.Desktops(ctx, []string{"d1"})
		require.False(t, fault(t, err).Local, name)
	}
}

func TestProbeDetach(t *testing.T) {
	t.Parallel()
	const nobody = "00000000-0000-0000-0000-000000000000"
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		allowed bool
	}{
		"refused in a 200":    {answer(200, `{"failed_operation_list":[{"desktop_id":"`+nobody+`","error_code":"WKS.1"}]}`), true},
		"taken":               {answer(200, `{"failed_operation_list":[]}`), true},
		"does not exist, 404": {answer(404, `{"error_code":"WKS.00211902","error_msg":"does not exist"}`), true},
		"does not exist, 400": {answer(400, `{"error_code":"WKS.0001"}`), true},
		"not allowed":         {answer(403, `{"error_code":"WKS.00081102"}`), false},
		"service disabled":    {answer(403, `{"error_code":"WKS.00010099"}`), false},
		"credentials":         {answer(401, `{"error_code":"APIGW.0301"}`), false},
		"no such API":         {answer(404, `{"error_code":"APIGW.0101"}`), false},
		"no code":             {answer(404, `{}`), false},
		"throttled":           {answer(429, `{"error_code":"APIGW.0308"}`), false},
		"down":                {answer(500, `{"error_code":"WKS.0005"}`), false},
		"a page":              {answer(404, htmlPage, "Content-Type", "text/html"), false},
		"a page in a 200":     {answer(200, htmlPage, "Content-Type", "text/html"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var sent []string
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				sent = append(sent, r.Method+" "+r.RequestURI+" "+bodyOf(r))
				test.handler(w, r)
			})
			err := client(t, srv.URL).ProbeDetach(t.Context())
			require.Equal(t, test.allowed, err == nil, "%v", err)
			require.Equal(t, []string{"POST " + apiPath + `/desktops/detach {"desktop_ids":["` + nobody + `"]}`}, sent)
		})
	}
}
