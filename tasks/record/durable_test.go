package record_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// eventually waits for what other processes bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, time.Minute, 10*time.Millisecond, what)
}

func one(key string) tasks.Request {
	return tasks.Request{Project: "hq", Desktops: ids(3), IdempotencyKey: key}
}

// The answer says whether a replica has the operation, and it is accepted all the same.
func TestDurability(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := newBundle(t, server.Client(t))
	require.Empty(t, b.enqueue(one("alone")).Durability, "there never was a replica")

	replica := redistest.StartReplica(t, server, server.Addr())
	b.p = b.producer() // what it knew of replicas is believed for seconds
	require.Equal(t, tasks.OnReplica, b.enqueue(one("in sync")).Durability)
	require.Equal(t, tasks.OnReplica, b.enqueue(one("in sync")).Durability, "sent again")
	require.Empty(t, b.operation(b.enqueue(one("in sync")).ID).Durability, "it is of the answer only")

	require.NoError(t, replica.Freeze())
	op := b.enqueue(one("frozen"))
	require.Equal(t, tasks.OneCopy, op.Durability)
	require.Equal(t, 3, b.operation(op.ID).Counts.Queued, "it is accepted all the same")
	require.Equal(t, tasks.OneCopy, b.enqueue(one("frozen")).Durability)
	require.NoError(t, replica.Thaw())
	eventually(t, "the replica to be waited for again", func() bool {
		return b.enqueue(one("frozen")).Durability == tasks.OnReplica
	})

	replica.Kill()
	redistest.AwaitReplicas(t, b.rdb, 0)
	require.Equal(t, tasks.OneCopy, b.enqueue(one("gone")).Durability, "it was there, and may come back as the primary")
	require.Equal(t, tasks.OneCopy, b.enqueue(one("gone")).Durability)
	require.NoError(t, replica.Restart())
	redistest.AwaitReplicas(t, b.rdb, 1)
	eventually(t, "the replica to be seen again", func() bool {
		return b.enqueue(one("gone")).Durability == tasks.OnReplica
	})
	for _, key := range b.keys() {
		require.NotContains(t, key, ":mark", "marks are removed")
	}
}

// While replicas are late one caller at a time waits for them: the others would use
// all connections.
func TestDurabilityHoldsOneConnection(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	replica := redistest.StartReplica(t, server, server.Addr())
	p, err := record.NewProducer(server.Client(t), record.ProducerConfig{Projects: []string{"hq"}, Record: record.Config{ReplicaWait: 100 * time.Millisecond}})
	require.NoError(t, err)
	require.NoError(t, replica.Freeze())
	op, err := p.Enqueue(t.Context(), one("first"))
	require.NoError(t, err)
	require.Equal(t, tasks.OneCopy, op.Durability)

	const producers = 10
	var wg sync.WaitGroup
	var running atomic.Int64
	running.Store(producers)
	for n := range producers {
		wg.Go(func() {
			defer running.Add(-1)
			for i := range 20 {
				op, err := p.Enqueue(t.Context(), one(fmt.Sprintf("%d-%d", n, i)))
				if err != nil || op.Durability != tasks.OneCopy {
					t.Errorf("durability %q, error %v", op.Durability, err)
				}
			}
		})
	}
	blocked, looks := 0, 0
	for admin := server.Client(t); running.Load() > 0; looks++ {
		info, err := admin.InfoMap(t.Context(), "clients").Result()
		require.NoError(t, err)
		n, err := strconv.Atoi(info["Clients"]["blocked_clients"])
		require.NoError(t, err)
		blocked = max(blocked, n)
	}
	wg.Wait()
	require.Positive(t, looks)
	require.LessOrEqual(t, blocked, 1)
}

// Whoever does not want to wait does not.
func TestDurabilityNotWanted(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	replica := redistest.StartReplica(t, server, server.Addr())
	require.NoError(t, replica.Freeze())
	p, err := record.NewProducer(server.Client(t), record.ProducerConfig{Projects: []string{"hq"}, Record: record.Config{Replicas: -1}})
	require.NoError(t, err)
	op, err := p.Enqueue(t.Context(), one("k"))
	require.NoError(t, err)
	require.Empty(t, op.Durability)
}

// A client that gives up reading before WAIT is answered would fail what was accepted.
func TestDurabilityWithinTheReadTimeout(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	replica := redistest.StartReplica(t, server, server.Addr())
	require.NoError(t, replica.Freeze())
	o := redistest.Options(server.Addr())
	o.ReadTimeout = 5 * time.Second
	rdb := redis.NewClient(o)
	t.Cleanup(func() { _ = rdb.Close() })
	p, err := record.NewProducer(rdb, record.ProducerConfig{Projects: []string{"hq"}, Record: record.Config{ReplicaWait: time.Hour}})
	require.NoError(t, err)
	op, err := p.Enqueue(t.Context(), one("k"))
	require.NoError(t, err)
	require.Equal(t, tasks.OneCopy, op.Durability)
}

// Where Redis refuses INFO or WAIT nothing is said, and everything is accepted.
func TestDurabilityRefused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	redistest.StartReplica(t, server, server.Addr())
	admin := server.Client(t)
	for _, command := range []string{"info", "wait"} {
		require.NoError(t, admin.Do(t.Context(), "acl", "setuser", "no-"+command, "on", ">pw", "~*", "&*", "+@all", "-"+command).Err())
		o := redistest.Options(server.Addr())
		o.Username, o.Password = "no-"+command, "pw"
		rdb := redis.NewClient(o)
		t.Cleanup(func() { _ = rdb.Close() })
		b := newBundle(t, rdb)
		for i := range 3 {
			op := b.enqueue(one(strconv.Itoa(i)))
			require.Empty(t, op.Durability, command)
			require.Equal(t, 3, b.operation(op.ID).Counts.Queued)
		}
	}
}

// cluster runs a Redis Cluster of two primaries with a replica each.
func cluster(t *testing.T) (rdb *redis.ClusterClient, nodes []*redistest.Server) {
	t.Helper()
	redistest.Start(t).Stop() // which skips the test where there is no redis-server
	var clients []redis.UniversalClient
	var names []string
	for range 4 {
		s, err := redistest.Run(t.TempDir(), "--cluster-enabled", "yes", "--repl-diskless-sync-delay", "0", "--cluster-node-timeout", "60000")
		require.NoError(t, err)
		t.Cleanup(s.Kill)
		c := s.Client(t)
		nodes, clients = append(nodes, s), append(clients, c)
		name, err := c.Do(t.Context(), "cluster", "myid").Text()
		require.NoError(t, err)
		names = append(names, name)
	}
	require.NoError(t, clients[0].ClusterAddSlotsRange(t.Context(), 0, 8191).Err())
	require.NoError(t, clients[1].ClusterAddSlotsRange(t.Context(), 8192, 16383).Err())
	for i, c := range clients {
		require.NoError(t, c.Do(t.Context(), "config", "set", "repl-diskless-sync-delay", "0").Err())
		require.NoError(t, c.Do(t.Context(), "cluster", "set-config-epoch", i+1).Err())
	}
	host, port, err := net.SplitHostPort(nodes[0].Addr())
	require.NoError(t, err)
	for _, c := range clients[1:] {
		require.NoError(t, c.ClusterMeet(t.Context(), host, port).Err())
	}
	for i := range 2 {
		eventually(t, "the nodes to meet", func() bool {
			return clients[2+i].ClusterReplicate(t.Context(), names[i]).Err() == nil
		})
	}
	for i, c := range clients {
		eventually(t, "the cluster to be ready", func() bool {
			info, err := c.ClusterInfo(t.Context()).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:4")
		})
		if i < 2 {
			redistest.AwaitReplicas(t, c, 1)
		}
	}
	rdb = redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].Addr()}, ReadTimeout: 30 * time.Second})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb, nodes
}

// On a Cluster the replicas of the operation's shard and of the list of operations'
// have to acknowledge it, each on the connection that wrote.
func TestDurabilityOnACluster(t *testing.T) {
	t.Parallel()
	rdb, nodes := cluster(t)
	b := newBundle(t, rdb)
	shard := func(key string) int {
		slot, err := rdb.ClusterKeySlot(t.Context(), key).Result()
		require.NoError(t, err)
		return int(slot) / 8192
	}
	enqueue := func(on int) record.Operation {
		for i := 0; ; i++ {
			op := b.enqueue(tasks.Request{Desktops: ids(150)})
			if shard(b.prefix+":{"+op.ID+"}:op") == on {
				return op
			}
			require.Less(t, i, 100)
		}
	}
	for on := range 2 {
		require.Equal(t, tasks.OnReplica, enqueue(on).Durability)
	}
	lists := []int{shard(b.prefix + ":ops"), shard(b.prefix + ":open")}
	for frozen := range 2 {
		require.NoError(t, nodes[2+frozen].Freeze())
		op := enqueue(frozen)
		require.Equal(t, tasks.OneCopy, op.Durability, "the replica of the operation's shard")
		require.Len(t, b.chunk(op, 1).Desktops, 50, "it is accepted all the same")
		elsewhere := tasks.OnReplica
		if lists[0] == frozen || lists[1] == frozen {
			elsewhere = tasks.OneCopy
		}
		require.Equal(t, elsewhere, enqueue(1-frozen).Durability)
		require.NoError(t, nodes[2+frozen].Thaw())
		eventually(t, "the replica to be waited for again", func() bool { return enqueue(frozen).Durability == tasks.OnReplica })
	}
	// A shard gets another primary when all but the acceptance is written: it follows, unproven.
	var req tasks.Request
	for other := newBundle(t, rdb); ; {
		req = one(rand.Text())
		if op := other.enqueue(req); shard(b.prefix+":{"+op.ID+"}:op") == 0 { // whatever the prefix
			break
		}
	}
	b.rdb.AddHook(&afterHistory{do: func() {
		require.NoError(t, nodes[2].Client(t).Do(t.Context(), "cluster", "failover").Err())
		redistest.AwaitReplicas(t, nodes[2].Client(t), 1)
	}})
	op := b.enqueue(req)
	require.Equal(t, tasks.OneCopy, op.Durability)
	require.Len(t, b.chunk(op, 0).Desktops, 3)
	eventually(t, "the new primary to be known", func() bool { return b.enqueue(req).Durability == tasks.OnReplica })

	nodes[3].Kill()
	redistest.AwaitReplicas(t, nodes[1].Client(t), 0)
	require.Equal(t, tasks.OneCopy, enqueue(1).Durability)
}

// afterHistory does something once, when the history of desktops has been written.
type afterHistory struct {
	do   func()
	done bool
}

func (h *afterHistory) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *afterHistory) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h *afterHistory) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if !h.done && err == nil && strings.Contains(cmds[0].String(), ":desktops:") {
			h.done = true
			h.do()
		}
		return err
	}
}

// counted counts round trips.
type counted struct{ n atomic.Int64 }

func (h *counted) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h *counted) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { h.n.Add(1); return next(ctx, cmd) }
}

func (h *counted) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { h.n.Add(1); return next(ctx, cmds) }
}

// Waiting for a replica takes no round trip of its own.
func TestDurabilityCostsNoRoundTrip(t *testing.T) {
	t.Parallel()
	trips := func(server *redistest.Server, want tasks.Durability) int64 {
		b := newBundle(t, server.Client(t))
		b.enqueue(one("connects, and asks for replicas"))
		var h counted
		b.rdb.AddHook(&h)
		require.Equal(t, want, b.enqueue(one("counted")).Durability)
		return h.n.Load()
	}
	server := redistest.Start(t)
	without := trips(server, "")
	redistest.StartReplica(t, server, server.Addr())
	require.Equal(t, without, trips(server, tasks.OnReplica))
}

// gate passes connections on until it is shut; what is in it then is lost.
type gate struct {
	addr string
	mu   sync.Mutex
	shut bool
	open []net.Conn
}

func startGate(t *testing.T, to string) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := &gate{addr: l.Addr().String()}
	t.Cleanup(func() { _ = l.Close(); g.cut() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			g.mu.Lock()
			g.open = append(g.open, in, out)
			g.mu.Unlock()
			go g.pass(in, out)
			go g.pass(out, in)
		}
	}()
	return g
}

func (g *gate) pass(from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		g.mu.Lock()
		if !g.shut && err == nil {
			_, err = to.Write(buf[:n])
		}
		g.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// close swallows everything from now on, and neither side is told.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
}

func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.open {
		_ = c.Close()
	}
}

// Replication is cut while many operations are accepted, the primary dies, and the
// replica takes over: what was acknowledged and not marked is there.
func TestWhatIsAcknowledgedSurvivesAFailover(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	gate := startGate(t, server.Addr())
	replica := redistest.StartReplica(t, server, gate.addr)
	b := newBundle(t, server.Client(t))

	const producers = 8
	var mu sync.Mutex
	acknowledged, keys := map[tasks.Durability][]string{}, map[string]string{}
	count := func(d tasks.Durability) int {
		mu.Lock()
		defer mu.Unlock()
		return len(acknowledged[d])
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for n := range producers {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Sprintf("%d-%d", n, i)
				op, err := b.p.Enqueue(t.Context(), one(key))
				if err != nil {
					return // the primary is gone
				}
				mu.Lock()
				keys[key] = op.ID
				acknowledged[op.Durability] = append(acknowledged[op.Durability], op.ID)
				mu.Unlock()
			}
		})
	}
	eventually(t, "operations on the replica", func() bool { return count(tasks.OnReplica) > 200 })
	gate.close()
	eventually(t, "operations of one copy", func() bool { return count(tasks.OneCopy) > 3*producers })
	server.Kill()
	gate.cut()
	close(stop)
	wg.Wait()

	after := replica.Client(t)
	require.NoError(t, after.Do(t.Context(), "replicaof", "no", "one").Err())
	b.rdb = after
	b.p = b.producer()
	b.r = b.p.Record
	lost := 0
	for _, id := range acknowledged[tasks.OnReplica] {
		op, err := b.r.Operation(t.Context(), id)
		require.NoError(t, err, "it was acknowledged as being on the replica")
		require.Len(t, b.chunk(op, 0).Desktops, 3)
		for _, list := range []string{":ops", ":open"} {
			require.NoError(t, after.ZScore(t.Context(), b.prefix+list, id).Err(), list)
		}
	}
	for _, id := range acknowledged[tasks.OneCopy] {
		if _, err := b.r.Operation(t.Context(), id); err != nil {
			lost++
		}
	}
	require.Empty(t, acknowledged[""])
	require.Positive(t, lost, "the failover lost nothing, so this shows nothing")
	t.Logf("%d on the replica, all there; %d of one copy, %d of them lost", len(acknowledged[tasks.OnReplica]), len(acknowledged[tasks.OneCopy]), lost)
	for key := range keys {
		op, err := b.p.Enqueue(t.Context(), one(key))
		require.NoError(t, err, "sent again")
		require.Equal(t, keys[key], op.ID)
	}
}
