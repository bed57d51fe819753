package cli

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

func TestPlanQueuesNothing(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		on := func(names ...string) (out []fakecloud.User) {
			for _, n := range names {
				out = append(out, fakecloud.User{Name: n})
			}
			return out
		}
		s.cloud.Add(hqID, fakecloud.Desktop{ID: "d1", Users: on("zoe")}, fakecloud.Desktop{ID: "d2", Users: on("ann")})
		file := s.file(t, "desktop_id,user\nd1,zoe\nd2,zoe\n")
		r := s.run(t, "detach", "--file", file, "--project", "hq", "--plan")
		require.Equal(t, exitOK, r.code, r.err)
		require.Regexp(t, `d1 +hq +send +zoe +-`, r.out)
		require.Regexp(t, `d2 +hq +hold +- +OTHER_USER`, r.out)
		require.True(t, strings.HasPrefix(r.out, "Of 2 desktops, 1 will be detached from 1 person and 1 will be put on hold (OTHER_USER 1).\n"), r.out)
		require.Less(t, strings.Index(r.out, "\nd2 "), strings.Index(r.out, "\nd1 "), "held first")
		require.Contains(t, r.err, "nothing was queued")
		v := s.json(t, exitOK, "detach", "--file", file, "--project", "hq", "--plan")
		require.Len(t, v["items"].([]any)[0].(map[string]any)["items"], 2)
		require.Empty(t, s.operations(t))
		s.refused(t, exitUsage, "nothing to --wait for", "detach", "--project", "hq", "d1", "--plan", "--wait")
	})
}

// A plan of thousands is read to its end, and is one document with every row.
func TestPlanOfThousands(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		var list strings.Builder
		list.WriteString("desktop_id,user\n")
		for i := range 1200 {
			d := fakecloud.Desktop{ID: fmt.Sprintf("d-%04d", i), Users: []fakecloud.User{{Name: fmt.Sprintf("u-%04d", i)}}}
			if i%100 == 0 {
				d.Users[0].Name = "heir"
			}
			s.cloud.Add(hqID, d)
			fmt.Fprintf(&list, "d-%04d,u-%04d\n", i, i)
		}
		v := s.json(t, exitOK, "detach", "--file", s.file(t, list.String()), "--project", "hq", "--plan")
		require.Equal(t, "Of 1,200 desktops, 1,188 will be detached from 1,188 people and 12 will be put on hold (OTHER_USER 12).", v["summary"])
		plan := v["items"].([]any)[0].(map[string]any)
		require.Len(t, plan["items"], 1200)
		require.Equal(t, "hold", plan["items"].([]any)[11].(map[string]any)["does"])
		require.Equal(t, "send", plan["items"].([]any)[12].(map[string]any)["does"])
		require.Empty(t, plan["next_page_token"])
		require.Empty(t, s.operations(t))
	})
}

func TestPlanWithoutTheCloud(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Status: http.StatusForbidden, Code: "IAM.0002", Message: "no\x1b[2Jaccess"})
		s.refused(t, exitInternal, `ListDesktopsDetail: HTTP 403: IAM.0002: no\x1b[2Jaccess`, "detach", "--project", "hq", "d1", "--plan")
	})
}
