package cli

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
)

func TestDetachRecordsWhatWasAsked(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		r := s.run(t, "detach", "d1", "d2", "--project", "hq", "--shutoff", "--urgent", "--at", "2126-11-23T18:00:00Z",
			"--deadline", "2126-11-24T18:00:00Z", "--reason", "left", "--ticket", "HR-1")
		require.Equal(t, exitOK, r.code, r.err)
		ops := s.operations(t)
		require.Len(t, ops, 1)
		op := ops[0]
		require.Contains(t, r.out, "operation "+op.ID+": 2 desktops of project hq accepted and scheduled: it starts "+clock(op.NotBefore)+", in ")
		require.Contains(t, r.out, "deadline "+clock(op.Deadline))
		require.Contains(t, r.err, "detachd status "+op.ID)
		require.Contains(t, r.err, "no worker is running")
		require.True(t, op.ShutoffAfterDetach && op.Urgent)
		require.Equal(t, "2126-11-23T18:00:00Z", op.NotBefore.Format(time.RFC3339))
		require.Equal(t, "2126-11-24T18:00:00Z", op.Deadline.Format(time.RFC3339))
		require.Equal(t, []string{"jo", "left", "HR-1"}, []string{op.RequestedBy, op.Reason, op.Ticket})
		require.Equal(t, tasks.Counts{Queued: 2}, op.Counts)
	})
}

func TestDetachJSONIsTheOperation(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		v := s.json(t, exitOK, "detach", "d1", "--project", "hq")
		ops := v["items"].([]any)
		require.Len(t, ops, 1)
		op := ops[0].(map[string]any)
		require.Equal(t, "hq", op["project"])
		require.InDelta(t, 1, op["total"], 0)
		require.InDelta(t, 1, op["counts"].(map[string]any)["queued"], 0)
	})
}

func TestDetachFileOfSeveralProjects(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		name := s.file(t, "\xef\xbb\xbfdepartment,project,desktop_id\r\nann,hq,d1\r\nbob,branch,d2\r\ncyd,hq,d3\r\n")
		r := s.run(t, "detach", "--file", name, "--idempotency-key", "k")
		require.Equal(t, exitOK, r.code, r.err)
		require.Contains(t, r.err, "ignored columns: department")
		ops := s.operations(t)
		require.Len(t, ops, 2)
		again := s.ok(t, "detach", "--file", name, "--idempotency-key", "k")
		for _, op := range ops {
			require.Contains(t, r.out, "operation "+op.ID+": ")
			require.Contains(t, r.err, "follow it with: detachd status "+op.ID+"\n", "each operation is named")
			require.Regexp(t, "operation "+op.ID+": .* of project "+op.Project+" already recorded at "+regexp.QuoteMeta(clock(op.AcceptedAt))+", in progress", again)
		}
		require.Len(t, s.operations(t), 2)
	})
}

func TestDetachReadsStdin(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		r := s.runWith(t, t.Context(), "desktop_id\nd1\nd2\n", nil, "detach", "d3", "--file", "-", "--project", "hq")
		require.Equal(t, exitOK, r.code, r.err)
		require.Equal(t, 3, s.operations(t)[0].Total)
	})
}

func TestDetachBadRowsQueueNothing(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		name := s.file(t, "desktop_id,project\nd1,hq\nd1,hq\n,hq\nd2,nowhere\nd3\n")
		r := s.run(t, "detach", "--file", name)
		require.Equal(t, exitUsage, r.code)
		require.Empty(t, r.out)
		for _, want := range []string{
			"line 4: desktop id \"\" is empty", `line 5: project "nowhere" is not configured`,
			"line 6: wrong number of fields: 1", "3 of 4 rows invalid; nothing was queued", "--skip-invalid", "hq",
		} {
			require.Contains(t, r.err, want)
		}
		require.Empty(t, s.operations(t))

		r = s.run(t, "detach", "--file", name, "--skip-invalid")
		require.Equal(t, exitFailed, r.code, r.err)
		require.Contains(t, r.err, "skipped: 3 invalid rows")
		require.Contains(t, r.err, "3 rows were skipped")
		require.Equal(t, 1, s.operations(t)[0].Total)

		v := s.json(t, exitFailed, "detach", "--file", name, "--skip-invalid")
		require.Len(t, v["skipped"], 3)
		require.Equal(t, map[string]any{"line": 6.0, "problem": "wrong number of fields: 1, the header has 2: correct it, or remove it if it is a title or a total"}, v["skipped"].([]any)[2])
		s.worker(t)
		s.cloud.Add(hqID, fakecloud.Desktop{ID: "d1", Users: []fakecloud.User{{Name: "zoe"}}})
		v = s.json(t, exitFailed, "detach", "--file", name, "--skip-invalid", "--wait")
		require.InDelta(t, 3, v["skipped_rows"], 0)
	})
}

func TestDetachPrintsOnlySomeBadRows(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		r := s.run(t, "detach", "--project", "hq", "--file", s.file(t, "id\n"+strings.Repeat("a b\n", 500)))
		require.Equal(t, exitUsage, r.code)
		require.Contains(t, r.err, "… and 480 more")
		require.Less(t, strings.Count(r.err, "\n"), 30)
	})
}

func TestDetachRefusesWrongUse(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		for want, args := range map[string][]string{
			"nothing to detach":                                     {"detach", "--project", "hq"},
			"--user means all desktops":                             {"detach", "d1", "--user", "zoe", "--project", "hq"},
			"--expected-user requires desktop ids or --computer":    {"detach", "--user", "zoe", "--expected-user", "zoe", "--project", "hq"},
			"space at an end":                                       {"detach", "--user", "zoe ", "--project", "hq"},
			"and cannot be combined with desktop ids or --computer": {"detach", "--computer", "WS-1", "--user", "zoe", "--project", "hq"},
			"require --file":                                        {"detach", "d1", "--user-column", "x", "--project", "hq"},
			"is neither hold nor ignore":                            {"detach", "--user", "zoe", "--unknown-users", "forget", "--project", "hq"},
			"invalid --due-at \"then\": use ":                       {"detach", "d1", "--project", "hq", "--due-at", "then"},
			"has no project":                                        {"detach", "d1"},
			`project "nowhere"`:                                     {"detach", "d1", "--project", "nowhere"},
			"white space":                                           {"detach", "d 1", "--project", "hq"},
			"once with a user and once":                             {"detach", "d1", "--project", "hq", "--expected-user", "zoe", "--file", s.file(t, "id\nd1\n")},
			"--user-column \"Login\"":                               {"detach", "--project", "hq", "--file", s.file(t, "id,Login,Owner\nd1,zoe,ann\n")},
			"a number that a spreadsheet":                           {"detach", "--project", "hq", "7,00E+13"},
			"invalid --at \"soon\": use ":                           {"detach", "d1", "--project", "hq", "--at", "soon"},
			"invalid --deadline \"never\": use ":                    {"detach", "d1", "--project", "hq", "--deadline", "never"},
			"deadline: has passed already":                          {"detach", "d1", "--project", "hq", "--deadline", "2020-01-01 00:00"},
			"deadline: is not after":                                {"detach", "d1", "--project", "hq", "--at", "+2h", "--deadline", "+1h"},
			"no such file":                                          {"detach", "--file", "/nowhere/leavers.csv", "--project", "hq"},
			"no column desktop_id":                                  {"detach", "--project", "hq", "--file", s.file(t, "a,b\n1,2\n")},
			"there is nothing to detach":                            {"detach", "--project", "hq", "--file", s.file(t, "id\n")},
			"--timeout requires --wait":                             {"detach", "d1", "--project", "hq", "--timeout", "1m"},
			"--timeout is negative":                                 {"detach", "d1", "--project", "hq", "--wait", "--timeout", "-1m"},
			"unknown flag: --projekt":                               {"detach", "d1", "--projekt", "hq"},
			"ticket: is longer":                                     {"detach", "d1", "--project", "hq", "--ticket", strings.Repeat("x", 256)},
			"reason: is longer":                                     {"detach", "d1", "--project", "hq", "--reason", strings.Repeat("x", 1001)},
			"idempotency_key: has a control":                        {"detach", "d1", "--project", "hq", "--idempotency-key", "a\nb"},
		} {
			s.refused(t, exitUsage, want, args...)
		}
		require.Empty(t, s.operations(t))
	})
}

func TestDetachKeyWithOtherContentIsRefused(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.ok(t, "detach", "d1", "--project", "hq", "--idempotency-key", "k")
		s.refused(t, exitUsage, "was used before", "detach", "d2", "--project", "hq", "--idempotency-key", "k")
	})
}

func TestDetachWaitsUntilTheyAreProven(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.worker(t)
		r := s.run(t, "detach", "d1", "d2", "--project", "hq", "--wait", "--timeout", "1m")
		require.Equal(t, exitOK, r.code, r.err)
		require.Contains(t, r.out, "DETACHED")
		require.NotContains(t, r.err, "no worker is running")
		op := s.operations(t)[0]
		require.Equal(t, tasks.Counts{Detached: 2}, op.Counts)

		v := s.json(t, exitOK, "detach", "d3", "--project", "hq", "--wait")
		counts := v["items"].([]any)[0].(map[string]any)["counts"].(map[string]any)
		require.InDelta(t, 1, counts["detached"], 0)
		require.NotZero(t, s.cloud.Reads(hqID, "d3"), "nothing is called detached without proof")
	})
}

func TestDetachWaitSaysThatSomeFailed(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.cloud.Fail(fakecloud.Refused("d2", "WKS.00010110", "no address \x1b[2J"))
		s.worker(t)
		r := s.run(t, "detach", "d1", "d2", "--project", "hq", "--wait")
		require.Equal(t, exitFailed, r.code, r.err)
		id := s.operations(t)[0].ID
		require.Contains(t, r.err, "1 of 2 desktops failed")
		require.Contains(t, r.err, "detachd desktops "+id+" --state failed")
		require.Contains(t, r.out, id)
		require.NotContains(t, s.ok(t, "failures"), "\x1b")
	})
}

func TestDetachWaitThatRunsOut(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		r := s.run(t, "detach", "d1", "--project", "hq", "--wait", "--timeout", "1ns")
		require.Equal(t, exitRunning, r.code, r.err)
		require.Contains(t, r.err, "--timeout is over: 1 of 1 desktop not finished")
		require.Contains(t, r.err, "detachd status "+s.operations(t)[0].ID)
	})
}

func TestInterruptedWaitLeavesTheWorkAlone(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		r := s.runWith(t, ctx, "", func(text string) {
			if strings.Contains(text, "; waiting") {
				interrupt()
			}
		}, "detach", "d1", "--project", "hq", "--wait")
		require.Equal(t, exitRunning, r.code, r.err)
		require.Contains(t, r.err, "you stopped waiting; the work continues")
		require.Equal(t, tasks.Counts{Queued: 1}, s.operations(t)[0].Counts)
	})
}

func TestInterruptedBeforeAnythingIsQueued(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		ctx, interrupt := context.WithCancel(t.Context())
		interrupt()
		r := s.runWith(t, ctx, "", nil, "detach", "d1", "--project", "hq")
		require.Equal(t, exitInternal, r.code)
		require.Contains(t, r.err, "interrupted")
		require.Empty(t, s.operations(t))
	})
}

// silence is an input of which somebody interrupts the program instead of typing.
type silence struct {
	interrupt func()
	end       <-chan struct{}
}

func (s silence) Read([]byte) (int, error) {
	s.interrupt()
	<-s.end
	return 0, io.EOF
}

func TestInterruptedWhileItReads(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for _, ask := range []func(ctx context.Context, p Program) int{
		func(ctx context.Context, p Program) int {
			return p.Run(ctx, []string{"detach", "--file", "-", "--project", "hq"})
		},
		func(ctx context.Context, p Program) int {
			p.Stdin = &input{p.Stdin, ctx}
			_, err := p.askNumber("Type 7: ", "dismissed")
			return p.printError(err)
		},
	} {
		ctx, interrupt := context.WithCancel(t.Context())
		end := make(chan struct{})
		var stderr bytes.Buffer
		p := Program{Stdin: silence{interrupt, end}, Stdout: io.Discard, Stderr: &stderr, LookupEnv: lookup(s.env), Now: time.Now}
		require.Equal(t, exitInternal, ask(ctx, p))
		require.Contains(t, stderr.String(), "interrupted")
		close(end)
	}
	require.Empty(t, s.operations(t))
}

func TestDetachRecordsWhoseTheDesktopsAre(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.ok(t, "detach", "d1", "d2", "--project", "hq", "--expected-user", "zoe", "--expected-user", "bob", "--allow-shared", "--due-at", "2026-01-02T03:04:05Z")
		op := s.operations(t)[0]
		require.True(t, op.AllowShared)
		require.Equal(t, "2026-01-02T03:04:05Z", op.DueAt.Format(time.RFC3339))
		require.Contains(t, s.ok(t, "status", op.ID), "shared desktops allowed")
		for _, d := range s.rows(t, op) {
			require.Equal(t, []string{"zoe", "bob"}, d.Expect)
		}

		name := s.file(t, "desktop_id,user\nd1,zoe\nd2,\nd3,zoe\nd3,bob\n")
		require.Equal(t, exitOK, s.run(t, "detach", "--file", name, "--project", "branch").code)
		got := map[string][]string{}
		for _, d := range s.rows(t, s.operations(t)[0]) {
			got[d.ID] = d.Expect
		}
		require.Equal(t, map[string][]string{"d1": {"zoe"}, "d2": nil, "d3": {"zoe", "bob"}}, got)
	})
}

func TestDetachOfUsers(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		zoe := fakecloud.User{Name: "zoe"}
		s.cloud.Add(hqID, fakecloud.Desktop{ID: "own", Users: []fakecloud.User{zoe}},
			fakecloud.Desktop{ID: "both", Type: fakecloud.Shared, Users: []fakecloud.User{zoe, {Name: "bob"}}},
			fakecloud.Desktop{ID: "other", Users: []fakecloud.User{{Name: "zoe2"}}})
		s.worker(t)
		r := s.run(t, "detach", "--project", "hq", "--file", s.file(t, "user\nzoe\nnobody\n"), "--user", "neither", "--unknown-users", "ignore", "--wait")
		require.Equal(t, exitOK, r.code, r.err)
		require.Contains(t, r.err, "3 users of project hq accepted and queued")
		op := s.operations(t)[0]
		require.Equal(t, tasks.Counts{Detached: 2, Expanded: 1, NoDesktop: 2}, op.Counts, "two desktops, and two users without")
		both, _ := s.cloud.Get(hqID, "both")
		require.Len(t, both.Users, 1)
		other, _ := s.cloud.Get(hqID, "other")
		require.Equal(t, fakecloud.Attached, other.AttachState)
		require.Contains(t, s.ok(t, "status", op.ID), "expanded    1")
		require.Contains(t, s.ok(t, "desktops", op.ID, "--state", "no_desktop"), "user:nobody")
	})
}

func TestDetachHoldsSomebodyElsesDesktop(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.cloud.Add(hqID, fakecloud.Desktop{ID: "d1", Users: []fakecloud.User{{Name: "heir"}}})
		s.worker(t)
		r := s.run(t, "detach", "d1", "--expected-user", "zoe", "--project", "hq", "--wait")
		require.Equal(t, exitHeld, r.code, r.err)
		id := s.operations(t)[0].ID
		require.Contains(t, r.err, "detachd retry "+id+" --held")
		for _, name := range []string{"zoe", "heir", "OTHER_USER"} {
			require.Contains(t, s.ok(t, "desktops", id, "--state", "held"), name)
			require.Contains(t, s.ok(t, "failures"), name[:3], "what is held is listed")
		}
		require.Zero(t, s.cloud.Calls())
		require.InDelta(t, 1, s.json(t, exitOK, "retry", id, "--held")["retried"], 0)
		require.Equal(t, exitHeld, s.run(t, "status", id, "--wait").code, "nothing has changed")

		// As CSV it is there only for those who ask, with its user.
		rows := s.run(t, "failures", "--csv")
		require.NotContains(t, rows.out, "d1")
		require.Contains(t, rows.err, "skipped: 1 desktop")
		require.Contains(t, s.ok(t, "failures", "--csv", "--class", "held"), "hq,d1,zoe,")

		s.cloud.Attach(hqID, "d1", fakecloud.User{Name: "zoe"})
		s.ok(t, "retry", id, "--held")
		require.Equal(t, exitOK, s.run(t, "status", id, "--wait").code)
	})
}

func TestDetachComputersGuardedByUsers(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.cloud.Add(hqID, fakecloud.Desktop{ID: "own", ComputerName: "WS-1", Users: []fakecloud.User{{Name: "zoe"}}},
			fakecloud.Desktop{ID: "hers", ComputerName: "WS-9", Users: []fakecloud.User{{Name: "zoe"}}},
			fakecloud.Desktop{ID: "heirs", ComputerName: "WS-2", Users: []fakecloud.User{{Name: "heir"}}})
		s.worker(t)
		r := s.run(t, "detach", "--project", "hq", "--file", s.file(t, "Computer;Mitarbeiter;Employee ID\nWS-1;zoe;4711\nWS-2;zoe;4711\n"), "--computer", "WS-3", "--wait")
		require.Equal(t, exitHeld, r.code, r.err)
		require.Contains(t, r.err, "3 computers of project hq accepted and queued")
		require.Contains(t, r.err, "ignored columns: Employee ID")
		op := s.operations(t)[0]
		states := map[string]tasks.State{}
		for _, d := range s.rows(t, op) {
			states[d.ID] = d.State
		}
		require.Equal(t, tasks.StateDetached, states["own"], "%v", states)
		require.NotContains(t, states, "hers", "never everything of the user")
		require.Equal(t, tasks.StateHeld, states["computer:WS-3"])
		heirs, _ := s.cloud.Get(hqID, "heirs")
		require.Equal(t, fakecloud.Attached, heirs.AttachState)

		// Held and failed desktops can be submitted again, computers too.
		csv := s.ok(t, "failures", "--csv", "--class", "held")
		require.Contains(t, csv, "hq,computer:WS-3,,")
		again := s.run(t, "detach", "--file", s.file(t, csv))
		require.Equal(t, exitOK, again.code, again.err)
		require.Contains(t, again.err, "ignored columns: desktop_name")
		require.Contains(t, again.err, "rows with a desktop or computer and no user: 1 of 2. Whoever has it loses it.")
	})
}

func TestDetachOfPeopleWhoLeaveLater(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		name := s.file(t, "user,last day\nzoe,2199-12-31\n")
		s.refused(t, exitUsage, `line 2: column "last day" has a date to come, "2199-12-31"`, "detach", "--project", "hq", "--file", name)
		s.refused(t, exitUsage, "give a time for all rows: --at now, --last-day or --due-at", "detach", "--project", "hq", "--file", name)
		require.Empty(t, s.operations(t))
		for _, flags := range [][]string{{"--at", "now"}, {"--due-at", "2199-12-31"}, {"--last-day", "2199-12-31"}} {
			s.ok(t, append([]string{"detach", "--project", "hq", "--file", name}, flags...)...)
		}
		r := s.run(t, "detach", "--project", "hq", "--file", name, "--plan")
		require.Contains(t, r.err, `column "last day" is ignored, and has dates to come in 1 of the rows, the first in line 2: "2199-12-31".`)
	})
}

func TestDetachAsksWhichColumnIsMeant(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		name := s.file(t, "#TYPE Selected.ADUser\n\"SamAccountName\",\"Owner\",\"DisplayName\"\n\"mia\",\"zoe@corp.example\",\"Mia Leaver\"\n")
		s.refused(t, exitUsage, `--user-column "SamAccountName"`, "detach", "--project", "hq", "--file", name)
		require.Empty(t, s.operations(t))
		v := s.json(t, exitOK, "detach", "--project", "hq", "--file", name, "--user-column", "samaccountname")
		require.Equal(t, []any{"Owner", "DisplayName"}, v["ignored_columns"])
		require.Equal(t, tasks.UserRow("mia"), s.rows(t, s.operations(t)[0])[0].ID)
		v = s.json(t, exitOK, "detach", "--project", "hq", "--file", name, "--user-column", "Owner", "--plan")
		require.Equal(t, []any{"SamAccountName", "DisplayName"}, v["ignored_columns"])
	})
}
