package server

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/npmtest"
	"github.com/detachd/detachd/tasks/redistest"
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

// clientsOf copies the programs that use generated clients to the directory of the document.
func clientsOf(t *testing.T) (dir string) {
	t.Helper()
	dir = contractFile(t)
	require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/clients")))
	return dir
}

// runClient runs a program against a server on which the contract's examples have happened.
func runClient(t *testing.T, dir, program string, args ...string) {
	t.Helper()
	s := newScene(t)
	c := exec.CommandContext(t.Context(), program, args...)
	c.Dir, c.Env = dir, append(os.Environ(), "DETACHD_SERVER="+s.url, "DETACHD_API_KEY="+s.key[access.Operator])
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "done\n", string(out))
}

// oapi-codegen and ogen take the document as it is, and what they make compiles and works.
func TestGoClient(t *testing.T) {
	t.Parallel()
	dir := clientsOf(t)
	run := func(args ...string) ([]byte, error) {
		c := exec.CommandContext(t.Context(), "go", args...)
		c.Dir, c.Env = dir, append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
		return c.CombinedOutput()
	}
	if out, err := run("mod", "download"); err != nil {
		redistest.Missing(t, "the generators cannot be downloaded: "+string(out))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "a"), 0o755))
	for _, args := range [][]string{
		{"tool", "oapi-codegen", "-generate", "types,client", "-package", "a", "-o", "a/a.go", "openapi.json"},
		{"tool", "ogen", "--target", "b", "--package", "b", "--config", "ogen.yml", "openapi.json"},
		{"build", "-trimpath", "-o", "client", "."},
	} {
		out, err := run(args...)
		require.NoError(t, err, "go %v: %s", args, out)
	}
	runClient(t, dir, "./client")
}

// openapi-typescript takes the document as it is, and a client of these types works.
func TestTypeScriptClient(t *testing.T) {
	t.Parallel()
	dir := clientsOf(t)
	require.NoError(t, os.Symlink(npmtest.Modules(t), filepath.Join(dir, "node_modules")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"type":"module"}`), 0o644))
	npmtest.Run(t, dir, "openapi-typescript", "openapi.json", "-o", "openapi.d.ts")
	npmtest.Run(t, dir, "tsc", "--strict", "--noUncheckedIndexedAccess", "--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom", "main.ts")
	runClient(t, dir, "node", "main.js")
}
