package worker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/worker"
)

// A thousand operations of one desktop each leave in ten full calls, and one for those that came
// first. The limit lets twenty calls leave at once and then one a minute, so nothing here depends on
// how quick the machine is; the last call is filled by another operation.
func TestAThousandSinglesLeaveInElevenCalls(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	all := ids(1000)
	s.exist(all...)
	for _, id := range all {
		s.enqueue(tasks.Request{Desktops: []string{id}})
	}
	s.start(func(c *worker.Config) { c.Projects[0].CallsPerMinute, c.Projects[0].Burst = 1, 30 })
	left := len(all)
	require.Eventually(t, func() bool {
		calls := s.calls()
		left = len(all)
		for _, c := range calls {
			left -= len(c.DesktopIDs)
		}
		return len(calls) > 0 && left == (len(all)-len(calls[0].DesktopIDs))%100
	}, patience, 10*time.Millisecond, "only the last call waits")
	if left > 0 {
		filler := make([]string, 100-left)
		for i := range filler {
			filler[i] = fmt.Sprint("filler-", i)
		}
		s.ended(s.enqueue(tasks.Request{Desktops: filler}))
	}
	require.LessOrEqual(t, len(s.calls()), 11)
}
