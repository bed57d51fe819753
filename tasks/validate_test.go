package tasks_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func validate(r tasks.Request) error {
	return r.Validate(func(alias string) bool { return alias == "hq" }, noon)
}

func TestValidateNamesEveryBadField(t *testing.T) {
	t.Parallel()
	err := validate(tasks.Request{
		Project: "nowhere", Desktops: []string{"ok", "", "ok", "with space", "tab\t", strings.Repeat("x", 256), "\xff", "nul\x00"},
		RequestedBy: strings.Repeat("x", 256), Ticket: "a\nb", IdempotencyKey: "\x01", Reason: strings.Repeat("x", 1001),
		NotBefore: noon.Add(2 * time.Hour), Deadline: noon.Add(time.Hour),
	})
	var bad *tasks.ValidationError
	require.ErrorAs(t, err, &bad)
	var fields []string
	for _, p := range bad.Problems {
		fields = append(fields, p.Field)
		require.NotEmpty(t, p.Message)
	}
	require.ElementsMatch(t, []string{
		"project", "desktops[1]", "desktops[2]", "desktops[3]", "desktops[4]", "desktops[5]", "desktops[6]", "desktops[7]",
		"requested_by", "ticket", "idempotency_key", "reason", "deadline",
	}, fields)
	require.ErrorContains(t, err, "nothing was enqueued")
	require.ErrorContains(t, err, "and 3 more")
	require.ErrorContains(t, err, `desktops[2]: is the same desktop as desktops[0]`)
}

func TestValidateLimits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*tasks.Request)
		field  string // "": fine
	}{
		"one desktop":           {func(r *tasks.Request) {}, ""},
		"no project":            {func(r *tasks.Request) { r.Project = "" }, "project"},
		"no desktops":           {func(r *tasks.Request) { r.Desktops = nil }, "desktops"},
		"100,000 desktops":      {func(r *tasks.Request) { r.Desktops = ids(100_000) }, ""},
		"100,001 desktops":      {func(r *tasks.Request) { r.Desktops = ids(100_001) }, "desktops"},
		"id of 255":             {func(r *tasks.Request) { r.Desktops = []string{strings.Repeat("é", 255)} }, ""},
		"reason with new lines": {func(r *tasks.Request) { r.Reason = "a\nb" }, ""},
		"deadline now":          {func(r *tasks.Request) { r.Deadline = noon }, "deadline"},
		"deadline later":        {func(r *tasks.Request) { r.Deadline = noon.Add(1) }, ""},
		"not-before past":       {func(r *tasks.Request) { r.NotBefore = noon.Add(-1) }, "not_before"},
		"not-before now":        {func(r *tasks.Request) { r.NotBefore = noon }, ""},
		"due past":              {func(r *tasks.Request) { r.DueAt = noon.Add(-time.Hour) }, ""},
		"deadline before due":   {func(r *tasks.Request) { r.Deadline, r.DueAt = noon.Add(1), noon.Add(2) }, "deadline"},
		"and at once":           {func(r *tasks.Request) { r.Deadline, r.DueAt, r.AtOnce = noon.Add(1), noon.Add(2), true }, ""},
		"at once, but later":    {func(r *tasks.Request) { r.NotBefore, r.AtOnce = noon.Add(1), true }, "not_before"},
		"deadline = not-before": {func(r *tasks.Request) { r.Deadline, r.NotBefore = noon.Add(1), noon.Add(1) }, "deadline"},
	} {
		r := tasks.Request{Project: "hq", Desktops: []string{"a"}}
		c.change(&r)
		err := validate(r)
		if c.field == "" {
			require.NoError(t, err, name)
			continue
		}
		var bad *tasks.ValidationError
		require.ErrorAs(t, err, &bad, name)
		require.Len(t, bad.Problems, 1, name)
		require.Equal(t, c.field, bad.Problems[0].Field, name)
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	for _, s := range tasks.States {
		got, err := tasks.ParseState(s.String())
		require.NoError(t, err)
		require.Equal(t, s, got)
		require.Equal(t, s == tasks.StateQueued, s.CanMove(s), "only what is queued may be queued again: %s", s)
	}
	_, err := tasks.ParseState("lost")
	require.ErrorContains(t, err, "queued")
	for _, end := range []tasks.State{tasks.StateDetached, tasks.StateCancelled} {
		for _, to := range tasks.States {
			require.False(t, end.CanMove(to), "%s is an end", end)
		}
	}
	require.True(t, tasks.StateFailed.CanMove(tasks.StateQueued))
	require.False(t, tasks.StateAccepted.CanMove(tasks.StateSending), "what the cloud took is never sent again blindly")
}

func ids(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("d-%06d", i)
	}
	return out
}
