package worker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker"
)

// braked gives the project of a worker the default canary and stop-loss.
func braked(cfg *worker.Config) { cfg.Projects[0].Canary, cfg.Projects[0].StopLoss = nil, nil }

// withoutCanary gives it the default stop-loss only.
func withoutCanary(cfg *worker.Config) { cfg.Projects[0].StopLoss = nil }

// touched returns the ids of all desktops that were in calls, sorted, each once.
func (s *env) touched() []string {
	out := s.called()
	slices.Sort(out)
	return slices.Compact(out)
}

// refuse makes the cloud refuse desktops for good.
func (s *env) refuse(ids ...string) {
	for _, id := range ids {
		s.cloud.Fail(fakecloud.Fault{Desktop: id, Refuse: &fakecloud.Refusal{Code: "WKS.00010110", Message: "no address"}})
	}
}

func (s *env) approve(op record.Operation) {
	s.t.Helper()
	_, err := s.p.Approve(s.t.Context(), s.waits(op), tasks.Approval{By: "ann", Reason: "it was looked at"})
	require.NoError(s.t, err)
}

// The first five are confirmed by a reading before any other is in a call.
func TestCanaryGoesFirst(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.start(braked)
	s.start(braked, func(cfg *worker.Config) { cfg.ID = "worker-2" })
	got, _ := s.ended(s.enqueue(tasks.Request{Desktops: ids(1000)}))
	require.Equal(t, 1000, got.Counts.Detached)
	s.canaryFirst(got, 5)
}

// canaryFirst checks, by the trail, that only n desktops were in calls before n were confirmed.
func (s *env) canaryFirst(op record.Operation, n int) {
	s.t.Helper()
	var confirmed []time.Time
	first := map[string]time.Time{} // call of each desktop
	es, err := s.record.Evidence(s.t.Context(), op, 0, op.Chunks())
	require.NoError(s.t, err)
	for _, e := range es {
		for _, x := range e.Trail {
			for row, step := range x.Steps() {
				id := e.Desktops[row].ID
				_, called := first[id]
				if step.To == tasks.StateSending && !called {
					first[id] = step.At
				}
				if step.To == tasks.StateDetached && called {
					confirmed = append(confirmed, step.At)
				}
			}
		}
	}
	slices.SortFunc(confirmed, time.Time.Compare)
	require.GreaterOrEqual(s.t, len(confirmed), n)
	early := 0
	for _, at := range first {
		if at.Before(confirmed[n-1]) {
			early++
		}
	}
	require.LessOrEqual(s.t, early, n)
}

func TestFailingCanary(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.refuse(ids(1000)...)
	s.start(braked)
	s.start(braked, func(cfg *worker.Config) { cfg.ID = "worker-2" })
	op := s.waits(s.enqueue(tasks.Request{Desktops: ids(1000)}))
	require.LessOrEqual(t, len(s.touched()), 5)
	require.Equal(t, tasks.WhyCanary, op.Clearance.Why)
	require.Equal(t, []tasks.CodeCount{{Code: "WKS.00010110", Count: len(s.touched())}}, op.Clearance.Codes)

	_, err := s.p.Reject(t.Context(), op, "ann", "wrong list")
	require.NoError(t, err)
	got, _ := s.ended(op)
	require.Equal(t, 1000-len(s.touched()), got.Counts.Cancelled)
	require.LessOrEqual(t, len(s.touched()), 5)
}

// What ends without a call does not count: the next one takes its turn.
func TestCanaryIsReplaced(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.absent = true
	all := ids(300)
	for i, id := range all {
		switch {
		case i < 103: // does not exist
		case i < 106:
			s.cloud.Add(projectID, fakecloud.Desktop{ID: id, Users: []fakecloud.User{{Name: "bob"}, {Name: "eve"}}}) // held
		default:
			s.exist(id)
		}
	}
	s.startImpatient(braked)
	got, _ := s.ended(s.enqueue(tasks.Request{Desktops: all}))
	require.Equal(t, 194, got.Counts.Detached)
	require.Equal(t, 106, got.Counts.Held)
	require.Nil(t, got.Clearance)
	s.canaryFirst(got, 5)
}

// A person lets the rest go, after a canary too.
func TestApprovedCanary(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.refuse("d-000001")
	s.start(braked)
	op := s.enqueue(tasks.Request{Desktops: ids(400)})
	s.waits(op)
	require.Len(t, s.touched(), 5)
	s.approve(op)
	got, _ := s.ended(op)
	require.Equal(t, 399, got.Counts.Detached)
}

// Small operations have no canary.
func TestSmallOperationsHaveNoBrake(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.refuse(ids(100)...)
	s.start(braked)
	got, _ := s.ended(s.enqueue(tasks.Request{Desktops: ids(100)}))
	require.Equal(t, 100, got.Counts.Failed)
}

// More than 50 stop the rest of 10,000, with all chunks in hand.
func TestStopLossByNumber(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{Latency: 20 * time.Millisecond})
	s.refuse(ids(10_000)[2000:]...)
	s.start(withoutCanary)
	s.start(withoutCanary, func(cfg *worker.Config) { cfg.ID = "worker-2" })
	op := s.waits(s.enqueue(tasks.Request{Desktops: ids(10_000)}))
	require.Equal(t, tasks.WhyStopLoss, op.Clearance.Why)
	require.Equal(t, "WKS.00010110", op.Clearance.Codes[0].Code)
	require.Greater(t, op.Clearance.Codes[0].Count, 50)
}
