package record_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/detachd/detachd/tasks/redistest"
)

// A redis-server compares texts by its locale in Lua, and by their bytes elsewhere. In that of
// the United States "zoe.a" comes after "zoea", and "a" before "B". Not parallel: a server
// takes its locale from the environment.
func TestServerInALocale(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "localedef", "-i", "en_US", "-f", "UTF-8", filepath.Join(dir, "en_US.UTF-8")).CombinedOutput()
	if err != nil {
		redistest.Missing(t, "no locale can be made (on Debian: apt-get install locales, or `make test` as root): "+string(out))
	}
	t.Setenv("LOCPATH", dir)
	t.Setenv("LC_ALL", "en_US.UTF-8")
	s := redistest.Start(t)
	for name, test := range map[string]func(*testing.T, *bundle){
		"names": namesByPrefix, "hostile names": namesAreHostile, "operations": operations, "search": search, "inbox": inbox, "tallies": tallies,
	} {
		t.Run(name, func(t *testing.T) { test(t, newBundle(t, s.Client(t))) })
	}
}
