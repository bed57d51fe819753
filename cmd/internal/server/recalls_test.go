package server

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// A producer takes back what it sent itself, an operator what anybody sent, each in the projects of
// the key.
func TestRecallOverHTTP(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	enqueue := func(project, by string) string {
		op, err := b.store.Producer.Enqueue(ctx, tasks.Request{Project: project, Users: []string{"zoe", "bo"}, RequestedBy: by})
		require.NoError(t, err)
		return op.ID
	}
	hq, branch, it := enqueue("hq", "hr"), enqueue("branch", "hr"), enqueue("hq", "it")
	open := func() (out []string) { // where zoe is still queued
		for name, id := range map[string]string{"hq": hq, "branch": branch, "it": it} {
			c, err := b.store.Record.Chunk(ctx, id, 0)
			require.NoError(t, err)
			require.Equal(t, tasks.StateQueued, c.Desktops[1].State, "nobody recalled bo")
			if c.Desktops[0].State == tasks.StateQueued {
				out = append(out, name)
			}
		}
		return out
	}
	hr := b.client(access.Key{Name: "hr", Role: access.Producer, Projects: []string{"hq"}})
	_, err := hr.Recall(ctx, api.RecallRequest{User: "zoe", Source: "it", Reason: "stays"})
	requireProblem(t, err, 403, "role_missing")
	_, err = hr.Recall(ctx, api.RecallRequest{User: "zoe", Project: "branch", Reason: "stays"})
	requireProblem(t, err, 403, "project_not_allowed")
	require.ElementsMatch(t, []string{"hq", "branch", "it"}, open())
	x, err := hr.Recall(ctx, api.RecallRequest{User: "zoe", Reason: "stays", IdempotencyKey: "k"})
	require.NoError(t, err)
	require.Equal(t, tasks.RecallCounts{Cancelled: 1}, x.Counts)
	require.Equal(t, []string{"hr", "hr"}, []string{x.Source, x.RequestedBy})
	require.ElementsMatch(t, []string{"branch", "it"}, open())

	desk := b.client(access.Key{Name: "desk", Role: access.Operator})
	_, err = desk.Recall(ctx, api.RecallRequest{User: "zoe", Project: "nowhere", Reason: "stays"})
	requireProblem(t, err, 400, api.CodeInvalid)
	all, err := desk.Recall(ctx, api.RecallRequest{User: "zoe", Reason: "stays"})
	require.NoError(t, err)
	require.Equal(t, tasks.RecallCounts{Cancelled: 3}, all.Counts, "with what was recalled before")
	require.Empty(t, open())
	again, err := hr.Recall(ctx, api.RecallRequest{User: "zoe", Reason: "stays", IdempotencyKey: "k"})
	require.NoError(t, err)
	require.Equal(t, x, again)

	list, _, err := desk.Recalls(ctx, 0, "")
	require.NoError(t, err)
	require.ElementsMatch(t, []tasks.Recall{all.Recall, x.Recall}, list)
	list, _, err = hr.Recalls(ctx, 0, "")
	require.NoError(t, err)
	require.Equal(t, []tasks.Recall{x.Recall}, list)
	_, err = hr.RecallByID(ctx, all.ID)
	requireProblem(t, err, 404, "recall_not_found")
	got, err := hr.RecallByID(ctx, x.ID)
	require.NoError(t, err)
	require.Equal(t, x, got)
	events, _, err := b.store.Record.AuditLog(ctx, tasks.AuditFilter{Action: tasks.AuditRecallCreated}, 10, "")
	require.NoError(t, err)
	require.Len(t, events, 2, "a repetition and a refusal have none")
	require.Equal(t, []string{x.ID, "hq", "stays", "user zoe, source hr"},
		[]string{events[1].Target, events[1].Project, events[1].Reason, events[1].Detail})
}

func requireProblem(t *testing.T, err error, status int, code string) {
	t.Helper()
	var p *api.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, []any{status, code}, []any{p.Status, p.Code}, p.Detail)
}
