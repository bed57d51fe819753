package server

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/npmtest"
)

// contractFile writes the document as it is served, and gives its directory.
func contractFile(t *testing.T) (dir string) {
	t.Helper()
	text, _ := contract()
	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "openapi.json"), text, 0o644))
	return dir
}

// redocly and spectral, with the rules that they recommend, have no errors and no warnings.
func TestContractIsClean(t *testing.T) {
	t.Parallel()
	dir := contractFile(t)
	out := npmtest.Run(t, dir, "redocly", "lint", "--format", "json", "openapi.json")
	require.Contains(t, out, `"problems": []`, out)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(`extends: ["spectral:oas"]`), 0o644))
	npmtest.Run(t, dir, "spectral", "lint", "--fail-severity", "warn", "--ruleset", "rules.yaml", "openapi.json")
}
