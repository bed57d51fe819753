package worker_test

import (
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/worker"
)

// A plan says what then happens, and nothing happens while it is made.
func TestPlanIsWhatHappens(t *testing.T) {
	t.Parallel()
	s := newStage(t, fakecloud.Config{FuzzyUserNames: true})
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
	planner := worker.NewPlanner(s.rdb, s.record, worker.Project{Alias: "hq", API: client(t, s.cloud.URL, 5*time.Second), ReadsPerMinute: 60_000}, zerolog.Nop())
	plan, left, err := planner.Plan(t.Context(), req)
	require.NoError(t, err)
	require.Zero(t, left)
	does, from := map[string]string{}, map[string][]string{}
	for _, p := range plan {
		does[p.ID] = p.Does + " " + p.Code
		for _, u := range p.From {
			from[p.ID] = append(from[p.ID], u.Name)
		}
	}
	require.Equal(t, map[string]string{
		"ann's": "send ", "zoe's": "hold OTHER_USER", "shared": "send ", "crowd": "hold SHARED", "empty": "done ",
		"user:leaver": "find ", "user:nobody": "done ", "user:BOB": "hold USER_NAME", "found": "send ",
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
		want := map[string]tasks.State{"send": tasks.Detached, "done": tasks.Detached, "hold": tasks.Held, "find": tasks.Resolved}
		p := plan[0]
		for _, x := range plan {
			if x.ID == id {
				p = x
			}
		}
		require.Equal(t, want[p.Does], d.State, id)
		if d.State == tasks.Held {
			require.Equal(t, p.Code, d.Failure.Code)
			require.Equal(t, p.Why, d.Failure.Message)
		}
	}
}

// Without check a desktop is sent whatever it reads as, and the plan says so.
func TestPlanOfWhatIsNotChecked(t *testing.T) {
	t.Parallel()
	s := newStage(t, fakecloud.Config{})
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "crowd", Type: fakecloud.Shared, Users: []fakecloud.User{{Name: "ann"}, {Name: "bob"}}})
	planner := worker.NewPlanner(s.rdb, s.record, worker.Project{Alias: "hq", API: client(t, s.cloud.URL, 5*time.Second)}, zerolog.Nop())
	plan, left, err := planner.Plan(t.Context(), tasks.Request{Project: "hq", Desktops: append([]string{"crowd"}, ids(tasks.MaxPlanned)...)})
	require.NoError(t, err)
	require.Equal(t, 1, left)
	require.Len(t, plan, tasks.MaxPlanned)
	require.Equal(t, "send", plan[0].Does)
	require.Equal(t, "SHARED", plan[0].Code)
	require.Len(t, plan[0].From, 2)
	require.Contains(t, plan[0].Why, "without being read first")

	s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Status: 500})
	_, _, err = planner.Plan(t.Context(), tasks.Request{Project: "hq", Desktops: []string{"crowd"}})
	require.Error(t, err)
}
