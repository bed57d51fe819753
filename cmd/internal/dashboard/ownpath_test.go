package dashboard

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Signing in always leads to a path of this site, as Go parses it and as browsers do,
// which treat a backslash as a slash and drop tabs and line breaks.
func FuzzOwnPath(f *testing.F) {
	for _, seed := range []string{"/operations?open=1", "//evil.example", `/\evil.example`, "https:evil.example", "/\t/evil.example",
		"/@evil.example", "/..//evil.example"} {
		f.Add(seed)
	}
	site, err := url.Parse("https://detachd.example/signin")
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, to string) {
		own := ownPath(to)
		at, err := site.Parse(own)
		require.NoError(t, err)
		require.Equal(t, "https://detachd.example", at.Scheme+"://"+at.Host)
		require.Nil(t, at.User)
		browser := strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(own)
		require.True(t, strings.HasPrefix(browser, "/") && !strings.HasPrefix(browser, "//"), own)
		require.Contains(t, []string{to, "/"}, own)
	})
}
