package server

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
)

func TestListsOverHTTP(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	post := func(query, list string) answer {
		t.Helper()
		a := b.do(b.key[access.Producer], "POST", "/v1/operations?"+query, list, "Content-Type", "text/csv; charset=utf-8")
		return a
	}
	a := post("project=hq&ticket=HR-1&urgent=true&unknown_users=ignore&not_before=2199-11-30T18:00:00Z", "sep=;\r\nComputer;Owner;Employee ID\r\nWS-1;zoe;4711\r\nWS-1;zoe;4711\r\nWS-2;;\r\n")
	require.Equal(t, 202, a.status, a.body)
	require.Equal(t, []any{"Employee ID"}, a.json(t)["ignored_columns"])
	op, err := b.store.Record.Operation(t.Context(), a.json(t)["id"].(string))
	require.NoError(t, err)
	require.True(t, op.Urgent)
	require.Equal(t, []any{"HR-1", "ignore", 2, 2199}, []any{op.Ticket, op.UnknownUsers, op.Computers, op.NotBefore.Year()})
	c, err := b.store.Record.Chunk(t.Context(), op.ID, 0)
	require.NoError(t, err)
	require.Equal(t, tasks.ComputerRow("WS-1"), c.Desktops[0].ID)
	require.Equal(t, []string{"zoe"}, c.Desktops[0].Expect)

	a = post("project=hq&validate_only=true&user_column=-", "desktop_id,Login\nd1,zoe\n")
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, []any{"Login"}, a.json(t)["ignored_columns"])

	for want, x := range map[string][2]string{
		"several columns name the user":         {"project=hq", "desktop_id,Login,Owner\nd1,zoe,ann\n"},
		`"pointer":"user_column"`:               {"project=hq", "desktop_id,Login,Owner\nd1,zoe,ann\n"},
		`{"pointer":"line 3"`:                   {"project=hq", "desktop_id\nd1\n\"a b\"\n"},
		"the list has rows of several projects": {"", "desktop_id,project\nd1,hq\nd2,branch\n"},
		"has no project":                        {"", "desktop_id\nd1\n"},
		"quote that opens on line 2":            {"project=hq", "desktop_id,note\nd1,\"x\nd2,y\n"},
		"the list has no rows":                  {"project=hq", "desktop_id\n"},
		"workbook":                              {"project=hq", "PK\x03\x04"},
		"is an unknown parameter":               {"project=hq&skip=1", "desktop_id\nd1\n"},
		"is neither true nor false":             {"project=hq&urgent=yes", "desktop_id\nd1\n"},
		"not a time such as":                    {"project=hq&not_before=soon", "desktop_id\nd1\n"},
		`"due_at","detail":"is empty`:           {"project=hq&due_at=", "desktop_id\nd1\n"},
		`"user_column","detail":"is empty`:      {"project=hq&user_column", "desktop_id\nd1\n"},
		"invalid semicolon separator":           {"project=hq&due_at=2026-12-30T18:00:00Z;validate_only=true", "desktop_id\nd1\n"},
		`invalid URL escape \"%!\"`:             {"project=hq&reason=100%!", "desktop_id\nd1\n"},
		"a number that a spreadsheet made of":   {"project=hq", "desktop_id\n7.0E+13\n"},
		"has a date to come":                    {"project=hq", "user,last day\nzoe,2199-12-31\n"},
		"remove the row if the person stays":    {"project=hq&not_before=now", "user,last day\nzoe,cancelled\n"},
	} {
		a := post(x[0], x[1])
		require.Equal(t, 400, a.status, a.body)
		require.Contains(t, a.body, want)
	}
	for _, time := range []string{"not_before=now", "due_at=2199-12-31T18:00:00Z", "last_working_day=2199-12-31&zone=UTC"} {
		a := post("project=hq&validate_only=true&"+time, "user,last day\nzoe,2199-12-31\n")
		require.Equal(t, 200, a.status, a.body)
	}
	a = b.do(b.key[access.Producer], "POST", "/v1/operations?validate_only=true", `{"project":"hq","desktops":["d1"]}`)
	require.Equal(t, 400, a.status, "a JSON request with validate_only in the query must not run")
	require.Contains(t, a.body, "put it into the body")
	for _, kind := range []string{"multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "application/csv"} {
		a = b.do(b.key[access.Producer], "POST", "/v1/operations?project=hq", "user\nzoe\n", "Content-Type", kind)
		require.Equal(t, 415, a.status, a.body)
		require.Contains(t, a.body, "or a list as text/csv")
	}
	a = b.do(b.key[access.Producer], "POST", "/v1/plans?project=hq", "kennel\nx\n", "Content-Type", "text/csv")
	require.Contains(t, a.body, "no column desktop_id")
}

// A query that cannot be read is refused whole: a dry run must not become a real one.
func TestQueriesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, query := range []string{"validate_only=true;x", "x=%zz", "%"} {
		for _, x := range [][2]string{
			{"POST", "/v1/operations"}, {"POST", "/v1/projects/hq:pause"}, {"GET", "/v1/operations"}, {"GET", "/v1/projects"},
		} {
			body := ""
			if x[1] == "/v1/operations" && x[0] == "POST" {
				body = `{"project":"hq","desktops":["d1"]}`
			}
			a := b.do(b.key[access.Operator], x[0], x[1]+"?"+query, body)
			require.Equal(t, 400, a.status, "%v: %s", x, a.body)
			require.Contains(t, a.body, "cannot be read")
		}
	}
	require.Empty(t, b.do(b.key[access.Viewer], "GET", "/v1/operations", "").json(t)["items"])
}

func TestIDsHaveOneSpellingOverHTTP(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const id = "7d0f0001-0000-4000-8000-0000000000ab"
	upper := "%7B" + strings.ToUpper(id) + "%7D"
	a := b.do(b.key[access.Producer], "POST", "/v1/operations", `{"project":"hq","desktops":["{`+strings.ToUpper(id)+`}"]}`)
	require.Equal(t, 202, a.status, a.body)
	a = b.do(b.key[access.Viewer], "GET", "/v1/desktops/"+upper, "")
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, id, a.json(t)["desktop_id"])
	require.Len(t, a.json(t)["events"], 1)
}
