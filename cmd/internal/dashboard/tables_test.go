package dashboard_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

func fleetID(n int) string {
	return fmt.Sprintf("%08x-4c3e-4459-82dd-21250b72%04x", 0x9e3779b1*uint32(n+1), n)
}

// fleet is what an operator has after a day: some operations with tickets, and about 180
// failures of nine codes in two projects.
func (s *stage) fleet() (ops []tasks.Operation) {
	s.t.Helper()
	s.work()
	first := []string{"zoe", "tom", "ada", "lin", "omar", "ines", "raj", "eva"}
	last := []string{"haddad", "weber", "okafor", "lindqvist", "moreau", "tanaka"}
	codes := []struct{ code, message string }{
		{"WKS.00010110", "The desktop has no network address."},
		{"WKS.0407", "The desktop is being processed by another task. Please try again later or contact technical support."},
		{"WKS.0005", "Internal server error."},
		{"WKS.00010202", "The desktop is not attached."},
		{"WKS.0220", "The quota of the domain is exceeded."},
		{"WKS.0012", "The AD server cannot be connected."},
		{"WKS.00170211", "unknown"},
	}
	for i, x := range []struct {
		project, ticket, reason string
		n                       int
	}{
		{"hq", "HR-4711", "Contracts ended on 30 November", 90},
		{"branch", "HR-4712", "Office closed", 60},
		{"hq", "", "Interns of the summer programme", 20},
		{"hq", "HR-4802", "", 12},
		{"branch", "OPS-17", "Spare desktops of the night shift, which nobody uses since the shift has moved to the other site", 34},
	} {
		req := api.OperationRequest{Project: x.project, Reason: x.reason, Ticket: x.ticket, ExpectedUsers: map[string][]string{}}
		for j := range x.n {
			n := 1000*i + j
			id := fleetID(n)
			user := fmt.Sprintf("%s.%s%d", first[n%len(first)], last[n%len(last)], n)
			d := fakecloud.Desktop{ID: id, ComputerName: fmt.Sprintf("VDI-%s-%04d", []string{"FIN", "ENG", "OPS"}[n%3], n),
				Users: []fakecloud.User{{Name: user}}}
			switch {
			case i == 3:
			case j%7 == 3:
				d.Users[0].Name = "tom.heir"
			case j%11 == 4:
				d.Status = fakecloud.Hibernated
			default:
				if i != 2 || j < 3 {
					c := codes[(j*j+i)%len(codes)]
					s.cloud.Fail(fakecloud.Refused(id, c.code, c.message))
				}
			}
			req.Desktops = append(req.Desktops, id)
			if i != 4 { // that list only has desktops
				req.ExpectedUsers[id] = []string{user}
			}
			s.cloud.Add(projectIDs[x.project], d)
		}
		ops = append(ops, s.submit(req))
	}
	for i, op := range ops {
		ops[i] = s.ended(op.ID).Operation
	}
	return ops
}

// The sizes that people notice: rows of 40 pixels, filters in one line, the first failures
// on the first screen, and nothing over a control.
func TestTablesAreDense(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	ops := s.fleet()
	x, err := s.api().Redrive(t.Context(), api.RedriveRequest{Filter: tasks.FailureFilter{Code: "WKS.0407"}, Reason: "disks are added"})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		p, err := s.api().RedriveByID(t.Context(), x.ID)
		return err == nil && !p.Moves()
	}, patience, 10*time.Millisecond)
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Admin))
	for name, path := range map[string]string{
		"operations": "/operations", "failures": "/failures", "redrives": "/redrives", "redrive": "/redrives/" + x.ID,
		"redrive-failed": "/redrives/" + x.ID + "?state=failed", "projects": "/projects", "codes": "/codes", "keys": "/keys", "audit": "/audit",
		"sessions":          "/sessions",
		"failures-filtered": "/failures?class=held&user=tom&code=OTHER_USER", "desktop": "/desktop?id=" + fleetID(0),
		"operation": "/operations/" + ops[0].ID,
	} {
		b.run(chromedp.EmulateViewport(1440, 900))
		b.open(path)
		b.screen("fleet-" + name)
		for _, width := range []int64{1440, 1280, 1024, 900} {
			b.run(chromedp.EmulateViewport(width, 900))
			b.wrong(fmt.Sprintf("%s at %d", name, width), value[[]string](b, crowded))
		}
	}

	b.run(chromedp.EmulateViewport(1440, 900))
	for path, rows := range map[string]string{"/operations": "#operations", "/failures": "#failures", "/redrives/" + x.ID: "#items"} {
		b.open(path)
		for _, height := range value[[]float64](b, `[...document.querySelectorAll("`+rows+` tbody tr")].map((row) => row.offsetHeight)`) {
			require.InDelta(t, 40, height, 2, path)
		}
		require.Empty(t, value[[]string](b, `[...document.querySelectorAll("`+rows+` .id")].filter((e) => e.getClientRects().length !== 1 ||
			e.offsetHeight > 20).map((e) => e.outerHTML)`), "ids are on one line")
	}
	b.open("/failures")
	first := value[float64](b, `document.querySelector("#failures tbody tr:nth-child(6)").getBoundingClientRect().bottom`)
	require.Less(t, first, 900.0, "six failures are on the first screen")
	require.Equal(t, []string{"", "Desktop", "User", "Project", "Code", "Message", "Attempts", "Operation", "Failed"}, b.heads("#failures"))
	name := value[string](b, `document.querySelector("#failures tbody th").innerText`)
	require.Regexp(t, `^VDI-(FIN|ENG|OPS)-\d{4}\n[0-9a-f]{8}-`, name, "the name goes first, the id below it")
	require.Empty(t, value[[]string](b, `[...document.querySelectorAll("#failures tbody td:nth-child(3)")].filter((e) => !e.innerText.trim())
		.map((e) => e.parentElement.innerText)`), "each failure names its users, also of a list without users")
	b.open("/failures?class=held&project=hq")
	require.Equal(t, []string{"", "Desktop", "User", "Code", "Message", "Operation", "Failed"}, b.heads("#failures"),
		"what is the same or empty in all rows has no column")

	// The head stays while the rows scroll below it, and what has the focus is not below it.
	b.open("/failures")
	value[bool](b, `scrollTo(0, 2000) === undefined`)
	b.until(`document.querySelector("#failures thead").getBoundingClientRect().top === 0`)
	require.Equal(t, "Retry all 145 matching…", value[string](b, `document.elementFromPoint(...(() => {
		const box = document.querySelector("#failures .all a").getBoundingClientRect();
		return [box.x + box.width / 2, box.y + box.height / 2];
	})()).innerText`))
	for range 30 {
		b.tap("k")
		require.True(t, value[bool](b, `document.activeElement.matches("#failures th a") && document.activeElement.getBoundingClientRect().top >=
			document.querySelector("#failures thead").getBoundingClientRect().bottom - 1`), "k moves to a row that is seen")
	}
}

// crowded lists tables that leave their card, and controls that something else covers or
// that stand out of line.
const crowded = `(() => {
  const wrong = [];
  for (const table of document.querySelectorAll(".list table")) {
    const [box, card] = [table.getBoundingClientRect(), table.closest(".card").getBoundingClientRect()];
    if (box.right > card.right + 1) wrong.push("a table leaves its card by " + (box.right - card.right));
  }
  for (const e of document.querySelectorAll("main :is(a, button, input, select, summary)")) {
    if (!e.checkVisibility({ visibilityProperty: true }) || e.disabled) continue;
    const box = e.getBoundingClientRect();
    const [x, y] = [box.left + Math.min(box.width / 2, 20), box.top + box.height / 2];
    if (y < 0 || y >= innerHeight || box.width < 2) continue;
    const top = document.elementFromPoint(x, y);
    if (top && !e.contains(top) && !top.contains(e)) wrong.push(e.outerHTML.slice(0, 80) + " is under " + top.outerHTML.slice(0, 80));
  }
  for (const form of document.querySelectorAll(".filters")) {
    const lines = new Map();
    for (const e of form.querySelectorAll("input:not([type=checkbox], [type=hidden]), select, button")) {
      if (!e.checkVisibility()) continue;
      const box = e.getBoundingClientRect();
      if (box.height !== 32) wrong.push(e.outerHTML.slice(0, 60) + " is " + box.height + " high");
      const line = [...lines.keys()].find((top) => Math.abs(top - box.top) < 16) ?? box.top;
      if (line !== box.top) wrong.push(e.outerHTML.slice(0, 60) + " is out of line by " + (box.top - line));
      lines.set(line, true);
    }
  }
  for (const bar of document.querySelectorAll("td .bar")) {
    const [box, cell] = [bar.getBoundingClientRect(), bar.closest("td").getBoundingClientRect()];
    if (Math.abs(box.top + box.height / 2 - cell.top - cell.height / 2) > 1) wrong.push("a bar is not in the middle of its row");
  }
  return wrong;
})()`

// heads are the names of the columns of a table, without hidden texts.
func (b *browser) heads(table string) []string {
	b.t.Helper()
	return value[[]string](b, `[...document.querySelectorAll("`+table+` .heads th")].map((th) => [...th.childNodes].filter((n) =>
		!n.classList?.contains("hidden")).map((n) => n.textContent).join(""))`)
}

// The foot says which rows these are, and leads to the next and the previous ones. Lists
// that are on one page can be sorted, others say their order.
func TestPagesAndOrder(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.fleet()
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Viewer))
	foot := func(text string) {
		t.Helper()
		b.until(`document.querySelector("#failures .more")?.innerText.startsWith(` + quote(text) + `)`)
	}
	names := func() []string {
		return value[[]string](b, `[...document.querySelectorAll("#failures tbody th .name")].map((e) => e.innerText)`)
	}
	b.open("/failures")
	foot("1–100 of 187, newest first")
	require.Zero(t, value[int](b, `document.querySelectorAll("#failures .heads a").length`), "no index has another order")
	first := names()
	b.press("Next")
	foot("101–187 of 187, newest first")
	require.Len(t, names(), 87)
	require.NotContains(t, names(), first[99])
	b.press("Previous")
	foot("1–100 of 187")
	require.Equal(t, first, names())
	b.tap("n")
	foot("101–187")
	b.tap("p")
	foot("1–100")
	b.press("Next")
	b.press("First page")
	foot("1–100")

	for i := range 101 {
		s.submit(api.OperationRequest{Project: "hq", Desktops: []string{fmt.Sprintf("late-%d", i)}})
	}
	b.open("/operations")
	b.until(`document.querySelector("#operations .more").innerText.startsWith("1–100 of 106, newest first")`)
	b.open("/operations?project=hq&requested_by=hr") // two indexes: counting would take as long as listing
	b.until(`document.querySelector("#operations .more").innerText.startsWith("1–100, newest first")`)

	// Whole lists sort by every column that has something to sort by.
	b.open("/failures?class=held")
	foot("1–42 of 42, newest first")
	sorted := func(head, order, text string) []string {
		t.Helper()
		b.click(`//table//th/a[normalize-space(.) = "`+head+`"]`, chromedp.BySearch)
		b.until(`document.querySelector("#failures [aria-sort]")?.ariaSort === ` + quote(order) + ` && document.readyState === "complete"`)
		foot(text)
		return names()
	}
	up := sorted("Desktop", "ascending", "1–42 of 42, by desktop")
	require.True(t, slices.IsSorted(up))
	down := sorted("Desktop", "descending", "1–42 of 42, by desktop, descending")
	slices.Reverse(down)
	require.Equal(t, up, down)
	sorted("User", "ascending", "1–42 of 42, by user")
	users := value[[]string](b, `[...document.querySelectorAll("#failures tbody td[data-label=User]")].map((e) => e.innerText.trim())`)
	require.True(t, slices.IsSorted(users))

	// A time relative to now is shown as the time that it is.
	b.open("/operations?from=yesterday")
	require.Regexp(t, `^20\d\d-\d\d-\d\dT`, value[string](b, `document.querySelector("input[name=from]").value`))

	// The page bears with what somebody writes into the address.
	for _, q := range []string{"?first=x", "?first=-5", "?back=1", "?back=%00~%00&first=99999999999999999999", "?sort=-nothing", "?sort=desktop"} {
		b.open("/failures" + q)
		require.Regexp(t, `^[\d,]+–[\d,]+ of \d`, value[string](b, `document.querySelector("#failures .more").innerText`), q)
	}
}

// Rows are chosen, opened and copied by keyboard; "?" lists the keys.
func TestKeysOfTables(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.fleet()
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Operator))
	b.mayCopy()
	b.together("gf")
	b.at("/failures")
	at := func() string { return value[string](b, `document.activeElement.closest("tr")?.dataset.key ?? ""`) }
	keys := value[[]string](b, `[...document.querySelectorAll("#failures tbody tr")].map((row) => row.dataset.key)`)
	require.Empty(t, at())
	groups := value[int](b, `document.querySelectorAll("#groups tbody tr").length`)
	for range groups + 2 {
		b.tap("j")
	}
	require.Equal(t, keys[1], at())
	b.tap("k")
	require.Equal(t, keys[0], at())
	b.tap("x")
	b.sees("1 selected")
	b.tap("j")
	b.tap("x")
	b.sees("2 selected")
	b.tap("x")
	b.sees("1 selected")
	b.copied(".copy", func() { b.tap("c") })
	_, id, _ := strings.Cut(keys[1], "/")
	require.Equal(t, id, b.clipboard())
	b.tap("?")
	b.until(`document.querySelector("#keyboard").open`)
	b.wrong("keys", b.axe())
	b.shoot("keyboard")
	b.tap(kb.Escape)
	b.until(`!document.querySelector("#keyboard").open`)
	b.tap(kb.Enter) // the row in use opens
	b.until(`location.pathname === "/desktop"`)
	b.together("go")
	b.at("/operations")
	b.together("gxf")
	b.focusOn("#search")
	b.tap("gf?jx")
	require.Equal(t, "gf?jx", value[string](b, `document.querySelector("#search").value`), "typing is typing")
	b.at("/operations")
}

// Selected text, checked boxes and the row in use survive a refresh, and the other rows
// are refreshed.
func TestSelectionSurvivesARefresh(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.fleet()
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Operator))
	_, err := s.api().Pause(t.Context(), "branch", api.PauseRequest{Reason: "so that an operation is in progress"})
	require.NoError(t, err)
	s.submit(api.OperationRequest{Project: "branch", Desktops: []string{"b-1"}})
	for _, path := range []string{"/operations", "/failures"} {
		b.open(path)
		b.mark()
		row := `document.querySelector("#` + path[1:] + ` tbody tr:nth-child(2)")`
		value[bool](b, `(() => {
			getSelection().selectAllChildren(`+row+`.querySelector(".id"));
			window.selectedRow = `+row+`;
			window.otherTime = `+row+`.nextElementSibling.querySelector("time");
			return true;
		})()`)
		text := value[string](b, `getSelection().toString()`)
		require.NotEmpty(t, text)
		b.until(`!window.otherTime.isConnected`) // the others were refreshed
		require.Equal(t, text, value[string](b, `getSelection().toString()`), path)
		require.True(t, value[bool](b, `window.selectedRow.isConnected`))
		b.stayed()
	}
	b.click("#failures input[name=pick]")
	b.sees("1 selected")
	value[bool](b, `(getSelection().removeAllRanges(), document.activeElement.blur(),
		window.otherTime = document.querySelector("#failures tbody tr:nth-child(3) time"), true)`)
	b.until(`!window.otherTime.isConnected`)
	b.sees("1 selected")
	require.Equal(t, 1, value[int](b, `document.querySelectorAll("input[name=pick]:checked").length`))
}

// The row in use stays in use when the page is refreshed while the keys are shown.
func TestRowInUseSurvivesTheListOfKeys(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.fleet()
	_, err := s.api().Pause(t.Context(), "branch", api.PauseRequest{Reason: "so that an operation is in progress"})
	require.NoError(t, err)
	s.submit(api.OperationRequest{Project: "branch", Desktops: []string{"b-1"}})
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Operator))
	b.open("/operations")
	b.tap("j")
	b.tap("?")
	b.until(`document.querySelector("#keyboard").open`)
	b.run(chromedp.Evaluate(`window.asked = performance.getEntriesByType("resource").length`, nil))
	b.until(`performance.getEntriesByType("resource").length >= window.asked + 2`) // the first refresh has ended
	b.tap(kb.Escape)
	b.until(`!document.querySelector("#keyboard").open`)
	b.until(`document.activeElement.closest("tr[data-key]")`)
	b.tap(kb.Enter)
	b.until(`location.pathname !== "/operations"`)
}

// mayCopy allows the page to use the clipboard, as browsers do on secure pages.
func (b *browser) mayCopy() {
	b.t.Helper()
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		allow := cdpbrowser.SetPermission(&cdpbrowser.PermissionDescriptor{Name: name}, cdpbrowser.PermissionSettingGranted)
		require.NoError(b.t, allow.WithOrigin(b.url).WithBrowserContextID(b.jar).Do(
			cdp.WithExecutor(b.ctx, chromedp.FromContext(b.ctx).Browser)))
	}
}

// copied has the page copy something, and waits until it says so next to it, as it does for a moment.
func (b *browser) copied(button string, press func()) {
	b.t.Helper()
	b.run(chromedp.Evaluate(fmt.Sprintf(`new MutationObserver(() => { window.copied ||= document.querySelector(%s); })
		.observe(document, { subtree: true, attributeFilter: ["class"] })`, quote(button+".done")), nil))
	press()
	b.until(`window.copied`)
}

func (b *browser) clipboard() (text string) {
	b.t.Helper()
	b.run(chromedp.Evaluate(`navigator.clipboard.readText()`, &text, func(p *runtime.EvaluateParams) *runtime.EvaluateParams {
		return p.WithAwaitPromise(true)
	}))
	return text
}
