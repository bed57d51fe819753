package server

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
)

// What becomes of unknown users a request says; where it does not, its key does;
// where neither does, the project does when the operation runs.
func TestUnknownUsersOfRequestKeyAndProject(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	made := b.do(b.key[access.Admin], "POST", "/v1/keys", `{"name":"feed","role":"producer","unknown_users":"ignore"}`)
	require.Equal(t, 201, made.status, made.body)
	require.Equal(t, "ignore", made.json(t)["unknown_users"])
	feed := made.json(t)["key"].(string)
	require.Equal(t, "ignore", b.do(feed, "GET", "/v1/key", "").json(t)["unknown_users"])

	operation := func(key, more string) any {
		t.Helper()
		a := b.do(key, "POST", "/v1/operations", `{"project":"hq","users":["zoe"]`+more+`}`)
		require.Equal(t, 202, a.status, a.body)
		return a.json(t)["unknown_users"]
	}
	require.Equal(t, "ignore", operation(feed, ""))
	require.Equal(t, "hold", operation(feed, `,"unknown_users":"hold"`))
	require.Nil(t, operation(b.key[access.Producer], ""), "it is left to the project")
	list := b.do(feed, "POST", "/v1/operations?project=hq", "user\nzoe\n", "Content-Type", "text/csv")
	require.Equal(t, "ignore", list.json(t)["unknown_users"], list.body)

	bad := b.do(b.key[access.Admin], "POST", "/v1/keys", `{"name":"feed","role":"producer","unknown_users":"drop"}`)
	require.Equal(t, 400, bad.status)
	require.Contains(t, bad.body, `"pointer":"/unknown_users"`)
}
