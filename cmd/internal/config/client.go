package config

import (
	"time"

	"github.com/redis/go-redis/v9"
)

// newClient is redis.NewUniversalClient with a Cluster client that finds a new primary soon.
// By default go-redis reloads the slots once a minute, or after MOVED from a node: it would
// keep dialling a dead primary for up to a minute after a failover.
func newClient(o *redis.UniversalOptions) redis.UniversalClient {
	if !o.IsClusterMode || o.MasterName != "" {
		return redis.NewUniversalClient(o)
	}
	c := o.Cluster()
	c.ClusterStateReloadInterval = time.Second
	return redis.NewClusterClient(c)
}
