package worker

import (
	"errors"
	"time"

	"github.com/detachd/detachd/tasks"
)

// oldCheck is how old a reading may be when the call leaves that it is for.
const oldCheck = 5 * time.Second

// check claims and reads a group before it is sent, and settles what the reading
// decides already: what is detached, on its way, busy, or must not be touched.
// It returns those to be sent, all by naming their leavers or none.
func (s *sender) check(b *batch, group []*item) (send []*item, ok bool) {
	claim := b.claim
	claim.Desktops = idsOf(group)
	got, err := persist(s.ctx, s.log, func() ([]bool, error) { return s.record.Claim(s.ctx, claim, s.lease()) })
	if paused := (*tasks.PausedError)(nil); errors.As(err, &paused) {
		b.pause = pauseOf(paused)
		s.giveBack(b, group, nil)
		return nil, false
	}
	if err != nil {
		return nil, false // the process is ending
	}
	b.claimed = true
	var mine []*item
	for i, it := range group {
		if got[i] {
			mine = append(mine, it)
		} else {
			it.settled(jitter(busyDelay))
		}
	}
	if len(mine) == 0 {
		return nil, true
	}
	read, err := s.read(s.ctx, idsOf(mine))
	if err != nil {
		s.release(b.claim, mine)
		for _, it := range mine {
			it.settled(s.backoff(it.desktop.Attempts + 1))
		}
		return nil, true
	}
	b.readAt = time.Now()
	looks := make(map[*item]look, len(mine))
	var decided, plain, byName []*item
	for _, it := range mine {
		d, exists := read[it.desktop.ID]
		l := look{Desktop: d, exists: exists, expect: it.desktop.Expect, allowShared: it.job.op.AllowShared}
		looks[it] = l
		it.before, it.leavers = nil, nil
		if exists {
			it.before = l.before(s.now())
		}
		switch {
		case verdictOf(l).Before != Send || it.desktop.Note == tasks.Refused:
			decided = append(decided, it)
		case l.justThem():
			it.leavers = l.leavers()
			byName = append(byName, it)
		default:
			plain = append(plain, it)
		}
	}
	if len(decided) > 0 {
		refusals, err := s.refusals(decided)
		if err != nil {
			return nil, false
		}
		s.settle(b, decided, nil, func(it *item) verdict { return s.beforeSending(it, looks[it], refusals[it]) })
	}
	if len(plain) > 0 && len(byName) > 0 {
		b.push(byName)
		return plain, true
	}
	return append(plain, byName...), true
}

// beforeSending turns a reading before a call into a verdict. refusal is the
// last refusal of a desktop that was refused for good.
func (s *sender) beforeSending(it *item, l look, refusal *tasks.Failure) verdict {
	d, row := it.desktop, verdictOf(l)
	v := verdict{attempts: d.Attempts, note: row.note, detail: l.proof()}
	switch row.Before {
	case Done:
		v.to = tasks.Detached
	case Follow:
		v.to = tasks.Accepted
	case Hold:
		v.to = tasks.Held
		v.failure = &tasks.Failure{
			DesktopName: l.ComputerName, Code: row.Code, Message: l.reason(row), Class: string(HeldBack), CallID: d.CallID,
			Attempts: d.Attempts, At: s.now(),
		}
	case Later:
		return s.afterFailure(it, Conflict, &tasks.Failure{
			DesktopName: l.ComputerName, Code: row.Code, Message: l.reason(row), Class: string(Conflict), CallID: d.CallID,
		}, d.Note)
	default: // refused for good, and still attached
		v.to, v.note, v.failure = tasks.Failed, tasks.NoNote, refusal
	}
	return v
}

// refusals reads the last refusals of those that were refused for good.
func (s *sender) refusals(items []*item) (map[*item]*tasks.Failure, error) {
	out := map[*item]*tasks.Failure{}
	byOp := map[string][]*item{}
	for _, it := range items {
		if it.desktop.Note == tasks.Refused {
			byOp[it.job.op.ID] = append(byOp[it.job.op.ID], it)
		}
	}
	for _, its := range byOp {
		ds := make([]tasks.Desktop, len(its))
		for i, it := range its {
			ds[i] = it.desktop
		}
		last, err := persist(s.ctx, s.log, func() (map[string]*tasks.Failure, error) {
			return s.record.LastFailures(s.ctx, its[0].job.op, ds)
		})
		if err != nil {
			return nil, err
		}
		for _, it := range its {
			f := last[it.desktop.ID]
			if f == nil {
				f = &tasks.Failure{Code: "UNKNOWN", Message: "the cloud refused it", Class: string(Permanent), Attempts: it.desktop.Attempts}
			}
			f.At = s.now()
			out[it] = f
		}
	}
	return out, nil
}
