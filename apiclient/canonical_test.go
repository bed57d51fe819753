package apiclient

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// simpleCanonical is the rule of the documentation, written without looking at
// the code: everything but unreserved characters is %XX, sorted, joined.
func simpleCanonical(method, path string, query [][2]string, headers map[string]string, body string) string {
	enc := func(s string) string {
		s = url.QueryEscape(s) // keeps the unreserved characters, and writes a space as +
		return strings.ReplaceAll(s, "+", "%20")
	}
	var segments, pairs, names []string
	for _, s := range strings.Split(strings.TrimSuffix(path, "/"), "/") {
		segments = append(segments, enc(s))
	}
	sort.Slice(query, func(i, j int) bool {
		if query[i][0] != query[j][0] {
			return query[i][0] < query[j][0]
		}
		return query[i][1] < query[j][1]
	})
	for _, kv := range query {
		pairs = append(pairs, enc(kv[0])+"="+enc(kv[1]))
	}
	for name := range headers {
		names = append(names, strings.ToLower(name))
	}
	sort.Strings(names)
	block := ""
	for _, name := range names {
		block += name + ":" + strings.TrimSpace(headers[http.CanonicalHeaderKey(name)]) + "\n"
	}
	return fmt.Sprintf("%s\n%s/\n%s\n%s\n%s\n%x", method, strings.Join(segments, "/"), strings.Join(pairs, "&"),
		block, strings.Join(names, ";"), sha256.Sum256([]byte(body)))
}

func TestCanonicalRequest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		path := "/" + strings.Join(rapid.SliceOf(rapid.StringMatching(`[a-z0-9 %+é~-]{1,6}`)).Draw(t, "path"), "/")
		pairs := rapid.SliceOf(rapid.Custom(func(t *rapid.T) [2]string {
			return [2]string{rapid.StringMatching(`[a-c é&=+]{1,2}`).Draw(t, "key"), rapid.String().Draw(t, "value")}
		})).Draw(t, "query")
		headers := rapid.MapOf(rapid.StringMatching(`X-[A-Z][a-z]{0,3}`), rapid.StringMatching(`[ -~]{0,8}`)).Draw(t, "headers")
		body := rapid.String().Draw(t, "body")

		build := func(pairs [][2]string) (string, url.Values) {
			query, h := url.Values{}, http.Header{}
			for _, kv := range pairs {
				query.Add(kv[0], kv[1])
			}
			for name, value := range headers {
				h.Set(name, value)
			}
			h.Set("Content-Type", "never signed")
			h.Set("With_underscore", "never signed")
			target := &url.URL{Path: path, RawQuery: canonicalQuery(query)}
			return canonicalRequest("POST", target, h, signedHeaders(h), []byte(body)), query
		}
		got, query := build(pairs)
		if want := simpleCanonical("POST", path, append([][2]string(nil), pairs...), headers, body); got != want {
			t.Fatalf("got  %q\nwant %q", got, want)
		}
		if shuffled, _ := build(rapid.Permutation(pairs).Draw(t, "shuffled")); shuffled != got {
			t.Fatalf("the order matters: %q and %q", got, shuffled)
		}
		back, err := url.ParseQuery(canonicalQuery(query))
		if err != nil || canonicalQuery(back) != canonicalQuery(query) || len(back) != len(query) {
			t.Fatalf("the query does not come back: %v %v %v", query, back, err)
		}
	})
}
