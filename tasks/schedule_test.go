package tasks_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
)

func TestScheduleValidate(t *testing.T) {
	t.Parallel()
	plain := func() tasks.Schedule {
		return tasks.Schedule{Name: "nightly", Project: "hq", Cron: "0 18 * * *", Source: tasks.ScheduleSource{Users: []string{"ann"}}}
	}
	require.NoError(t, plain().Validate())
	require.NoError(t, plain().WithDefaults().Validate())
	source := func(s tasks.ScheduleSource) func(*tasks.Schedule) {
		return func(x *tasks.Schedule) { x.Source = s }
	}
	for _, good := range []tasks.ScheduleSource{
		{Desktops: []string{"d1"}, Users: []string{"ann"}, Computers: []string{"PC-1"}},
		{File: "/srv/hr/leavers-*.csv"},
		{Selector: &tasks.Selector{Pool: "p", Tag: "a=b", Computer: "KIOSK-*", UnusedDays: 90, User: tasks.UserLocked}},
		{NotIn: &tasks.NotIn{File: "staff.csv", Selector: &tasks.Selector{Pool: "p"}}},
		{CameBack: &tasks.CameBack{Since: tasks.Duration(720 * time.Hour)}},
	} {
		x := plain()
		x.Source = good
		require.NoError(t, x.Validate())
	}
	for field, bad := range map[string]func(*tasks.Schedule){
		"name":                        func(x *tasks.Schedule) { x.Name = "a b" },
		"project":                     func(x *tasks.Schedule) { x.Project = "" },
		"cron":                        func(x *tasks.Schedule) { x.Cron = "" },
		"source":                      source(tasks.ScheduleSource{}),
		"source ":                     source(tasks.ScheduleSource{Users: []string{"ann"}, File: "x"}),
		"source.users[1]":             source(tasks.ScheduleSource{Users: []string{"ann", "ann"}}),
		"source.desktops[0]":          source(tasks.ScheduleSource{Desktops: []string{""}}),
		"source  ":                    source(tasks.ScheduleSource{Users: make([]string, tasks.MaxScheduleRows+1)}),
		"source.file":                 source(tasks.ScheduleSource{File: "a\x00b"}),
		"source.selector":             source(tasks.ScheduleSource{Selector: &tasks.Selector{}}),
		"source.selector.computer":    source(tasks.ScheduleSource{Selector: &tasks.Selector{Computer: "[a"}}),
		"source.selector.unused_days": source(tasks.ScheduleSource{Selector: &tasks.Selector{UnusedDays: -1}}),
		"source.selector.user":        source(tasks.ScheduleSource{Selector: &tasks.Selector{User: "gone"}}),
		"source.not_in.file":          source(tasks.ScheduleSource{NotIn: &tasks.NotIn{}}),
		"source.not_in.at_least":      source(tasks.ScheduleSource{NotIn: &tasks.NotIn{File: "x", AtLeast: 101}}),
		"source.not_in.rows":          source(tasks.ScheduleSource{NotIn: &tasks.NotIn{File: "x", Rows: -1}}),
		"source.not_in.selector":      source(tasks.ScheduleSource{NotIn: &tasks.NotIn{File: "x", Selector: &tasks.Selector{}}}),
		"source.came_back.since":      source(tasks.ScheduleSource{CameBack: &tasks.CameBack{}}),
		"unknown_users":               func(x *tasks.Schedule) { x.UnknownUsers = "x" },
		"end":                         func(x *tasks.Schedule) { x.Start, x.End = time.Unix(2, 0), time.Unix(1, 0) },
		"missed":                      func(x *tasks.Schedule) { x.Missed = "all" },
		"overlap":                     func(x *tasks.Schedule) { x.Overlap = "queue" },
		"catch_up":                    func(x *tasks.Schedule) { x.CatchUp = 1 },
		"note":                        func(x *tasks.Schedule) { x.Note = strings.Repeat("x", 1001) },
		"owner":                       func(x *tasks.Schedule) { x.Owner = "a\nb" },
		"reason":                      func(x *tasks.Schedule) { x.Reason = strings.Repeat("x", 1001) },
		"ticket":                      func(x *tasks.Schedule) { x.Ticket = "\x00" },
	} {
		x := plain()
		bad(&x)
		var wrong *tasks.ValidationError
		require.ErrorAs(t, x.Validate(), &wrong, field)
		require.Equal(t, strings.TrimSpace(field), wrong.Problems[0].Field)
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for text, d := range map[string]time.Duration{"30d": 720 * time.Hour, "12h": 12 * time.Hour, "90m": 90 * time.Minute, "1h30m": 90 * time.Minute, "10m": 10 * time.Minute, "0s": 0, "1m30s": 90 * time.Second} {
		var got tasks.Duration
		require.NoError(t, json.Unmarshal([]byte(fmt.Sprintf("%q", text)), &got))
		require.Equal(t, tasks.Duration(d), got, text)
		if text != "90m" {
			require.Equal(t, text, got.String())
		}
		b, err := json.Marshal(got)
		require.NoError(t, err)
		var again tasks.Duration
		require.NoError(t, json.Unmarshal(b, &again))
		require.Equal(t, got, again)
	}
	for _, bad := range []string{"", "x", "-1d", "1.5d", "d", "99999999d"} {
		var d tasks.Duration
		require.ErrorContains(t, d.UnmarshalText([]byte(bad)), "invalid duration", bad)
	}
}
