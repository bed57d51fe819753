package server

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
)

// A last working day ends with the first instant of the next day in its zone, or in that of
// the project. A repetition is the same operation.
func TestLastWorkingDay(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Projects[0].Zone = "America/Sao_Paulo"
	for day, due := range map[string]string{
		`{"date":"2199-11-30","zone":"Asia/Singapore"}`: "2199-11-30T16:00:00Z",
		`{"date":"2199-11-30"}`:                         "2199-12-01T03:00:00Z",
		`{"date":"2018-11-03"}`:                         "2018-11-04T03:00:00Z", // clocks went from 00:00 to 01:00; it is over
	} {
		body := `{"project":"hq","users":["zoe"],"last_working_day":` + day + `}`
		first := b.post(body, "Idempotency-Key", day)
		require.Equal(t, http.StatusAccepted, first.status, first.body)
		v := first.json(t)
		start := due
		if due < "2026" {
			start = ""
		}
		require.Equal(t, []string{due, start}, []string{text(v["due_at"]), text(v["not_before"])}, day)
		again := b.post(body, "Idempotency-Key", day).json(t)
		require.Equal(t, []any{v["id"], true}, []any{again["id"], again["replayed"]})
		require.Equal(t, v["id"], b.post(`{"project":"hq","users":["zoe"],"due_at":"`+due+`"}`, "Idempotency-Key", day).json(t)["id"])
		plan := b.do(b.key[access.Producer], "POST", "/v1/plans", body)
		require.Less(t, plan.status, 300, plan.body)
		require.Equal(t, due, text(plan.json(t)["due_at"]))
	}
	list := func(query string) answer {
		path := "/v1/operations?project=hq&validate_only=true&" + query
		return b.do(b.key[access.Producer], "POST", path, "user\nzoe\n", "Content-Type", "text/csv")
	}
	require.Equal(t, "2199-11-30T16:00:00Z", list("last_working_day=2199-11-30&zone=Asia/Singapore").json(t)["due_at"])

	for fields, want := range map[string]string{
		`"last_working_day":{"date":"30.11.2199"}`: `{/last_working_day/date invalid date "30.11.2199": use a date such as 2026-11-30`,
		`"last_working_day":{"date":"2199-02-30"}`: `{/last_working_day/date invalid date "2199-02-30"`,
		`"last_working_day":{"date":"2199-11-30","zone":"Singapore/Asia"}`: `{/last_working_day/zone unknown time zone "Singapore/Asia": ` +
			`use a name such as Europe/Berlin`,
		// what programs write for no date: .NET, SQL, spreadsheets and Unix
		`"last_working_day":{"date":"0001-01-01"}`:                                   `{/last_working_day/date invalid date "0001-01-01": it is before 2000`,
		`"last_working_day":{"date":"0000-12-31"}`:                                   `{/last_working_day/date invalid date "0000-12-31"`,
		`"last_working_day":{"date":"1900-01-01"}`:                                   `{/last_working_day/date invalid date "1900-01-01"`,
		`"due_at":"1970-01-01T00:00:00Z"`:                                            `{/due_at is before 2000`,
		`"last_working_day":{"zone":"UTC"}`:                                          `{/last_working_day/date invalid date ""`,
		`"last_working_day":{"date":"2199-11-30"},"due_at":"2199-11-30T18:00:00Z"`:   `{/last_working_day/date is given together with due_at`,
		`"last_working_day":{"date":"2199-11-30"},"not_before":"now"`:                `{/last_working_day/date is given together with due_at`,
		`"last_working_day":{"date":"2199-11-30","day":1}`:                           `{/last_working_day/day `,
		`"last_working_day":{"date":"2199-11-30"},"deadline":"2199-11-30T18:00:00Z"`: `{/deadline is not after due_at`,
	} {
		a := b.post(`{"project":"hq","desktops":["d1"],` + fields + `}`)
		require.Equal(t, http.StatusBadRequest, a.status, fields)
		require.Contains(t, fmt.Sprint(a.problem(t).Errors), want, fields)
	}
	for query, want := range map[string]string{
		"zone=UTC": "{zone is that of last_working_day", "last_working_day=soon": "{last_working_day invalid date",
		"last_working_day=2199-11-30&zone=Mars": "{zone unknown time zone", "last_working_day=2199-11-30&not_before=now": "{last_working_day is given",
	} {
		require.Contains(t, fmt.Sprint(list(query).problem(t).Errors), want, query)
	}
}
