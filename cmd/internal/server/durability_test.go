package server

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// The answer, and what Metrics are told, say whether a replica of Redis has what was
// accepted.
func TestAcceptedOnReplicasAndOnOneCopy(t *testing.T) {
	t.Parallel()
	metrics := &counted{}
	b := newBench(t, func(c *Config) { c.Metrics = metrics })
	primary := redistest.Start(t)
	replica := redistest.StartReplica(t, primary, primary.Addr())
	var err error
	b.store.Producer, err = record.NewProducer(primary.Client(t), record.ProducerConfig{
		Projects: []string{"hq"}, Record: record.Config{ReplicaWait: 5 * time.Second}, // a busy machine acknowledges late
	})
	require.NoError(t, err)
	durability := func(key string) any {
		a := b.do(b.key[access.Producer], "POST", "/v1/operations", `{"project":"hq","desktops":["d1"]}`, "Idempotency-Key", key)
		require.Equal(t, http.StatusAccepted, a.status, a.body)
		return a.json(t)["durability"]
	}
	require.Equal(t, "replicated", durability("k1"))
	replica.Kill()
	redistest.AwaitReplicas(t, primary.Client(t), 0)
	require.Equal(t, "one_copy", durability("k2"))
	require.NoError(t, replica.Restart())
	redistest.AwaitReplicas(t, primary.Client(t), 1)
	require.Eventually(t, func() bool { return durability("k2") == "replicated" }, patience, patience/1000, "sent again")
	require.Equal(t, []tasks.Durability{tasks.OnReplica, tasks.OneCopy}, metrics.accepted[:2])
}
