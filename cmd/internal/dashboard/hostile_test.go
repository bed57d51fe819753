package dashboard_test

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// hostile texts would run, or look like something else, if they were not escaped. Ids
// and users have only printable characters without white space: others are refused
// earlier.
var hostile = texts{
	Desktop:  `"><svg/onload=pwned=1>'{{.}}/../%2e%2e?a=b#c;` + "`",
	Computer: `<img src=x onerror=pwned=2>` + "\u202egnp.exe\x1b[31m",
	User:     `=HYPERLINK("//evil.example","<script>pwned=3</script>")`,
	Code:     `@SUM<script>pwned=4</script>`,
	Message: "=cmd|' /C calc'!A0<script>pwned=5</script></td></table>\"><img src=x onerror=pwned=6>\u202e\r\n\x00{{template}}" +
		strings.Repeat("<b>long ", 10<<10/8),
	Request: `"><img/src=x/onerror=pwned=7>`,
	Reason:  "+1\n</dd></textarea></title><script>pwned=8</script>\u202e" + strings.Repeat("ä<i>", 200),
	Ticket:  `-1"><svg onload=pwned=9>javascript:pwned=9`,
	Pause:   `</p><iframe srcdoc="<script>parent.pwned=10</script>">` + strings.Repeat("<u>long ", 900/8),
}

// inert lists what could act in a page, or differs from the text as written.
const inert = `(() => {
  const wrong = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  if (window.pwned !== undefined) wrong.push("a script ran: " + window.pwned);
  if (all("script").length !== 1) wrong.push(all("script").length + " scripts");
  for (const e of all("iframe, object, embed, base, style, textarea ~ script, b, i, u")
    .concat(all("main img:not([src^='/assets/']), svg:not(.bar, .chart)")))
    wrong.push("made of text: " + e.outerHTML.slice(0, 80));
  for (const e of all("*")) {
    for (const a of e.attributes) {
      if (/^on/i.test(a.name)) wrong.push("an attribute: " + e.outerHTML.slice(0, 80));
      if (/^(href|src|action|formaction)$/i.test(a.name) && !/^[/#?](?!\/)/.test(a.value)) wrong.push("leads elsewhere: " + a.value);
    }
  }
  if (/[\u202a-\u202e\u2066-\u2069]/.test(document.title + document.body.innerText)) wrong.push("the direction of writing is changed");
  if (/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(document.documentElement.innerText)) wrong.push("a control character is shown");
  if (document.body.classList.contains("busy")) wrong.push("busy");
  return wrong;
})()`

func TestHostileTextIsInert(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	b.expect("400")
	b.expect("404")
	x := told(s, hostile, b)
	visited := x.places()
	for _, text := range []string{hostile.User, hostile.Message[:300], hostile.Desktop, "javascript:pwned=11\u202e"} {
		q := url.QueryEscape(text)
		visited = append(visited,
			place{"search", goTo("/search?q=" + q)}, place{"desktop", goTo("/desktop?id=" + q)},
			place{"new", goTo("/new?list=" + q + "&project=" + q)},
			place{"operations", goTo("/operations?project=" + q + "&requested_by=" + q + "&ticket=" + q)},
			place{"filter", goTo("/operations?from=" + q)},
			place{"failures", goTo("/failures?by=" + q + "&code=" + q + "&class=" + q + "&user=" + q + "&operation=x")},
			place{"state", goTo("/operations/" + x.ended.ID + "?state=" + q + "&code=" + q)},
			place{"token", goTo("/failures?page_token=" + q)}, place{"path", goTo("/operations/" + url.PathEscape(text))},
			place{"signin", goTo("/signin?to=" + q)},
		)
	}
	for _, p := range visited {
		p.visit(b)
		b.wrong(p.name, value[[]string](b, inert))
		if p.name == "overview" || p.name == "projects" {
			require.Less(t, value[int](b, `document.body.innerText.length`), 5000, "%s folds what is long", p.name)
		}
		if p.name == "projects" || p.name == "failures-code" || p.name == "operation" { // folded texts, too
			value[bool](b, `(() => { for (const e of document.querySelectorAll("details.long")) e.open = true; return true })()`)
			b.wrong(p.name+", unfolded", value[[]string](b, inert))
		}
		b.narrow(p.name)
		if slices.Contains([]string{"overview", "projects", "operation", "failures-code", "plan"}, p.name) {
			b.shoot("hostile-" + p.name)
		}
	}

	// The pages show the texts as written.
	b.open("/failures?code=" + url.QueryEscape(hostile.Code))
	b.sees(hostile.Code)
	b.sees(hostile.Message[:40])
	b.sees(hostile.id(0))
	b.sees(`\u202e`)
	b.open("/desktop?id=" + url.QueryEscape(hostile.id(0)))
	require.Equal(t, hostile.id(0), value[string](b, `document.querySelector("h1 .id").innerText`))
	b.sees(hostile.User)
	b.open("/failures")
	b.click("input[name=pick]")
	b.press("Retry selected")
	b.sees("Retry 1 desktop?") // its id comes back from a form whole
	b.open("/projects")
	b.sees("hr: " + hostile.Pause[:40])

	// The notice is shown once, as text.
	b.run(cookieOf(b.url, "__Host-detachd-notice", "PHNjcmlwdD5wd25lZD0xMjwvc2NyaXB0PuKArng")) // <script>pwned=12</script>, U+202E, x
	b.open("/")
	b.sees(`<script>pwned=12</script>\u202ex`)
	b.wrong("notice", value[[]string](b, inert))
}

// Files with hostile text are harmless in spreadsheets, JSON readers and log viewers.
func TestHostileTextInFiles(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	x := s.tell(hostile)
	session := s.session(access.Viewer)
	for path, cells := range map[string][]string{
		"/failures.csv": {"'" + hostile.User, "'" + hostile.Code, "'=cmd|"},
		"/operations/" + x.ended.ID + "/report?format=csv": {"'" + hostile.User, "'" + hostile.Code, "'+1", "'" + hostile.Ticket},
	} {
		got := s.get(path, session)
		require.Equal(t, http.StatusOK, got.status, path)
		require.Contains(t, got.header.Get("Content-Disposition"), "attachment; filename=")
		require.Equal(t, "text/csv; charset=utf-8", got.header.Get("Content-Type"))
		got.guarded(t, path)
		rows, err := csv.NewReader(strings.NewReader(got.body)).ReadAll()
		require.NoError(t, err, path)
		require.Greater(t, len(rows), 14, path)
		all := ""
		for _, row := range rows {
			require.Len(t, row, len(rows[0]))
			for _, cell := range row {
				require.NotRegexp(t, `^[=+\-@\t\r\n＝＋－＠]`, cell, path)
				require.NotRegexp(t, `[\x00-\x1f\x{202e}]`, cell, path)
				all += cell + "\n"
			}
		}
		for _, cell := range cells {
			require.Contains(t, all, "\n"+cell, path)
		}
	}
	for _, format := range []string{"html", "json"} {
		got := s.get("/operations/"+x.ended.ID+"/report?format="+format, session)
		require.Equal(t, http.StatusOK, got.status)
		require.Contains(t, got.header.Get("Content-Disposition"), "attachment; filename=", "it must not open as a page of ours")
		require.NotContains(t, got.body, "<script>")
		require.NotContains(t, got.body, "<svg/onload")
	}

	// JSON has the texts complete and escaped.
	key := s.key(access.Viewer)
	got := s.do("GET", "/v1/failures?page_size=100", "", nil, "Authorization", "Bearer "+key)
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	require.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"))
	require.NotContains(t, got.body, "<")
	var list api.Page[tasks.Failure]
	require.NoError(t, json.Unmarshal([]byte(got.body), &list))
	require.Len(t, list.Items, 14)
	codes := 0
	for _, f := range list.Items {
		if f.Code == hostile.Code {
			codes++
			require.Equal(t, []rune(hostile.Message)[:100], []rune(f.Message)[:100])
			require.Equal(t, hostile.Computer, f.DesktopName)
		}
	}
	require.Equal(t, 11, codes)

	// The log has one object per line.
	s.post("/signin", "", "key", hostile.Message)
	s.get("/operations/"+url.PathEscape(hostile.Computer+"\n{}"), session)
	lines := 0
	for line := range strings.Lines(s.log.String()) {
		lines++
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields), line)
		require.NotRegexp(t, `[\x00-\x09\x0b-\x1f]`, line)
	}
	require.Greater(t, lines, 10)
}
