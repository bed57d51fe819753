package apiclient_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
)

// readings are those that name what they ask for.
var readings = map[string]func(context.Context, *apiclient.Client, []string) ([]apiclient.Desktop, error){
	"desktop_id": func(ctx context.Context, c *apiclient.Client, names []string) ([]apiclient.Desktop, error) {
		return c.Desktops(ctx, names)
	},
	"user_names": func(ctx context.Context, c *apiclient.Client, names []string) ([]apiclient.Desktop, error) {
		return c.DesktopsOf(ctx, names)
	},
	"computer_names": func(ctx context.Context, c *apiclient.Client, names []string) ([]apiclient.Desktop, error) {
		return c.DesktopsNamed(ctx, names)
	},
}

// found answers a list with a desktop for each thing asked for under key.
func found(w http.ResponseWriter, r *http.Request, key string) {
	var items []string
	for _, name := range r.URL.Query()[key] {
		items = append(items, fmt.Sprintf(`{"desktop_id":%q}`, name))
	}
	answer(200, fmt.Sprintf(`{"desktops":[%s],"total_count":%d}`, strings.Join(items, ","), len(items)))(w, r)
}

func hundred(format string) []string {
	names := make([]string, 100)
	for i := range names {
		names[i] = fmt.Sprintf(format, i)
	}
	return names
}

// No reading has a query of more than 6 KiB, and 100 UUIDs fit into one.
func TestReadingsAreShortEnough(t *testing.T) {
	t.Parallel()
	for key, read := range readings {
		for name, test := range map[string]struct {
			format string
			alone  bool
		}{
			"UUIDs":      {"7e0e9be3-061d-4b2f-bd83-%012d", true},
			"wide":       {strings.Repeat("é", 30) + "%03d", false},
			"everything": {"%%&=+/?#ü漢" + strings.Repeat("漢", 20) + "%03d", false},
		} {
			t.Run(key+" "+name, func(t *testing.T) {
				t.Parallel()
				var queries []string
				srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
					queries = append(queries, r.URL.RawQuery)
					found(w, r, key)
				})
				names := hundred(test.format)
				list, err := read(t.Context(), client(t, srv.URL), names)
				require.NoError(t, err)
				require.ElementsMatch(t, names, idsOf(list))
				require.Equal(t, test.alone, len(queries) == 1, "%d requests", len(queries))
				for _, q := range queries {
					require.LessOrEqual(t, len(q), 6<<10)
				}
			})
		}
	}
}

// One name that the cloud does not take is found, and named.
func TestAReadingThatIsRefusedIsHalved(t *testing.T) {
	t.Parallel()
	for key, read := range readings {
		for _, status := range []int{400, 404, 409, 413, 414, 422, 431} {
			t.Run(fmt.Sprint(key, status), func(t *testing.T) {
				t.Parallel()
				requests := 0
				srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
					requests++
					if slices.Contains(r.URL.Query()[key], "d042") {
						answer(status, `{"error_code":"WKS.0001","error_msg":"no"}`)(w, r)
						return
					}
					found(w, r, key)
				})
				_, err := read(t.Context(), client(t, srv.URL), hundred("d%03d"))
				e := fault(t, err)
				require.Equal(t, "d042", e.About)
				require.Equal(t, status, e.Status)
				require.ErrorContains(t, err, "d042")
				require.LessOrEqual(t, requests, 2*7+1)

				rest := slices.DeleteFunc(hundred("d%03d"), func(s string) bool { return s == "d042" })
				list, err := read(t.Context(), client(t, srv.URL), rest)
				require.NoError(t, err)
				require.Len(t, list, 99)
			})
		}
	}
}

// A request that is too long for something on the way is found in parts.
func TestAReadingThatIsTooLongIsReadInParts(t *testing.T) {
	t.Parallel()
	for key, read := range readings {
		srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if len(r.URL.Query()[key]) > 10 {
				answer(414, ``)(w, r)
				return
			}
			found(w, r, key)
		})
		list, err := read(t.Context(), client(t, srv.URL), hundred("d%03d"))
		require.NoError(t, err, key)
		require.ElementsMatch(t, hundred("d%03d"), idsOf(list), key)
	}
}

// What is not about the names is not asked again.
func TestOtherRefusalsAreNotHalved(t *testing.T) {
	t.Parallel()
	for key, read := range readings {
		for name, handler := range map[string]http.HandlerFunc{
			"401": answer(401, `{}`), "403": answer(403, `{"error_code":"WKS.00081102"}`), "429": answer(429, `{}`),
			"500": answer(500, `{}`), "503": answer(503, ``), "302": answer(302, ``), "407": answer(407, ``),
			"a page": answer(404, htmlPage, "Content-Type", "text/html"), "nonsense": answer(200, `{}`),
		} {
			requests := 0
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) { requests++; handler(w, r) })
			_, err := read(t.Context(), client(t, srv.URL), hundred("d%03d"))
			require.Empty(t, fault(t, err).About, "%s %s", key, name)
			require.Equal(t, 1, requests, "%s %s", key, name)
		}
	}
}

// IAM refuses the password, whatever was to be read: that must not be asked twice.
func TestARefusalByIAMIsNotHalved(t *testing.T) {
	t.Parallel()
	idp := serve(t, answer(400, `{"error":{"code":400,"message":"no"}}`))
	srv := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("sent") })
	c := client(t, srv.URL, func(c *apiclient.Config) { c.Auth = passwordToken(t, idp.URL, newClock()) })
	_, err := c.Desktops(t.Context(), []string{"d1"})
	require.Empty(t, fault(t, err).About)
	require.True(t, fault(t, err).AuthFault)
}

// fake is a client of a fake cloud.
func fake(t *testing.T, cfg fakecloud.Config) (*fakecloud.Server, *apiclient.Client) {
	t.Helper()
	srv, err := fakecloud.Serve(cfg, "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	return srv, client(t, srv.URL, func(c *apiclient.Config) { c.Endpoint = srv.URL })
}

// Desktops that vanish between two pages move the others up. None of these may be
// taken for missing, wherever the border of the pages was, whoever is asked for.
func TestDesktopsThatVanishBetweenPages(t *testing.T) {
	t.Parallel()
	ids := []string{"a", "b", "c", "d", "e", "f", "g"}
	users := []fakecloud.User{{Name: "zoe"}}
	for size := 2; size <= 4; size++ {
		for after := 1; after <= 3; after++ {
			for n := 1; n <= 3; n++ {
				for _, second := range []int{0, 1, 4} { // another one, in the list that is begun again
					name := fmt.Sprintf("%d of pages of %d, after page %d, and again after %d", n, size, after, second)
					want := ids[n:]
					cloud, c := fake(t, fakecloud.Config{MaxPage: size})
					for _, id := range ids {
						cloud.Add(project, fakecloud.Desktop{ID: id, ComputerName: "PC", Users: users})
					}
					cloud.Add(project, fakecloud.Desktop{ID: "x", Users: users, ComputerName: "PC"})
					vanish := func(at int, which ...string) {
						cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Calls: []int{at}, Vanish: which})
					}
					vanish(after, ids[:n]...)
					if second > 0 {
						vanish(after+second, "x")
					}
					read := func(desktops []apiclient.Desktop, err error) {
						require.NoError(t, err, name)
						got := idsOf(desktops)
						for _, id := range want {
							require.Contains(t, got, id, name)
						}
					}
					switch size {
					case 2:
						read(c.Desktops(t.Context(), ids))
					case 3:
						read(c.DesktopsOf(t.Context(), []string{"zoe"}))
					default:
						read(c.DesktopsNamed(t.Context(), []string{"PC"}))
					}
					cloud.Close()
				}
			}
		}
	}
}

// Whatever vanishes whenever: who exists all the time is in the result, or there is
// an error.
func TestNoReadingLosesWhoIsThere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(2, 5).Draw(rt, "page")
		n := rapid.IntRange(1, 14).Draw(rt, "desktops")
		cloud, c := fake(t, fakecloud.Config{MaxPage: size})
		defer cloud.Close()
		var ids []string
		for i := range n {
			ids = append(ids, fmt.Sprintf("d%02d", i))
			cloud.Add(project, fakecloud.Desktop{ID: ids[i], ComputerName: "PC", Users: []fakecloud.User{{Name: "zoe"}}})
		}
		stays := map[string]bool{}
		for _, id := range ids {
			stays[id] = true
		}
		for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom(ids), 0, min(n, 4), rapid.ID[string]).Draw(rt, "vanishing") {
			stays[id] = false
			cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Calls: []int{rapid.IntRange(1, 12).Draw(rt, "after")}, Vanish: []string{id}})
		}
		key := rapid.SampledFrom([]string{"desktop_id", "user_names", "computer_names"}).Draw(rt, "by")
		names := map[string][]string{"desktop_id": ids, "user_names": {"zoe"}, "computer_names": {"PC"}}[key]
		list, err := readings[key](t.Context(), c, names)
		if err != nil {
			require.ErrorContains(rt, err, "the list changed")
			return
		}
		got := idsOf(list)
		for id, is := range stays {
			if is {
				require.Contains(rt, got, id)
			}
		}
	})
}

func TestDesktopsNamedAsksByComputer(t *testing.T) {
	t.Parallel()
	var got *http.Request
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Clone(t.Context())
		answer(200, `{"desktops":[{"desktop_id":"d1","computer_name":"PC-1"},{"desktop_id":"d2","computer_name":"PC-10"}],"total_count":2}`)(w, r)
	})
	list, err := client(t, srv.URL).DesktopsNamed(t.Context(), []string{"PC-1", "a b&c"})
	require.NoError(t, err)
	require.Equal(t, "GET "+apiPath+"/desktops/detail", got.Method+" "+got.URL.Path)
	require.Equal(t, []string{"PC-1", "a b&c"}, got.URL.Query()["computer_names"])
	require.Equal(t, []string{"d1", "d2"}, idsOf(list), "the caller compares")
	require.Equal(t, "PC-10", list[1].ComputerName)

	c := client(t, serve(t, func(http.ResponseWriter, *http.Request) { t.Error("sent") }).URL)
	for _, names := range [][]string{nil, {""}, {"a", "a"}, make([]string, 101)} {
		_, err := c.DesktopsNamed(t.Context(), names)
		require.True(t, fault(t, err).Local)
	}
}

func TestUsersReads(t *testing.T) {
	t.Parallel()
	var got *http.Request
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Clone(t.Context())
		answer(200, `{"total_count":5,"users":[
			{"id":"u1","user_name":"zoe","user_email":"zoe@example.com","domain":"corp.local","total_desktops":2,"sid":"S-1","group_names":["g"],"user_info_map":{}},
			{"id":"u2","user_name":"Zoé","user_email":null,"total_desktops":"3"},
			{"id":"u3","user_name":"ann","total_desktops":null},
			{"user_name":"bob","total_desktops":0,"domain":7},
			{"id":"u5","user_name":""}]}`)(w, r)
	})
	people, err := client(t, srv.URL).Users(t.Context())
	require.NoError(t, err)
	require.Equal(t, []apiclient.Person{
		{ID: "u1", Name: "zoe", Email: "zoe@example.com", Domain: "corp.local", Desktops: 2},
		{ID: "u2", Name: "Zoé", Desktops: 3}, {ID: "u3", Name: "ann", Desktops: -1}, {Name: "bob", Domain: "7"}, {ID: "u5", Desktops: -1},
	}, people)
	require.Equal(t, "GET "+apiPath+"/users?limit=1000&offset=0", got.Method+" "+got.RequestURI)
}

func TestUsersOverPages(t *testing.T) {
	t.Parallel()
	cloud, c := fake(t, fakecloud.Config{MaxPage: 3})
	var want []string
	for i := range 8 {
		want = append(want, fmt.Sprint("user", i))
		cloud.AddPeople(project, fakecloud.Person{Name: want[i], Domain: "corp", Email: want[i] + "@example.com"})
	}
	cloud.Add(project, fakecloud.Desktop{ID: "d", Users: []fakecloud.User{{Name: "user3", Domain: "corp"}}})
	people, err := c.Users(t.Context())
	require.NoError(t, err)
	var got []string
	for _, p := range people {
		got = append(got, p.Name)
		require.Equal(t, p.Name+"@example.com", p.Email)
		require.Equal(t, "corp", p.Domain)
		require.Equal(t, map[bool]int{true: 1}[p.Name == "user3"], p.Desktops)
	}
	require.Equal(t, want, got)
	require.NoError(t, c.ProbeUsers(t.Context()))

	cloud.Fail(fakecloud.Fault{Op: fakecloud.OpUsers, Status: 403})
	_, err = c.Users(t.Context())
	require.Equal(t, 403, fault(t, err).Status)
	require.Error(t, c.ProbeUsers(t.Context()))
}

// Somebody who is not in the list counts as unknown, so nothing but a whole list may
// pass for one.
func TestUsersNeverTakesNonsenseForNobody(t *testing.T) {
	t.Parallel()
	total := `{"users":[{"id":"a","user_name":"a"},{"id":"b","user_name":"b"}],"total_count":9}`
	for name, handler := range map[string]http.HandlerFunc{
		"empty": answer(200, ``), "no list": answer(200, `{}`), "null": answer(200, `{"users":null,"total_count":2}`),
		"a total without users": answer(200, `{"users":[],"total_count":2}`), "nameless": answer(200, `{"users":[{"user_email":"a@b"}]}`),
		"the same page again": answer(200, total), "HTML": answer(200, htmlPage, "Content-Type", "text/html"), "403": answer(403, `{}`),
		"wrong type": answer(200, `{"users":{"a":1},"total_count":1}`),
		"always another total": func() http.HandlerFunc {
			n := 10
			return func(w http.ResponseWriter, r *http.Request) {
				n++
				offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
				answer(200, fmt.Sprintf(`{"users":[{"id":"u%d"},{"id":"u%d"}],"total_count":%d}`, offset, offset+1, n))(w, r)
			}
		}(),
		"endless": func(w http.ResponseWriter, r *http.Request) {
			offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
			answer(200, fmt.Sprintf(`{"users":[{"id":"u%d"},{"id":"u%d"}]}`, offset, offset+1))(w, r)
		},
	} {
		people, err := client(t, serve(t, handler).URL).Users(t.Context())
		require.Equal(t, none, fault(t, err).Effect, name)
		require.Empty(t, people, name)
	}
	people, err := client(t, serve(t, answer(200, `{"users":[],"total_count":0}`)).URL).Users(t.Context())
	require.NoError(t, err)
	require.Empty(t, people)
}

func TestTags(t *testing.T) {
	t.Parallel()
	for tags, want := range map[string][]string{
		`[{"key":"env","value":"prod"},{"key":"a=b","value":"c=d"}]`: {"env=prod", "a=b=c=d"},
		`[{"key":"flag"},{"key":"null","value":null}]`:               {"flag=", "null="},
		`["env=prod","plain"]`:                                       {"env=prod", "plain"},
		`[null,7,{},[],"",{"value":"x"}]`:                            nil,
		`null`:                                                       nil,
		`[]`:                                                         nil,
		`"env=prod"`:                                                 nil,
		`{"key":"env","value":"prod"}`:                               nil,
		`[{"key":1,"value":true},null,"last"]`:                       {"1=true", "last"},
	} {
		srv := serve(t, answer(200, `{"desktops":[{"desktop_id":"d","tags":`+tags+`}],"total_count":1}`))
		list, err := client(t, srv.URL).Desktops(t.Context(), []string{"d"})
		require.NoError(t, err, tags)
		require.Equal(t, want, list[0].Tags, tags)
		require.Equal(t, slices.Contains([]string{`[null,7,{},[],"",{"value":"x"}]`, `"env=prod"`, `{"key":"env","value":"prod"}`,
			`[{"key":1,"value":true},null,"last"]`}, tags), list[0].TagsUnread, tags)
	}
	many := `[` + strings.Repeat(`"t",`, 500) + `"t"]`
	srv := serve(t, answer(200, `{"desktops":[{"desktop_id":"d","tags":`+many+`}],"total_count":1}`))
	list, err := client(t, srv.URL).Desktops(t.Context(), []string{"d"})
	require.NoError(t, err)
	require.Len(t, list[0].Tags, 100)
	require.True(t, list[0].TagsUnread)
}

// Statuses are passed on, those that nobody has documented too.
func TestStatusesPassThrough(t *testing.T) {
	t.Parallel()
	cloud, c := fake(t, fakecloud.Config{})
	for _, status := range []string{fakecloud.Deleted, "ON_FIRE", "active"} {
		cloud.Add(project, fakecloud.Desktop{ID: "d", Status: status, Tags: []string{"k=v"}})
		list, err := c.Desktops(t.Context(), []string{"d"})
		require.NoError(t, err)
		require.Equal(t, status, list[0].Status)
		require.Equal(t, []string{"k=v"}, list[0].Tags)
	}
}

// The domain tells two of one name apart.
func TestDetachUsersSendsTheDomain(t *testing.T) {
	t.Parallel()
	cloud, c := fake(t, fakecloud.Config{})
	cloud.Add(project, fakecloud.Desktop{ID: "d", Type: fakecloud.Shared, Users: []fakecloud.User{{Name: "zoe", Domain: "one"}, {Name: "zoe", Domain: "two"}}})
	list, err := c.Desktops(t.Context(), []string{"d"})
	require.NoError(t, err)
	require.Equal(t, "two", list[0].Users[1].Domain)
	_, err = c.DetachUsers(t.Context(), []apiclient.UserDetach{{DesktopID: "d", Users: list[0].Users[1:]}})
	require.NoError(t, err)
	d, _ := cloud.Get(project, "d")
	require.Len(t, d.Users, 1)
	require.Equal(t, "one", d.Users[0].Domain)
}
