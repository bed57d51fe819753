package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCancelMany(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		one := s.detached(t, "d1", "d2", "--at", "+2h", "--ticket", "T-1")
		s.detached(t, "d3", "--at", "+2h", "--ticket", "T-1")
		other := s.detached(t, "d4", "--at", "+2h")
		for want, args := range map[string][]string{
			"OPERATION or a filter is missing":   {"cancel", "--since", "1h", "--reason", "r"},
			"a filter needs --since":             {"cancel", "--project", "hq", "--reason", "r"},
			"needs a reason":                     {"cancel", "--ticket", "T-1"},
			"do not go together":                 {"cancel", one, "--ticket", "T-1"},
			"cancelling 2 operations needs":      {"cancel", "--ticket", "T-1", "--reason", "r"},
			"2 operations matched, not 3":        {"cancel", "--ticket", "T-1", "--reason", "r", "--confirm", "3"},
			`there is no cancellation "x"`:       {"cancellation", "show", "x"},
			`there is no cancellation "nowhere"`: {"cancellation", "abort", "nowhere"},
		} {
			s.refused(t, exitUsage, want, args...)
		}
		require.Contains(t, s.run(t, "cancellation", "list").err, "there are no cancellations")
		require.Contains(t, s.run(t, "cancel", "--ticket", "none", "--reason", "r").err, "no operation matches")
		require.InDelta(t, 0, s.json(t, exitOK, "cancel", "--ticket", "none", "--reason", "r")["matched"], 0)
		s.refused(t, exitUsage, seeRows, "undo", other, "--reason", "r")
		s.refused(t, exitUsage, "next: "+fixInput, "list", "--page-token", "xx")
		r := s.run(t, "cancel", "--requested-by", "jo", "--since", "1h", "--dry-run")
		require.Regexp(t, `hq +jo +3 +4\n`, r.out)
		require.Contains(t, r.err, "4 desktops would be cancelled, 0 are too late; nothing was changed")

		r = s.run(t, "cancel", "--ticket", "T-1", "--reason", "the wrong site", "--confirm", "2")
		require.Equal(t, exitOK, r.code, r.err)
		require.Regexp(t, `^cancellation \w+ ended: 2 of 2 operations processed, 3 desktops cancelled, 0 too late\n$`, r.out)
		require.NotContains(t, r.err, "workers continue")
		require.Regexp(t, `ended +2 of 2 +3 +0 .*ticket T-1 +the wrong site\n`, s.ok(t, "cancellation", "list", "-o", "wide"))
		require.Regexp(t, `queued +1\n`, s.ok(t, "status", other))

		s.worker(t)
		require.Equal(t, exitOK, s.run(t, "detach", "d5", "--project", "hq", "--wait").code)
		x := s.json(t, exitOK, "cancel", "--requested-by", "jo", "--since", "1h", "--reason", "the wrong site", "--confirm", "4")
		require.InDelta(t, 1, x["cancelled"], 0)
		require.InDelta(t, 1, x["too_late"], 0)
		id := x["id"].(string)
		require.Contains(t, s.ok(t, "cancellation", "show", id), "1 desktop cancelled, 1 too late")
		require.Regexp(t, `d5 +\w+ +detached`, s.ok(t, "cancellation", "show", id, "--desktops"))
		require.Len(t, s.json(t, exitOK, "cancellation", "show", id, "--desktops")["items"], 1)
		require.Contains(t, s.ok(t, "cancellation", "abort", id), "ended: 4 of 4 operations processed")
	})
}
