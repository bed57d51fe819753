package redistest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
)

// masterName is what the Sentinels call the primary.
const masterName = "record"

// RunSentinel starts a primary, two replicas and three Sentinels that keep their
// files in dir, and returns when they are whole. A primary that is silent for a
// second is replaced, by two Sentinels of three. The caller kills them.
func RunSentinel(dir string) (*Set, error) {
	return runSet(func(s *Set) error {
		for range 3 {
			text := usual
			if len(s.Nodes) > 0 {
				text += fmt.Sprintf("replicaof 127.0.0.1 %d\n", s.Nodes[0].port)
			}
			n, err := s.run(dir, text)
			if err != nil {
				return err
			}
			s.Nodes = append(s.Nodes, n)
		}
		// A failover that did not come about is tried again after twice its timeout.
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

// StartSentinel runs a primary, two replicas and three Sentinels for a test; see
// RunSentinel and Start.
func StartSentinel(t testing.TB) *Set {
	t.Helper()
	return start(t, RunSentinel)
}

// named is the primary's address as a Sentinel gives it.
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

// sentinelWhole says what is missing until the Sentinels could replace the primary.
func (s *Set) sentinelWhole(ctx context.Context) error {
	primary := ""
	for _, w := range s.sentinels {
		addr, err := s.named(ctx, w)
		if err != nil {
			return err
		}
		if primary != "" && addr != primary {
			return fmt.Errorf("the Sentinels do not agree who is primary: %s, %s", primary, addr)
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
