package dashboard_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// structure lists faults of a page that matter to visitors who do not see it.
const structure = `(() => {
  const wrong = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  if (document.documentElement.lang !== "en") wrong.push("no language");
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
  for (const image of all("img")) if (!image.hasAttribute("alt")) wrong.push("an image without alt");
  for (const region of all("section[aria-labelledby]"))
    if (!document.getElementById(region.getAttribute("aria-labelledby"))) wrong.push("labelled by nothing: " + region.id);
  let before = 1;
  for (const heading of all("main :is(h1, h2, h3)")) {
    const level = Number(heading.tagName[1]);
    if (level > before + 1) wrong.push("a heading jumps to " + heading.tagName);
    before = level;
  }
  return wrong;
})()`

// contrast lists visible texts with too little contrast to their background.
const contrast = `(() => {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const rgba = (color) => {
    if (!known.has(color)) {
      pen.clearRect(0, 0, 1, 1);
      pen.fillStyle = color;
      pen.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
      known.set(color, [r, g, b, a / 255]);
    }
    return known.get(color);
  };
  const over = (top, below) => {
    const a = top[3];
    return [0, 1, 2].map((i) => top[i] * a + below[i] * (1 - a)).concat(1);
  };
  const behind = (element) => {
    const chain = [];
    for (let e = element; e; e = e.parentElement) chain.unshift(rgba(getComputedStyle(e).backgroundColor));
    return chain.reduce((below, top) => over(top, below),
      matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18, 1] : [255, 255, 255, 1]);
  };
  const light = (color) => {
    const [r, g, b] = color.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const seen = (element) => {
    const box = element.getBoundingClientRect();
    return element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && box.width > 1 && box.height > 1
      && !element.closest(":disabled, .hidden, .skip");
  };
  const wrong = new Set();
  let looked = 0;
  const look = (element, color, text) => {
    const ground = behind(element);
    let ink = rgba(color);
    for (let e = element; e; e = e.parentElement) ink = [...ink.slice(0, 3), ink[3] * Number(getComputedStyle(e).opacity)];
    const [high, low] = [light(over(ink, ground)), light(ground)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    looked++;
    if (ratio < 4.5)
      wrong.add(ratio.toFixed(2) + " " + element.tagName + "." + (element.getAttribute("class") || "") + " " + text.trim().slice(0, 30));
  };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || /^(SCRIPT|OPTION|TEXTAREA)$/.test(element.tagName) || !seen(element)) continue;
    const style = getComputedStyle(element);
    look(element, element.closest("svg") ? style.fill : style.color, walk.currentNode.data);
  }
  for (const field of document.querySelectorAll("input:not([type=hidden], [type=checkbox], [type=radio]), select, textarea")) {
    if (!seen(field)) continue;
    look(field, getComputedStyle(field).color, "what is in " + field.name);
    if (field.placeholder) look(field, getComputedStyle(field, "::placeholder").color, field.placeholder);
  }
  if (looked < 5) wrong.add("only " + looked + " texts were found");
  return [...wrong];
})()`

// node is a node of the accessibility tree. chromedp's own type rejects trees with
// values it does not know yet.
type node struct {
	Ignored bool
	Role    struct{ Value string }
	Name    struct{ Value string }
}

// handled are the roles of elements that a visitor can use.
var handled = map[string]bool{
	"button": true, "link": true, "textbox": true, "searchbox": true, "combobox": true, "listbox": true, "checkbox": true, "radio": true,
	"spinbutton": true, "Date": true, "DateTime": true, "InputTime": true, "DisclosureTriangle": true, "image": true, "img": true,
}

// tree returns the accessibility tree of the page.
func (b *browser) tree() []node {
	b.t.Helper()
	var out struct{ Nodes []node }
	b.run(chromedp.ActionFunc(func(ctx context.Context) error {
		var raw json.RawMessage
		if err := cdp.Execute(ctx, "Accessibility.getFullAXTree", nil, &raw); err != nil {
			return err
		}
		return json.Unmarshal(raw, &out)
	}))
	return out.Nodes
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

// accessible finds what keeps visitors with no or poor sight from using the page.
func (b *browser) accessible(page string) {
	b.t.Helper()
	b.wrong(page, value[[]string](b, structure))
	var nameless []string
	n := 0
	for _, x := range b.tree() {
		if !x.Ignored && handled[x.Role.Value] {
			n++
			if x.Name.Value == "" {
				nameless = append(nameless, "a nameless "+x.Role.Value)
			}
		}
	}
	require.NotZero(b.t, n, page)
	b.wrong(page, nameless)
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		b.wrong(page+", "+scheme, value[[]string](b, contrast))
	}
	b.scheme("light")
}

// narrow finds what makes the page scroll sideways in a narrow window.
func (b *browser) narrow(page string) {
	b.t.Helper()
	b.run(chromedp.EmulateViewport(360, 800))
	b.wrong(page, value[[]string](b, `document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("body *")]
		.filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, nav, .faults"))
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
	value[bool](b, `(() => {
		document.documentElement.lang = "";
		document.querySelector("main").insertAdjacentHTML("beforeend",
			"<h1>another</h1><h3>far below</h3><table><tr><td>a</td></tr></table><img src='/'><p id='key' class='faded'>faded</p>");
		document.querySelector(".faded").style.setProperty("color", "gray");
		document.querySelector(".faded").style.setProperty("background", "silver");
		return true;
	})()`)
	require.Len(t, value[[]string](b, structure), 9)
	require.Equal(t, []string{"2.17 P.faded faded"}, value[[]string](b, contrast))
}
