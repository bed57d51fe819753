package server

import (
	"cmp"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// The table in docs/http.md has every route with its role, and no other.
func TestDocsHaveEveryRoute(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/http.md")
	require.NoError(t, err)
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z]+ /[^`]*)` \\| (\\w+) \\|").FindAllStringSubmatch(string(page), -1) {
		documented[m[1]] = m[2]
	}
	served := map[string]string{}
	for _, rt := range routes {
		served[rt.method+" "+rt.path] = cmp.Or(string(rt.role), "none")
	}
	require.Equal(t, served, documented)
}
