package dashboard_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/access"
)

func TestAListAsksWhichColumnIsMeant(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cloud.Add(projectIDs["hq"], fakecloud.Desktop{ID: "d-7", ComputerName: "WS-7", Users: []fakecloud.User{{Name: "zoe"}}})
	session := s.session(access.Operator)
	const list = "Computer\tLogin\tOwner\tNote\r\nWS-7\tzoe\tAnn Adler\tx\r\n"
	a := s.postMulti("/new/plan", session, "project", "hq", "list", list)
	require.Equal(t, http.StatusBadRequest, a.status)
	for _, want := range []string{"several columns name the user", `<select name="user_column"`, `<option value="Login">`,
		`<option value="Owner">`, `<option value="-">`, "WS-7\tzoe"} {
		require.Contains(t, a.body, want)
	}
	a = s.postMulti("/new/plan", session, "project", "hq", "list", list, "user_column", "Login")
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.Contains(t, a.body, "Ignored columns: Owner, Note")
	require.Contains(t, a.body, "Of 1 computer, 1 computer leads to 1 desktop and")
	require.Contains(t, a.body, `<strong class="name" title="WS-7">WS-7</strong>`)
	require.Contains(t, a.body, "computer:WS-7&#34;:[&#34;zoe&#34;]", "the submitted request has the expected user")

	a = s.postMulti("/new/plan", session, "project", "hq", "list", list, "user_column", "Wer")
	require.Equal(t, http.StatusBadRequest, a.status)
	require.Contains(t, a.body, `name="user_column" value="Wer"`, "what was chosen can be changed")

	a = s.postMulti("/new/plan", session, "project", "hq", "names", "computers", "list", "WS-7\n")
	require.Contains(t, a.body, "Of 1 computer, 1 computer leads to 1 desktop and")
	a = s.postMulti("/new/plan", session, "project", "hq", "list", "desktop_id,note\nd-7,\"x\nd-8,y\n")
	require.Contains(t, a.body, "the quote that opens on line 2 is never closed")
}

// A filter that cannot be read is refused: without it the page would show everything.
func TestAddressesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for _, query := range []string{"project=%zz", "project=hq;code=x"} {
		for _, path := range []string{"/operations", "/failures", "/"} {
			a := s.get(path+"?"+query, s.session(access.Viewer))
			require.Equal(t, http.StatusBadRequest, a.status, path)
			require.Contains(t, a.body, "the address cannot be read")
		}
	}
}
