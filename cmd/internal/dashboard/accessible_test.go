package dashboard_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/npmtest"
)

// structure lists what axe does not look for.
const structure = `(() => {
  const wrong = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  if (!/ · detachd$/.test(document.title)) wrong.push("no title: " + document.title);
  if (all("h1").length !== 1 || !document.querySelector("main h1").textContent.trim()) wrong.push("not one h1, but " + all("h1").length);
  if (document.querySelector("a, button, input") !== document.querySelector("a.skip")) wrong.push("the skip link is not the first");
  for (const table of all("table")) {
    const columns = [...table.querySelectorAll("thead th")];
    if (columns.length === 0 || columns.some((th) => th.scope !== "col"))
      wrong.push("a table without headers of its columns: " + table.innerText.slice(0, 60));
    for (const row of table.querySelectorAll("tbody tr")) {
      let cells = 0;
      for (const cell of row.cells) cells += cell.colSpan;
      if (cells !== columns.length) wrong.push("a row with " + cells + " cells for " + columns.length + " columns");
      if (!row.querySelector("th[scope=row]")) wrong.push("a row without a header");
    }
  }
  const ids = all("[id]").map((element) => element.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push("an id twice: " + id);
  for (const live of all("[data-live]")) if (!live.id) wrong.push("live, and without an id");
  return wrong;
})()`

// axe lists the violations of all rules of axe-core: what keeps visitors with no or poor
// sight, or without a mouse, from using the page.
func (b *browser) axe() []string {
	b.t.Helper()
	if !value[bool](b, `"axe" in window`) {
		script, err := os.ReadFile(filepath.Join(npmtest.Modules(b.t), "axe-core", "axe.min.js"))
		require.NoError(b.t, err)
		b.run(chromedp.Evaluate(string(script)+"; true", nil)) // with the rights of the test: the page's policy does not apply
	}
	var out []string
	wait := func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }
	b.run(chromedp.Evaluate(`axe.run(document, { preload: false, resultTypes: ["violations"], selectors: false })
		.then((found) => found.violations.flatMap((v) => v.nodes.map((n) => v.id + ": " + n.html.slice(0, 120) + " " + (n.any[0]?.message || n.failureSummary))))`, &out, wait))
	return out
}

// scheme switches the page to light or dark.
func (b *browser) scheme(name string) {
	b.t.Helper()
	b.run(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}))
}

// wrong reports faults of a page; the test continues to find the others.
func (b *browser) wrong(page string, what []string) {
	b.t.Helper()
	if len(what) > 0 {
		b.t.Errorf("%s: %q", page, what)
	}
}

// accessible finds violations in a wide window, light and dark, and on a phone.
func (b *browser) accessible(page string) {
	b.t.Helper()
	b.until(`document.readyState === "complete"`) // a text is seen before the rows below it
	b.wrong(page, value[[]string](b, structure))
	for _, scheme := range []string{"dark", "light"} {
		b.scheme(scheme)
		b.wrong(page+", "+scheme, b.axe())
	}
	b.run(chromedp.EmulateViewport(390, 844))
	b.wrong(page+", on a phone", b.axe())
	b.run(chromedp.EmulateViewport(1280, 900))
}

// narrow finds what makes the page scroll sideways in a narrow window.
func (b *browser) narrow(page string) {
	b.t.Helper()
	b.run(chromedp.EmulateViewport(360, 800))
	b.wrong(page, value[[]string](b, `document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("body *")]
		.filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, .faults"))
		.map((e) => "too wide: " + e.tagName + "." + (e.getAttribute("class") || "") + " " + e.textContent.slice(0, 40))`))
	b.run(chromedp.EmulateViewport(1280, 900))
}

// The checks can fail.
func TestChecksOfPagesFindWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	b.open("/signin")
	require.Empty(t, value[[]string](b, structure))
	require.Empty(t, b.axe())
	value[bool](b, `(() => {
		document.documentElement.lang = "";
		document.querySelector("main").insertAdjacentHTML("beforeend",
			"<h1>another</h1><h3>far below</h3><table><tr><td>a</td></tr></table><img src='/'><button></button><p id='key' class='faded'>faded</p>");
		document.querySelector(".faded").style.setProperty("color", "gray");
		document.querySelector(".faded").style.setProperty("background", "silver");
		return true;
	})()`)
	require.Len(t, value[[]string](b, structure), 6)
	found := fmt.Sprint(b.axe())
	for _, rule := range []string{"html-has-lang: ", "heading-order: ", "image-alt: ", "button-name: ", "color-contrast: "} {
		require.Contains(t, found, rule)
	}
}
