package dashboard_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks/api"
)

func TestSignIn(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	b.expect("401")
	b.open("/operations?open=1")
	b.at("/signin?to=%2Foperations%3Fopen%3D1")
	b.run(chromedp.SendKeys("#key", "dk_nonsense\r", chromedp.ByQuery))
	b.sees("Invalid key: unknown, revoked or expired")
	b.run(chromedp.SendKeys("#key", s.key(access.Viewer)+"\r", chromedp.ByQuery))
	b.at("/operations?open=1")
	b.sees("No operations match")
	b.press("Sign out")
	b.at("/signin")
	b.open("/operations")
	b.at("/signin?to=%2Foperations")
}

// The dashboard and the API share the limit for guessed keys; a valid key still signs
// in.
func TestGuessingKeysIsSlowedDown(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	signIn := func(key string) answer { return s.post("/signin", "", "key", key) }
	mine := s.key(access.Viewer)
	require.Equal(t, http.StatusSeeOther, signIn(mine).status)
	for range 20 {
		require.Equal(t, http.StatusUnauthorized, signIn("dk_nonsense").status, "it is not a guess, and locks out nobody")
	}
	wrong := "dk_" + strings.Repeat("a", 32)
	for range 10 {
		require.Equal(t, http.StatusUnauthorized, signIn(wrong).status)
	}
	a := signIn(wrong)
	require.Equal(t, http.StatusTooManyRequests, a.status)
	require.NotEmpty(t, a.header.Get("Retry-After"))
	require.Equal(t, http.StatusSeeOther, signIn(mine).status, "it was accepted from here before")
	require.Equal(t, http.StatusTooManyRequests, s.do("GET", "/v1/key", "", nil, "Authorization", "Bearer "+wrong).status)
}

// The first command that a server shows works with the server that it was asked of.
func TestTheFirstCommandIsForThisServer(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	session := s.session(access.Producer)
	for host, at := range map[string]string{
		"localhost:8080": "http://localhost:8080", "127.0.0.1:1": "http://127.0.0.1:1", "[::1]:8080": "http://[::1]:8080",
		"detachd.example.com": "https://detachd.example.com",
	} {
		require.Contains(t, s.do("GET", "/", session, nil, "Host", host).body, "<code>curl "+at+"/v1/operations", host)
	}
}

// After a session has ended, a form that is sent leads to a sign-in which says that nothing was done,
// and from there back to the form's page.
func TestWhatIsSentAfterTheSessionHasEnded(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	op := s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-1"}})
	send := func(path, from string) string {
		a := s.do("POST", path, "", strings.NewReader(form("reason", "known")), "Content-Type", "application/x-www-form-urlencoded", "Referer", from)
		require.Equal(t, http.StatusSeeOther, a.status)
		return a.header.Get("Location")
	}
	page := "/operations/" + op.ID
	for from, to := range map[string]string{
		s.url + page + "?state=failed": "to=" + url.QueryEscape(page+"?state=failed") + "&", s.url + page: "to=" + url.QueryEscape(page) + "&",
		s.url + "/": "", s.url + page + "/approve": "", "": "", "https://elsewhere.example" + page: "", "::": "",
	} {
		where := send(page+"/approve", from)
		require.Equal(t, "/signin?"+to+"unsent=1", where, from)
		require.Contains(t, s.get(where, "").body, "nothing that you sent was done", from)
	}
	require.Equal(t, "/signin", send("/signout", s.url+page), "it was what they wanted")
	require.NotContains(t, s.get("/signin?to="+url.QueryEscape(page), "").body, "nothing that you sent was done")

	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Producer))
	b.open("/new")
	b.run(network.ClearBrowserCookies())
	b.fill("textarea", "d-1")
	value[bool](b, `document.querySelector("form[action='/new/plan']").submit() === undefined`) // as without the script, which keeps what is typed
	b.sees("nothing that you sent was done")
	b.accessible("sign-in after the session has ended")
	b.narrow("sign-in after the session has ended")
	b.shoot("signin-unsent")
	b.fill("#key", s.key(access.Producer)+"\r")
	b.at("/new")
}

// A browser that drops the cookie without TLS does not end in a redirect loop.
func TestSigningInWithoutTLS(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	key := s.key(access.Viewer)
	signIn := func(host string) string {
		a := s.do("POST", "/signin", "", strings.NewReader(form("key", key, "to", "/failures")), "Content-Type",
			"application/x-www-form-urlencoded", "Host", host)
		require.Equal(t, http.StatusSeeOther, a.status)
		return a.header.Get("Location")
	}
	for _, host := range []string{"localhost:8080", "127.0.0.1", "[::1]:8080"} {
		require.Equal(t, "/failures", signIn(host), host)
	}
	to := signIn("detachd.example.com:8080")
	require.Contains(t, s.get(to, "").body, "https only")
	a := s.get(to, s.session(access.Viewer))
	require.Equal(t, http.StatusSeeOther, a.status, "a proxy spoke TLS, and the cookie was kept")
	require.Equal(t, "/failures", a.header.Get("Location"))
}
