package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// configured adds keys to the configuration, before a server reads it.
func (s *stage) configured(t *testing.T, text string) {
	t.Helper()
	before, err := os.ReadFile(s.config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.config, append(before, text...), 0o600))
}

// withLists is newStage with a directory of lists and a schedule in the configuration.
func withLists(t *testing.T) *stage {
	t.Helper()
	s := newStage(t)
	text, err := os.ReadFile(s.config)
	require.NoError(t, err)
	lists := strings.Replace(string(text), "worker: {", "worker: {lists: "+t.TempDir()+", ", 1)
	require.NoError(t, os.WriteFile(s.config, []byte(lists), 0o600))
	s.configured(t, `schedules: [{name: nightly, project: branch, cron: "0 2 * * *", source: {users: [ann]}}]`+"\n")
	return s
}

// An operator adds a schedule, sees when it runs, stops it for a week, skips a run and takes
// that back, and removes it.
func TestSchedules(t *testing.T) {
	t.Parallel()
	bothModes(t, withLists, func(t *testing.T, s *stage) {
		add := []string{"schedule", "add", "leavers", "--project", "hq", "--cron", "0 18 * * FRI", "--zone", "Europe/Berlin", "--file", "leavers-*.csv"}
		out := s.ok(t, append(add, "--dry-run")...)
		require.Contains(t, out, "schedule leavers is valid, and was not added: 0 18 * * FRI Europe/Berlin, file leavers-*.csv")
		require.NotContains(t, s.ok(t, "schedule", "list"), "leavers")
		out = s.ok(t, append(add, "--note", "agreed with HR", "--unknown-users", "ignore")...)
		require.Regexp(t, `schedule leavers added: 0 18 \* \* FRI Europe/Berlin, file leavers-\*\.csv\nNEXT +HERE +CLOCKS\nFri \d{4}-\d\d-\d\d 18:00:00 \+0[12]:00 `, out)
		require.Equal(t, 12, strings.Count(out, "\n"))
		s.refused(t, exitUsage, "with this name already", add...)

		require.Regexp(t, `(?m)^leavers +hq +0 18 \* \* FRI Europe/Berlin +on +Fri .* 18:00:00 \S+ +- +- +jo +file leavers-\*\.csv$`, s.ok(t, "schedule", "list"))
		require.Regexp(t, `(?m)^nightly +branch +0 2 \* \* \* UTC +on .* configuration +user ann$`, s.ok(t, "schedule", "list"))
		require.Len(t, s.json(t, exitOK, "schedule", "list", "--project", "hq")["items"], 1)

		s.refused(t, exitUsage, "is required", "schedule", "pause", "leavers")
		require.Contains(t, s.ok(t, "schedule", "pause", "leavers", "--reason", "the office is closed"), "schedule leavers paused")
		out = s.ok(t, "schedule", "show", "leavers")
		for _, want := range []string{
			"schedule leavers of project hq: 0 18 * * FRI Europe/Berlin, file leavers-*.csv", "note: agreed with HR", "added by jo at ",
			"options: unknown users ignore", "paused by jo at ", ": the office is closed\n", "0 runs: 0 found nobody, 0 failed, 0 skipped, 0 missed, 0 shifted",
		} {
			require.Contains(t, out, want)
		}
		require.Contains(t, s.run(t, "schedule", "next", "leavers").err, "none of these happens until detachd schedule resume leavers")
		require.Regexp(t, `schedule leavers resumed; it runs next Fri \d{4}-\d\d-\d\d 18:00:00`, s.ok(t, "schedule", "resume", "leavers"))
		require.Regexp(t, `the run of Fri \d{4}-\d\d-\d\d 18:00:00 \S+ is skipped`, s.ok(t, "schedule", "skip-next", "leavers", "--reason", "the list is late"))
		require.Regexp(t, `(?m)^Fri .* skipped$`, s.ok(t, "schedule", "show", "leavers"))
		require.Contains(t, s.ok(t, "schedule", "skip-next", "leavers", "--undo"), "nothing is skipped; it runs next Fri ")
		s.refused(t, exitUsage, "no such tick", "schedule", "skip-next", "leavers", "--undo")
		require.Equal(t, 21, strings.Count(s.ok(t, "schedule", "next", "leavers", "--count", "20"), "\n"))
		asked := s.json(t, exitOK, "schedule", "run", "leavers", "--reason", "at once", "--idempotency-key", "k")
		require.Equal(t, asked, s.json(t, exitOK, "schedule", "run", "leavers", "--reason", "at once", "--idempotency-key", "k"))

		s.refused(t, exitUsage, "is in the configuration", "schedule", "remove", "nightly", "--reason", "x")
		s.ok(t, "schedule", "pause", "nightly", "--reason", "x")
		require.Contains(t, s.ok(t, "schedule", "show", "nightly"), "in the configuration: change it there, and restart workers and servers")
		require.Contains(t, s.ok(t, "schedule", "remove", "leavers", "--reason", "HR has another process"), "schedule leavers removed")
		for _, command := range []string{"show", "next", "run", "resume", "skip-next"} {
			s.refused(t, exitUsage, "no such schedule", "schedule", command, "leavers")
		}
		require.Regexp(t, `(?s)schedule\.removed .*HR has another process.*schedule\.unskipped.*schedule\.skipped .*the list is late.*schedule\.added .*agreed with HR`,
			s.ok(t, "audit", "-o", "wide"))
	})
}

// Every source has its flags, and what is wrong is named by them.
func TestSourcesOfSchedules(t *testing.T) {
	t.Parallel()
	bothModes(t, withLists, func(t *testing.T, s *stage) {
		add := func(name string, args ...string) []string {
			return append([]string{"schedule", "add", name, "--project", "hq", "--cron", "@daily"}, args...)
		}
		for text, args := range map[string][]string{
			"desktop d1, 2 users, computer PC-1":                                          {"--desktop", "d1", "--user", "ann", "--user", "bo", "--computer", "PC-1"},
			"desktops: pool p, tag a=b, computer LAB-*, unused for 90 days, users locked": {"--pool", "p", "--tag", "a=b", "--pattern", "LAB-*", "--unused-days", "90", "--users-are", "locked"},
			"not in staff.csv, of desktops: pool p":                                       {"--not-in", "staff.csv", "--at-least", "90", "--rows", "10", "--pool", "p"},
			"came back within 30d":                                                        {"--came-back", "30d", "--missed", "skip", "--overlap", "allow", "--catch-up", "6h", "--pause-on-failure", "--urgent"},
		} {
			require.Contains(t, s.ok(t, add("x", append(args, "--dry-run")...)...), "@daily UTC, "+text+"\n")
		}
		v := s.json(t, exitOK, add("ends", "--user", "ann", "--zone", "Asia/Shanghai", "--start", "2199-01-01", "--end", "2199-01-02 12:00", "--dry-run")...)
		require.Equal(t, []any{"2199-01-01T00:00:00+08:00", "2199-01-02T12:00:00+08:00"}, []any{v["start"], v["end"]}, "in the zone of the schedule")
		require.Len(t, v["next"], 2)
		for want, args := range map[string][]string{
			"must be one of: a list of desktops":         nil,
			"invalid cron \"0 18 * *\": it has 4 fields": {"--user", "ann", "--cron", "0 18 * *"},
			`unknown time zone "Mars/X"`:                 {"--user", "ann", "--zone", "Mars/X"},
			"is outside of worker.lists":                 {"--file", "/etc/passwd"},
			"--came-back: invalid duration \"month\"":    {"--came-back", "month"},
			"--at-least and --rows are about the list":   {"--rows", "5"},
			"is neither locked nor missing":              {"--users-are", "gone"},
			"is not a pattern":                           {"--pattern", "["},
			`there is no project "nowhere"`:              {"--user", "ann", "--project", "nowhere"},
		} {
			s.refused(t, exitUsage, want, add("x", args...)...)
		}
		s.refused(t, exitUsage, "SCHEDULE or --cron is missing", "schedule", "next")
		out := s.ok(t, "schedule", "next", "--cron", "30 2 * * *", "--zone", "Europe/Berlin", "--count", "100")
		require.Equal(t, 101, strings.Count(out, "\n"))
	})
}

// A server names the flag of each fault.
func TestFlagsOfSources(t *testing.T) {
	t.Parallel()
	for pointer, want := range map[string]string{
		"/source": "the source", "/source/file": "--file:", "/source/users/3": "--user:", "/source/selector/computer": "--pattern:",
		"/source/selector/unused_days": "--unused-days:", "/source/not_in/file": "--not-in:", "/source/not_in/at_least": "--at-least:",
		"/source/not_in/selector/pool": "--pool:", "/source/came_back/since": "--came-back:", "/cron": "--cron:", "/catch_up": "--catch-up:",
	} {
		require.Equal(t, want, flagOf(pointer), pointer)
	}
}

// Why a schedule did nothing is told, in the zone of the schedule.
func TestShowOfRuns(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.ok(t, "schedule", "add", "nightly", "--project", "hq", "--cron", "30 2 * * *", "--zone", "Europe/Berlin", "--user", "ann")
		r := s.store(t).Record
		at := time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC)
		for i, run := range []tasks.ScheduleRun{
			{Result: tasks.RunStarted, Operations: []string{"mignt50o6fnapq0v5n7g"}, Rows: 12},
			{Result: tasks.RunFailed, Why: "leavers.csv: \x1b[2J line 3", Missed: 2, By: "zoe", Note: "again"},
		} {
			run.ID, run.Scheduled, run.At = "nightly@"+run.Why, at, at.Add(time.Duration(i)*time.Hour)
			state, _, err := r.BeginScheduleRun(t.Context(), "nightly", "w", tasks.ScheduleTick{}, time.Second)
			require.NoError(t, err)
			_, err = r.CommitScheduleRun(t.Context(), "nightly", state, record.ScheduleResult{Run: run})
			require.NoError(t, err)
		}
		out := s.ok(t, "schedule", "show", "nightly")
		require.Regexp(t, `(?m)^Sun 2026-03-29 03:00:00 \+02:00 .* started +12 +mignt50o6fnapq0v5n7g `, out)
		require.Regexp(t, `(?m)^Sun 2026-03-29 03:00:00 \+02:00 .* failed .* zoe +leavers\.csv: \\x1b\[2J line 3, again, 2 runs before it missed$`, out)
		require.Regexp(t, `(?m)^nightly .* failed +jo +user ann$`, s.ok(t, "schedule", "list"))
	})
}

// What CI runs: every fault of a configuration, the lists as a run reads them, and the next runs.
func TestScheduleCheck(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	s.configured(t, `schedules:
- {name: weekly, project: hq, cron: "30 2 * * SUN", zone: Europe/Berlin, source: {file: `+dir+`/leavers-*.csv}}
- {name: staff, project: hq, cron: "@daily", source: {not_in: {file: `+dir+`/staff.csv, rows: 3}}}
- {name: unused, project: branch, cron: "@daily", source: {selector: {unused_days: 90}}}
- {name: list, project: branch, cron: "@daily", end: 2026-01-01T00:00:00Z, source: {users: [ann, bo]}}
`)
	write("leavers-1.csv", "user\nzoe\nkim\n")
	write("leavers-2.csv", "user\ntom\n")
	staff := write("staff.csv", "user\na\nb\nc\n")
	check := []string{"schedule", "check", s.config}
	out := s.ok(t, check...)
	require.Regexp(t, `(?m)^weekly +hq +file \S+leavers-\*\.csv +3 +Sun \d{4}-\d\d-\d\d 02:30:00 `, out)
	require.Regexp(t, `(?m)^staff +hq +not in \S+staff\.csv +3 `, out)
	require.Regexp(t, `(?m)^unused .* the cloud was not asked$`, out)
	require.Regexp(t, `(?m)^list +branch +2 users +2 .* it has no further runs$`, out)
	v := s.json(t, exitOK, check...)
	require.Len(t, v["items"], 4)
	require.Len(t, v["items"].([]any)[0].(map[string]any)["next"], 3)

	write("leavers-2.csv", "desktop_id\na b\n")
	require.NoError(t, os.WriteFile(staff, []byte("user\na\n"), 0o600))
	r := s.run(t, check...)
	require.Equal(t, exitUsage, r.code)
	require.Regexp(t, `wrong: leavers-2\.csv: .*line 2`, strings.Join(strings.Fields(r.out), " "))
	require.Contains(t, strings.Join(strings.Fields(r.out), " "), "wrong: the list has 1 rows: at least 3 are required")
	require.Contains(t, r.err, "2 of 4 schedules cannot run")
	out = s.ok(t, append(check, "--skip-sources")...)
	require.Regexp(t, `(?m)^weekly .* the list was not read$`, out)

	s.configured(t, "- {name: weekly, project: nowhere, cron: 0 25 * * *, zone: Europe/Bonn, source: {users: [ann]}}\n")
	s.refused(t, exitUsage, `schedules[4].project: there is no project "nowhere" (schedule "weekly")`, check...)
	s.refused(t, exitUsage, "no such file", "schedule", "check", filepath.Join(dir, "none.yaml"))
	s.refused(t, exitUsage, "runs on this machine", append(check, "--server", "http://127.0.0.1:1")...)
}
