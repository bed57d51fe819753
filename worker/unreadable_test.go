package worker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/worker"
)

// A desktop that the cloud refuses to read after the call keeps no other from being confirmed.
func TestADesktopThatIsRefusedWhenItIsConfirmed(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.start(func(cfg *worker.Config) { cfg.FirstLook, cfg.ConfirmWithin = 300*time.Millisecond, time.Second })
	op := s.enqueue(tasks.Request{Desktops: ids(50)})
	require.NoError(t, s.cloud.Wait(t.Context(), func() bool { return s.cloud.DetachedTimes(projectID, "d-000007") == 1 }))
	for _, bad := range []string{"d-000007", "d-000042"} {
		s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Desktop: bad, Status: 404, Code: "WKS.00211902"})
	}
	got, rows := s.ended(op)
	require.Equal(t, tasks.Counts{Detached: 48, Failed: 2}, got.Counts)
	require.Equal(t, "UNCONFIRMED", rows["d-000007"].Failure.Code, "that it is refused proves nothing")
	require.Contains(t, rows["d-000042"].Failure.Message, "WKS.00211902")
	require.Empty(t, s.takenTwice(ids(50)))
}

// Nor does one whose call has an unknown outcome.
func TestADesktopThatIsRefusedWhenItsOutcomeIsUnknown(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Fail(fakecloud.LoseReplies(1))
	s.start(func(cfg *worker.Config) { cfg.ConfirmWithin = time.Second })
	op := s.enqueue(tasks.Request{Desktops: ids(50), Deadline: time.Now().Add(2 * time.Second)})
	require.NoError(t, s.cloud.Wait(t.Context(), func() bool { return s.cloud.CallsOf(fakecloud.OpDetach, "") == 1 }))
	s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Desktop: "d-000007", Status: 404, Code: "WKS.00211902"})
	got, rows := s.ended(op)
	require.Equal(t, tasks.Counts{Detached: 49, Failed: 1}, got.Counts)
	require.Equal(t, "UNCONFIRMED", rows["d-000007"].Failure.Code)
	require.Empty(t, s.takenTwice(ids(50)))
}
