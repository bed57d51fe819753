package worker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
)

// A cloud whose replies differ in every known way from the documented ones is understood as
// well.
func TestRepliesOfEveryShape(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{Shapes: fakecloud.AllShapes})
	s.absent = true
	s.cloud.Add(projectID,
		fakecloud.Desktop{ID: "d1", Users: []fakecloud.User{{Name: "ann"}}}, fakecloud.Desktop{ID: "d2", Users: []fakecloud.User{{Name: "ben"}}},
		fakecloud.Desktop{ID: "d3", Frozen: true}, fakecloud.Desktop{ID: "d4", Type: fakecloud.Pooled},
	)
	s.start()
	op, rows := s.ended(s.enqueue(tasks.Request{
		Project: "hq", Desktops: []string{"d1", "d3", "d4", "d5"}, Users: []string{"ben"}, Expect: map[string][]string{"d1": {"ann"}},
	}))
	require.Equal(t, 3, op.Counts.Detached, "%+v", rows)
	require.Equal(t, 2, op.Counts.Held, "d3 is frozen, and d5 does not exist")
	for _, id := range []string{"d1", "d2", "d4"} {
		require.Equal(t, 1, s.cloud.DetachedTimes(projectID, id), id)
	}
	require.Zero(t, s.cloud.DetachedTimes(projectID, "d3"))
}
