package dashboard_test

import (
	"fmt"
	"html"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

// leavers is a CSV of thirty desktops of project hq with their users. In the cloud the
// first has another user, and the second is hibernated.
func (s *stage) leavers() (csv string) {
	s.t.Helper()
	csv = "desktop_id,user\n"
	for i := range 30 {
		d := fakecloud.Desktop{ID: desktopID(i), Users: []fakecloud.User{{Name: fmt.Sprintf("user.%02d", i)}}}
		csv += d.ID + "," + d.Users[0].Name + "\n"
		switch i {
		case 0:
			d.Users[0].Name = "tom.heir"
		case 1:
			d.Status = fakecloud.Hibernated
		}
		s.cloud.Add(projectIDs["hq"], d)
	}
	return csv
}

func desktopID(i int) string { return fmt.Sprintf("d-%04d", i) }

// refuse makes the cloud refuse desktops of leavers permanently.
func (s *stage) refuse(code, message string, from, to int) {
	for i := from; i < to; i++ {
		s.cloud.Fail(fakecloud.Refused(desktopID(i), code, message))
	}
}

// mark leaves a mark in the page that a reload removes.
func (b *browser) mark() { value[bool](b, `window.marked = true`) }

func (b *browser) stayed() {
	b.t.Helper()
	require.True(b.t, value[bool](b, `window.marked === true`), "the page was not loaded again")
}

// From a file to confirmation: the plan, its number, and the operation's page, which
// refreshes itself.
func TestSubmit(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	list := s.leavers()
	b := newBrowser(t, s.url)
	b.expect("400")
	b.signIn(s.key(access.Operator))
	b.press("New detach")
	b.at("/new")
	b.choose("input[name=file]", "leavers.csv", list)
	b.run(chromedp.SetValue("select[name=project]", "hq", chromedp.ByQuery))
	b.fill("input[name=reason]", "contract ended")
	b.fill("input[name=ticket]", "HR-4711")
	b.press("Show the plan")
	b.at("/new/plan")
	b.sees("Of 30 desktops, 28 will be detached from 28 people and 2 will be put on hold (HIBERNATED 1, OTHER_USER 1).")
	b.sees("All 30 rows, on hold first.")
	rows := value[[]string](b, `[...document.querySelectorAll("tbody tr")].map((row) => row.innerText)`)
	require.Len(t, rows, 30)
	require.Contains(t, rows[0], "d-0000", "on hold first")
	require.Regexp(t, `(?s)on hold.*tom\.heir.*ATTACHED.*OTHER_USER.*expected "user\.00"`, rows[0])
	require.Regexp(t, `(?s)d-0001.*on hold.*user\.01.*HIBERNATED`, rows[1])
	require.Regexp(t, `(?s)d-0002.*detach.*user\.02`, rows[2], "who is cut off")

	b.press("Back to the list") // which was in a file
	b.at("/new/edit")
	require.Contains(t, value[string](b, `document.querySelector("#list").value`), "d-0000")
	require.Equal(t, []string{"contract ended", "HR-4711", "hq"}, value[[]string](b,
		`["input[name=reason]", "input[name=ticket]", "select[name=project]"].map((field) => document.querySelector(field).value)`))
	b.press("Show the plan")
	b.sees("All 30 rows, on hold first.")

	b.fill("input[name=count]", "29")
	b.press("Detach")
	require.True(t, value[bool](b, `document.querySelector("input[name=count]").matches(":invalid")`), "the browser refuses it")
	fields := value[[]string](b, `[...new FormData(document.querySelector("form[action='/new']"))].flat()`)
	refused := s.postMulti("/new", s.session(access.Operator), fields...)
	require.Equal(t, http.StatusBadRequest, refused.status)
	require.Contains(t, refused.body, "type the number of desktops, 30, to confirm")
	ops, _, err := s.api().Operations(t.Context(), tasks.OperationFilter{}, 0, "")
	require.NoError(t, err)
	require.Empty(t, ops)

	b.fill("input[name=count]", "30")
	b.press("Detach")
	b.sees("Accepted. This page shows the progress.")
	b.sees("In progress: 0 of 30 finished")
	b.mark()
	s.work()
	b.until(`document.querySelector("#progress-head").innerText.startsWith("Finished, 2 on hold")`)
	b.stayed()
	require.Equal(t, []string{"detached 28", "on hold 2"}, value[[]string](b,
		`[...document.querySelectorAll(".counts a")].map((a) => a.innerText)`))
	b.sees("contract ended")
	b.sees("HR-4711")
	id := value[string](b, `location.pathname`)
	b.press("on hold 2")
	b.at(id + "?state=held")
	require.Equal(t, []string{"d-0000", "d-0001"}, value[[]string](b, `[...document.querySelectorAll("tbody tr")].map((row) => row.dataset.key)`))
	b.sees("audit trail sealed")
	b.sees("28 desktops confirmed detached, 2 on hold")
	b.press("Calls")
	b.at(id + "/calls")

	// Submitting the same plan again gives the same operation.
	again := s.postMulti("/new", s.session(access.Operator), append(fields, "count", "30")...)
	require.Equal(t, http.StatusBadRequest, again.status, "the wrong number goes before the right one")
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == "count" {
			fields[i+1] = "30"
		}
	}
	s.postMulti("/new", s.session(access.Operator), fields...)
	ops, _, err = s.api().Operations(t.Context(), tasks.OperationFilter{RequestedBy: "operator"}, 0, "")
	require.NoError(t, err)
	require.Len(t, ops, 1, "a plan is carried out once")
}

// Ignored columns are named, because one of them may have been important.
func TestColumnsThatArePassedOver(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	session := s.session(access.Producer)
	a := s.postMulti("/new/plan", session, "project", "hq", "names", "desktops", "list", "desktop_id,department\nd-1,sales\n")
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.Contains(t, a.body, "Ignored columns: department")
	require.NotContains(t, s.postMulti("/new/plan", session, "project", "hq", "list", "desktop_id\nd-1\n").body, "Ignored columns")

	a = s.postMulti("/new/plan", session, "project", "hq", "list", "desktop_id,left on\nd-1,2199-12-31\n")
	require.Contains(t, a.body, "has dates to come in 1 of the rows")
	plan := regexp.MustCompile(`name="id" value="([^"]+)"`).FindStringSubmatch(a.body)
	require.NotNil(t, plan)
	note := regexp.MustCompile(`name="note" value="([^"]+)"`).FindStringSubmatch(a.body)
	require.NotNil(t, note)
	again := s.postMulti("/new/plan", session, "id", plan[1], "plan", "[]", "key", "k", "note", html.UnescapeString(note[1]))
	require.Contains(t, again.body, "has dates to come in 1 of the rows", "also when the page is loaded again")
}

// Fourteen failures of two codes in two projects, and their bulk retries.
func TestRedrive(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.leavers()
	s.refuse("WKS.00010110", "no network address", 2, 14)
	s.cloud.Fail(fakecloud.Poison("d-0014"), fakecloud.Refused("b-1", "WKS.00010110", "no network address"))
	stop := s.work()
	req := api.OperationRequest{Project: "hq"}
	for i := 2; i < 20; i++ {
		req.Desktops = append(req.Desktops, desktopID(i))
	}
	op := s.ended(s.submit(req).ID)
	require.Equal(t, tasks.Counts{Detached: 5, Failed: 13}, op.Counts)
	s.ended(s.submit(api.OperationRequest{Project: "branch", Desktops: []string{"b-1"}}).ID)

	b := newBrowser(t, s.url)
	b.expect("400")
	b.signIn(s.key(access.Operator))
	b.sees("Needs attention")
	b.press("Review")
	b.at("/failures?class=permanent&code=WKS.00010110")
	groups := func() []string {
		return value[[]string](b, `[...document.querySelectorAll("#groups tbody tr")].map((row) => row.innerText.replace(/\s+/g, " "))`)
	}
	b.open("/failures")
	require.Len(t, groups(), 2)
	require.Contains(t, groups()[0], "WKS.00010110 permanent 13 ")
	require.Contains(t, groups()[0], "Give the desktop an IP address in the Workspace console, then retry.", "the advice is about the code")
	require.Contains(t, groups()[1], "WKS.0001 poison 1 ")
	b.press("by class")
	b.at("/failures?by=class")
	require.Contains(t, groups()[0], "permanent 13 no retry can fix it")
	b.press("by project")
	b.at("/failures?by=project")
	require.Equal(t, []string{"hq 13 Retry… Dismiss…", "branch 1 Retry… Dismiss…"}, groups())
	b.press("by code")
	b.at("/failures?by=code")
	b.click("#groups a[href$='code=WKS.0001']")
	b.at("/failures?class=poison&code=WKS.0001")
	require.Len(t, groups(), 1, "counts are those of the filter")
	b.sees("1 matching desktop")

	// One, selected.
	s.cloud.ClearFaults()
	require.True(t, value[bool](b, `document.querySelector("button[data-picks]").disabled`), "nothing is chosen")
	b.click("input[name=pick]")
	b.sees("1 selected")
	b.press("Retry selected")
	b.sees("Retry 1 desktop?")
	b.fill("input[name=reason]", "fixed")
	b.press("Retry 1 desktop")
	b.sees("Bulk retry started.")
	b.mark()
	b.sees("Finished: 1 of 1 requeued")
	b.sees("Result: 1 detached")
	b.until(`document.querySelector("#items tbody").innerText.includes("detached")`)
	b.stayed()
	b.sees("fixed")

	// All that match, slowly, and aborted.
	s.refuse("WKS.00010110", "no network address", 2, 14)
	b.open("/failures?project=hq&code=WKS.00010110")
	b.press("Retry all")
	b.sees("Retry 12 desktops?")
	b.fill("input[name=per_second]", "1")
	b.fill("input[name=reason]", "the network is repaired")
	b.fill("input[name=count]", "11")
	b.press("Retry 12 desktops")
	require.True(t, value[bool](b, `document.querySelector("input[name=count]").matches(":invalid")`), "the browser refuses it")
	refused := s.post("/redrives", s.session(access.Operator), value[[]string](b,
		`[...new FormData(document.querySelector("form[action='/redrives']"))].flat()`)...)
	require.Equal(t, http.StatusBadRequest, refused.status)
	require.Contains(t, refused.body, "type the number of desktops, 12, to confirm")
	b.fill("input[name=count]", "12")
	stop()
	b.press("Retry 12 desktops")
	b.sees("Bulk retry started.")
	b.mark()
	id := strings.TrimPrefix(value[string](b, `location.pathname`), "/redrives/")
	x, err := s.api().RedriveByID(t.Context(), id)
	require.NoError(t, err)
	worker, err := record.NewProducer(s.rdb, record.ProducerConfig{Projects: s.store.Projects, // three seconds later, on any machine
		Now: func() time.Time { return x.CreatedAt.Add(3 * time.Second) }})
	require.NoError(t, err)
	_, err = worker.AdvanceRedrives(t.Context(), time.Minute)
	require.NoError(t, err)
	b.until(`document.querySelector("#progress-head").innerText.startsWith("In progress: 3 of 12 requeued")`)
	b.stayed()
	b.press("Abort")
	b.sees("Bulk retry aborted.")
	b.sees("Aborted by operator")
	s.work()
	x, err = s.api().RedriveByID(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, 3, x.Retried)
	require.Equal(t, "operator", x.AbortedBy)
	require.Equal(t, 1, x.PerSecond)
	require.Eventually(t, func() bool { // requeued desktops fail again, the others still do
		ops, _, err := s.api().Operations(t.Context(), tasks.OperationFilter{Project: "hq"}, 0, "")
		failed := 0
		for _, op := range ops {
			failed += op.Counts.Failed
		}
		return err == nil && failed == 12
	}, patience, 10*time.Millisecond)

	// All of them, at an unlimited rate.
	s.cloud.ClearFaults()
	b.open("/failures?project=hq")
	b.press("Retry all")
	b.sees("Retry 12 desktops?")
	b.fill("input[name=reason]", "the cloud has recovered")
	b.fill("input[name=count]", "12")
	b.press("Retry 12 desktops")
	b.sees("Finished: 12 of 12 requeued")
	b.press("Bulk retries")
	b.at("/redrives")
	require.Len(t, value[[]string](b, `[...document.querySelectorAll("tbody tr")].map((row) => row.innerText)`), 3)
	b.sees("aborted")
	require.Equal(t, tasks.Counts{Detached: 18}, s.ended(op.ID).Counts)
}

// Dismissed desktops leave the list: selected ones, and all that match.
func TestDismiss(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.leavers()
	s.refuse("WKS.00010110", "no network address", 2, 15)
	s.work()
	req := api.OperationRequest{Project: "hq"}
	for i := 2; i < 15; i++ {
		req.Desktops = append(req.Desktops, desktopID(i))
	}
	op := s.ended(s.submit(req).ID)
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Operator))
	b.open("/failures")
	b.click("input[name=pick]")
	b.press("Dismiss selected")
	b.sees("Dismiss 1 desktop?")
	b.press("Dismiss 1 desktop")
	require.True(t, value[bool](b, `document.querySelector("input[name=reason]").matches(":invalid")`), "it takes a reason")
	b.fill("input[name=reason]", "stays for a month")
	b.press("Dismiss 1 desktop")
	b.sees("1 desktop dismissed. The audit trail records it.")
	b.sees("12 desktops")

	b.press("Dismiss all")
	b.sees("Dismiss 12 desktops?")
	b.fill("input[name=reason]", "deleted")
	fields := value[[]string](b, `[...new FormData(document.querySelector("form[action='/dismissals']"))].flat()`)
	refused := s.post("/dismissals", s.session(access.Operator), append(fields, "count", "11")...)
	require.Equal(t, http.StatusBadRequest, refused.status)
	b.fill("input[name=count]", "12")
	b.press("Dismiss 12 desktops")
	b.sees("No failed or on-hold desktops.")
	after, err := s.api().OperationState(t.Context(), op.ID)
	require.NoError(t, err)
	require.Equal(t, op.Counts, after.Counts, "the operation is as it was")
	require.NotEqual(t, op.Seal, after.Seal, "and its trail is longer")
	b.open("/desktop?id=" + desktopID(2))
	require.Contains(t, value[string](b, `document.querySelector("main").textContent`), "dismissed", "its history says so")
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.work()
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Operator))
	b.press("Projects")
	b.at("/projects")
	b.click("#projects tbody tr:last-child summary") // projects stand as they are configured
	b.fill("#projects tbody tr:last-child input[name=reason]", "the cloud is being repaired")
	b.press("Pause branch")
	b.sees("Project branch is paused: workers send no calls for it.")
	b.sees("operator: the cloud is being repaired")
	op := s.submit(api.OperationRequest{Project: "branch", Desktops: []string{"b-1", "b-2"}})
	s.ended(s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-1"}}).ID)
	require.Zero(t, s.cloud.CallsOf(fakecloud.OpDetach, projectIDs["branch"]))
	b.press("Overview")
	b.sees("Project branch is paused")
	b.open("/operations/" + op.ID)
	b.sees("In progress: 0 of 2 finished")
	b.press("Projects")
	b.press("Resume…")
	b.fill("details[open] input[name=reason]", "repaired")
	b.press("Resume branch")
	b.sees("Project branch is resumed.")
	b.open("/operations/" + op.ID)
	b.until(`document.querySelector("#progress-head").innerText === "Finished"`)

	// For some minutes.
	b.press("Projects")
	b.click("#projects tbody tr:first-child summary")
	b.fill("#projects tbody tr:first-child input[name=reason]", "lunch")
	b.fill("#projects tbody tr:first-child input[name=minutes]", "45")
	b.press("Pause hq")
	b.sees("Project hq is paused")
	list, err := s.api().Projects(t.Context())
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(45*time.Minute), list[0].Pause.Until, 5*time.Minute)
}

func TestSearchAndHistory(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.work()
	s.cloud.Add(projectIDs["hq"],
		fakecloud.Desktop{ID: "d-1", ComputerName: "FRONTDESK-1", Users: []fakecloud.User{{Name: "zoe.leaver"}}},
		fakecloud.Desktop{ID: "d-2", ComputerName: "FRONTDESK-2", Users: []fakecloud.User{{Name: "zoe.leaver"}}})
	s.cloud.Fail(fakecloud.Refused("d-1", "WKS.00010110", "no network address"))
	ask := map[string][]string{"d-1": {"zoe.leaver"}, "d-2": {"zoe.leaver"}}
	first := s.ended(s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-1", "d-2"}, ExpectedUsers: ask}).ID)
	s.cloud.ClearFaults()
	second := s.ended(s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-1"}}).ID)

	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Viewer))
	search := func(text string) {
		b.fill("#search", text+"\r")
		b.until(`document.readyState === "complete" && document.querySelector("#search").value === ` + quote(text) +
			` || ["/desktop", "/person"].includes(location.pathname) || location.pathname.startsWith("/operations/")`)
	}
	search("D-1")
	b.at("/desktop?id=d-1")
	require.Equal(t, []string{second.ID, first.ID}, value[[]string](b,
		`[...document.querySelectorAll("#history .facts .id[href^='/operations']")].map((a) => a.innerText)`), "the latest first")
	b.sees("WKS.00010110")
	b.sees("zoe.leaver")
	b.sees("FRONTDESK-1")
	search("Zoe.Leaver") // it can only be this person
	b.at("/person?name=zoe.leaver")
	b.sees("d-1")
	b.sees("d-2")
	b.sees("can be read with a key of the role producer")
	search("ZOE")
	b.at("/search?q=ZOE")
	b.press("zoe.leaver")
	b.at("/person?name=zoe.leaver")
	search(first.ID)
	b.at("/operations/" + first.ID)
	search("frontdesk-1") // of what was detached only users are found, not computers
	b.at("/search?q=frontdesk-1")
	require.Contains(t, value[[]string](b, `[...document.querySelectorAll("#main tbody .id")].map((a) => a.innerText)`), "d-1")
	b.press("FRONTDESK-1")
	b.at("/desktop?id=d-1")
	search("nobody.at.all")
	b.sees("Nothing found for “nobody.at.all”")
}

// downloads keeps the downloads of the window and returns a function that waits for
// one.
func (b *browser) downloads() func(name string) string {
	b.t.Helper()
	dir := b.t.TempDir()
	executor := cdp.WithExecutor(b.ctx, chromedp.FromContext(b.ctx).Browser)
	behavior := cdpbrowser.SetDownloadBehavior(cdpbrowser.SetDownloadBehaviorBehaviorAllow)
	require.NoError(b.t, behavior.WithBrowserContextID(b.jar).WithDownloadPath(dir).Do(executor))
	return func(name string) (text string) {
		b.t.Helper()
		require.Eventually(b.t, func() bool { // it has another name while it comes
			content, err := os.ReadFile(filepath.Join(dir, name))
			text = string(content)
			return err == nil && text != ""
		}, patience, 10*time.Millisecond, "%s is not downloaded", name)
		return text
	}
}

func TestReports(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.work()
	s.cloud.Fail(fakecloud.Refused("d-1", "WKS.00010110", "no network address"))
	op := s.ended(s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-1", "d-2"}}).ID)
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Viewer))
	file := b.downloads()
	b.open("/operations/" + op.ID)
	b.mark()
	b.press("Evidence report")
	require.Contains(t, file(op.ID+".html"), "no network address")
	b.press("CSV")
	require.Regexp(t, `(?m)^desktop,d-1,.*WKS\.00010110`, file(op.ID+".csv"))
	b.press("JSON")
	require.Contains(t, file(op.ID+".json"), op.Seal)
	b.stayed()
	require.False(t, value[bool](b, `document.body.classList.contains("busy")`), "nothing goes on")
	b.open("/failures")
	b.press("Export CSV")
	require.Regexp(t, `(?m)^[0-9TZ:-]+,hq,d-1,`, file("failures.csv"))
}

func TestKeysPage(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Admin))
	b.press("Keys")
	b.at("/keys")
	b.fill("input[name=name]", "desk")
	b.fill("input[name=owner]", "Ann Lee")
	b.run(chromedp.SetValue("select[name=role]", "producer", chromedp.ByQuery))
	b.click("input[name=project][value=branch]")
	b.press("Create key")
	b.sees("copy it now, it is not shown again")
	key := value[string](b, `document.querySelector("#new-key").innerText`)
	require.Regexp(t, regexp.MustCompile(`^dk_[a-z2-7]{32}$`), key)
	b.mayCopy()
	b.copied(".copy-text", func() { b.press("Copy") })
	require.Equal(t, key, b.clipboard())
	b.run(chromedp.Reload())
	b.sees("Create a key")
	require.NotContains(t, value[string](b, `document.documentElement.outerHTML`), key)
	all, err := s.keys.List(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 2, "loading the page again makes no second key")
	require.Equal(t, access.Producer, all[0].Role)
	require.Equal(t, "Ann Lee", all[0].Owner)
	require.Regexp(t, `^desk \S+ Ann Lee producer branch`, value[string](b,
		`document.querySelector("#keys tbody tr").innerText.replace(/\s+/g, " ")`))
	require.Equal(t, []string{"branch"}, all[0].Projects)

	// Revoking a key signs its visitors out: at the next click, and on an open page.
	desk, other := b.another(), b.another()
	for _, w := range []*browser{desk, other} {
		w.expect("401")
		w.signIn(key)
	}
	desk.open("/codes") // which does not look after itself
	require.Equal(t, "desk producer", strings.Join(strings.Fields(
		value[string](desk, `document.querySelector(".account span").innerText`)), " "))
	b.click(fmt.Sprintf(`//tr[contains(., "%s")]//summary`, all[0].ID), chromedp.BySearch)
	b.fill("tr:has(details[open]) input[name=reason]", "left the team")
	b.press("Revoke desk")
	b.sees("is revoked, and its sessions have ended")
	b.press("all 2")
	b.sees("revoked")
	desk.press("Operations")
	desk.at("/signin?to=%2Foperations")
	other.sees("You are signed out. Reload this page to sign in.")
	other.run(chromedp.Reload())
	other.at("/signin")
}

// A person sees who is signed in with the key, and ends a session; the audit log says who
// did it and why.
func TestSessionsAndAudit(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	secret, key, err := s.keys.Create(t.Context(), access.Key{Name: "desk", Owner: "Ann Lee", Role: access.Viewer})
	require.NoError(t, err)
	b := newBrowser(t, s.url)
	b.signIn(string(secret))
	other := b.another()
	other.expect("401")
	other.signIn(string(secret))
	b.press("desk")
	b.at("/sessions")
	rows := func() []string {
		return value[[]string](b, `[...document.querySelectorAll("#sessions tbody tr")].map((row) => row.innerText.replace(/\s+/g, " "))`)
	}
	require.Len(t, rows(), 2)
	require.Contains(t, strings.Join(rows(), "\n"), "Ann Lee desk 127.0.0.1 Mozilla/5.0")
	require.Equal(t, 1, strings.Count(strings.Join(rows(), "\n"), "this browser"))
	require.NotContains(t, value[string](b, `document.querySelector("nav").innerText`), "Audit", "it is for administrators")
	b.click(`//tr[not(contains(., "this browser"))]//summary[contains(., "End")]`, chromedp.BySearch)
	b.press("End the session")
	require.True(t, value[bool](b, `document.querySelector("details[open] input[name=reason]").matches(":invalid")`), "it takes a reason")
	b.fill("details[open] input[name=reason]", "lost laptop")
	b.press("End the session")
	b.sees("The session of Ann Lee has ended.")
	require.Len(t, rows(), 1)
	other.press("Failures")
	other.at("/signin?to=%2Ffailures")

	admin := b.another()
	admin.signIn(s.key(access.Admin))
	admin.press("Audit")
	admin.at("/audit")
	admin.sees("Session ended")
	admin.sees("lost laptop")
	entries := `[...document.querySelectorAll("#audit tbody tr")].map((row) => row.innerText.replace(/\s+/g, " "))`
	require.Regexp(t, `^Session started entry 4 `, value[[]string](admin, entries)[0], "the newest first")
	require.Regexp(t, `^Session ended entry 3 Ann Lee desk .* lost laptop of key `+key.ID, value[[]string](admin, entries)[1])
	admin.press("More filters")
	admin.run(chromedp.SetValue("select[name=action]", "session.ended", chromedp.ByQuery))
	admin.fill("input[name=by]", "Ann Lee\r")
	admin.until(`document.querySelectorAll("#audit tbody tr").length === 1`)
	admin.sees("lost laptop")
	admin.press("action Session ended")
	admin.until(`document.querySelectorAll("#audit tbody tr").length === 3`)
	a := s.post("/sessions/nothing/end", s.session(access.Viewer), "reason", " ")
	require.Equal(t, http.StatusBadRequest, a.status)
	require.Contains(t, a.body, "is missing: write why")
}
