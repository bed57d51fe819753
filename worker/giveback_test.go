package worker_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/worker"
)

// pausing pauses its project once, when the first reading is answered.
type pausing struct {
	*apiclient.Client
	pause func()
}

func (a *pausing) Desktops(ctx context.Context, ids []string) ([]apiclient.Desktop, error) {
	list, err := a.Client.Desktops(ctx, ids)
	a.pause()
	return list, err
}

// Desktops that return to their lane between reading and call are read again: those that
// lose only a leaver must not share a call with those that lose all users.
func TestWhatIsGivenBackIsReadAnew(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "single", Users: []fakecloud.User{{Name: "mia"}}},
		fakecloud.Desktop{ID: "shared", Type: fakecloud.Shared, Users: []fakecloud.User{{Name: "mia"}, {Name: "tom"}}})
	api := &pausing{Client: client(t, s.cloud.URL, 5*time.Second), pause: sync.OnceFunc(func() {
		require.NoError(t, s.record.PauseProject(context.Background(), "hq", tasks.PauseOperator, 0, "in the middle of it"))
	})}
	op := s.enqueue(tasks.Request{Desktops: []string{"single", "shared"}, Expect: map[string][]string{"shared": {"mia"}}})
	s.start(func(c *worker.Config) { c.Projects[0].API = api })
	require.Eventually(t, func() bool {
		es, err := s.record.Evidence(context.Background(), op, 0, 1)
		return err == nil && len(es[0].Trail) >= 2
	}, patience, 5*time.Millisecond, "nothing came back")
	require.NoError(t, s.record.ResumeProject(t.Context(), "hq"))
	got, _ := s.ended(op)
	require.Equal(t, 2, got.Counts.Detached)
	d, _ := s.cloud.Get(projectID, "shared")
	require.Len(t, d.Users, 1, "only the leaver is off it")
	require.Equal(t, "tom", d.Users[0].Name)
	reads := s.cloud.Reads(projectID, "single")
	require.GreaterOrEqual(t, reads, 3, "before each of two claims, and after the call")
}
