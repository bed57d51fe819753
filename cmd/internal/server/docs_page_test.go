package server

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	anID     = regexp.MustCompile(` id="([^"]*)"`)
	aLink    = regexp.MustCompile(` href="([^"]*)"`)
	anAnchor = regexp.MustCompile(`^(?:/docs)?#(.+)$`)
)

// The page has all of the document, and each of its links leads somewhere. It needs no key,
// no script and no other file.
func TestDocsPage(t *testing.T) {
	t.Parallel()
	b, d := newBench(t), theContract()
	a := b.do("", "GET", "/docs", "")
	require.Equal(t, http.StatusOK, a.status)
	ids := map[string]bool{}
	for _, m := range anID.FindAllStringSubmatch(a.body, -1) {
		require.False(t, ids[m[1]], "two places are called %s", m[1])
		ids[m[1]] = true
	}
	d.operations(func(_ route, place string) {
		require.Contains(t, ids, "operation-"+d.get(at(place, "operationId")).(string))
	})
	for _, code := range d.keys("#/x-problems") {
		require.Contains(t, ids, "problem-"+code)
	}
	for _, name := range d.keys("#/components/schemas") {
		require.Contains(t, ids, "schema-"+name)
	}
	for _, m := range aLink.FindAllStringSubmatch(a.body, -1) {
		if m[1] == "/openapi.json" {
			continue
		}
		to := anAnchor.FindStringSubmatch(m[1])
		require.NotNil(t, to, "%s leads away", m[1])
		require.Contains(t, ids, to[1])
	}
	for _, no := range []string{"<script", " src=", "style=", "@import", "url(", "<nil>", "**", "[object"} {
		require.NotContains(t, a.body, no)
	}
	require.Contains(t, a.header.Get("Content-Security-Policy"), "default-src 'none'")
	require.Contains(t, a.body, "<code>idempotency_key_reused</code>")
	require.Contains(t, a.body, "<td>confirmed: the cloud shows it without its user, or no longer shows it</td>", "tables are rendered")
	require.Less(t, len(a.body), 1<<20)
	require.NotEmpty(t, a.header.Get("Etag"))

	html, err := markdown("before <script>alert(1)</script> `a<b` **after** [x](javascript:alert(1))")
	require.NoError(t, err)
	require.NotContains(t, string(html), "<script")
	require.NotContains(t, string(html), "javascript:")
	require.Contains(t, string(html), "<code>a&lt;b</code> <strong>after</strong>")
}

// Every code of the answers has an explanation, and every explanation is of a code.
func TestEveryProblemIsExplained(t *testing.T) {
	t.Parallel()
	d := theContract()
	used := map[string]bool{}
	d.walk("#", func(place string, v any) {
		for _, code := range list(v.(object)["x-codes"]) {
			used[code.(string)] = true
			require.NotEmpty(t, d.get(at("#/x-problems", code.(string), "text")), "%s, of %s, has no explanation", code, place)
		}
		if content := d.keys(at(place, "content")); len(content) == 1 && content[0] == "application/problem+json" {
			require.NotEmpty(t, list(v.(object)["x-codes"]), "%s lists no codes", place)
		}
	})
	for _, code := range d.keys("#/x-problems") {
		require.True(t, used[code], "%s is in no answer", code)
		text := d.get(at("#/x-problems", code, "text")).(string)
		require.True(t, strings.HasSuffix(text, "."), code)
	}
}
