package server

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
)

// items reads a page of objects with ids.
func (a answer) items(t *testing.T) (ids []string, next string) {
	t.Helper()
	require.Equal(t, http.StatusOK, a.status, a.body)
	page := a.json(t)
	for _, x := range page["items"].([]any) {
		id, _ := x.(object)["id"].(string)
		ids = append(ids, id)
	}
	next, _ = page["next_page_token"].(string)
	return ids, next
}

// A page token tells nothing, and is valid for its list, parameters and projects only.
func TestPageTokensAreSealed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for i := range 3 {
		b.create(fmt.Sprintf(`{"project":"hq","desktops":["d%d"],"ticket":"T"}`, i))
	}
	viewer := b.key[access.Viewer]
	ids, next := b.do(viewer, "GET", "/v1/operations?page_size=1&ticket=T", "").items(t)
	raw, err := base64.RawURLEncoding.DecodeString(next)
	require.NoError(t, err)
	require.NotContains(t, string(raw), ids[0])
	_, again := b.do(viewer, "GET", "/v1/operations?page_size=1&ticket=T", "").items(t)
	require.NotEqual(t, next, again, "the same place has another token each time")

	page := func(key, path string) answer { return b.do(key, "GET", path+"page_token="+next, "") }
	rest, _ := page(viewer, "/v1/operations?ticket=T&page_size=2&from=2020-01-01T00:00:00Z&").items(t)
	require.Len(t, rest, 2, "with another page size, from another time")
	require.NotContains(t, rest, ids[0])
	hq := b.newKey(access.Key{Name: "hq", Role: access.Viewer, Projects: []string{"hq"}})
	for path, key := range map[string]string{
		"/v1/operations?": viewer, "/v1/operations?ticket=U&": viewer, "/v1/failures?": viewer, "/v1/redrives?": viewer,
		"/v1/operations?ticket=T&project=hq&": hq,
	} {
		require.Equal(t, "page_token", page(key, path).problem(t).Code, path)
	}
	for _, wrong := range []string{"x", "0", next[1:], next + "A", strings.ToUpper(next)} {
		a := b.do(viewer, "GET", "/v1/operations?ticket=T&page_token="+wrong, "")
		require.Equal(t, "page_token", a.problem(t).Code, wrong)
	}

	req := httptest.NewRequest("GET", "/v1/operations?ticket=T&page_token="+next, nil)
	req.Header.Set("Authorization", "Bearer "+viewer)
	w := httptest.NewRecorder()
	newServer(Config{Store: b.store, Keys: b.keys}).ServeHTTP(w, req)
	require.Equal(t, http.StatusOK, w.Code, "every server of this Redis takes it")

	b.redis.Del("detachd:pagekey")
	require.Equal(t, "page_token", page(viewer, "/v1/operations?ticket=T&").problem(t).Code)
	_, next = b.do(viewer, "GET", "/v1/operations?page_size=1&ticket=T", "").items(t)
	require.Equal(t, http.StatusOK, page(viewer, "/v1/operations?ticket=T&").status, "a new key was made")
}

// For a key that is bound to projects the pages of a list are those of a list that has
// nothing else, wherever the hidden items are.
func TestPagesOfABoundKey(t *testing.T) {
	t.Parallel()
	for _, hidden := range []string{"", "x", "xxxxxxx", ".x", "x.", "..x..", "xx.xx.xx.xx", "....", "...xxxxxxxxxxxxxxx.", "....x"} {
		items := []byte(hidden)
		read := func(n int, place string) ([]byte, string, error) {
			from := len(place)
			to := min(from+n, len(items))
			next := strings.Repeat("p", to)
			if to == len(items) {
				next = ""
			}
			return slices.Clone(items[from:to]), next, nil
		}
		shown := strings.Count(hidden, ".")
		for size := 1; size < 6; size++ {
			r := &request{key: access.Key{Projects: []string{"hq"}}}
			var pages []int
			for place, more := "", true; more; more = place != "" {
				page, next, err := visible(r, size, place, read, func(x byte) bool { return x == '.' })
				require.NoError(t, err)
				pages, place = append(pages, len(page)), next
			}
			want := []int{}
			for left := shown; left > size; left -= size {
				want = append(want, size)
			}
			want = append(want, shown-size*len(want))
			require.Equal(t, want, pages, "%q in pages of %d", hidden, size)
		}
	}
}

// A bulk retry that matched nothing is seen by keys for the projects in which it looked.
func TestRedriveThatMatchedNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	key := map[string]string{"all": b.key[access.Operator]}
	for _, p := range []string{"hq", "branch"} {
		key[p] = b.newKey(access.Key{Name: p, Role: access.Operator, Projects: []string{p}})
	}
	key["both"] = b.newKey(access.Key{Name: "both", Role: access.Operator, Projects: []string{"hq", "branch"}})
	for _, x := range []struct{ by, body, seenBy string }{
		{"all", `{"reason":"of all projects"}`, "all"},
		{"all", `{"filter":{"project":"branch"}}`, "all both branch"},
		{"all", `{"desktops":[{"operation_id":"mignt50o6fnapq0v5n7g","desktop_id":"d1"}]}`, "all"},
		{"hq", `{}`, "all both hq"},
		{"hq", `{"filter":{"project":"branch"}}`, "all both hq"},
		{"both", `{}`, "all both"},
		{"both", `{"filter":{"project":"hq"}}`, "all both hq"},
	} {
		made := b.do(key[x.by], "POST", "/v1/redrives", x.body)
		require.Equal(t, http.StatusAccepted, made.status, made.body)
		id := made.json(t)["id"].(string)
		for name, k := range key {
			seen := slices.Contains(strings.Fields(x.seenBy), name)
			ids, next := b.do(k, "GET", "/v1/redrives", "").items(t)
			require.Equal(t, seen, slices.Contains(ids, id), "%s by %s, listed to %s", x.body, x.by, name)
			require.Empty(t, next)
			status := b.do(k, "GET", "/v1/redrives/"+id, "").status
			require.Equal(t, seen, status == http.StatusOK, "%s by %s, read by %s", x.body, x.by, name)
		}
	}
}

// Lists count their items where an index or the record knows the number.
func TestTotals(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	op := b.failed("hq", "d1", "d2", "d3")
	b.failed("branch", "d4")
	b.do(b.key[access.Operator], "POST", "/v1/redrives", `{"filter":{"project":"hq"},"per_second":1}`)
	redrive := b.do(b.key[access.Operator], "POST", "/v1/redrives", `{"filter":{"project":"hq"},"per_second":1}`).json(t)["id"].(string)
	hq := b.newKey(access.Key{Name: "hq", Role: access.Viewer, Projects: []string{"hq"}})
	path := "/v1/operations/" + op.ID + "/desktops"
	for _, x := range []struct {
		key, path string
		total     any
	}{
		{"", "/v1/operations", 2.0}, {"", "/v1/operations?project=hq", 1.0}, {"", "/v1/operations?requested_by=hr", 2.0},
		{"", "/v1/operations?from=2100-01-01T00:00:00Z", 0.0}, {"", "/v1/operations?to=2100-01-01T00:00:00Z", 2.0},
		{"", "/v1/operations?open=true", nil}, {"", "/v1/operations?project=hq&requested_by=hr", nil}, {hq, "/v1/operations?project=hq", 1.0},
		{"", path, 3.0}, {"", path + "?state=failed&state=failed", 3.0}, {"", path + "?state=held", 0.0}, {"", path + "?code=WKS.1", nil},
		{"", "/v1/failures", 4.0}, {"", "/v1/failures?class=permanent&project=hq", 3.0}, {"", "/v1/failures?user=zoe", nil},
		{hq, "/v1/failures?project=hq", 3.0},
		{"", "/v1/redrives", 2.0}, {hq, "/v1/redrives", nil}, {"", "/v1/redrives/" + redrive + "/desktops", 3.0},
	} {
		key := x.key
		if key == "" {
			key = b.key[access.Viewer]
		}
		a := b.do(key, "GET", x.path, "")
		require.Equal(t, http.StatusOK, a.status, a.body)
		require.Equal(t, x.total, a.json(t)["total"], x.path)
	}
}

// An answer to an earlier request with the same Idempotency-Key says so.
func TestReplays(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.failed("hq", "d1")
	for path, body := range map[string]string{
		"/v1/operations": `{"project":"hq","desktops":["d2"],"not_before":"2199-01-01T00:00:00Z"}`, "/v1/redrives": `{"per_second":1}`,
	} {
		post := func(header ...string) string {
			a := b.do(b.key[access.Operator], "POST", path, body, header...)
			require.Equal(t, http.StatusAccepted, a.status, a.body)
			return a.header.Get("Idempotent-Replayed")
		}
		require.Empty(t, post("Idempotency-Key", "k"), path)
		require.Equal(t, "true", post("Idempotency-Key", "k"), path)
		require.Empty(t, post("Idempotency-Key", "other"), path)
		require.Empty(t, post(), path)
		require.Empty(t, post(), path)
	}
}

// HEAD is answered as GET is, without a body.
func TestHead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.srv.pace.seal = 0 // no worker seals what has ended
	id := b.failed("hq", "d1").ID
	redrive := b.do(b.key[access.Operator], "POST", "/v1/redrives", `{"per_second":1}`).json(t)["id"].(string)
	plan := b.do(b.key[access.Admin], "POST", "/v1/plans", `{"project":"hq","desktops":["d1"]}`).json(t)["id"].(string)
	cancellation := b.do(b.key[access.Operator], "POST", "/v1/cancellations", recall).json(t)["id"].(string)
	takenBack := b.do(b.key[access.Operator], "POST", "/v1/recalls", recallZoe).json(t)["id"].(string)
	for _, rt := range routes {
		if rt.method != http.MethodGet {
			continue
		}
		path := fill(rt, map[string]string{"operations": id, "redrives": redrive, "cancellations": cancellation, "recalls": takenBack, "plans": plan})
		key := b.key[access.Admin]
		head := b.do(key, "HEAD", path, "")
		get := b.do(key, "GET", path, "")
		require.Equal(t, get.status, head.status, path)
		for _, name := range []string{"Content-Type", "Content-Disposition", "Cache-Control", "Etag"} {
			require.Equal(t, get.header.Get(name), head.header.Get(name), "%s of %s", name, path)
		}
		require.Equal(t, http.StatusMethodNotAllowed, b.do(key, "PUT", path, "").status, path)
	}
	require.Equal(t, http.StatusMethodNotAllowed, b.do(b.key[access.Admin], "HEAD", "/v1/plans", "").status)
	require.Equal(t, http.StatusNotFound, b.do(b.key[access.Admin], "HEAD", "/v1/nowhere", "").status)
}

// fill makes a path of a route: {id} by the word before it, the others by the examples of
// the contract.
func fill(rt route, ids map[string]string) string {
	d := theContract()
	parts := strings.Split(rt.path, "/")
	for i, part := range parts {
		name, verb, _ := strings.Cut(part, ":")
		if !strings.HasPrefix(name, "{") {
			continue
		}
		value := ids[parts[i-1]]
		for _, p := range d.parameters(rt, "path") {
			if value == "" && "{"+d.get(at(p, "name")).(string)+"}" == name {
				value = fmt.Sprint(d.get(at(p, "example")))
			}
		}
		if verb != "" {
			value += ":" + verb
		}
		parts[i] = value
	}
	return strings.Join(parts, "/")
}
