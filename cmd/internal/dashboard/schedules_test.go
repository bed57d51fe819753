package dashboard_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/config"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// schedule adds a schedule.
func (s *stage) schedule(req api.ScheduleRequest) tasks.ScheduleView {
	s.t.Helper()
	x, err := s.api().AddSchedule(s.t.Context(), req)
	require.NoError(s.t, err)
	return x
}

// yearly is a schedule whose next tick is far away.
var yearly = api.ScheduleRequest{
	Name: "yearly", Project: "hq", Cron: "30 2 1 1 *", Zone: "Asia/Singapore", Source: tasks.ScheduleSource{Users: []string{"zoe"}},
}

// A schedule is added once its next runs were shown; then it is paused, resumed, and skips a run.
func TestSchedule(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Operator))
	b.open("/schedules")
	b.sees("No schedules yet.")
	b.press("Add a schedule")
	b.at("/schedule/new")
	require.Equal(t, []string{"users", "computers", "desktops"}, value[[]string](b, `[...document.querySelectorAll("textarea")]
		.filter((e) => e.checkVisibility()).map((e) => e.name)`))
	b.fill("input[name=name]", "course")
	b.fill("input[name=cron]", "0 18 31 12 *")
	b.fill("input[name=zone]", "Asia/Singapore")
	b.fill("input[name=note]", "the course ends")
	b.run(chromedp.SendKeys("select[name=project]", "hq", chromedp.ByQuery))
	b.fill("textarea[name=users]", "zoe\ntom")
	b.press("Show the next runs")
	b.sees("Nothing is added yet. This is what would be added")
	b.sees("Each run detaches: 2 users.")
	b.sees("-12-31 18:00")
	b.sees("-12-31 10:00:00") // on the clocks of the page
	require.Empty(t, s.schedules())
	b.fill("input[name=cron]", "0 18 30 12 *")
	b.press("Add the schedule")
	b.sees("The form has changed: this is what would be added now")
	b.sees("-12-30 18:00")
	require.Empty(t, s.schedules(), "only what was shown is added")
	b.press("Add the schedule")
	b.sees("The schedule is added.")
	b.at("/schedules/course")
	b.sees("the course ends · project hq, 0 18 30 12 * in Asia/Singapore")
	b.sees("It has not run yet.")
	require.Equal(t, 10, value[int](b, `document.querySelectorAll("#next tbody tr").length`))
	require.Equal(t, []string{"zoe", "tom"}, s.schedules()[0].Source.Users)

	b.confirm("Pause…", "the list is wrong", "Pause course")
	b.sees("Paused: no run begins by itself.")
	b.sees("Paused by operator")
	require.Contains(t, value[string](b, `document.title`), "paused")
	require.Equal(t, "the list is wrong", s.schedules()[0].Paused.Note)
	b.open("/schedules")
	b.sees("operator: the list is wrong")
	b.press("course")
	b.confirm("Resume…", "the list is right", "Resume course")
	b.sees("Resumed: runs begin again at their times.")
	require.Nil(t, s.schedules()[0].Paused)

	b.confirm("Skip the next…", "a holiday", "Skip this run")
	b.sees("will not happen.")
	b.sees("by operator")
	require.Equal(t, []string{"skipped"}, value[[]string](b, `[...document.querySelectorAll("#next [data-label=Skipped]")].map((e) => e.innerText.trim())`))
	require.Contains(t, s.schedules()[0].Skip.Tick.Wall, "-12-30T18:00")
	b.open("/schedules")
	b.sees("skipped")
	b.press("course")
	b.confirm("Take the skip back…", "no holiday", "Take it back")
	b.sees("No run is skipped.")
	require.Nil(t, s.schedules()[0].Skip)

	b.confirm("Remove…", "the course is over", "Remove course")
	b.at("/schedules")
	b.sees("The schedule course is removed.")
	require.Empty(t, s.schedules())
}

// confirm opens a confirmation, gives a reason and presses its button.
func (b *browser) confirm(open, reason, button string) {
	b.t.Helper()
	b.press(open)
	b.fill("details[open] input[name=reason]", reason)
	b.press(button)
}

// schedules are all schedules, as an administrator sees them.
func (s *stage) schedules() []tasks.ScheduleView {
	s.t.Helper()
	out, next, err := s.api().Schedules(s.t.Context(), "", 100, "")
	require.NoError(s.t, err)
	require.Empty(s.t, next)
	return out
}

// Schedules of the configuration are marked, and are not removed here.
func TestScheduleOfTheConfiguration(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(c *config.Config) {
		c.Schedules = []tasks.Schedule{{Name: "nightly", Project: "hq", Cron: "@daily", Source: tasks.ScheduleSource{File: "/srv/leavers.csv"}}}
	})
	session := s.session(access.Operator)
	page := s.get("/schedules/nightly", session).body
	require.Contains(t, page, "the configuration; only there it can be changed or removed")
	require.Contains(t, page, "Each run detaches what the file /srv/leavers.csv on the workers&#39; machines lists.")
	require.NotContains(t, page, "Remove…")
	require.Contains(t, page, "Pause…")
	require.Contains(t, s.get("/schedules", session).body, "configuration")
	require.Equal(t, http.StatusConflict, s.post("/schedules/nightly/remove", session, "reason", "x").status)
	require.Equal(t, http.StatusSeeOther, s.post("/schedules/nightly/pause", session, "reason", "x").status)
	require.Contains(t, s.get("/schedules/nightly", s.session(access.Viewer)).body, "<strong>Paused</strong> by operator")
}

// A schedule whose last run failed needs attention, with the reason.
func TestFailedScheduleOnTheOverview(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.schedule(yearly)
	viewer := s.session(access.Viewer)
	require.NotContains(t, s.get("/", viewer).body, "Schedule yearly")
	s.tellSchedule(usual)
	body := s.get("/", viewer).body
	require.Contains(t, body, "Schedule nightly of project hq, paused by hr <small>The desktop has no network address.</small>")
	require.Contains(t, body, `href="/schedules/nightly"`)
	require.NotContains(t, body, "yearly")
	require.NotContains(t, s.get("/", s.session(access.Viewer, "branch")).body, "nightly")
}

// The form works without scripts.
func TestScheduleWithoutScripts(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	b.run(emulation.SetScriptExecutionDisabled(true))
	b.open("/signin?to=%2Fschedule%2Fnew")
	b.run(chromedp.SendKeys("#key", s.key(access.Operator)+"\r", chromedp.ByQuery), chromedp.WaitReady(".kinds", chromedp.ByQuery))
	b.run(chromedp.SendKeys("input[name=name]", "unused", chromedp.ByQuery), chromedp.SendKeys("input[name=cron]", "@monthly", chromedp.ByQuery),
		chromedp.SendKeys("select[name=project]", "hq", chromedp.ByQuery), chromedp.Click("input[value=selector]", chromedp.ByQuery),
		chromedp.SendKeys("input[name=unused_days]", "90", chromedp.ByQuery))
	b.press("Show the next runs")
	b.run(chromedp.WaitReady("#preview", chromedp.ByQuery))
	b.press("Add the schedule")
	b.run(chromedp.WaitReady(`//main//*[contains(., "The schedule is added.")]`, chromedp.BySearch))
	require.Equal(t, &tasks.Selector{UnusedDays: 90}, s.schedules()[0].Source.Selector)
}

// What is wrong with a form is said with the name of the field, and the form keeps its content.
func TestScheduleIsRefused(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	session := s.session(access.Operator)
	base := map[string]string{"name": "x", "project": "hq", "cron": "@daily", "users": "zoe", "do": "show"}
	for says, fields := range map[string]map[string]string{
		"cron":        {"cron": "0 25 * * *"},
		"zone":        {"zone": "Mars/Olympus"},
		"name":        {"name": "No"},
		"source":      {"users": ""},
		"unused_days": {"kind": "selector", "unused_days": "many"},
		"since":       {"kind": "came_back", "since": "long"},
		"catch_up":    {"catch_up": "1s"},
		"start":       {"start": "someday"},
		"at_least":    {"kind": "not_in", "list": "staff.csv", "at_least": "200"},
	} {
		var form []string
		for name, value := range base {
			if other, is := fields[name]; is {
				value = other
			}
			form = append(form, name, value)
		}
		for name, value := range fields {
			if _, is := base[name]; !is {
				form = append(form, name, value)
			}
		}
		a := s.post("/schedule/new", session, form...)
		require.Equal(t, http.StatusBadRequest, a.status, says)
		_, list, _ := strings.Cut(a.body, `class="faults"`)
		list, _, _ = strings.Cut(list, "</ul>")
		require.Contains(t, list, says)
		require.NotContains(t, a.body, "Add the schedule")
		require.Contains(t, a.body, `name="name" value="`)
	}
	s.schedule(yearly)
	form := []string{"name", "yearly", "project", "hq", "cron", "@daily", "users", "zoe"}
	shown := s.post("/schedule/new", session, append(form, "do", "show")...).body
	_, shown, _ = strings.Cut(shown, `name="shown" value="`)
	shown, _, _ = strings.Cut(shown, `"`)
	require.NotEmpty(t, shown)
	a := s.post("/schedule/new", session, append(form, "do", "add", "shown", shown)...)
	require.Equal(t, http.StatusBadRequest, a.status)
	require.Contains(t, a.body, "yearly")
	require.Equal(t, "30 2 1 1 *", s.schedules()[0].Cron)
	require.Equal(t, http.StatusBadRequest, s.post("/schedules/yearly/pause", session).status, "a pause has a reason")
	require.Equal(t, http.StatusNotFound, s.get("/schedules/nothing", session).status)
	mine := s.session(access.Operator, "branch")
	require.Equal(t, http.StatusNotFound, s.get("/schedules/yearly", mine).status)
	require.NotContains(t, s.get("/schedules", mine).body, "yearly")
}

// A run that a person asks for is on the page of the schedule, with its operation, and who asked.
func TestRunOfAScheduleNow(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cloud.Add(projectIDs["hq"], fakecloud.Desktop{ID: "d-7", Users: []fakecloud.User{{Name: "zoe"}}})
	s.work()
	s.schedule(yearly)
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Operator))
	b.open("/schedules/yearly")
	b.confirm("Run now…", "she has left", "Run yearly now")
	b.sees("A worker begins the run within seconds.")
	b.until(`document.querySelector("#runs [data-label=Operations] a")`)
	b.sees("operator: she has left")
	b.sees("Since it was added: 1 run")
	b.click("#runs [data-label=Operations] a")
	b.sees("requested by schedule:yearly")
	ops, _, err := s.api().Operations(t.Context(), tasks.OperationFilter{RequestedBy: "schedule:yearly"}, 10, "")
	require.NoError(t, err)
	require.Len(t, ops, 1)
	require.Equal(t, 1, s.ended(ops[0].ID).Counts.Detached)
	b.open("/schedules")
	b.until(`document.querySelector("[data-label=Result]").innerText.trim() === "started"`)
}
