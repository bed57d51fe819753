package worker

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/spans"
	"github.com/detachd/detachd/worker/policy"
)

// freshReading is the greatest age of a reading when the call that it is for leaves.
const freshReading = 5 * time.Second

// checked is a group after its claim and reading. What is in no list has been settled, or will
// be by settle.
type checked struct {
	send   []*item   // for the next call: all with leavers to name, or all without
	later  [][]*item // for calls after it
	settle func()    // those that need no call; nil: there are none
}

// check claims and reads a group, and finds the desktops that need no call now: detached,
// on their way, busy, unknown, recalled, or held by a guard. They are to be settled after the others are
// in the record as being sent: else the stop-loss would see what a batch holds and not what it
// sends. Parts of a batch that was split use the
// reading of the batch while it is fresh.
func (s *sender) check(b *batch, group []*item) checked {
	if fresh(group) {
		return checked{send: group}
	}
	mine := s.claim(b, group)
	if len(mine) == 0 {
		return checked{}
	}
	users, err := s.accountsFor(mine) // before the reading, which must be fresh
	if err != nil {
		return checked{later: s.onReadError(b, mine, s.faultOf(err))}
	}
	reading := s.cfg.Spans.Reading(s.partsOf(mine), string(readDesktops), spans.BeforeCall, s.project.Alias, len(mine))
	read, err := s.readNow(idsOf(mine), s.priority)
	reading.Read(s.faultOf(err).class)
	if err != nil {
		return checked{later: s.onReadError(b, mine, s.faultOf(err))}
	}
	readAt := time.Now()
	seen, err := s.seen(mine, read)
	if err != nil {
		return checked{} // the process is ending
	}
	rules, err := persist(s.inFlight, s.log, func() (*record.Protections, error) { return s.record.Protections(s.inFlight) })
	if err != nil {
		return checked{} // the process is ending
	}
	protected, err := protectionOf(rules, s.project.Alias, slices.Collect(maps.Keys(read)), func(pool string, ids []string) ([]string, error) {
		return s.inPool(pool, ids, s.priority)
	})
	if err != nil {
		return checked{later: s.onReadError(b, mine, s.faultOf(err))}
	}
	if b.recalls, err = persist(s.inFlight, s.log, func() (*record.Recalls, error) { return s.record.Recalls(s.inFlight) }); err != nil {
		return checked{} // the process is ending
	}
	readings := make(map[*item]policy.Look, len(mine))
	var settled, missing, all, byName []*item
	recalled := map[recalledBy][]*item{}
	for _, it := range mine {
		r := protected.judged(lookBefore(it.job.op, it.desktop, read, seen[it.desktop.ID]))
		it.keepReading(r, readAt)
		recall, others, is := b.recalls.Of(it.job.op, it.desktop)
		if len(others) > 0 && is {
			r.Recalled = recall.HeldText(others)
		}
		readings[it] = r
		s.guardUndo(it, r, users)
		switch row := policy.VerdictOf(r); {
		case is && len(others) == 0 && row.Before != policy.Done && row.Before != policy.Follow:
			by := recalledBy{recall.By(), recall.Reason}
			recalled[by] = append(recalled[by], it)
		case row.Before != policy.Send:
			settled = append(settled, it)
			if row.Code == tasks.CodeNotFound {
				missing = append(missing, it)
			}
		case r.JustThem():
			it.leavers = r.Leavers()
			byName = append(byName, it)
		default:
			all = append(all, it)
		}
	}
	out := checked{send: all, later: [][]*item{byName}}
	if len(all) == 0 {
		out = checked{send: byName}
	}
	if len(settled)+len(recalled) > 0 {
		out.settle = func() {
			s.settle(b, settled, nil, func(it *item) transition { return s.beforeSending(it, readings[it]) })
			s.requestHints(missing)
			s.settleRecalled(b, recalled)
		}
	}
	return out
}

// recalledBy is the person and the recall, and why.
type recalledBy struct{ by, reason string }

// settleRecalled cancels desktops whose users were recalled.
func (s *sender) settleRecalled(b *batch, recalled map[recalledBy][]*item) {
	for by, group := range recalled {
		w := s.gather(group, nil, func(it *item) (transition, bool) {
			return transition{to: tasks.StateCancelled, attempts: it.desktop.Attempts, note: tasks.NoteRecalled, detail: by.reason}, true
		})
		for i := range w.changes {
			w.changes[i].By = by.by
		}
		claim := b.claim
		claim.Desktops = idsOf(group)
		for _, it := range s.apply(w, claim) {
			it.settled(0)
		}
	}
}

// keepReading keeps what a reading shows for the call and for the record.
func (it *item) keepReading(r policy.Look, at time.Time) {
	it.readAt, it.before, it.leavers = at, nil, nil
	if r.Exists {
		it.before = beforeOf(r, at)
		if len(it.desktop.Expected()) == 0 {
			it.desktop.Pinned = r.Pins()
		}
	}
}

// fresh reports whether every desktop of a group was read a moment ago, and whether one
// kind of call is right for all: to remove all users, or those who are named.
func fresh(group []*item) bool {
	return time.Since(oldestReading(group)) <= freshReading && !slices.ContainsFunc(group, func(it *item) bool {
		return (it.leavers == nil) != (group[0].leavers == nil)
	})
}

func oldestReading(group []*item) time.Time {
	return slices.MinFunc(group, func(a, b *item) int { return a.readAt.Compare(b.readAt) }).readAt
}

// claim claims a group for the batch, and returns the items that it got; the others are
// retried. It gets none if the project is paused or the process is ending.
func (s *sender) claim(b *batch, group []*item) (mine []*item) {
	claim := b.claim
	claim.Desktops = idsOf(group)
	got, err := persist(s.inFlight, s.log, func() (got []bool, err error) {
		got, _, err = s.record.Claim(s.inFlight, claim, claimLease)
		return got, err
	})
	if paused, ok := errors.AsType[*record.PausedError](err); ok {
		b.pause = recheckAfter(paused)
		s.giveBack(b, group, nil)
		return nil
	}
	if err != nil {
		return nil // the process is ending
	}
	b.claimed = true
	var busy []*item
	for i, it := range group {
		if got[i] {
			mine = append(mine, it)
		} else {
			busy = append(busy, it)
		}
	}
	for _, it := range s.write(b, busy, nil, requeued) {
		it.settled(jitter(busyDelay))
	}
	return mine
}

// seen returns which of the desktops that a reading does not list were shown by an earlier
// reading of the project.
func (s *sender) seen(items []*item, read map[string]*apiclient.Desktop) (map[string]bool, error) {
	missing := notIn(read, idsOf(items))
	if len(missing) == 0 {
		return nil, nil
	}
	return persist(s.inFlight, s.log, func() (map[string]bool, error) { return s.record.Seen(s.inFlight, s.project.Alias, missing) })
}

// onReadError acts on a reading that failed before a call. If the request itself was
// refused, it isolates the desktop that caused it, and returns the groups to read again.
// Nothing else spends an attempt. A 404 may concern the whole project: the desktop that it names
// fails only if others of its batch could be read.
func (s *sender) onReadError(b *batch, group []*item, f fault) (again [][]*item) {
	switch f.class {
	case tasks.ClassLocal, tasks.ClassPoison, tasks.ClassPermanent, tasks.ClassConflict:
		bad, rest := split(group, f.api.Culprits())
		switch {
		case len(bad) > 0:
			s.failUnread(b, bad, f)
			return [][]*item{rest}
		case len(group) > 1:
			return halves(group)
		}
		s.failUnread(b, group, f)
		return nil
	case tasks.ClassDenied:
		bad, rest := split(group, f.api.Culprits())
		switch {
		case len(bad) > 0 && len(rest) > 0 && s.readings.denied() < deniedAfter:
			b.groups = slices.Insert(b.groups, 0, rest) // before any that is alone: it shows whether others can be read
			return [][]*item{bad}
		case len(bad) == 1 && len(rest) == 0 && s.readings.goodSince(b.begun):
			s.failUnread(b, bad, f)
			return nil
		}
	}
	b.pause = max(b.pause, s.pauseForReading(f))
	group = s.write(b, group, nil, requeued)
	s.claims.release(b.claim, group)
	for _, it := range group {
		it.settled(s.backoff(it.desktop.Attempts + 1))
	}
	return nil
}

// failUnread fails desktops that the cloud, or the client, refuses to read.
func (s *sender) failUnread(b *batch, items []*item, f fault) {
	s.settle(b, items, nil, func(it *item) transition {
		return transition{to: tasks.StateFailed, attempts: it.desktop.Attempts, failure: &tasks.Failure{
			Code: f.api.Code, Message: "it could not be read, and nothing was sent: " + f.api.Message, Class: f.class,
			Status: f.api.Status, RequestID: f.api.RequestID, Attempts: it.desktop.Attempts, At: time.Now(),
		}}
	})
}

// split divides a group into the items with the given ids and the others.
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

func halves(group []*item) [][]*item {
	n := len(group) / 2
	return [][]*item{group[:n], group[n:]}
}

// beforeSending turns a reading before a call into a transition.
func (s *sender) beforeSending(it *item, r policy.Look) transition {
	d, row := it.desktop, policy.VerdictOf(r)
	t := transition{attempts: d.Attempts, note: recordNotes[row.Note], detail: r.Proof()}
	failure := &tasks.Failure{
		DesktopName: r.ComputerName, Code: row.Code, Message: r.Reason(row), Class: tasks.ClassHeld, CallID: d.CallID,
		Attempts: d.Attempts, At: time.Now(),
	}
	switch row.Before {
	case policy.Done:
		t.to = tasks.StateDetached
	case policy.Follow:
		t.to = tasks.StateAccepted
	case policy.Hold:
		if row.Code == tasks.CodeNotFound {
			failure.Message = fmt.Sprintf("there is no desktop %q in project %s (%s), and none was ever seen there",
				d.ID, s.project.Alias, s.project.where())
		}
		t.to, t.note, t.failure = tasks.StateHeld, tasks.NoteNone, failure
	default: // Later
		failure.Class = tasks.ClassConflict
		return s.afterFailure(it.job.op, d, tasks.ClassConflict, failure, d.Note)
	}
	return t
}
