package fakecloud_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

// users gives the names that GET users lists, what each says of desktops, and the
// total.
func (c *cloud) users(query string) (names []string, desktops map[string]int, total int) {
	c.t.Helper()
	got := c.get("/users" + query)
	require.Equal(c.t, 200, got.status, got.body)
	var body struct {
		Users []struct {
			ID       string `json:"id"`
			Name     string `json:"user_name"`
			Domain   string `json:"domain"`
			Desktops int    `json:"total_desktops"`
		} `json:"users"`
		Total int `json:"total_count"`
	}
	require.NoError(c.t, json.Unmarshal([]byte(got.body), &body))
	desktops = map[string]int{}
	for _, u := range body.Users {
		require.NotEmpty(c.t, u.ID)
		names = append(names, u.Name+"@"+u.Domain)
		desktops[u.Name+"@"+u.Domain] = u.Desktops
	}
	return names, desktops, body.Total
}

// Workspace knows who has, or had, a desktop, and whom it was told of.
func TestUsersOfAProject(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{})
	c.Add(proj,
		fakecloud.Desktop{ID: "a", Users: []fakecloud.User{{Name: "ann", Domain: "d"}}, AfterDetach: []fakecloud.User{{Name: "heir"}}},
		fakecloud.Desktop{ID: "b", Type: fakecloud.Shared, Users: []fakecloud.User{{Name: "ann", Domain: "d"}, {Name: "ann"}, {Name: "ops", Type: "GROUP"}}})
	c.AddPeople(proj, fakecloud.Person{Name: "ida", Email: "ida@x.example"}, fakecloud.Person{Name: "ann", Domain: "d", Email: "ann@x.example"})
	names, desktops, total := c.users("")
	require.Equal(t, []string{"ann@d", "ann@", "ida@"}, names, "no group")
	require.Equal(t, map[string]int{"ann@d": 2, "ann@": 1, "ida@": 0}, desktops)
	require.Equal(t, 3, total)
	require.Contains(t, c.get("/users").body, `"user_email":"ann@x.example"`)

	c.detach("a")
	c.Remove(proj, "b")
	names, desktops, _ = c.users("")
	require.Equal(t, []string{"ann@d", "ann@", "ida@", "heir@"}, names, "who had a desktop is still known")
	require.Equal(t, map[string]int{"ann@d": 0, "ann@": 0, "ida@": 0, "heir@": 1}, desktops)

	names, _, total = c.users("?limit=2&offset=1")
	require.Equal(t, []string{"ann@", "ida@"}, names)
	require.Equal(t, 4, total)
	names, _, _ = c.users("?limit=5&offset=9")
	require.Empty(t, names)
	require.Equal(t, 400, c.get("/users?limit=x").status)
	require.Equal(t, 405, c.send("POST", "/v2/"+proj+"/users", "").status)
	require.Equal(t, 404, c.get("/users/id-ann").status)
	require.Equal(t, 7, c.CallsOf(fakecloud.OpUsers, proj), "counted as a kind of its own")
}

func TestUsersOfAutomaticDesktops(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{AutoCreate: true, MaxPage: 2})
	c.detach("a")
	c.get("/desktops/b")
	names, desktops, total := c.users("?limit=100")
	require.Equal(t, []string{"user-a@", "user-b@"}, names)
	require.Equal(t, map[string]int{"user-a@": 0, "user-b@": 1}, desktops)
	require.Equal(t, 2, total)
}

func TestUsersFail(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{Token: "t"})
	require.Equal(t, 401, c.get("/users").status)
	c.Fail(fakecloud.Fault{Op: fakecloud.OpUsers, Status: 403})
	got := c.send("GET", "/v2/"+proj+"/users", "", "X-Auth-Token: t")
	require.Equal(t, 403, got.status)
	require.Contains(t, got.body, "WKS.00081102")
}

func TestComputerNames(t *testing.T) {
	t.Parallel()
	for fuzzy, want := range map[bool][]string{false: {"a", "c"}, true: {"a", "b", "c"}} {
		c := serve(t, fakecloud.Config{FuzzyComputerNames: fuzzy})
		c.Add(proj, fakecloud.Desktop{ID: "a", ComputerName: "PC1"}, fakecloud.Desktop{ID: "b", ComputerName: "pc10"},
			fakecloud.Desktop{ID: "c", ComputerName: "MAC"}, fakecloud.Desktop{ID: "d", ComputerName: "X"})
		ids, total := c.list("computer_names=PC1&computer_names=MAC")
		require.Equal(t, want, ids)
		require.Equal(t, len(want), total)
		require.Equal(t, 400, c.get("/desktops/detail?"+strings.Repeat("computer_names=x&", 101)).status)
	}
}

func TestTagsAndStatuses(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{})
	c.Add(proj, fakecloud.Desktop{ID: "a", Tags: []string{"env=prod", "flag", "a=b=c"}, Status: "ON_FIRE"}, fakecloud.Desktop{ID: "b", Status: fakecloud.Deleted})
	require.Contains(t, c.get("/desktops/a").body, `"tags":[{"key":"env","value":"prod"},{"key":"flag","value":""},{"key":"a","value":"b=c"}]`)
	require.Contains(t, c.get("/desktops/a").body, `"status":"ON_FIRE"`)
	require.Contains(t, c.get("/desktops/b").body, `"tags":[]`)
	require.Contains(t, c.get("/desktops/b").body, `"status":"DELETED"`)
}

func TestAnswersThatAreNotTheAPIs(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{})
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Add(proj, fakecloud.Desktop{ID: "a"})
	c.Fail(fakecloud.WebPage(1, 200), fakecloud.WebPage(1, 503), fakecloud.ProxyLogin(1),
		fakecloud.Redirect(1, "https://login.example.com/"), fakecloud.WrongContent(1))
	for _, want := range []struct {
		status       int
		kind, header string
	}{
		{200, "text/html", ""}, {503, "text/html", ""}, {407, "text/html", "Proxy-Authenticate"}, {302, "text/html", "Location"}, {200, "text/plain", ""},
	} {
		got := c.detach("a")
		require.Equal(t, want.status, got.status)
		require.Equal(t, want.kind, got.header.Get("Content-Type"))
		if want.header != "" {
			require.NotEmpty(t, got.header.Get(want.header))
		}
	}
	require.Zero(t, c.DetachedTimes(proj, "a"), "none of them has reached the service")
	require.Equal(t, 200, c.detach("a").status)
}

// A desktop is in the page that it vanishes after, and not in the next.
func TestDesktopsVanish(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{MaxPage: 2})
	for i := range 4 {
		c.Add(proj, fakecloud.Desktop{ID: strconv.Itoa(i)})
	}
	c.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Calls: []int{1}, Vanish: []string{"0", "nobody"}})
	ids, total := c.list("")
	require.Equal(t, []string{"0", "1"}, ids)
	require.Equal(t, 4, total)
	ids, total = c.list("offset=2")
	require.Equal(t, []string{"3"}, ids, "2 has moved up into the page before")
	require.Equal(t, 3, total)
	_, exists := c.Get(proj, "0")
	require.False(t, exists)
	require.Panics(t, func() { c.Fail(fakecloud.Fault{Vanish: []string{"1"}, Refuse: &fakecloud.Refusal{}}) })

	c.Fail(fakecloud.Fault{Vanish: []string{"1"}, Effect: fakecloud.DropAfter})
	_, err := c.try(t.Context(), "POST", "/v2/"+proj+"/desktops/detach", detachBody("2"))
	require.Error(t, err)
	_, exists = c.Get(proj, "1")
	require.False(t, exists)
	require.Equal(t, fakecloud.Detached, c.state("2"))
}

// A batch that names a domain means nobody else of that name.
func TestDetachByDomain(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{})
	c.Add(proj, fakecloud.Desktop{ID: "a", Type: fakecloud.Shared, Users: []fakecloud.User{{Name: "zoe", Domain: "one"}, {Name: "zoe", Domain: "two"}}})
	c.send("POST", "/v2/"+proj+"/desktops/batch-detach", `{"desktops":[{"desktop_id":"a","detach_user_infos":[{"user_name":"zoe","domain":"two"}]}]}`)
	d, _ := c.Get(proj, "a")
	require.Equal(t, []fakecloud.User{{ID: "id-zoe", Name: "zoe", Domain: "one", Group: "users", Type: "USER"}}, d.Users)
}
