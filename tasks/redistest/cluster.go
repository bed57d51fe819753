package redistest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	primaries = 3 // of a Cluster; each has one replica
	slots     = 16384
)

// RunCluster starts a Cluster of three primaries with one replica each and files in dir, and
// returns when it is complete. A primary that is silent for a second is replaced. The caller
// kills the Set.
func RunCluster(dir string) (*Set, error) {
	return runSet(func(s *Set) error {
		for range 2 * primaries {
			n, err := s.run(dir, nodeConfig+fmt.Sprintf("cluster-enabled yes\ncluster-node-timeout %d\n", silence.Milliseconds()))
			if err != nil {
				return err
			}
			s.Nodes = append(s.Nodes, n)
		}
		return s.form(context.Background())
	})
}

// StartSharded is RunCluster for a test, which ends with the test; see Need.
func StartSharded(t testing.TB) *Set {
	t.Helper()
	return start(t, RunCluster)
}

// form makes the nodes a Cluster.
func (s *Set) form(ctx context.Context) error {
	for i, n := range s.Nodes {
		if _, err := ask(ctx, n, "CLUSTER", "SET-CONFIG-EPOCH", i+1); err != nil {
			return err
		}
		ip, port := host(n)
		if _, err := ask(ctx, s.Nodes[0], "CLUSTER", "MEET", ip, port, n.bus); err != nil {
			return err
		}
		if i < primaries {
			if _, err := ask(ctx, n, "CLUSTER", "ADDSLOTSRANGE", i*slots/primaries, (i+1)*slots/primaries-1); err != nil {
				return err
			}
		}
	}
	for i, n := range s.Nodes[primaries:] {
		id, err := ask(ctx, s.Nodes[i], "CLUSTER", "MYID")
		if err != nil {
			return err
		}
		// A node can only replicate a node that it knows already.
		for started := time.Now(); ; {
			_, err := ask(ctx, n, "CLUSTER", "REPLICATE", id)
			if err == nil {
				break
			}
			if time.Since(started) > settleTimeout {
				return err
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// clusterWhole returns an error unless the Cluster can replace any primary.
func (s *Set) clusterWhole(ctx context.Context) error {
	for _, n := range s.Nodes {
		info, err := ask(ctx, n, "CLUSTER", "INFO")
		if err != nil {
			return err
		}
		for _, want := range []string{
			"cluster_state:ok", "cluster_slots_ok:" + strconv.Itoa(slots), "cluster_known_nodes:" + strconv.Itoa(len(s.Nodes)),
		} {
			if !strings.Contains(info, want) {
				return fmt.Errorf("node %s does not say %s", n.Addr(), want)
			}
		}
		list, err := ask(ctx, n, "CLUSTER", "NODES")
		if err != nil {
			return err
		}
		if strings.Contains(list, "fail") || strings.Count(list, " slave ")+strings.Count(list, "myself,slave") != primaries {
			return fmt.Errorf("node %s reports a failed node, or other replicas:\n%s", n.Addr(), list)
		}
		is, replicas, err := replication(ctx, n)
		if err != nil {
			return err
		}
		if is && replicas != 1 {
			return fmt.Errorf("the primary %s has %d replicas", n.Addr(), replicas)
		}
	}
	return nil
}

// Migrate moves the slot of key to another primary of a Cluster while it is in use, one key
// at a time with a pause after each.
func (s *Set) Migrate(ctx context.Context, key string, to *Server, pause time.Duration) error {
	from, err := s.Primary(ctx, key)
	if err != nil || from == to {
		return err
	}
	slot, err := ask(ctx, from, "CLUSTER", "KEYSLOT", key)
	if err != nil {
		return err
	}
	fromID, err := ask(ctx, from, "CLUSTER", "MYID")
	if err != nil {
		return err
	}
	toID, err := ask(ctx, to, "CLUSTER", "MYID")
	if err != nil {
		return err
	}
	if _, err := ask(ctx, to, "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID); err != nil {
		return err
	}
	if _, err := ask(ctx, from, "CLUSTER", "SETSLOT", slot, "MIGRATING", toID); err != nil {
		return err
	}
	if err := moveKeys(ctx, slot, from, to, pause); err != nil {
		return err
	}
	for _, n := range append([]*Server{to, from}, s.Nodes...) { // to first, so that the slot always has an owner
		_, err := ask(ctx, n, "CLUSTER", "SETSLOT", slot, "NODE", toID)
		if err != nil && !strings.Contains(err.Error(), "SETSLOT only with masters") {
			return err
		}
	}
	return nil
}

// moveKeys moves all keys of a slot.
func moveKeys(ctx context.Context, slot string, from, to *Server, pause time.Duration) error {
	ip, port := host(to)
	for {
		keys, err := ask(ctx, from, "CLUSTER", "GETKEYSINSLOT", slot, 1)
		if err != nil {
			return err
		}
		key := strings.Trim(keys, "[]")
		if key == "" {
			return nil
		}
		if _, err := ask(ctx, from, "MIGRATE", ip, port, key, 0, 5000); err != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
