//go:build !race

package cli

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/redistest"
)

// 100,000 desktops with their users are more than a server takes in one request.
// It runs beside no other test, since a server gives every answer less than a minute.
func TestALargeFile(t *testing.T) {
	var b strings.Builder
	b.WriteString("desktop_id,user\n")
	for i := range tasks.MaxDesktops {
		fmt.Fprintf(&b, "f5057fee-4c3e-4459-82dd-%012d,somebody-with-a-longer-name-%06d\n", i, i)
	}
	for mode, operations := range map[string]int{"redis": 1, "server": 2} {
		t.Run(mode, func(t *testing.T) {
			s := newStage(t)
			if mode == "server" {
				s.serve(t)
			}
			r := s.run(t, "detach", "--file", s.file(t, b.String()), "--project", "hq", "--idempotency-key", "k", "--json")
			require.Equal(t, exitOK, r.code, r.err)
			n := 0
			for _, op := range s.operations(t) {
				n += op.Total
			}
			require.Equal(t, tasks.MaxDesktops, n)
			require.Len(t, s.operations(t), operations)
		})
	}
}

// A second long list is accepted while the first one is worked on, whichever Redis runs. A Redis that
// needs more than five seconds for an answer is away, so it runs beside no other test, too.
func TestDevCarriesLongLists(t *testing.T) {
	const rows = 5000
	var list strings.Builder
	list.WriteString("desktop_id\n")
	for i := range rows {
		fmt.Fprintf(&list, "desktop-%d\n", i+1)
	}
	try := func(t *testing.T, s *stage, kind string) {
		inDevWith(t, s, func(other *stage, said string) {
			if !strings.Contains(said, kind) {
				t.Errorf("%q is not said: %s", kind, said)
			}
			for _, project := range []string{"hq", "branch", "hq"} {
				if r := other.runWith(t, t.Context(), list.String(), nil, "detach", "--file", "-", "--project", project); r.code != exitOK {
					t.Errorf("%s: %d: %s", project, r.code, r.err)
				}
			}
		}, "--desktops", strconv.Itoa(rows))
	}
	t.Run("in memory", func(t *testing.T) {
		try(t, newStage(t), "up to 100,000 desktops")
	})
	t.Run("redis-server", func(t *testing.T) {
		redistest.Need(t)
		s := newStage(t)
		s.env["PATH"] = os.Getenv("PATH")
		try(t, s, "redis-server that saves nothing")
	})
}
