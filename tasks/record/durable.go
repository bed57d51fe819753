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

// Copies says whether what was written is on a replica, too.
type Copies int

// What Copies may be.
const (
	// NoReplicas: this process never saw a replica, or Redis does not tell (INFO or
	// WAIT is refused), or Config.Replicas is negative. Nothing was waited for.
	NoReplicas Copies = iota
	// Replicated: replicas acknowledged it.
	Replicated
	// ReplicasGone: there were replicas, and none has been connected for
	// Config.ReplicaReturns.
	ReplicasGone
	// Unacknowledged: replicas are, or were a moment ago, and did not acknowledge it in
	// time. If the primary dies now, one that does not have it takes over.
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

// durably is runScripts for calls, at least one, whose writes have to survive the loss
// of a primary: it says whether replicas acknowledged what the calls wrote, or found
// written already. also is not covered on a Cluster. Whatever Copies is, the calls were run if there
// is no error.
//
// WAIT speaks of the writes of its own connection only, and at once of none. So it
// goes into the pipeline of the calls, after a write that every server replicates:
// what the calls say is there then is there where WAIT is answered, and has an
// earlier place in the same stream.
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

// durablyByShard is durably where keys are on several servers. The calls of shards
// whose replicas are not waited for go the usual way.
func (r *Record) durablyByShard(ctx context.Context, cluster *redis.ClusterClient, calls []*scriptCall, also func(redis.Pipeliner)) (Copies, error) {
	shards := map[*redis.Client][]*scriptCall{}
	for _, c := range calls {
		// No primary, no proof; the cluster's client knows how to wait for one.
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
	var usual []*scriptCall
	for primary, calls := range shards {
		n, copies := 0, r.replicas.unproven()
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

// waitInShard is waitOn for a shard of a Cluster. Calls that its primary does not
// answer, because it is gone or the slot has moved, are run wherever they belong,
// without a proof.
func (r *Record) waitInShard(ctx context.Context, primary *redis.Client, known *primaryServer, n int, calls []*scriptCall) (Copies, error) {
	copies, err := r.waitOn(ctx, primary, known, n, calls, nil)
	if err == nil {
		return copies, nil
	}
	left := slices.DeleteFunc(slices.Clone(calls), func(c *scriptCall) bool { return c.reply.Err() == nil })
	return Unacknowledged, r.runScripts(ctx, left, nil)
}

// waitOn runs calls on one server and waits for n of its replicas, in one round trip.
func (r *Record) waitOn(ctx context.Context, server redis.UniversalClient, known *primaryServer, n int, calls []*scriptCall, also func(redis.Pipeliner)) (Copies, error) {
	defer known.awaited()
	var acknowledged *redis.Cmd
	whole := map[*redis.Script]bool{} // A call that is sent again would leave the others' WAIT behind, so none may be unknown.
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

// replicas is what a process knows of a Redis' replicas.
type replicas struct {
	want    int // that are waited for; 0: none
	wait    time.Duration
	returns time.Duration // see Config.ReplicaReturns

	mu      sync.Mutex
	seen    bool                      // some are, or were
	servers map[string]*primaryServer // by address; without a Cluster there is one, of no name
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
	return &replicas{want: max(want, 0), wait: max(wait, time.Millisecond), returns: returns, servers: map[string]*primaryServer{}} // WAIT 0 would be for ever
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

// unproven is what is known without asking.
func (r *replicas) unproven() Copies {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen {
		return Unacknowledged
	}
	return NoReplicas
}

// primaryServer is what is known of one server's replicas.
type primaryServer struct {
	all *replicas

	mu        sync.Mutex
	connected int
	asked     time.Time // when Redis last said so
	lonely    time.Time // since when none is connected; zero: some are
	late      bool      // the last wait was in vain
	mute      bool      // WAIT is refused
	waiting   int
}

// How long it is believed that replicas are connected, or that there never was one,
// and that they are gone.
const (
	replicasKnown = 10 * time.Second
	replicasGone  = time.Second
)

// lacking is what it means that no replica is connected.
func (p *primaryServer) lacking() Copies {
	if copies := p.all.unproven(); copies == NoReplicas || time.Since(p.lonely) < p.all.returns {
		return copies
	}
	return ReplicasGone
}

// await says how many replicas are to be waited for, or, if none, why not. While
// they are late one caller at a time finds out whether they still are: each of the
// others would hold a connection for nothing.
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

// ask asks a server for its replicas. If it does not tell, what was known stands.
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

// answered is what the answer of WAIT means.
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

// refused is what an error in place of WAIT's answer means. Where Redis does not let
// this user wait, or nobody, nothing can be said, and it is left alone for a while;
// anything else (a broken connection, a primary that is one no more) proves nothing.
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

// connectedReplicas reads INFO replication. Those that are still loading their first
// copy do not count: they acknowledge nothing, and nobody would promote them.
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
