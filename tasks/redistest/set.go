package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// settleTimeout bounds the wait until a set is complete after a change.
const settleTimeout = 90 * time.Second

// silence is how long a server of a set may be silent before the others declare it failed:
// as short as a busy machine allows.
const silence = time.Second

// Set is a group of redis-servers with failover: a Cluster, or a primary and its replicas with
// their Sentinels. Each has an append-only file, and a configuration file that Sentinel or
// the server itself updates, so that a node keeps its role over a restart. A Set is not safe
// for concurrent use.
type Set struct {
	Nodes     []*Server // primaries and replicas
	sentinels []*Server
}

// nodeConfig is the configuration of every node.
const nodeConfig = `bind 127.0.0.1
save ""
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
repl-diskless-sync-delay 0
`

// run starts another server with its own directory and configuration file in dir, and
// additional arguments.
func (s *Set) run(dir, text string, more ...string) (*Server, error) {
	dir = filepath.Join(dir, fmt.Sprint("node-", len(s.Nodes)+len(s.sentinels)+1))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	node := &Server{dir: dir, conf: filepath.Join(dir, "redis.conf"), more: more}
	return node, node.startSomewhere(func() (err error) {
		lines := fmt.Sprintf("port %d\ndir %s\nlogfile %s\n%s", node.port, dir, filepath.Join(dir, "redis.log"), text)
		if strings.Contains(text, "cluster-enabled") {
			if node.bus, err = freePort(); err != nil {
				return err
			}
			lines += fmt.Sprintf("cluster-port %d\n", node.bus)
		}
		return os.WriteFile(node.conf, []byte(lines), 0o600)
	})
}

// all returns all processes.
func (s *Set) all() []*Server { return append(slices.Clone(s.Nodes), s.sentinels...) }

// isCluster reports whether the set is a Cluster.
func (s *Set) isCluster() bool { return len(s.sentinels) == 0 }

// URL returns the address for a configuration, with all Sentinels or all nodes of the
// Cluster.
func (s *Set) URL() string {
	if s.isCluster() {
		return "redis+cluster://" + strings.Join(addresses(s.Nodes), ",")
	}
	return "redis+sentinel://" + strings.Join(addresses(s.sentinels), ",") + "/" + masterName
}

func addresses(list []*Server) (out []string) {
	for _, n := range list {
		out = append(out, n.Addr())
	}
	return out
}

// Client returns a client of the set. The caller closes it.
func (s *Set) Client() redis.UniversalClient {
	if s.isCluster() {
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: addresses(s.Nodes), ReadTimeout: patient, WriteTimeout: patient,
			ClusterStateReloadInterval: time.Second, // by default go-redis dials a dead primary for a minute
		})
	}
	return redis.NewFailoverClient(&redis.FailoverOptions{
		SentinelAddrs: addresses(s.sentinels), MasterName: masterName, ReadTimeout: patient, WriteTimeout: patient,
	})
}

// ask runs a command on one server, with a time-out of 2 s.
func ask(ctx context.Context, s *Server, args ...any) (string, error) {
	c := redis.NewClient(&redis.Options{
		Addr: s.Addr(), MaxRetries: -1, DialTimeout: 2 * time.Second, ReadTimeout: 2 * time.Second, Protocol: 2, DisableIdentity: true,
	})
	defer func() { _ = c.Close() }()
	v, err := c.Do(ctx, args...).Result()
	if err != nil {
		return "", fmt.Errorf("%v of %s: %w", args, s.Addr(), err)
	}
	return fmt.Sprint(v), nil
}

// Primary returns the primary for key; behind Sentinels there is only one. The set must be
// complete.
func (s *Set) Primary(ctx context.Context, key string) (*Server, error) {
	c := s.Client()
	defer func() { _ = c.Close() }()
	addr := ""
	if cluster, ok := c.(*redis.ClusterClient); ok {
		node, err := cluster.MasterForKey(ctx, key)
		if err != nil {
			return nil, err
		}
		addr = node.Options().Addr
	} else {
		var err error
		if addr, err = s.named(ctx, s.sentinels[0]); err != nil {
			return nil, err
		}
	}
	return s.at(addr)
}

func (s *Set) at(addr string) (*Server, error) {
	for _, n := range s.Nodes {
		if n.Addr() == addr {
			return n, nil
		}
	}
	return nil, fmt.Errorf("no node of the set is at %q", addr)
}

// Cut disconnects a primary from its replicas until Join: its writes from now on are on no
// other node.
func (s *Set) Cut(ctx context.Context, primary *Server) error {
	if _, err := ask(ctx, primary, "ACL", "SETUSER", "default", "-psync", "-sync"); err != nil {
		return err
	}
	_, err := ask(ctx, primary, "CLIENT", "KILL", "TYPE", "replica")
	return err
}

// Join ends Cut, as does a restart of the node.
func (s *Set) Join(ctx context.Context, primary *Server) error {
	_, err := ask(ctx, primary, "ACL", "SETUSER", "default", "+@all")
	return err
}

// Stop stops every process gracefully, as before maintenance of all machines.
func (s *Set) Stop() {
	_ = each(s.sentinels, func(n *Server) error { n.Stop(); return nil }) // first, to prevent a failover
	_ = each(s.Nodes, func(n *Server) error { n.Stop(); return nil })
}

// Restart restarts every process with the data of the append-only files.
func (s *Set) Restart() error {
	if err := each(s.Nodes, (*Server).Restart); err != nil {
		return err
	}
	return each(s.sentinels, (*Server).Restart)
}

// Kill kills every process, including frozen ones, like a crash.
func (s *Set) Kill() {
	_ = each(s.all(), func(n *Server) error { n.Kill(); return nil })
}

func each(list []*Server, do func(*Server) error) error {
	errs := make([]error, len(list))
	var all sync.WaitGroup
	for i, n := range list {
		all.Go(func() { errs[i] = do(n) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// Await waits until the set is complete: every node answers, every primary has its replicas
// in sync, and the Sentinels or the nodes agree. An error says what is missing after 90 s.
func (s *Set) Await(ctx context.Context) error {
	whole := s.sentinelWhole
	if s.isCluster() {
		whole = s.clusterWhole
	}
	if err := poll(ctx, whole); err != nil {
		return fmt.Errorf("the set is not complete: %w", err)
	}
	return nil
}

// poll calls check until it returns nil, or returns its last error after settleTimeout.
func poll(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// Primaries returns the nodes that are primaries now.
func (s *Set) Primaries(ctx context.Context) (out []*Server, err error) {
	for _, n := range s.Nodes {
		is, _, err := replication(ctx, n)
		if err != nil {
			return nil, err
		}
		if is {
			out = append(out, n)
		}
	}
	return out, nil
}

// AwaitFailover waits until a killed primary is replaced. An error says what is missing after
// 90 s.
func (s *Set) AwaitFailover(ctx context.Context, gone *Server) error {
	if err := poll(ctx, func(ctx context.Context) error { return s.replaced(ctx, gone) }); err != nil {
		return fmt.Errorf("the primary %s was not replaced: %w", gone.Addr(), err)
	}
	return nil
}

// replaced returns an error unless gone is replaced.
func (s *Set) replaced(ctx context.Context, gone *Server) error {
	for _, w := range s.sentinels {
		addr, err := s.named(ctx, w)
		if err != nil {
			return err
		}
		if addr == gone.Addr() {
			return fmt.Errorf("the Sentinel %s still names it", w.Addr())
		}
	}
	want, have := 1, 0
	if s.isCluster() {
		want = primaries
	}
	for _, n := range s.Nodes {
		if n == gone {
			continue
		}
		info, err := ask(ctx, n, "INFO", "replication")
		if err != nil {
			return err
		}
		have += strings.Count(info, "role:master")
	}
	if have != want {
		return fmt.Errorf("there are %d primaries", have)
	}
	return nil
}

// replication returns whether a node is a primary, and its number of replicas in sync. It is
// an error if a replica is not in sync with its primary.
func replication(ctx context.Context, n *Server) (primary bool, replicas int, err error) {
	info, err := ask(ctx, n, "INFO", "replication")
	if err != nil {
		return false, 0, err
	}
	if strings.Contains(info, "role:master") {
		return true, strings.Count(info, "state=online"), nil
	}
	if !strings.Contains(info, "master_link_status:up") {
		return false, 0, fmt.Errorf("the replica %s is not in sync", n.Addr())
	}
	return false, 0, nil
}

// start runs a set for a test.
func start(t testing.TB, run func(dir string) (*Set, error)) *Set {
	t.Helper()
	Need(t)
	s, err := run(t.TempDir())
	if err != nil {
		t.Fatalf("starting redis-servers: %v", err)
	}
	t.Cleanup(s.Kill)
	return s
}

// runSet builds a set and waits until it is complete. On an error no process is left.
func runSet(build func(*Set) error) (*Set, error) {
	s := &Set{}
	err := build(s)
	if err == nil {
		err = s.Await(context.Background())
	}
	if err != nil {
		s.Kill()
		return nil, err
	}
	return s, nil
}

func host(n *Server) (ip, port string) {
	ip, port, _ = net.SplitHostPort(n.Addr())
	return ip, port
}
