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
	primaries = 3 // of a Cluster, each with a replica
	slots     = 16384
)

// RunCluster starts a Cluster of three primaries with a replica each that keep their
// files in dir, and returns when it is whole. A primary that is silent for a second
// is replaced. The caller kills them.
func RunCluster(dir string) (*Set, error) {
	return runSet(func(s *Set) error {
		for range 2 * primaries {
			n, err := s.run(dir, usual+fmt.Sprintf("cluster-enabled yes\ncluster-node-timeout %d\n", silence.Milliseconds()))
			if err != nil {
				return err
			}
			s.Nodes = append(s.Nodes, n)
		}
		return s.form(context.Background())
	})
}

// StartSharded runs a Cluster of three primaries with a replica each for a test; see
// RunCluster and Start.
func StartSharded(t testing.TB) *Set {
	t.Helper()
	return start(t, RunCluster)
}

// form makes a Cluster of nodes that know nothing of each other.
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
		// A node can follow one that it has heard of.
		for begun := time.Now(); ; {
			_, err := ask(ctx, n, "CLUSTER", "REPLICATE", id)
			if err == nil {
				break
			}
			if time.Since(begun) > settling {
				return err
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// clusterWhole says what is missing until the Cluster could replace any primary.
func (s *Set) clusterWhole(ctx context.Context) error {
	for _, n := range s.Nodes {
		info, err := ask(ctx, n, "CLUSTER", "INFO")
		if err != nil {
			return err
		}
		for _, want := range []string{"cluster_state:ok", "cluster_slots_ok:" + strconv.Itoa(slots), "cluster_known_nodes:" + strconv.Itoa(len(s.Nodes))} {
			if !strings.Contains(info, want) {
				return fmt.Errorf("node %s does not say %s", n.Addr(), want)
			}
		}
		list, err := ask(ctx, n, "CLUSTER", "NODES")
		if err != nil {
			return err
		}
		if strings.Contains(list, "fail") || strings.Count(list, " slave ")+strings.Count(list, "myself,slave") != primaries {
			return fmt.Errorf("node %s calls somebody dead, or knows other replicas:\n%s", n.Addr(), list)
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

// Migrate moves the slot of a key to another primary of a Cluster while it is used:
// one key after the other, with a pause between them.
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
	for _, n := range append([]*Server{to, from}, s.Nodes...) { // who gets it first, or it would be nobody's for a moment
		if _, err := ask(ctx, n, "CLUSTER", "SETSLOT", slot, "NODE", toID); err != nil && !strings.Contains(err.Error(), "SETSLOT only with masters") {
			return err
		}
	}
	return nil
}

// moveKeys moves the keys of a slot, until there is none left.
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
