package dashboard_test

import (
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// Times are in the browser's zone, with UTC in the tooltip. Another zone can be
// selected, and typed times are in the zone that is shown.
func TestTimesInTheBrowsersZone(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	due := time.Date(2199, 7, 1, 12, 0, 0, 0, time.UTC)
	op := s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d1"}, DueAt: due})
	b := newBrowser(t, s.url)
	b.run(emulation.SetTimezoneOverride("Asia/Tehran"))
	b.signIn(s.key(access.Producer))
	b.sees("Times are in Asia/Tehran, UTC+03:30")
	b.open("/operations/" + op.ID)
	b.sees("Scheduled: starts 2199-07-01 15:30:00")
	title := `document.querySelector("#progress-head time").title`
	require.Equal(t, "2199-07-01 12:00:00 UTC", value[string](b, title))
	require.Contains(t, value[string](b, `document.title`), "scheduled")
	require.True(t, value[bool](b, `[...document.querySelectorAll("#zones option")].some((o) => o.value === "Europe/Berlin")`))

	b.fill("#zone", "Europe/Berlin\r")
	b.at("/operations/" + op.ID)
	b.sees("Scheduled: starts 2199-07-01 14:00:00")
	require.Equal(t, "2199-07-01 12:00:00 UTC", value[string](b, title))

	b.open("/new")
	b.fill("#list", "d2")
	b.run(chromedp.SendKeys("select[name=project]", "hq", chromedp.ByQuery))
	b.run(chromedp.Click(".schedule > summary", chromedp.ByQuery))
	b.fill("input[name=due_at]", "2199-07-01 18:00")
	b.press("Show the plan")
	b.sees("Start: 2199-07-01 18:00:00 +02:00")
	b.press("Detach")
	b.sees("Accepted and scheduled: starts 2199-07-01 18:00:00 +02:00.")
	b.open("/operations?scheduled=1")
	b.sees("2199-07-01 18:00:00")
	b.open("/")
	b.sees("2 scheduled")
	b.sees("Nothing is in progress.")

	b.fill("#zone", "UTC\r")
	b.sees("Times are in UTC.")
	b.fill("#zone", "Mars/Olympus\r")
	b.expect("400")
	b.sees("is not a time zone")
}

// Without scripts and without a selected zone, times are in UTC and the page says so;
// the form works too.
func TestZoneWithoutScripts(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	session := s.session(access.Viewer)
	op := s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d1"},
		NotBefore: api.NotBefore{At: time.Date(2199, 1, 1, 12, 0, 0, 0, time.UTC)}})
	page := func(zone string) string {
		t.Helper()
		a := s.do("GET", "/operations/"+op.ID, "", nil, "Cookie", "__Host-detachd="+session+"; __Host-detachd-zone="+zone)
		require.Equal(t, http.StatusOK, a.status)
		return a.body
	}
	plain := s.get("/operations/"+op.ID, session).body
	require.Contains(t, plain, "Times are in UTC.")
	require.Contains(t, plain, ">2199-01-01 12:00:00</time>")
	require.Contains(t, plain, "data-zone-unset")
	require.Contains(t, page("Asia/Shanghai"), ">2199-01-01 20:00:00</time>")
	for _, wrong := range []string{"Mars/Olympus", "Local", "../../etc/passwd", "/etc/localtime", "<b>", strings.Repeat("x", 65)} {
		text := page(wrong)
		require.Contains(t, text, "Times are in UTC.", wrong)
		require.NotContains(t, text, "data-zone-unset", "%s: the page is not loaded again and again", wrong)
	}
	a := s.post("/zone", session, "zone", "Asia/Shanghai", "to", "/operations?open=1")
	require.Equal(t, http.StatusSeeOther, a.status)
	require.Equal(t, "/operations?open=1", a.header.Get("Location"))
	require.Equal(t, "Asia/Shanghai", a.cookie("__Host-detachd-zone").Value)
	require.Equal(t, "/", s.post("/zone", session, "zone", "UTC", "to", "//elsewhere.example").header.Get("Location"))
	require.Negative(t, s.post("/zone", session, "zone", "").cookie("__Host-detachd-zone").MaxAge)
	require.Equal(t, http.StatusBadRequest, s.post("/zone", session, "zone", "Mars/Olympus").status)
}

// The plan and the notice repeat typed times with their offset. An invalid time gives
// an error, and nothing is submitted.
func TestTypedTimes(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	session := s.session(access.Producer)
	plan := func(fields ...string) answer {
		t.Helper()
		return s.postMulti("/new/plan", session, append([]string{"project", "hq", "list", "d1", "names", "desktops", "in_zone", "Europe/Berlin"},
			fields...)...)
	}
	for _, x := range []struct {
		fields []string
		says   string
	}{
		{nil, `Start: at once. Remove access by: .* \+00:00. Deadline`},
		{[]string{"due_at", "2199-11-30"}, `Start: 2199-11-29 23:00:00 \+00:00, in \d+ days. ` +
			`Remove access by: 2199-11-29 23:00:00 \+00:00. Deadline: 2199-11-30 23:00:00 \+00:00; desktops not sent by then fail`},
		{[]string{"due_at", "2199-11-30T18:00:00+0800", "deadline", "2199-12-30"},
			`Start: 2199-11-30 10:00:00 \+00:00.* Deadline: 2199-12-29 23:00:00 \+00:00; desktops not sent by then fail`},
		{[]string{"due_at", "2199-11-30 18:00", "not_before", "now"}, `Start: at once. Remove access by: 2199-11-30 17:00:00 \+00:00`},
		{[]string{"not_before", "23:59"}, `Start: \d{4}-\d\d-\d\d 2[12]:59:00 \+00:00`},
	} {
		a := plan(x.fields...)
		require.Equal(t, http.StatusOK, a.status, "%v: %s", x.fields, a.body)
		require.Regexp(t, x.says, plainText(a.body), "%v", x.fields)
	}
	for _, x := range []struct {
		fields []string
		says   string
	}{
		{[]string{"not_before", "2020-01-01"}, "has passed already"},
		{[]string{"due_at", "someday"}, "invalid time"},
		{[]string{"due_at", "2199-11-30", "deadline", "2199-11-29"}, "is not after due_at"},
	} {
		a := plan(x.fields...)
		require.Equal(t, http.StatusBadRequest, a.status, x.fields)
		require.Contains(t, plainText(a.body), x.says, x.fields)
		require.Contains(t, a.body, `value="`+x.fields[1]+`"`, "it is still there")
	}
	ops, _, err := s.api().Operations(t.Context(), tasks.OperationFilter{}, 0, "")
	require.NoError(t, err)
	require.Empty(t, ops)
}

var tags = regexp.MustCompile(`<[^>]*>`)

func plainText(page string) string { return html.UnescapeString(tags.ReplaceAllString(page, "")) }
