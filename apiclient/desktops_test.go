package apiclient_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
)

func TestDesktopsAsksAndReads(t *testing.T) {
	t.Parallel()
	var got *http.Request
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got == nil { // a second list asks for d3, which the first lacks
			got = r.Clone(t.Context())
		}
		answer(200, `{"total_count":3,"desktops":[
			{"desktop_id":"d2","computer_name":"PC2","desktop_type":"SHARED","status":"ACTIVE","task_status":"powering-off",
			 "attach_state":"ATTACHED","user_name":"ignored","addresses":[{"a":1}],"is_freeze":true,"in_maintenance_mode":true,
			 "attach_user_infos":[{"user_id":"u1","user_name":"zoe","user_group":"users","type":"USER","domain":"x"},{"user_name":"g","type":"GROUP"}]},
			{"desktop_id":"other","attach_state":"ATTACHED"},
			{"desktop_id":"d1","attach_state":"NEW_STATE","user_name":"gone","task_status":null,"addresses":{"v":[]},"is_freeze":null}]}`)(w, r)
	})
	desktops, err := client(t, srv.URL).Desktops(t.Context(), []string{"d1", "d3", "d2"})
	require.NoError(t, err)
	require.Equal(t, []apiclient.Desktop{
		{ID: "d1", Process: -1, AttachState: "NEW_STATE"},
		{
			ID: "d2", ComputerName: "PC2", Type: "SHARED", Status: "ACTIVE", TaskStatus: "powering-off", Process: -1, AttachState: "ATTACHED",
			Users:  []apiclient.User{{ID: "u1", Name: "zoe", Domain: "x", Group: "users", Type: "USER"}, {Name: "g", Type: "GROUP"}},
			Frozen: true, Maintenance: true,
		},
	}, desktops)
	require.Equal(t, "GET "+apiPath+"/desktops/detail", got.Method+" "+got.URL.Path)
	require.Equal(t, []string{"d1", "d2", "d3"}, got.URL.Query()["desktop_id"])
	require.Equal(t, "100", got.URL.Query().Get("limit"))
	require.Equal(t, "0", got.URL.Query().Get("offset"))
}

func TestDesktopsTakesTheUserNameOfAnAttachedDesktop(t *testing.T) {
	t.Parallel()
	srv := serve(t, answer(200, `{"total_count":1,"desktops":[{"desktop_id":"d1","attach_state":"ATTACHED","user_name":"zoe"}]}`))
	desktops, err := client(t, srv.URL).Desktops(t.Context(), []string{"d1"})
	require.NoError(t, err)
	require.Equal(t, []apiclient.User{{Name: "zoe"}}, desktops[0].Users)
}

// A desktop of several users must not look like that of one: whoever is not seen is not guarded.
func TestUsersOfADesktopThatOnlyNamesThem(t *testing.T) {
	t.Parallel()
	zoe, bob, devs := apiclient.User{Name: "zoe"}, apiclient.User{Name: "bob"}, apiclient.User{Name: "devs", Type: "GROUP"}
	for fields, want := range map[string][]apiclient.User{
		`"user_name":"zoe","user_list":["zoe","bob"],"user_group_list":[]`:                               {zoe, bob},
		`"user_list":["bob","zoe","bob",null,""],"user_group_list":["devs"],"user_name":"zoe"`:           {devs, zoe, bob},
		`"attach_user_infos":null,"user_name":"devs","user_list":null,"user_group_list":["devs","devs"]`: {devs},
		`"user_name":"zoe","user_list":"bob","user_group_list":{"a":1}`:                                  {zoe},
		`"user_list":["bob"],"attach_user_infos":[{"user_name":"zoe"}],"user_group_list":["devs"]`:       {zoe},
		`"user_list":[],"user_group_list":[]`:                                                            nil,
	} {
		srv := serve(t, answer(200, `{"total_count":1,"desktops":[{"desktop_id":"d1","attach_state":"ATTACHED",`+fields+`}]}`))
		desktops, err := client(t, srv.URL).Desktops(t.Context(), []string{"d1"})
		require.NoError(t, err, fields)
		require.Equal(t, want, desktops[0].Users, fields)
	}
	srv := serve(t, answer(200, `{"total_count":1,"desktops":[{"desktop_id":"d1","attach_state":"DEATTACHED","user_list":["zoe"]}]}`))
	desktops, err := client(t, srv.URL).Desktops(t.Context(), []string{"d1"})
	require.NoError(t, err)
	require.Empty(t, desktops[0].Users, "she may be the one who lost it")
}

// pages serves list from offset on, at most size at a time.
func pages(list []string, size int, total string, requests *atomic.Int32) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
		list := list[min(offset, len(list)):]
		var items []string
		for _, id := range list[:min(size, len(list))] {
			items = append(items, fmt.Sprintf(`{"desktop_id":%q}`, id))
		}
		answer(200, fmt.Sprintf(`{"desktops":[%s]%s}`, strings.Join(items, ","), total))(w, r)
	}
}

func TestDesktopsPages(t *testing.T) {
	t.Parallel()
	list := []string{"x1", "x2", "d1", "x3", "d2"}
	for name, test := range map[string]struct {
		total    string
		ids      []string
		want     int
		requests int32
	}{
		"until all are found":        {`,"total_count":5`, []string{"d1"}, 1, 2},
		"until the total":            {`,"total_count":5`, []string{"d1", "d2", "gone"}, 2, 2 * 4},
		"until a page with nothing":  {``, []string{"d1", "d2", "gone"}, 2, 2 * 5},
		"the total of an early stop": {`,"total_count":2`, []string{"d1", "gone"}, 0, 2 * 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			srv := serve(t, pages(list, 2, test.total, &requests))
			desktops, err := client(t, srv.URL).Desktops(t.Context(), test.ids)
			require.NoError(t, err)
			require.Len(t, desktops, test.want)
			require.Equal(t, test.requests, requests.Load())
		})
	}
}

// One list that leaves a desktop out is not enough to call it gone.
func TestDesktopsAsksTwiceForWhatIsMissing(t *testing.T) {
	t.Parallel()
	var queries []string
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		ids := r.URL.Query()["desktop_id"]
		slices.Sort(ids)
		queries = append(queries, strings.Join(ids, " "))
		reply := `{"desktops":[{"desktop_id":"d1"}],"total_count":1}`
		if len(queries) == 2 {
			reply = `{"desktops":[{"desktop_id":"d2"}],"total_count":1}`
		}
		answer(200, reply)(w, r)
	})
	desktops, err := client(t, srv.URL).Desktops(t.Context(), []string{"d2", "d1", "gone"})
	require.NoError(t, err)
	require.Len(t, desktops, 2)
	require.Equal(t, "d2", desktops[0].ID)
	require.Equal(t, []string{"d1 d2 gone", "d2 gone"}, queries)
}

func TestDesktopsGivesAnEndlessListUp(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
		answer(200, fmt.Sprintf(`{"desktops":[{"desktop_id":"other%d"},{"desktop_id":"other%d"}]}`, offset, offset+1))(w, r)
	})
	_, err := client(t, srv.URL).Desktops(t.Context(), []string{"d1"})
	require.ErrorContains(t, fault(t, err), "does not end")
	require.EqualValues(t, 100, requests.Load())
}

// A total that the pages never reach contradicts the list: nothing is missing for that.
func TestDesktopsOfAListThatContradictsItself(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	srv := serve(t, pages([]string{"d1", "x"}, 2, `,"total_count":99`, &requests))
	_, err := client(t, srv.URL).Desktops(t.Context(), []string{"d1", "gone"})
	require.ErrorContains(t, fault(t, err), "contradicts itself")
	found, err := client(t, srv.URL).Desktops(t.Context(), []string{"d1"})
	require.NoError(t, err)
	require.Len(t, found, 1, "all that was asked for is there: the rest of the list matters to nobody")
}

// A desktop that is missing from a list counts as gone, so a reply without a
// list must not pass for an empty one.
func TestDesktopsNeverTakesNonsenseForAnEmptyList(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"empty":              answer(200, ``),
		"no list":            answer(200, `{}`),
		"null list":          answer(200, `{"desktops":null}`),
		"null list, total 2": answer(200, `{"desktops":null,"total_count":2}`),
		"total without list": answer(200, `{"desktops":[],"total_count":2}`),
		"nameless":           answer(200, `{"desktops":[{"status":"ACTIVE"}],"total_count":1}`),
		"wrong type":         answer(200, `{"desktops":{},"total_count":0}`),
		"HTML":               answer(200, `<html>`, "Content-Type", "text/html"),
		"another 2xx":        answer(202, `{"desktops":[],"total_count":0}`),
		"500":                answer(500, `{}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := client(t, serve(t, handler).URL).Desktops(t.Context(), []string{"d1"})
			require.Equal(t, apiclient.EffectNone, fault(t, err).Effect, "a read changes nothing")
		})
	}
	for name, body := range map[string]string{
		"empty list": `{"desktops":[],"total_count":0}`, "null": `{"desktops":null,"total_count":0}`, "no total": `{"desktops":[]}`,
	} {
		desktops, err := client(t, serve(t, answer(200, body)).URL).Desktops(t.Context(), []string{"d1"})
		require.NoError(t, err, name)
		require.Empty(t, desktops)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	var uri string
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		uri = r.Method + " " + r.RequestURI
		answer(200, `{"desktops":[],"total_count":0}`, "X-Request-Id", "r1", "Date", "Fri, 02 Jan 2026 03:04:05 GMT")(w, r)
	})
	got, err := client(t, srv.URL).Probe(t.Context())
	require.NoError(t, err)
	require.Equal(t, "GET "+apiPath+"/desktops/detail?limit=1", uri)
	require.Equal(t, apiclient.Identity{RequestID: "r1", ServerTime: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, got)

	_, err = client(t, serve(t, answer(403, `{"error_code":"APIGW.0302"}`)).URL).Probe(t.Context())
	require.Equal(t, "APIGW.0302", fault(t, err).Code)
}

// What was read stays as it is when the next reply is read into the same memory.
func TestDesktopsOutliveTheirReply(t *testing.T) {
	t.Parallel()
	body := func(id string) string {
		return `{"desktops":[{"desktop_id":"d` + id + `","computer_name":"PC-` + id + `","tags":["k=` + id + `"],"attach_user_infos":[{"user_name":"u` +
			id + `","domain":{"a":` + id + `}}]}],"total_count":1}`
	}
	c := client(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		answer(200, body(strings.TrimPrefix(r.URL.Query().Get("desktop_id"), "d")))(w, r)
	}).URL)
	first, err := c.Desktops(t.Context(), []string{"d1"})
	require.NoError(t, err)
	for range 20 {
		_, err := c.Desktops(t.Context(), []string{"d2"})
		require.NoError(t, err)
	}
	require.Equal(t, "d1 PC-1 [k=1] u1 {\"a\":1}", fmt.Sprintf("%s %s %v %s %s",
		first[0].ID, first[0].ComputerName, first[0].Tags, first[0].Users[0].Name, first[0].Users[0].Domain))
}
