package server

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
)

// isolation is a server with data of the project hq, and keys of each role that are bound
// to it. It asks every route of the table, with the parameters and examples of the contract.
type isolation struct {
	*bench
	bound map[access.Role]string
	now   time.Time
	ids   map[string]string // own ids, by the word before {id} in a path
}

// none are ids and a project that do not exist.
var none = map[string]string{
	"operations": "00000000000000000000", "redrives": "00000000000000000000", "cancellations": "00000000000000000000", "recalls": "00000000000000000000", "plans": "00000000000000000000", "access-reviews": "00000000000000000000", "keys": "dk_22222222",
	"sessions": "00000000000000000000", "projects": "nowhere", "schedules": "00000000000000000000",
}

// seed makes an operation that failed and one that starts later, bulk retries and a plan.
// Everything but the ids of projects, operations and so on is the same for each project.
func (s *isolation) seed(project string, unbound bool) map[string]string {
	s.t.Helper()
	name := access.Key{Name: "hr", Role: access.Admin, Projects: []string{project}}
	if unbound {
		name.Projects = nil
	}
	key := s.newKey(name)
	later := fmt.Sprintf(`{"project":%q,"desktops":["d1","d2"],"users":["zoe"],"ticket":"HR-1","not_before":"2199-01-01T00:00:00Z"}`, project)
	for range 2 {
		require.Equal(s.t, http.StatusAccepted, s.do(key, "POST", "/v1/operations", later).status)
	}
	failed := s.failed(project, "d1", "d2", "d3")
	post := func(path, body string) string {
		a := s.do(key, "POST", path, body)
		require.Less(s.t, a.status, 300, a.body)
		return a.json(s.t)["id"].(string)
	}
	ids := map[string]string{"operations": failed.ID, "projects": project, "plans": post("/v1/plans", later)}
	ids["access-reviews"] = post("/v1/access-reviews", `{"since":"1h","project":"`+project+`"}`)
	for _, body := range []string{`{"filter":{"code":"nothing has it"}}`, `{"per_second":1}`, `{"filter":{"project":"` + project + `"},"per_second":1}`} {
		ids["redrives"] = post("/v1/redrives", body)
	}
	ids["cancellations"] = post("/v1/cancellations", `{"filter":{"ticket":"HR-2","project":"`+project+`"},"reason":"x"}`)
	ids["schedules"] = failed.ID // any name that is not taken
	s.scheduled(failed.ID, project)
	ids["recalls"] = post("/v1/recalls", `{"user":"zoe","source":"hr","project":"`+project+`","ticket":"HR-2","reason":"x"}`)
	if unbound {
		post("/v1/redrives", `{"filter":{"project":"`+project+`","code":"nothing"}}`)
	}
	return ids
}

// asked is a request to compare.
type asked struct {
	rt         route
	role       access.Role
	path, body string
	kind       string // of the body
}

func (x asked) String() string {
	return fmt.Sprintf("%s %s as %s: %.300s", x.rt.method, x.path, x.role, x.body)
}

// answers asks a server of its own, whose caches are empty, and gives what it said, without
// what differs each time.
func (s *isolation) answers(all []asked) []string {
	s.t.Helper()
	h := newServer(Config{Store: s.store, Keys: s.keys, Log: zerolog.New(io.Discard), Now: func() time.Time { return s.now }})
	h.pace.seal = 0 // no worker seals what has ended
	srv := httptest.NewServer(h)
	defer srv.Close()
	before := s.url
	defer func() { s.url = before }()
	s.url = srv.URL
	out := make([]string, len(all))
	for i, x := range all {
		var header []string
		if x.kind != "" {
			header = []string{"Content-Type", x.kind}
		}
		path := x.path
		for page := 0; ; page++ {
			a := s.do(s.bound[x.role], x.rt.method, path, x.body, header...)
			require.Less(s.t, page, 2000, "%s has no end", x)
			var p struct {
				Items []json.RawMessage `json:"items"`
				Next  string            `json:"next_page_token"`
			}
			isList := json.Unmarshal([]byte(a.body), &p) == nil && a.status == http.StatusOK
			if x.rt.path == "/v1/audit" && isList { // it has what the key asked before, too
				for _, event := range p.Items {
					if !s.byOwn(event) {
						out[i] += string(event) + "\n"
					}
				}
			} else {
				out[i] += fmt.Sprintf("%d %s\n", a.status, noise.ReplaceAllString(a.body, `"$1":"…"`))
			}
			if !isList || p.Next == "" {
				break
			}
			u, err := url.Parse(x.path)
			require.NoError(s.t, err)
			q := u.Query()
			q.Set("page_token", p.Next)
			u.RawQuery = q.Encode()
			path = u.RequestURI()
		}
	}
	return out
}

// byOwn reports whether an event of the audit log is of one of the bound keys.
func (s *isolation) byOwn(event json.RawMessage) bool {
	var e struct {
		Key string `json:"key_id"`
	}
	require.NoError(s.t, json.Unmarshal(event, &e))
	for _, key := range s.bound {
		if e.Key != "" && strings.HasPrefix(key, e.Key) {
			return true
		}
	}
	return false
}

var noise = regexp.MustCompile(`"(request_id|next_page_token|last_used_at|last_beat|silent_ms)":("[^"]*"|[0-9]+)`)

// gets are requests of all GETs by keys of hq: about hq where they can name a project, with
// each parameter of the contract.
func (s *isolation) gets() (out []asked) {
	d := theContract()
	for _, rt := range routes {
		if rt.method != http.MethodGet {
			continue
		}
		queries := []url.Values{{}}
		for _, p := range d.parameters(rt, "query") {
			name := d.get(at(p, "name")).(string)
			values := map[string][]string{
				"project": {"hq"}, "q": {"zoe", "d1", "HR-1", s.ids["operations"]}, "operation": {s.ids["operations"]}, "user": {"zoe"},
				"ticket": {"HR-1"}, "requested_by": {"hr"}, "source": {"hr"}, "page_size": {"1", "2"}, "code": {"WKS.1"}, "page_token": nil,
				"from": nil, "to": nil,
			}
			list, known := values[name]
			switch kind := d.get(at(p, "schema", "type")); {
			case known:
			case kind == "boolean":
				list = []string{"true", "false"}
			default:
				list = []string{fmt.Sprint(d.get(at(p, "example")))}
			}
			for _, v := range list {
				queries = append(queries, url.Values{name: {v}})
			}
		}
		for _, q := range queries {
			for _, p := range d.parameters(rt, "query") {
				if name := d.get(at(p, "name")).(string); name == "project" && !q.Has("project") {
					q.Set("project", "hq") // a bound key has to name one
				} else if d.get(at(p, "required")) == true && !q.Has(name) {
					q.Set(name, "zoe")
				}
			}
			for role := range s.bound {
				out = append(out, asked{rt: rt, role: role, path: s.path(rt, s.ids) + "?" + q.Encode()})
			}
		}
	}
	return out
}

// path is fill with the alias and the names of this data.
func (s *isolation) path(rt route, ids map[string]string) string {
	return fill(route{path: strings.NewReplacer("{desktop}", "d1", "{name}", "zoe").Replace(rt.path)}, ids)
}

// A key that is bound to a project gets the same answers, byte by byte, whatever happens
// in other projects: totals, pages, empty lists.
func TestOtherProjectsChangeNoAnswer(t *testing.T) {
	t.Parallel()
	s := newIsolation(t)
	asks := s.gets()
	before := s.answers(asks)
	s.seed("branch", false)
	s.seed("branch", true)
	for i, after := range s.answers(asks) {
		require.Equal(t, before[i], after, "%s", asks[i])
	}
	require.Greater(t, len(asks), 4*len(routes)/2)
}

// What belongs to another project, and what does not exist, get the same answers, and
// nothing of the other project changes.
func TestOtherProjectsAreAsIfTheyWereNot(t *testing.T) {
	t.Parallel()
	s := newIsolation(t)
	theirs := s.seed("branch", false)
	theirs["keys"] = s.key[access.Admin][:len("dk_22222222")]
	look := func() (out []string) {
		for _, path := range []string{
			"/v1/operations?project=branch", "/v1/failures?project=branch", "/v1/failures:count?project=branch", "/v1/projects",
			"/v1/redrives/" + theirs["redrives"], "/v1/schedules/" + theirs["schedules"], "/v1/operations/" + theirs["operations"] + "/desktops",
		} {
			a := s.do(s.key[access.Admin], "GET", path, "")
			require.Equal(t, http.StatusOK, a.status, a.body)
			out = append(out, noise.ReplaceAllString(a.body, ""))
		}
		return out
	}
	before := look()
	var real, unreal []asked
	n := 0
	for _, rt := range routes {
		for _, x := range s.examples(rt) {
			for role := range s.bound {
				x.role = role
				for _, word := range slices.Sorted(maps.Keys(none)) {
					a, b := s.about(x, word, theirs[word]), s.about(x, word, none[word])
					if a.path != b.path || a.body != b.body {
						real, unreal = append(real, a), append(unreal, b)
					}
				}
			}
		}
	}
	got, want := s.answers(real), s.answers(unreal)
	for i := range real {
		a, b := got[i], want[i]
		for _, word := range slices.Sorted(maps.Keys(none)) {
			if theirs[word] != "" {
				a, b = strings.ReplaceAll(a, theirs[word], "…"), strings.ReplaceAll(b, none[word], "…")
			}
		}
		matchedNothing := (real[i].rt.path == "/v1/redrives" || real[i].rt.path == "/v1/cancellations") && strings.HasPrefix(a, "202")
		if matchedNothing || real[i].rt.path == "/v1/recalls" && strings.HasPrefix(a, "201") {
			a, b = ids.ReplaceAllString(a, "…"), ids.ReplaceAllString(b, "…")
		}
		require.Equal(t, b, a, "%s\n%s", real[i], unreal[i])
		n++
	}
	require.Greater(t, n, 200)
	require.Equal(t, before, look(), "the other project is as it was")
}

var ids = regexp.MustCompile(`[0-9a-v]{20}|\d{4}-\d\d-\d\dT[0-9:.]+Z`)

// examples are the requests of a route: its path with own ids, each of its parameters that can name
// something of a project, and each body of the contract.
func (s *isolation) examples(rt route) (out []asked) {
	d := theContract()
	path := s.path(rt, s.ids)
	out = append(out, asked{rt: rt, path: path})
	for _, p := range d.parameters(rt, "query") {
		switch name := d.get(at(p, "name")).(string); name {
		case "project":
			out = append(out, asked{rt: rt, path: path + "?project=hq"})
		case "operation":
			out = append(out, asked{rt: rt, path: path + "?project=hq&operation=" + s.ids["operations"]})
		case "q":
			out = append(out, asked{rt: rt, path: path + "?q=" + s.ids["operations"]}, asked{rt: rt, path: path + "?q=" + s.ids["redrives"]})
		}
	}
	body := d.follow(at(operationOf(rt), "requestBody"))
	for _, kind := range d.keys(at(body, "content")) {
		for _, name := range d.keys(at(body, "content", kind, "examples")) {
			x := d.get(at(body, "content", kind, "examples", name)).(object)
			to := path
			if q, ok := x["x-query"].(string); ok {
				to += "?" + q
			}
			text, ok := x["value"].(string)
			if !ok {
				raw, err := json.Marshal(x["value"])
				require.NoError(s.t, err)
				text = string(raw)
			}
			text = strings.NewReplacer(theOperation, s.ids["operations"], "38a2aed1-cdca-43dd-9ece-10ce83b1d8a2", "d1").Replace(text)
			out = append(out, asked{rt: rt, path: to, body: text, kind: kind})
		}
	}
	if rt.method == http.MethodPost && (rt.path == "/v1/redrives" || rt.path == "/v1/failures:dismiss") {
		for _, filter := range []string{`{"project":"hq"}`, `{"operation":"` + s.ids["operations"] + `"}`} {
			out = append(out, asked{rt: rt, path: path, body: `{"filter":` + filter + `,"reason":"x"}`, kind: "application/json"})
		}
	}
	if rt.method == http.MethodPost && rt.path == "/v1/cancellations" {
		out = append(out, asked{rt: rt, path: path, body: `{"filter":{"project":"hq","ticket":"HR-1"},"reason":"x"}`, kind: "application/json"})
	}
	return out
}

// about is a request about something else: of the words before {id}, or the project.
func (s *isolation) about(x asked, word, id string) asked {
	if own := s.ids[word]; own != "" && id != "" {
		for _, p := range []*string{&x.path, &x.body} {
			if word == "projects" { // an alias is a short word
				*p = regexp.MustCompile(`\b`+own+`\b`).ReplaceAllString(*p, id)
			} else {
				*p = strings.ReplaceAll(*p, own, id)
			}
		}
	}
	return x
}

func newIsolation(t *testing.T) *isolation {
	t.Helper()
	s := &isolation{bench: newBench(t), bound: map[access.Role]string{}, now: time.Now()}
	for _, role := range access.Roles {
		s.bound[role] = s.newKey(access.Key{Name: "hr", Role: role, Projects: []string{"hq"}})
	}
	s.ids = s.seed("hq", false)
	s.ids["keys"] = s.bound[access.Viewer][:len("dk_22222222")]
	return s
}
