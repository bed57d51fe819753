package server

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

func (b *bench) post(body string, header ...string) answer {
	b.t.Helper()
	return b.do(b.key[access.Producer], "POST", "/v1/operations", body, header...)
}

// What is due later starts then, unless not_before says otherwise; the answer says
// when, and each list what the operation is at.
func TestScheduling(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, x := range []struct{ fields, start, due, deadline, state string }{
		{`"due_at":"2199-11-30T18:00:00+0800"`, "2199-11-30T10:00:00Z", "2199-11-30T10:00:00Z", "2199-12-01T10:00:00Z", "scheduled"},
		{`"due_at":"2199-11-30T18:00:00+08:00","not_before":"2199-11-30T12:00:00-0330"`, "2199-11-30T15:30:00Z", "2199-11-30T10:00:00Z", "2199-12-01T15:30:00Z", "scheduled"},
		{`"due_at":"2199-11-30T18:00:00Z","not_before":"now","deadline":"2199-11-30T18:00:00.5Z"`, "", "2199-11-30T18:00:00Z", "2199-11-30T18:00:00.5Z", "running"},
		{`"due_at":"2020-11-30T18:00:00Z","deadline":"2199-11-30T18:00:00Z"`, "", "2020-11-30T18:00:00Z", "2199-11-30T18:00:00Z", "running"},
	} {
		body := `{"project":"hq","desktops":["d1"],` + x.fields
		for status, more := range map[int]string{http.StatusAccepted: `}`, http.StatusOK: `,"validate_only":true}`} {
			a := b.post(body + more)
			require.Equal(t, status, a.status, a.body)
			v := a.json(t)
			require.Equal(t, []string{x.start, x.due, x.deadline}, []string{text(v["not_before"]), text(v["due_at"]), text(v["deadline"])}, x.fields)
			if status == http.StatusAccepted {
				require.Equal(t, x.state, v["state"], x.fields)
			}
		}
	}
	for query, start := range map[string]any{"due_at=2199-11-29T18:00:00+0800&validate_only=true": "2199-11-29T10:00:00Z", "due_at=2199-11-29T18:00:00Z&not_before=now&validate_only=true": nil} {
		a := b.do(b.key[access.Producer], "POST", "/v1/operations?project=hq&"+query, "user\nzoe\n", "Content-Type", "text/csv")
		require.Equal(t, http.StatusOK, a.status, a.body)
		require.Equal(t, start, a.json(t)["not_before"], "a list, with %s", query)
	}
	items := func(query string) (out []string) {
		t.Helper()
		for _, v := range b.do(b.key[access.Viewer], "GET", "/v1/operations"+query, "").json(t)["items"].([]any) {
			out = append(out, text(v.(map[string]any)["state"])+" "+text(v.(map[string]any)["not_before"]))
		}
		return out
	}
	scheduled := []string{"scheduled 2199-11-30T10:00:00Z", "scheduled 2199-11-30T15:30:00Z"}
	require.Equal(t, scheduled, items("?scheduled=true"), "the next first")
	require.Equal(t, []string{"running ", "running "}, items("?open=true"))
	require.Len(t, items(""), 4)
	require.Equal(t, 400, b.do(b.key[access.Viewer], "GET", "/v1/operations?scheduled=true&open=true", "").status)
	require.Equal(t, 400, b.do(b.key[access.Viewer], "GET", "/v1/operations?scheduled=true&due_before=2199-12-01T00:00:00Z", "").status)
	due := items("?due_before=2199-11-30T12:00:00Z")
	require.Equal(t, scheduled[0], due[len(due)-1], "the last to be due; the other starts later")
	stats := b.do(b.key[access.Viewer], "GET", "/v1/stats?project=hq", "").json(t)["items"].([]any)[0].(map[string]any)
	require.InDelta(t, 2, stats["scheduled_operations"], 0)
	require.InDelta(t, 2, stats["open_operations"], 0)
	ops, _, err := b.store.Record.Operations(t.Context(), tasks.OperationFilter{Scheduled: true}, 1, "")
	require.NoError(t, err)
	a := b.do(b.key[access.Operator], "POST", "/v1/operations/"+ops[0].ID+":cancel", "")
	require.Equal(t, http.StatusOK, a.status)
	require.Equal(t, scheduled[1:], items("?scheduled=true"))
	require.Equal(t, "finished", b.do(b.key[access.Viewer], "GET", "/v1/operations/"+ops[0].ID, "").json(t)["state"])
}

func text(v any) string { s, _ := v.(string); return s }

func TestTimesThatAreRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for fields, want := range map[string]string{
		`"not_before":"2020-11-30T18:00:00Z"`: "/not_before has passed already",
		`"not_before":"tonight"`:              `/not_before is not a time such as 2026-11-30T18:00:00+08:00, or "now"`,
		`"not_before":7`:                      `/not_before is not a time such as 2026-11-30T18:00:00+08:00, or "now"`,
		`"due_at":"now"`:                      "/due_at is not a time such as",
		`"deadline":"2020-11-30T18:00:00Z"`:   "/deadline has passed already",
		`"not_before":"2199-11-30T18:00:00Z","deadline":"2199-11-30T17:00:00Z"`: "/deadline is not after not_before",
		`"due_at":"2199-11-30T18:00:00Z","deadline":"2199-11-30T18:00:00Z"`:     "/deadline is not after due_at",
		`"not_before":"2020-11-30T18:00:00Z","validate_only":true`:              "/not_before has passed already",
		`"not_before":"2020-11-30T18:00:00Z","deadline":"2020-12-30T18:00:00Z"`: "/not_before has passed already",
	} {
		a := b.post(`{"project":"hq","desktops":["d1"],`+fields+`}`, "Idempotency-Key", "new")
		require.Equal(t, 400, a.status, fields)
		require.Contains(t, fmt.Sprint(a.problem(t).Errors), want, fields)
	}
	a := b.do(b.key[access.Producer], "POST", "/v1/plans", `{"project":"hq","desktops":["d1"],"not_before":"2020-11-30T18:00:00Z"}`)
	require.Equal(t, 400, a.status)
}

// What was accepted is answered again when its times have passed.
func TestSentAgainAfterItsTime(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	past := time.Date(2026, 1, 30, 12, 0, 0, 0, time.UTC)
	p, err := record.NewProducer(b.store.Redis, record.ProducerConfig{Projects: []string{"hq"}, Now: func() time.Time { return past }})
	require.NoError(t, err)
	op, err := p.Enqueue(t.Context(), api.OperationRequest{
		Project: "hq", Users: []string{"zoe"}, NotBefore: api.NotBefore{At: past.Add(time.Hour)}, Deadline: past.Add(2 * time.Hour), IdempotencyKey: "k",
	}.Task("producer"))
	require.NoError(t, err)
	const body = `{"project":"hq","users":["zoe"],"not_before":"2026-01-30T14:00:00+0100","deadline":"2026-01-30T14:00:00Z"`
	a := b.post(body+`}`, "Idempotency-Key", "k")
	require.Equal(t, http.StatusAccepted, a.status, a.body)
	require.Equal(t, op.ID, a.json(t)["id"])
	require.Equal(t, "2026-01-30T13:00:00Z", a.json(t)["not_before"])
	require.Equal(t, http.StatusUnprocessableEntity, b.post(body+`,"ticket":"another"}`, "Idempotency-Key", "k").status)
	require.Equal(t, http.StatusBadRequest, b.post(body+`,"desktops":[""]}`, "Idempotency-Key", "k").status)
	require.Equal(t, http.StatusBadRequest, b.post(body+`}`, "Idempotency-Key", "another").status)
	bound := b.newKey(access.Key{Name: "producer", Role: access.Producer, Projects: []string{"branch"}})
	require.Equal(t, http.StatusForbidden, b.do(bound, "POST", "/v1/operations", body+`}`, "Idempotency-Key", "k").status)
}
