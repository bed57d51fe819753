package redistest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// StartReplica runs a replica of a server for a test and returns when it is in sync. addr is
// where it connects: the address of the server, or of a proxy to it.
func StartReplica(t testing.TB, of *Server, addr string) *Server {
	t.Helper()
	rdb := of.Client(t)
	host, port, err := net.SplitHostPort(addr)
	if err == nil {
		err = rdb.ConfigSet(context.Background(), "repl-diskless-sync-delay", "0").Err()
	}
	if err != nil {
		t.Fatalf("starting a replica: %v", err)
	}
	s := startWith(t, "--replicaof", host, port)
	AwaitReplicas(t, rdb, 1)
	return s
}

// AwaitReplicas waits until a server has exactly n replicas, all in sync. It fails the test
// after about 30 s.
func AwaitReplicas(t testing.TB, rdb redis.UniversalClient, n int) {
	t.Helper()
	for range 3000 {
		info, err := rdb.Info(context.Background(), "replication").Result()
		if err == nil && strings.Count(info, "state=online") == n && strings.Contains(info, fmt.Sprintf("connected_slaves:%d\r\n", n)) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the server does not have %d replicas in sync", n)
}
