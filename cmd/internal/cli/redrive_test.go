package cli

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

func TestRedrive(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.cloud.Fail(fakecloud.Refused("d1", "WKS.00010110", "no address"))
		s.cloud.Fail(fakecloud.Refused("d2", "WKS.00010110", "no address"))
		s.cloud.Fail(fakecloud.Refused("d3", "WKS.00010111", "other"))
		s.worker(t)
		require.Equal(t, exitFailed, s.run(t, "detach", "d1", "d3", "--project", "hq", "--wait").code)
		require.Equal(t, exitFailed, s.run(t, "detach", "d2", "--project", "branch", "--wait").code)

		s.refused(t, exitUsage, "a redrive needs either a filter or --all", "redrive", "start")
		s.refused(t, exitUsage, "a redrive needs either a filter or --all", "redrive", "start", "--all", "--code", "x")
		s.refused(t, exitUsage, "there is no redrive \"x\"", "redrive", "show", "x")
		s.refused(t, exitUsage, "there is no redrive \"x\"", "redrive", "abort", "x")
		require.Contains(t, s.run(t, "redrive", "start", "--code", "none", "--dry-run").err, "no failure matches")
		r := s.run(t, "redrive", "start", "--code", "WKS.00010110", "--dry-run")
		require.Regexp(t, `hq +\S+ +WKS.00010110 +1\n`, r.out)
		require.Contains(t, r.err, "2 desktops would be retried; nothing was changed")
		require.Contains(t, s.run(t, "redrive", "list").err, "there are no redrives")

		s.cloud.ClearFaults()
		x := s.json(t, exitOK, "redrive", "start", "--code", "WKS.00010110", "--reason", "fixed", "--idempotency-key", "k")
		require.InDelta(t, 2, x["matched"], 0)
		require.Equal(t, "jo", x["requested_by"])
		id := x["id"].(string)
		again := s.json(t, exitOK, "redrive", "start", "--code", "WKS.00010110", "--reason", "fixed", "--idempotency-key", "k")
		require.Equal(t, id, again["id"])
		// A worker carries it on; when it has ended, both are done or on their way.
		for redriveEnded := false; !redriveEnded; {
			redriveEnded = s.json(t, exitOK, "redrive", "show", id)["ended_at"] != nil
		}
		for _, op := range s.operations(t) {
			s.run(t, "status", op.ID, "--wait")
		}
		require.Regexp(t, id+` +ended +2 +0 +2 +jo .*code WKS.00010110\n`, s.ok(t, "redrive", "list"))
		shown := s.ok(t, "redrive", "show", id, "--desktops")
		require.Regexp(t, `d1 .*yes +detached`, shown)
		require.Regexp(t, `d2 .*yes +detached`, shown)
		require.NotContains(t, shown, "d3 ")
		require.Contains(t, shown, "results: 2 detached\n")
		require.Contains(t, s.ok(t, "redrive", "abort", id), "had already finished")
		require.Len(t, s.failures(t), 1)
	})
}

func TestRedriveAborted(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		ids := []string{"d1", "d2", "d3", "d4", "d5"}
		for _, id := range ids {
			s.cloud.Fail(fakecloud.Refused(id, "WKS.00010110", "no address"))
		}
		s.worker(t)
		require.Equal(t, exitFailed, s.run(t, append([]string{"detach", "--project", "hq", "--wait"}, ids...)...).code)
		x := s.json(t, exitOK, "redrive", "start", "--all", "--per-second", "1") // so that it cannot have ended
		shown := s.json(t, exitOK, "redrive", "abort", x["id"].(string))
		require.Equal(t, "jo", shown["aborted_by"])
		require.Contains(t, s.ok(t, "redrive", "list"), "aborted")
	})
}

// What lists can be asked for.
func TestListsByCodeAndUser(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.cloud.Add(hqID, fakecloud.Desktop{ID: "d1", Users: []fakecloud.User{{Name: "zoe"}}}, fakecloud.Desktop{ID: "d2", Users: []fakecloud.User{{Name: "ann"}}})
		s.worker(t)
		file := s.file(t, "desktop_id,user\nd1,eve\nd2,eve\nd3,eve\n")
		require.NotEqual(t, exitOK, s.run(t, "detach", "--file", file, "--project", "hq", "--wait").code)
		require.Contains(t, s.ok(t, "failures", "--user", "EVE"), "OTHER_USER")
		require.Contains(t, s.run(t, "failures", "--user", "nobody").err, "no failure matches")
		require.Contains(t, s.ok(t, "failures", "--requested-by", "jo"), "OTHER_USER")
		require.Contains(t, s.run(t, "failures", "--requested-by", "nobody").err, "no failure matches")
		op := s.operations(t)[0].ID
		require.Contains(t, s.ok(t, "desktops", op, "--code", "OTHER_USER"), "d1")
		require.Contains(t, s.run(t, "desktops", op, "--code", "X").err, "no desktop of the operation matches")
		for _, args := range []string{"failures", "list", "redrive start --dry-run", "dismiss --dry-run", "cancel --since 1h --dry-run"} {
			s.refused(t, exitUsage, "project \"hp\" is not configured\n  next: use one of hq, branch", append(strings.Fields(args), "--project", "hp")...)
			require.Equal(t, exitOK, s.run(t, append(strings.Fields(args), "--project", "branch")...).code)
		}
		for _, args := range []string{"failures", "redrive start --dry-run", "dismiss --dry-run"} {
			s.refused(t, exitUsage, "there is no class \"help\"", append(strings.Fields(args), "--class", "help")...)
		}
	})
}

func TestDismiss(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		for _, id := range []string{"d1", "d2", "d3"} {
			s.fail(t, id, "NOT_FOUND")
		}
		op := s.fail(t, "d4", "HIBERNATED")
		r := s.run(t, "failures")
		require.Contains(t, r.err, "HIBERNATED: Wake the desktop up in the Workspace console, then retry")
		require.Contains(t, s.json(t, exitOK, "failures")["advice"], "NOT_FOUND")

		s.refused(t, exitUsage, "needs exactly one of: desktops, a filter, --all", "dismiss", "--reason", "r")
		s.refused(t, exitUsage, "needs exactly one of: desktops, a filter, --all", "dismiss", op, "d4", "--code", "x", "--reason", "r")
		s.refused(t, exitUsage, "no desktop of operation", "dismiss", op, "--reason", "r")
		s.refused(t, exitUsage, "needs a reason", "dismiss", op, "d4")
		s.refused(t, exitUsage, "needs confirmation", "dismiss", "--code", "NOT_FOUND", "--reason", "r")
		s.refused(t, exitUsage, "3 desktops matched, not 2; nothing was dismissed", "dismiss", "--code", "NOT_FOUND", "--reason", "r", "--confirm", "2")
		r = s.run(t, "dismiss", "--code", "NOT_FOUND", "--dry-run")
		require.Regexp(t, `hq +held +NOT_FOUND +3\n`, r.out)
		require.Contains(t, r.err, "3 desktops would be dismissed; nothing was changed")
		require.Contains(t, s.run(t, "dismiss", "--code", "none", "--reason", "r").err, "no failure matches")
		require.Len(t, s.failures(t), 4)

		require.Contains(t, s.ok(t, "dismiss", "--code", "NOT_FOUND", "--reason", "deleted last week", "--confirm", "3"), "3 desktops dismissed")
		r = s.run(t, "dismiss", op, "d4", "d5", "--reason", "r")
		require.Contains(t, r.out, "1 desktop dismissed")
		require.Contains(t, r.err, "skipped because not in the inbox: 1 desktop")
		require.Empty(t, s.failures(t))
		require.Contains(t, s.ok(t, "desktops", op), "HIBERNATED", "rows stay")
		require.InDelta(t, 0, s.json(t, exitOK, "dismiss", op, "d4", "--reason", "r")["dismissed"], 0)
	})
}

// What somebody types is compared with what matches.
func TestDismissIsConfirmedByTyping(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]int{"3\n": 3, " 12 ": 12} {
		p := Program{Stdin: strings.NewReader(answer), Stderr: io.Discard}
		n, err := p.askNumber("?", "dismissed")
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	for _, answer := range []string{"", "yes\n"} {
		p := Program{Stdin: strings.NewReader(answer), Stderr: io.Discard}
		_, err := p.askNumber("?", "dismissed")
		require.ErrorContains(t, err, "nothing was dismissed")
	}
}

// fail has a desktop of an operation of its own held with a code.
func (s *stage) fail(t *testing.T, id, code string) string {
	t.Helper()
	st := s.store(t)
	op, err := st.Producer.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: []string{id}})
	require.NoError(t, err)
	c, err := st.Record.Chunk(t.Context(), op.ID, 0)
	require.NoError(t, err)
	now := time.Now()
	_, err = st.Record.Apply(t.Context(), now, []record.Change{{Operation: op, Moves: []record.Move{{
		Desktop: c.Desktops[0], To: tasks.StateHeld, Failure: &tasks.Failure{Code: code, Class: "held", Message: "no", At: now},
	}}}})
	require.NoError(t, err)
	return op.ID
}

func (s *stage) failures(t *testing.T) []tasks.Failure {
	t.Helper()
	all, _, err := s.store(t).Record.Failures(t.Context(), tasks.FailureFilter{}, 100, "")
	require.NoError(t, err)
	return all
}
