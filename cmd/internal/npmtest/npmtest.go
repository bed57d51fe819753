// Package npmtest gives tests the programs of npm that they check pages and the API's
// contract with. It is for tests only, and nothing of it is part of the binary.
package npmtest

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/detachd/detachd/tasks/redistest"
)

// The versions are pinned, with the checksums of their archives.
var (
	//go:embed package.json
	wanted []byte
	//go:embed package-lock.json
	pinned []byte
)

// installTimeout is for slow networks; usually npm takes 20 s, and later runs find the
// packages in the user's cache directory.
const installTimeout = 5 * time.Minute

var install = sync.OnceValues(func() (string, error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", fmt.Errorf("npm is not installed (on Debian: apt-get install npm, or `make test` as root): %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(pinned)
	dir := filepath.Join(cache, "detachd-test-"+hex.EncodeToString(sum[:6]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	modules, complete := filepath.Join(dir, "node_modules"), filepath.Join(dir, "complete")
	if _, err := os.Stat(complete); err == nil {
		return modules, nil
	}
	for name, content := range map[string][]byte{"package.json": wanted, "package-lock.json": pinned} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return "", err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), installTimeout)
	defer cancel()
	// No package may run a script of its own.
	c := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return modules, os.WriteFile(complete, nil, 0o644)
})

// lock waits until no other test process installs.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

// Modules returns the directory node_modules with the packages of package.json installed.
// Without npm the test is skipped, or fails in CI; see redistest.Missing.
func Modules(t testing.TB) string {
	t.Helper()
	dir, err := install()
	if err != nil {
		redistest.Missing(t, err.Error())
	}
	return dir
}

// Run runs a program of a package, such as "redocly", in a directory, and returns its
// output. The test fails if the program does.
func Run(t testing.TB, dir, program string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), filepath.Join(Modules(t), ".bin", program), args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "REDOCLY_TELEMETRY=off", "REDOCLY_SUPPRESS_UPDATE_NOTICE=true")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
	return string(out)
}
