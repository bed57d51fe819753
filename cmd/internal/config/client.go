package config

import (
	"time"

	"github.com/redis/go-redis/v9"
)

// newClient is redis.NewUniversalClient, with a Cluster's client that finds another
// primary soon. Left to itself, go-redis asks where slots are once a minute, or when
// a node says MOVED, which a dead one does not: after a failover it dials the dead
// one until then.
func newClient(o *redis.UniversalOptions) redis.UniversalClient {
	if !o.IsClusterMode || o.MasterName != "" {
		return redis.NewUniversalClient(o)
	}
	c := o.Cluster()
	c.ClusterStateReloadInterval = time.Second
	return redis.NewClusterClient(c)
}
