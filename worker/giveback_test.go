package worker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
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

// interrupted runs between when the first of its detach calls has been refused.
type interrupted struct {
	*apiclient.Client
	between func()
}

func (a *interrupted) Detach(ctx context.Context, req apiclient.DetachRequest) (*apiclient.DetachResult, error) {
	res, err := a.Client.Detach(ctx, req)
	if err != nil {
		a.between()
	}
	return res, err
}

// What is left of a batch that was split and cannot go on was refused, not lost: it spends no attempt,
// and no worker died.
func TestWhatIsLeftOfASplitBatchSpendsNoAttempt(t *testing.T) {
	t.Parallel()
	const fresh = 5 * time.Second // a reading is made anew after that
	for name, between := range map[string]func(*env, worker.Blackouts) bool{
		"a blackout begins": func(_ *env, bs worker.Blackouts) bool { return bs.At(time.Now().Add(fresh)) != nil },
		"it cannot be read": func(s *env, _ worker.Blackouts) bool {
			s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Status: 503, Times: 1})
			return true
		},
		"another call has it": func(s *env, _ worker.Blackouts) bool {
			other := record.Claim{Project: "hq", Holder: "other/call", Desktops: ids(1)}
			got, _, err := s.record.Claim(context.Background(), other, time.Second)
			return err == nil && got[0]
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, fakecloud.Config{})
			s.cloud.Fail(fakecloud.Fault{Status: 400, Code: "WKS.00010021", Message: "not acceptable", Times: 1})
			op := s.enqueue(tasks.Request{Desktops: ids(4)})
			var bs worker.Blackouts
			if name == "a blackout begins" {
				for at := 10 * time.Second; at < patience; at += 10 * time.Second { // a slow machine meets a later one
					bs = append(bs, blackout(t, fmt.Sprint("after ", at), at, at+2*time.Second))
				}
			}
			api := &interrupted{Client: client(t, s.cloud.URL, 5*time.Second), between: sync.OnceFunc(func() {
				refused := time.Now()
				assert.Eventually(t, func() bool { return time.Since(refused) > fresh && between(s, bs) }, patience, 50*time.Millisecond)
			})}
			s.start(withBlackouts(bs...), func(c *worker.Config) { c.Projects[0].API = api })
			got, rows := s.ended(op)
			require.Equal(t, 4, got.Counts.Detached)
			for _, row := range rows {
				require.Zero(t, row.Attempts, row.ID)
			}
			require.NotContains(t, s.log.String(), "unknown outcomes")
		})
	}
}
