package cli

import (
	"encoding/csv"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
)

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	require.Contains(t, s.ok(t), "detachd [command]")
	require.Contains(t, s.ok(t, "--help"), "Exit codes:")
	require.Equal(t, "detachd test\n", s.ok(t, "version"))
	require.Contains(t, s.ok(t, "completion", "bash"), "__start_detachd")
	require.NotContains(t, s.ok(t), "fakecloud  ", "it is hidden")
	for _, c := range []string{
		"demo", "dev", "worker", "detach", "status", "list", "desktops", "failures", "history", "retry", "cancel", "codes", "report", "verify", "serve", "keys", "doctor", "pause", "resume",
	} {
		require.Contains(t, s.ok(t, c, "--help"), "detachd "+c)
	}
}

func TestWrongUse(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		for want, args := range map[string][]string{
			`unknown command "statsu"`:                    {"statsu"},
			`unknown command "statsuu"`:                   {"help", "statsuu"},
			`unknown command "ad" for "detachd schedule"`: {"help", "schedule", "ad"},
			`unknown command "bsh"`:                       {"completion", "bsh"},
			"unknown flag: --nonsense":                    {"list", "--nonsense"},
			"OPERATION is missing":                        {"status"},
			"one OPERATION is expected, and 2 were given": {"cancel", "a", "b"},
			"--limit is negative":                         {"list", "--limit", "-1"},
			"invalid --since \"x\"":                       {"failures", "--since", "x"},
			"invalid --until \"x\"":                       {"list", "--until", "x"},
			`unknown state "gone"`:                        {"desktops", "op", "--state", "gone"},
			"[csv json]":                                  {"failures", "--json", "--csv"},
			`--limit "x" is not a number`:                 {"list", "--limit", "x"},
			`project "x" is not configured`:               {"pause", "x"},
			"--for is less than a second":                 {"pause", "hq", "--for", "0s"},
			"invalid desktop id: \"a b\"":                 {"history", "a b"},
		} {
			s.refused(t, exitUsage, want, args...)
		}
	})
}

// A variable that is not set in a script takes no guard, time or filter away.
func TestEmptyFlags(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		for flag, args := range map[string]string{
			"--expected-user": "detach d1 --project hq --expected-user",
			"--due-at":        "detach d1 --project hq --due-at",
			"--last-day":      "detach d1 --project hq --last-day",
			"--computer":      "detach --project hq --computer a --computer",
			"--desktop":       "undo op --reason x --desktop",
			"--project":       "keys create --name x --role producer --project",
			"--source":        "recall --user zoe --reason x --source",
			"--ticket":        "cancel --requested-by hr --since 1h --reason x --confirm 1 --ticket",
			"--end":           "schedule add x --project hq --user zoe --cron @daily --end",
			"--server":        "list --server",
		} {
			s.refused(t, exitUsage, flag+" is empty: give a value, or leave it out", append(strings.Fields(args), "")...)
		}
		require.Empty(t, s.operations(t))
	})
}

// brokenOutput is a full disk.
type brokenOutput struct{}

func (brokenOutput) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC}
}

// A result that could not be written fails the command, as the new key is lost, and blames neither Redis nor the server.
func TestResultsThatCannotBeWritten(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		op := s.ended(t)
		for _, args := range []string{
			"keys create --name x --role viewer", "detach d9 --project hq", "detach d9 --project hq --json", "list", "list --json", "stats",
			"status " + op.ID, "report " + op.ID, "failures --csv", "version", "--version", "list --help",
		} {
			var stderr watched
			p := Program{Version: "test", Stdin: strings.NewReader(""), Stdout: brokenOutput{}, Stderr: &stderr, LookupEnv: lookup(s.env)}
			require.Equal(t, exitInternal, p.Run(t.Context(), strings.Fields(args)), args)
			require.Contains(t, stderr.text(), "detachd: the result could not be written: write /dev/stdout: no space left on device\n", args)
		}
	})
}

func TestUnknownOperation(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		for _, c := range []string{"status", "desktops", "retry", "cancel", "report"} {
			s.refused(t, exitUsage, "operation nowhere: no such operation", c, "nowhere")
		}
	})
}

func TestLists(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		require.Empty(t, s.ok(t, "list"))
		require.Empty(t, s.json(t, exitOK, "list")["items"])
		first := s.detached(t, "d1", "--ticket", "HR-1")
		s.here(t).ok(t, "detach", "d1", "--project", "branch", "--requested-by", "ann")
		require.Len(t, s.json(t, exitOK, "list")["items"], 2)
		require.Len(t, s.json(t, exitOK, "list", "--limit", "1")["items"], 1)
		for _, filter := range [][]string{{"--project", "hq"}, {"--ticket", "HR-1"}, {"--requested-by", "jo", "--open", "--since", "1h"}} {
			ops := s.json(t, exitOK, append([]string{"list"}, filter...)...)["items"].([]any)
			require.Len(t, ops, 1, filter)
			require.Equal(t, first, ops[0].(map[string]any)["id"])
		}
		require.Empty(t, s.json(t, exitOK, "list", "--until", "1h")["items"])
		require.Contains(t, s.ok(t, "list"), first)
	})
}

func TestOneOperation(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.cloud.Add(hqID, fakecloud.Desktop{ID: "pool-1", Type: fakecloud.Pooled})
		s.cloud.Fail(fakecloud.Refused("d2", "WKS.00010110", "no address"))
		s.worker(t)
		r := s.run(t, "detach", "pool-1", "d2", "--project", "hq", "--wait", "--reason", "left")
		require.Equal(t, exitFailed, r.code, r.err)
		id := s.operations(t)[0].ID

		v := s.json(t, exitOK, "status", id)
		require.Equal(t, true, v["done"])
		require.InDelta(t, 1, v["counts"].(map[string]any)["failed"], 0)
		require.Equal(t, "WKS.00010110", v["failures_by_code"].([]any)[0].(map[string]any)["code"])
		calls := v["calls"].([]any)
		require.NotEmpty(t, calls)
		job := calls[0].(map[string]any)["job_id"].(string)
		require.NotEmpty(t, job)
		text := s.ok(t, "status", id)
		for _, want := range []string{job, "detached", "failed", "WKS.00010110", "left", "removal       median", "audit seal"} {
			require.Contains(t, text, want)
		}
		require.Equal(t, exitFailed, s.run(t, "status", id, "--wait").code)

		desktops := s.json(t, exitOK, "desktops", id, "--state", "detached")["items"].([]any)
		require.Len(t, desktops, 1)
		require.Equal(t, job, desktops[0].(map[string]any)["job_id"])
		require.Len(t, s.json(t, exitOK, "desktops", id, "--state", "detached,failed")["items"], 2)
		require.Len(t, s.json(t, exitOK, "desktops", id, "--limit", "1")["items"], 1)
		require.Contains(t, s.ok(t, "desktops", id), "no address")
		require.Empty(t, s.ok(t, "desktops", id, "--state", "held"))

		events := s.json(t, exitOK, "history", "d2")["events"].([]any)
		require.Len(t, events, 1)
		require.Equal(t, "failed", events[0].(map[string]any)["desktop"].(map[string]any)["state"])
		require.Contains(t, s.ok(t, "history", "d2"), "WKS.00010110")
		require.Empty(t, s.ok(t, "history", "d9"))
		require.Empty(t, s.json(t, exitOK, "history", "d9")["events"])
	})
}

func TestFailuresInEveryForm(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		require.Empty(t, s.ok(t, "failures"))
		require.Empty(t, s.json(t, exitOK, "failures")["failures"])
		s.cloud.Fail(fakecloud.Refused("d2", "WKS.00010110", "=HYPERLINK(\"x\")"))
		s.worker(t)
		require.Equal(t, exitFailed, s.run(t, "detach", "d1", "d2", "--project", "hq", "--wait").code)

		failures := s.json(t, exitOK, "failures", "--project", "hq", "--code", "WKS.00010110", "--class", "permanent", "--since", "1h")["items"].([]any)
		require.Len(t, failures, 1)
		require.Equal(t, "d2", failures[0].(map[string]any)["desktop_id"])
		require.Contains(t, s.ok(t, "failures"), "d2")
		for _, none := range [][]string{{"--project", "branch"}, {"--code", "x"}, {"--class", "poison"}, {"--operation", "x"}, {"--until", "1h"}} {
			require.Empty(t, s.json(t, exitOK, append([]string{"failures"}, none...)...)["failures"], none)
		}
		text := s.ok(t, "failures", "--csv")
		rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		require.NoError(t, err)
		require.Len(t, rows, 2)
		require.Contains(t, rows[1], "'=HYPERLINK(\"x\")")

		// Failed desktops can be submitted again.
		s.cloud.ClearFaults()
		r := s.runWith(t, t.Context(), text, nil, "detach", "--file", "-", "--wait")
		require.Equal(t, exitOK, r.code, r.err)
	})
}

func TestRetry(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.cloud.Fail(fakecloud.Refused("d1", "WKS.00010110", "no address"))
		s.worker(t)
		require.Equal(t, exitFailed, s.run(t, "detach", "d1", "d2", "--project", "hq", "--wait").code)
		id := s.operations(t)[0].ID
		require.InDelta(t, 0, s.json(t, exitOK, "retry", id, "--code", "other")["retried"], 0)
		require.Contains(t, s.run(t, "retry", id, "--code", "other").err, "no desktop has the code other")
		s.cloud.ClearFaults()
		require.Equal(t, "1 desktop of operation "+id+" queued again\n", s.ok(t, "retry", id, "--code", "WKS.00010110"))
		require.Equal(t, exitOK, s.run(t, "status", id, "--wait").code)
		require.Equal(t, tasks.Counts{Detached: 2}, s.operations(t)[0].Counts)
	})
}

func TestCancel(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		id := s.detached(t, "d1", "d2", "--at", "+2h")
		require.Equal(t, "operation "+id+": 2 desktops cancelled, 0 too late (already sent or finished)\n", s.ok(t, "cancel", id))
		v := s.json(t, exitOK, "cancel", id)
		require.InDelta(t, 0, v["cancelled"], 0)
		require.Equal(t, exitFailed, s.run(t, "status", id, "--wait").code, "not all were taken by the cloud")

		s.worker(t)
		require.Equal(t, exitOK, s.run(t, "detach", "d3", "--project", "hq", "--wait").code)
		v = s.json(t, exitOK, "cancel", s.operations(t)[0].ID)
		require.InDelta(t, 1, v["too_late"], 0)
	})
}

func TestPauseAndResume(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.worker(t)
		require.Equal(t, "project hq paused\n", s.ok(t, "pause", "hq", "--reason", "maintenance"))
		id := s.detached(t, "d1")
		require.Contains(t, s.here(t).run(t, "doctor").out, "maintenance")
		require.Equal(t, exitOK, s.run(t, "detach", "d1", "--project", "branch", "--wait").code, "other projects go on")
		require.Zero(t, s.cloud.DetachedTimes(hqID, "d1"))
		require.Equal(t, "project hq resumed\n", s.ok(t, "resume", "hq"))
		require.Equal(t, exitOK, s.run(t, "status", id, "--wait").code)
	})
}

func TestRedisAway(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.redis.Stop()
	for _, args := range [][]string{
		{"detach", "d1", "--project", "hq"}, {"status", "x"}, {"list"}, {"desktops", "x"}, {"failures"}, {"history", "x"},
		{"retry", "x"}, {"cancel", "x"}, {"report", "x"}, {"pause", "hq"}, {"resume", "hq"}, {"worker"},
	} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			s.refused(t, exitInternal, "Redis does not answer", args...)
		})
	}
}

func TestRedisPasswordWrong(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.changePassword(t)
	s.refused(t, exitNotAuthorised, "WRONGPASS", "list")
}

func TestConfigurationMissing(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.refused(t, exitUsage, "/nowhere.yaml", "list", "--config", "/nowhere.yaml")
	for _, command := range []string{"list", "worker", "serve"} {
		(&stage{}).refused(t, exitUsage, "give a configuration with --config or DETACHD_CONFIG", command)
		(&stage{}).refused(t, exitUsage, "no project is configured", command)
	}
}

func TestSecretMissing(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	delete(s.env, "CLOUD_TOKEN")
	s.detached(t, "d1") // a producer needs no credentials of the cloud
	s.refused(t, exitUsage, "CLOUD_TOKEN", "worker")
	require.Equal(t, "bad", s.levels(t, exitFailed)["project hq"])
	delete(s.env, "REDIS_PASSWORD")
	s.refused(t, exitUsage, "REDIS_PASSWORD", "list")
}

// The tables by which workers decide, with what the configuration adds.
func TestCodes(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		v := s.json(t, exitOK, "codes")
		first := v["codes"].([]any)[0].(map[string]any)
		require.Equal(t, map[string]any{"of": "desktop", "code": "WKS.00099999", "class": "conflict", "why": "being moved", "advice": "Check in the Workspace console what the desktop is doing, and retry when that has ended."}, first)
		classes := map[any]bool{}
		for _, c := range v["classes"].([]any) {
			classes[c.(map[string]any)["class"]] = true
		}
		for _, c := range v["codes"].([]any) {
			require.True(t, classes[c.(map[string]any)["class"]], "the class of %v is explained", c)
		}
		text := s.ok(t, "codes")
		for _, want := range []string{"WKS.00099999", "being moved", "APIGW.0308", "OTHER_USER", "DEATTACH_FAIL_CAN_DEATTACH_AGAIN"} {
			require.Contains(t, text, want)
		}
		require.Contains(t, (&stage{}).ok(t, "codes"), "WKS.00010032", "it needs no configuration")
	})
}
