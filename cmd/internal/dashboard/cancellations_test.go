package dashboard_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks/api"
)

// What is filtered in the list of operations can be cancelled, after a look at how much that is.
func TestCancelWhatMatches(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	var wrong []string
	for _, desktops := range [][]string{{"d1", "d2"}, {"d3"}} {
		wrong = append(wrong, s.submit(api.OperationRequest{Project: "hq", Desktops: desktops, Ticket: "HR-9"}).ID)
	}
	right := s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d4"}, Ticket: "HR-10"}).ID
	b.signIn(s.key(access.Operator))
	b.open("/operations?ticket=HR-9&page_token=")
	b.press("Cancel what matches")
	b.sees("Cancel 2 operations?")
	b.sees("About 3 desktops would be cancelled, and their users keep access.")
	b.fill("input[name=reason]", "the wrong list")
	b.press("Cancel 2 operations")
	b.sees("Cancelling. This page shows the progress.")
	b.sees("Finished: 2 of 2 operations")
	b.sees("3 desktops cancelled")
	b.sees("the wrong list")
	b.open("/cancellations")
	b.sees("the wrong list")
	for _, id := range wrong {
		op, err := s.api().OperationState(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, op.Total, op.Counts.Cancelled)
	}
	op, err := s.api().OperationState(t.Context(), right)
	require.NoError(t, err)
	require.Zero(t, op.Counts.Cancelled)

	operator := s.session(access.Operator)
	require.Contains(t, s.get("/cancellations/preview?project=hq", operator).body, "Give a ticket, or a project or requester and the time")
	require.Contains(t, s.get("/cancellations/preview?ticket=nothing", operator).body, "No operation matches.")
	for _, fields := range [][]string{
		{"ticket", "HR-10", "matched", "1", "as_of", "2126-01-01T00:00:00Z"}, // no reason
		{"ticket", "HR-10", "matched", "1", "as_of", "soon", "reason", "x"},
		{"ticket", "HR-10", "matched", "12", "as_of", "2126-01-01T00:00:00Z", "reason", "x"}, // not typed
		{"reason", "x", "as_of", "2126-01-01T00:00:00Z"},                                     // names nothing
	} {
		require.Equal(t, http.StatusBadRequest, s.post("/cancellations", operator, fields...).status, "%v", fields)
	}
	require.NotEqual(t, http.StatusSeeOther, s.post("/cancellations", operator, "ticket", "HR-10", "matched", "2", "reason", "x",
		"as_of", "2126-01-01T00:00:00Z").status, "another number than was seen")
	op, err = s.api().OperationState(t.Context(), right)
	require.NoError(t, err)
	require.Zero(t, op.Counts.Cancelled, "nothing was changed")
}
