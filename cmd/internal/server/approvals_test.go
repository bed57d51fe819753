package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
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

// hashOf plans what is left of an operation that waits, as a key does, without a cloud: each
// desktop is read with a user. It returns the hash.
func (b *bench) hashOf(key, id string) string {
	b.t.Helper()
	who := b.do(key, "GET", "/v1/key", "").json(b.t)["id"].(string)
	op, err := b.store.Record.Operation(b.t.Context(), id)
	require.NoError(b.t, err)
	plan, err := b.store.Record.CreatePlanOf(b.t.Context(), time.Now(), who, op)
	require.NoError(b.t, err)
	w, err := b.store.Record.TakePlan(b.t.Context(), plan, true)
	require.NoError(b.t, err)
	require.NoError(b.t, w.Load(b.t.Context()))
	var rows []tasks.Planned
	for _, d := range w.Named {
		rows = append(rows, tasks.Planned{ID: d.ID, Does: "send", Now: &tasks.Before{Users: []tasks.Person{{Name: "u-" + d.ID}}}})
	}
	require.NoError(b.t, w.AddRows(b.t.Context(), 0, len(rows), rows))
	require.NoError(b.t, w.End(b.t.Context(), time.Now(), ""))
	plan, err = b.store.Record.Plan(b.t.Context(), plan.ID)
	require.NoError(b.t, err)
	return plan.Hash
}

// Only the plan of what is left of the operation, of the same key and not too old, approves.
func TestAnApprovalNeedsItsPlan(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	feed := b.newKey(access.Key{Name: "hr-feed", Owner: "Ann", Role: access.Producer})
	bob := b.newKey(access.Key{Name: "bob", Owner: "Bob", Role: access.Approver})
	eve := b.newKey(access.Key{Name: "eve", Owner: "Bob", Role: access.Approver})
	asks := func() string {
		id := b.do(feed, "POST", "/v1/operations", `{"project":"hq","desktops":["d1","d2"]}`).json(t)["id"].(string)
		b.waitsFor(id, 2, 0)
		return id
	}
	op, other := asks(), asks()
	hash, foreign := b.hashOf(bob, op), b.hashOf(bob, other)
	approve := func(key, hash string) answer {
		body := `{"reason":"checked","plan":"` + hash + `"}`
		if hash == "" {
			body = `{"reason":"checked"}`
		}
		return b.do(key, "POST", "/v1/operations/"+op+":approve", body)
	}
	a := approve(bob, "")
	require.Equal(t, []any{400, "invalid"}, []any{a.status, a.json(t)["code"]})
	require.Contains(t, a.body, "/plan")
	for want, a := range map[string]answer{
		"404 plan_not_found": approve(eve, hash),    // it shows what another key read
		"409 plan_changed":   approve(bob, foreign), // it is of another operation
	} {
		require.Equal(t, want, fmt.Sprint(a.status, " ", a.json(t)["code"]))
	}
	late := b.srv.Store.Producer
	b.srv.Store.Producer = b.producerAt(time.Now().Add(time.Hour))
	a = approve(bob, hash)
	require.Equal(t, []any{409, "plan_expired"}, []any{a.status, a.json(t)["code"]})
	b.srv.Store.Producer = late
	require.Equal(t, "waiting", b.do(bob, "GET", "/v1/operations/"+op, "").json(t)["state"])
	a = approve(bob, hash)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, hash, a.json(t)["clearance"].(map[string]any)["plan"])
	require.Equal(t, 409, approve(bob, hash).status)
}

// A plan is run by the key that made it, within an hour, once for an idempotency key, and
// with nothing that it says itself.
func TestAPlanIsRunByItsHash(t *testing.T) {
	t.Parallel()
	b, gate, ask := planBench(t, 12)
	close(gate)
	b.srv.planPatience = time.Minute
	mine := b.key[access.Producer]
	plan := b.do(mine, "POST", "/v1/plans", ask).json(t)
	hash := plan["hash"].(string)
	require.Len(t, hash, 64)
	require.NotEmpty(t, plan["expires_at"])
	require.Equal(t, hash, b.do(b.key[access.Operator], "POST", "/v1/plans", ask).json(t)["hash"], "it is about what was shown, not about who asked")
	run := func(key, more string, header ...string) answer {
		return b.do(key, "POST", "/v1/operations", `{"plan":"`+hash+`"`+more+`}`, header...)
	}
	for _, more := range []string{
		`,"project":"hq"`, `,"desktops":["d-0001"]`, `,"users":["zoe"]`, `,"computers":["PC-1"]`, `,"allow_shared":true`, `,"unknown_users":"hold"`,
		`,"shutoff_after_detach":true`, `,"not_before":"now"`, `,"due_at":"2199-01-01T00:00:00Z"`, `,"deadline":"2199-01-01T00:00:00Z"`,
		`,"validate_only":true`, `,"operation":"x"`,
	} {
		require.Equal(t, 400, run(mine, more).status, more)
	}
	require.Equal(t, 400, b.do(mine, "POST", "/v1/operations", `{"plan":"abc"}`).status)
	require.Equal(t, 400, b.do(mine, "POST", "/v1/plans", `{"plan":"`+hash+`"}`).status)
	a := run(b.key[access.Admin], "")
	require.Equal(t, []any{404, "plan_not_found"}, []any{a.status, a.json(t)["code"]}, "it is another key's")

	a = run(mine, `,"reason":"left","ticket":"HR-1","urgent":true`, "Idempotency-Key", "k")
	require.Equal(t, 202, a.status, a.body)
	op := a.json(t)
	require.Equal(t, []any{hash, "hq", 12., "left", "HR-1", true}, []any{op["plan"], op["project"], op["total"], op["reason"], op["ticket"], op["urgent"]})
	event := b.audit()[0]
	require.Equal(t, []string{"hq", "left", op["id"].(string), "12 desktops, 0 users, 0 computers"}, []string{event.Project, event.Reason, event.Target, event.Detail})

	b.srv.Store.Producer = b.producerAt(time.Now().Add(time.Hour))
	a = run(mine, `,"reason":"left","ticket":"HR-1","urgent":true`, "Idempotency-Key", "k")
	require.Equal(t, []any{202, true, op["id"]}, []any{a.status, a.json(t)["replayed"], a.json(t)["id"]}, "a repeat is answered also when the plan is old")
	require.Equal(t, 422, run(mine, `,"reason":"other"`, "Idempotency-Key", "k").status)
	a = run(mine, "")
	require.Equal(t, []any{409, "plan_expired"}, []any{a.status, a.json(t)["code"]})
}

// What is left of an operation that waits is planned by its id alone.
func TestAPlanOfWhatIsLeft(t *testing.T) {
	t.Parallel()
	b, gate, ask := planBench(t, 12)
	close(gate)
	b.srv.planPatience = time.Minute
	id := b.do(b.key[access.Producer], "POST", "/v1/operations", ask).json(t)["id"].(string)
	approver := b.key[access.Approver]
	require.Equal(t, 409, b.do(approver, "POST", "/v1/plans", `{"operation":"`+id+`"}`).status, "it does not wait")
	b.waitsFor(id, 12, 500)
	require.Equal(t, 400, b.do(approver, "POST", "/v1/plans", `{"operation":"`+id+`","project":"hq"}`).status)
	bound := b.newKey(access.Key{Name: "elsewhere", Role: access.Approver, Projects: []string{"branch"}})
	require.Equal(t, 404, b.do(bound, "POST", "/v1/plans", `{"operation":"`+id+`"}`).status)

	keys, err := b.keys.List(t.Context())
	require.NoError(t, err)
	as := NewInside(b.srv.Config).As(keys[slices.IndexFunc(keys, func(k access.Key) bool { return k.Name == string(access.Approver) })], Origin{})
	plan, err := as.PlanOperation(t.Context(), api.PlanOfOperation{Operation: id, Reason: "to be approved"})
	require.NoError(t, err)
	require.Equal(t, []any{tasks.PlanDone, id, 12, 12}, []any{plan.State, plan.OperationID, plan.Desktops, len(plan.Items)})
	require.Equal(t, "of operation "+id, b.audit()[0].Detail)
	op, err := as.Approve(t.Context(), id, api.ApproveRequest{Plan: plan.Hash, Reason: "as it was shown"})
	require.NoError(t, err)
	require.Equal(t, plan.Hash, op.Clearance.Plan)
}

// producerAt is the bench's producer at another time.
func (b *bench) producerAt(now time.Time) *record.Producer {
	b.t.Helper()
	p, err := record.NewProducer(b.store.Redis, record.ProducerConfig{Projects: b.store.Projects, Now: func() time.Time { return now }})
	require.NoError(b.t, err)
	return p
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
	shown := func(key string) string { return b.hashOf(key, strings.TrimPrefix(op, "/v1/operations/")) }
	a := b.do(ann, "POST", op+":approve", `{"plan":"`+shown(ann)+`","reason":"I know it is right"}`)
	require.Equal(t, []any{403, "same_person"}, []any{a.status, a.json(t)["code"]})
	require.Contains(t, a.json(t)["detail"], "Ann Lee asked for these 900 desktops, and nobody may approve more than 500")
	require.Equal(t, "waiting", b.do(bob, "GET", op, "").json(t)["state"])
	events, _, err := b.store.Record.AuditLog(t.Context(), tasks.AuditFilter{Action: tasks.AuditOperationApproved}, 10, "")
	require.NoError(t, err)
	require.Equal(t, []any{tasks.AuditFailed, "same_person", "ann lee"}, []any{events[0].Outcome, events[0].Detail, events[0].Owner})

	a = b.do(bob, "POST", op+":approve", `{"plan":"`+shown(bob)+`","reason":"HR sent the list to me, too"}`)
	require.Equal(t, 200, a.status, a.body)
	clearance := a.json(t)["clearance"].(map[string]any)
	require.Equal(t, []any{"approved", "bob", "HR sent the list to me, too", 500.},
		[]any{clearance["state"], clearance["decided_by"], clearance["reason"], clearance["second_person_above"]})

	a = b.do(ann, "POST", asks()+":reject", `{"reason":"my mistake"}`)
	require.Equal(t, 200, a.status, "one's own may be rejected: %s", a.body)
}
