package dashboard_test

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

// texts are written by people and the cloud.
type texts struct{ Desktop, Computer, User, Code, Message, Request, Reason, Ticket, Pause string }

var usual = texts{
	Desktop: "f5057fee-4c3e-4459-82dd-21250b7296", Computer: "FRONTDESK", User: "zoe.leaver", Code: "WKS.00010110",
	Message: "The desktop has no network address.",
	Request: "0b7d8a2e4c5f46f0a1d2c3b4a5968778", Reason: "contract ended", Ticket: "HR-4711", Pause: "the cloud is being repaired",
}

// story is the data of a stage: a finished operation with failed and on-hold desktops,
// one that waits in a paused project, and a finished redrive.
type story struct {
	texts
	s           *stage
	ended, open tasks.Operation
	redrive     tasks.Redrive
	cancelled   string // id of a cancellation, once it was made
	recalled    string // id of a recall, once it was made
	asks        string // id of the operation that waits for an approval, once it was asked for
	undone      string // id of an undo of one desktop, once it was made
}

// waits is the id of an operation of the paused project that waits for an approval.
func (x *story) waits() string {
	if x.asks == "" {
		x.asks = x.s.submit(api.OperationRequest{Project: "branch", Desktops: []string{x.id(92), x.id(93)}, Reason: x.Reason, Ticket: x.Ticket}).ID
		x.s.ask(x.asks, tasks.Clearance{
			Why: tasks.WhyStopLoss, Desktops: 900, Codes: []tasks.CodeCount{{Code: x.Code, Count: 51}}, SecondPersonAbove: 500,
		})
	}
	return x.asks
}

// cancels is the id of a cancellation by a ticket that only one operation has.
func (x *story) cancels() string {
	if x.cancelled == "" {
		ticket := "x" + x.Ticket
		x.s.submit(api.OperationRequest{Project: "branch", Desktops: []string{x.id(94)}, Reason: x.Reason, Ticket: ticket})
		c, err := x.s.api().Cancellation(x.s.t.Context(), api.CancellationRequest{Filter: tasks.CancellationFilter{Ticket: ticket},
			Reason: strings.ReplaceAll(x.Reason, "\n", " ")})
		require.NoError(x.s.t, err)
		x.cancelled = c.ID
	}
	return x.cancelled
}

// recalls is the id of a recall that was too late for one desktop, and cancels another.
func (x *story) recalls() string {
	if x.recalled == "" {
		ticket := "r" + x.Ticket
		x.s.cloud.Add(projectIDs["hq"], fakecloud.Desktop{ID: x.id(96), ComputerName: x.Computer, Users: []fakecloud.User{{Name: x.User}}})
		late := x.s.submit(api.OperationRequest{Project: "hq", Desktops: []string{x.id(96)}, Reason: x.Reason, Ticket: ticket,
			ExpectedUsers: map[string][]string{x.id(96): {x.User}}})
		require.Equal(x.s.t, 1, x.s.ended(late.ID).Counts.Detached)
		x.s.submit(api.OperationRequest{Project: "branch", Users: []string{x.User}, Reason: x.Reason, Ticket: ticket})
		r, err := x.s.api().Recall(x.s.t.Context(), api.RecallRequest{
			User: x.User, Ticket: ticket, Reason: strings.ReplaceAll(x.Reason, "\n", " "),
		})
		require.NoError(x.s.t, err)
		require.NotEmpty(x.s.t, r.Undo)
		x.recalled = r.ID
	}
	return x.recalled
}

// undoes is the id of an undo that gave the last desktop of the finished operation back.
func (x *story) undoes() string {
	if x.undone == "" {
		undo, err := x.s.api().Undo(x.s.t.Context(), x.ended.ID, api.UndoRequest{Desktops: []string{x.id(17)}, Reason: x.Reason, Ticket: x.Ticket})
		require.NoError(x.s.t, err)
		require.Equal(x.s.t, tasks.Counts{Detached: 1}, x.s.ended(undo.ID).Counts)
		x.undone = undo.ID
	}
	return x.undone
}

// ask has an operation wait for an approval.
func (s *stage) ask(id string, c tasks.Clearance) {
	s.t.Helper()
	op, err := s.store.Record.Operation(s.t.Context(), id)
	require.NoError(s.t, err)
	c.AskedAt, c.ExpiresAt = time.Now(), time.Now().Add(24*time.Hour)
	asked, err := s.store.Record.AskApproval(s.t.Context(), op, c)
	require.NoError(s.t, err)
	require.True(s.t, asked)
}

// stop stops all projects while a page is opened.
func (x *story) stop(b *browser, path string) {
	_, err := x.s.api().StopAll(x.s.t.Context(), x.Pause)
	require.NoError(x.s.t, err)
	b.open(path)
	_, err = x.s.api().ResumeAll(x.s.t.Context(), "it was a test")
	require.NoError(x.s.t, err)
}

// id is the id of one of the story's desktops. The first twelve fail, two go on hold,
// and four are detached.
func (x texts) id(i int) string { return fmt.Sprintf("%s%02d", x.Desktop, i) }

func (s *stage) tell(x texts) *story {
	s.t.Helper()
	out := &story{texts: x, s: s}
	s.work()
	req := api.OperationRequest{Project: "hq", Reason: x.Reason, Ticket: x.Ticket, ExpectedUsers: map[string][]string{}}
	for i := range 18 {
		id := x.id(i)
		req.Desktops = append(req.Desktops, id)
		req.ExpectedUsers[id] = []string{x.User}
		d := fakecloud.Desktop{ID: id, ComputerName: x.Computer, Users: []fakecloud.User{{Name: x.User}}}
		switch {
		case i < 11:
			s.cloud.Fail(fakecloud.Refused(id, x.Code, x.Message))
		case i == 11: // it spoils every call that it is in
			s.cloud.Fail(fakecloud.Fault{Desktop: id, Status: http.StatusBadRequest, Code: "WKS.0001", Message: x.Message,
				Header: http.Header{"X-Request-Id": {x.Request}}})
		case i < 14:
			d.Users[0].Name = "tom.heir" + x.Computer
		}
		s.cloud.Add(projectIDs["hq"], d)
	}
	out.ended = s.ended(s.submit(req).ID).Operation
	require.Equal(s.t, tasks.Counts{Detached: 4, Failed: 12, Held: 2}, out.ended.Counts)
	picks := []tasks.DesktopRef{{OperationID: out.ended.ID, DesktopID: x.id(0)}, {OperationID: out.ended.ID, DesktopID: x.id(1)}}
	var err error
	out.redrive, err = s.api().Redrive(s.t.Context(), api.RedriveRequest{Desktops: picks, Reason: strings.ReplaceAll(x.Reason, "\n", " "),
		PerSecond: 100})
	require.NoError(s.t, err)
	require.Eventually(s.t, func() bool {
		// In this order: once both were requeued, twelve have failed only when both failed again.
		x, err := s.api().RedriveByID(s.t.Context(), out.redrive.ID)
		op, opErr := s.api().OperationState(s.t.Context(), out.ended.ID)
		out.redrive = x.Redrive
		return err == nil && opErr == nil && x.Retried == 2 && x.Done() && op.Counts.Failed == 12
	}, patience, 10*time.Millisecond)
	_, err = s.api().Pause(s.t.Context(), "branch", api.PauseRequest{Reason: x.Pause})
	require.NoError(s.t, err)
	out.open = s.submit(api.OperationRequest{Project: "branch", Users: []string{x.User}, Desktops: []string{x.id(90), x.id(91)},
		Reason: x.Reason, Urgent: true})
	s.tellSchedule(x)
	return out
}

// tellSchedule adds a schedule that failed, is paused and skips a run.
func (s *stage) tellSchedule(x texts) {
	s.t.Helper()
	s.schedule(api.ScheduleRequest{
		Name: "nightly", Project: "hq", Cron: "30 2 1 1 *", Zone: "Africa/Cairo", Source: tasks.ScheduleSource{Users: []string{x.User}},
		Reason: x.Reason, Ticket: x.Ticket, Note: x.Reason, AllowShared: true, PauseOnFailure: true,
	})
	r := s.store.Record
	state, _, err := r.BeginScheduleRun(s.t.Context(), "nightly", "w", tasks.ScheduleTick{}, time.Second)
	require.NoError(s.t, err)
	run := tasks.ScheduleRun{
		ID: "nightly!1", Scheduled: time.Now(), At: time.Now(), Result: tasks.RunFailed, Why: x.Message, Rows: 3, By: x.User, Note: x.Reason,
		Operations: []string{"mignt50o6fnapq0v5n7g"},
	}
	_, err = r.CommitScheduleRun(s.t.Context(), "nightly", state, record.ScheduleResult{Run: run})
	require.NoError(s.t, err)
	_, err = s.api().SkipTick(s.t.Context(), "nightly", x.Pause)
	require.NoError(s.t, err)
	_, err = s.api().PauseSchedule(s.t.Context(), "nightly", x.Pause)
	require.NoError(s.t, err)
}

// place is a page in a state, and the way there.
type place struct {
	name  string
	visit func(b *browser)
}

func goTo(path string) func(*browser) { return func(b *browser) { b.open(path) } }

// places are the pages of a story, for a visitor with all rights.
func (x *story) places() []place {
	return []place{
		{"overview", goTo("/")},
		{"operations", goTo("/operations")},
		{"operations-none", goTo("/operations?ticket=nothing")},
		{"operation", goTo("/operations/" + x.ended.ID)},
		{"operation-open", goTo("/operations/" + x.open.ID)},
		{"operation-none", goTo("/operations/" + x.ended.ID + "?state=cancelled")},
		{"calls", goTo("/operations/" + x.ended.ID + "/calls")},
		{"calls-none", goTo("/operations/" + x.open.ID + "/calls")},
		{"failures-code", goTo("/failures")},
		{"failures-class", goTo("/failures?by=class")},
		{"failures-project", goTo("/failures?by=project")},
		{"failures-none", goTo("/failures?user=nobody")},
		{"preview", func(b *browser) {
			b.open("/failures")
			b.press("Retry all")
			b.sees("Retry 12 desktops?")
		}},
		{"dismissal", func(b *browser) {
			b.open("/failures")
			b.press("Dismiss all")
			b.sees("Dismiss 14 desktops?")
		}},
		{"redrives", goTo("/redrives")},
		{"redrive", goTo("/redrives/" + x.redrive.ID)},
		{"search", goTo("/search?q=" + url.QueryEscape(string([]rune(x.User)[:3])))},
		{"search-desktops", goTo("/search?only=desktops&q=" + url.QueryEscape(x.User))},
		{"person", goTo("/person?name=" + url.QueryEscape(x.User))},
		{"person-none", goTo("/person?name=nobody")},
		{"overview-week", goTo("/?range=7d")},
		{"search-none", goTo("/search?q=nobody.at.all")},
		{"search-empty", goTo("/search")},
		{"desktop", goTo("/desktop?id=" + url.QueryEscape(x.id(0)))},
		{"desktop-none", goTo("/desktop?id=nothing")},
		{"new", goTo("/new")},
		{"new-wrong", func(b *browser) {
			cell := func(i int) string { return `"` + strings.ReplaceAll(x.id(i), `"`, `""`) + `"` }
			x.list(b, "desktop_id,user\n"+cell(0)+",\n"+cell(0)+",zoe\n"+cell(1)+",nobody,too,much\n", "hq")
			b.sees("2 errors – nothing was queued")
		}},
		{"plan", func(b *browser) {
			var list strings.Builder
			rows := csv.NewWriter(&list)
			_ = rows.Write([]string{"desktop_id", "user"}) // a builder takes all
			for i := range 18 {
				_ = rows.Write([]string{x.id(i), x.User})
			}
			rows.Flush()
			x.list(b, list.String(), "hq")
			b.sees("Nothing is queued yet.")
		}},
		{"projects", goTo("/projects")},
		{"keys", goTo("/keys")},
		{"sessions", goTo("/sessions")},
		{"audit", goTo("/audit")},
		{"audit-none", goTo("/audit?by=nobody&action=key.revoked")},
		{"codes", goTo("/codes")},
		{"codes-found", goTo("/codes?q=quota")},
		{"codes-none", goTo("/codes?q=nothing")},
		{"codes-unknown", goTo("/codes?code=WKS.99999999")},
		{"stopped", func(b *browser) { x.stop(b, "/codes?q=quota") }},
		{"operation-waiting", func(b *browser) { b.open("/operations/" + x.waits()) }},
		{"operations-waiting", goTo("/operations?waiting=1")},
		{"overview-waiting", goTo("/")},
		{"cancel", goTo("/cancellations/preview")},
		{"cancel-matches", goTo("/cancellations/preview?ticket=" + url.QueryEscape(x.Ticket))},
		{"cancellation", func(b *browser) { b.open("/cancellations/" + x.cancels()) }},
		{"cancellations", goTo("/cancellations")},
		{"undo", goTo("/operations/" + x.ended.ID + "/undo")},
		{"operation-undo", func(b *browser) { b.open("/operations/" + x.undoes()) }},
		{"operation-undone", goTo("/operations/" + x.ended.ID)},
		{"undo-none", func(b *browser) { b.open("/operations/" + x.undoes() + "/undo") }},
		{"newrecall", goTo("/recall?user=" + url.QueryEscape(x.User))},
		{"recall", func(b *browser) { b.open("/recalls/" + x.recalls()) }},
		{"recalls", goTo("/recalls")},
		{"newreview", goTo("/came-back")},
		{"review", func(b *browser) {
			b.open("/came-back")
			b.press("Look for them")
			b.sees("CSV")
		}},
		{"schedules", goTo("/schedules")},
		{"schedule", goTo("/schedules/nightly")},
		{"newschedule", goTo("/schedule/new")},
		{"newschedule-wrong", func(b *browser) { x.planSchedule(b, "0 25 * * *"); b.sees("– nothing was added") }},
		{"newschedule-shown", func(b *browser) { x.planSchedule(b, "@daily"); b.sees("Nothing is added yet.") }},
		{"not-found", goTo("/operations/nothing")},
		{"bad-filter", goTo("/operations?from=someday")},
	}
}

// planSchedule fills the form of a schedule and asks for its next runs.
func (x *story) planSchedule(b *browser, cron string) {
	b.t.Helper()
	b.open("/schedule/new?" + form("name", "another", "project", "hq", "cron", cron, "zone", "Africa/Cairo", "users", x.User,
		"note", x.Reason, "start", "yesterday"))
	b.press("Show the next runs")
}

// list pastes a list into the form and asks for the plan.
func (x *story) list(b *browser, list, project string) {
	b.t.Helper()
	b.open("/new")
	b.run(chromedp.Evaluate(`document.querySelector("#list").value = `+quote(list), nil),
		chromedp.SetValue("select[name=project]", project, chromedp.ByQuery))
	b.press("Show the plan")
}

// emptyPlaces are pages of a stage without operations and without a worker.
var emptyPlaces = []place{
	{"empty-overview", goTo("/")}, {"empty-operations", goTo("/operations")}, {"empty-failures", goTo("/failures")},
	{"empty-redrives", goTo("/redrives")}, {"empty-schedules", goTo("/schedules")}, {"empty-projects", goTo("/projects")},
}

// told creates a story and signs the window in with all rights.
func told(s *stage, x texts, b *browser) *story {
	out := s.tell(x)
	b.signIn(s.key(access.Admin))
	return out
}
