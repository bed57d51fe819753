package redistest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
)

// masterName is the primary's name for the Sentinels.
const masterName = "record"

// RunSentinel starts a primary, two replicas and three Sentinels with files in dir, and
// returns when they are complete. A primary that is silent for a second is replaced if two
// Sentinels agree. The caller kills the Set.
func RunSentinel(dir string) (*Set, error) {
	return runSet(func(s *Set) error {
		for range 3 {
			text := nodeConfig
			if len(s.Nodes) > 0 {
				text += fmt.Sprintf("replicaof 127.0.0.1 %d\n", s.Nodes[0].port)
			}
			n, err := s.run(dir, text)
			if err != nil {
				return err
			}
			s.Nodes = append(s.Nodes, n)
		}
		// A failed failover is retried after twice failover-timeout.
		text := fmt.Sprintf("bind 127.0.0.1\nsentinel monitor %[1]s 127.0.0.1 %[2]d 2\nsentinel down-after-milliseconds %[1]s %[3]d\n"+
			"sentinel failover-timeout %[1]s 5000\nsentinel parallel-syncs %[1]s 2\n", masterName, s.Nodes[0].port, silence.Milliseconds())
		for range 3 {
			n, err := s.run(dir, text, "--sentinel")
			if err != nil {
				return err
			}
			s.sentinels = append(s.sentinels, n)
		}
		return nil
	})
}

// StartSentinel is RunSentinel for a test, which ends with the test; see Need.
func StartSentinel(t testing.TB) *Set {
	t.Helper()
	return start(t, RunSentinel)
}

// named returns the primary's address from a Sentinel.
func (s *Set) named(ctx context.Context, sentinel *Server) (string, error) {
	v, err := ask(ctx, sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", masterName)
	if err != nil {
		return "", err
	}
	parts := strings.Fields(strings.Trim(v, "[]"))
	if len(parts) != 2 {
		return "", fmt.Errorf("the Sentinel %s knows no primary: %s", sentinel.Addr(), v)
	}
	return net.JoinHostPort(parts[0], parts[1]), nil
}

// sentinelWhole returns an error unless the Sentinels can replace the primary.
func (s *Set) sentinelWhole(ctx context.Context) error {
	primary := ""
	for _, w := range s.sentinels {
		addr, err := s.named(ctx, w)
		if err != nil {
			return err
		}
		if primary != "" && addr != primary {
			return fmt.Errorf("the Sentinels disagree about the primary: %s, %s", primary, addr)
		}
		primary = addr
		if _, err := ask(ctx, w, "SENTINEL", "CKQUORUM", masterName); err != nil {
			return err
		}
		list, err := ask(ctx, w, "SENTINEL", "REPLICAS", masterName)
		if err != nil {
			return err
		}
		if n := strings.Count(list, "flags slave "); n != len(s.Nodes)-1 {
			return fmt.Errorf("the Sentinel %s knows %d good replicas", w.Addr(), n)
		}
	}
	for _, n := range s.Nodes {
		is, replicas, err := replication(ctx, n)
		if err != nil {
			return err
		}
		if is != (n.Addr() == primary) || is && replicas != len(s.Nodes)-1 {
			return fmt.Errorf("the primary is %s; node %s: primary %t, with %d replicas", primary, n.Addr(), is, replicas)
		}
	}
	return nil
}
