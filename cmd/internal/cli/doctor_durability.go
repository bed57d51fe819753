package cli

import (
	"context"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// checkDurability checks what a failover loses. A primary that is cut off continues to
// accept writes after a replica took over, unless min-replicas-to-write stops it.
func checkDurability(ctx context.Context, rdb redis.UniversalClient, nodes []node, fs *findings) {
	settings := map[string]map[string]string{}
	var mu sync.Mutex
	read := func(ctx context.Context, name string, c redis.Cmdable) {
		all, _ := c.ConfigGet(ctx, "min-replicas-*").Result() // often refused
		mu.Lock()
		defer mu.Unlock()
		settings[name] = all
	}
	if cluster, ok := rdb.(*redis.ClusterClient); ok {
		// Earlier checks report nodes that cannot be reached.
		_ = cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
			read(ctx, c.Options().Addr, c)
			return nil
		})
	} else {
		read(ctx, "", rdb)
	}
	for _, n := range nodes {
		n.checkMinReplicas(settings[n.name], fs)
	}
}

const (
	lostAtFailover = "a primary that is cut off from its replicas continues to accept writes, which are lost when a replica takes over: " +
		"accepted operations (their answers say durability one_copy), and the record of calls that were sent"
	setMinReplicas = "set min-replicas-to-write 1 and min-replicas-max-lag 10 on the primary and its replicas, " +
		"if you prefer that nothing is accepted or sent while no replica is connected"
)

func (n node) checkMinReplicas(settings map[string]string, fs *findings) {
	replicas, err := strconv.Atoi(n.info["connected_slaves"])
	if err != nil || n.info["role"] != "master" {
		return // the check of replicas reports it
	}
	check := strings.TrimSpace("redis min-replicas " + n.name)
	text, told := settings["min-replicas-to-write"]
	least, err := strconv.Atoi(text)
	switch {
	case least > replicas:
		fs.add(check, bad, "connect the replicas, or set min-replicas-to-write 0 until they are back",
			"min-replicas-to-write is %d, connected are %d: Redis refuses every write, so nothing is accepted or sent", least, replicas)
	case least > 0:
		fs.add(check, fine, "", "min-replicas-to-write is %d: a primary that is cut off refuses writes after %s s; "+
			"a failover loses at most the writes until then", least, settings["min-replicas-max-lag"])
	case replicas == 0: // there is no failover
	case !told || err != nil:
		fs.add(check, warn, "check that min-replicas-to-write is 1", "min-replicas-to-write cannot be read here. If it is 0, %s", lostAtFailover)
	default:
		fs.add(check, warn, setMinReplicas, "min-replicas-to-write is 0: %s", lostAtFailover)
	}
}
