package worker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker"
)

// limited gives the project of a worker the default limit.
func limited(cfg *worker.Config) { cfg.Projects[0].Limit = nil }

// called returns the ids of all desktops that were named in calls, in order.
func (s *env) called() (out []string) {
	for _, r := range s.cloud.Requests() {
		if r.Op == fakecloud.OpDetach {
			out = append(out, r.DesktopIDs...)
		}
	}
	return out
}

// waits returns the operation once it waits for an approval.
func (s *env) waits(op record.Operation) record.Operation {
	s.t.Helper()
	var got record.Operation
	require.Eventually(s.t, func() bool {
		var err error
		got, err = s.record.Operation(s.t.Context(), op.ID)
		return err == nil && got.AwaitsApproval()
	}, patience, 10*time.Millisecond, "the operation does not wait")
	return got
}

func TestTheWholeFleetInOneFeed(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.exist(ids(3000)...)
	s.start(limited)
	op := s.waits(s.enqueue(tasks.Request{Desktops: ids(3000), RequestedBy: "hr", Ticket: "INC-1"}))
	c := op.Clearance
	require.Equal(t, []int{3000, 0, 3000, 600, 500}, []int{c.Desktops, c.Used, c.Assigned, c.Allowed, c.SecondPersonAbove})
	small := s.enqueue(tasks.Request{Desktops: ids(3)})
	s.ended(small)
	require.Len(t, s.called(), 3, "a small one passes, and nothing of the large one is sent")

	_, err := s.p.Approve(t.Context(), s.waits(op), tasks.Approval{By: "ann", Reason: "the site is closed"})
	require.NoError(t, err)
	got, _ := s.ended(op)
	require.Equal(t, 3000, got.Counts.Detached)
	require.Equal(t, 1, strings.Count(s.log.String(), "waits for approval"), "one line, however many chunks it has")
}

// Many small operations of one source are together no more than the limit.
func TestASlowDrip(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	all := ids(2000)
	s.exist(all...)
	for i, id := range all {
		s.enqueue(tasks.Request{Desktops: []string{id}, RequestedBy: "hr", IdempotencyKey: fmt.Sprint(i)})
	}
	s.start(limited)
	s.start(limited, func(cfg *worker.Config) { cfg.ID = "worker-2" })
	require.Eventually(t, func() bool {
		stats, err := s.record.Stats(t.Context(), []string{"hq"}, tasks.LastDay, time.Now())
		return err == nil && stats[0].AwaitingApproval+stats[0].Counts.Detached == len(all)
	}, 3*patience, 100*time.Millisecond)
	// Desktops that are detached are no longer assigned, so a late count allows fewer.
	require.LessOrEqual(t, len(s.called()), 400, "20 %")
	require.GreaterOrEqual(t, len(s.called()), 200)
}

// Desktops that are found by their users count once they are found, and nothing leaves before.
func TestUsersAreCountedAfterTheLookUp(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	for i := range 60 {
		s.cloud.Add(projectID, fakecloud.Desktop{ID: fmt.Sprintf("of-zoe-%d", i), Users: []fakecloud.User{{Name: "zoe"}}})
	}
	s.start(limited)
	op := s.waits(s.enqueue(tasks.Request{Users: []string{"zoe"}}))
	require.Equal(t, 60, op.Clearance.Desktops)
	require.Empty(t, s.called())
	_, err := s.p.Reject(t.Context(), op, "ann", "zoe is the owner of the training room")
	require.NoError(t, err)
	got, _ := s.ended(op)
	require.Equal(t, 60, got.Counts.Cancelled)
	require.Empty(t, s.called())
}

// What the guard needs cannot be read: nothing is sent until it can.
func TestAFleetThatCannotBeCounted(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.exist(ids(1000)...)
	var mu sync.Mutex
	broken := true
	s.start(limited, func(cfg *worker.Config) {
		cfg.Projects[0].API = countless{cfg.Projects[0].API, func() bool { mu.Lock(); defer mu.Unlock(); return broken }}
	})
	op := s.enqueue(tasks.Request{Desktops: ids(100)})
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), "could not be counted") }, patience, time.Millisecond)
	require.Empty(t, s.called())
	mu.Lock()
	broken = false
	mu.Unlock()
	got, _ := s.ended(op)
	require.Equal(t, 100, got.Counts.Detached)
}

// Without an answer it is cancelled in time, though it has no tasks.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.startImpatient(limited, func(cfg *worker.Config) { cfg.Projects[0].ApprovalExpires = 50 * time.Millisecond })
	got, _ := s.ended(s.enqueue(tasks.Request{Desktops: ids(150)}))
	require.Equal(t, tasks.ClearanceExpired, got.Clearance.State)
	require.Equal(t, 150, got.Counts.Cancelled)
	require.Empty(t, s.called())
}

// countless is an API that cannot count for a while.
type countless struct {
	worker.API
	broken func() bool
}

func (c countless) CountAssigned(ctx context.Context) (int, error) {
	if c.broken() {
		return 0, &apiclient.Error{Status: 503, Code: "WKS.500", Message: "away"}
	}
	return c.API.CountAssigned(ctx)
}

// The stop of all projects in the middle of a bulk: no call begins later than a second after
// it, for an undo neither, and afterwards everything goes on.
func TestTheStopInMidBulk(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{Latency: 20 * time.Millisecond})
	slow := func(cfg *worker.Config) { cfg.Projects[0].MaxInFlight = 2 }
	s.start(slow)
	s.start(slow, func(cfg *worker.Config) { cfg.ID = "worker-2" })
	earlier := s.detached(tasks.Request{Desktops: []string{"early"}})
	bulk := s.enqueue(tasks.Request{Desktops: ids(5000)})
	require.NoError(t, s.cloud.Wait(t.Context(), func() bool { return s.cloud.Calls() >= 5 }))
	_, err := s.record.StopAll(t.Context(), "the wrong list")
	require.NoError(t, err)
	stopped := time.Now()
	urgent, back := s.enqueue(tasks.Request{Desktops: []string{"urgent"}, Urgent: true}), s.undo(earlier)
	require.Eventually(t, func() bool {
		c := s.operation(bulk).Counts
		return c.Sending == 0 && c.Accepted == 0 && time.Since(stopped) > 2*time.Second
	}, patience, 10*time.Millisecond)
	require.NotZero(t, s.operation(bulk).Counts.Queued, "it was stopped too late to show anything")
	require.Equal(t, 1, s.operation(urgent).Counts.Queued)
	for _, r := range s.cloud.Requests() {
		if r.Op == fakecloud.OpDetach {
			require.Less(t, r.Time.Sub(stopped), time.Second)
		}
	}
	require.Empty(t, s.attaches())
	_, err = s.record.ResumeAll(t.Context())
	require.NoError(t, err)
	s.ended(urgent)
	s.ended(back)
	require.Equal(t, map[string]bool{"early": true}, s.harmless())
	got, _ := s.ended(bulk)
	require.Equal(t, 5000, got.Counts.Detached)
}

// Whatever feeds come and however people answer, while workers come and go: the calls of
// operations that nobody approved name no more desktops than the limit allows, nobody has
// approved a large one of their own, and nothing of a rejected one was sent.
func TestNothingPassesTheLimitUnapproved(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 14))
			limit := tasks.Limit{Desktops: r.IntN(30), Percent: []int{0, 5, 20, 50}[r.IntN(4)], Any: r.IntN(2) == 0, Window: time.Hour}
			const fleet = 300
			secondAbove := 40
			s := newEnv(t, fakecloud.Config{})
			all := ids(fleet)
			s.exist(all...)
			start := func(n int) *worker.Worker {
				return s.startImpatient(func(cfg *worker.Config) {
					cfg.ID = fmt.Sprint("worker-", n)
					cfg.Projects[0].Limit, cfg.Projects[0].SecondPersonAbove = &limit, &secondAbove
				})
			}
			w := start(0)
			asked := map[string]record.Operation{}
			approvedBy := map[string]string{}
			people := []string{"ann", "bob"}
			for n := 1; len(all) > 0; n++ {
				size := min(1+r.IntN(60), len(all))
				op := s.enqueue(tasks.Request{Desktops: all[:size], RequestedBy: "feed", Owner: people[r.IntN(2)]})
				asked[op.ID], all = op, all[size:]
				if r.IntN(3) == 0 {
					w.Stop()
					w = start(n)
				}
			}
			// Every operation ends: it passes, or a person answers.
			for id, op := range asked {
				require.Eventually(t, func() bool {
					now := s.operation(op)
					if !now.AwaitsApproval() {
						return now.Done()
					}
					who := people[r.IntN(2)]
					var err error
					if r.IntN(3) == 0 {
						_, err = s.p.Reject(t.Context(), now, who, "no")
					} else {
						_, err = s.p.Approve(t.Context(), now, tasks.Approval{By: who + "'s key", Owner: who, Reason: "yes"})
						if err == nil {
							approvedBy[id] = who
						}
					}
					_, same := errors.AsType[*tasks.SamePersonError](err)
					require.True(t, err == nil || same || errors.Is(err, tasks.ErrNotWaiting), "%v", err)
					return false
				}, patience, 5*time.Millisecond)
			}
			of := map[string]string{}
			for id, op := range asked {
				for desktop := range s.rows(op) {
					of[desktop] = id
				}
			}
			unapproved := map[string]bool{}
			for _, desktop := range s.called() {
				op := s.operation(asked[of[desktop]])
				if c := op.Clearance; c == nil {
					unapproved[desktop] = true
				} else {
					require.Equal(t, tasks.ClearanceApproved, c.State, "%s was sent", desktop)
					if c.NeedsSecondPerson() {
						require.NotEqual(t, op.Owner, approvedBy[op.ID])
					}
				}
			}
			require.LessOrEqual(t, len(unapproved), limit.Allowed(fleet))
		})
	}
}

// A retry asks for what it adds, also if its operation is in the window already.
func TestWhatARetryAddsIsCounted(t *testing.T) {
	t.Parallel()
	t.Run("found by a user who was unknown before", func(t *testing.T) {
		t.Parallel()
		s := newEnv(t, fakecloud.Config{})
		s.cloud.Add(projectID, fakecloud.Desktop{ID: "of-zoe", Users: []fakecloud.User{{Name: "zoe"}}})
		s.start(limited)
		op, _ := s.ended(s.enqueue(tasks.Request{Users: []string{"zoe", "training"}}))
		require.Equal(t, []int{1, 1}, []int{op.Counts.Detached, op.Counts.Held})
		for i := range 60 {
			s.cloud.Add(projectID, fakecloud.Desktop{ID: fmt.Sprintf("room-%d", i), Users: []fakecloud.User{{Name: "training"}}})
		}
		n, err := s.p.Retry(t.Context(), op, tasks.RetryFilter{Held: true}, "bob")
		require.NoError(t, err)
		require.Equal(t, 1, n)
		op = s.waits(op)
		require.Equal(t, []int{60, 1}, []int{op.Clearance.Desktops, op.Clearance.Used})
		require.Equal(t, []string{"of-zoe"}, s.called())
	})
	t.Run("a part at a time", func(t *testing.T) {
		t.Parallel()
		s := newEnv(t, fakecloud.Config{})
		op := s.enqueue(tasks.Request{Desktops: ids(150)})
		s.fail(op) // before any worker has looked at it
		s.startImpatient(limited)
		s.redrive(op, ids(40)...)
		require.Eventually(t, func() bool { return s.operation(op).Counts.Detached == 40 }, patience, 10*time.Millisecond)
		s.redrive(op, ids(80)[40:]...)
		op = s.waits(op)
		require.Equal(t, []int{40, 40}, []int{op.Clearance.Desktops, op.Clearance.Used})
		require.Len(t, s.called(), 40)
	})
	t.Run("after the question", func(t *testing.T) {
		t.Parallel()
		s := newEnv(t, fakecloud.Config{})
		op := s.enqueue(tasks.Request{Desktops: ids(150)})
		s.fail(op)
		s.startImpatient(limited)
		s.redrive(op, ids(60)...)
		asked := s.waits(op)
		require.Equal(t, 60, asked.Clearance.Desktops)
		s.redrive(op, ids(150)[60:]...)
		require.Eventually(t, func() bool {
			c := s.operation(op).Clearance
			return c != nil && c.Desktops == 150
		}, patience, 10*time.Millisecond)
		_, err := s.p.Approve(t.Context(), asked, tasks.Approval{By: "ann"})
		require.ErrorIs(t, err, tasks.ErrNotWaiting, "it was asked about 60")
		require.Empty(t, s.called())
	})
	t.Run("of an undo", func(t *testing.T) {
		t.Parallel()
		s := newEnv(t, fakecloud.Config{})
		above := 20
		few := func(cfg *worker.Config) { cfg.Projects[0].UndoSecondPersonAbove = &above }
		w := s.start(few)
		op := s.detached(tasks.Request{Desktops: ids(60)})
		w.Stop()
		back := s.undo(op)
		s.fail(back)
		s.startImpatient(few)
		s.redrive(back, ids(15)...)
		require.Eventually(t, func() bool { return s.operation(back).Counts.Detached == 15 }, patience, 10*time.Millisecond)
		s.redrive(back, ids(30)[15:]...)
		require.Equal(t, tasks.WhyUndo, s.waits(back).Clearance.Why)
		require.Len(t, s.harmless(), 15)
	})
}

// redrive retries desktops of an operation that failed.
func (s *env) redrive(op record.Operation, desktops ...string) {
	s.t.Helper()
	q := tasks.RedriveRequest{RequestedBy: "bob"}
	for _, id := range desktops {
		q.Desktops = append(q.Desktops, tasks.DesktopRef{OperationID: op.ID, DesktopID: id})
	}
	x, err := s.p.Redrive(s.t.Context(), q)
	require.NoError(s.t, err)
	require.Equal(s.t, len(desktops), x.Matched)
}

// fail fails all rows of an operation, as when nobody serves its project before its deadline.
func (s *env) fail(op record.Operation) {
	s.t.Helper()
	for n := range op.Chunks() {
		c, err := s.record.Chunk(s.t.Context(), op.ID, n)
		require.NoError(s.t, err)
		change := record.Change{Operation: op, Chunk: n}
		for _, d := range c.Desktops {
			f := &tasks.Failure{Code: tasks.CodeDeadline, Class: tasks.ClassTransient, At: time.Now()}
			change.Moves = append(change.Moves, record.Move{Desktop: d, To: tasks.StateFailed, Failure: f})
		}
		_, err = s.record.Apply(s.t.Context(), time.Now(), []record.Change{change})
		require.NoError(s.t, err)
	}
}
