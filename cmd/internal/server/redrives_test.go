package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

// waits creates an operation that waits for an approval, and that no worker takes meanwhile.
func (b *bench) waits() string {
	b.t.Helper()
	return b.waitsAs(tasks.Request{Project: "hq", NotBefore: time.Now().Add(time.Hour)})
}

func (b *bench) waitsAs(req tasks.Request) string {
	b.t.Helper()
	req.Desktops, req.RequestedBy = []string{"many"}, "hr"
	op, err := b.store.Producer.Enqueue(b.t.Context(), req)
	require.NoError(b.t, err)
	asked, err := b.store.Record.AskApproval(b.t.Context(), op, tasks.Clearance{
		Why: tasks.WhyCanary, Codes: []tasks.CodeCount{{Code: "WKS.1", Count: 1}}, ExpiresAt: time.Now().Add(time.Hour),
	})
	require.NoError(b.t, err)
	require.True(b.t, asked)
	return op.ID
}

// failed has desktops of an operation fail.
func (b *bench) failed(project string, desktops ...string) record.Operation {
	b.t.Helper()
	op, err := b.store.Producer.Enqueue(b.t.Context(), tasks.Request{Project: project, Desktops: desktops, RequestedBy: "hr"})
	require.NoError(b.t, err)
	c, err := b.store.Record.Chunk(b.t.Context(), op.ID, 0)
	require.NoError(b.t, err)
	ch := record.Change{Operation: op}
	for _, d := range c.Desktops {
		ch.Moves = append(ch.Moves, record.Move{Desktop: d, To: tasks.StateFailed, Attempts: 1, Failure: &tasks.Failure{
			Project: project, OperationID: op.ID, DesktopID: d.ID, Code: "WKS.1", Class: "permanent", Message: "no", At: time.Now(),
		}})
	}
	_, err = b.store.Record.Apply(b.t.Context(), time.Now(), []record.Change{ch})
	require.NoError(b.t, err)
	return op
}

// client asks from within the process.
func (b *bench) client(key access.Key) *api.Client {
	return NewInside(Config{Store: b.store, Keys: b.keys}).As(key, Origin{})
}

// A list that came out empty, by its client's mistake, is not taken for all.
func TestAnEmptyListIsNotAll(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.failed("hq", "d1")
	admin := b.newKey(access.Key{Name: "root", Role: access.Admin})
	for path, body := range map[string]string{
		"/v1/redrives": `{"desktops":[]}`, "/v1/failures:dismiss": `{"desktops":[],"reason":"x"}`, "/v1/keys": `{"name":"hr","role":"producer","projects":[]}`,
	} {
		a := b.do(admin, "POST", path, body)
		require.Equal(t, 400, a.status, path)
		require.Contains(t, string(a.body), "is empty: name some, or leave it out for all", path)
	}
	left, _, err := b.client(access.Key{Name: "root", Role: access.Admin}).Failures(t.Context(), tasks.FailureFilter{}, 0, "")
	require.NoError(t, err)
	require.Len(t, left, 1)

	// Nor by a client in Go.
	root := b.client(access.Key{Name: "root", Role: access.Admin})
	_, err = root.Redrive(t.Context(), api.RedriveRequest{Desktops: []tasks.DesktopRef{}})
	require.ErrorContains(t, err, "is empty")
	_, err = root.Dismiss(t.Context(), api.DismissRequest{Desktops: []tasks.DesktopRef{}, Reason: "x"})
	require.ErrorContains(t, err, "is empty")
	_, err = root.CreateKey(t.Context(), api.KeyRequest{Name: "hr", Role: "producer", Projects: []string{}})
	require.ErrorContains(t, err, "is empty")
}

func TestRedriveOverHTTP(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	b.failed("hq", "d1", "d2")
	other := b.failed("branch", "d3")
	ann := b.client(access.Key{Name: "ann", Role: access.Operator})
	match, err := ann.MatchRedrive(ctx, api.RedriveRequest{})
	require.NoError(t, err)
	require.Equal(t, 3, match.Matched)
	require.Len(t, match.By, 2)
	list, _, err := ann.Redrives(ctx, 0, "")
	require.NoError(t, err)
	require.Empty(t, list, "nothing was done")

	hq := b.client(access.Key{Name: "jo", Role: access.Operator, Projects: []string{"hq"}})
	mine, err := hq.Redrive(ctx, api.RedriveRequest{Reason: "fixed", IdempotencyKey: "k"})
	require.NoError(t, err)
	require.Equal(t, 2, mine.Matched, "not the other project's")
	require.Equal(t, "jo", mine.RequestedBy)
	again, err := hq.Redrive(ctx, api.RedriveRequest{Reason: "fixed", IdempotencyKey: "k"})
	require.NoError(t, err)
	require.Equal(t, mine, again)
	_, err = hq.Redrive(ctx, api.RedriveRequest{IdempotencyKey: "k"})
	require.ErrorIs(t, err, tasks.ErrKeyReused)

	theirs, err := ann.Redrive(ctx, api.RedriveRequest{Desktops: []tasks.DesktopRef{{OperationID: other.ID, DesktopID: "d3"}}, PerSecond: 1})
	require.NoError(t, err)
	require.Equal(t, 1, theirs.Matched)
	for _, ask := range []func() error{
		func() error { _, err := hq.RedriveByID(ctx, theirs.ID); return err },
		func() error { _, err := hq.AbortRedrive(ctx, theirs.ID); return err },
		func() error { _, _, err := hq.RedriveItems(ctx, theirs.ID, 0, ""); return err },
		func() error { _, err := ann.RedriveByID(ctx, "nowhere"); return err },
	} {
		var p *api.Problem
		require.ErrorAs(t, ask(), &p)
		require.Equal(t, "redrive_not_found", p.Code)
	}
	list, _, err = hq.Redrives(ctx, 0, "")
	require.NoError(t, err)
	require.Len(t, list, 1)
	items, _, err := ann.RedriveItems(ctx, mine.ID, 1, "")
	require.NoError(t, err)
	require.Len(t, items, 1)
	require.Equal(t, tasks.StateFailed, items[0].Desktop.State)
	ended, err := ann.AbortRedrive(ctx, mine.ID)
	require.NoError(t, err)
	require.Equal(t, "ann", ended.AbortedBy)
	got, err := ann.RedriveByID(ctx, mine.ID)
	require.NoError(t, err)
	require.Equal(t, ended, got.Redrive)
	require.Zero(t, got.Left, "nothing more is retried")

	a := b.do(b.key[access.Operator], "POST", "/v1/redrives", `{"desktops":[{"operation_id":"","desktop_id":"d"}]}`)
	require.Equal(t, 400, a.status)
	require.Equal(t, "/desktops/0", a.problem(t).Errors[0].Pointer)
	a = b.do(b.key[access.Operator], "POST", "/v1/redrives", `{"per_second":5,"filter":{"code":"WKS.1"}}`)
	require.Equal(t, 202, a.status)
	require.Equal(t, "/v1/redrives/"+a.json(t)["id"].(string), a.header.Get("Location"))
}

func TestDismissOverHTTP(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	op := b.failed("hq", "d1", "d2")
	b.failed("branch", "d3")
	hq := b.client(access.Key{Name: "jo", Role: access.Operator, Projects: []string{"hq"}})
	all := b.client(access.Key{Name: "ann", Role: access.Operator})
	match, err := hq.MatchDismiss(ctx, api.DismissRequest{})
	require.NoError(t, err)
	require.Equal(t, api.FailureMatch{Matched: 2, By: []tasks.FailureCount{{Project: "hq", Class: "permanent", Code: "WKS.1", Count: 2}}}, match, "not the other project's")
	_, err = hq.Dismiss(ctx, api.DismissRequest{})
	require.ErrorContains(t, err, "reason")
	_, err = hq.Dismiss(ctx, api.DismissRequest{Matched: 3, Reason: "r"})
	require.ErrorContains(t, err, "2 match now")
	done, err := hq.Dismiss(ctx, api.DismissRequest{Filter: tasks.FailureFilter{Project: "branch"}, Reason: "r"})
	require.NoError(t, err)
	require.Zero(t, done.Dismissed)
	done, err = hq.Dismiss(ctx, api.DismissRequest{Desktops: []tasks.DesktopRef{{OperationID: op.ID, DesktopID: "d1"}}, Reason: "stays"})
	require.NoError(t, err)
	require.Equal(t, 1, done.Dismissed)
	for _, f := range []tasks.FailureFilter{{Project: "hq"}, {Operation: op.ID}, {Source: "hr", Project: "hq"}, {User: "nobody"}} {
		rows, _, err := all.Failures(ctx, f, 0, "")
		require.NoError(t, err)
		counts, err := all.FailureCounts(ctx, f)
		require.NoError(t, err)
		n := 0
		for _, c := range counts {
			n += c.Count
		}
		require.Len(t, rows, n, "%+v", f)
	}
	history, err := all.History(ctx, "d1")
	require.NoError(t, err)
	steps := history.Events[0].Desktop.Steps
	require.Equal(t, "stays", steps[len(steps)-1].Detail)
	require.Equal(t, "jo", steps[len(steps)-1].By)
	require.Equal(t, tasks.StateFailed, history.Events[0].Desktop.State)
}
