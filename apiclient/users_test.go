package apiclient_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
)

func TestDetachUsersSends(t *testing.T) {
	t.Parallel()
	var got *http.Request
	var body string
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got, body = r.Clone(t.Context()), bodyOf(r)
		answer(200, `{"failed_operation_list":[{"desktop_id":"d2","error_code":"WKS.1"}],"job_id":"j"}`, "X-Request-Id", "r")(w, r)
	})
	res, err := client(t, srv.URL).DetachUsers(t.Context(), []apiclient.UserDetach{
		{DesktopID: "d1", Users: []apiclient.User{{ID: "u1", Name: "zoe", Group: "users", Type: "USER"}, {Name: "<ann>"}}},
		{DesktopID: "d2", Users: []apiclient.User{{Name: "zoe"}}},
	})
	require.NoError(t, err)
	require.Equal(t, "POST "+apiPath+"/desktops/batch-detach", got.Method+" "+got.RequestURI)
	require.Equal(t, `{"desktops":[{"desktop_id":"d1","is_detach_all_users":false,"detach_user_infos":[`+
		`{"user_id":"u1","user_name":"zoe","user_group":"users","type":"USER"},{"user_name":"<ann>"}]},`+
		`{"desktop_id":"d2","is_detach_all_users":false,"detach_user_infos":[{"user_name":"zoe"}]}]}`, body)
	require.Equal(t, &apiclient.DetachResult{
		Failed: []apiclient.DesktopFailure{{DesktopID: "d2", Code: "WKS.1"}}, JobID: "j", RequestID: "r", Status: 200,
	}, res)
}

// Naming nobody could be taken to mean everybody: it never leaves.
func TestDetachUsersRefusesToSend(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t, func(http.ResponseWriter, *http.Request) { t.Error("sent") }).URL)
	zoe := []apiclient.User{{Name: "zoe"}}
	many := make([]apiclient.UserDetach, 101)
	for i := range many {
		many[i] = apiclient.UserDetach{DesktopID: strconv.Itoa(i), Users: zoe}
	}
	crowd := make([]apiclient.User, apiclient.MaxUsersPerDesktop+1)
	for i := range crowd {
		crowd[i].Name = strconv.Itoa(i)
	}
	for name, desktops := range map[string][]apiclient.UserDetach{
		"no desktop":     nil,
		"too many":       many,
		"twice":          {{DesktopID: "d", Users: zoe}, {DesktopID: "d", Users: zoe}},
		"nobody":         {{DesktopID: "d"}},
		"a crowd":        {{DesktopID: "d", Users: crowd}},
		"without a name": {{DesktopID: "d", Users: []apiclient.User{{ID: "u1"}}}},
		"without an id":  {{Users: zoe}},
	} {
		_, err := c.DetachUsers(t.Context(), desktops)
		e := fault(t, err)
		require.Equal(t, apiclient.EffectNone, e.Effect, name)
		require.Equal(t, "BatchDetachInstances", e.Op)
	}
	_, err := client(t, serve(t, answer(500, `{}`)).URL).DetachUsers(t.Context(), []apiclient.UserDetach{{DesktopID: "d", Users: zoe}})
	require.Equal(t, apiclient.EffectPossible, fault(t, err).Effect, "as of Detach")
}

func TestDesktopsOfAsksByName(t *testing.T) {
	t.Parallel()
	short, long := strings.Repeat("ü", 36), strings.Repeat("ü", 37)
	var queries []string
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		queries = append(queries, fmt.Sprintf("%q %q", q["user_names"], q["user_name"]))
		reply := `{"desktops":[{"desktop_id":"d1"},{"desktop_id":"d2"}],"total_count":2}`
		if q.Has("user_name") {
			reply = `{"desktops":[{"desktop_id":"d2"},{"desktop_id":"d3"}],"total_count":2}`
		}
		answer(200, reply)(w, r)
	})
	list, err := client(t, srv.URL).DesktopsOf(t.Context(), []string{"a&b=c% d", long, short})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"d1", "d2", "d3"}, idsOf(list), "each once")
	require.ElementsMatch(t, []string{fmt.Sprintf("%q []", []string{"a&b=c% d", short}), fmt.Sprintf("[] %q", []string{long})}, queries)
}

func idsOf(list []apiclient.Desktop) (out []string) {
	for _, d := range list {
		out = append(out, d.ID)
	}
	return out
}

func TestDesktopsOfRefusesToAsk(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t, func(http.ResponseWriter, *http.Request) { t.Error("sent") }).URL)
	for _, names := range [][]string{nil, {""}, {"a", "a"}, make([]string, 101)} {
		_, err := c.DesktopsOf(t.Context(), names)
		fault(t, err)
	}
}

// moving serves pages of two from a list that loses its first desktop after the
// given numbers of requests.
func moving(size int, after ...int) http.HandlerFunc {
	return movingWith(func(n int) string { return fmt.Sprintf(`,"total_count":%d`, n) }, size, after...)
}

// movingWithout does not say how many there are.
func movingWithout(size int, after ...int) http.HandlerFunc {
	return movingWith(func(int) string { return "" }, size, after...)
}

func movingWith(total func(n int) string, size int, after ...int) http.HandlerFunc {
	var list []string
	for i := range size {
		list = append(list, fmt.Sprintf(`{"desktop_id":"d%d"}`, i))
	}
	requests := 0
	return func(w http.ResponseWriter, r *http.Request) {
		requests++
		for _, n := range after {
			if n == requests {
				list = list[1:]
			}
		}
		offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
		page := list[min(offset, len(list)):]
		page = page[:min(2, len(page))]
		answer(200, fmt.Sprintf(`{"desktops":[%s]%s}`, strings.Join(page, ","), total(len(list))))(w, r)
	}
}

// A desktop that leaves the list while it is read moves the others up; none may be
// lost over the border of two pages.
func TestDesktopsOfAListThatMoves(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    int
	}{
		"one page":               {moving(2), 2},
		"still":                  {moving(7), 7},
		"once":                   {moving(7, 3), 6},
		"at the start":           {moving(7, 2), 6},
		"at the end":             {moving(7, 6), 6},
		"without a total, still": {movingWithout(7), 7},
		"without a total, once":  {movingWithout(7, 3), 6},
		"twice":                  {moving(9, 3, 7), 7},
		"empty":                  {moving(0), 0},
		"at every page":          {moving(3, 2, 3, 4), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list, err := client(t, serve(t, test.handler).URL).DesktopsOf(t.Context(), []string{"zoe"})
			require.NoError(t, err)
			require.Len(t, list, test.want)
			last := -1 // those that left were the first
			for i := len(list) - 1; i >= 0; i-- {
				n, err := strconv.Atoi(strings.TrimPrefix(list[i].ID, "d"))
				require.NoError(t, err)
				require.True(t, last < 0 || n == last-1, "%v", idsOf(list))
				last = n
			}
		})
	}
	all := make([]int, 200)
	for i := range all {
		all[i] = 2 * (i + 1)
	}
	_, err := client(t, serve(t, moving(400, all...)).URL).DesktopsOf(t.Context(), []string{"zoe"})
	require.ErrorContains(t, fault(t, err), "changed during each of 5 reads")
}

func TestDesktopsOfNeverTakesNonsenseForNobody(t *testing.T) {
	t.Parallel()
	for _, body := range []string{``, `{}`, `null`, `{"desktops":[],"total_count":3}`, `{"desktops":[{}],"total_count":1}`, `<html>`} {
		_, err := client(t, serve(t, answer(200, body)).URL).DesktopsOf(t.Context(), []string{"zoe"})
		fault(t, err)
	}
	endless := 0
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
		endless++
		answer(200, fmt.Sprintf(`{"desktops":[{"desktop_id":"d%d"},{"desktop_id":"d%d"}]}`, offset, offset+1))(w, r)
	})
	_, err := client(t, srv.URL).DesktopsOf(t.Context(), []string{"zoe"})
	require.ErrorContains(t, fault(t, err), "does not end")
	require.Equal(t, 100, endless)
}

func TestProgressOfATask(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]int{`7`: 7, `"42"`: 42, `null`: -1, `"x"`: -1, `{}`: -1, `1.5`: -1} {
		srv := serve(t, answer(200, `{"desktops":[{"desktop_id":"d","process":`+value+`}],"total_count":1}`))
		list, err := client(t, srv.URL).Desktops(t.Context(), []string{"d"})
		require.NoError(t, err)
		require.Equal(t, want, list[0].Process, value)
	}
}

func TestSubJobsReads(t *testing.T) {
	t.Parallel()
	var got []string
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.URL.Path+"?"+r.URL.Query().Encode())
		answer(200, `{"total_count":5,"jobs":[
			{"job_type":"batchDetachDesktops","status":"success","entities":{"desktop_id":"d1","new":1}},
			{"status":"FAIL","error_code":"WKS.1","fail_reason":"because","entities":{},"desktop_id":"d2"},
			{"status":"COMPLETE","entities":{"desktop_id":"d3"}},{"status":"PONDERING","entities":{"desktop_id":"d4"}},
			{"status":"RUNNING","entities":null}]}`)(w, r)
	})
	parts, err := client(t, srv.URL).SubJobs(t.Context(), "j 1")
	require.NoError(t, err)
	require.Equal(t, []apiclient.SubJob{
		{DesktopID: "d1", Type: "batchDetachDesktops", Status: "SUCCESS"},
		{DesktopID: "d2", Status: "FAILED", Code: "WKS.1", Reason: "because"},
		{DesktopID: "d3", Status: "SUCCESS"}, {DesktopID: "d4", Status: "PONDERING"},
	}, parts)
	require.Equal(t, []string{apiPath + "/workspace-sub-jobs?job_id=j+1&limit=1000&offset=0"}, got)
}

func TestSubJobsPages(t *testing.T) {
	t.Parallel()
	for _, total := range []string{`"total_count":2500,`, ``} {
		requests := 0
		srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
			requests++
			offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
			var jobs []string
			for i := offset; i < min(2500, offset+1000); i++ {
				jobs = append(jobs, fmt.Sprintf(`{"status":"RUNNING","desktop_id":"d%d"}`, i))
			}
			answer(200, `{`+total+`"jobs":[`+strings.Join(jobs, ",")+`]}`)(w, r)
		})
		parts, err := client(t, srv.URL).SubJobs(t.Context(), "j")
		require.NoError(t, err)
		require.Len(t, parts, 2500)
		require.Equal(t, 3, requests)
	}
	endless := serve(t, answer(200, `{"total_count":99999999,"jobs":[{"desktop_id":"d"}]}`))
	_, err := client(t, endless.URL).SubJobs(t.Context(), "j")
	require.ErrorContains(t, fault(t, err), "does not end")
}

// Where the list of parts is not to be had, the job itself is asked.
func TestSubJobsFallsBack(t *testing.T) {
	t.Parallel()
	const job = `{"status":"RUNNING","sub_jobs":[{"status":"SUCCESS","desktop_id":"d1"}]}`
	for name, test := range map[string]struct {
		list, show http.HandlerFunc
		want       int
		fails      bool
	}{
		"not allowed":  {answer(403, `{}`), answer(200, job), 1, false},
		"no such list": {answer(404, `{}`), answer(200, job), 1, false},
		"no GET":       {answer(405, `{}`), answer(200, job), 1, false},
		"empty":        {answer(200, `{"total_count":0,"jobs":[]}`), answer(200, job), 1, false},
		"no such job":  {answer(404, `{}`), answer(404, `{}`), 0, false},
		"both fail":    {answer(403, `{}`), answer(500, `{}`), 0, true},
		"down":         {answer(500, `{}`), answer(200, job), 0, true},
		"nonsense":     {answer(200, `<html>`), answer(200, job), 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case apiPath + "/workspace-sub-jobs":
					test.list(w, r)
				case apiPath + "/workspace-jobs/j":
					test.show(w, r)
				default:
					t.Error(r.URL.Path)
				}
			})
			parts, err := client(t, srv.URL).SubJobs(t.Context(), "j")
			require.Equal(t, test.fails, err != nil, "%v", err)
			require.Len(t, parts, test.want)
		})
	}
}

// The cloud wrote the id: it must not lead elsewhere.
func TestSubJobsOfHostileIDs(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, apiPath+"/workspace-jobs/") && !strings.Contains(r.URL.EscapedPath(), "..") {
			answer(404, `{}`)(w, r)
			return
		}
		if r.URL.Path == apiPath+"/workspace-sub-jobs" {
			answer(404, `{}`)(w, r)
			return
		}
		t.Error(r.URL.EscapedPath())
	}).URL)
	for _, id := range []string{"", ".", "..", "a/b", `a\b`, "../../v3"} {
		_, err := c.SubJobs(t.Context(), id)
		require.ErrorContains(t, fault(t, err), "is not a job id")
	}
	for _, id := range []string{"%2e%2e%2f", "a?b=c", "a#b", "a b"} {
		_, err := c.SubJobs(t.Context(), id)
		require.NoError(t, err, id)
	}
}
