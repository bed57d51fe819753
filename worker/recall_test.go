package worker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker"
)

// turnstile notes the desktops of each call that begins, and lets it pass when before returns.
type turnstile struct {
	worker.API
	before  func(desktops []string) // nil: nothing
	looking func()                  // before a look-up by user; nil: nothing

	mu    sync.Mutex
	calls [][]string
}

func (a *turnstile) pass(desktops []string) {
	a.mu.Lock()
	a.calls = append(a.calls, desktops)
	a.mu.Unlock()
	if a.before != nil {
		a.before(desktops)
	}
}

// begun are the calls so far.
func (a *turnstile) begun() [][]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}

func (a *turnstile) Detach(ctx context.Context, req apiclient.DetachRequest) (*apiclient.DetachResult, error) {
	a.pass(req.DesktopIDs)
	return a.API.Detach(ctx, req)
}

func (a *turnstile) DetachUsers(ctx context.Context, desktops []apiclient.UserDetach) (*apiclient.DetachResult, error) {
	ids := make([]string, len(desktops))
	for i, d := range desktops {
		ids[i] = d.DesktopID
	}
	a.pass(ids)
	return a.API.DetachUsers(ctx, desktops)
}

func (a *turnstile) DesktopsOf(ctx context.Context, names []string) ([]apiclient.Desktop, error) {
	if a.looking != nil {
		a.looking()
	}
	return a.API.DesktopsOf(ctx, names)
}

// through makes a worker call through a turnstile.
func (a *turnstile) through(cfg *worker.Config) {
	a.API = cfg.Projects[0].API
	cfg.Projects[0].API = a
}

func (s *env) recall(q tasks.RecallRequest) tasks.RecallResult {
	s.t.Helper()
	q.RequestedBy, q.Reason = "ann", "the contract was extended"
	out, _, err := s.p.Recall(context.Background(), q)
	require.NoError(s.t, err)
	return out
}

func (s *env) belongs(id string, users ...string) {
	d := fakecloud.Desktop{ID: id}
	for _, name := range users {
		d.Users = append(d.Users, fakecloud.User{Name: name})
	}
	if len(users) > 1 {
		d.Type = fakecloud.Shared
	}
	s.cloud.Add(projectID, d)
}

// Whatever refuses a call in which the desktop is when its user is recalled, no other follows.
func TestARecallWinsOverARetry(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]fakecloud.Fault{
		"busy":             {Status: 409, Code: "WKS.00010032"},
		"internal":         {Status: 500},
		"throttled":        {Status: 429},
		"one is bad":       {Status: 400, Code: "WKS.00010032", Desktop: "bos", NamesCulprit: true},
		"nobody says who":  {Status: 400, Code: "WKS.9"},
		"refused in a 200": {Refuse: &fakecloud.Refusal{Code: "WKS.00010032", Message: "busy"}},
		"no reply":         {Effect: fakecloud.DropBefore},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, fakecloud.Config{})
			s.belongs("zoes", "zoe")
			s.belongs("bos", "bo")
			fault.Calls = []int{1}
			s.cloud.Fail(fault)
			api := &turnstile{}
			var out tasks.RecallResult
			api.before = func(desktops []string) {
				if len(api.begun()) == 1 {
					out = s.recall(tasks.RecallRequest{User: "zoe"})
				}
			}
			op := s.enqueue(tasks.Request{Users: []string{"zoe", "bo"}, RequestedBy: "hr"})
			s.start(api.through)
			got, rows := s.ended(op)
			begun := api.begun()
			require.Contains(t, begun[0], "zoes")
			require.Equal(t, tasks.RecallCounts{InCall: 1}, out.Counts)
			for _, call := range begun[1:] {
				require.NotContains(t, call, "zoes")
			}
			require.Equal(t, tasks.StateCancelled, rows["zoes"].State)
			require.Equal(t, tasks.NoteRecalled, rows["zoes"].Note)
			require.Equal(t, tasks.StateDetached, rows["bos"].State)
			require.Equal(t, 1, got.Counts.Cancelled)
			row := rows["zoes"]
			steps, err := s.record.Steps(t.Context(), &row)
			require.NoError(t, err)
			last := steps[len(steps)-1]
			require.Equal(t, []any{"ann by recall " + out.ID, "the contract was extended"}, []any{last.By, last.Detail})
			now, err := s.record.RecallResult(t.Context(), out.Recall)
			require.NoError(t, err)
			require.Equal(t, tasks.RecallCounts{Cancelled: 1}, now.Counts)
		})
	}
}

// A call that takes effect was too late: the answer says so, and offers the undo.
func TestARecallThatIsTooLate(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.belongs("zoes", "zoe")
	api := &turnstile{}
	var out tasks.RecallResult
	api.before = func([]string) { out = s.recall(tasks.RecallRequest{User: "zoe"}) }
	s.start(api.through)
	op, _ := s.ended(s.enqueue(tasks.Request{Users: []string{"zoe"}}))
	require.Equal(t, tasks.RecallCounts{InCall: 1}, out.Counts)
	require.Empty(t, out.Undo)
	now, err := s.record.RecallResult(t.Context(), out.Recall)
	require.NoError(t, err)
	require.Equal(t, tasks.RecallCounts{TooLate: 1}, now.Counts)
	require.Equal(t, []string{"zoes"}, now.Undo[0].Desktops)
	undo, err := s.p.Undo(t.Context(), op, tasks.UndoRequest{Desktops: now.Undo[0].Desktops, Reason: "she stays"})
	require.NoError(t, err)
	_, rows := s.ended(undo)
	require.Equal(t, tasks.StateDetached, rows["zoes"].State, "the recall does not stop its own undo")
	d, _ := s.cloud.Get(projectID, "zoes")
	require.Equal(t, "zoe", d.Users[0].Name)
}

// A recall in the middle of a look-up is as one before it: nothing is looked up for the person, who
// keeps also what another loses.
func TestARecallDuringTheLookUp(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.belongs("zoes", "zoe")
	s.belongs("bos", "bo")
	s.belongs("both", "zoe", "bo")
	var out tasks.RecallResult
	api := &turnstile{looking: sync.OnceFunc(func() { out = s.recall(tasks.RecallRequest{User: "zoe"}) })}
	op := s.enqueue(tasks.Request{Users: []string{"zoe", "bo"}, AllowShared: true})
	s.start(api.through)
	_, rows := s.ended(op)
	require.Equal(t, tasks.RecallCounts{Cancelled: 1}, out.Counts)
	require.Equal(t, tasks.StateCancelled, rows["user:zoe"].State)
	require.NotContains(t, rows, "zoes")
	require.NotContains(t, s.called(), "zoes")
	for _, id := range []string{"bos", "both"} {
		require.Equal(t, tasks.StateDetached, rows[id].State)
		require.Equal(t, []string{"bo"}, rows[id].Expected())
	}
	d, _ := s.cloud.Get(projectID, "both")
	require.Len(t, d.Users, 1)
	require.Equal(t, "zoe", d.Users[0].Name)
}

// What the index of names does not have is cancelled by the worker that reads the desktop: an
// index that was lost, and a request that names no user.
func TestARecallOfWhatNoIndexHas(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.belongs("zoes", "zoe")
	s.belongs("bare", "zoe")
	s.belongs("bos", "bo")
	w := s.start()
	s.ended(s.enqueue(tasks.Request{Desktops: []string{"first"}})) // the worker knows all recalls: none
	require.NoError(t, s.record.PauseProject(t.Context(), "hq", tasks.PauseOperator, 0, "wait"))
	named := s.enqueue(tasks.Request{Users: []string{"zoe", "bo"}})
	bare := s.enqueue(tasks.Request{Desktops: []string{"bare"}})
	s.belongs("both", "zoe", "bo")
	both := s.enqueue(tasks.Request{Desktops: []string{"both"}, Expect: map[string][]string{"both": {"zoe", "bo"}}, AllowShared: true})
	keys, err := s.rdb.Keys(t.Context(), "detachd:named:*").Result()
	require.NoError(t, err)
	require.NoError(t, s.rdb.Del(t.Context(), keys...).Err())
	out := s.recall(tasks.RecallRequest{User: "zoe"})
	require.Zero(t, out.Counts)
	require.NoError(t, s.record.ResumeProject(t.Context(), "hq"))
	_, rows := s.ended(named)
	require.Equal(t, tasks.StateCancelled, rows["zoes"].State)
	require.Equal(t, tasks.StateDetached, rows["bos"].State)
	_, rows = s.ended(bare)
	require.Equal(t, tasks.StateCancelled, rows["bare"].State)
	_, rows = s.ended(both)
	require.Equal(t, []any{tasks.StateHeld, tasks.CodeRecalled}, []any{rows["both"].State, rows["both"].Failure.Code})
	_, err = s.p.Retry(t.Context(), s.operation(both), tasks.RetryFilter{Held: true}, "eve")
	require.NoError(t, err)
	_, rows = s.ended(both)
	require.Equal(t, tasks.CodeRecalled, rows["both"].Failure.Code, "a retry does not get around it")
	require.NotContains(t, s.called(), "both")
	require.NotContains(t, s.called(), "zoes")
	require.NotContains(t, s.called(), "bare")
	now, err := s.record.RecallResult(t.Context(), out.Recall)
	require.NoError(t, err)
	require.Equal(t, 3, now.Counts.Cancelled, "now they are found, one of them by both operations: %+v", now.Rows)
	// What comes later is not concerned.
	_, rows = s.ended(s.enqueue(tasks.Request{Users: []string{"zoe"}}))
	require.Equal(t, tasks.StateDetached, rows["zoes"].State)
	w.Stop()
}

// Random requests, faults and moments: after the answer no call begins with a desktop of the
// person that was not in one, others lose theirs, the counts add up, and what is too late was sent.
func TestARecallAtAnyMoment(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			recallAtAnyMoment(t, newEnv(t, fakecloud.Config{Seed: seed}), rand.New(rand.NewPCG(seed, 15)))
		})
	}
}

func recallAtAnyMoment(t *testing.T, s *env, rnd *rand.Rand) {
	owner := map[string]string{}
	for n := range 60 {
		id := fmt.Sprintf("d-%02d", n)
		owner[id] = fmt.Sprint("user-", n)
		if n%6 == 0 {
			owner[id] = "zoe"
		}
		s.belongs(id, owner[id])
	}
	for _, fault := range []fakecloud.Fault{
		{Status: 409, Code: "WKS.00010032"}, {Status: 500}, {Status: 429}, {Effect: fakecloud.DropBefore}, {Effect: fakecloud.DropAfter},
		{Refuse: &fakecloud.Refusal{Code: "WKS.00010032", Message: "busy"}},
	} {
		if rnd.IntN(2) == 0 {
			fault.Rate, fault.Times = 0.3, 1+rnd.IntN(4)
			s.cloud.Fail(fault)
		}
	}
	// Each desktop is in one operation, as an id, with its user, or by its user.
	reqs := make([]tasks.Request, 4)
	for n := range 60 {
		id := fmt.Sprintf("d-%02d", n)
		req := &reqs[rnd.IntN(len(reqs))]
		switch how := rnd.IntN(3); {
		case owner[id] == "zoe" && how == 0 && !slices.Contains(req.Users, "zoe"):
			req.Users = append(req.Users, "zoe") // finds them all
			continue
		case how == 0 && owner[id] != "zoe":
			req.Users = append(req.Users, owner[id])
			continue
		case how == 1:
			req.Expect = map[string][]string{}
		}
		req.Desktops = append(req.Desktops, id)
	}
	for i := range reqs {
		for _, id := range reqs[i].Desktops {
			if reqs[i].Expect != nil {
				reqs[i].Expect[id] = []string{owner[id]}
			}
		}
	}
	at := rnd.IntN(8) // the call at whose beginning it is recalled
	api, moment := &turnstile{}, make(chan struct{})
	api.before = func([]string) {
		if len(api.begun()) == at {
			close(moment)
		}
	}
	var ops []record.Operation
	for _, req := range reqs {
		if len(req.Desktops)+len(req.Users) > 0 {
			req.RequestedBy = "hr"
			ops = append(ops, s.enqueue(req))
		}
	}
	if at > 0 {
		s.startImpatient(api.through, func(cfg *worker.Config) { cfg.MaxAttempts = 20 })
		require.Eventually(t, func() bool {
			select {
			case <-moment:
				return true
			default:
				return !slices.ContainsFunc(ops, func(op record.Operation) bool { return !s.operation(op).Done() })
			}
		}, patience, 5*time.Millisecond)
	}
	out := s.recall(tasks.RecallRequest{User: "zoe", Source: "hr"})
	before := len(api.begun())
	if at == 0 {
		s.startImpatient(api.through, func(cfg *worker.Config) { cfg.MaxAttempts = 20 })
	}
	require.Equal(t, len(out.Rows), out.Counts.Total())
	outcome := map[string]tasks.RecallOutcome{}
	for _, row := range out.Rows {
		outcome[row.OperationID+row.ID] = row.Outcome
		require.NotEqual(t, tasks.RecallHeld, row.Outcome)
	}
	may := map[string]int{} // how many calls may begin after the answer
	for _, op := range ops {
		_, rows := s.ended(op)
		for id, row := range rows {
			was := outcome[op.ID+id]
			if owner[id] != "zoe" {
				require.True(t, was == "" || id == tasks.UserRow("zoe"), id)
				if owner[id] != "" {
					require.Equal(t, tasks.StateDetached, row.State, "%s of another user: %+v", id, row)
				}
				continue
			}
			if was == tasks.RecallInCall || was == "" && len(row.Expect) == 0 { // without users it is in no answer before its end
				may[id] = 1
			}
			switch was {
			case tasks.RecallCancelled:
				require.Equal(t, tasks.StateCancelled, row.State, id)
			case tasks.RecallTooLate:
				require.NotZero(t, s.cloud.DetachedTimes(projectID, id), "%s was not sent", id)
			}
			if row.State == tasks.StateCancelled {
				require.Equal(t, tasks.NoteRecalled, row.Note)
			}
		}
	}
	for n, call := range api.begun()[before:] {
		for _, id := range call {
			if owner[id] == "zoe" {
				may[id]--
				require.GreaterOrEqual(t, may[id], 0, "call %d after the recall has %s", n, id)
			}
		}
	}
	now, err := s.record.RecallResult(t.Context(), out.Recall)
	require.NoError(t, err)
	require.Equal(t, len(now.Rows), now.Counts.Total())
	require.Zero(t, now.Counts.Queued+now.Counts.InCall+now.Counts.Held+now.Counts.Failed)
	for _, row := range now.Rows {
		if row.Outcome == tasks.RecallTooLate {
			require.NotZero(t, s.cloud.DetachedTimes(projectID, row.ID))
		}
	}
}
