package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

func TestRecall(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.cloud.Add(hqID, fakecloud.Desktop{ID: "d1", Users: []fakecloud.User{{Name: "zoe"}}})
		for want, args := range map[string][]string{
			"--user is missing":            {"recall", "--reason", "r"},
			"recall needs a reason":        {"recall", "--user", "zoe"},
			"there is no such project":     {"recall", "--user", "zoe", "--project", "nowhere", "--reason", "r"},
			"unknown command":              {"recall", "zoe"},
			`there is no recall "nowhere"`: {"recall", "show", "nowhere"},
		} {
			s.refused(t, exitUsage, want, args...)
		}
		require.Contains(t, s.ok(t, "recall"), "recall show")
		require.Contains(t, s.run(t, "recall", "list").err, "there are no recalls")
		later := s.detached(t, "--user", "zoe", "--user", "bo", "--at", "+2h", "--ticket", "T-1")
		shared := s.detached(t, "d3", "--expected-user", "zoe", "--expected-user", "bo", "--at", "+2h")

		r := s.run(t, "recall", "--user", "Zoe", "--reason", "stays")
		require.Equal(t, exitFailed, r.code, r.err)
		require.Contains(t, r.err, `no operation that matches names "Zoe": nothing was cancelled`)
		require.Contains(t, r.err, "operations also name zoe")
		r = s.run(t, "recall", "--user", "zoe", "--source", "jo", "--reason", "the contract was extended")
		require.Equal(t, exitHeld, r.code, r.err)
		require.Regexp(t, `user:zoe +cancelled +cancelled +`+later, r.out)
		require.Regexp(t, `d3 +on hold +on hold +`+shared+` +hq +jo +bo`, r.out)
		require.Contains(t, r.out, "of zoe: 1 row cancelled, 0 too late, 1 on hold, 0 in a call\n")
		require.Contains(t, r.err, "idempotency key: recall-")
		require.Regexp(t, `queued +1\n`, s.ok(t, "status", later), "bo is still to lose it")
		require.Regexp(t, `zoe +requested by jo +\w+ .*the contract was extended\n`, s.ok(t, "recall", "list", "-o", "wide"))

		s.worker(t)
		s.detached(t, "--user", "zoe", "--wait")
		x := s.json(t, exitFailed, "recall", "--user", "zoe", "--reason", "too late", "--idempotency-key", "k")
		require.Equal(t, x, s.json(t, exitFailed, "recall", "--user", "zoe", "--reason", "too late", "--idempotency-key", "k"))
		id := x["id"].(string)
		r = s.run(t, "recall", "show", id)
		require.Equal(t, exitFailed, r.code, r.err)
		require.Regexp(t, `d1 +too late +detached`, r.out)
		_, undo, found := strings.Cut(r.err, "to give back what was too late: detachd ")
		require.True(t, found, r.err)
		undo, _, _ = strings.Cut(undo, "\n")
		args := strings.Fields(strings.ReplaceAll(undo, `"recall `+id+`"`, "recalled"))
		s.ok(t, append(args, "--wait")...)
		r = s.run(t, "recall", "show", id)
		require.Equal(t, exitHeld, r.code, "d3 of the first recall: "+r.err)
		require.Regexp(t, `d1 +nothing to do +detached`, r.out)
		s.detached(t, "--user", "zoe", "--at", "+2h")
		require.Contains(t, s.run(t, "recall", "show", id).err, "1 row came later")
		values, _ := s.completed(t, "recall", "show", "")
		require.Contains(t, strings.Join(values, "\n"), id+"\tzoe, all operations")
	})
}
