package cli

import (
	"encoding/csv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

// What a person has is a table; what could not be read ends with an error and is never nothing.
func TestAccess(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.cloud.Add(hqID, fakecloud.Desktop{ID: "d1", ComputerName: "PC-\x1b[31m1", Users: []fakecloud.User{{Name: "zoe"}, {Name: "bob"}}, Type: fakecloud.Shared})
		s.cloud.AddPeople(hqID, fakecloud.Person{Name: "idle"})
		r := s.run(t, "access", "zoe")
		require.Equal(t, exitOK, r.code, r.err)
		require.Regexp(t, `PC-\\x1b\[31m1 +d1 +hq +ATTACHED +zoe, bob +-`, r.out)
		require.Equal(t, "idle has no desktop\n", s.ok(t, "access", "idle"))
		r = s.run(t, "access", "ZOE")
		require.Equal(t, exitOK, r.code)
		require.Equal(t, "ZOE has no desktop: Workspace knows no user of this name\n", r.out)
		require.Contains(t, r.err, "project hq: similar names: zoe")
		require.Equal(t, true, s.json(t, exitOK, "access", "zoe")["complete"])
		s.refused(t, exitUsage, "invalid user name", "access", "")
		s.refused(t, exitUsage, "USER is missing", "access")

		s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Status: 403, Code: "IAM.0002", Message: "no right"})
		r = s.run(t, "access", "idle")
		require.Equal(t, exitInternal, r.code)
		require.Empty(t, r.out, "nothing was read, so nothing is claimed")
		require.Contains(t, r.err, "could not be read completely: hq, branch")
		require.Equal(t, false, s.json(t, exitInternal, "access", "idle")["complete"])
	})
}

// Who came back is a table, JSON or CSV, and the exit code says that somebody did, or that not
// everything could be read.
func TestWhoCameBack(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.worker(t)
		s.cloud.Add(hqID,
			fakecloud.Desktop{ID: "d1", Users: []fakecloud.User{{Name: "=cmd|zoe", ID: "u1"}}},
			fakecloud.Desktop{ID: "d2", Users: []fakecloud.User{{Name: "bob", ID: "u2"}}},
		)
		require.Equal(t, exitOK, s.run(t, "detach", "d1", "d2", "--project", "hq", "--wait").code)
		op := s.operations(t)[0].ID
		r := s.run(t, "access", "--since", "2h")
		require.Equal(t, exitOK, r.code, r.err)
		require.Regexp(t, `^Since .* 2 people lost 2 desktops: 0 people came back, 0 people got one by an undo \(3 readings\)\n$`, r.out)
		require.Equal(t, []any{}, s.json(t, exitOK, "access", "--since", "30d", "--project", "hq")["items"])

		s.cloud.Add(hqID, fakecloud.Desktop{ID: "d3", ComputerName: "PC-\x1b[31m3", Users: []fakecloud.User{{Name: "=cmd|zoe", ID: "u9"}}})
		r = s.run(t, "access", "--since", "30d", "-o", "wide")
		require.Equal(t, exitFailed, r.code)
		require.Contains(t, r.out, "1 person came back")
		require.Regexp(t, `=cmd\|zoe +hq +another desktop +PC-\\x1b\[31m3 +d3 +ATTACHED +=cmd\|zoe +\S+ +`+op+` +another account with the name \(u9\)`, r.out)
		require.Contains(t, r.err, "1 person has a desktop again")
		v := s.json(t, exitFailed, "access", "--since", "30d")
		require.Equal(t, []any{true, 2., 1.}, []any{v["complete"], v["people"], v["came_back"]})
		require.Equal(t, "d3", v["items"].([]any)[0].(map[string]any)["desktop_id"])
		r = s.run(t, "access", "--since", "30d", "--csv")
		require.Equal(t, exitFailed, r.code)
		rows, err := csv.NewReader(strings.NewReader(r.out)).ReadAll()
		require.NoError(t, err)
		require.Len(t, rows, 2)
		require.Equal(t, []string{"came_back", "hq", "'=cmd|zoe", "u9", "other_desktop", "true", "d3"}, rows[1][:7])

		s.refused(t, exitUsage, "is in the future", "access", "--since", "2199-01-01T00:00:00Z")
		s.refused(t, exitUsage, "not in the record any more", "access", "--since", "2020-01-01T00:00:00Z")
		s.refused(t, exitUsage, "is not a configured project", "access", "--since", "1h", "--project", "nowhere")
		s.refused(t, exitUsage, `the user "zoe" was given: give one of them`, "access", "--since", "1h", "zoe")
		s.refused(t, exitUsage, "invalid --since", "access", "--since", "soon")

		s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Status: 403, Code: "IAM.0002", Message: "no right", Times: 100})
		r = s.run(t, "access", "--since", "30d")
		require.Equal(t, exitInternal, r.code)
		require.Contains(t, r.err, "project hq: ListDesktopsDetail: HTTP 403: IAM.0002: no right")
		require.Contains(t, r.err, "could not be read completely: hq")
		r = s.run(t, "access", "--since", "30d", "--csv")
		require.Equal(t, exitInternal, r.code)
		require.Contains(t, r.out, "\nnot_read,hq,")
	})
}
