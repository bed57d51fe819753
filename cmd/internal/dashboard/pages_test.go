package dashboard_test

import (
	"testing"

	"github.com/chromedp/chromedp"

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
