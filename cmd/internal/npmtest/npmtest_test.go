package npmtest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every package that package.json names is installed in its version, and runs.
func TestModules(t *testing.T) {
	t.Parallel()
	var want struct{ Dependencies map[string]string }
	require.NoError(t, json.Unmarshal(wanted, &want))
	require.NotEmpty(t, want.Dependencies)
	for name, version := range want.Dependencies {
		raw, err := os.ReadFile(filepath.Join(Modules(t), name, "package.json"))
		require.NoError(t, err)
		var got struct{ Version string }
		require.NoError(t, json.Unmarshal(raw, &got))
		require.Equal(t, version, got.Version, name)
	}
	require.Contains(t, Run(t, t.TempDir(), "tsc", "--version"), want.Dependencies["typescript"])
}

// The lock file names no host of a registry.
func TestLockNamesNoHost(t *testing.T) {
	t.Parallel()
	require.NotContains(t, string(pinned), `"resolved"`)
}
