package worker

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker/policy"
)

// freshReading is how old a reading may be when the call leaves that it is for.
const freshReading = 5 * time.Second

// check claims and reads a group before it is sent, and settles what the reading
// decides already: what is detached, on its way, busy, unknown, or must not be
// touched. It returns those to be sent, all by naming their leavers or none. Parts of
// a batch that had to be split use the batch's reading while it is fresh.
func (s *sender) check(b *batch, group []*item) (send []*item, ok bool) {
	if fresh(group) {
		return group, true
	}
	mine, ok := s.claim(b, group)
	if !ok || len(mine) == 0 {
		return nil, ok
	}
	read, err := s.readNow(idsOf(mine), s.priority)
	if err != nil {
		s.onReadError(b, mine, err)
		return nil, true
	}
	readAt := time.Now()
	seen, err := s.seen(mine, read)
	if err != nil {
		return nil, false // the process is ending
	}
	looks := make(map[*item]policy.Look, len(mine))
	var decided, plain, byName []*item
	for _, it := range mine {
		l := lookAt(it.job.op, it.desktop, read, seen[it.desktop.ID])
		looks[it] = l
		it.before, it.leavers, it.readAt = nil, nil, readAt
		if l.Exists {
			it.before = beforeOf(l, s.now())
			if len(it.desktop.Expected()) == 0 {
				it.desktop.Pinned = l.Pins()
			}
		}
		switch {
		case policy.VerdictOf(l).Before != policy.Send:
			decided = append(decided, it)
		case l.JustThem():
			it.leavers = l.Leavers()
			byName = append(byName, it)
		default:
			plain = append(plain, it)
		}
	}
	if len(decided) > 0 {
		s.settle(b, decided, nil, func(it *item) verdict { return s.beforeSending(it, looks[it]) })
		s.explainMissing(decided)
	}
	if len(plain) > 0 && len(byName) > 0 {
		b.push(byName)
		return plain, true
	}
	return append(plain, byName...), true
}

// fresh says that every desktop of a group was read a moment ago, and that one kind of
// call is right for all: to take everybody off, or those who are named.
func fresh(group []*item) bool {
	return time.Since(oldestReading(group)) <= freshReading && !slices.ContainsFunc(group, func(it *item) bool {
		return (it.leavers == nil) != (group[0].leavers == nil)
	})
}

// oldestReading is when that desktop of a group was read whose reading is the oldest.
func oldestReading(group []*item) time.Time {
	return slices.MinFunc(group, func(a, b *item) int { return a.readAt.Compare(b.readAt) }).readAt
}

// claim claims a group; who is in another call is answered. ok is false if the
// project's gate is closed, or the process is ending.
func (s *sender) claim(b *batch, group []*item) (mine []*item, ok bool) {
	claim := b.claim
	claim.Desktops = idsOf(group)
	got, err := persist(s.ctx, s.log, func() (got []bool, err error) {
		got, _, err = s.record.Claim(s.ctx, claim, claimLease)
		return got, err
	})
	if paused := (*record.PausedError)(nil); errors.As(err, &paused) {
		b.pause = pauseOf(paused)
		s.giveBack(b, group, nil)
		return nil, false
	}
	if err != nil {
		return nil, false // the process is ending
	}
	b.claimed = true
	for i, it := range group {
		if got[i] {
			mine = append(mine, it)
		} else {
			it.settled(jitter(busyDelay))
		}
	}
	return mine, true
}

// seen tells, of those that a reading leaves out, which some reading of the project
// has shown before.
func (s *sender) seen(items []*item, read map[string]apiclient.Desktop) (map[string]bool, error) {
	var missing []string
	for _, it := range items {
		if _, exists := read[it.desktop.ID]; !exists {
			missing = append(missing, it.desktop.ID)
		}
	}
	if len(missing) == 0 {
		return nil, nil
	}
	return persist(s.ctx, s.log, func() (map[string]bool, error) { return s.record.Seen(s.ctx, s.project.Alias, missing) })
}

// onReadError acts on a reading before a call that failed. Where the request itself
// is refused the desktop that spoils it is looked for; nothing else spends an attempt.
func (s *sender) onReadError(b *batch, group []*item, err error) {
	e, class := asAPIError(err), s.policy.Call(err)
	spoiled := class == tasks.ClassLocal || class == tasks.ClassPoison || class == tasks.ClassPermanent || class == tasks.ClassConflict
	named, rest := split(group, policy.Culprits(e))
	switch {
	case spoiled && len(named) > 0:
		b.push(rest)
		s.failUnread(b, named, class, e)
	case spoiled && len(group) > 1:
		b.push(group[:len(group)/2])
		b.push(group[len(group)/2:])
	case spoiled:
		s.failUnread(b, group, class, e)
	default:
		b.pause = max(b.pause, s.afterReadError(err))
		s.release(b.claim, group)
		for _, it := range group {
			it.settled(s.backoff(it.desktop.Attempts + 1))
		}
	}
}

// failUnread fails desktops that the cloud, or the client, does not even read.
func (s *sender) failUnread(b *batch, items []*item, class tasks.Class, e apiclient.Error) {
	s.settle(b, items, nil, func(it *item) verdict {
		f := &tasks.Failure{
			Code: e.Code, Message: "it could not be read, and nothing was sent: " + e.Message, Class: class, Status: e.Status,
			RequestID: e.RequestID, Attempts: it.desktop.Attempts, At: s.now(),
		}
		return verdict{to: tasks.StateFailed, attempts: it.desktop.Attempts, failure: f}
	})
}

// split divides a group into those with the given ids and the others.
func split(group []*item, ids []string) (named, rest []*item) {
	for _, it := range group {
		if slices.Contains(ids, it.desktop.ID) {
			named = append(named, it)
		} else {
			rest = append(rest, it)
		}
	}
	return named, rest
}

// beforeSending turns a reading before a call into a verdict.
func (s *sender) beforeSending(it *item, l policy.Look) verdict {
	d, row := it.desktop, policy.VerdictOf(l)
	v := verdict{attempts: d.Attempts, note: noted[row.Note], detail: l.Proof()}
	failure := &tasks.Failure{
		DesktopName: l.ComputerName, Code: row.Code, Message: l.Reason(row), Class: tasks.ClassHeld, CallID: d.CallID,
		Attempts: d.Attempts, At: s.now(),
	}
	switch row.Before {
	case policy.Done:
		v.to = tasks.StateDetached
	case policy.Follow:
		v.to = tasks.StateAccepted
	case policy.Hold:
		if row.Code == notFound {
			failure.Message = fmt.Sprintf("there is no desktop %q in project %s (%s), and none was ever seen there", d.ID, s.project.Alias, s.project.where())
		}
		it.heldAs = row.Code
		v.to, v.note, v.failure = tasks.StateHeld, tasks.NoteNone, failure
	default: // Later
		failure.Class = tasks.ClassConflict
		return s.afterFailure(it, tasks.ClassConflict, failure, d.Note)
	}
	return v
}
