package apiclient_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
)

// inPages serves a list that may be another one at each request; total is what it says of its length.
func inPages(total string, list func(request int) []string) http.HandlerFunc {
	requests := 0
	return func(w http.ResponseWriter, r *http.Request) {
		requests++
		offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		all := list(requests)
		var desktops, users []string
		for _, id := range all[min(offset, len(all)):min(offset+limit, len(all))] {
			desktops = append(desktops, fmt.Sprintf(`{"desktop_id":%q}`, id))
			users = append(users, fmt.Sprintf(`{"id":%q}`, id))
		}
		answer(200, fmt.Sprintf(`{"desktops":[%s],"users":[%s],"total_count":%s}`, strings.Join(desktops, ","), strings.Join(users, ","), total))(w, r)
	}
}

// Pages in no fixed order show one desktop twice and another one never: that it is missing proves nothing.
func TestADesktopOnTwoPagesHidesAnother(t *testing.T) {
	t.Parallel()
	list := names(150, "d%03d")
	swapped := append([]string{}, list...)
	swapped[0], swapped[120] = swapped[120], swapped[0] // d120 is on the first page later on, where d000 was
	c := client(t, serve(t, inPages("150", func(request int) []string {
		if request%2 == 1 {
			return list
		}
		return swapped
	})).URL)
	_, err := c.DesktopsOf(t.Context(), []string{"zoe"})
	require.ErrorContains(t, err, "changed during each of 5 reads")

	two := []string{"a", "b", "c", "a", "c", "d"} // of pages of two: b, then c, a, a page later
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
		page := two[min(offset, len(two)):min(offset+2, len(two))]
		answer(200, fmt.Sprintf(`{"desktops":[{"desktop_id":%q},{"desktop_id":%q}],"total_count":4}`, page[0], page[1]))(w, r)
	})
	_, err = client(t, srv.URL).Desktops(t.Context(), []string{"a", "b", "c", "d"})
	require.ErrorContains(t, err, "changed during each of 5 reads", "d is the last of them, and was not shown")
}

// A desktop may have a row for each of its users.
func TestADesktopThatIsListedOnceForEachUser(t *testing.T) {
	t.Parallel()
	var rows []string
	for _, id := range names(101, "d%03d") {
		rows = append(rows, id, id)
	}
	list, err := client(t, serve(t, inPages("202", func(int) []string { return rows })).URL).DesktopsOf(t.Context(), []string{"zoe"})
	require.NoError(t, err)
	require.Equal(t, names(101, "d%03d"), idsOf(list))
}

// A total that ends at 2,000, as that of a sister call does, is not the end of the list.
func TestATotalThatIsCapped(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t, inPages("2000", func(int) []string { return names(2500, "d%04d") })).URL)
	list, err := c.DesktopsOf(t.Context(), []string{"zoe"})
	require.NoError(t, err)
	require.Len(t, list, 2500)
	people, err := c.Users(t.Context())
	require.NoError(t, err)
	require.Len(t, people, 2500)
}

// Behind the end of a list there may be null where others write an empty list.
func TestANullPageBehindTheEnd(t *testing.T) {
	t.Parallel()
	cloud, c := fake(t, fakecloud.Config{Shapes: []fakecloud.Shape{fakecloud.Nulls}, MaxPage: 2})
	for _, id := range []string{"a", "b", "c", "d"} {
		cloud.Add(project, fakecloud.Desktop{ID: id, Users: []fakecloud.User{{Name: "zoe"}}})
	}
	n, err := c.CountAssigned(t.Context())
	require.NoError(t, err)
	require.Equal(t, 4, n)
	cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Calls: []int{cloud.CallsOf(fakecloud.OpDetail, "") + 2}, Vanish: []string{"a", "b", "c"}})
	list, err := c.DesktopsOf(t.Context(), []string{"zoe"})
	require.NoError(t, err, "it is read again from its beginning")
	require.Contains(t, idsOf(list), "d")
}

// The table of error codes has some "with status code 200": they are the API's, also where a list belongs.
func TestAnErrorInA200OfAReading(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t, answer(200, `{"error_code":"WKS.00010110","error_msg":"no addresses"}`)).URL)
	_, err := c.Desktops(t.Context(), []string{"d1"})
	require.False(t, fault(t, err).NotAPI, "%v", err)
	require.Equal(t, "WKS.00010110", fault(t, err).Code)
	_, err = c.Users(t.Context())
	require.False(t, fault(t, err).NotAPI)
}

// A reply of a few megabytes does not become hundreds of them in memory, nor in the record.
func TestALongListOfNothing(t *testing.T) { //nolint:paralleltest // it measures memory
	nothings := strings.Repeat(`{},`, 1<<20) + `{}`
	for _, body := range []string{
		`{"desktops":[` + nothings + `]}`, `{"desktops":[{"desktop_id":"d1","attach_user_infos":[` + nothings + `]}],"total_count":1}`,
	} {
		c := client(t, serve(t, answer(200, body)).URL)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := c.Desktops(t.Context(), []string{"d1"})
		runtime.ReadMemStats(&after)
		require.ErrorContains(t, err, "too many")
		require.Equal(t, apiclient.EffectNone, fault(t, err).Effect)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20))
	}
	result, err := detachOne(t, client(t, serve(t, answer(200, `{"success_job_ids":[`+strings.Repeat(`"j",`, 1000)+`"j"]}`)).URL))
	require.NoError(t, err)
	require.Len(t, result.SuccessJobIDs, apiclient.MaxDesktopsPerCall)
}
