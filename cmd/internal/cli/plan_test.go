package cli

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
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

// What a plan showed is run by its hash, and nothing else: a desktop that has somebody else
// by now is on hold, and so is one that came since.
func TestAPlanIsRunByItsHash(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		zoe := fakecloud.User{Name: "zoe"}
		s.cloud.Add(hqID, fakecloud.Desktop{ID: "first", Users: []fakecloud.User{zoe}}, fakecloud.Desktop{ID: "second", Users: []fakecloud.User{zoe}})
		r := s.run(t, "detach", "--user", "zoe", "--project", "hq", "--plan", "--ticket", "HR-1", "--reason", "it's over", "--urgent")
		require.Equal(t, exitOK, r.code, r.err)
		_, command, said := strings.Cut(r.err, "plan: run exactly this within an hour with: detachd ")
		require.True(t, said, r.err)
		command, _, _ = strings.Cut(command, "\n")
		require.Contains(t, command, `--reason 'it'\''s over' --ticket 'HR-1' --urgent`)
		hash := strings.Fields(command)[2]
		require.Equal(t, hash, s.json(t, exitOK, "detach", "--user", "zoe", "--project", "hq", "--plan")["items"].([]any)[0].(map[string]any)["hash"],
			"the same, as nothing has changed")

		s.refused(t, exitUsage, "--shutoff is part of the plan", "detach", "--plan", hash, "--shutoff")
		s.refused(t, exitUsage, `"d1" is not the hash of a plan`, "detach", "--plan", hash, "d1")
		s.refused(t, exitUsage, "make the plan again", "detach", "--plan", strings.Repeat("0", 64))
		require.Empty(t, s.operations(t))

		s.cloud.Add(hqID, fakecloud.Desktop{ID: "new", Users: []fakecloud.User{zoe}})
		s.cloud.Update(hqID, "second", func(d *fakecloud.Desktop) { d.Users = []fakecloud.User{{Name: "heir"}} })
		s.worker(t)
		r = s.run(t, "detach", "--plan", hash, "--reason", "it's over", "--ticket", "HR-1", "--urgent", "--idempotency-key", "k", "--wait")
		require.Equal(t, exitHeld, r.code, r.err)
		op := s.operations(t)[0]
		require.Equal(t, []any{hash, "HR-1", "it's over", true}, []any{op.Plan, op.Ticket, op.Reason, op.Urgent})
		require.Equal(t, tasks.Counts{Detached: 1, Held: 2, Expanded: 1}, op.Counts)
		require.Contains(t, s.ok(t, "desktops", op.ID, "--state", "held"), "PLAN_CHANGED")
		again := s.run(t, "detach", "--plan", hash, "--reason", "it's over", "--ticket", "HR-1", "--urgent", "--idempotency-key", "k")
		require.Contains(t, again.out, "already recorded at ", again.err)
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
