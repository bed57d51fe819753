package apiclient_test

import (
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
)

// anyPage reads a page once, at once.
func anyPage(read func() error) error { return read() }

// collected is all of a list, or nothing if it ends with an error.
func collected[T any](list iter.Seq2[T, error]) ([]T, error) {
	out := []T{}
	for item, err := range list {
		if err != nil {
			return nil, err
		}
		out = append(out, item)
	}
	return out, nil
}

func names(n int, format string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(format, i)
	}
	return out
}

// A fleet is each desktop once, and each page waits for its turn.
func TestFleetIsEveryDesktopOnce(t *testing.T) {
	t.Parallel()
	cloud, err := fakecloud.Serve(fakecloud.Config{}, "127.0.0.1:0")
	require.NoError(t, err)
	defer cloud.Close()
	c := client(t, cloud.URL, func(c *apiclient.Config) { c.Endpoint = cloud.URL })
	for _, n := range []int{0, 1, 199, 200, 201, 1001} {
		for i := range n {
			cloud.Add(project, fakecloud.Desktop{ID: fmt.Sprintf("d%05d", i)})
		}
		pages := 0
		fleet, err := collected(c.Fleet(t.Context(), func(read func() error) error { pages++; return read() }))
		require.NoError(t, err)
		require.Equal(t, names(n, "d%05d"), ids(fleet))
		require.LessOrEqual(t, pages, n/199+2, "%d desktops", n)
		people, err := collected(c.People(t.Context(), anyPage))
		require.NoError(t, err)
		require.Len(t, people, n)
		usage, err := collected(c.Usage(t.Context(), time.Now().Add(-time.Hour), time.Now(), 1, anyPage))
		require.NoError(t, err)
		require.Len(t, usage, n)
	}
	require.Equal(t, time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC), first(t, c.Fleet(t.Context(), anyPage)).Created)
	require.Equal(t, "REGISTERED", first(t, c.Fleet(t.Context(), anyPage)).LoginStatus)
}

func ids(fleet []apiclient.Desktop) []string {
	out := []string{}
	for _, d := range fleet {
		out = append(out, d.ID)
	}
	return out
}

// first stops after the first item.
func first[T any](t *testing.T, list iter.Seq2[T, error]) (item T) {
	t.Helper()
	for item, err := range list {
		require.NoError(t, err)
		return item
	}
	return item
}

// What comes and goes while a list is read hides no other desktop.
func TestFleetThatChangesWhileItIsRead(t *testing.T) {
	t.Parallel()
	cloud, err := fakecloud.Serve(fakecloud.Config{MaxPage: 50}, "127.0.0.1:0")
	require.NoError(t, err)
	defer cloud.Close()
	for i := range 1000 {
		cloud.Add(project, fakecloud.Desktop{ID: fmt.Sprintf("d%05d", i)})
	}
	c := client(t, cloud.URL, func(c *apiclient.Config) { c.Endpoint = cloud.URL })
	gone := 0
	fleet, err := collected(c.Fleet(t.Context(), func(read func() error) error {
		if gone < 140 { // 20 pages long
			for range 7 { // of those that were read first
				cloud.Remove(project, fmt.Sprintf("d%05d", gone))
				gone++
			}
			cloud.Add(project, fakecloud.Desktop{ID: fmt.Sprintf("new%05d", gone)})
		}
		return read()
	}))
	require.NoError(t, err)
	got := ids(fleet)
	for i := gone; i < 1000; i++ {
		require.Contains(t, got, fmt.Sprintf("d%05d", i))
	}
	sorted := slices.Sorted(slices.Values(got))
	require.Equal(t, len(got), len(slices.Compact(sorted)), "each once")
}

// A page that fails fails the reading, whichever it is, and one that is read again does not.
func TestAPageThatFailsFailsTheReading(t *testing.T) {
	t.Parallel()
	cloud, err := fakecloud.Serve(fakecloud.Config{MaxPage: 10}, "127.0.0.1:0")
	require.NoError(t, err)
	defer cloud.Close()
	for i := range 50 {
		cloud.Add(project, fakecloud.Desktop{ID: fmt.Sprintf("d%05d", i), PoolID: "p"})
	}
	c := client(t, cloud.URL, func(c *apiclient.Config) { c.Endpoint = cloud.URL })
	ctx := t.Context()
	lists := map[fakecloud.Op]func(apiclient.Pages) (int, error){
		fakecloud.OpDetail: func(p apiclient.Pages) (int, error) { l, err := collected(c.Fleet(ctx, p)); return len(l), err },
		fakecloud.OpList:   func(p apiclient.Pages) (int, error) { l, err := collected(c.PoolOf(ctx, "p", p)); return len(l), err },
		fakecloud.OpUsers:  func(p apiclient.Pages) (int, error) { l, err := collected(c.People(ctx, p)); return len(l), err },
		fakecloud.OpUsage: func(p apiclient.Pages) (int, error) {
			l, err := collected(c.Usage(ctx, time.Now().Add(-time.Hour), time.Now(), 1, p))
			return len(l), err
		},
	}
	for op, list := range lists {
		pages := 0
		n, err := list(func(read func() error) error { pages++; return read() })
		require.NoError(t, err)
		require.Equal(t, 50, n)
		require.Equal(t, 7, pages)
		for bad := range pages {
			cloud.ClearFaults()
			cloud.Fail(fakecloud.Fault{Op: op, Status: 500, Calls: []int{cloud.CallsOf(op, "") + bad + 1}})
			_, err := list(anyPage)
			require.Error(t, err, "%s, page %d", op, bad)

			cloud.ClearFaults()
			cloud.Fail(fakecloud.Fault{Op: op, Status: 500, Calls: []int{cloud.CallsOf(op, "") + bad + 1}})
			n, err := list(func(read func() error) error {
				if err := read(); err == nil {
					return nil
				}
				return read()
			})
			require.NoError(t, err)
			require.Equal(t, 50, n)
		}
		cloud.ClearFaults()
		turn := errors.New("no turn")
		_, err = list(func(func() error) error { return turn })
		require.ErrorIs(t, err, turn)
	}
}

// A list that leaves something out, or never ends, is an error and not a short list.
func TestAListThatContradictsItself(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	for name, reply := range map[string]func(offset int) string{
		"fewer than the total": func(offset int) string {
			return `{"desktops":[{"desktop_id":"d1"}],"users":[{"id":"d1"}],"items":[{"resource_id":"d1"}],"total_count":2,"count":2}`
		},
		"never the same": func(int) string {
			n := requests.Add(1)
			return fmt.Sprintf(`{"desktops":[{"desktop_id":"%[1]d"},{"desktop_id":"%[1]d b"}],"users":[{"id":"%[1]d"},{"id":"%[1]d b"}],`+
				`"items":[{"resource_id":"%[1]d"},{"resource_id":"%[1]d b"}]}`, n)
		},
		"no end": func(offset int) string {
			return fmt.Sprintf(`{"desktops":[{"desktop_id":"%[1]d"},{"desktop_id":"%[2]d"}],"users":[{"id":"%[1]d"},{"id":"%[2]d"}],`+
				`"items":[{"resource_id":"%[1]d"},{"resource_id":"%[2]d"}]}`, offset, offset+1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := client(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
				answer(200, reply(offset))(w, r)
			}).URL)
			_, err := collected(c.Fleet(t.Context(), anyPage))
			require.Error(t, err)
			_, err = collected(c.PoolOf(t.Context(), "p", anyPage))
			require.Error(t, err)
			_, err = collected(c.People(t.Context(), anyPage))
			require.Error(t, err)
			_, err = collected(c.Usage(t.Context(), time.Now(), time.Now(), 1, anyPage))
			require.Error(t, err)
		})
	}
}

// A filter that the cloud ignores puts no desktop into a pool.
func TestAPoolIsWhatEntriesShow(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t, answer(200, `{"desktops":[{"desktop_id":"in","pool_id":"p"},{"desktop_id":"other","pool_id":"q"},{"desktop_id":"none"},`+
		`{"desktop_id":"null","pool_id":null},{"desktop_id":"odd","pool_id":["p"]}],"total_count":5}`)).URL)
	in, err := collected(c.PoolOf(t.Context(), "p", func(read func() error) error { return read() }))
	require.ErrorContains(t, err, "does not end", "the reply ignores the offset")
	require.Empty(t, in)
	c = client(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("offset") != "0" {
			answer(200, `{"desktops":[{"desktop_id":"odd"}],"total_count":5}`)(w, r)
			return
		}
		require.Equal(t, "p", r.URL.Query().Get("pool_id"))
		answer(200, `{"desktops":[{"desktop_id":"in","pool_id":"p"},{"desktop_id":"other","pool_id":"q"},{"desktop_id":"none"},`+
			`{"desktop_id":"null","pool_id":null},{"desktop_id":"odd","pool_id":["p"]}],"total_count":5}`)(w, r)
	}).URL)
	in, err = collected(c.PoolOf(t.Context(), "p", anyPage))
	require.NoError(t, err)
	require.Equal(t, []string{"in"}, in)
}

// What a usage metric does not show is not 0.
func TestUsageThatIsNotShown(t *testing.T) {
	t.Parallel()
	for metric, want := range map[string][2]time.Duration{
		`[{"metric_name":"desktop_usage","metric_value":0},{"metric_name":"desktop_idle_duration","metric_value":86400}]`:   {0, 24 * time.Hour},
		`[{"metric_name":"desktop_usage","metric_value":"0.5"}]`:                                                            {500 * time.Millisecond, -1},
		`[{"metric_name":"desktop_usage"},{"metric_name":"desktop_idle_duration","metric_value":null}]`:                     {-1, -1},
		`[{"metric_name":"desktop_usage","metric_value":"none"},{"metric_name":"desktop_idle_duration","metric_value":-1}]`: {-1, -1},
		`[{"metric_name":"desktop_usage","metric_value":0},{"metric_name":"desktop_usage","metric_value":0}]`:               {-1, -1},
		`null`: {-1, -1}, `[]`: {-1, -1}, `[null]`: {-1, -1},
	} {
		body := `{"items":[{"resource_id":"d1","metric":` + metric + `}],"count":1}`
		c := client(t, serve(t, answer(200, body)).URL)
		got, err := collected(c.Usage(t.Context(), time.Now(), time.Now(), 1, anyPage))
		require.NoError(t, err, body)
		require.Equal(t, []apiclient.Usage{{DesktopID: "d1", Used: want[0], Idle: want[1]}}, got, body)
	}
	c := client(t, serve(t, answer(200, `{"items":[{"resource_id":"d1","metric":{}}],"count":1}`)).URL)
	_, err := collected(c.Usage(t.Context(), time.Now(), time.Now(), 1, anyPage))
	require.Error(t, err)
}

// Whether somebody is locked is not known if the value cannot be read.
func TestStatusThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for value, want := range map[string][2]bool{
		`true`: {true, false}, `"True"`: {true, false}, `1`: {true, false}, `false`: {}, `null`: {}, `""`: {}, `0`: {},
		`"yes"`: {true, true}, `{}`: {true, true}, `2`: {true, true},
	} {
		for _, field := range []string{"locked", "disabled"} {
			c := client(t, serve(t, answer(200, `{"users":[{"id":"u","user_name":"u","`+field+`":`+value+`}],"total_count":1}`)).URL)
			got, err := collected(c.People(t.Context(), anyPage))
			require.NoError(t, err)
			require.Equal(t, want, [2]bool{got[0].Locked || got[0].Disabled, got[0].StatusUnread}, "%s %s", field, value)
		}
	}
}

// Times are sent in UTC, in the format of the sister calls.
func TestUsageAsksForItsTime(t *testing.T) {
	t.Parallel()
	var got string
	c := client(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.URL.Path + "?" + r.URL.RawQuery
		answer(200, `{"items":[],"count":0}`)(w, r)
	}).URL)
	at := time.Date(2026, 11, 23, 1, 0, 0, 0, time.FixedZone("", 3600))
	_, err := collected(c.Usage(t.Context(), at.Add(-48*time.Hour), at, 2, anyPage))
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(got, "/statistics/metrics/desktops?"+
		"end_time=2026-11-23T00%3A00%3A00Z&limit=100&min_idle_days=2&offset=0&start_time=2026-11-21T00%3A00%3A00Z"), got)
}
