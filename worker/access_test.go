package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
)

// What a person has is every desktop that lists exactly that user, and nothing that could not
// be read passes for nothing.
func TestAccessOfAPerson(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{FuzzyUserNames: true})
	s.cloud.Add(projectID,
		fakecloud.Desktop{ID: "own", ComputerName: "PC-1", Users: []fakecloud.User{{Name: "zoe"}}},
		fakecloud.Desktop{ID: "shared", Type: fakecloud.Shared, Users: []fakecloud.User{{Name: "bob"}, {Name: "zoe"}}},
		fakecloud.Desktop{ID: "pool", Type: fakecloud.Pooled, Users: []fakecloud.User{{Name: "zoe"}}},
		fakecloud.Desktop{ID: "other", Users: []fakecloud.User{{Name: "ZOE"}}},
		fakecloud.Desktop{ID: "group", Type: fakecloud.Shared, Users: []fakecloud.User{{Name: "zoe", Type: "GROUP"}}},
		fakecloud.Desktop{ID: "gone", AttachState: fakecloud.Detached},
	)
	s.cloud.AddPeople(projectID, fakecloud.Person{Name: "idle"}, fakecloud.Person{Name: "corp\\zoe"})
	planner := s.planner()
	ids := func(all []tasks.AccessDesktop) (out []string) {
		for _, d := range all {
			out = append(out, d.DesktopID)
		}
		return out
	}
	found, read := planner.Access(t.Context(), "zoe")
	require.Equal(t, tasks.AccessRead{Project: "hq", Read: true, Known: true, Similar: []string{"ZOE", "corp\\zoe"}}, read)
	require.ElementsMatch(t, []string{"own", "shared", "pool"}, ids(found))
	for _, d := range found {
		switch d.DesktopID {
		case "own":
			require.Equal(t, "PC-1", d.ComputerName)
			require.Equal(t, "ATTACHED", d.AttachState)
		case "shared":
			require.Len(t, d.Users, 2, "all that use it")
		}
		require.Equal(t, d.DesktopID == "pool", d.Pooled)
	}
	found, read = planner.Access(t.Context(), "idle")
	require.Empty(t, found)
	require.Equal(t, tasks.AccessRead{Project: "hq", Read: true, Known: true}, read)
	found, read = planner.Access(t.Context(), "Nobody")
	require.Empty(t, found)
	require.Equal(t, tasks.AccessRead{Project: "hq", Read: true}, read, "nobody knows the name")

	// The list lacks a desktop that the cloud counts, as with access through a group.
	found, read = s.plannerAt(hidingDesktop(t, s.cloud.URL, "own")).Access(t.Context(), "zoe")
	require.ElementsMatch(t, []string{"shared", "pool"}, ids(found), "what was found is shown")
	require.False(t, read.Read)
	require.Contains(t, read.Error, "counts 3 desktops")

	// Users cannot be listed, or nothing can be read.
	s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpUsers, Status: 403, Times: 100})
	found, read = s.planner().Access(t.Context(), "idle")
	require.Empty(t, found)
	require.False(t, read.Read)
	require.Contains(t, read.Error, "could not be listed")
	s.cloud.ClearFaults()
	s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Status: 500, Times: 100})
	_, read = s.planner().Access(t.Context(), "zoe")
	require.False(t, read.Read)
	require.NotEmpty(t, read.Error)
	s.cloud.ClearFaults()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, read = s.planner().Access(ended, "zoe")
	require.False(t, read.Read)
	require.Empty(t, s.calls(), "nothing is sent")
}

// hidingDesktop is a cloud whose lists of desktops lack one.
func hidingDesktop(t *testing.T, cloud, id string) string {
	to, err := url.Parse(cloud)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ModifyResponse = func(resp *http.Response) error {
		if !strings.HasSuffix(resp.Request.URL.Path, "/desktops/detail") {
			return nil
		}
		var page struct {
			Desktops []map[string]any `json:"desktops"`
			Total    int              `json:"total_count"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
			return err
		}
		n := len(page.Desktops)
		page.Desktops = slices.DeleteFunc(page.Desktops, func(d map[string]any) bool { return d["desktop_id"] == id })
		page.Total -= n - len(page.Desktops)
		text, err := json.Marshal(page)
		resp.Body = io.NopCloser(bytes.NewReader(text))
		resp.ContentLength = int64(len(text))
		resp.Header.Set("Content-Length", strconv.Itoa(len(text)))
		return err
	}
	srv := httptest.NewServer(proxy)
	t.Cleanup(srv.Close)
	return srv.URL
}
