package worker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/detachd/detachd/apiclient"
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

// canaryFirst checks that n desktops were confirmed, and only these in calls before.
func (s *env) canaryFirst(op record.Operation, n int) {
	s.t.Helper()
	_, confirmed := s.steps(op)
	require.GreaterOrEqual(s.t, len(confirmed), n)
	s.atMostFirst(op, n)
}

// atMostFirst checks that only n desktops were in calls before n were confirmed.
func (s *env) atMostFirst(op record.Operation, n int) {
	s.t.Helper()
	first, confirmed := s.steps(op)
	early := 0
	for _, at := range first {
		if len(confirmed) < n || at.Before(confirmed[n-1]) {
			early++
		}
	}
	require.LessOrEqual(s.t, early, n)
}

// steps reads from the trail when each desktop was first in a call, and, in order, when those
// were confirmed.
func (s *env) steps(op record.Operation) (first map[string]time.Time, confirmed []time.Time) {
	s.t.Helper()
	first = map[string]time.Time{}
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
	return first, confirmed
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

// More than 50 stop the rest of 10,000, with all chunks in hand of two workers. A person lets
// it go on, the count begins anew, and a person ends it.
func TestStopLossByNumber(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{Latency: 20 * time.Millisecond})
	s.refuse(ids(10_000)[2000:]...)
	four := func(cfg *worker.Config) {
		p := &cfg.Projects[0]
		p.MaxInFlight = 4
		// A slow machine gets every reply: what was refused in a call without one would be queued again.
		p.API, p.CallTimeout, cfg.ShutdownTimeout = client(t, s.cloud.URL, patience), patience, 2*patience
	}
	s.start(withoutCanary, four)
	s.start(withoutCanary, four, func(cfg *worker.Config) { cfg.ID = "worker-2" })
	op := s.enqueue(tasks.Request{Desktops: ids(10_000)})
	most := 2000
	for range 2 {
		op = s.waits(op)
		c := op.Clearance
		require.Equal(t, tasks.WhyStopLoss, c.Why)
		require.Len(t, c.Codes, 1)
		require.Equal(t, "WKS.00010110", c.Codes[0].Code)
		require.Greater(t, c.Codes[0].Count, 50)
		s.quiet(op)
		// Each worker may have eight batches at a time, of which four are in calls.
		most += 2 * 8 * 100
		require.LessOrEqual(t, len(s.called()), most)
		s.approve(op)
	}
	op = s.waits(op)
	s.quiet(op)
	before := s.called()
	_, err := s.p.Reject(t.Context(), op, "ann", "the cloud refuses them all")
	require.NoError(t, err)
	got, _ := s.ended(op)
	require.Equal(t, 10_000-len(before), got.Counts.Cancelled)
	require.Equal(t, before, s.called())
	require.Positive(t, got.Counts.Cancelled)
}

// quiet waits until nothing of an operation is in a call.
func (s *env) quiet(op record.Operation) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.operation(op).Counts.Sending == 0 }, patience, 10*time.Millisecond)
}

// A batch that is split makes no further call for an operation that was stopped meanwhile. The others
// in it go on.
func TestStopLossInASplitBatch(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	all := ids(80)
	for _, id := range []string{all[0], all[79]} {
		s.cloud.Fail(fakecloud.Fault{Desktop: id, Status: 400, Code: "WKS.00010021", Message: "not acceptable"})
	}
	op := s.enqueue(tasks.Request{Desktops: all})
	s.start(func(cfg *worker.Config) { cfg.Projects[0].StopLoss = &tasks.StopLoss{} })
	op = s.waits(op)
	s.quiet(op)
	require.Equal(t, tasks.WhyStopLoss, op.Clearance.Why)
	calls := s.calls()
	first := slices.IndexFunc(calls, func(r fakecloud.Request) bool {
		return len(r.DesktopIDs) == 1 && (r.DesktopIDs[0] == all[0] || r.DesktopIDs[0] == all[79])
	})
	require.Len(t, calls, first+1, "calls began after the one that stopped it: %v", calls[first+1:])
	op = s.operation(op)
	require.Equal(t, 1, op.Counts.Failed)
	require.Positive(t, op.Counts.Queued)
	require.Eventually(t, func() bool {
		if op = s.operation(op); op.AwaitsApproval() {
			s.approve(op)
		}
		return op.Done()
	}, patience, 10*time.Millisecond)
	got, _ := s.ended(op)
	require.Equal(t, []int{2, 78}, []int{got.Counts.Failed, got.Counts.Detached})
	require.Empty(t, s.takenTwice(all))
}

// What a batch puts on hold is compared with what it sends, also if many batches read at once.
func TestStopLossOfManyBatches(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{ReadLatency: 50 * time.Millisecond})
	all := ids(1000)
	for i := 0; i < len(all); i += 25 {
		s.cloud.Add(projectID, fakecloud.Desktop{ID: all[i], Users: []fakecloud.User{{Name: "bob"}, {Name: "eve"}}})
	}
	s.start(withoutCanary)
	got, _ := s.ended(s.enqueue(tasks.Request{Desktops: all}))
	require.Equal(t, []int{40, 960}, []int{got.Counts.Held, got.Counts.Detached})
	require.Nil(t, got.Clearance)
}

// A retry of what failed releases nothing of an operation that waits, and takes nothing out of
// the hands of the person.
func TestARetryReleasesNothing(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.refuse(ids(400)...)
	s.start(braked)
	op := s.waits(s.enqueue(tasks.Request{Desktops: ids(400)}))
	s.quiet(op)
	before := s.called()
	n, err := s.p.Retry(t.Context(), op, tasks.RetryFilter{}, "bob")
	require.NoError(t, err)
	require.Positive(t, n)
	small := s.enqueue(tasks.Request{Desktops: []string{"other"}, Urgent: true})
	s.ended(small)
	require.Equal(t, append(before, "other"), s.called())
	op = s.waits(op)
	require.Equal(t, tasks.WhyCanary, op.Clearance.Why)
}

// Desktops that are found by their users have a canary and a stop-loss like those that are named.
func TestBrakeOfUsers(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	for i := range 1000 {
		id := fmt.Sprintf("of-zoe-%d", i)
		s.cloud.Add(projectID, fakecloud.Desktop{ID: id, Users: []fakecloud.User{{Name: "zoe"}}})
		if i >= 60 {
			s.refuse(id)
		}
	}
	s.start(braked, func(cfg *worker.Config) { cfg.Projects[0].MaxInFlight = 1 })
	op := s.waits(s.enqueue(tasks.Request{Users: []string{"zoe"}}))
	require.Equal(t, tasks.WhyStopLoss, op.Clearance.Why)
	s.quiet(op)
	_, err := s.p.Reject(t.Context(), op, "ann", "zoe stays")
	require.NoError(t, err)
	got, _ := s.ended(op)
	require.Equal(t, 1000, got.Counts.Detached+got.Counts.Failed+got.Counts.Cancelled)
	require.Greater(t, got.Counts.Cancelled, 500)
	s.canaryFirst(got, 5)
}

// Outcomes, limits and workers at random. Never are more desktops in calls before the canary is
// confirmed than it has, and once an operation waits no further call of it begins.
// DETACHD_TEST_SEEDS plays others than the usual ones.
func TestTheBrakeAtRandom(t *testing.T) {
	t.Parallel()
	for seed := range seeds(t, 1, 12) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			playBrake(t, brakes.Example(seed))
		})
	}
}

// brakeScenario is what TestTheBrakeAtRandom plays.
type brakeScenario struct {
	canary   tasks.Canary
	stopLoss tasks.StopLoss
	seed     uint64
	bad      float64 // how many fail, and how many calls go wrong; some others are on hold or missing
	desktops int
	workers  int
}

var brakes = rapid.Custom(func(t *rapid.T) brakeScenario {
	return brakeScenario{
		canary: tasks.Canary{Desktops: rapid.IntRange(0, 6).Draw(t, "canary")},
		stopLoss: tasks.StopLoss{
			Desktops: rapid.SampledFrom([]int{0, 5, 30, tasks.MaxDesktops}).Draw(t, "number"),
			Percent:  rapid.SampledFrom([]int{0, 5, 50, 100}).Draw(t, "share"),
		},
		seed: rapid.Uint64().Draw(t, "seed"), bad: rapid.SampledFrom([]float64{0, 0.01, 0.2}).Draw(t, "bad"),
		desktops: rapid.IntRange(1, 700).Draw(t, "desktops"), workers: rapid.IntRange(1, 2).Draw(t, "workers"),
	}
})

func playBrake(t *testing.T, sc brakeScenario) {
	s := newEnv(t, fakecloud.Config{Seed: sc.seed})
	s.absent = true
	random := rand.New(rand.NewPCG(sc.seed, 1))
	all := ids(sc.desktops)
	for _, id := range all {
		switch x := random.Float64() / max(sc.bad, 0.001); {
		case x < 1:
			s.exist(id)
			s.refuse(id)
		case x < 1.5:
			s.cloud.Add(projectID, fakecloud.Desktop{ID: id, Users: []fakecloud.User{{Name: "bob"}, {Name: "eve"}}})
		case x < 2: // not found
		default:
			s.exist(id)
		}
	}
	if sc.bad > 0 {
		s.cloud.Fail(fakecloud.Fault{Rate: sc.bad, Status: 503}, fakecloud.Fault{Rate: sc.bad, Status: 504, Applied: true})
	}
	for i := range sc.workers {
		s.startImpatient(func(cfg *worker.Config) {
			cfg.ID, cfg.Projects[0].Canary, cfg.Projects[0].StopLoss = fmt.Sprint("worker-", i), &sc.canary, &sc.stopLoss
		})
	}
	op := s.enqueue(tasks.Request{Desktops: all})
	answers := 0
	for got := s.operation(op); !got.Done(); got = s.operation(op) {
		if !got.AwaitsApproval() {
			continue
		}
		s.quiet(op)
		if got = s.operation(op); !got.AwaitsApproval() {
			continue // what was being read when it was stopped was all that was left
		}
		calls, _ := s.steps(got)
		if got.Stopped() == tasks.WhyCanary {
			require.LessOrEqual(t, len(calls), sc.canary.Desktops)
		}
		if answers == 0 && sc.canary.Desktops > 0 {
			s.atMostFirst(got, sc.canary.Desktops)
		}
		require.NotEmpty(t, got.Clearance.Codes)
		for id, at := range calls {
			require.False(t, at.After(got.Clearance.AskedAt), "%s was in a call while the operation waited", id)
		}
		var err error
		if answers++; answers > 3 {
			_, err = s.p.Reject(t.Context(), got, "ann", "enough")
		} else {
			_, err = s.p.Approve(t.Context(), got, tasks.Approval{By: "ann", Reason: "it was looked at"})
		}
		require.NoError(t, err)
	}
	got, _ := s.ended(op)
	if sc.canary.Desktops > 0 && answers == 0 {
		s.atMostFirst(got, sc.canary.Desktops)
	}
}

// canaryKiller is a client, and a hook of Redis, that ends the process at a point of the canary.
type canaryKiller struct {
	*apiclient.Client
	point string
	sent  atomic.Bool
}

func (k *canaryKiller) Detach(ctx context.Context, req apiclient.DetachRequest) (*apiclient.DetachResult, error) {
	res, err := k.Client.Detach(ctx, req)
	if k.sent.Store(true); k.point == "canary was sent" {
		die()
	}
	return res, err
}

func (k *canaryKiller) Desktops(ctx context.Context, ids []string) ([]apiclient.Desktop, error) {
	out, err := k.Client.Desktops(ctx, ids)
	if k.sent.Load() && k.point == "canary was read" {
		die()
	}
	return out, err
}

func (k *canaryKiller) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (k *canaryKiller) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// The write that confirms the canary is the only one that is answered so.
func (k *canaryKiller) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			if c, ok := cmd.(*redis.Cmd); ok && k.point == "canary is confirmed" {
				v, err := c.Slice()
				if err != nil || len(v) != 4 || v[3] != int64(record.CanaryConfirmed) {
					continue
				}
				if _, ofMoves := v[0].(string); ofMoves {
					die()
				}
			}
		}
		return err
	}
}

// A worker dies with kill -9 before and after the canary is confirmed. Another one goes on, and
// no more desktops were in calls before.
func TestKilledInTheCanary(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"canary was sent", "canary was read", "canary is confirmed"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, fakecloud.Config{})
			op := s.enqueue(tasks.Request{Desktops: ids(500)})
			s.dies(t, point)
			require.Len(t, s.touched(), 5)
			require.Equal(t, point != "canary is confirmed", s.operation(op).CanaryPending())

			s.startImpatient(braked, func(c *worker.Config) { c.ID = "survivor" })
			got, _ := s.ended(op)
			require.Equal(t, 500, got.Counts.Detached)
			require.Empty(t, s.takenTwice(ids(500)))
			s.canaryFirst(got, 5)
		})
	}
}
