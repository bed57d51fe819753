package dashboard_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
)

// look fails the test if a page is not accessible or too wide, and takes pictures of
// it.
func (b *browser) look(p place) {
	b.t.Helper()
	p.visit(b)
	b.accessible(p.name)
	b.narrow(p.name)
	b.shoot(p.name)
	b.scheme("light")
}

// Every page in every state, light and dark, wide and narrow.
func TestEveryPage(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	b.expect("400")
	b.expect("404")
	b.look(place{"signin", goTo("/signin")})
	x := told(s, usual, b)
	for _, p := range x.places() {
		b.look(p)
	}
}

func TestEveryPageWhereNothingWasDone(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	b.expect("401")
	b.expect("403")
	b.look(place{"signin-wrong", func(b *browser) {
		b.open("/signin")
		b.fill("#key", "dk_nonsense\r")
		b.sees("Invalid key: unknown, revoked or expired")
	}})
	b.signIn(s.key(access.Operator))
	for _, p := range emptyPlaces {
		b.look(p)
		require.NotZero(t, value[int](b, `document.querySelectorAll(".empty, .facts").length`), "%s says that there is nothing", p.name)
	}
	b.look(place{"forbidden", goTo("/keys")})
	b.sees("Your key does not allow this")
	b.sees("this needs the role admin, and your key has operator")
}
