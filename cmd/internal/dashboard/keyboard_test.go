package dashboard_test

import (
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks/api"
)

// reachable numbers the elements that can be clicked or filled in, from 1. Of radio
// buttons with one name it counts the checked one.
const reachable = `(() => {
  const all = [...document.querySelectorAll("a[href], button, input, select, textarea, summary")].filter((e) =>
    e.checkVisibility({ visibilityProperty: true }) && !e.disabled && e.type !== "hidden" && e.tabIndex >= 0 &&
    (e.type !== "radio" || e.checked));
  window.reachable = new Map(all.map((e, i) => [e, i + 1]));
  document.activeElement.blur();
  return all.map((e) => e.tagName + " " + (e.getAttribute("aria-label") || e.innerText || e.name || "").trim().slice(0, 30));
})()`

// focus is the focused element: its number, 0 for anything else, and whether the focus
// is visible.
type focus struct {
	Number int
	Seen   bool
	What   string
}

func (b *browser) focus() focus {
	b.t.Helper()
	return value[focus](b, `(() => {
		const e = document.activeElement, style = getComputedStyle(e);
		const box = e.getBoundingClientRect();
		return {
			number: window.reachable?.get(e) ?? 0, what: e.tagName + "#" + e.id,
			seen: e.matches(":focus-visible") && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 &&
				box.width > 1 && box.bottom > 0 && box.top < innerHeight,
		};
	})()`)
}

func (b *browser) tap(key string) {
	b.t.Helper()
	b.run(chromedp.KeyEvent(key))
}

// together types keys at one time: the page takes two for one command only if the second comes soon. They are
// events of the page: with a time from here, a key can be older than a page that has just come.
func (b *browser) together(keys string) {
	b.t.Helper()
	b.run(chromedp.Evaluate(`for (const key of `+quote(keys)+`) document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }))`, nil))
}

// slash types a slash. chromedp.KeyEvent would insert the letter by a separate event,
// even if the page prevented the default of the key event.
func (b *browser) slash() {
	b.t.Helper()
	key := input.DispatchKeyEvent(input.KeyDown).WithKey("/").WithCode("Slash").WithText("/")
	b.run(key, input.DispatchKeyEvent(input.KeyUp).WithKey("/").WithCode("Slash"))
}

// walk goes through a page by Tab and fails the test unless it reaches every element in
// the order of the page, with a visible focus.
func (b *browser) walk(page string) {
	b.t.Helper()
	b.run(chromedp.Evaluate(`Element.prototype.replaceWith = () => {}`, nil)) // a refresh does not replace what is numbered
	want := value[[]string](b, reachable)
	require.NotEmpty(b.t, want)
	next := 1
	for range 4*len(want) + 10 { // a field for a time has several stops
		b.tap(kb.Tab)
		f := b.focus()
		if f.Number == 0 {
			continue // such as a table that scrolls
		}
		if f.Number == next-1 {
			continue
		}
		require.Equal(b.t, next, f.Number, "%s: after %s comes %s", page, want[max(0, next-2)], f.What)
		require.True(b.t, f.Seen, "%s: the focus on %s is not visible", page, want[next-1])
		if next++; next > len(want) {
			return
		}
	}
	require.Fail(b.t, "Tab does not reach "+want[next-1], page)
}

// Everything can be reached by keyboard, and the focus is visible.
func TestByKeyboard(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	x := told(s, usual, b)
	for _, p := range x.places() {
		switch p.name {
		case "overview", "operation-open", "failures-code", "plan", "new", "projects", "keys", "operation-waiting", "stopped",
			"undo", "operation-undone", "cancel-matches", "cancellation", "cancellations":
			p.visit(b)
			b.walk(p.name)
		}
	}

	// The skip link is the first element and leads to the content.
	b.open("/failures")
	b.tap(kb.Tab)
	require.Equal(t, "Skip to content", value[string](b, `document.activeElement.innerText`))
	require.True(t, value[bool](b, `(() => {
		const box = document.activeElement.getBoundingClientRect();
		return box.top >= 0 && box.width > 50;
	})()`), "it is visible")
	b.tap(kb.Enter)
	require.Equal(t, "main", value[string](b, `document.activeElement.id`))
	b.tap(kb.Tab)
	require.True(t, value[bool](b, `document.querySelector("main").contains(document.activeElement)`))

	// "/" moves to the search field, but not while the visitor types in another field.
	b.open("/failures")
	b.slash()
	require.Equal(t, "search", value[string](b, `document.activeElement.id`))
	b.tap("a/b")
	require.Equal(t, "a/b", value[string](b, `document.querySelector("#search").value`))
	b.press("More filters")
	b.focusOn("input[name=code]")
	b.slash()
	require.Equal(t, "/", value[string](b, `document.querySelector("input[name=code]").value`))

	// Select by Space, continue by Enter.
	b.open("/failures")
	b.focusOn("#pick-page")
	b.tap(" ")
	b.sees("14 selected")
	b.tap(" ")
	b.sees("None selected")
	b.focusOn("input[name=pick]")
	b.tap(" ")
	b.sees("1 selected")
	b.focusOn("button[data-picks]")
	b.tap(kb.Enter)
	b.sees("Retry 1 desktop?")
	b.fill("input[name=reason]", "fixed")
	b.focusOn("button.primary")
	b.tap(" ")
	b.sees("Bulk retry started.")

	// Unfold by Enter, confirm by Enter in a field.
	b.open("/projects")
	b.focusOn("#projects summary")
	b.tap(kb.Enter)
	b.tap(kb.Tab)
	b.tap("by hand")
	b.tap(kb.Enter)
	b.sees("Project hq is paused")
	b.focusOn("nav a[href='/keys']")
	b.tap(kb.Enter)
	b.at("/keys")
}

// A refresh does not take the focus, and unfolded elements stay open.
func TestFreshCopiesDisturbNobody(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	op := s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-1", "d-2"}})
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Operator))
	b.open("/operations/" + op.ID)
	fresh := func() { // it was looked at again
		was := value[string](b, `document.querySelector("#as-of time").dateTime`)
		b.until(`document.querySelector("#as-of time").dateTime !== ` + quote(was))
	}
	b.mark()
	b.focusOn("#desktops tbody tr:last-child a")
	b.click("#acts summary")
	b.focusOn("#desktops tbody tr:last-child a")
	b.run(chromedp.Evaluate(`window.focused = document.activeElement`, nil))
	s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-3"}})
	fresh()
	fresh()
	require.True(t, value[bool](b, `document.activeElement === window.focused && window.focused.isConnected`), "the focus is where it was")
	require.True(t, value[bool](b, `document.querySelector("#acts details").open`), "what was unfolded is still so")
	// Other parts of the page were refreshed meanwhile.
	s.work()
	s.ended(op.ID)
	b.until(`document.querySelector("#progress-head").innerText === "Finished"`)
	require.True(t, value[bool](b, `document.activeElement === window.focused && window.focused.isConnected`))
	b.stayed()
	for _, live := range value[[]string](b, `[...document.querySelectorAll("[data-live]")]
		.map((e) => (e.getAttribute("aria-live") || "") + (e.getAttribute("role") || ""))`) {
		require.Empty(t, live, "a part that changes every two seconds is not read out each time")
	}
}

// A narrow window offers every action.
func TestNarrowWindowOffersTheSame(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	x := told(s, usual, b)
	links := `[...document.querySelectorAll("a[href], button, select, textarea, input:not([type=hidden])")]
		.filter((e) => e.checkVisibility() && !e.closest(".search") && e.id !== "pick-page").length`
	for _, path := range []string{"/", "/failures", "/operations/" + x.ended.ID, "/projects", "/keys"} {
		b.open(path)
		wide := value[int](b, links)
		b.run(chromedp.EmulateViewport(400, 900))
		require.Equal(t, wide, value[int](b, links), path)
		require.NotZero(t, value[int](b, `[...document.querySelectorAll("nav a")].filter((e) => {
			e.scrollIntoView();
			return e.getBoundingClientRect().right <= innerWidth;
		}).length`))
		b.run(chromedp.EmulateViewport(1280, 900))
	}
}
