package dashboard_test

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/dashboard"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// guarded fails the test if an answer lacks a security header.
func (a answer) guarded(t *testing.T, name string) {
	t.Helper()
	policy := map[string]string{}
	for part := range strings.SplitSeq(a.header.Get("Content-Security-Policy"), ";") {
		what, from, _ := strings.Cut(strings.TrimSpace(part), " ")
		policy[what] = from
	}
	require.Equal(t, map[string]string{
		"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'", "connect-src": "'self'",
		"form-action": "'self'", "frame-ancestors": "'none'", "base-uri": "'none'",
	}, policy, name)
	require.Equal(t, "nosniff", a.header.Get("X-Content-Type-Options"), name)
	require.Equal(t, "same-origin", a.header.Get("Cross-Origin-Opener-Policy"), name)
	require.Equal(t, "same-origin", a.header.Get("Cross-Origin-Resource-Policy"), name)
	require.Equal(t, "same-origin", a.header.Get("Referrer-Policy"), name)
	require.Len(t, a.header.Values("Content-Security-Policy"), 1, name)
}

// Every answer has the security headers, errors and redirects too.
func TestEveryAnswerIsGuarded(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for _, role := range []access.Role{"", access.Viewer, access.Admin} {
		for _, rt := range dashboard.Routes() {
			session := ""
			if role != "" {
				session = s.session(role)
			}
			got := s.do(rt.Method, somewhere(rt), session, nil)
			name := fmt.Sprintf("%s %s as %q", rt.Method, rt.Path, role)
			got.guarded(t, name)
			require.Equal(t, "no-store", got.header.Get("Cache-Control"), name)
		}
	}
	session := s.session(access.Admin)
	for name, got := range map[string]answer{
		"another method":    s.do("PUT", "/operations", session, nil),
		"no method at all":  s.do("BREW", "/", session, nil),
		"a path to tidy":    s.get("//evil.example/../x", session),
		"a bad filter":      s.get("/operations?from=x", session),
		"a bad query":       s.get("/operations?project=%zz;x", session),
		"a refused key":     s.post("/signin", "", "key", "dk_nonsense"),
		"an asset":          s.get(asset(s), ""),
		"a cross-site form": s.do("POST", "/signout", session, nil, "Sec-Fetch-Site", "cross-site"),
	} {
		got.guarded(t, name)
	}
	require.NotContains(t, s.get("//evil.example/x", session).header.Get("Location"), "//evil.example")
}

// asset returns the URL of an asset, as pages have it.
func asset(s *stage) string {
	_, after, _ := strings.Cut(s.get("/signin", "").body, `href="/assets/style`)
	name, _, _ := strings.Cut(after, `"`)
	return "/assets/style" + name
}

// Requests that another site makes a browser send are refused and change nothing.
func TestCrossSite(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	session := s.session(access.Admin)
	op := s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-1"}})
	s.schedule(yearly)
	all, err := s.keys.List(t.Context())
	require.NoError(t, err)
	before := s.all()
	forms := map[string][]string{
		"/signin": {"key", "dk_x"}, "/keys": {"name", "evil", "role", "admin"}, "/projects/{alias}/pause": {"reason", "evil"},
		"/redrives": {"which", "all"}, "/dismissals": {"which", "all", "reason", "r"},
		"/recall":       {"user", "zoe", "reason", "evil"},
		"/schedule/new": {"name", "evil", "project", "hq", "cron", "@daily", "users", "zoe", "do", "show"},
		"/new":          {"plan", `[{"project":"hq","desktops":["evil"]}]`, "hash", "", "key", "k"},
	}
	n := 0
	for _, rt := range dashboard.Routes() {
		if rt.Method != "POST" {
			continue
		}
		id := op.ID
		if strings.HasPrefix(rt.Path, "/keys") {
			id = all[0].ID
		}
		path := strings.NewReplacer("{id}", id, "{alias}", "hq", "{name}", "yearly").Replace(rt.Path)
		for _, from := range [][]string{
			{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"},
			{"Sec-Fetch-Site", "cross-site", "Origin", s.url},
		} {
			body, kind := multi(forms[rt.Path]...)
			if !strings.HasPrefix(rt.Path, "/new") {
				body, kind = bytes.NewBufferString(form(forms[rt.Path]...)), "application/x-www-form-urlencoded"
			}
			got := s.do("POST", path, session, body, append(from, "Content-Type", kind)...)
			require.Equal(t, http.StatusForbidden, got.status, "%s from %v", path, from)
			require.Contains(t, got.body, "a page of another site sent this; nothing was changed")
			require.Empty(t, got.header.Values("Set-Cookie"))
			got.guarded(t, path)
			n++
		}
	}
	require.Equal(t, 34*5, n)
	require.Equal(t, before, s.all(), "nothing was done")
	require.Equal(t, http.StatusOK, s.get("/", session).status, "and the visitor is still signed in")

	// The same request from our own page succeeds.
	got := s.do("POST", "/projects/hq/pause", session, strings.NewReader("reason=ours"), "Content-Type", "application/x-www-form-urlencoded",
		"Sec-Fetch-Site", "same-origin", "Origin", s.url)
	require.Equal(t, http.StatusSeeOther, got.status)
	require.NotEqual(t, before, s.all())
}

// Following a link never changes anything, whatever its parameters. Only the audit log grows,
// by the downloads.
func TestLooking(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	session := s.session(access.Admin)
	x := s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-1"}})
	s.schedule(yearly)
	before, events := s.all(), len(s.audit())
	require.NotEmpty(t, before)
	for _, rt := range dashboard.Routes() {
		path := strings.NewReplacer("{$}", "", "{id}", x.ID, "{alias}", "hq", "{name}", "yearly", "{file}", "style.css").Replace(rt.Path)
		for _, query := range []string{"", "?" + form("id", "d-1", "q", "d-1", "format", "csv", "which", "all", "confirm", "1", "reason", "x",
			"list", "d-1", "method", "POST")} {
			for _, method := range []string{"GET", "HEAD"} {
				s.do(method, path+query, session, nil)
			}
		}
	}
	after, log := s.all(), s.store.Prefix+":{audit}:log"
	delete(before, log)
	delete(after, log)
	require.Equal(t, before, after)
	for _, e := range s.audit()[events:] {
		require.Equal(t, tasks.AuditPersonalData, e.Action)
	}
}

func TestCookie(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	key := s.key(access.Operator)
	got := s.post("/signin", "", "key", " "+key+"\n")
	require.Equal(t, http.StatusSeeOther, got.status)
	require.Equal(t, "/", got.header.Get("Location"))
	c := got.cookie("__Host-detachd")
	require.NotNil(t, c)
	require.NotContains(t, key, c.Value)
	require.Equal(t, int(access.SessionLasts/time.Second), c.MaxAge)
	notice := s.post("/projects/hq/pause", c.Value, "reason", "x").cookie("__Host-detachd-notice")
	require.NotNil(t, notice)
	out := s.post("/signout", c.Value)
	require.Equal(t, "/signin", out.header.Get("Location"))
	gone := out.cookie("__Host-detachd")
	require.NotNil(t, gone)
	require.Negative(t, gone.MaxAge)
	for _, c := range []*http.Cookie{c, notice, gone} {
		require.True(t, c.HttpOnly && c.Secure, c.Raw)
		require.Equal(t, http.SameSiteLaxMode, c.SameSite, c.Raw)
		require.Equal(t, "/", c.Path, c.Raw)
		require.Empty(t, c.Domain, c.Raw)
	}
	require.Equal(t, http.StatusSeeOther, s.get("/operations", c.Value).status, "it is over in Redis, too")
	for name, value := range s.all() {
		require.NotContains(t, name+value, c.Value, "it is stored hashed")
	}
	require.NotContains(t, s.log.String(), key)
	require.NotContains(t, s.log.String(), c.Value)
	refused := s.post("/signin", "", "key", "dk_nonsense")
	require.Equal(t, http.StatusUnauthorized, refused.status)
	require.Nil(t, refused.cookie("__Host-detachd"))
	require.NotContains(t, refused.body, "dk_nonsense")
	require.NotContains(t, s.log.String(), "dk_nonsense", "it may be a key with a slip of the pen")
}

// A session ends when its key is revoked, and a refreshing page learns it.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	secret, key, err := s.keys.Create(t.Context(), access.Key{Name: "desk", Role: access.Viewer})
	require.NoError(t, err)
	session, _, err := s.keys.SignIn(t.Context(), string(secret), access.Browser{})
	require.NoError(t, err)
	refreshes := []string{"Detachd-Refresh", "1"}
	require.Equal(t, http.StatusOK, s.get("/", string(session)).status)
	require.Equal(t, http.StatusOK, s.do("GET", "/", string(session), nil, refreshes...).status)
	name := ""
	for _, found := range s.rdb.Keys(t.Context(), "*:access:session:*").Val() {
		name = found
	}
	require.NoError(t, s.rdb.Expire(t.Context(), name, time.Minute).Err())
	s.do("GET", "/", string(session), nil, refreshes...)
	require.LessOrEqual(t, s.rdb.TTL(t.Context(), name).Val(), time.Minute, "an open page does not extend the session")
	s.get("/", string(session))
	require.Greater(t, s.rdb.TTL(t.Context(), name).Val(), time.Minute)
	_, err = s.keys.Revoke(t.Context(), key.ID)
	require.NoError(t, err)
	got := s.get("/failures?code=a%26b", string(session))
	require.Equal(t, http.StatusSeeOther, got.status)
	require.Equal(t, "/signin?to=%2Ffailures%3Fcode%3Da%2526b", got.header.Get("Location"))
	require.Equal(t, http.StatusUnauthorized, s.do("GET", "/", string(session), nil, refreshes...).status)
	require.Equal(t, "/signin?unsent=1", s.post("/projects/hq/pause", string(session), "reason", "x").header.Get("Location"),
		"an action is not repeated later")
}

// Signing in leads only to our own pages.
func TestWhereSigningInLeads(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	key := s.key(access.Viewer)
	for to, want := range map[string]string{
		"": "/", "/": "/", "/operations?open=1": "/operations?open=1", "/desktop?id=a%2Fb": "/desktop?id=a%2Fb",
		"/search?q=//evil.example": "/search?q=//evil.example",
		"//evil.example":           "/", "///evil.example": "/", `/\evil.example`: "/", `\\evil.example`: "/", "https://evil.example": "/",
		"https:evil.example": "/", "HTTPS:/evil.example": "/",
		"/\t/evil.example": "/", "\t//evil.example": "/", " //evil.example": "/", "/\n/evil.example": "/", "/\r\nSet-Cookie: a=b": "/",
		"javascript:alert(1)": "/",
		"data:text/html,x":    "/", "evil.example": "/", "@evil.example": "/", "/%zz": "/", "?x": "/", "#x": "/", "/\x00/evil.example": "/",
	} {
		got := s.post("/signin", "", "key", key, "to", to)
		require.Equal(t, http.StatusSeeOther, got.status, to)
		require.Equal(t, want, got.header.Get("Location"), to)
		page := s.get("/signin?"+form("to", to), "")
		require.Contains(t, page.body, `name="to" value="`+want+`"`, to)
	}
}

// counted counts the bytes that are read.
type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += n
	return n, err
}

// same repeats one byte for ever.
type same byte

func (s same) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(s)
	}
	return len(b), nil
}

// Forms that are too large are not read to the end, and faults are named.
func TestFormsThatCannotBeTaken(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	session := s.session(access.Admin)
	before := s.all()
	const urlencoded = "application/x-www-form-urlencoded"
	const parts = "multipart/form-data; boundary=b"
	begins := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\n"
	repeat := func(n int, of func(int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(of(i))
		}
		return b.String()
	}
	inPart := func(text string) string { return begins + text + "\r\n--b--\r\n" }
	for _, x := range []struct {
		name, path, kind, body string
		status                 int
		says                   string
	}{
		{"8 MiB and one byte", "/new/plan", parts, inPart(strings.Repeat("x", 8<<20+1)), 413, "the form is too large, and nothing was changed"},
		{"the same as a plan", "/new", parts, inPart(strings.Repeat("x", 8<<20+1)), 413, "the form is too large, and nothing was changed"},
		{"1 MiB and one byte", "/redrives/preview", urlencoded, strings.Repeat("x", 1<<20+1), 413,
			"the form is too large, and nothing was changed"},
		{"the same for a project", "/projects/hq/pause", urlencoded, "reason=" + strings.Repeat("x", 1<<20), 413,
			"the form is too large, and nothing was changed"},
		{"the same for a bulk retry", "/redrives", urlencoded, "code=" + strings.Repeat("x", 1<<20), 413,
			"the form is too large, and nothing was changed"},
		{"the same for a key", "/keys", urlencoded, strings.Repeat("x", 1<<20+1), 413, "the form is too large, and nothing was changed"},
		{"a key of 16 KiB", "/signin", urlencoded, "key=" + strings.Repeat("x", 16<<10), 413, "the form is too large, and nothing was changed"},
		{"100,001 rows", "/new/plan", parts, inPart("desktop_id,project\n" + repeat(100_001,
			func(i int) string { return fmt.Sprintf("d-%d,hq\n", i) })), 400, "more than 100000 desktops of project hq: split the list"},
		{"100,001 users", "/new/plan", parts, inPart("user,project\n" + repeat(100_001,
			func(i int) string { return fmt.Sprintf("u-%d,hq\n", i) })), 400, "of project hq: split the list"},
		{"as many rows that are wrong", "/new/plan", parts, inPart("desktop_id,project\n" + strings.Repeat("d,nowhere\n", 100_001)), 400,
			"100,001 errors"},
		{"10,000 boxes", "/redrives/preview", urlencoded, "which=picked" + repeat(10_000,
			func(i int) string { return fmt.Sprintf("&pick=op/d-%d", i) }), 400, "the form could not be read"},
		{"a box twice", "/redrives/preview", urlencoded, "which=picked&pick=a/b&pick=a/b", 400, "is the same as"},
		{"boxes that name nothing", "/redrives/preview", urlencoded, "which=picked&pick=nonsense", 400, "a selected row names no desktop"},
		{"no box", "/redrives/preview", urlencoded, "which=picked", 400, "no desktop is selected"},
		{"a list that breaks off", "/new/plan", parts, begins + "desktop_id\nd-1", 400, "the form could not be read"},
		{"parts without an end", "/new/plan", "multipart/form-data", inPart("x"), 400, "the form could not be read"},
		{"no parts at all", "/new/plan", urlencoded, "list=d-1", 400, "the form could not be read"},
		{"a head without end", "/new/plan", parts, "--b\r\nX: " + strings.Repeat("x", 7<<20) + "\r\n\r\n", 400, "the form could not be read"},
		{"50,000 parts", "/new/plan", parts, strings.Repeat("--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n",
			50_000) + "--b--\r\n", 400, "the form could not be read"},
		{"a file and a list", "/new/plan", parts, begins + "d-1\r\n--b\r\nContent-Disposition: form-data; name=\"list\"\r\n\r\nd-2\r\n--b--\r\n",
			400, "select a file or paste a list, not both"},
		{"escapes that are none", "/keys", urlencoded, "name=%zz", 400, "the form could not be read"},
		{"escapes for a project", "/projects/hq/pause", urlencoded, "reason=%zz", 400, "the form could not be read"},
		{"escapes for a bulk retry", "/redrives", urlencoded, "which=all&code=%zz", 400, "the form could not be read"},
		{"a key that says nothing", "/keys", urlencoded, "", 400, "is not 1 to 40 lower-case letters"},
		{"an unknown role", "/keys", urlencoded, "name=a&role=root", 400, "is not a role"},
		{"a time that is none", "/keys", urlencoded, "name=a&role=viewer&expires_at=someday", 400, "invalid time"},
		{"a project that is none", "/keys", urlencoded, "name=a&role=viewer&project=nowhere", 400, "there is no such project"},
		{"minutes that are none", "/projects/hq/pause", urlencoded, "reason=x&minutes=soon", 400, "is not a whole number"},
		{"minutes below nothing", "/projects/hq/pause", urlencoded, "reason=x&minutes=-1", 400, "is not 0 to"},
		{"minutes for ever", "/projects/hq/pause", urlencoded, "reason=x&minutes=153722867280912931", 400, "minutes"},
		{"more minutes than fit", "/projects/hq/pause", urlencoded, "reason=x&minutes=99999999999999999999", 400, "is not a whole number"},
		{"no project", "/projects/nowhere/pause", urlencoded, "reason=x", 404, "there is no such project"},
		{"an invalid rate", "/redrives", urlencoded, "which=all&reason=x&per_second=fast", 400, "is not a whole number"},
		{"a rate that is too high", "/redrives", urlencoded, "which=all&reason=x&per_second=10001", 400, "is not 0 to 10000"},
		{"a number that is none", "/redrives", urlencoded, "which=all&matched=many", 400, "is not a whole number"},
		{"a filter that is none", "/redrives/preview", urlencoded, "which=all&from=x", 400, "invalid time"},
	} {
		got := s.do("POST", x.path, session, strings.NewReader(x.body), "Content-Type", x.kind)
		require.Equal(t, x.status, got.status, "%s: %s", x.name, cut(got.body))
		require.Contains(t, got.body, x.says, x.name)
		require.Contains(t, got.body, "</html>", "%s: a whole page", x.name)
		require.Less(t, len(got.body), 1<<20, x.name)
		got.guarded(t, x.name)
	}
	for plan, says := range map[string]string{
		"": "the plan is not valid", "{}": "the plan is not valid", "[]": "the plan is not valid", "[1]": "the plan is not valid",
		`[{"project":1}]`: "the plan is not valid", `[{"project":"hq","desktops":"x"}]`: "the plan is not valid",
		strings.Repeat("[", 100_000): "the plan is not valid",
		`[{"project":"hq"}]`:         "name at least one desktop", `[{"project":"nowhere","desktops":["x"]}]`: "is not a configured project",
		`[{"project":"hq","desktops":["x","x"]}]`: "is the same desktop as",
	} {
		got := s.postMulti("/new", session, "plan", plan, "hash", "", "key", "k")
		require.Equal(t, http.StatusBadRequest, got.status, cut(plan))
		require.Contains(t, got.body, says, cut(plan))
	}
	require.Equal(t, http.StatusBadRequest, s.postMulti("/new", session, "plan", `[{"project":"hq","desktops":["x"]}]`, "hash", "").status,
		"without a key that makes sending it twice harmless")
	require.Equal(t, http.StatusBadRequest, s.postMulti("/new", session, "plan", `[{"project":"hq","desktops":["x"]}]`, "key", "k").status,
		"without saying what the plan showed")
	require.Equal(t, before, s.all(), "nothing was done")
}

func cut(s string) string { return s[:min(len(s), 3000)] }

// Reading of an endless body stops once it is too large.
func TestFormsWithoutEnd(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	session := s.session(access.Admin)
	for path, most := range map[string]int{"/new/plan": 8 << 20, "/new": 8 << 20, "/redrives": 1 << 20, "/signin": 1 << 20, "/keys": 1 << 20,
		"/projects/hq/pause": 1 << 20} {
		from, to := io.Pipe()
		body := &counted{Reader: same('x')}
		w := multipart.NewWriter(to)
		kind := "application/x-www-form-urlencoded"
		if strings.HasPrefix(path, "/new") {
			kind = w.FormDataContentType()
		}
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			out := io.Writer(to)
			if strings.HasPrefix(path, "/new") {
				out, _ = w.CreateFormFile("file", "a.csv")
			}
			_, _ = io.Copy(out, io.LimitReader(body, 1<<30)) // until the reader stops
		}()
		req, err := http.NewRequestWithContext(t.Context(), "POST", s.url+path, from)
		require.NoError(t, err)
		req.AddCookie(&http.Cookie{Name: "__Host-detachd", Value: session})
		req.Header.Set("Content-Type", kind)
		if resp, err := direct.Do(req); err == nil { // or it was cut off
			require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode, path)
			require.NoError(t, resp.Body.Close())
		}
		_ = from.Close()
		<-sent
		require.Less(t, body.n, most+(8<<20), "%s: buffers on the way are all that is read beyond", path)
	}
}

// Meaningless parameters give an error page and never a crash.
func TestParametersThatMakeNoSense(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	session := s.session(access.Admin)
	op := s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-1"}})
	long := strings.Repeat("x", 10_000)
	for path, status := range map[string]int{
		"/operations?from=x": 400, "/operations?to=" + long: 400, "/operations?page_token=x": 400, "/operations?project=nowhere": 200,
		"/operations?open=nonsense":              200,
		"/operations/" + op.ID + "?state=broken": 400, "/operations/" + op.ID + "?page_token=x": 400,
		"/operations/" + op.ID + "?code=" + long:       200,
		"/operations/" + op.ID + "/calls?page_token=x": 400, "/operations/" + op.ID + "/calls?page_token=-5": 200,
		"/operations/" + op.ID + "/calls?page_token=99999999": 200,
		"/operations/" + op.ID + "/report":                    400, "/operations/" + op.ID + "/report?format=exe": 400,
		"/operations/nowhere/report?format=csv": 404,
		"/operations/..%2f..%2fkeys":            404, "/operations/%2e%2e": 404, "/operations/a%00b": 404, "/operations/" + long: 404,
		"/failures?by=nonsense": 200, "/failures?from=x": 400, "/failures?page_token=x": 400, "/failures?code=" + long: 200,
		"/failures.csv?from=x":   400,
		"/redrives?page_token=x": 400, "/redrives/x": 404, "/redrives/x?page_token=x": 404, "/search?q=" + long: 200,
		"/search?only=desktops&q=x&page_token=x": 400, "/person?name=x&page_token=x": 400, "/person": 400, "/person?name=%0a": 400, "/?range=2d": 400, "/search?q=%00%ff": 200,
		"/desktop": 400, "/desktop?id=": 400, "/desktop?id=" + long: 400, "/desktop?id=..": 200, "/desktop?id=%2e%2e%2fkeys": 200,
		"/desktop?id=a%3Apause": 200,
		"/new?list=" + long:     200, "/nowhere": 404, "/assets/x.css": 404, "/assets/..%2fdashboard.go": 404,
	} {
		got := s.get(path, session)
		require.Equal(t, status, got.status, "%s: %s", cut(path), cut(got.body))
		require.Contains(t, got.body, "</html>", path)
		got.guarded(t, path)
	}
}
