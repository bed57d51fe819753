package dashboard_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// A recall cancels what has not left, says what was too late, and leads to the undo of that.
func TestRecall(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cloud.Add(projectIDs["hq"], fakecloud.Desktop{ID: "d-1", Users: []fakecloud.User{{Name: "zoe"}}})
	s.work()
	late := s.ended(s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-1"}, ExpectedUsers: map[string][]string{"d-1": {"zoe"}}}).ID)
	require.Equal(t, 1, late.Counts.Detached)
	_, err := s.api().Pause(t.Context(), "branch", api.PauseRequest{Reason: "a test"})
	require.NoError(t, err)
	waits := s.submit(api.OperationRequest{Project: "branch", Users: []string{"zoe", "tom"}})
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Operator))
	b.open("/person?name=zoe")
	b.press("Recall…")
	b.at("/recall?user=zoe")
	b.fill("input[name=source]", "hr")
	b.fill("input[name=reason]", "she stays")
	b.press("Recall")
	b.sees("Recalled. This page shows what was cancelled, and what was too late.")
	b.sees("1 desktop was too late")
	require.Equal(t, []string{"too late 1", "cancelled 1"}, value[[]string](b, `[...document.querySelectorAll(".counts li")].map((e) => e.innerText.trim())`))
	b.sees("operations requested by hr, accepted until then")
	require.Equal(t, []string{late.ID + " too late", waits.ID + " cancelled"}, value[[]string](b, `[...document.querySelectorAll("#rows tbody tr")]
		.map((e) => e.querySelector("[data-label=Operation]").innerText.trim() + " " + e.querySelector("[data-label=Outcome]").innerText.trim())`))
	op, err := s.api().OperationState(t.Context(), waits.ID)
	require.NoError(t, err)
	require.Equal(t, tasks.Counts{Cancelled: 1, Queued: 1}, op.Counts, "tom is not recalled")
	b.press("Give 1 desktop back…")
	b.sees("Give 1 desktop back?")
	b.fill("input[name=reason]", "she stays")
	b.press("Give 1 desktop back")
	b.sees("The undo is accepted.")
	require.Equal(t, 1, s.undone(late.ID).Counts.Detached)
	b.open("/recalls")
	b.sees("she stays")
	b.press("zoe")
	b.sees("Nothing was too late") // any more: the desktop was given back

	producer := s.session(access.Producer)
	require.NotContains(t, s.get("/recall", producer).body, `name="source"`)
	require.Contains(t, s.get("/recall", producer).body, "Your key recalls from its own requests only.")
	require.Equal(t, http.StatusForbidden, s.post("/recall", producer, "user", "zoe", "source", "hr", "reason", "x").status)
	require.Equal(t, http.StatusBadRequest, s.post("/recall", producer, "user", "zoe").status, "it has a reason")
	require.Contains(t, s.get("/recalls/"+value[string](b, `location.pathname.split("/").pop()`), s.session(access.Viewer)).body, "Nothing was too late")
}
