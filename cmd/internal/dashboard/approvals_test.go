package dashboard_test

import (
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/config"
	"github.com/detachd/detachd/cmd/internal/server"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// limited is the question of an operation beyond the limit.
func limited(desktops int) tasks.Clearance {
	return tasks.Clearance{Why: tasks.WhyLimit, Desktops: desktops, Used: 3, UsedBySource: 1, Allowed: 200, Assigned: 1000, WindowS: 86400,
		SecondPersonAbove: 500}
}

// A person finds what waits first, sees why, and decides.
func TestApprovals(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	b.expect("403")
	x := s.tell(usual) // failures, a pause
	asks := func(key access.Key, n int) string {
		op, err := s.inside.As(key, server.Origin{}).CreateOperation(t.Context(),
			api.OperationRequest{Project: "branch", Desktops: []string{x.id(95), x.id(96), x.id(97)}, Reason: "the site is closed"})
		require.NoError(t, err)
		s.ask(op.ID, limited(n))
		return op.ID
	}
	ann := access.Key{Name: "hr-feed", Owner: "Ann Lee", Role: access.Producer}
	large := asks(ann, 900)
	b.signIn(s.key(access.Approver))
	b.open("/")
	first := value[string](b, `document.querySelector("#todo li").innerText`)
	require.Contains(t, first, "to approve")
	require.Contains(t, first, "the site is closed of project branch, requested by hr-feed")
	require.Contains(t, first, "It asks for 900 desktops, after 3 others within 24h; more than 200 need an approval.")
	require.Contains(t, first, "It is cancelled in 23 h 59 min. Another person than Ann Lee must approve it.")
	require.Contains(t, value[string](b, `document.title`), "1 to approve")
	b.click("#todo li a.button")
	b.at("/operations/" + large)
	b.sees("900 desktops, of 1,000 of the project that have a user")
	b.sees("3 of 200 allowed, 1 of them by the same requester")
	b.sees("A person with the role approver or admin, other than Ann Lee")
	require.Equal(t, 1, s.waiting())
	b.click("#approval details:first-of-type summary")
	b.fill("#approval details:first-of-type input[name=reason]", "HR confirmed it")
	b.press("Show the plan")
	b.sees("Exactly this is approved")
	require.Equal(t, 1, s.waiting(), "it was shown only")
	b.accessible("the plan of an approval")
	b.press("Approve 3 desktops")
	b.sees("Approved. The operation begins.")
	b.sees("approved: HR confirmed it by approver")
	require.Zero(t, s.waiting())

	// Who asked may only reject, with whatever key.
	own := asks(ann, 900)
	session := s.sessionOf(access.Key{Name: "ann", Owner: "ann lee", Role: access.Admin})
	page := s.get("/operations/"+own, session)
	require.Contains(t, page.body, "You asked for it, so another person must approve it.")
	require.NotContains(t, page.body, "/approve\"")
	got := s.post("/operations/"+own+"/approve", session, "reason", "it is mine")
	require.Equal(t, 403, got.status)
	require.Contains(t, got.body, "Ann Lee asked for these 900 desktops")
	got = s.post("/operations/"+own+"/reject", session, "reason", " ")
	require.Equal(t, 400, got.status, "without a reason nothing happens")
	require.Equal(t, 1, s.waiting())
	require.Equal(t, 303, s.post("/operations/"+own+"/reject", session, "reason", "my mistake").status)
	op, err := s.api().OperationState(t.Context(), own)
	require.NoError(t, err)
	require.Equal(t, tasks.ClearanceRejected, op.Clearance.State)

	// Others read why it waits, and who may decide.
	small := asks(ann, 300)
	page = s.get("/operations/"+small, s.session(access.Operator))
	require.Contains(t, page.body, "Your key has the role operator, so you cannot decide.")
	require.Contains(t, page.body, "Anybody with the role approver or admin")
	require.NotContains(t, page.body, "/reject\"")
	require.Contains(t, s.get("/", s.session(access.Viewer)).body, "It asks for 300 desktops")
	list := s.get("/operations?waiting=1", s.session(access.Viewer)).body
	require.Contains(t, list, small)
	require.NotContains(t, list, large)
	require.Contains(t, list, "1 of 1, newest first")
	require.Contains(t, list, `<a class="chip" href="/operations?open=1">in progress</a>`, "instead")

	// It works without scripts, too.
	b.run(emulation.SetScriptExecutionDisabled(true))
	b.open("/operations/" + small)
	b.run(chromedp.Click("#approval details:last-of-type summary", chromedp.ByQuery),
		chromedp.SendKeys("#approval details:last-of-type input[name=reason]", "wrong list\r", chromedp.ByQuery),
		chromedp.WaitReady(`//main//*[contains(normalize-space(.), "Rejected. 3 desktops cancelled.")]`, chromedp.BySearch))
}

// The emergency stop is seen on every page, and ended on every page by those who may.
func TestStopOfAllProjects(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d1"}})
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Admin))
	b.open("/")
	b.click("#todo .confirm summary")
	b.fill("#todo .confirm input[name=reason]", "a wrong <b>feed</b>")
	b.press("Stop all projects")
	b.sees("All projects are stopped. No call begins.")
	for _, path := range []string{"/", "/operations", "/failures", "/redrives", "/projects", "/keys", "/audit", "/codes", "/new"} {
		b.open(path)
		b.sees("All projects are stopped: no call begins.")
		require.Contains(t, value[string](b, `document.querySelector("#stop").innerText`), "admin: a wrong <b>feed</b>")
	}
	p, err := s.store.Record.ProjectPause(t.Context(), "branch")
	require.NoError(t, err)
	require.Equal(t, tasks.PauseStop, p.Kind)
	operator := s.session(access.Operator)
	page := s.get("/projects", operator).body
	require.Contains(t, page, "An administrator can resume them.")
	require.NotContains(t, page, "/projects/hq/resume", "that would not end it")
	require.Equal(t, 403, s.post("/projects/resume", operator, "reason", "x").status)
	bound := s.session(access.Admin, "hq")
	require.NotContains(t, s.get("/projects", bound).body, "Resume all", "it concerns all projects")
	require.Equal(t, 403, s.post("/projects/resume", bound, "reason", "x").status)

	b.open("/codes")
	b.click("#stop summary")
	b.fill("#stop input[name=reason]", "corrected")
	b.press("Resume all projects")
	b.sees("The stop of all projects has ended.")
	require.NotContains(t, s.get("/", operator).body, "All projects are stopped")
	p, err = s.store.Record.ProjectPause(t.Context(), "branch")
	require.NoError(t, err)
	require.Nil(t, p)
}

func TestBlackoutOnTheProjectsPage(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(c *config.Config) {
		c.Projects[0].Blackouts = []config.Blackout{
			{Name: "freeze", Reason: "<b>payroll</b>", From: "2020-01-01 00:00", Until: "2199-01-01 00:00"},
		}
	})
	page := s.get("/projects", s.session(access.Viewer)).body
	require.Equal(t, 1, strings.Count(page, `blackout freeze: `), "of hq, not of branch")
	require.Contains(t, page, "&lt;b&gt;payroll&lt;/b&gt;")
	require.Contains(t, page, `<time datetime="2199-01-01T00:00:00Z"`)
	require.Equal(t, 1, strings.Count(page, `<span class="tag warn">blackout</span>`))
}
