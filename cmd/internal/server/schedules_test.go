package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

// scheduled has a schedule with a tick that is to be skipped.
func (b *bench) scheduled(name, project string) {
	b.t.Helper()
	err := b.store.Record.AddSchedule(b.t.Context(), tasks.Schedule{
		Name: name, Project: project, Cron: "0 18 * * FRI", Zone: "Europe/Berlin", Source: tasks.ScheduleSource{Users: []string{"ann"}},
		By: "desk", Owner: "Ann Lee", At: time.Now().UTC(),
	})
	require.True(b.t, err == nil || errors.Is(err, tasks.ErrScheduleExists), err)
	_, err = b.store.Record.SkipTick(b.t.Context(), name, time.Now(), "desk", "the list is late")
	require.NoError(b.t, err)
}

// ran has a schedule with all that an answer can show of one: runs of every kind, and a pause
// of its own.
func (b *bench) ran(name string) {
	b.t.Helper()
	r, ctx := b.store.Record, b.t.Context()
	s := tasks.Schedule{
		Name: name, Project: "hq", Cron: "30 2 * * *", Zone: "Europe/Berlin", Source: tasks.ScheduleSource{NotIn: &tasks.NotIn{File: "staff.csv"}},
		Start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), PauseOnFailure: true, Owner: "Ann Lee", By: "desk", At: time.Now().UTC(),
	}
	require.NoError(b.t, r.AddSchedule(ctx, s))
	now := time.Now().UTC()
	for i, run := range []tasks.ScheduleRun{
		{Result: tasks.RunStarted, Operations: []string{theOperation}, Rows: 7},
		{Result: tasks.RunMissed, Missed: 3, Why: "no worker ran", Mark: "shifted"},
		{Result: tasks.RunFailed, Why: "staff.csv: line 3: the user is empty", By: "desk", Note: "again"},
	} {
		run.ID, run.Scheduled, run.At = fmt.Sprintf("%s@2026-03-2%dT02:30 Europe/Berlin", name, i), now.Add(-time.Minute), now
		state, _, err := r.BeginScheduleRun(ctx, name, "w", tasks.ScheduleTick{}, time.Second)
		require.NoError(b.t, err)
		x := record.ScheduleResult{Run: run, Tick: tasks.ScheduleTick{Wall: "2026-03-29T02:30", At: now.Add(time.Duration(i))}}
		if run.Result == tasks.RunFailed {
			x.Pause = &tasks.SchedulePause{By: tasks.PausedItself, At: now, Note: run.Why}
		}
		written, err := r.CommitScheduleRun(ctx, name, state, x)
		require.NoError(b.t, err)
		require.True(b.t, written)
	}
}

// fewOfSchedules are the refusals of schedules.
func (p *provocation) fewOfSchedules(bound string, path func(route) string) {
	p.t.Helper()
	add, key := routeOf("POST", "/v1/schedules"), p.key[access.Operator]
	schedule := func(name, project, user string) string {
		return fmt.Sprintf(`{"name":%q,"project":%q,"cron":"@daily","source":{"users":[%q]}}`, name, project, user)
	}
	p.try(add, 409, key, add.path, schedule("leavers", "hq", "ann"))
	p.try(add, 409, key, add.path, schedule("configured", "hq", "ann"))
	p.try(add, 422, key, add.path, schedule("new", "hq", "lab-admin"))
	p.try(add, 403, bound, add.path, schedule("new", "branch", "ann"))
	for _, rt := range routes {
		if strings.Contains(rt.path, "{schedule}") {
			body := ""
			if rt.method == "POST" {
				body = `{"reason":"x"}`
			}
			p.try(rt, 404, p.key[rt.role], strings.ReplaceAll(rt.path, "{schedule}", "nowhere"), body)
		}
	}
	p.try(routeOf("POST", "/v1/schedules/{schedule}:remove"), 409, key, "/v1/schedules/configured:remove", `{"reason":"x"}`)
	unskip, run := routeOf("POST", "/v1/schedules/{schedule}:unskip"), routeOf("POST", "/v1/schedules/{schedule}:run")
	require.Equal(p.t, 200, p.do(key, "POST", path(unskip), "").status)
	p.try(unskip, 409, key, path(unskip), "")
	for range tasks.MaxAskedRuns {
		require.Equal(p.t, 202, p.do(key, "POST", path(run), "").status)
	}
	p.try(run, 409, key, path(run), "")
	p.t.Helper()
	require.NoError(p.t, p.store.Record.AddSchedule(p.t.Context(), tasks.Schedule{ // it was added before its end
		Name: "ended", Project: "hq", Cron: "@daily", Source: tasks.ScheduleSource{Users: []string{"ann"}},
		End: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}))
	p.try(routeOf("POST", "/v1/schedules/{schedule}:skip"), 409, key, "/v1/schedules/ended:skip", "")
}

// An operator adds a schedule, sees when it will run, stops it for a while, and takes a skip
// back; each is in the audit log with the reason.
func TestScheduleOverHTTP(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.client(access.Key{Name: "desk", Owner: "Ann Lee", Role: access.Operator})
	ctx := t.Context()
	req := api.ScheduleRequest{
		Name: "leavers", Project: "hq", Cron: "0 18 * * FRI", Zone: "Europe/Berlin", Source: tasks.ScheduleSource{File: "leavers-*.csv"}, Note: "agreed with HR",
	}
	valid, err := c.ValidateSchedule(ctx, req)
	require.NoError(t, err)
	require.Len(t, valid.Next, 10)
	none, _, err := c.Schedules(ctx, "hq", 0, "")
	require.NoError(t, err)
	require.Len(t, none, 1, "that of the configuration: nothing was added")
	require.Empty(t, b.audit())
	preview, err := c.PreviewTicks(ctx, api.TicksRequest{Cron: req.Cron, Zone: req.Zone})
	require.NoError(t, err)
	for i, tick := range preview {
		require.Equal(t, valid.Next[i].At, tick.At)
	}

	added, err := c.AddSchedule(ctx, req)
	require.NoError(t, err)
	require.Equal(t, []any{"desk", "Ann Lee", tasks.OverlapSkip, tasks.MissedOnce, tasks.DefaultCatchUp, false},
		[]any{added.By, added.Owner, added.Overlap, added.Missed, added.CatchUp, added.Configured})
	require.Equal(t, valid.Next, added.Next)
	for _, tick := range added.Next {
		at := tick.At.In(berlin(t))
		require.Equal(t, []any{time.Friday, 18, 0}, []any{at.Weekday(), at.Hour(), at.Minute()})
		require.Equal(t, "leavers@"+tick.Wall+" Europe/Berlin", tick.ID)
	}
	ticks, err := c.NextTicks(ctx, "leavers", 20)
	require.NoError(t, err)
	require.Len(t, ticks, 20)
	require.Equal(t, added.Next, ticks[:10])

	paused, err := c.PauseSchedule(ctx, "leavers", "the office is closed")
	require.NoError(t, err)
	require.Equal(t, []string{"desk", "the office is closed"}, []string{paused.Paused.By, paused.Paused.Note})
	require.Equal(t, added.Next, paused.Next)
	resumed, err := c.ResumeSchedule(ctx, "leavers", "")
	require.NoError(t, err)
	require.Nil(t, resumed.Paused)
	skipped, err := c.SkipTick(ctx, "leavers", "the list is late")
	require.NoError(t, err)
	require.Equal(t, added.Next[0], skipped.Skip.Tick)
	back, err := c.UnskipTick(ctx, "leavers", "it has come")
	require.NoError(t, err)
	require.Nil(t, back.Skip)
	asked, err := c.RunSchedule(ctx, "leavers", "at once", "case-1")
	require.NoError(t, err)
	again, err := c.RunSchedule(ctx, "leavers", "at once", "case-1")
	require.NoError(t, err)
	require.Equal(t, asked, again)
	require.True(t, strings.HasPrefix(asked.Run, "leavers!"), asked.Run)
	poll, err := b.store.Record.PollSchedules(ctx)
	require.NoError(t, err)
	require.Len(t, poll.Asked, 1)
	require.Equal(t, []string{asked.Run, "desk", "at once"}, []string{poll.Asked[0].ID, poll.Asked[0].By, poll.Asked[0].Note})
	removed, err := c.RemoveSchedule(ctx, "leavers", "HR has another process")
	require.NoError(t, err)
	require.Equal(t, added.Schedule, removed)
	_, err = c.Schedule(ctx, "leavers")
	require.ErrorContains(t, err, "no such schedule")

	var log []string
	for _, e := range b.audit() {
		require.Equal(t, []string{"leavers", "hq", "Ann Lee"}, []string{e.Target, e.Project, e.Owner})
		log = append([]string{fmt.Sprintf("%s: %s: %s", e.Action, e.Reason, e.Detail)}, log...)
	}
	const text = "0 18 * * FRI Europe/Berlin, file leavers-*.csv"
	require.Equal(t, []string{
		"schedule.added: agreed with HR: " + text, "schedule.paused: the office is closed: ", "schedule.resumed: : ",
		"schedule.skipped: the list is late: ", "schedule.unskipped: it has come: ", "schedule.run: at once: ", "schedule.run: at once: ",
		"schedule.removed: HR has another process: " + text,
	}, log)
}

func berlin(t *testing.T) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	return loc
}

// What is wrong with a schedule is named with its place, all at once, and nothing is added.
// The schedules whose last run failed are a list of their own.
func TestFailingSchedules(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	viewer := b.key[access.Viewer]
	names := func(key string) (out []any) {
		for _, x := range b.do(key, "GET", "/v1/schedules?failing=true", "").json(t)["items"].([]any) {
			out = append(out, x.(map[string]any)["name"])
		}
		return out
	}
	b.scheduled("good", "hq")
	require.Empty(t, names(viewer))
	b.ran("bad")
	require.Equal(t, []any{"bad"}, names(viewer))
	require.Empty(t, names(b.newKey(access.Key{Name: "mine", Role: access.Viewer, Projects: []string{"branch"}})))
	require.NoError(t, b.store.Record.RemoveSchedule(t.Context(), "bad"))
	require.Empty(t, names(viewer))
	require.Equal(t, 400, b.do(viewer, "GET", "/v1/schedules?failing=perhaps", "").status)
}

func TestBadSchedules(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.key[access.Producer] = b.key[access.Operator]
	for body, want := range map[string][]string{
		`{}`: {"/name is not 1 to 40", "/project is missing", "/cron is missing", "/source must be one of"},
		`{"name":"A","project":"nowhere","cron":"0 18 * *","source":{"users":["a","a"," b"]}}`: {
			"/name is not 1 to 40", `/project there is no project "nowhere"`, "/cron invalid cron", "/source/users/1 ", "/source/users/2 has space",
		},
		`{"name":"a","project":"hq","cron":"@daily","zone":"Mars/X","source":{"file":"a.csv","came_back":{"since":"30d"}}}`: {"/zone unknown time zone", "/source must be one of"},
		`{"name":"a","project":"hq","cron":"@daily","source":{"selector":{"computer":"["}},"catch_up":"90d","missed":"all"}`: {
			"/source/selector/computer is not a pattern", "/catch_up is not shorter than the retention", "/missed is neither once nor skip",
		},
		`{"name":"a","project":"hq","cron":"@daily","source":{"came_back":{"since":"30"}}}`:                 {"/source/came_back/since is not a length of time such as 90m, 12h or 30d"},
		`{"name":"a","project":"hq","cron":"@daily","source":{"usres":["a"]}}`:                              {"/source/usres is an unknown field: did you mean users?"},
		`{"name":"a","project":"hq","cron":"@daily","source":{"users":["a"]},"configured":true}`:            {"/configured is an unknown field"},
		`{"name":"a","project":"hq","cron":"@daily","source":{"users":["a"]},"end":"2025-11-30T00:00:00Z"}`: {"/end leaves no time at which it would run"},
		`{"name":"a","project":"hq","cron":"0 18 29 FEB *","source":{"users":["a"]},"start":"2197-01-01T00:00:00Z","end":"2199-01-01T00:00:00Z","validate_only":true}`: {
			"/end leaves no time",
		},
	} {
		got := b.refusedFor(400, "/v1/schedules", body)
		for _, x := range want {
			require.Contains(t, got, x, body)
		}
	}
	require.Equal(t, "invalid /cron invalid cron \"x\": it has 1 fields, use five: minute, hour, day of the month, month, day of the week; \"0 18 * * FRI\" is 18:00 every Friday",
		b.refusedFor(400, "/v1/schedules:preview", `{"cron":"x"}`))
	require.Contains(t, b.refusedFor(400, "/v1/schedules:preview", `{"cron":"@daily","zone":"Mars/X"}`), "/zone unknown time zone")
	require.Contains(t, b.refusedFor(400, "/v1/schedules/configured:pause", `{}`), "/reason is required")
	require.Equal(t, 400, b.do(b.key[access.Viewer], "GET", "/v1/schedules/configured/next?count=101", "").status)
	require.Empty(t, b.audit())
}

// What the clocks do is shown before it happens.
func TestPreviewOfTicks(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Now = func() time.Time { return time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC) } })
	var got []string
	var page api.Page[tasks.ScheduleTick]
	a := b.do(b.key[access.Viewer], "POST", "/v1/schedules:preview", `{"cron":"30 2 * * *","zone":"Europe/Berlin","count":2}`)
	require.NoError(t, json.Unmarshal([]byte(a.body), &page))
	for _, tick := range page.Items {
		got = append(got, tick.Wall+" "+tick.At.Format(time.RFC3339)+" "+tick.Mark)
	}
	require.Equal(t, []string{"2026-03-29T02:30 2026-03-29T01:00:00Z shifted", "2026-03-30T02:30 2026-03-30T00:30:00Z "}, got)
	a = b.do(b.key[access.Viewer], "POST", "/v1/schedules:preview", `{"cron":"@daily","start":"2026-05-01T00:00:00Z","end":"2026-05-02T00:00:00Z"}`)
	require.Len(t, a.json(t)["items"], 2)
}

// A schedule of the configuration is changed only there, but people may pause, resume, skip and
// run it.
func TestAConfiguredSchedule(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	key := b.key[access.Operator]
	v := b.do(key, "GET", "/v1/schedules/configured", "").json(t)
	require.Equal(t, true, v["configured"])
	require.NotContains(t, v, "by")
	a := b.do(key, "POST", "/v1/schedules/configured:remove", `{"reason":"x"}`)
	require.Equal(t, []any{409, "schedule_configured"}, []any{a.status, a.json(t)["code"]})
	require.Contains(t, a.body, "change it in the files of workers and servers, and restart them")
	require.Empty(t, b.audit(), "what is refused has no entry")
	a = b.do(key, "POST", "/v1/schedules", `{"name":"configured","project":"hq","cron":"@daily","source":{"users":["ann"]}}`)
	require.Equal(t, []any{409, "schedule_exists"}, []any{a.status, a.json(t)["code"]})
	require.Equal(t, 200, b.do(key, "POST", "/v1/schedules/configured:pause", `{"reason":"x"}`).status)
	require.NotNil(t, b.do(key, "GET", "/v1/schedules/configured", "").json(t)["paused"])
	require.Equal(t, 200, b.do(key, "POST", "/v1/schedules/configured:resume", "").status)
	require.Equal(t, 200, b.do(key, "POST", "/v1/schedules/configured:skip", "").status)
	require.Equal(t, 200, b.do(key, "POST", "/v1/schedules/configured:unskip", "").status)
	require.Equal(t, 202, b.do(key, "POST", "/v1/schedules/configured:run", "").status)
}

// A key that is bound to projects sees and changes the schedules of these only, whatever their
// number.
func TestSchedulesOfABoundKey(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for i := range 5 {
		b.scheduled(fmt.Sprintf("a%d", i), []string{"branch", "hq"}[i%2])
	}
	bound := b.newKey(access.Key{Name: "bound", Role: access.Operator, Projects: []string{"hq"}})
	names := func(key, query string) (out []string, total any) {
		t.Helper()
		path := "/v1/schedules?page_size=2" + query
		for token := ""; ; {
			v := b.do(key, "GET", path+token, "").json(t)
			for _, x := range v["items"].([]any) {
				out = append(out, x.(map[string]any)["name"].(string))
				require.Len(t, x.(map[string]any)["next"], 1)
			}
			if v["next_page_token"] == nil {
				return out, v["total"]
			}
			token = "&page_token=" + v["next_page_token"].(string)
		}
	}
	got, total := names(bound, "")
	require.Equal(t, []string{"a1", "a3", "configured"}, got)
	require.InDelta(t, 3, total, 0)
	got, total = names(b.key[access.Viewer], "")
	require.Equal(t, []string{"a0", "a1", "a2", "a3", "a4", "configured"}, got)
	require.InDelta(t, 6, total, 0)
	got, _ = names(b.key[access.Viewer], "&project=branch")
	require.Equal(t, []string{"a0", "a2", "a4"}, got)
	got, _ = names(bound, "&project=branch")
	require.Empty(t, got)
	for _, verb := range []string{":pause", ":resume", ":run", ":skip", ":unskip", ":remove"} {
		require.Equal(t, 404, b.do(bound, "POST", "/v1/schedules/a0"+verb, `{"reason":"x"}`).status, verb)
		require.Less(t, b.do(bound, "POST", "/v1/schedules/a1"+verb, `{"reason":"x"}`).status, 300, verb)
	}
	require.Equal(t, 404, b.do(bound, "GET", "/v1/schedules/a0", "").status)
	require.Equal(t, 404, b.do(bound, "GET", "/v1/schedules/a0/next", "").status)
	for _, project := range []string{"branch", "nowhere"} {
		a := b.do(bound, "POST", "/v1/schedules", `{"name":"new","project":"`+project+`","cron":"@daily","source":{"users":["ann"]}}`)
		require.Equal(t, 403, a.status, "whether there is a project %s is not told", project)
	}
	v := b.do(b.key[access.Viewer], "GET", "/v1/schedules/a0", "").json(t)
	require.NotContains(t, v, "paused")
	require.NotNil(t, v["skip"])
}
