package dashboard_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/dashboard"
)

// somewhere returns a path of a route.
func somewhere(rt dashboard.Route) string {
	return strings.NewReplacer("{$}", "", "{id}", "nowhere", "{name}", "nowhere", "{alias}", "nowhere", "{file}", "style.css").Replace(rt.Path)
}

// Every page and every action, for every role and without sign-in.
func TestEveryRouteAsksForItsRole(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for _, role := range append([]access.Role{""}, access.Roles...) {
		for _, rt := range dashboard.Routes() {
			if rt.Path == "/signout" && role != "" {
				continue // it would end the walk; TestSessionEnds does it
			}
			session := ""
			if role != "" {
				session = s.session(role)
			}
			got := s.do(rt.Method, somewhere(rt), session, nil)
			name := fmt.Sprintf("%s %s as %q: %d", rt.Method, rt.Path, role, got.status)
			switch {
			case rt.Role == "":
				require.NotEqual(t, http.StatusForbidden, got.status, name)
				require.NotEqual(t, http.StatusSeeOther, got.status, name)
			case role == "":
				require.Equal(t, http.StatusSeeOther, got.status, name)
				require.Regexp(t, `^/signin(\?to=|\?unsent=1|$)`, got.header.Get("Location"), name)
				require.NotContains(t, got.body, "<main", "nothing of the page is shown")
			case !role.Includes(rt.Role):
				require.Equal(t, http.StatusForbidden, got.status, name)
				require.Contains(t, got.body, "this needs the role "+string(rt.Role)+", and your key has "+string(role), name)
			default:
				require.NotEqual(t, http.StatusForbidden, got.status, name)
				require.NotContains(t, got.header.Get("Location"), "/signin", name)
			}
		}
	}
}

// matcher finds the route of a link or a form.
func matcher() func(method, path string) dashboard.Route {
	mux := http.NewServeMux()
	all := map[string]dashboard.Route{}
	for _, rt := range dashboard.Routes() {
		pattern := rt.Method + " " + rt.Path
		all[pattern] = rt
		mux.HandleFunc(pattern, func(http.ResponseWriter, *http.Request) {})
	}
	return func(method, path string) dashboard.Route {
		_, pattern := mux.Handler(httptest.NewRequest(method, path, nil))
		return all[pattern]
	}
}

// offered lists the methods and paths of the links and forms of a page.
const offered = `[...document.querySelectorAll("a[href]:not([href^='#'])")].map((a) => "GET " + new URL(a.getAttribute("href"), location).pathname)
	.concat([...document.querySelectorAll("form")].map((f) => f.method.toUpperCase() + " " + new URL(f.getAttribute("action"), location).pathname))`

// Every page offers exactly what the role allows.
func TestRolesAreOfferedWhatTheyMayDo(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	b.expect("403")
	b.expect("400")
	b.expect("404")
	x := s.tell(usual)
	match := matcher()
	actions := map[string]access.Role{
		"POST /new/plan": access.Producer, "POST /operations/{id}/cancel": access.Operator,
		"POST /redrives/preview": access.Operator, "POST /dismissals": access.Operator, "POST /projects/{alias}/pause": access.Operator,
		"POST /projects/{alias}/resume": access.Operator,
		"GET /operations/{id}/undo":     access.Operator, "POST /operations/{id}/undo/preview": access.Operator,
		"POST /operations/{id}/undo":    access.Operator,
		"POST /operations/{id}/approve": access.Approver, "POST /operations/{id}/reject": access.Approver,
		"POST /cancellations": access.Operator, "POST /schedule/new": access.Operator, "POST /schedules/{name}/run": access.Operator,
		"POST /schedules/{name}/unskip": access.Operator, "POST /schedules/{name}/resume": access.Operator,
		"POST /schedules/{name}/remove": access.Operator, "POST /recall": access.Producer,
		"POST /came-back":     access.Producer,
		"POST /projects/stop": access.Admin, "POST /projects/resume": access.Admin,
		"POST /keys": access.Admin, "POST /keys/{id}/revoke": access.Admin,
		"POST /signout": access.Viewer, "GET /search": access.Viewer,
		"GET /failures.csv": access.Viewer,
	}
	for _, role := range access.Roles {
		b.open("/signin")
		b.signIn(s.key(role))
		var seen []string
		for _, p := range x.places() {
			if strings.HasSuffix(p.name, "-none") {
				continue // which offers nothing of its own
			}
			if !role.Includes(access.Operator) && slices.Contains([]string{"preview", "dismissal", "newschedule-wrong", "newschedule-shown"}, p.name) || !role.Includes(access.Producer) &&
				slices.Contains([]string{"plan", "new-wrong", "review"}, p.name) {
				continue // the way there is not offered, as is seen
			}
			p.visit(b)
			for _, what := range value[[]string](b, offered) {
				method, path, _ := strings.Cut(what, " ")
				rt := match(method, path)
				require.NotEmpty(t, rt.Path, "%s on %s leads nowhere", what, p.name)
				if path != "/" {
					require.NotEqual(t, "/", rt.Path, "%s on %s leads nowhere", what, p.name)
				}
				require.True(t, role.Includes(rt.Role) || rt.Role == "", "%s offers %s to a %s", p.name, what, role)
				seen = append(seen, rt.Method+" "+rt.Path)
			}
			picks := strings.HasPrefix(p.name, "failures-") || p.name == "operation" || p.name == "operation-undone"
			require.Equal(t, role.Includes(access.Operator) && picks,
				value[bool](b, `document.querySelector("input[name=pick]:not([type=hidden]), #pick-page") !== null`), "%s: rows to choose, for a %s",
				p.name, role)
		}
		for action, needs := range actions {
			require.Equal(t, role.Includes(needs), slices.Contains(seen, action), "%s is offered to a %s", action, role)
		}
	}
}

// A key for one project shows nothing of other projects on any page, and cannot change
// them.
func TestKeysOfCertainProjects(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	b.expect("404")
	b.expect("403")
	x := s.tell(usual)
	before := s.all()
	session := s.session(access.Admin, "branch")
	b.signIn(s.key(access.Admin, "branch"))
	for _, path := range []string{
		"/", "/operations", "/operations?project=branch", "/operations?requested_by=hr", "/operations/" + x.open.ID,
		"/operations/" + x.open.ID + "/calls", "/failures", "/failures?by=project",
		"/redrives", "/search?q=zoe.leaver", "/search?q=" + x.id(0), "/search?q=frontdesk", "/desktop?id=" + x.id(0), "/new", "/projects",
	} {
		b.open(path)
		html := value[string](b, `document.querySelector("main").innerHTML`)
		require.NotContains(t, html, x.ended.ID, path)
		require.NotContains(t, html, x.redrive.ID, path)
		require.NotContains(t, strings.ReplaceAll(html, "?q="+x.id(0), ""), x.Message, path)
		require.NotRegexp(t, `\bhq\b`, html, path)
		require.Empty(t, value[[]string](b, `[...document.querySelectorAll("a[href='/keys']")].map((a) => a.href)`), "keys concern all projects")
	}
	b.open("/operations")
	b.sees(x.open.ID)
	b.open("/projects")
	b.sees("branch")
	for _, path := range []string{"/operations/" + x.ended.ID, "/operations/" + x.ended.ID + "/calls",
		"/operations/" + x.ended.ID + "/report?format=csv", "/redrives/" + x.redrive.ID} {
		require.Equal(t, http.StatusNotFound, s.get(path, session).status, path)
	}
	for _, path := range []string{"/operations?project=hq", "/failures?project=hq", "/failures.csv?project=hq"} {
		got := s.get(path, session)
		require.Equal(t, http.StatusBadRequest, got.status, path)
		require.NotContains(t, got.body, x.ended.ID, path)
	}
	csv := s.get("/failures.csv", session)
	require.Equal(t, http.StatusOK, csv.status)
	require.Equal(t, 1, strings.Count(csv.body, "\n"), "the header row alone")

	pick := x.ended.ID + "/" + x.id(0)
	preview := s.post("/redrives/preview", session, "which", "picked", "pick", pick)
	require.Contains(t, preview.body, "Nothing to retry matches any more.")
	for path, fields := range map[string][]string{
		"/operations/" + x.ended.ID + "/undo": {"reason", "mine"}, "/operations/" + x.ended.ID + "/undo/preview": {"pick", x.id(17)},
		"/operations/" + x.ended.ID + "/cancel": nil, "/redrives/" + x.redrive.ID + "/abort": nil,
		"/projects/hq/pause": {"reason", "mine"}, "/projects/hq/resume": {"reason", "mine"},
	} {
		require.Equal(t, http.StatusNotFound, s.post(path, session, fields...).status, path)
	}
	require.Equal(t, http.StatusForbidden, s.post("/keys", session, "name", "more", "role", "admin").status)
	require.Equal(t, http.StatusForbidden, s.get("/keys", session).status)
	require.Equal(t, http.StatusForbidden, s.postMulti("/new", session, "plan", `[{"project":"hq","desktops":["x"]}]`, "hash", "", "key", "k").status)
	require.Equal(t, http.StatusBadRequest, s.postMulti("/new/plan", session, "project", "hq", "list", "x").status)
	for name, was := range before {
		if strings.Contains(name, x.ended.ID) {
			require.Equal(t, was, s.all()[name], name)
		}
	}
}
