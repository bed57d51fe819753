package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker"
)

// detached detaches desktops and returns the operation.
func (s *env) detached(req tasks.Request) record.Operation {
	s.t.Helper()
	op, _ := s.ended(s.enqueue(req))
	require.Equal(s.t, op.Total, op.Counts.Detached)
	return op
}

func (s *env) undo(op record.Operation, desktops ...string) record.Operation {
	s.t.Helper()
	back, err := s.p.Undo(s.t.Context(), op, tasks.UndoRequest{Desktops: desktops, RequestedBy: "amy", Owner: "amy", Reason: "wrong feed"})
	require.NoError(s.t, err)
	return back
}

// attaches are the calls that give desktops back.
func (s *env) attaches() (out []fakecloud.Request) {
	for _, r := range s.cloud.Requests() {
		if r.Op == fakecloud.OpAttach {
			require.LessOrEqual(s.t, len(r.DesktopIDs), 50)
			out = append(out, r)
		}
	}
	return out
}

// harmless is what must hold of every undo: no data was deleted, nobody got a desktop of
// somebody else, and no desktop was given twice. It returns the desktops that were given back.
func (s *env) harmless() map[string]bool {
	s.t.Helper()
	require.Empty(s.t, s.cloud.InTwoCallsAtOnce(), "a desktop was in two calls at once")
	lost := map[string]map[string]bool{}
	for _, r := range s.cloud.Removals(projectID) {
		if lost[r.DesktopID] == nil {
			lost[r.DesktopID] = map[string]bool{}
		}
		lost[r.DesktopID][r.User.ID+"/"+r.User.Group] = true
	}
	got := map[string]bool{}
	for _, a := range s.cloud.Assignments(projectID) {
		require.False(s.t, a.Cleared, "the data of %s was deleted", a.DesktopID)
		require.False(s.t, got[a.DesktopID], "%s was given back twice", a.DesktopID)
		got[a.DesktopID] = true
		for _, u := range a.Users {
			require.True(s.t, lost[a.DesktopID][u.ID+"/"+u.Group], "%s did not lose %s", u.Name, a.DesktopID)
		}
	}
	return got
}

func TestUndo(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	for i, id := range ids(120) {
		group := []string{"sudo", "users"}[i%2]
		s.cloud.Add(projectID, fakecloud.Desktop{ID: id, Users: []fakecloud.User{{Name: "user-" + id, Group: group}}})
	}
	s.cloud.Add(projectID, fakecloud.Desktop{
		ID: "shared", Type: fakecloud.Shared,
		Users: []fakecloud.User{{Name: "ann", Domain: "d.local", Group: "sudo"}, {Name: "ops", Type: "GROUP"}},
	})
	s.start(func(c *worker.Config) { above := 1000; c.Projects[0].UndoSecondPersonAbove = &above })
	op := s.detached(tasks.Request{Desktops: append(ids(120), "shared"), AllowShared: true})

	back, rows := s.ended(s.undo(op))
	require.Equal(t, 121, back.Counts.Detached)
	require.Equal(t, tasks.NoteReadBack, rows["shared"].Note)
	require.Len(t, s.harmless(), 121)
	require.GreaterOrEqual(t, len(s.attaches()), 3)
	shared, _ := s.cloud.Get(projectID, "shared")
	require.Equal(t, []fakecloud.User{
		{ID: "id-ann", Name: "ann", Domain: "d.local", Group: "sudo", Type: "USER"},
		{ID: "id-ops", Name: "ops", Group: "users", Type: "GROUP"},
	}, shared.Users)
	for id, d := range s.rows(s.operation(op)) {
		require.Equal(t, tasks.StateDetached, d.State)
		require.Equal(t, back.ID, d.GivenBackBy, id)
	}
	require.Equal(t, op.Counts, s.operation(op).Counts)

	calls := len(s.attaches())
	again, rows := s.ended(s.undo(op, "d-000003"))
	require.Equal(t, 1, again.Counts.Detached)
	require.Equal(t, tasks.NoteReadBack, rows["d-000003"].Note)
	require.Len(t, s.attaches(), calls, "it was given back already, which needs no call")
}

// What forbids an undo holds the desktop, and no call is made for it.
func TestUndoIsHeld(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	desktops := []string{"free", "theirs", "gone", "nobody", "locked", "disabled", "pooled", "renamed"}
	for _, id := range desktops {
		s.cloud.Add(projectID, fakecloud.Desktop{ID: id, Users: []fakecloud.User{{Name: "user-" + id}}})
	}
	s.cloud.Update(projectID, "pooled", func(d *fakecloud.Desktop) { d.Type = fakecloud.Pooled })
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "kept", Type: fakecloud.Shared, Users: []fakecloud.User{{Name: "ann"}, {Name: "ben"}}},
		fakecloud.Desktop{ID: "never", AttachState: fakecloud.Unattached})
	s.start()
	op := s.detached(tasks.Request{Desktops: append(desktops, "kept", "never"), Expect: map[string][]string{"kept": {"ann"}}})

	s.cloud.Attach(projectID, "theirs", fakecloud.User{Name: "heir"})
	s.cloud.Remove(projectID, "gone")
	s.cloud.UpdatePeople(projectID, func(p *fakecloud.Person) bool {
		p.Locked, p.Disabled = p.Name == "user-locked", p.Name == "user-disabled"
		return p.Name != "user-nobody" && p.Name != "user-renamed"
	})
	s.cloud.AddPeople(projectID, fakecloud.Person{ID: "another", Name: "user-renamed"})

	back, rows := s.ended(s.undo(op, append(desktops, "kept", "never")...))
	want := map[string]string{
		"theirs": "UNDO_OTHER_USER", "gone": "UNDO_NO_DESKTOP", "nobody": "UNDO_USER_GONE", "renamed": "UNDO_USER_GONE",
		"locked": "UNDO_USER_LOCKED", "disabled": "UNDO_USER_LOCKED", "pooled": "UNDO_POOLED", "kept": "UNDO_OTHER_USER",
		"never": "UNDO_NO_USERS",
	}
	for id, code := range want {
		require.Equal(t, tasks.StateHeld, rows[id].State, id)
		require.Equal(t, code, rows[id].Failure.Code, id)
	}
	require.Contains(t, rows["theirs"].Failure.Message, `to be given back to "user-theirs", read as ATTACHED, "heir"`)
	require.Equal(t, tasks.StateDetached, rows["free"].State)
	require.Equal(t, map[string]bool{"free": true}, s.harmless())
	for _, r := range s.attaches() {
		require.Equal(t, []string{"free"}, r.DesktopIDs)
	}

	// What is corrected can be retried.
	s.cloud.UpdatePeople(projectID, func(p *fakecloud.Person) bool { p.Locked = false; return true })
	n, err := s.p.Retry(t.Context(), back, tasks.RetryFilter{Held: true, Code: "UNDO_USER_LOCKED"}, "amy")
	require.NoError(t, err)
	require.Equal(t, 2, n)
}

func TestUndoComesTooLate(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.start(func(c *worker.Config) { c.Projects[0].UndoWithin = time.Nanosecond })
	op := s.detached(tasks.Request{Desktops: ids(2)})
	_, rows := s.ended(s.undo(op))
	require.Equal(t, "UNDO_TOO_OLD", rows["d-000000"].Failure.Code)
	require.Empty(t, s.attaches())
	require.Empty(t, s.harmless())
}

// What fails on the way shows in the parts of the job and in the readings.
func TestUndoFailsInParts(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{DetachDelay: 20 * time.Millisecond, ReadLag: 20 * time.Millisecond, JobLag: 20 * time.Millisecond})
	s.start()
	op := s.detached(tasks.Request{Desktops: ids(4)})
	again, never := fakecloud.AttachRepeatable, fakecloud.AttachFailed
	s.cloud.Update(projectID, "d-000001", func(d *fakecloud.Desktop) { d.AttachEnds = []string{again, again} })
	s.cloud.Update(projectID, "d-000002", func(d *fakecloud.Desktop) { d.AttachEnds = []string{never} })
	s.cloud.Update(projectID, "d-000003", func(d *fakecloud.Desktop) { d.AttachEnds = []string{never, never} })
	back, rows := s.ended(s.undo(op))
	require.Equal(t, 3, back.Counts.Detached)
	require.Equal(t, tasks.StateFailed, rows["d-000003"].State)
	require.Equal(t, "WKS.00211401", rows["d-000003"].Failure.Code, "of its part of the job")
	require.Len(t, s.harmless(), 3)
}

// An undo is not in the window of what may be detached. A large one waits for another person.
func TestUndoIsCleared(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	limit, above := tasks.Limit{Desktops: 3, Percent: 1, Window: time.Hour}, 2
	s.start(func(c *worker.Config) {
		c.Projects[0].Limit, c.Projects[0].UndoSecondPersonAbove = &limit, &above
	})
	op := s.detached(tasks.Request{Desktops: ids(3)})
	some, _ := s.ended(s.undo(op, "d-000000", "d-000001"))
	require.Equal(t, 2, some.Counts.Detached, "the window is full, which does not matter")
	require.Nil(t, some.Clearance)

	calls := len(s.attaches())
	all := s.undo(op)
	require.Eventually(t, func() bool { return s.operation(all).AwaitsApproval() }, patience, 5*time.Millisecond)
	require.Len(t, s.attaches(), calls)
	all = s.operation(all)
	require.Equal(t, tasks.WhyUndo, all.Clearance.Why)
	require.Equal(t, 3, all.Clearance.Desktops)
	require.True(t, all.Clearance.NeedsSecondPerson())
	_, err := s.p.Approve(t.Context(), all, tasks.Approval{By: "amy-2", Owner: "Amy", Reason: "mine"})
	var same *tasks.SamePersonError
	require.ErrorAs(t, err, &same)
	_, err = s.p.Approve(t.Context(), all, tasks.Approval{By: "bob", Owner: "bob", Reason: "yes"})
	require.NoError(t, err)
	all, _ = s.ended(all)
	require.Equal(t, 3, all.Counts.Detached)
	require.Len(t, s.harmless(), 3)
}

// A worker that may not give desktops back goes on detaching.
func TestUndoIsNotPermitted(t *testing.T) {
	t.Parallel()
	for name, refusal := range map[string]fakecloud.Fault{
		"by the service": {Op: fakecloud.OpAttach, Status: 403, Code: "WKS.00081102"},
		"by the gateway": {Op: fakecloud.OpAttach, Status: 403, Code: "APIGW.0302"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, fakecloud.Config{})
			s.start(func(c *worker.Config) { above := 1000; c.Projects[0].UndoSecondPersonAbove = &above })
			op := s.detached(tasks.Request{Desktops: ids(200)})
			s.cloud.Fail(refusal)
			back, rows := s.ended(s.undo(op))
			require.Equal(t, 200, back.Counts.Held)
			require.Equal(t, tasks.CodeUndoNoRight, rows["d-000000"].Failure.Code)
			require.Contains(t, rows["d-000000"].Failure.Message, "workspace:desktops:attach")
			require.LessOrEqual(t, len(s.attaches()), 40, "it does not use up the calls of a project")
			paused, err := s.record.ProjectPause(t.Context(), "hq")
			require.NoError(t, err)
			require.Nil(t, paused)
			s.detached(tasks.Request{Desktops: []string{"other"}})

			s.cloud.ClearFaults()
			_, err = s.p.Retry(t.Context(), back, tasks.RetryFilter{Held: true}, "amy")
			require.NoError(t, err)
			back, _ = s.ended(back)
			require.Equal(t, 200, back.Counts.Detached)
			require.Len(t, s.harmless(), 200)
		})
	}
}

// Whatever becomes of a reply, a desktop is given back once.
func TestUndoWithLostReplies(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.start()
	op := s.detached(tasks.Request{Desktops: ids(60)})
	for call, f := range []fakecloud.Fault{
		{Effect: fakecloud.DropAfter}, {Effect: fakecloud.DropBefore}, {Effect: fakecloud.Truncate}, {Status: 504, Code: "APIGW.0201", Applied: true},
	} {
		f.Op, f.Calls = fakecloud.OpAttach, []int{call + 1}
		s.cloud.Fail(f)
	}
	s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpAttach, Calls: []int{5}, Status: 429, Code: "APIGW.0308"})
	back, _ := s.ended(s.undo(op))
	require.Equal(t, 60, back.Counts.Detached)
	require.Len(t, s.harmless(), 60)
}

// A worker dies with kill -9 at each of five points of an undo. Another takes over: every
// desktop is given back once, to its user, with its data.
func TestKilledInAnUndo(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"before the call", "call in flight", "after the reply", "after the record", "in shutdown"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, fakecloud.Config{})
			first, err := worker.New(quick(s.rdb, "first", client(t, s.cloud.URL, 5*time.Second)))
			require.NoError(t, err)
			require.NoError(t, first.Start(t.Context()))
			op := s.detached(tasks.Request{Desktops: ids(400)})
			first.Stop()
			s.cloud.Attach(projectID, "d-000160", fakecloud.User{Name: "heir"}) // in the call in which it dies
			s.cloud.Attach(projectID, "d-000390", fakecloud.User{Name: "heir"})
			back := s.undo(op)

			s.dies(t, point)
			before, err := s.record.Operation(context.Background(), back.ID)
			require.NoError(t, err)
			require.False(t, before.Done(), "it died too late to show anything")

			s.startImpatient(func(c *worker.Config) {
				above := 1000
				c.ID, c.Projects[0].UndoSecondPersonAbove = "survivor", &above
			})
			got, rows := s.ended(back)
			require.Equal(t, 398, got.Counts.Detached)
			require.Equal(t, 2, got.Counts.Held)
			require.Equal(t, "UNDO_OTHER_USER", rows["d-000160"].Failure.Code)
			require.Len(t, s.harmless(), 398)
			for _, id := range []string{"d-000160", "d-000390"} {
				d, _ := s.cloud.Get(projectID, id)
				require.Equal(t, "heir", d.Users[0].Name)
			}
		})
	}
}

// An undo of what the cloud has taken and no reading has confirmed waits for that: before, a
// reading may still show its users, and after it the detach would find them again.
func TestUndoOfWhatIsNotConfirmedYet(t *testing.T) {
	t.Parallel()
	for name, cloud := range map[string]fakecloud.Config{
		"shown at once": {}, "shown later": {ReadLag: 700 * time.Millisecond}, "done later": {DetachDelay: 700 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, cloud)
			api := &stuckProof{API: client(t, s.cloud.URL, 5*time.Second), taken: s.takenTimes, release: make(chan struct{})}
			s.start(func(c *worker.Config) { c.FirstLook, c.ConfirmWithin, c.Projects[0].API = time.Second, patience, api })
			op := s.enqueue(tasks.Request{Desktops: ids(3)})
			require.Eventually(t, func() bool { op = s.operation(op); return op.Counts.Accepted == 3 }, patience, time.Millisecond)
			back := s.undo(op)
			close(api.release) // no reading confirms it before
			op, _ = s.ended(op)
			require.Equal(t, 3, op.Counts.Detached)
			back, _ = s.ended(back)
			require.Equal(t, 3, back.Counts.Detached)
			require.Len(t, s.harmless(), 3)
		})
	}
}
