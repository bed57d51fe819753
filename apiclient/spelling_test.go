package apiclient_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
)

const (
	lowerID = "7e0e9be3-061d-4b2f-bd83-0000000000ab"
	upperID = "7E0E9BE3-061D-4B2F-BD83-0000000000AB"
)

// An id in another spelling is the same desktop. Taken for another one, a desktop that the cloud
// lists would count as gone, and one that it refuses as accepted.
func TestIDsMatchWhateverTheirSpelling(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ asked, written string }{{lowerID, upperID}, {upperID, lowerID}, {lowerID, lowerID}, {upperID, upperID}} {
		item := `{"desktop_id":"` + test.written + `","pool_id":"p","attach_state":"ATTACHED","error_code":"WKS.1"}`
		c := client(t, serve(t, answer(200, `{"desktops":[`+item+`],"failed_operation_list":[`+item+`,`+item+`]}`)).URL)
		list, err := c.Desktops(t.Context(), []string{test.asked})
		require.NoError(t, err)
		require.Equal(t, []string{test.asked}, idsOf(list))
		in, err := c.InPool(t.Context(), "p", []string{test.asked})
		require.NoError(t, err)
		require.Equal(t, []string{test.asked}, in)
		result, err := c.Detach(t.Context(), apiclient.DetachRequest{DesktopIDs: []string{test.asked}})
		require.NoError(t, err)
		require.Equal(t, []apiclient.DesktopFailure{{DesktopID: test.asked, Code: "WKS.1"}}, result.Failed)
		require.Empty(t, result.Unasked)
	}
}

// What nobody named is in the spelling that requests have, so that a desktop is one everywhere.
func TestIDsThatTheCloudNamesHaveOneSpelling(t *testing.T) {
	t.Parallel()
	item := `{"desktop_id":"` + upperID + `","resource_id":"` + upperID + `","pool_id":"p","status":"FAILED","entities":{"desktop_id":"` + upperID + `"}}`
	n := 0
	c := client(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		n++
		answer(200, `{"desktops":[`+item+`],"items":[`+item+`],"jobs":[`+item+`],"total_count":1,"count":1}`)(w, r)
	}).URL)
	ctx := t.Context()
	of, err := c.DesktopsOf(ctx, []string{"zoe"})
	require.NoError(t, err)
	require.Equal(t, []string{lowerID}, idsOf(of))
	parts, err := c.SubJobs(ctx, "j")
	require.NoError(t, err)
	require.Equal(t, lowerID, parts[0].DesktopID)
	for id, err := range c.PoolOf(ctx, "p", anyPage) {
		require.NoError(t, err)
		require.Equal(t, lowerID, id)
	}
	for u, err := range c.Usage(ctx, time.Now(), time.Now(), 1, anyPage) {
		require.NoError(t, err)
		require.Equal(t, lowerID, u.DesktopID)
	}
	require.Equal(t, 6, n)
}

func TestADesktopOfTwoSpellingsIsNotSentTwice(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t, func(http.ResponseWriter, *http.Request) { t.Error("sent") }).URL)
	_, err := c.Detach(t.Context(), apiclient.DetachRequest{DesktopIDs: []string{lowerID, upperID}})
	require.ErrorContains(t, err, "is repeated")
	require.True(t, fault(t, err).Local)
}
