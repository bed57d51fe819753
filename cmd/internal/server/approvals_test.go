package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
)

// waitsFor has an operation wait for an approval.
func (b *bench) waitsFor(id string, desktops, secondPersonAbove int) {
	b.t.Helper()
	op, err := b.store.Record.Operation(b.t.Context(), id)
	require.NoError(b.t, err)
	asked, err := b.store.Record.AskApproval(b.t.Context(), op, tasks.Clearance{
		Why: tasks.WhyLimit, Desktops: desktops, SecondPersonAbove: secondPersonAbove, WindowS: 3600, ExpiresAt: time.Now().Add(time.Hour),
	})
	require.NoError(b.t, err)
	require.True(b.t, asked)
}

func TestASecondPersonApproves(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	feed := b.newKey(access.Key{Name: "hr-feed", Owner: "Ann Lee", Role: access.Producer})
	ann := b.newKey(access.Key{Name: "ann", Owner: "ann lee", Role: access.Admin})
	bob := b.newKey(access.Key{Name: "bob", Owner: "Bob", Role: access.Approver})
	asks := func() string {
		op := b.do(feed, "POST", "/v1/operations", `{"project":"hq","desktops":["d1","d2"]}`).json(t)
		require.Equal(t, []any{"hr-feed", "Ann Lee"}, []any{op["requested_by"], op["owner"]})
		b.waitsFor(op["id"].(string), 900, 500)
		return "/v1/operations/" + op["id"].(string)
	}
	require.Equal(t, 400, b.do(feed, "POST", "/v1/operations", `{"project":"hq","desktops":["d1"],"owner":"Bob"}`).status, "only the key says who owns it")

	op := asks()
	a := b.do(ann, "POST", op+":approve", `{"reason":"I know it is right"}`)
	require.Equal(t, []any{403, "same_person"}, []any{a.status, a.json(t)["code"]})
	require.Contains(t, a.json(t)["detail"], "Ann Lee asked for these 900 desktops, and nobody may approve more than 500")
	require.Equal(t, "waiting", b.do(bob, "GET", op, "").json(t)["state"])
	events, _, err := b.store.Record.AuditLog(t.Context(), tasks.AuditFilter{Action: tasks.AuditOperationApproved}, 10, "")
	require.NoError(t, err)
	require.Equal(t, []any{tasks.AuditFailed, "same_person", "ann lee"}, []any{events[0].Outcome, events[0].Detail, events[0].Owner})

	a = b.do(bob, "POST", op+":approve", `{"reason":"HR sent the list to me, too"}`)
	require.Equal(t, 200, a.status, a.body)
	clearance := a.json(t)["clearance"].(map[string]any)
	require.Equal(t, []any{"approved", "bob", "HR sent the list to me, too", 500.},
		[]any{clearance["state"], clearance["decided_by"], clearance["reason"], clearance["second_person_above"]})

	a = b.do(ann, "POST", asks()+":reject", `{"reason":"my mistake"}`)
	require.Equal(t, 200, a.status, "one's own may be rejected: %s", a.body)
}
