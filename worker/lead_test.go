package worker_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/queue"
)

// A cancellation and a bulk retry that cannot be read keep no others from going on, and no lost task from
// being found. The log says what is not done.
func TestTheLeaderGoesOn(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	for list, key := range map[string]string{"cancellations": "detachd:{cn:broken}", "redrives": "detachd:{rd:broken}"} {
		require.NoError(t, s.rdb.HSet(t.Context(), key, "meta", "{").Err())
		require.NoError(t, s.rdb.ZAdd(t.Context(), "detachd:"+list+":open", redis.Z{Score: 1, Member: "broken"}).Err())
	}
	failed := s.enqueue(tasks.Request{Desktops: ids(1)})
	s.fail(failed)
	s.redrive(failed, ids(1)...)
	lost := s.enqueue(tasks.Request{Desktops: ids(2)[1:]})
	task := queue.Payload{Operation: lost.ID, Project: "hq"}.TaskID()
	keys := queue.KeysOf(s.record.QueueOf(lost, 0)).All(task, time.Now())
	require.Positive(t, s.rdb.Del(t.Context(), keys...).Val())
	s.startImpatient()
	got, _ := s.ended(lost)
	require.Equal(t, 1, got.Counts.Detached)
	require.Eventually(t, func() bool { return s.operation(failed).Counts.Detached == 1 }, patience, 10*time.Millisecond)
	require.Regexp(t, `cancellations did not go on: .*broken.*bulk retries did not go on: .*broken`, s.log.String())
}
