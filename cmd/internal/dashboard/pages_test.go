package dashboard_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
)

func TestSignIn(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	b.expect("401")
	b.open("/operations?open=1")
	b.at("/signin?to=%2Foperations%3Fopen%3D1")
	b.run(chromedp.SendKeys("#key", "dk_nonsense\r", chromedp.ByQuery))
	b.sees("That key is not valid")
	b.run(chromedp.SendKeys("#key", s.key(access.Viewer)+"\r", chromedp.ByQuery))
	b.at("/operations?open=1")
	b.sees("No operation matches")
	b.press("Sign out")
	b.at("/signin")
	b.open("/operations")
	b.at("/signin?to=%2Foperations")
}

// Who guesses keys is slowed down here and by the API as one; who has one signs in.
func TestGuessingKeysIsSlowedDown(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	signIn := func(key string) *http.Response {
		return s.post("/signin", "", "application/x-www-form-urlencoded", strings.NewReader(url.Values{"key": {key}}.Encode()))
	}
	mine := s.key(access.Viewer)
	require.Equal(t, http.StatusSeeOther, signIn(mine).StatusCode)
	for range 10 {
		require.Equal(t, http.StatusUnauthorized, signIn("dk_nonsense").StatusCode)
	}
	resp := signIn("dk_nonsense")
	require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	require.Equal(t, http.StatusSeeOther, signIn(mine).StatusCode, "it was accepted from here before")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v1/key", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer dk_nonsense")
	resp, err = http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
}
