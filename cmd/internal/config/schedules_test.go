package config

import (
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/deploy"
	"github.com/detachd/detachd/tasks"
)

// The schedule of the example is one, with each of the sources that it has.
func TestScheduleOfTheExample(t *testing.T) {
	t.Parallel()
	_, text, ok := strings.Cut(string(deploy.ExampleConfig), "# schedules:\n")
	require.True(t, ok)
	text, _, _ = strings.Cut("# schedules:\n"+text, "\n\n")
	text = strings.ReplaceAll("\n"+text, "\n# ", "\n") + "\n"
	load := func(text string) tasks.Schedule {
		t.Helper()
		cfg, err := Load(write(t, oneProject+text), env())
		require.NoError(t, err, text)
		require.Len(t, cfg.Schedules, 1)
		return cfg.Schedules[0]
	}
	got := load(text)
	require.Equal(t, "2026-12-01T00:00:00+01:00", got.Start.Format(time.RFC3339))
	require.Equal(t, "2027-12-01T00:00:00+01:00", got.End.Format(time.RFC3339))
	got.Start, got.End = time.Time{}, time.Time{}
	require.Equal(t, tasks.Schedule{
		Name: "leavers", Project: "hq", Cron: "0 18 * * FRI", Zone: "Europe/Berlin", Source: tasks.ScheduleSource{File: "/srv/hr/leavers-*.csv"},
		Reason: "on the weekly list of leavers", Missed: tasks.MissedOnce, CatchUp: tasks.Duration(12 * time.Hour), Overlap: tasks.OverlapSkip,
		Owner: "Ann Lee", Note: "agreed with HR",
	}, got)

	const pool = "e7d3c1f0-5b0a-4d5e-9b1c-2f6f0a7c8d90"
	want := map[string]tasks.ScheduleSource{
		"desktops":  {Desktops: []string{"8f0e0c9a-4f4e-4c5b-9c53-0d0f5a3a2b11"}},
		"users":     {Users: []string{"ann.lee"}},
		"computers": {Computers: []string{"PC-0815"}},
		"selector":  {Selector: &tasks.Selector{Pool: pool, Tag: "team=test", Computer: "LAB-*", UnusedDays: 90, User: tasks.UserLocked}},
		"not_in":    {NotIn: &tasks.NotIn{File: "/srv/hr/staff.csv", AtLeast: 80, Rows: 5000, Selector: &tasks.Selector{Pool: pool}}},
		"came_back": {CameBack: &tasks.CameBack{Since: tasks.Duration(30 * 24 * time.Hour)}},
	}
	file := regexp.MustCompile(`(?m)^      file: .*\n`)
	others := regexp.MustCompile(`(?m)^      # (\w+):.*\n(?:      #   .*\n)*`).FindAllStringSubmatch(text, -1)
	require.Len(t, others, len(want))
	for _, x := range others {
		source := strings.ReplaceAll("\n"+x[0], "\n      # ", "\n      ")[1:]
		require.Equal(t, want[x[1]], load(file.ReplaceAllLiteralString(text, source)).Source, x[1])
	}
}

// What is wrong with a schedule is named with its line, its key and its name, all at once.
func TestBadSchedulesAreNamed(t *testing.T) {
	t.Parallel()
	const schedules = `schedules:
  - {name: ok, project: hq, cron: "@daily", source: {users: [ann]}}
  - {name: The one, project: nowhere, cron: "0 18 * *", source: {file: a.csv, came_back: {since: 30d}}}
  - {name: ok, project: hq, cron: "0 18 * * FRI", zone: Europe/Bonn, source: {users: [" ann"]}}
  - {name: late, project: hq, cron: "0 18 31 FEB *", source: {file: a.csv}, catch_up: 90d, missed: all, overlap: queue}
  - {name: form, project: hq, cron: 5, source: {selector: {unused_days: many, rooms: x}}, start: 2026-12-01, catch_up: 12, urgent: maybe}
  - {name: mine, project: hq, cron: "@daily", source: {users: [ann]}, by: me, configured: true}
  - {name: wide, project: hq, cron: "@daily", source: {selector: {unused_days: 60, pool: "", tag: }}, start: }
  - {name: wider, project: hq, cron: "@daily", source: {not_in: {file: /stay.csv, selector: }}}
`
	_, err := Load(write(t, schedules+oneProject), env())
	for _, want := range []string{
		`line 3: schedules[1].name: "The one" is not 1 to 40 lower-case letters, digits, dots, dashes or underscores (schedule "The one")`,
		`schedules[1].project: there is no project "nowhere" (schedule "The one")`,
		`schedules[1].cron: invalid cron "0 18 * *": it has 4 fields`,
		`schedules[1].source: must be one of: `,
		`line 4: schedules[2].name: is repeated (schedule "ok")`,
		`schedules[2].zone: unknown time zone "Europe/Bonn"`,
		`schedules[2].source.users[0]: " ann" has space at an end`,
		`schedules[3].cron: invalid cron "0 18 31 FEB *": no month has that day`,
		`schedules[3].catch_up: 90d is not shorter than the retention, 2160h0m0s, so that a tick could run twice (schedule "late")`,
		`schedules[3].missed: "all" is neither once nor skip`, `schedules[3].overlap: "queue" is neither skip nor allow`,
		`schedules[4].source.selector.unused_days: is not a whole number`, `schedules[4].source.selector.rooms: no such key`,
		`schedules[4].start: is not a time with an offset such as 2026-11-30T18:00:00+08:00`,
		`schedules[4].catch_up: is not a duration such as 90m, 12h or 30d`, `schedules[4].urgent: is neither true nor false`,
		`schedules[3].source.file: is relative, and worker.lists is empty: write the whole path`,
		`schedules[6].source.selector.pool: is empty, which would select all: remove the key, or give a value`,
		`schedules[6].source.selector.tag: is empty, which would select all`,
		`schedules[7].source.not_in.selector: is empty, which would select all`,
		`schedules[6].start: is not a time with an offset such as 2026-11-30T18:00:00+08:00`,
		`schedules[5].by: no such key`, `schedules[5].configured: no such key`,
	} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "schedules[0]")
	_, err = Load(write(t, schedules[:strings.Index(schedules, "\n  - {name: The one")]+oneProject+"    require: {ticket: true}\n"), env())
	require.ErrorContains(t, err, `schedules[0].ticket: is missing: project hq requires one (schedule "ok")`)
	_, err = Load(write(t, "worker: {settle: 10ms}\n"), env())
	require.ErrorContains(t, err, "worker.settle: is 10ms: 1s to 10m")
	_, err = Load(write(t, "worker: {lists: lists}\n"), env())
	require.ErrorContains(t, err, `worker.lists: is "lists": the whole path of a directory`)
}

// A change of a schedule, also in the middle of a long list, changes its guard.
func TestSchedulesAreGuards(t *testing.T) {
	t.Parallel()
	s := tasks.Schedule{Name: "long", Project: "hq", Cron: "@daily", Source: tasks.ScheduleSource{Users: make([]string, 1000)}}
	text := func() string { return Config{Schedules: []tasks.Schedule{s}}.Guards()["schedules.long"] }
	for i := range s.Source.Users {
		s.Source.Users[i] = "ünal"
	}
	before := text()
	s.Source.Users[900] = "ann"
	require.NotEqual(t, before, text())
	require.True(t, utf8.ValidString(before))
	require.Less(t, len(before), 700)
	s.Source.Users = s.Source.Users[:1]
	require.JSONEq(t, `{"name":"long","project":"hq","cron":"@daily","source":{"users":["ünal"]}}`, text())
}

// Whoever has a key must not have workers read files outside of the directory of lists, by a
// name, an upward path or a pattern.
func TestFilesOfOtherSchedulesAreBelowTheLists(t *testing.T) {
	t.Parallel()
	cfg, err := Load(write(t, oneProject), env())
	require.NoError(t, err)
	check := func(source tasks.ScheduleSource, configured bool) string {
		s := tasks.Schedule{Name: "x", Project: "hq", Cron: "@daily", Source: source, Configured: configured}
		if err := cfg.CheckSchedule(s); err != nil {
			return err.Error()
		}
		return ""
	}
	of := func(name string) tasks.ScheduleSource { return tasks.ScheduleSource{File: name} }
	require.Contains(t, check(of("a.csv"), false), "source.file: is for schedules of the configuration only")
	cfg.Worker.Lists = "/srv/hr"
	for _, name := range []string{"/etc/passwd", "../a.csv", "a/../../b.csv", "/srv/hr/a.csv"} {
		require.Contains(t, check(of(name), false), "source.file: is outside of worker.lists", name)
		require.Contains(t, check(tasks.ScheduleSource{NotIn: &tasks.NotIn{File: name}}, false), "source.not_in.file: is outside of worker.lists", name)
		require.Empty(t, check(of(name), true), name)
	}
	require.Contains(t, check(of("*/a.csv"), true), "has a pattern in a directory")
	require.Empty(t, check(of("sub/a-*.csv"), false))
}
