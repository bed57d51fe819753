//go:build !race

package cli

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
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
