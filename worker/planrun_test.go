package worker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
	"github.com/detachd/detachd/worker"
)

// none lets no operation pass without an approval.
func none(cfg *worker.Config) { cfg.Projects[0].Limit = &tasks.Limit{Window: time.Hour} }

func people(names ...string) (out []fakecloud.User) {
	for _, n := range names {
		out = append(out, fakecloud.User{Name: n})
	}
	return out
}

// runPlan makes an operation of a plan.
func (s *env) runPlan(p record.Plan) record.Operation {
	s.t.Helper()
	op, err := s.p.EnqueuePlan(s.t.Context(), "me", tasks.Request{Plan: p.Hash, Reason: "left", Ticket: "HR-1"}, func(string, tasks.Request) error { return nil })
	require.NoError(s.t, err)
	return op
}

// planOf plans what is left of an operation that waits.
func (s *env) planOf(op record.Operation) (record.Plan, []tasks.Planned) {
	s.t.Helper()
	p, err := s.record.CreatePlanOf(s.t.Context(), time.Now(), "me", op)
	require.NoError(s.t, err)
	return s.read(s.planner(), p)
}

// What the plan found is run, and what came since is on hold.
func TestAPlanIsRunAsItWasShown(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID,
		fakecloud.Desktop{ID: "ann's", Users: people("ann")}, fakecloud.Desktop{ID: "first", Users: people("zoe")},
		fakecloud.Desktop{ID: "second", Users: people("zoe")}, fakecloud.Desktop{ID: "named", ComputerName: "WS-1", Users: people("kim")},
		fakecloud.Desktop{ID: "free", AttachState: fakecloud.Detached})
	req := tasks.Request{
		Project: "hq", Desktops: []string{"ann's", "free"}, Users: []string{"zoe", "nobody"}, Computers: []string{"WS-1"}, UnknownUsers: tasks.IgnoreUnknown,
		ShutoffAfterDetach: true,
	}
	plan, _ := s.plan(s.planner(), req)
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "new", Users: people("zoe")})
	second, _ := s.cloud.Get(projectID, "second")
	s.cloud.Update(projectID, "second", func(d *fakecloud.Desktop) { d.Users = people("heir") })
	s.cloud.Attach(projectID, "free", fakecloud.User{Name: "zoe"})
	before := s.cloud.CallsOf(fakecloud.OpDetail, "")
	s.start()
	op, rows := s.ended(s.runPlan(plan))
	require.Equal(t, plan.Hash, op.Plan)
	require.Equal(t, []string{"left", "HR-1"}, []string{op.Reason, op.Ticket})
	require.True(t, op.ShutoffAfterDetach, "it is an option of the plan")
	require.ElementsMatch(t, []string{"ann's", "first", "named"}, s.called())
	for _, id := range []string{"second", "free", "new"} {
		require.Equal(t, tasks.StateHeld, rows[id].State, id)
		require.Equal(t, "PLAN_CHANGED", rows[id].Failure.Code, id)
	}
	require.Contains(t, rows["second"].Failure.Message, `it read "zoe", and now ATTACHED, "heir" is found`)
	require.Contains(t, rows["free"].Failure.Message, `it read nobody`)
	require.Contains(t, rows["new"].Failure.Message, `it read nobody, and now ATTACHED, "zoe" is found`)
	row := rows["user:zoe"]
	steps, err := s.record.Steps(t.Context(), &row)
	require.NoError(t, err)
	require.Equal(t, "4 desktops, 2 desktops since the plan", steps[len(steps)-1].Detail)
	require.Equal(t, tasks.StateNoDesktop, rows["user:nobody"].State)
	require.Equal(t, tasks.Counts{Detached: 3, Held: 3, Expanded: 2, NoDesktop: 1}, op.Counts)
	require.LessOrEqual(t, s.cloud.CallsOf(fakecloud.OpDetail, "")-before, 14, "names are looked up once")

	// A retry does not loosen it.
	n, err := s.p.Retry(t.Context(), op, tasks.RetryFilter{Held: true}, "bob")
	require.NoError(t, err)
	require.Equal(t, 3, n)
	_, rows = s.ended(op)
	require.Equal(t, "PLAN_CHANGED", rows["second"].Failure.Code)
	require.Equal(t, "PLAN_CHANGED", rows["new"].Failure.Code)
	s.cloud.Update(projectID, "second", func(d *fakecloud.Desktop) { d.Users = second.Users })
	_, err = s.p.Retry(t.Context(), s.operation(op), tasks.RetryFilter{Held: true}, "bob")
	require.NoError(t, err)
	_, rows = s.ended(op)
	require.Equal(t, tasks.StateDetached, rows["second"].State, "it is as it was shown")
}

// An approval is of the plan that was shown: whatever has changed since is held.
func TestAnApprovalIsOfItsPlan(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "first", Users: people("zoe")}, fakecloud.Desktop{ID: "second", Users: people("zoe")})
	s.start(none)
	op := s.enqueue(tasks.Request{Desktops: ids(150), Users: []string{"zoe"}, RequestedBy: "hr"})
	waiting := s.waits(op)
	plan, rows := s.planOf(waiting)
	require.Len(t, rows, 152, "the desktops found too, and not the user")
	require.Equal(t, op.ID, plan.OperationID)

	approve := func(a tasks.Approval) error {
		a.By, a.PlanOwner = "ann", "me"
		_, err := s.p.Approve(t.Context(), s.waits(op), a)
		return err
	}
	other, _ := s.planOf(s.waits(s.enqueue(tasks.Request{Desktops: ids(150), Users: []string{"zoe"}})))
	require.ErrorIs(t, approve(tasks.Approval{Plan: other.Hash}), tasks.ErrPlanChanged, "it is of another operation")
	request, _ := s.plan(s.planner(), tasks.Request{Project: "hq", Desktops: ids(150)})
	require.ErrorIs(t, approve(tasks.Approval{Plan: request.Hash}), tasks.ErrPlanChanged, "it is of a request")
	require.ErrorIs(t, approve(tasks.Approval{Plan: plan.ID + plan.Hash[:40]}), tasks.ErrNoPlan)
	_, err := s.p.EnqueuePlan(t.Context(), "me", tasks.Request{Plan: plan.Hash}, nil)
	require.ErrorIs(t, err, tasks.ErrPlanChanged, "it is run by its approval only")

	s.cloud.Update(projectID, "second", func(d *fakecloud.Desktop) { d.Users = people("heir") })
	s.cloud.Attach(projectID, ids(150)[120], fakecloud.User{Name: "guest"})
	require.Empty(t, s.called())
	require.NoError(t, approve(tasks.Approval{Plan: plan.Hash}))
	got, done := s.ended(op)
	require.Equal(t, plan.Hash, got.Clearance.Plan)
	require.Equal(t, tasks.Counts{Detached: 150, Held: 2, Expanded: 1}, got.Counts)
	require.Equal(t, "PLAN_CHANGED", done["second"].Failure.Code)
	require.Equal(t, "PLAN_CHANGED", done[ids(150)[120]].Failure.Code)
	require.NotContains(t, s.called(), "second")
}

// A plan of an operation that asked for a plan is bound to that one still.
func TestAnApprovalDoesNotLoosenARequest(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.exist(ids(3)...)
	s.start(none)
	shown, _ := s.plan(s.planner(), tasks.Request{Project: "hq", Desktops: ids(3)})
	s.cloud.Update(projectID, ids(3)[1], func(d *fakecloud.Desktop) { d.Users = people("heir") })
	op := s.waits(s.runPlan(shown))
	plan, rows := s.planOf(op)
	require.Equal(t, "PLAN_CHANGED", rows[0].Code, "held comes first")
	_, err := s.p.Approve(t.Context(), op, tasks.Approval{By: "ann", Plan: plan.Hash, PlanOwner: "me"})
	require.NoError(t, err)
	got, _ := s.ended(op)
	require.Equal(t, tasks.Counts{Detached: 2, Held: 1}, got.Counts)
	require.NotContains(t, s.called(), ids(3)[1])
}

// An operation that has other rows than the plan showed is not approved by it.
func TestAPlanThatLacksRowsIsNotApproved(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Fail(fakecloud.Refused(ids(2)[0], "WKS.00010110", "no"))
	limit := &tasks.Limit{Desktops: 1, Percent: 100, Window: time.Hour}
	w := s.start(func(cfg *worker.Config) { cfg.Projects[0].Limit = limit })
	op, _ := s.ended(s.enqueue(tasks.Request{Desktops: ids(2)}))
	require.Equal(t, 1, op.Counts.Failed)
	w.Stop()
	require.NoError(t, s.rdb.Del(t.Context(), "detachd:{p:hq}:window", "detachd:{p:hq}:reserved").Err())
	s.start(none)
	_, err := s.p.Retry(t.Context(), op, tasks.RetryFilter{}, "bob")
	require.NoError(t, err)
	waiting := s.waits(op)
	plan, rows := s.planOf(waiting)
	require.Len(t, rows, 1, "what is left of it")
	c, err := s.record.Chunk(t.Context(), op.ID, 0)
	require.NoError(t, err)
	for _, d := range c.Desktops {
		if d.State == tasks.StateDetached { // as if a person could ask for it again
			require.NoError(t, s.rdb.HSet(t.Context(), "detachd:{"+op.ID+"}:c:0", d.ID, fmt.Sprintf("%d;Q;0;mm7p6yo0;;", d.Position)).Err())
		}
	}
	_, err = s.p.Approve(t.Context(), waiting, tasks.Approval{By: "ann", Plan: plan.Hash, PlanOwner: "me"})
	require.ErrorIs(t, err, tasks.ErrPlanChanged)
	require.True(t, s.operation(op).AwaitsApproval())
}

// unrepeated is a client of its own, which sends nothing twice.
func (s *env) unrepeated() *redis.Client {
	return redis.NewClient(redistest.Options(s.server.Addr()))
}

// dying is a hook of Redis that loses the connection for good before a script's nth run, and
// at the latest before an approval.
type dying struct{ left int }

var errDied = errors.New("the process died")

func (d *dying) DialHook(next redis.DialHook) redis.DialHook { return next }
func (d *dying) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := d.dies(cmd); err != nil {
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func (d *dying) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			if err := d.dies(cmd); err != nil {
				cmd.SetErr(err)
				return err
			}
		}
		return next(ctx, cmds)
	}
}

func (d *dying) dies(cmd redis.Cmder) error {
	if !isScript(cmd) {
		return nil
	}
	if d.left--; d.left < 0 || isApproval(cmd) {
		return errDied
	}
	return nil
}

func isScript(cmd redis.Cmder) bool { return cmd.Name() == "evalsha" || cmd.Name() == "eval" }

// isApproval reports whether a command writes that an operation was approved.
func isApproval(cmd redis.Cmder) bool {
	return isScript(cmd) && slices.ContainsFunc(cmd.Args(), func(arg any) bool {
		text, _ := arg.(string)
		return strings.Contains(text, `"state":"approved"`)
	})
}

// A process that dies between the pins and the approval, wherever, leaves an operation that
// waits as before. The next approval is of its own plan.
func TestAKillBetweenPinsAndApproval(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.start(none)
	op := s.waits(s.enqueue(tasks.Request{Desktops: ids(250)}))
	first, _ := s.planOf(op)
	changed := ids(250)[7]
	s.cloud.Update(projectID, changed, func(d *fakecloud.Desktop) { d.Users = people("heir") })

	// The pins of three chunks, and their rows anew; the last two points are the approval.
	for point := range 8 {
		rdb := s.unrepeated()
		t.Cleanup(func() { _ = rdb.Close() })
		rdb.AddHook(&dying{left: point})
		killed, err := record.NewProducer(rdb, record.ProducerConfig{Projects: []string{"hq"}})
		require.NoError(t, err)
		_, err = killed.Approve(t.Context(), op, tasks.Approval{By: "ann", Plan: first.Hash, PlanOwner: "me"})
		require.ErrorIs(t, err, errDied, "point %d", point)
		require.True(t, s.operation(op).AwaitsApproval(), "point %d", point)
		require.Empty(t, s.called())
	}
	second, rows := s.planOf(s.operation(op))
	require.NotEqual(t, first.Hash, second.Hash)
	require.Equal(t, -1, slices.IndexFunc(rows, func(r tasks.Planned) bool { return r.Does == "hold" }), "what was not approved binds nothing")
	_, err := s.p.Approve(t.Context(), s.operation(op), tasks.Approval{By: "bob", Plan: second.Hash, PlanOwner: "me"})
	require.NoError(t, err)
	got, _ := s.ended(op)
	require.Equal(t, 250, got.Counts.Detached)

	_, err = s.p.Approve(t.Context(), op, tasks.Approval{By: "ann", Plan: first.Hash, PlanOwner: "me"})
	require.ErrorIs(t, err, tasks.ErrNotWaiting, "an approval that comes late pins nothing")
}

// A worker that read the rows before the approval pinned them cannot send them.
func TestARowReadBeforeItsPinsIsNotSent(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	w := s.start(none)
	op := s.waits(s.enqueue(tasks.Request{Desktops: ids(2)}))
	w.Stop()
	read, err := s.record.Chunk(t.Context(), op.ID, 0)
	require.NoError(t, err)
	plan, _ := s.planOf(op)
	_, err = s.p.Approve(t.Context(), op, tasks.Approval{By: "ann", Plan: plan.Hash, PlanOwner: "me"})
	require.NoError(t, err)
	change := record.Change{Operation: op, By: "slow"}
	for _, d := range read.Desktops {
		require.Nil(t, d.Planned)
		change.Moves = append(change.Moves, record.Move{Desktop: d, To: tasks.StateSending})
	}
	done, err := s.record.Apply(t.Context(), time.Now(), []record.Change{change})
	require.NoError(t, err)
	for _, d := range done[0].Desktops {
		require.Zero(t, d, "it was moved by a copy without its pins")
	}
	now, err := s.record.Chunk(t.Context(), op.ID, 0)
	require.NoError(t, err)
	for _, d := range now.Desktops {
		require.Equal(t, tasks.StateQueued, d.State)
		require.Equal(t, []string{d.Planned.Users[0].Name}, d.Expected())
	}
}

// A worker that reads the rows between their pins and the approval, when the pins do not count
// yet, cannot send them if it learns of the approval before it asks whether it may.
func TestARowReadBetweenItsPinsAndTheApprovalIsNotSent(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.absent = true
	id := ids(1)[0]
	s.cloud.Add(projectID, fakecloud.Desktop{ID: id, AttachState: fakecloud.Detached})
	w := s.start(none)
	op := s.waits(s.enqueue(tasks.Request{Desktops: []string{id}, Users: []string{"nobody"}, UnknownUsers: tasks.IgnoreUnknown}))
	w.Stop()
	plan, _ := s.planOf(op)
	s.cloud.Attach(projectID, id, people("heir")...)

	read, approved := make(chan bool), make(chan bool)
	slow := s.unrepeated()
	t.Cleanup(func() { _ = slow.Close() })
	slow.AddHook(&afterRead{chunk: op.ID + "}:c:0", do: sync.OnceFunc(func() {
		close(read)
		<-approved
	})})
	rdb := s.unrepeated()
	t.Cleanup(func() { _ = rdb.Close() })
	rdb.AddHook(&meanwhile{do: func() { // all is pinned
		c, err := s.record.Chunk(t.Context(), op.ID, 0)
		require.NoError(t, err)
		require.NoError(t, s.p.Regenerate(t.Context(), record.OpenChunk{Operation: &op, Number: 0, Generation: c.Generation}))
		s.start(none, func(c *worker.Config) { c.Redis = slow })
		<-read
	}})
	p, err := record.NewProducer(rdb, record.ProducerConfig{Projects: []string{"hq"}})
	require.NoError(t, err)
	_, err = p.Approve(t.Context(), op, tasks.Approval{By: "ann", Plan: plan.Hash, PlanOwner: "me"})
	require.NoError(t, err)
	close(approved)
	_, rows := s.ended(op)
	require.Empty(t, s.called())
	require.Equal(t, tasks.StateHeld, rows[id].State)
	require.Equal(t, "PLAN_CHANGED", rows[id].Failure.Code)
}

// afterRead does something when a run that begins has read its chunk, before the run goes on.
type afterRead struct {
	chunk string // how the chunk's key ends
	do    func()
}

func (a *afterRead) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (a *afterRead) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (a *afterRead) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		has := func(name, suffix string) bool {
			return slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool {
				return cmd.Name() == name && strings.HasSuffix(fmt.Sprint(cmd.Args()[1]), suffix)
			})
		}
		if has("hgetall", a.chunk) && has("sadd", "") {
			a.do()
		}
		return err
	}
}

// Of two who approve at the same time, one does, and by the plan that was shown there.
func TestTwoApprovalsOfTwoPlans(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	w := s.start(none)
	op := s.waits(s.enqueue(tasks.Request{Desktops: ids(150)}))
	w.Stop()
	early, _ := s.planOf(op)
	changed := ids(150)[3]
	s.cloud.Update(projectID, changed, func(d *fakecloud.Desktop) { d.Users = people("heir") })
	late, _ := s.planOf(op)

	// The first one has pinned everything when the second one begins.
	rdb := s.unrepeated()
	t.Cleanup(func() { _ = rdb.Close() })
	between := &meanwhile{do: func() {
		other := s.unrepeated()
		defer func() { _ = other.Close() }()
		other.AddHook(&dying{left: 1}) // it has begun to pin
		p, err := record.NewProducer(other, record.ProducerConfig{Projects: []string{"hq"}})
		require.NoError(t, err)
		_, err = p.Approve(t.Context(), op, tasks.Approval{By: "bob", Plan: late.Hash, PlanOwner: "me"})
		require.ErrorIs(t, err, errDied)
	}}
	rdb.AddHook(between)
	p, err := record.NewProducer(rdb, record.ProducerConfig{Projects: []string{"hq"}})
	require.NoError(t, err)
	_, err = p.Approve(t.Context(), op, tasks.Approval{By: "ann", Plan: early.Hash, PlanOwner: "me"})
	require.True(t, between.done)
	require.ErrorIs(t, err, tasks.ErrNotWaiting, "the pins are another's by now")
	require.True(t, s.operation(op).AwaitsApproval())
}

// meanwhile does something just before an approval is written.
type meanwhile struct {
	do   func()
	done bool
}

func (m *meanwhile) DialHook(next redis.DialHook) redis.DialHook { return next }

func (m *meanwhile) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (m *meanwhile) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			if isApproval(cmd) && !m.done {
				m.done = true
				m.do()
			}
		}
		return next(ctx, cmds)
	}
}

// For random desktops, requests and changes since the plan: a desktop whose users are not
// those that the plan read is in no call, whether the plan is run or approved.
func TestAChangedPlanIsNeverSent(t *testing.T) {
	t.Parallel()
	names := []string{"ann", "bob", "zoe", "kim", "li"}
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 14))
			some := func(most int) []string {
				out := slices.Clone(names)
				rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
				return out[:rng.IntN(most+1)]
			}
			s := newEnv(t, fakecloud.Config{})
			s.absent = true
			req := tasks.Request{Project: "hq", Expect: map[string][]string{}, AllowShared: rng.IntN(2) == 0}
			any := func() fakecloud.Desktop {
				d := fakecloud.Desktop{Users: people(some(1)...)}
				if rng.IntN(3) == 0 {
					d.Type, d.Users = fakecloud.Shared, people(some(3)...)
				}
				if len(d.Users) == 0 {
					d.AttachState = fakecloud.Detached
				}
				return d
			}
			all := ids(40 + rng.IntN(160))
			for _, id := range all {
				d := any()
				if d.ID = id; rng.IntN(20) > 0 {
					s.cloud.Add(projectID, d)
				}
				if rng.IntN(4) > 0 {
					req.Desktops = append(req.Desktops, id)
					if who := some(2); len(who) > 0 && rng.IntN(2) == 0 {
						req.Expect[id] = who
					}
				}
			}
			if req.Users = some(2); len(req.Users) == 0 {
				req.Users = nil
			}
			byApproval := rng.IntN(2) == 0
			var op record.Operation
			var rows []tasks.Planned
			var plan record.Plan
			if byApproval {
				s.start(none)
				op = s.waits(s.enqueue(req))
				plan, rows = s.planOf(op)
			} else {
				plan, rows = s.plan(s.planner(), req)
			}
			require.Equal(t, tasks.PlanDone, plan.State)
			shown := map[string][]string{}
			for _, row := range rows {
				shown[row.ID] = nil
				if row.Now != nil {
					shown[row.ID] = identities(row.Now.Users)
				}
			}
			for _, id := range all {
				switch rng.IntN(4) {
				case 0:
					d := any()
					d.ID = id
					s.cloud.Remove(projectID, id)
					s.cloud.Add(projectID, d)
				case 1:
					s.cloud.Attach(projectID, id, people(some(2)...)...)
				}
			}
			now := map[string][]string{}
			for _, d := range s.cloud.Desktops(projectID) {
				for _, u := range d.Users {
					now[d.ID] = append(now[d.ID], tasks.Person{Name: u.Name, ID: u.ID, Type: u.Type}.Identity())
				}
				slices.Sort(now[d.ID])
			}
			if byApproval {
				_, err := s.p.Approve(t.Context(), op, tasks.Approval{By: "ann", Plan: plan.Hash, PlanOwner: "me"})
				require.NoError(t, err)
			} else {
				op = s.runPlan(plan)
				s.start()
			}
			_, ended := s.ended(op)
			since := 0
			for id, row := range ended {
				if _, known := shown[id]; !known && !strings.HasPrefix(id, "user:") {
					require.Equal(t, tasks.StateHeld, row.State, "%s came since the plan", id)
					require.Equal(t, "PLAN_CHANGED", row.Failure.Code)
					since++
				}
			}
			require.True(t, since == 0 || !byApproval && len(req.Users) > 0)
			require.Len(t, ended, len(rows)+since+lookedUpBefore(byApproval, req))
			same := 0
			for _, id := range s.called() {
				users, known := shown[id]
				require.True(t, known, "%s was not in the plan", id)
				require.Equal(t, users, now[id], "%s has other users than the plan showed", id)
				same++
			}
			t.Log(byApproval, len(rows), "rows,", same, "sent")
		})
	}
}

// lookedUpBefore is the number of rows that a plan of an operation does not have.
func lookedUpBefore(byApproval bool, req tasks.Request) int {
	if byApproval {
		return len(req.Users)
	}
	return 0
}

func identities(users []tasks.Person) (out []string) {
	for _, u := range users {
		out = append(out, u.Identity())
	}
	slices.Sort(out)
	return out
}
