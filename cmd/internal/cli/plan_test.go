package cli

import (
	"net/http"
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
		require.Contains(t, r.err, "plan: 1 to be detached, 1 to be held; nothing was queued")
		v := s.json(t, exitOK, "detach", "--file", file, "--project", "hq", "--plan")
		require.Len(t, v["plans"].([]any)[0].(map[string]any)["items"], 2)
		require.Empty(t, s.operations(t))
		s.refused(t, exitUsage, "nothing to --wait for", "detach", "--project", "hq", "d1", "--plan", "--wait")
	})
}

func TestPlanWithoutTheCloud(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Status: http.StatusForbidden, Code: "IAM.0002", Message: "no\x1b[2Jaccess"})
		s.refused(t, exitInternal, `ListDesktopsDetail: HTTP 403: IAM.0002: no\x1b[2Jaccess`, "detach", "--project", "hq", "d1", "--plan")
	})
}
