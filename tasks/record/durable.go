package record

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
)

// Copies says whether a write is also on a replica.
type Copies int

// The values of Copies.
const (
	// NoReplicas: this process never saw a replica, or Redis refuses INFO or WAIT, or
	// Config.Replicas is negative. There was no wait.
	NoReplicas Copies = iota
	// Replicated: replicas acknowledged the write.
	Replicated
	// ReplicasGone: there were replicas, but none has been connected for
	// Config.ReplicaReturns.
	ReplicasGone
	// Unacknowledged: replicas are, or recently were, connected, and did not acknowledge
	// the write in time. If the primary dies now, a replica without it may be promoted.
	Unacknowledged
)

// Defaults of Config.
const (
	DefaultReplicas       = 1
	DefaultReplicaWait    = time.Second
	DefaultReplicaReturns = time.Minute
)

func (c Copies) durability() tasks.Durability {
	switch c {
	case Replicated:
		return tasks.OnReplica
	case ReplicasGone, Unacknowledged:
		return tasks.OneCopy
	}
	return ""
}

// durably is runScripts for at least one call whose writes have to survive the loss of a
// primary: Copies says whether replicas acknowledged what the calls wrote or found
// already written. Without an error the calls were run, whatever Copies is. On a Cluster
// Copies does not cover also.
//
// WAIT covers only the writes of its own connection, and returns at once if there are
// none. So it follows the calls in their pipeline, after a write that every server
// replicates. Whatever the calls found is then earlier in the same replication stream.
func (r *Record) durably(ctx context.Context, calls []*scriptCall, also func(redis.Pipeliner)) (Copies, error) {
	if cluster, ok := r.rdb.(*redis.ClusterClient); ok {
		return r.durablyByShard(ctx, cluster, calls, also)
	}
	known := r.replicas.of("")
	n, copies := known.await(ctx, r.rdb)
	if n == 0 {
		return copies, r.runScripts(ctx, calls, also)
	}
	return r.waitOn(ctx, r.rdb, known, n, calls, also)
}

// durablyByShard is durably for keys on several servers. For shards without a wait for
// replicas it uses runScripts.
func (r *Record) durablyByShard(
	ctx context.Context, cluster *redis.ClusterClient, calls []*scriptCall, also func(redis.Pipeliner),
) (Copies, error) {
	shards := map[*redis.Client][]*scriptCall{}
	var usual []*scriptCall
	for _, c := range calls {
		if c.reads {
			usual = append(usual, c)
			continue
		}
		// Without a primary nothing is confirmed; the cluster's client waits for one.
		primary, _ := cluster.MasterForKey(ctx, c.key())
		shards[primary] = append(shards[primary], c)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	worst := Replicated
	add := func(copies Copies, err error) {
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
		if copies != Replicated && (worst == Replicated || copies > worst) {
			worst = copies
		}
	}
	for primary, calls := range shards {
		n, copies := 0, r.replicas.assumed()
		var known *primaryServer
		if primary != nil {
			known = r.replicas.of(primary.Options().Addr)
			n, copies = known.await(ctx, primary)
		}
		if n == 0 {
			add(copies, nil)
			usual = append(usual, calls...)
			continue
		}
		wg.Go(func() { add(r.waitInShard(ctx, primary, known, n, calls)) })
	}
	if len(usual) > 0 || also != nil {
		if err := r.runScripts(ctx, usual, also); err != nil {
			add(NoReplicas, err)
		}
	}
	wg.Wait()
	return worst, errors.Join(errs...)
}

// waitInShard is waitOn for a shard of a Cluster. If its primary does not answer calls,
// because it is gone or the slot has moved, they run without a wait wherever they belong.
func (r *Record) waitInShard(
	ctx context.Context, primary *redis.Client, known *primaryServer, n int, calls []*scriptCall,
) (Copies, error) {
	copies, err := r.waitOn(ctx, primary, known, n, calls, nil)
	if err == nil {
		return copies, nil
	}
	left := slices.DeleteFunc(slices.Clone(calls), func(c *scriptCall) bool { return c.reply.Err() == nil })
	return Unacknowledged, r.runScripts(ctx, left, nil)
}

// waitOn runs calls on one server and waits for n of its replicas, in one round trip.
func (r *Record) waitOn(
	ctx context.Context, server redis.UniversalClient, known *primaryServer, n int, calls []*scriptCall, also func(redis.Pipeliner),
) (Copies, error) {
	defer known.awaited()
	var acknowledged *redis.Cmd
	whole := map[*redis.Script]bool{} // a call that is resent would come after WAIT, so Redis must know every script
	cmds, sent := server.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, c := range calls {
			c.queue(ctx, p, !whole[c.script])
			whole[c.script] = true
		}
		if also != nil {
			also(p)
		}
		mark := r.keys.mark(calls[0].key())
		p.Set(ctx, mark, 1, time.Minute) // in case the connection breaks before it is removed
		p.Del(ctx, mark)
		acknowledged = p.Do(ctx, "wait", n, r.replicas.wait.Milliseconds())
		return nil
	})
	waited := len(cmds) - 3
	for _, cmd := range cmds[:waited] {
		if err := cmd.Err(); err != nil {
			return NoReplicas, err
		}
	}
	for _, cmd := range cmds[waited:] {
		if cmd.Err() != nil {
			return known.refused(cmd.Err()), nil
		}
	}
	if sent != nil {
		return NoReplicas, sent
	}
	got, err := acknowledged.Int()
	if err != nil {
		return NoReplicas, err
	}
	return known.answered(ctx, server, n, got), nil
}

// replicas is what a process knows about the replicas of a Redis.
type replicas struct {
	want    int // how many to wait for; 0: none
	wait    time.Duration
	returns time.Duration // see Config.ReplicaReturns

	mu      sync.Mutex
	seen    bool                      // some are, or were, connected
	servers map[string]*primaryServer // by address; without a Cluster there is one, with an empty name
}

func newReplicas(rdb redis.UniversalClient, cfg Config) *replicas {
	want, wait, returns := cfg.Replicas, cfg.ReplicaWait, cfg.ReplicaReturns
	if want == 0 {
		want = DefaultReplicas
	}
	if returns == 0 {
		returns = DefaultReplicaReturns
	}
	if wait <= 0 {
		wait = DefaultReplicaWait
	}
	// WAIT must be answered before the client gives up its connection.
	if t := readTimeout(rdb); t > 0 {
		wait = min(wait, t/2)
	}
	wait = max(wait, time.Millisecond) // WAIT 0 would wait for ever
	return &replicas{want: max(want, 0), wait: wait, returns: returns, servers: map[string]*primaryServer{}}
}

func readTimeout(rdb redis.UniversalClient) time.Duration {
	switch c := rdb.(type) {
	case *redis.Client:
		return c.Options().ReadTimeout
	case *redis.ClusterClient:
		return c.Options().ReadTimeout
	}
	return 0
}

func (r *replicas) of(name string) *primaryServer {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.servers[name]
	if p == nil {
		p = &primaryServer{all: r}
		r.servers[name] = p
	}
	return p
}

// assumed is the value of Copies without asking Redis.
func (r *replicas) assumed() Copies {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen {
		return Unacknowledged
	}
	return NoReplicas
}

// primaryServer is what a process knows about one server's replicas.
type primaryServer struct {
	all *replicas

	mu        sync.Mutex
	connected int
	asked     time.Time // when Redis last said how many
	lonely    time.Time // since when no replica is connected; zero: some are
	late      bool      // the last wait timed out
	mute      bool      // Redis refuses WAIT
	waiting   int
}

// These limit how long an answer of Redis about its replicas is used.
const (
	replicasKnown = 10 * time.Second // they are connected, or there never was one
	replicasGone  = time.Second      // none is connected any more
)

// lacking is the value of Copies while no replica is connected.
func (p *primaryServer) lacking() Copies {
	if copies := p.all.assumed(); copies == NoReplicas || time.Since(p.lonely) < p.all.returns {
		return copies
	}
	return ReplicasGone
}

// await returns how many replicas to wait for, or 0 and the reason. While replicas are
// late, only one caller at a time waits for them: the others would hold a connection for
// nothing.
func (p *primaryServer) await(ctx context.Context, server redis.UniversalClient) (int, Copies) {
	if p.all.want == 0 {
		return 0, NoReplicas
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh := replicasKnown
	if p.connected == 0 && p.lacking() != NoReplicas {
		fresh = replicasGone
	}
	if time.Since(p.asked) > fresh {
		p.ask(ctx, server)
	}
	switch {
	case p.mute:
		return 0, NoReplicas
	case p.connected == 0:
		return 0, p.lacking()
	case p.late && p.waiting > 0:
		return 0, Unacknowledged
	}
	p.waiting++
	return min(p.all.want, p.connected), Unacknowledged
}

func (p *primaryServer) awaited() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting--
}

// ask asks a server for its replicas. Without an answer the known number stays.
func (p *primaryServer) ask(ctx context.Context, server redis.UniversalClient) {
	p.asked, p.mute = time.Now(), false
	info, err := server.Info(ctx, "replication").Result()
	if err != nil || !strings.Contains(info, "role:master") {
		return
	}
	p.know(connectedReplicas(info))
}

func (p *primaryServer) know(connected int) {
	p.connected = connected
	if connected == 0 && p.lonely.IsZero() {
		p.lonely = time.Now()
	}
	if connected > 0 {
		p.lonely = time.Time{}
		p.all.mu.Lock()
		p.all.seen = true
		p.all.mu.Unlock()
	}
}

// answered returns the Copies that follow from the answer of WAIT.
func (p *primaryServer) answered(ctx context.Context, server redis.UniversalClient, n, acknowledged int) Copies {
	p.mu.Lock()
	defer p.mu.Unlock()
	if acknowledged >= n {
		p.late, p.asked = false, time.Now()
		return Replicated
	}
	p.late = true
	p.ask(ctx, server)
	if p.connected == 0 {
		return p.lacking()
	}
	return Unacknowledged
}

// refused returns the Copies that follow from an error of WAIT. If Redis does not allow
// WAIT, nothing is known, and the process stops asking for a while. Any other error (a
// broken connection, a demoted primary) confirms nothing.
func (p *primaryServer) refused(err error) Copies {
	text := err.Error()
	if !strings.HasPrefix(text, "NOPERM") && !strings.HasPrefix(text, "ERR unknown command") {
		return Unacknowledged
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute, p.asked = true, time.Now()
	return NoReplicas
}

// connectedReplicas reads INFO replication. Replicas that are still loading their first
// copy do not count: they acknowledge nothing and would not be promoted.
func connectedReplicas(info string) int {
	connected, online, listed := 0, 0, false
	for line := range strings.Lines(info) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if key == "connected_slaves" {
			connected, _ = strconv.Atoi(value)
		} else if strings.HasPrefix(key, "slave") && strings.Contains(value, "state=") {
			listed = true
			if strings.Contains(value, "state=online") {
				online++
			}
		}
	}
	if listed {
		return online
	}
	return connected
}
