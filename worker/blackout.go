package worker

import (
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/cron"
	"github.com/detachd/detachd/tasks/record"
)

// Blackout is a time in which no detach call of a project leaves, except urgent ones.
type Blackout struct {
	Name   string
	Reason string
	Window cron.Window
}

// Blackouts are those of a project.
type Blackouts []Blackout

// longestChain is how many windows that follow each other are looked at for their end.
const longestChain = 100

// At returns the blackout at an instant, until the end of the last that follows it without a
// break; nil: there is none.
func (bs Blackouts) At(t time.Time) (out *tasks.Blackout) {
	for range longestChain {
		longer := false
		for _, b := range bs {
			until, in := b.Window.At(t)
			if !in {
				continue
			}
			if out == nil {
				out = &tasks.Blackout{Name: b.Name, Reason: b.Reason}
			}
			if until.After(out.Until) {
				out.Until, longer = until.UTC(), true
			}
		}
		if !longer {
			break
		}
		t = out.Until
	}
	return out
}

// blackout returns the blackout that an operation waits for: one that is, or begins before a
// call could leave. Urgent operations exist for such times; an undo is urgent.
func (s *shared) blackout(op record.Operation, now time.Time) *tasks.Blackout {
	if op.Urgent {
		return nil
	}
	if b := s.project.Blackouts.At(now); b != nil {
		return b
	}
	return s.project.Blackouts.At(now.Add(freshReading))
}

// untilOver returns when a task looks again whether a blackout is over.
func untilOver(b *tasks.Blackout, now time.Time) time.Duration {
	return min(b.Until.Sub(now), jitter(blackoutRecheck))
}

// blackoutRecheck is about how often a task looks whether a blackout is over: the next
// configuration may have another end.
const blackoutRecheck = 30 * time.Second

// waitForBlackout returns a group to its tasks if a blackout keeps it from being sent. No
// attempt is spent.
func (s *sender) waitForBlackout(b *batch, group []*item) bool {
	now := time.Now()
	blackout := s.blackout(group[0].job.op, now)
	if blackout == nil {
		return false
	}
	group = s.write(b, group, nil, requeued)
	if b.claimed {
		s.claims.release(b.claim, group)
	}
	for _, it := range group {
		it.settled(untilOver(blackout, now))
	}
	return true
}
