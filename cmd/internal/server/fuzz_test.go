//go:build !race

package server

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
)

// fuzzed is the number of random requests to each route, on average.
const fuzzed = 70

// fuzzer makes requests from the contract: mostly valid ones, and some with anything wrong.
type fuzzer struct {
	*bench
	*rand.Rand
	ids  map[string]string // by the word before {id}
	keys map[access.Role]string
}

// Random requests made from the contract get the answers that it documents, and none of
// them is an internal error.
func TestRandomRequestsGetDocumentedAnswers(t *testing.T) {
	t.Parallel()
	cloud, err := fakecloud.Serve(fakecloud.Config{Token: "token", AutoCreate: true}, "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(cloud.Close)
	b := newBenchOn(t, cloud.URL)
	b.cfg.Credentials[0].ReadsPerMinute = 0 // of its store, too
	b.srv.pace.seal, b.srv.pace.longest, b.srv.planPatience = 0, 1, 1
	f := &fuzzer{bench: b, Rand: rand.New(rand.NewPCG(13, 13)), keys: b.key}
	id := b.failed("hq", "d1", "d2").ID
	redrive := b.do(b.key[access.Operator], "POST", "/v1/redrives", `{"per_second":1}`).json(t)["id"].(string)
	cancellation := b.do(b.key[access.Operator], "POST", "/v1/cancellations", recall).json(t)["id"].(string)
	takenBack := b.do(b.key[access.Operator], "POST", "/v1/recalls", recallZoe).json(t)["id"].(string)
	plan := b.do(b.key[access.Admin], "POST", "/v1/plans", `{"project":"hq","desktops":["d1"]}`).json(t)["id"].(string)
	review := b.do(b.key[access.Admin], "POST", "/v1/access-reviews", `{"since":"1h"}`).json(t)["id"].(string)
	spare := b.newKey(access.Key{Name: "spare", Role: access.Viewer})
	f.ids = map[string]string{
		"operations": id, "redrives": redrive, "cancellations": cancellation, "recalls": takenBack, "plans": plan, "access-reviews": review, "keys": spare[:len("dk_22222222")], "schedules": "name",
	}
	reached := map[string]bool{}
	for i := range fuzzed * len(routes) {
		rt := routes[i%len(routes)]
		f.ids["operations"] = id
		if strings.HasSuffix(rt.path, ":approve") || strings.HasSuffix(rt.path, ":reject") || rt.path == "/v1/plans" {
			f.ids["operations"] = b.waits()
		}
		if strings.HasSuffix(rt.path, ":undo") {
			f.ids["operations"] = b.detached("d1", "d2")
		}
		if strings.HasSuffix(rt.path, ":remove") {
			_ = b.store.Record.AddProtection(t.Context(), tasks.Protection{Name: "lab", Kind: tasks.ProtectPool, Pattern: "p-1"}) // it may be there
		}
		if strings.HasPrefix(rt.path, "/v1/schedules") { // an earlier body may have added one of that name
			_ = b.store.Record.RemoveSchedule(t.Context(), "name")
		}
		if strings.HasPrefix(rt.path, "/v1/schedules/") {
			b.scheduled("name", "hq")
		}
		req, body := f.any(rt)
		what := fmt.Sprintf("%d: %s %s %.1000s", i, req.Method, req.URL.RequestURI(), body)
		a, err := exchange(req)
		require.NoError(t, err, what)
		theContract().check(t, req.Method, req.URL.RequestURI(), a)
		require.NotEqual(t, http.StatusInternalServerError, a.status, "%s: %s", what, a.body)
		if a.status == http.StatusServiceUnavailable {
			require.Contains(t, a.body, `"busy"`, what)
		}
		if a.status < 400 {
			reached[rt.method+" "+rt.path] = true
		}
	}
	for _, rt := range routes {
		if before, _, has := strings.Cut(rt.path, "/{id}"); has && f.ids[path.Base(before)] == "" {
			continue // nothing of this kind is here
		}
		require.True(t, reached[rt.method+" "+rt.path], "%s %s was never answered with success", rt.method, rt.path)
	}
}

// one is one of the given.
func one[T any](f *fuzzer, of ...T) T { return of[f.IntN(len(of))] }

// odd is true once in n times.
func (f *fuzzer) odd(n int) bool { return f.IntN(n) == 0 }

// text is anything that a caller may send.
func (f *fuzzer) text() string {
	return one(f, "", " ", "x", "zoe", "d1", "hq", "nowhere", "0", "-1", "1e9", "null", "true", "now", "2199-01-01T00:00:00Z", "2026-13-01",
		"user:zoe", "computer:PC-1", "../..", "a/b", "{}", "{x}", "a\nb", "\x00", "\u202e", "é", "日本", "\xff", "%", "*", "<script>", strings.Repeat("x", 300),
		f.ids["operations"], "00000000000000000000", strconv.Itoa(f.IntN(2000)))
}

// any makes a request of a route.
func (f *fuzzer) any(rt route) (*http.Request, string) {
	f.t.Helper()
	d := theContract()
	path := fill(rt, f.ids)
	if f.odd(8) {
		path = fill(rt, map[string]string{"operations": url.PathEscape(f.text()), "redrives": f.ids["operations"], "cancellations": f.ids["operations"], "recalls": f.ids["operations"]})
	}
	if strings.Contains(path, "//") || strings.HasSuffix(path, "/") || strings.Contains(path, "/:") {
		path = fill(rt, none) // an empty id is another path
	}
	q := url.Values{}
	list := rt.method == http.MethodPost && f.odd(4) && len(d.parameters(rt, "query")) > 0
	for _, p := range d.parameters(rt, "query") {
		name := d.get(at(p, "name")).(string)
		if d.get(at(p, "required")) != true && (!f.odd(4) || rt.method == http.MethodPost && !list) && (name != "project" || !list) {
			continue
		}
		if v, isText := f.value(at(p, "schema"), name, 0).(string); isText && name != "page_token" {
			q.Add(name, v)
		} else if name != "page_token" || f.odd(3) {
			q.Add(name, fmt.Sprint(f.value(at(p, "schema"), name, 0)))
		}
		if f.odd(20) {
			q.Add(name, f.text())
		}
	}
	if f.odd(40) {
		q.Add(f.text(), f.text())
	}
	body, kind := "", "application/json"
	if rt.method == http.MethodPost {
		place := d.follow(at(operationOf(rt), "requestBody"))
		switch {
		case list:
			kind = "text/csv"
			body = one(f, "desktop_id,user\nd1,zoe\n", "user\nzoe\nann\n", "Computer;Login\nPC-1;zoe\n", "a,b\n1,2\n", "", "\"", f.text(), f.text()+"\n"+f.text())
		case f.odd(15):
			body = f.text()
		default:
			raw, err := json.Marshal(f.value(at(place, "content", kind, "schema"), "", 0))
			require.NoError(f.t, err)
			if body = string(raw); f.odd(30) {
				body = body[:f.IntN(len(body))]
			}
		}
		if f.odd(30) {
			kind = one(f, "", "text/plain", "text/csv", "application/xml", "application/json; charset=utf-8", "x")
		}
	}
	method := rt.method
	if method == http.MethodGet && f.odd(10) {
		method = http.MethodHead
	}
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	key := f.keys[access.Admin]
	if f.odd(5) {
		key = f.keys[one(f, append([]access.Role{""}, access.Roles...)...)]
	}
	req := f.request(key, method, path, body, "Content-Type", kind)
	for _, name := range []string{"Idempotency-Key", "Traceparent", "X-Request-Id", "Last-Event-Id", "If-None-Match"} {
		if v := f.text(); f.odd(6) && headerValue(v) {
			req.Header.Set(name, v)
		}
	}
	return req, body
}

// headerValue reports whether the client can send it.
func headerValue(v string) bool {
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET / HTTP/1.1\r\nHost: x\r\nX: " + v + "\r\n\r\n")))
	return err == nil && req.Header.Get("X") == v
}

// value makes a value of a schema, or once in a while another one.
func (f *fuzzer) value(place, name string, depth int) any {
	d := theContract()
	if f.odd(40) {
		return one[any](f, nil, true, 1, -1, 1.5, f.text(), []any{}, []any{f.text()}, object{}, object{f.text(): f.text()})
	}
	s, _ := d.get(place).(object)
	if ref, ok := s["$ref"].(string); ok {
		switch strings.TrimPrefix(ref, "#/components/schemas/") {
		case "ProjectAlias":
			return one(f, "hq", "hq", "branch", "nowhere")
		case "Time":
			return one(f, "2199-01-01T00:00:00Z", "2199-06-01T00:00:00+0800", "2020-01-01T00:00:00.5Z")
		case "NotBefore":
			return one(f, "now", "2199-01-01T00:00:00Z")
		case "Since":
			return one(f, "30d", "12h", "2199-01-01T00:00:00Z", "2020-01-01T00:00:00+0800")
		case "ID":
			return f.ids["operations"]
		case "DesktopID", "RowID":
			return "d" + strconv.Itoa(f.IntN(5))
		case "UserName":
			return one(f, "zoe", "ann", "kim")
		case "ScheduleSource":
			if f.odd(2) { // which has one of many parts
				return object{"users": []any{"ann"}}
			}
		case "Cron":
			return one(f, "0 18 * * FRI", "@daily", "*/7 0-5 1,15 * *", "30 2 31 2 *", f.text())
		case "TimeZone":
			return one(f, "UTC", "", "Europe/Berlin", "Africa/Cairo", "../UTC", "Local", f.text())
		case "Duration":
			return one(f, "30d", "90m", "12h", "1s", "99999d", f.text())
		}
		return f.value(ref, name, depth)
	}
	if kinds := list(s["oneOf"]); len(kinds) > 0 {
		return f.value(at(place, "oneOf", strconv.Itoa(f.IntN(len(kinds)))), name, depth)
	}
	if enum := slices.Concat(list(s["enum"]), list(s["x-extensible-enum"])); len(enum) > 0 {
		return one(f, enum...)
	}
	switch s["type"] {
	case "boolean":
		return f.odd(2)
	case "integer":
		return one(f, 0, 1, 2, 100, 1000, f.IntN(100_000))
	case "array":
		out := make([]any, 1+f.IntN(3))
		for i := range out {
			out[i] = f.value(at(place, "items"), name, depth+1)
		}
		return out
	case "object":
		out := object{}
		for _, p := range d.keys(at(place, "properties")) {
			if slices.Contains(list(s["required"]), any(p)) || f.odd(3) {
				out[p] = f.value(at(place, "properties", p), p, depth+1)
			}
		}
		if f.odd(50) {
			out[f.text()] = f.text()
		}
		return out
	}
	if name == "operation_id" || name == "operation" {
		return f.ids["operations"]
	}
	if pattern, ok := s["pattern"].(string); ok && strings.HasPrefix(pattern, "^[a-z0-9]") {
		return "name"
	}
	return f.text()
}
