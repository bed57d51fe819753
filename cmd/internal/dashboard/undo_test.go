package dashboard_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// detached is an operation that has detached n desktops, each from its own user, failed with
// another one, and found one that nobody had.
func (s *stage) detached(n int) string {
	s.t.Helper()
	req := api.OperationRequest{Project: "hq", Reason: "contract ended"}
	for i := range n + 1 {
		id := fmt.Sprintf("d-%02d", i)
		req.Desktops = append(req.Desktops, id)
		s.cloud.Add(projectIDs["hq"], fakecloud.Desktop{ID: id, Users: []fakecloud.User{{Name: "user" + id}}})
	}
	req.Desktops = append(req.Desktops, "free")
	s.cloud.Add(projectIDs["hq"], fakecloud.Desktop{ID: "free", AttachState: fakecloud.Unattached})
	s.cloud.Fail(fakecloud.Refused(req.Desktops[n], "WKS.00010110", "no address"))
	s.work()
	op := s.ended(s.submit(req).ID)
	require.Equal(s.t, tasks.Counts{Detached: n + 1, Failed: 1}, op.Counts)
	return op.ID
}

// undone reads the only undo of an operation, once it has ended.
func (s *stage) undone(id string) api.OperationState {
	s.t.Helper()
	op, err := s.api().OperationState(s.t.Context(), id)
	require.NoError(s.t, err)
	require.Len(s.t, op.Undos, 1)
	return s.ended(op.Undos[0])
}

// Selected desktops are given back after a look at them, and both pages say so.
func TestUndoOfSelectedDesktops(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	id := s.detached(3)
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Operator))
	b.open("/operations/" + id)
	require.Equal(t, []string{"d-00", "d-01", "d-02", "free"}, value[[]string](b, `[...document.querySelectorAll("input[name=pick]")].map((e) => e.value)`),
		"what failed cannot be given back")
	b.click(`input[value="d-01"]`)
	b.press("Undo selected (1)…")
	b.sees("Give 1 desktop back?")
	b.sees("userd-01")
	require.NotContains(t, b.text(), "userd-00")
	b.fill("input[name=reason]", "she stays")
	b.press("Give 1 desktop back")
	b.sees("The undo is accepted. This page shows the progress.")
	b.sees("Undo of " + id)
	undo := s.undone(id)
	require.Equal(t, tasks.Counts{Detached: 1}, undo.Counts)
	require.Equal(t, []string{id, "operator", "she stays"}, []string{undo.UndoOf, undo.RequestedBy, undo.Reason})
	b.sees("finished: 1 desktop confirmed given back")
	b.sees("given back 1")
	d, _ := s.cloud.Get(projectIDs["hq"], "d-01")
	require.Equal(t, "userd-01", d.Users[0].Name)
	main := value[string](b, `document.querySelector("main").textContent`)
	require.NotContains(t, main, "confirmed detached")
	require.NotContains(t, main, "Time to access removal")
	require.Contains(t, main, "Goes back to")
	b.until(`document.querySelector("#desktops td[data-label='State']").innerText.trim() === "given back"`)
	require.Empty(t, value[[]string](b, `[...document.querySelectorAll("a[href$='/undo'], input[name=pick]")].map((e) => e.outerHTML)`))
	require.Equal(t, "Undo "+undo.ID, value[string](b, `document.title.split(" · ").at(-2)`))

	b.click(fmt.Sprintf(`.lead a[href="/operations/%s"]`, id))
	b.sees("Undos: " + undo.ID)
	require.Equal(t, []string{"d-01 " + undo.ID}, value[[]string](b, `[...document.querySelectorAll("#desktops td[data-label='Given back by']")]
		.map((e) => e.closest("tr").dataset.key + " " + e.innerText.trim())`))
	require.Equal(t, []string{"d-00", "d-02", "free"}, value[[]string](b, `[...document.querySelectorAll("input[name=pick]")].map((e) => e.value)`))
	b.open("/desktop?id=d-01")
	b.sees("given back since")
	b.sees("Given back by\n" + undo.ID)
	b.open("/operations")
	b.sees("undo")
}

// All that was detached is given back without scripts; from ten desktops the number is typed.
func TestUndoOfAllWithoutScripts(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	id := s.detached(10)
	b := newBrowser(t, s.url)
	b.run(emulation.SetScriptExecutionDisabled(true))
	b.open("/signin?to=%2Foperations%2F" + id)
	b.run(chromedp.SendKeys("#key", s.key(access.Operator)+"\r", chromedp.ByQuery), chromedp.WaitReady("#acts", chromedp.ByQuery))
	b.run(chromedp.Click(`a[href$="/undo"]`, chromedp.ByQuery), chromedp.WaitReady("input[name=count]", chromedp.ByQuery))
	b.run(chromedp.SendKeys("input[name=reason]", "the wrong list", chromedp.ByQuery), chromedp.SendKeys("input[name=count]", "10", chromedp.ByQuery))
	b.press("Give 10 desktops back")
	b.run(chromedp.WaitReady(`//main//*[contains(., "The undo is accepted. This page shows the progress.")]`, chromedp.BySearch))
	require.Equal(t, tasks.Counts{Detached: 10}, s.undone(id).Counts)
}

// Nothing is given back if the form is not complete, or shows another number than there is.
func TestUndoIsRefused(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	id := s.detached(10)
	session := s.session(access.Operator)
	path := "/operations/" + id + "/undo"
	for _, x := range []struct {
		fields []string
		status int
		says   string
	}{
		{[]string{"matched", "10", "count", "10"}, http.StatusBadRequest, "is missing: write why"},
		{[]string{"matched", "10", "reason", "x"}, http.StatusBadRequest, "type the number of desktops, 10"},
		{[]string{"matched", "10", "reason", "x", "count", "9"}, http.StatusBadRequest, "type the number of desktops, 10"},
		{[]string{"matched", "9", "reason", "x", "count", "9"}, http.StatusConflict, "10 desktops can be given back now, and you saw 9"},
		{[]string{"matched", "some", "reason", "x"}, http.StatusBadRequest, "matched"},
		{[]string{"matched", "1", "reason", "x", "pick", "d-00", "pick", "d-10"}, http.StatusConflict, "nothing was given back"},
	} {
		a := s.post(path, session, x.fields...)
		require.Equal(t, x.status, a.status, "%v", x.fields)
		require.Contains(t, a.body, x.says)
	}
	a := s.post(path+"/preview", session, "pick", "d-00", "pick", "d-10", "pick", "another")
	require.Contains(t, a.body, "Give 1 desktop back?")
	require.Contains(t, a.body, "without 2 desktops that cannot be given back")
	require.Contains(t, s.post(path+"/preview", session, "pick", "d-10").body, "No desktop of this operation can be given back.")
	require.Contains(t, s.post(path+"/preview", session, "pick", "free").body, "not recorded")
	none := s.post(path+"/preview", session)
	require.Equal(t, http.StatusBadRequest, none.status, "nothing selected is not all")
	require.Contains(t, none.body, "select at least one desktop")
	op, err := s.api().OperationState(t.Context(), id)
	require.NoError(t, err)
	require.Empty(t, op.Undos)

	// A form that is sent twice is one undo.
	var to []string
	for range 2 {
		a := s.post(path, session, "matched", "1", "reason", "x", "pick", "d-00", "key", "k")
		require.Equal(t, http.StatusSeeOther, a.status)
		to = append(to, a.header.Get("Location"))
	}
	undo := s.undone(id)
	require.Equal(t, []string{"/operations/" + undo.ID, "/operations/" + undo.ID}, to)
	require.Contains(t, s.get(to[0]+"/undo", session).body, "An undo cannot be undone")
	require.Equal(t, http.StatusConflict, s.post(to[0]+"/undo", session, "matched", "0", "reason", "x").status)
	require.Equal(t, http.StatusForbidden, s.post(path, s.session(access.Producer), "matched", "1", "reason", "x", "pick", "d-01").status)
}

// The question whether an undo may begin is about giving back, and so are its answers.
func TestUndoWaitsForAnApproval(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	id := s.detached(1)
	_, err := s.api().Pause(t.Context(), "hq", api.PauseRequest{Reason: "it was a test"})
	require.NoError(t, err)
	undo, err := s.api().Undo(t.Context(), id, api.UndoRequest{Reason: "the wrong list"})
	require.NoError(t, err)
	s.ask(undo.ID, tasks.Clearance{Why: tasks.WhyUndo, Desktops: 1})
	body := s.get("/operations/"+undo.ID, s.session(access.Approver)).body
	for _, text := range []string{
		"1 desktop is given back to the users who lost them.", "These desktops stay detached.",
	} {
		require.Contains(t, body, text)
	}
	body = s.get("/operations/"+undo.ID, s.session(access.Admin)).body
	require.Contains(t, body, "They stay detached. Sent desktops continue.")
	for _, text := range []string{"keep access", "detached from their users", "Remove access by", "Time to access removal"} {
		require.NotContains(t, body, text)
	}
}
