package worker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker"
)

// A plan says what then happens, and nothing happens while it is made.
func TestPlanIsWhatHappens(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{FuzzyUserNames: true})
	user := func(names ...string) (out []fakecloud.User) {
		for _, n := range names {
			out = append(out, fakecloud.User{Name: n})
		}
		return out
	}
	s.cloud.Add(projectID,
		fakecloud.Desktop{ID: "ann's", Users: user("ann")}, fakecloud.Desktop{ID: "zoe's", Users: user("zoe")},
		fakecloud.Desktop{ID: "shared", Type: fakecloud.Shared, Users: user("ann", "bob")},
		fakecloud.Desktop{ID: "crowd", Type: fakecloud.Shared, Users: user("bob", "zoe")},
		fakecloud.Desktop{ID: "found", Users: user("leaver")}, fakecloud.Desktop{ID: "empty", AttachState: fakecloud.Detached},
	)
	req := tasks.Request{
		Project: "hq", Desktops: []string{"ann's", "zoe's", "shared", "crowd", "empty"}, Users: []string{"leaver", "nobody", "BOB"},
		Expect: map[string][]string{"ann's": {"ann"}, "zoe's": {"ann"}, "shared": {"ann"}},
	}
	planner := worker.NewPlanner(s.rdb, s.record, worker.Project{Alias: "hq", API: client(t, s.cloud.URL, 5*time.Second)}, zerolog.Nop())
	done, plan := s.plan(planner, req)
	require.Equal(t, tasks.PlanDone, done.State)
	require.Equal(t, 9, done.Read)
	require.Equal(t, 9, done.Total)
	require.Equal(t, 1, done.Found)
	require.Equal(t, 2, done.People, "ann has two desktops")
	does, from := map[string]string{}, map[string][]string{}
	for _, p := range plan {
		does[p.ID] = p.Does + " " + p.Code
		for _, u := range p.From {
			from[p.ID] = append(from[p.ID], u.Name)
		}
	}
	require.Equal(t, map[string]string{
		"ann's": "send ", "zoe's": "hold OTHER_USER", "shared": "send ", "crowd": "hold SHARED", "empty": "done ",
		"user:leaver": "find ", "user:nobody": "hold USER_UNKNOWN", "user:BOB": "hold USER_NAME", "found": "send ",
	}, does)
	require.Equal(t, map[string][]string{"ann's": {"ann"}, "shared": {"ann"}, "found": {"leaver"}}, from)
	require.Empty(t, s.calls(), "nothing is sent for a plan")
	ops, _, err := s.record.Operations(t.Context(), tasks.OperationFilter{}, 1, "")
	require.NoError(t, err)
	require.Empty(t, ops)

	s.start()
	op, rows := s.ended(s.enqueue(req))
	require.Equal(t, len(plan), op.Total)
	for id, d := range rows {
		want := map[string]tasks.State{"send": tasks.StateDetached, "done": tasks.StateDetached, "hold": tasks.StateHeld, "find": tasks.StateExpanded}
		p := plan[0]
		for _, x := range plan {
			if x.ID == id {
				p = x
			}
		}
		require.Equal(t, want[p.Does], d.State, id)
		if d.State == tasks.StateHeld {
			require.Equal(t, p.Code, d.Failure.Code)
			require.Equal(t, p.Why, d.Failure.Message)
		}
	}
}

// plan has a plan read, and gives it with all of its rows.
func (s *env) plan(planner *worker.Planner, req tasks.Request) (record.Plan, []tasks.Planned) {
	s.t.Helper()
	p, err := s.record.CreatePlan(s.t.Context(), time.Now(), "me", req)
	require.NoError(s.t, err)
	return s.read(planner, p)
}

// read takes a plan and has it read on.
func (s *env) read(planner *worker.Planner, p record.Plan) (record.Plan, []tasks.Planned) {
	s.t.Helper()
	work, err := s.record.TakePlan(s.t.Context(), p, true)
	require.NoError(s.t, err)
	require.NotNil(s.t, work)
	planner.SetBeat(time.Hour) // nobody asks meanwhile, and a slow machine takes longer than a minute
	require.NoError(s.t, planner.Read(s.t.Context(), work))
	return s.planned(p.ID)
}

func (s *env) planned(id string) (p record.Plan, rows []tasks.Planned) {
	s.t.Helper()
	p, err := s.record.Plan(s.t.Context(), id)
	require.NoError(s.t, err)
	for token := ""; ; {
		page, next, err := s.record.PlanRows(s.t.Context(), p, 700, token)
		require.NoError(s.t, err)
		if rows = append(rows, page...); next == "" {
			return p, rows
		}
		require.Len(s.t, page, 700)
		token = next
	}
}

func (s *env) planner() *worker.Planner { return s.plannerAt(s.cloud.URL) }

func (s *env) plannerAt(cloud string) *worker.Planner {
	return worker.NewPlanner(s.rdb, s.record, worker.Project{Alias: "hq", API: client(s.t, cloud, 5*time.Second), ReadsPerMinute: 600_000, Burst: 1000}, zerolog.Nop())
}

// A plan of thousands of rows is of all of them, users and what they have included: its
// counts are those of its rows, held first, and each is there once.
func TestPlanOfThousands(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	req := tasks.Request{Project: "hq", Desktops: append([]string{"crowd"}, ids(2345)...)}
	s.exist(ids(2300)...) // and 45 do not
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "crowd", Type: fakecloud.Shared, Users: []fakecloud.User{{Name: "ann"}, {Name: "bob"}}})
	for i := range 250 {
		name := fmt.Sprintf("leaver-%03d", i)
		req.Users = append(req.Users, name)
		for n := range i % 3 {
			s.cloud.Add(projectID, fakecloud.Desktop{ID: fmt.Sprintf("%s-%d", name, n), Users: []fakecloud.User{{Name: name}}})
		}
	}
	p, rows := s.plan(s.planner(), req)
	require.Equal(t, tasks.PlanDone, p.State)
	require.Equal(t, 249, p.Found)
	require.Equal(t, 2346+250+249, p.Total)
	require.Equal(t, p.Total, p.Read)
	require.Len(t, rows, p.Total)
	require.Equal(t, []tasks.PlannedCount{
		{Of: "users", Does: "hold", Code: "USER_UNKNOWN", Count: 84}, {Of: "desktops", Does: "hold", Code: "NOT_FOUND", Count: 45},
		{Of: "desktops", Does: "hold", Code: "SHARED", Count: 1}, {Of: "desktops", Does: "send", Count: 2300 + 249}, {Of: "users", Does: "find", Count: 166},
	}, p.Counts)
	counts, seen := map[tasks.PlannedCount]int{}, map[string]bool{}
	for i, row := range rows {
		require.False(t, seen[row.ID], row.ID)
		seen[row.ID] = true
		require.Equal(t, i < 130, row.Does == "hold", "held first")
		counts[tasks.PlannedCount{Does: row.Does, Code: row.Code}]++
	}
	require.Equal(t, map[tasks.PlannedCount]int{{Does: "hold", Code: "USER_UNKNOWN"}: 84, {Does: "hold", Code: "NOT_FOUND"}: 45, {Does: "hold", Code: "SHARED"}: 1, {Does: "send"}: 2549, {Does: "find"}: 166}, counts)
	require.Equal(t, "crowd", rows[0].ID, "in the order of the request")
	ttl, err := s.rdb.PTTL(t.Context(), "detachd:{pl:"+p.ID+"}").Result()
	require.NoError(t, err)
	require.Positive(t, ttl, "it is forgotten by itself")
}

// stopping is an API that ends what reads by it after so many readings.
type stopping struct {
	worker.API
	left int
	stop func()
}

func (s *stopping) Desktops(ctx context.Context, ids []string) ([]apiclient.Desktop, error) {
	if s.left--; s.left < 0 {
		s.stop()
		return nil, ctx.Err()
	}
	return s.API.Desktops(ctx, ids)
}

func (s *stopping) DesktopsOf(ctx context.Context, names []string) ([]apiclient.Desktop, error) {
	if s.left--; s.left < 0 {
		s.stop()
		return nil, ctx.Err()
	}
	return s.API.DesktopsOf(ctx, names)
}

// However often who reads a plan goes, the next reads on where it was left, and what
// comes of it is the same.
func TestPlanIsReadOn(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.exist(ids(450)...)
	req := tasks.Request{Project: "hq", Desktops: ids(450)}
	for i := range 250 {
		name := fmt.Sprintf("leaver-%03d", i)
		req.Users = append(req.Users, name)
		s.cloud.Add(projectID, fakecloud.Desktop{ID: name + "'s", Users: []fakecloud.User{{Name: name}}})
	}
	whole, rows := s.plan(s.planner(), req)
	p, err := s.record.CreatePlan(t.Context(), whole.CreatedAt, "me", req)
	require.NoError(t, err)
	requests := len(s.cloud.Requests())
	progress := []int{0}
	for range 11 {
		work, err := s.record.TakePlan(t.Context(), p, true)
		require.NoError(t, err)
		require.NotNil(t, work)
		again, err := s.record.TakePlan(t.Context(), p, true)
		require.NoError(t, err)
		require.Nil(t, again, "one reads at a time")
		ctx, cancel := context.WithCancel(t.Context())
		api := &stopping{client(t, s.cloud.URL, 5*time.Second), 1, cancel}
		require.NoError(t, worker.NewPlanner(s.rdb, s.record, worker.Project{Alias: "hq", API: api, ReadsPerMinute: 600_000, Burst: 1000}, zerolog.Nop()).Read(ctx, work))
		now, some := s.planned(p.ID)
		if now.State == tasks.PlanDone {
			break
		}
		require.Empty(t, some, "of a part nothing is shown")
		require.Greater(t, now.Read, progress[len(progress)-1])
		progress = append(progress, now.Read)
	}
	got, gotRows := s.planned(p.ID)
	require.Equal(t, []int{0, 100, 200, 300, 400, 450, 550, 650, 700, 800, 900}, progress)
	require.Equal(t, whole.Hash, got.Hash, "however it was read")
	got.ID, whole.ID = "", ""
	got.ExpiresAt, whole.ExpiresAt = time.Time{}, time.Time{}
	require.Equal(t, whole, got)
	require.Len(t, gotRows, len(rows))
	for i := range rows {
		require.Equal(t, rows[i].ID+rows[i].Does, gotRows[i].ID+gotRows[i].Does)
	}
	require.Equal(t, 11, len(s.cloud.Requests())-requests, "nothing is read twice")
}

// Reading stops for a plan that no client asks for, and goes on when one asks again.
func TestPlanThatNobodyAsksFor(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.exist(ids(3)...)
	s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Effect: fakecloud.HangBefore})
	p, err := s.record.CreatePlan(t.Context(), time.Now(), "me", tasks.Request{Project: "hq", Desktops: ids(3)})
	require.NoError(t, err)
	work, err := s.record.TakePlan(t.Context(), p, true)
	require.NoError(t, err)
	asked := time.Now().Add(-2 * time.Minute).UnixMilli()
	require.NoError(t, s.rdb.HSet(t.Context(), "detachd:{pl:"+p.ID+"}", "asked", asked).Err())
	planner := worker.NewPlanner(s.rdb, s.record, worker.Project{Alias: "hq", API: client(t, s.cloud.URL, patience)}, zerolog.Nop())
	planner.SetBeat(time.Millisecond)
	require.NoError(t, planner.Read(t.Context(), work), "it ends by itself")
	left, _ := s.planned(p.ID)
	require.Equal(t, tasks.PlanReading, left.State)

	s.cloud.ClearFaults()
	p, _ = s.read(s.planner(), p)
	require.Equal(t, tasks.PlanDone, p.State)
}

// Who has lost a plan to another writes nothing to it.
func TestPlanThatAnotherReads(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	p, err := s.record.CreatePlan(t.Context(), time.Now(), "me", tasks.Request{Project: "hq", Desktops: ids(3)})
	require.NoError(t, err)
	slow, err := s.record.TakePlan(t.Context(), p, true)
	require.NoError(t, err)
	require.NoError(t, s.rdb.HSet(t.Context(), "detachd:{pl:"+p.ID+"}", "until", "0").Err()) // nothing was heard of it
	p, _ = s.read(s.planner(), p)
	require.Equal(t, tasks.PlanDone, p.State)
	require.ErrorIs(t, s.planner().Read(t.Context(), slow), record.ErrOvertaken)
	again, _ := s.planned(p.ID)
	require.Equal(t, p, again)
}

// A cloud that refuses to be read is told as it is, one that hiccups is asked again, and
// one desktop that it refuses to be asked about is a row as others.
func TestPlanOfACloudInTrouble(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.exist(ids(300)...)
	req := tasks.Request{Project: "hq", Desktops: ids(300)}
	s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Status: 403, Code: "IAM.0002", Message: "no access"})
	p, rows := s.plan(s.planner(), req)
	require.Equal(t, tasks.PlanFailed, p.State)
	require.Contains(t, p.Error, "IAM.0002: no access")
	require.Empty(t, rows)

	s.cloud.ClearFaults()
	s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Status: 500, Times: 2})
	p, _ = s.plan(s.planner(), req)
	require.Equal(t, tasks.PlanDone, p.State)

	s.cloud.ClearFaults()
	s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Desktop: "d-000150", Status: 400, Code: "WKS.00000001", Message: "not that one"})
	p, rows = s.plan(s.planner(), req)
	require.Equal(t, []tasks.PlannedCount{{Of: "desktops", Does: "fail", Code: "WKS.00000001", Count: 1}, {Of: "desktops", Does: "send", Count: 299}}, p.Counts)
	require.Equal(t, "d-000150", rows[0].ID)
	require.Contains(t, rows[0].Why, "not that one")
}
