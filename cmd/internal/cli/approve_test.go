package cli

import (
	"context"
	"os/user"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
)

// asks has an operation of hr wait for an approval.
func (s *stage) asks(t *testing.T, owner string, desktops int) string {
	t.Helper()
	st := s.store(t)
	op, err := st.Producer.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: []string{"d1", "d2"}, RequestedBy: "hr", Owner: owner})
	require.NoError(t, err)
	asked, err := st.Record.AskApproval(t.Context(), op, tasks.Clearance{
		Why: tasks.WhyLimit, Desktops: desktops, Used: 3, Allowed: 200, WindowS: 86400, SecondPersonAbove: 500, ExpiresAt: time.Now().Add(5 * time.Hour),
	})
	require.NoError(t, err)
	require.True(t, asked)
	return op.ID
}

func TestApproveAndReject(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.refused(t, exitUsage, "no such operation", "approve", "d6i2kg1ksdu9f6fldk0g", "--reason", "x", "--yes")
		op := s.asks(t, "ann", 900)
		status := s.ok(t, "status", op)
		require.Contains(t, status, "waits         for an approval, and nothing is sent: it asks for 900 desktops, after 3 others within 24h; more than 200")
		require.Contains(t, status, "another person than hr (ann) must approve it")
		require.Regexp(t, `without an answer it is cancelled .*, in (4h59m|5h0m)`, status)
		require.Contains(t, status, "detachd approve "+op+" --reason")
		require.Regexp(t, op+` +hq +900 +3 +200 +hr \(ann\) +(4h59m|5h0m)\S+ +limit +yes`, s.ok(t, "list", "--waiting", "-o", "wide"))
		require.Regexp(t, op+`.* waiting `, s.ok(t, "list", "-o", "wide"))
		require.Contains(t, s.run(t, "stats").err, "1 operation waits for an approval, see detachd list --waiting")

		s.refused(t, exitUsage, "approve needs a reason", "approve", op, "--yes")
		s.refused(t, exitUsage, "needs confirmation", "approve", op, "--reason", "checked")
		require.Len(t, s.json(t, exitOK, "list", "--waiting")["items"], 1, "nothing was changed")
		got := s.json(t, exitOK, "approve", op, "--reason", "the site is closed", "--yes")
		require.Equal(t, "running", got["state"])
		require.Regexp(t, `approval +approved .* by jo: the site is closed`, s.ok(t, "status", op))
		s.refused(t, exitUsage, "approved ", "approve", op, "--reason", "again", "--yes")
		s.refused(t, exitUsage, "does not wait for an approval", "reject", op, "--reason", "again")
		require.Empty(t, s.ok(t, "list", "--waiting"))

		require.Contains(t, s.ok(t, "reject", s.asks(t, "jo", 900), "--reason", "wrong list"), "rejected: 2 desktops cancelled")
	})
}

// At the command line, the person of the machine is the person.
func TestOnesOwnIsForAnother(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		me := "JO" // the key's
		if s.url == "" {
			u, err := user.Current()
			require.NoError(t, err)
			me = strings.ToUpper(u.Username)
		}
		op := s.asks(t, me, 900)
		r := s.run(t, "approve", op, "--reason", "it is mine", "--yes")
		require.Equal(t, exitNotAuthorised, r.code)
		require.Contains(t, r.err, me+" asked for these 900 desktops, and nobody may approve more than 500")
		require.Contains(t, r.err, "next: ask another approver to run: detachd approve "+op)
		require.Equal(t, exitOK, s.run(t, "approve", s.asks(t, me, 400), "--reason", "it is mine", "--yes").code)
	})
}

// Whoever waits for an operation learns that a person must act.
func TestWaitingForAnApproval(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		op := s.asks(t, "ann", 900)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := s.runWith(t, ctx, "", func(said string) {
			if len(said) > 0 {
				cancel()
			}
		}, "status", op, "--wait")
		require.Equal(t, exitRunning, r.code)
		require.Contains(t, r.err, "operation "+op+" waits for an approval, and nothing is sent: it asks for 900 desktops")
	})
}

func TestStopAllProjects(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.refused(t, exitUsage, "pause --all needs a reason", "pause", "--all")
		s.refused(t, exitUsage, "takes no arguments", "pause", "--all", "hq", "--reason", "x")
		s.refused(t, exitUsage, "has no end of its own", "pause", "--all", "--for", "1h", "--reason", "x")
		require.Contains(t, s.ok(t, "pause", "--all", "--reason", "a wrong feed"), "all projects stopped")
		for _, alias := range []string{"hq", "branch"} {
			p, err := s.store(t).Record.ProjectPause(t.Context(), alias)
			require.NoError(t, err)
			require.Equal(t, tasks.PauseStop, p.Kind)
		}
		require.Contains(t, s.ok(t, "stats", "-o", "wide"), "stop: jo: a wrong feed")
		require.Contains(t, s.run(t, "doctor").out, "all projects are stopped: jo: a wrong feed")
		require.Contains(t, s.run(t, "resume", "hq").err, "warning: all projects are stopped, so nothing is sent")
		s.refused(t, exitUsage, "resume --all needs a reason", "resume", "--all")
		require.Contains(t, s.ok(t, "resume", "--all", "--reason", "corrected"), "has ended")
		p, err := s.store(t).Record.ProjectPause(t.Context(), "hq")
		require.NoError(t, err)
		require.Nil(t, p)
	})
}
