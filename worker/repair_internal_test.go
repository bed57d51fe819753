package worker

import (
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// Operations that were lost from the open list, by a failover, are back after the next round of the
// leader, and the walk has not gone through the rest of the record in it.
func TestLostOperationsAreFoundInARound(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	p, err := record.NewProducer(rdb, record.ProducerConfig{Projects: []string{"hq"}})
	require.NoError(t, err)
	const n = 600
	for i := range n {
		_, err := p.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: []string{fmt.Sprint("d-", i)}})
		require.NoError(t, err)
	}
	open := record.DefaultPrefix + ":open"
	require.NoError(t, rdb.Del(t.Context(), open).Err())
	bucketsRead := func() string {
		stats, err := rdb.Info(t.Context(), "commandstats").Result()
		require.NoError(t, err)
		return regexp.MustCompile(`cmdstat_getrange:calls=\d+`).FindString(stats)
	}
	before := bucketsRead()
	r := &reconciler{record: p.Record, heart: &heart{beatInterval: time.Second}, log: zerolog.Nop()}
	require.NoError(t, r.repair(t.Context()))
	require.EqualValues(t, n, rdb.ZCard(t.Context(), open).Val())
	require.Equal(t, n, r.repairs)
	require.Equal(t, before, bucketsRead())
}
