package cli

import (
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
