package dashboard_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks/api"
)

// Who was detached and has a desktop again is on a page, and in a file.
func TestWhoCameBack(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for id, user := range map[string]string{"d-1": "zoe", "d-2": "tom"} {
		s.cloud.Add(projectIDs["hq"], fakecloud.Desktop{ID: id, Users: []fakecloud.User{{Name: user}}})
	}
	s.work()
	op := s.ended(s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-1", "d-2"}}).ID)
	require.Equal(t, 2, op.Counts.Detached)
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Producer))
	b.open("/operations")
	b.press("Who came back")
	b.at("/came-back")
	b.press("Look for them")
	b.sees("Nobody has a desktop again.")
	b.sees("2 people were detached since")
	b.sees("from 2 desktops")

	s.cloud.Add(projectIDs["hq"], fakecloud.Desktop{ID: "d-9", ComputerName: "WS-9", Users: []fakecloud.User{{Name: "zoe"}}})
	b.press("Look again…")
	b.at("/came-back")
	b.fill("input[name=days]", "7")
	b.press("Look for them")
	b.sees("1 person has a desktop again.")
	require.Equal(t, []string{"zoe", "another desktop", "hq", "d-1", op.ID}, value[[]string](b, `(() => {
		const row = document.querySelector("#people tbody tr");
		const cell = (name) => row.querySelector("[data-label='" + name + "']").innerText.trim();
		return [row.querySelector("th").innerText.trim(), cell("Has"), cell("Project"), cell("Lost"), cell("By operation")];
	})()`))
	b.sees("WS-9")
	b.press("zoe")
	b.sees("Has 1 desktop")

	session := s.session(access.Producer)
	a := s.post("/came-back", session, "days", "7", "project", "hq")
	require.Equal(t, http.StatusSeeOther, a.status)
	a = s.get(a.header.Get("Location")+"/csv", session)
	require.Equal(t, http.StatusOK, a.status)
	require.Contains(t, a.header.Get("Content-Disposition"), "came-back-")
	require.Contains(t, a.body, "d-9")
	require.NotContains(t, a.body, "tom")
	for _, days := range []string{"", "0", "-1", "3651", "many"} {
		require.Equal(t, http.StatusBadRequest, s.post("/came-back", session, "days", days).status, days)
	}
	require.Equal(t, http.StatusNotFound, s.get("/came-back/nothing", session).status)
	require.Equal(t, http.StatusForbidden, s.get("/came-back", s.session(access.Viewer)).status)
}
