package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker/policy"
)

// An undo passes through the same lanes, calls and readings as a detach. What differs is in
// this file, in the table of package policy, and in the size of calls (laneKey).

// isUndo reports whether a group is to be given back. All of a group are, or none: see laneKey.
func isUndo(group []*item) bool { return group[0].job.op.UndoOf != "" }

// undoOf is what the record has of a desktop that is to be given back; nil: it is to be
// detached.
func undoOf(op record.Operation, d record.Row) *policy.Undo {
	if op.UndoOf == "" {
		return nil
	}
	u := &policy.Undo{}
	if d.Had != nil {
		for _, p := range d.Had.Users {
			u.Users = append(u.Users, apiclient.User{ID: p.ID, Name: p.Name, Domain: p.Domain, Group: p.Group, Type: p.Type})
		}
	}
	return u
}

// confirmed returns the rows whose desktops may be read to give them back: those whose detach is
// over. Before that a reading may still show the users who are about to lose the desktop, and a
// desktop that was given back would never be confirmed detached. after > 0: look again then.
func (s *sender) confirmed(ctx context.Context, op record.Operation, queued []record.Row) (_ []record.Row, after time.Duration, err error) {
	if op.UndoOf == "" {
		return queued, 0, nil
	}
	undone, err := s.record.Operation(ctx, op.UndoOf)
	if errors.Is(err, tasks.ErrNotFound) { // its retention is over
		return queued, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	ids := make([]string, len(queued))
	for i, d := range queued {
		ids[i] = d.ID
	}
	rows, err := s.record.RowsNamed(ctx, undone, ids)
	if err != nil {
		return nil, 0, err
	}
	queued = slices.DeleteFunc(queued, func(d record.Row) bool {
		before, known := rows[d.ID]
		if !known || !before.State.Open() && before.State != tasks.StateAccepted {
			return false
		}
		after = jitter(busyDelay)
		return true
	})
	return queued, after, nil
}

// accounts are the users of a project at the time of a call.
type accounts struct {
	people []apiclient.Person
	hidden bool // the cloud does not show them
}

// accountsFor reads the users of the project if a group is to be given back.
func (s *sender) accountsFor(group []*item) (a accounts, err error) {
	if !isUndo(group) {
		return a, nil
	}
	people, refusal, err := s.directory.read(s.inFlight, s.finder(), time.Now().Add(-directoryAge))
	return accounts{people, refusal != nil}, err
}

// guardUndo adds to a reading what forbids giving the desktop back now, and keeps for the call
// to whom it is given.
func (s *sender) guardUndo(it *item, r policy.Look, a accounts) {
	if r.Undo == nil {
		return
	}
	it.back = apiclient.Attachment{DesktopID: it.desktop.ID, Shared: r.Type == "SHARED", Users: r.Undo.Users}
	r.Undo.Old = it.desktop.Had != nil && time.Since(it.desktop.Had.ReadAt) > s.project.UndoWithin
	for _, u := range r.Undo.Users {
		if policy.IsGroup(u) {
			continue // the cloud has no list of them here; it refuses one that is gone
		}
		i := slices.IndexFunc(a.people, func(p apiclient.Person) bool {
			return policy.SameName(p.Name, u.Name) && (u.ID == "" || p.ID == u.ID) && (u.Domain == "" || p.Domain == "" || p.Domain == u.Domain)
		})
		switch {
		case i < 0 || a.hidden:
			r.Undo.Gone = append(r.Undo.Gone, u.Name)
		case a.people[i].Locked || a.people[i].Disabled:
			r.Undo.Locked = append(r.Undo.Locked, u.Name)
		}
	}
}

// request makes the request of a group.
func (s *sender) request(ctx context.Context, group []*item) (*apiclient.DetachResult, error) {
	switch {
	case isUndo(group):
		desktops := make([]apiclient.Attachment, len(group))
		for i, it := range group {
			desktops[i] = it.back
		}
		return s.project.API.Attach(ctx, desktops)
	case group[0].leavers != nil:
		users := make([]apiclient.UserDetach, len(group))
		for i, it := range group {
			users[i] = apiclient.UserDetach{DesktopID: it.desktop.ID, Users: it.leavers}
		}
		return s.project.API.DetachUsers(ctx, users)
	}
	shutoff := &group[0].job.op.ShutoffAfterDetach
	return s.project.API.Detach(ctx, apiclient.DetachRequest{DesktopIDs: idsOf(group), ShutoffAfterDetach: shutoff})
}

// noteGood notes a 200. That of an undo says nothing about the permission to detach.
func (s *sender) noteGood(group []*item) {
	if isUndo(group) {
		s.calls.answered()
		s.noUndo.Store(false)
		return
	}
	s.calls.good(time.Now())
}

// undoDenied reports whether a fault says that an undo is not permitted.
func undoDenied(group []*item, class tasks.Class) bool {
	return isUndo(group) && (class == tasks.ClassDenied || class == tasks.ClassPolicy)
}

// onUndoDenied acts on an undo that was refused for lack of a permission. A worker may have no
// right to give desktops back, so this never pauses the project: leavers would keep access.
// The batch is split until deniedAfter calls; the rest of it is then held.
func (s *sender) onUndoDenied(b *batch, group []*item, out outcome) {
	s.calls.answered()
	if named, _ := split(group, out.api.Culprits()); len(named) > 0 {
		out.class = tasks.ClassPoison
		s.isolate(b, group, out)
		return
	}
	if len(group) > 1 && b.calls < deniedAfter && !s.noUndo.Load() {
		s.recordCall(b, group, out.call)
		b.push(halves(group)...)
		return
	}
	s.noUndo.Store(true)
	rest := slices.Concat(b.groups...)
	b.groups = nil
	hold := func(it *item) transition {
		f := out.failure()
		f.Code, f.Class, f.Attempts, f.At = tasks.CodeUndoNoRight, tasks.ClassHeld, it.desktop.Attempts, time.Now()
		f.Message = "the call was refused (does the IAM user have " + actionOf(group) + "?): " + out.api.Code + " " + out.api.Message
		return transition{to: tasks.StateHeld, attempts: it.desktop.Attempts, failure: f}
	}
	s.settle(b, group, out.call, hold)
	if len(rest) > 0 {
		s.settle(b, rest, nil, hold)
	}
}

// clearUndo is clear for an undo. It is not in the window of what is detached: a mistake is
// to be repaired at once. A large one waits for a second person, also if it is retried in parts.
func (s *sender) clearUndo(ctx context.Context, op record.Operation, now time.Time) (bool, time.Duration, error) {
	asks, above := op.Counts.Unsettled(), *s.project.UndoSecondPersonAbove
	if op.Clearance != nil || max(asks, min(op.Requeued(), op.Total)) <= above {
		return true, 0, nil
	}
	return false, 0, s.askApproval(ctx, op, tasks.Clearance{
		Why: tasks.WhyUndo, AskedAt: now.UTC(), ExpiresAt: now.Add(s.project.ApprovalExpires).UTC(), Desktops: asks, Allowed: above,
		SecondPersonAbove: above,
	})
}
