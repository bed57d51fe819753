package dashboard_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// signOut takes the session from the window. The function that it returns signs in again, as another tab would.
func (b *browser) signOut(s *stage, key string) (signIn func()) {
	b.t.Helper()
	b.run(network.ClearBrowserCookies())
	return func() {
		b.t.Helper()
		session, _, err := s.keys.SignIn(b.t.Context(), key, access.Browser{})
		require.NoError(b.t, err)
		b.run(cookieOf(s.url, "__Host-detachd", string(session)))
	}
}

// What somebody typed, and the plan of it, stays on the page if it cannot be sent: after the session has ended, and
// while the server does not answer.
func TestWhatCannotBeSentStays(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	b.expect("401")
	b.expect("ERR_BLOCKED_BY_CLIENT")
	key := s.key(access.Producer)
	b.signIn(key)
	b.open("/new")
	b.mark()
	b.fill("textarea", "d-1")
	b.fill("input[name=reason]", "left the company")
	b.run(chromedp.SetValue("select[name=project]", "hq", chromedp.ByQuery))

	silent := func(is bool) {
		b.run(network.SetBlockedURLs().WithURLPatterns([]*network.BlockPattern{{URLPattern: "*://*:*/search", Block: is}}))
	}
	silent(true)
	b.press("Show the plan")
	b.sees("The server does not respond, and nothing was done. Try again in a minute.")
	silent(false)
	signIn := b.signOut(s, key)
	b.press("Show the plan")
	b.sees("You are signed out, and nothing was done. Sign in in another tab, then do it again here.")
	b.until(`document.activeElement.innerText === "Show the plan"`) // also for those who use the keyboard
	require.GreaterOrEqual(t, value[float64](b, `document.querySelector("#connection").getBoundingClientRect().top`), 0.0, "in sight of the button")
	b.stayed()
	require.Equal(t, "d-1", value[string](b, `document.querySelector("textarea").value`))
	require.Equal(t, "left the company", value[string](b, `document.querySelector("input[name=reason]").value`))
	require.False(t, value[bool](b, `document.body.classList.contains("busy")`))
	b.accessible("a form that could not be sent")

	signIn()
	b.press("Show the plan")
	b.sees("1 will be detached")
	b.mark()
	signIn = b.signOut(s, key)
	b.click("button.danger")
	b.sees("You are signed out, and nothing was done.")
	b.stayed()
	signIn()
	b.click("button.danger")
	b.sees("Accepted. This page shows the progress.")
	ops, _, err := s.api().Operations(t.Context(), tasks.OperationFilter{}, 0, "")
	require.NoError(t, err)
	require.Len(t, ops, 1)
	require.Equal(t, "left the company", ops[0].Reason)
}

// A file is downloaded, and not the page that asks to sign in.
func TestFileAfterTheSessionHasEnded(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.tell(usual)
	b := newBrowser(t, s.url)
	b.expect("401")
	file := b.downloads()
	key := s.key(access.Viewer)
	b.signIn(key)
	b.open("/failures")
	signIn := b.signOut(s, key)
	b.press("Export CSV")
	b.sees("You are signed out, and nothing was done.")
	signIn()
	b.press("Export CSV")
	require.Contains(t, file("failures.csv"), "at,project,desktop_id,")
	require.False(t, value[bool](b, `document.body.classList.contains("busy")`))
	b.at("/failures")
}

// Magnified by four, the buttons of a list do not cover its rows.
func TestMagnified(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.tell(usual)
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Admin))
	b.run(chromedp.EmulateViewport(320, 256))
	for _, path := range []string{"/failures", "/operations", "/keys", "/projects"} {
		b.open(path)
		b.wrong(path, value[[]string](b, `[...document.querySelectorAll("main tbody tr")].flatMap((row) => {
			row.scrollIntoView();
			const found = document.elementFromPoint(innerWidth / 2, Math.max(0, row.getBoundingClientRect().top) + 4);
			return row.contains(found) ? [] : [row.dataset.key + " is under " + found.outerHTML.slice(0, 80)];
		})`))
	}
}

// On paper there are no buttons, and no light text of the dark scheme.
func TestOnPaper(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.tell(usual)
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Operator))
	b.open("/failures")
	ink := value[string](b, `getComputedStyle(document.body).color`)
	dark := emulation.MediaFeature{Name: "prefers-color-scheme", Value: "dark"}
	b.run(chromedp.EmulateViewport(720, 1000), // a sheet of A4
		emulation.SetEmulatedMedia().WithMedia("print").WithFeatures([]*emulation.MediaFeature{&dark}))
	require.Equal(t, ink, value[string](b, `getComputedStyle(document.body).color`))
	require.Empty(t, value[[]string](b, `[...document.querySelectorAll("button, .button")].filter((e) => e.checkVisibility()).map((e) => e.innerText)`))
}

// A button that is pressed twice sends its form once.
func TestPressedTwice(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Admin))
	b.open("/keys")
	b.fill("input[name=name]", "desk")
	b.run(chromedp.DoubleClick(`//button[normalize-space(.) = "Create key"]`, chromedp.BySearch))
	b.sees("Key for desk")
	keys, err := s.api().Keys(t.Context())
	require.NoError(t, err)
	require.Len(t, keys, 2, "the visitor's and the new one")
}

// Sign-in leads to the form, and not to an error, if it was sent from a page that has no address of its own.
func TestSignInAfterAConfirmation(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.tell(usual)
	b := newBrowser(t, s.url)
	key := s.key(access.Operator)
	b.signIn(key)
	for do, form := range map[string]string{"Retry selected": "/redrives", "Dismiss selected": "/dismissals", "Show the plan": "/new"} {
		to := "/failures"
		if form == "/new" {
			to = form
			b.open(to)
			b.fill("textarea", "d-1")
			b.run(chromedp.SetValue("select[name=project]", "hq", chromedp.ByQuery))
		} else {
			b.open(to)
			b.click("input[name=pick]")
		}
		b.press(do)
		b.until(`document.querySelector("form[action='` + form + `']")`)
		b.signOut(s, key)
		value[bool](b, `document.querySelector("form[action='`+form+`']").submit() === undefined`) // as without the script
		b.sees("nothing that you sent was done")
		b.fill("#key", key+"\r")
		b.at(to)
	}
}

// Going back to a list checks no rows: those that were checked may be gone, and browsers check the ones in their places.
func TestBackChecksNoRows(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.tell(usual)
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Operator))
	b.open("/failures")
	b.click("#failures tbody tr:nth-child(1) input[name=pick]")
	b.click("#failures tbody tr:nth-child(3) input[name=pick]")
	b.sees("2 selected")
	b.press("Dismiss selected")
	b.sees("Dismiss 2 desktops?")
	b.fill("input[name=reason]", "known")
	b.press("Dismiss 2 desktops")
	b.sees("2 desktops dismissed")
	value[bool](b, `(window.old = true, history.go(-2), true)`)
	b.until(`!window.old && document.readyState === "complete" && document.querySelector("#failures tbody tr")`)
	require.Zero(t, value[int](b, `document.querySelectorAll("input[name=pick]:checked").length`))
	b.sees("None selected")
}

// A page is as old as the list that is kept because rows of it are selected.
func TestAgeOfAPageInUse(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.work()
	s.refused("d-1")
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Operator))
	b.open("/failures")
	b.click("#failures input[name=pick]")
	s.refused("d-2")
	b.until(`document.querySelector("#total").innerText === "2"`)
	asOf := value[string](b, `document.querySelector("#as-of time").dateTime`)
	value[int](b, `window.asked = performance.getEntriesByType("resource").length`)
	b.until(`performance.getEntriesByType("resource").length >= window.asked + 2`) // the first refresh has ended
	require.Equal(t, asOf, value[string](b, `document.querySelector("#as-of time").dateTime`))
	require.Equal(t, 1, value[int](b, `document.querySelectorAll("#failures input[name=pick]").length`))
	b.click("#failures input[name=pick]")
	value[bool](b, `document.activeElement.blur() === undefined`)
	b.until(`document.querySelectorAll("#failures input[name=pick]").length === 2`)
	require.NotEqual(t, asOf, value[string](b, `document.querySelector("#as-of time").dateTime`))
}

// A page that waits in vain says so: a connection may break without a word.
func TestServerThatNeverAnswers(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Viewer))
	value[bool](b, `(AbortSignal.timeout = () => AbortSignal.abort(), true)`) // the time is over
	b.sees("The server does not respond. Data as of ")
}

// Rows that come above those that somebody reads do not move them.
func TestRowsStayInTheirPlace(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for i := range 50 {
		s.submit(api.OperationRequest{Project: "hq", Desktops: []string{fmt.Sprintf("d-%d", i)}})
	}
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Viewer))
	b.open("/operations")
	const row = `document.querySelector("#operations tbody tr:nth-child(25)")`
	value[bool](b, `(`+row+`.scrollIntoView({ block: "center" }), window.key = `+row+`.dataset.key, true)`)
	top := value[float64](b, row+`.getBoundingClientRect().top`)
	s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"one-more"}})
	b.until(row + `.dataset.key !== window.key`)
	require.InDelta(t, top, value[float64](b, `document.querySelector("[data-key='" + window.key + "']").getBoundingClientRect().top`), 1)
}

// Links that load nothing here show no request in progress.
func TestLinksThatLoadNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.tell(usual)
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Producer))
	b.open("/?range=24h#outcomes")
	b.press("24 h") // the chip that is on
	require.False(t, value[bool](b, `document.body.classList.contains("busy")`))

	list := ""
	for i := range 101 {
		list += fmt.Sprintf("n-%d\n", i)
	}
	b.open("/new")
	b.run(chromedp.SetValue("textarea", list, chromedp.ByQuery), chromedp.SetValue("select[name=project]", "hq", chromedp.ByQuery))
	b.press("Show the plan")
	b.press("All rows in a new window")
	require.False(t, value[bool](b, `document.body.classList.contains("busy")`))
}

// A row in use keeps the others from being replaced by rows of other columns.
func TestColumnsStayThoseOfTheHead(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cloud.Fail(fakecloud.Refused("d-1", "WKS.0407", "disks are being added"))
	op := s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-1", "d-2"}})
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Operator))
	b.open("/operations/" + op.ID)
	b.focusOn("#desktops tbody tr:last-child a")
	s.work()
	s.ended(op.ID)
	b.until(`document.querySelector("#progress-head").innerText.startsWith("Finished, 1 failed")`)
	b.wrong("a row in use", value[[]string](b, structure))
	value[bool](b, `document.activeElement.blur() === undefined`)
	b.until(`document.querySelector("#desktops .heads").innerText.includes("Code")`)
	b.wrong("no row in use", value[[]string](b, structure))
}

// The groups of failures appear, change and go with the failures.
func TestGroupsAreRefreshed(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Operator))
	b.open("/failures")
	b.mark()
	s.cloud.Fail(fakecloud.Refused("d-1", "WKS.0407", "disks are being added"))
	s.cloud.Fail(fakecloud.Refused("d-2", "WKS.0407", "disks are being added"))
	s.work()
	s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-1"}})
	b.until(`document.querySelector("#groups-head")?.innerText === "1 desktop"`)
	s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-2"}})
	b.until(`document.querySelector("#groups-head").innerText === "2 desktops"`)
	_, err := s.api().Dismiss(t.Context(), api.DismissRequest{Filter: tasks.FailureFilter{Project: "hq"}, Matched: 2, Reason: "known"})
	require.NoError(t, err)
	b.until(`!document.querySelector("#groups-head")`)
	b.stayed()
}

// An open page says that what it shows is gone, and not that the server is.
func TestAnOperationThatIsGone(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	op := s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-1"}})
	b := newBrowser(t, s.url)
	b.expect("404")
	b.signIn(s.key(access.Viewer))
	b.open("/operations/" + op.ID)
	keys, err := s.rdb.Keys(t.Context(), "*"+op.ID+"*").Result()
	require.NoError(t, err)
	require.NoError(t, s.rdb.Del(t.Context(), keys...).Err())
	b.sees("This is no longer stored, or your key cannot see it any more. Data as of ")
	b.sees("In progress: 0 of 1 finished")
}

// A page whose session has ended goes on after a sign-in in another tab, once somebody looks at it again.
func TestSignInInAnotherTab(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	b.expect("401")
	key := s.key(access.Viewer)
	b.signIn(key)
	b.mark()
	signIn := b.signOut(s, key)
	b.sees("You are signed out. Reload this page to sign in.")
	signIn()
	value[bool](b, `document.dispatchEvent(new Event("visibilitychange"))`)
	b.until(`document.querySelector("#connection").hidden`)
	b.stayed()
}

// Figures are refreshed while they are unfolded as a table, and so is the timeline while all of the request is.
func TestUnfoldedPartsAreRefreshed(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.work()
	s.ended(s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-1"}}).ID)
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Operator))
	detached := `document.querySelector("#outcomes .figures strong")?.innerText`
	b.until(detached + ` === "1"`)
	b.mark()
	b.press("As a table")
	s.ended(s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-2"}}).ID)
	b.until(detached + ` === "2"`)
	b.until(`document.querySelector("#outcomes details").open && document.querySelector("#outcomes td").innerText === "2"`)
	b.stayed()

	_, err := s.api().Pause(t.Context(), "hq", api.PauseRequest{Reason: "so that an operation is in progress"})
	require.NoError(t, err)
	op := s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-3"}, Reason: "left"})
	b.open("/operations/" + op.ID)
	b.mark()
	b.press("All of the request")
	_, err = s.api().Cancel(t.Context(), op.ID, "she stays")
	require.NoError(t, err)
	b.until(`document.querySelector("#timeline").innerText.includes("finished")`)
	b.stayed()
}

// The head of an operation counts the desktops that a look-up of a user has found.
func TestHeadOfAnOperationIsRefreshed(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for _, id := range []string{"d-1", "d-2"} {
		s.cloud.Add(projectIDs["hq"], fakecloud.Desktop{ID: id, Users: []fakecloud.User{{Name: "zoe"}}})
	}
	op := s.submit(api.OperationRequest{Project: "hq", Users: []string{"zoe"}})
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Viewer))
	b.open("/operations/" + op.ID)
	b.mark()
	b.sees("1 row, including 1 user")
	s.work()
	b.sees("3 rows, including 1 user")
	b.stayed()
}

// The file of who came back is offered at the end of the reading, without loading the page again.
func TestFileOfWhoCameBackAppears(t *testing.T) {
	t.Parallel()
	var hold sync.RWMutex // for writing: the cloud does not answer
	s := newStageBehind(t, func(cloud string) string {
		to, err := url.Parse(cloud)
		require.NoError(t, err)
		proxy := httputil.NewSingleHostReverseProxy(to)
		door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hold.RLock()
			defer hold.RUnlock()
			proxy.ServeHTTP(w, r)
		}))
		t.Cleanup(door.Close)
		return door.URL
	})
	s.cloud.Add(projectIDs["hq"], fakecloud.Desktop{ID: "d-1", Users: []fakecloud.User{{Name: "zoe"}}})
	s.work()
	s.ended(s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-1"}}).ID)
	s.cloud.Add(projectIDs["hq"], fakecloud.Desktop{ID: "d-9", Users: []fakecloud.User{{Name: "zoe"}}})
	hold.Lock()
	release := sync.OnceFunc(hold.Unlock)
	t.Cleanup(release)
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Producer))
	b.open("/came-back")
	b.press("Look for them")
	b.sees("Reading from the cloud: 0 of 1 person.")
	b.mark()
	release()
	b.sees("1 person has a desktop again.")
	require.True(t, strings.HasSuffix(value[string](b, `document.querySelector("#file a[download]").href`), "/csv"))
	b.stayed()
}
