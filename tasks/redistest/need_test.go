package redistest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// ending is a test of which only the end is looked at.
type ending struct {
	testing.TB
	fatal, skipped []any
}

func (*ending) Helper()             {}
func (e *ending) Fatal(args ...any) { e.fatal = args }
func (e *ending) Skip(args ...any)  { e.skipped = args }

// Where nothing may be skipped, what is missing fails a test.
func TestMissing(t *testing.T) {
	for required, want := range map[string]ending{"all": {fatal: []any{"no redis"}, skipped: []any{"no redis"}}, "": {skipped: []any{"no redis"}}} {
		t.Setenv("DETACHD_TEST_REQUIRE", required)
		var got ending
		Missing(&got, "no redis")
		require.Equal(t, want, got, required)
	}
	t.Setenv("DETACHD_TEST_REQUIRE", "all")
	t.Setenv("PATH", t.TempDir())
	var got ending
	Need(&got)
	require.Contains(t, got.fatal[0], "redis-server is not installed")
}
