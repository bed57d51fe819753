package leavers

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/api"
)

func TestRequestsByProject(t *testing.T) {
	t.Parallel()
	l, err := readList("", "desktop_id,user,project\nd1,zoe,hq\nd2,,branch\nd1,ann,hq\nd3,,hq\n")
	require.NoError(t, err)
	require.Empty(t, l.Bad)
	requests := l.Requests(api.OperationRequest{Ticket: "T"})
	require.Equal(t, []api.OperationRequest{
		{Project: "hq", Ticket: "T", Desktops: []string{"d1", "d3"}, ExpectedUsers: map[string][]string{"d1": {"zoe", "ann"}}},
		{Project: "branch", Ticket: "T", Desktops: []string{"d2"}},
	}, requests)
	for pointer, line := range map[string]int{
		"/desktops/0": 2, "/desktops/1": 5, "/desktops/2": 0, "/expected_users/d1": 2, "/expected_users/d1/1": 2,
		"/expected_users": 0, "/users/0": 0, "/desktops": 0, "/desktops/x": 0, "/ticket": 0, "": 0,
	} {
		require.Equal(t, line, l.Line(requests[0], pointer), pointer)
	}
	require.Equal(t, 3, l.Line(requests[1], "/desktops/0"))

	machines, err := readList("hq", "Computer,Owner\nWS-1,zoe\nWS/2,\nWS-1,ann\n")
	require.NoError(t, err)
	require.Empty(t, machines.Bad)
	requests = machines.Requests(api.OperationRequest{})
	require.Equal(t, []api.OperationRequest{
		{Project: "hq", Computers: []string{"WS-1", "WS/2"}, ExpectedUsers: map[string][]string{"computer:WS-1": {"zoe", "ann"}}},
	}, requests)
	require.Equal(t, 3, machines.Line(requests[0], "/computers/1"))
	require.Equal(t, 3, machines.Line(requests[0], "/expected_users/computer:WS~12"))

	users, err := readList("hq", "user\nzoe\nann\n")
	require.NoError(t, err)
	requests = users.Requests(api.OperationRequest{})
	require.Equal(t, []api.OperationRequest{{Project: "hq", Users: []string{"zoe", "ann"}}}, requests)
	require.Equal(t, 3, users.Line(requests[0], "/users/1"))
}

func TestTextIsCSVOrOneOnALine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]Leaver{
		"d1\n\n d2 \r\nd3":                {{Line: 1, Project: "hq", Desktop: "d1"}, {Line: 3, Project: "hq", Desktop: "d2"}, {Line: 4, Project: "hq", Desktop: "d3"}},
		"desktop_id\nd1\n":                {{Line: 2, Project: "hq", Desktop: "d1"}},
		"user;desktop\nzoe;d1\n":          {{Line: 2, Project: "hq", Desktop: "d1", User: "zoe"}},
		"User_Name\nzoe\n":                {{Line: 2, Project: "hq", User: "zoe"}},
		"\xef\xbb\xbfd1\n":                {{Line: 1, Project: "hq", Desktop: "d1"}},
		"\n\n\nd1":                        {{Line: 4, Project: "hq", Desktop: "d1"}},
		"desktop_id,user\nd1,zoe,":        {{Line: 2, Project: "hq", Desktop: "d1", User: "zoe"}},
		"Benutzername\nzoe\n":             {{Line: 2, Project: "hq", User: "zoe"}},
		"computer:WS-1\nuser:zoe\n\"d1\"": {{Line: 1, Project: "hq", Computer: "WS-1"}, {Line: 2, Project: "hq", User: "zoe"}, {Line: 3, Project: "hq", Desktop: "d1"}},
	} {
		l := New("hq", known)
		require.NoError(t, l.ReadText(strings.NewReader(text), Desktops), text)
		require.Empty(t, l.Bad, text)
		require.Equal(t, want, l.Good, text)
	}
	l := New("hq", known)
	require.NoError(t, l.ReadText(strings.NewReader("zoe smith\nann"), Users))
	require.Equal(t, []Leaver{{Line: 1, Project: "hq", User: "zoe smith"}, {Line: 2, Project: "hq", User: "ann"}}, l.Good)

	l = New("hq", known)
	require.NoError(t, l.ReadText(strings.NewReader("Sam\nzoe"), Users))
	require.Equal(t, []Leaver{{Line: 1, Project: "hq", User: "Sam"}, {Line: 2, Project: "hq", User: "zoe"}}, l.Good, "a person is not a header")

	l = New("hq", known)
	require.NoError(t, l.ReadText(strings.NewReader("WS-1\nWS-1\nWS-2"), Computers))
	require.Equal(t, []Leaver{{Line: 1, Project: "hq", Computer: "WS-1"}, {Line: 3, Project: "hq", Computer: "WS-2"}}, l.Good)

	require.ErrorContains(t, New("hq", known).ReadText(strings.NewReader("kennel,x\nd1,\n"), Desktops), "no column desktop_id")
	require.Error(t, New("hq", known).ReadText(strings.NewReader(""), Desktops))
}
