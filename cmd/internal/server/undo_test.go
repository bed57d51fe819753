package server

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

// detached has desktops of an operation detached from a user.
func (b *bench) detached(desktops ...string) string {
	b.t.Helper()
	op, err := b.store.Producer.Enqueue(b.t.Context(), tasks.Request{Project: "hq", Desktops: desktops, RequestedBy: "hr"})
	require.NoError(b.t, err)
	c, err := b.store.Record.Chunk(b.t.Context(), op.ID, 0)
	require.NoError(b.t, err)
	ch := record.Change{Operation: op}
	for _, d := range c.Desktops {
		ch.Moves = append(ch.Moves, record.Move{Desktop: d, To: tasks.StateDetached, CallID: "c1", Before: &tasks.Before{
			Type: "DEDICATED", AttachState: "ATTACHED", ReadAt: time.Now(), Users: []tasks.Person{{Name: "zoe", ID: "u1", Group: "users", Type: "USER"}},
		}})
	}
	_, err = b.store.Record.Apply(b.t.Context(), time.Now(), []record.Change{ch})
	require.NoError(b.t, err)
	return op.ID
}

func TestUndoOverHTTP(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	amy := b.newKey(access.Key{Name: "amy", Owner: "Amy Lee", Role: access.Operator})
	id := b.detached("d1", "d2")
	a := b.do(amy, "POST", "/v1/operations/"+id+":undo", `{"desktops":["d2"],"reason":"she stays","ticket":"CHG-7"}`, "Idempotency-Key", "k")
	require.Equal(t, http.StatusAccepted, a.status, a.body)
	undo := a.json(t)
	require.Equal(t, []any{id, "amy", "Amy Lee", "she stays", "CHG-7", true, 1.}, []any{
		undo["undo_of"], undo["requested_by"], undo["owner"], undo["reason"], undo["ticket"], undo["urgent"], undo["total"],
	})
	require.Equal(t, "/v1/operations/"+undo["id"].(string), a.header.Get("Location"))
	audit := b.audit()
	require.Equal(t, []any{tasks.AuditOperationUndone, undo["id"], "she stays", "of " + id + ", 1 desktops"},
		[]any{audit[0].Action, audit[0].Target, audit[0].Reason, audit[0].Detail})

	a = b.do(amy, "POST", "/v1/operations/"+id+":undo", `{"desktops":["d2"],"reason":"she stays","ticket":"CHG-7"}`, "Idempotency-Key", "k")
	require.Equal(t, "true", a.header.Get("Idempotent-Replayed"))
	require.Equal(t, undo["id"], a.json(t)["id"])
	require.Len(t, b.audit(), len(audit), "a replay changes nothing")

	b.step(undo["id"].(string), tasks.StateDetached)
	require.Equal(t, []any{undo["id"]}, b.do(b.key[access.Viewer], "GET", "/v1/operations/"+id, "").json(t)["undos"])
	rows, _, err := b.client(access.Key{Name: "v", Role: access.Viewer}).Desktops(t.Context(), id, tasks.DesktopFilter{}, 10, "")
	require.NoError(t, err)
	require.Equal(t, []string{"", undo["id"].(string)}, []string{rows[0].GivenBackBy, rows[1].GivenBackBy})

	whole, err := b.client(access.Key{Name: "amy", Role: access.Operator}).Undo(t.Context(), id, api.UndoRequest{Reason: "the wrong list"})
	require.NoError(t, err)
	require.Equal(t, 2, whole.Total)
	for body, status := range map[string]int{
		`{"desktops":["d2"]}`: 400, `{"reason":""}`: 400, `{"reason":" \t"}`: 400, `{"reason":"x","desktops":["d3"]}`: 400, `{"reason":"x","desktops":["d1","d1"]}`: 400,
		`{"reason":"x","desktops":[]}`: 400,
	} {
		require.Equal(t, status, b.do(amy, "POST", "/v1/operations/"+id+":undo", body).status, body)
	}
	other := b.newKey(access.Key{Name: "elsewhere", Role: access.Operator, Projects: []string{"branch"}})
	require.Equal(t, 404, b.do(other, "POST", "/v1/operations/"+id+":undo", `{"reason":"x"}`).status)
	require.Equal(t, 409, b.do(amy, "POST", "/v1/operations/"+whole.ID+":undo", `{"reason":"x"}`).status, "an undo of an undo")
}
