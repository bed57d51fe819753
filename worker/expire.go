package worker

import (
	"fmt"
	"time"

	"github.com/detachd/detachd/tasks"
)

// expire fails what is left of a chunk whose deadline has passed. Desktops that
// another handler moves at the same time are left to it.
func (s *sender) expire(c tasks.Chunk) (after time.Duration, err error) {
	c, err = s.record.Chunk(s.ctx, c.Operation.ID, c.Number)
	if err != nil {
		return 0, err
	}
	if s.now().Before(c.Operation.Deadline) {
		return immediately, nil // a retry moved the deadline
	}
	if unknown := inState(c.Desktops, tasks.Sending); len(unknown) > 0 {
		// They may well be detached: the deadline is no reason not to look, and
		// looking goes on for as long as a proof may take.
		_, after, err := s.resolve(s.ctx, c.Operation, c.Number, unknown)
		if err == nil && after > 0 && s.now().Before(c.Operation.Deadline.Add(s.confirmWithin)) {
			return after, nil
		}
		if err != nil {
			return 0, err
		}
		if c, err = s.record.Chunk(s.ctx, c.Operation.ID, c.Number); err != nil {
			return 0, err
		}
	}
	left := append(inState(c.Desktops, tasks.Queued), inState(c.Desktops, tasks.Sending)...)
	if len(left) == 0 {
		return 0, nil
	}
	pause, err := s.record.ProjectPause(s.ctx, c.Operation.Project)
	if err != nil {
		return 0, err
	}
	last, err := s.record.LastFailures(s.ctx, c.Operation, left)
	if err != nil {
		return 0, err
	}
	change := tasks.Change{Operation: c.Operation, Chunk: c.Number, By: s.worker}
	for _, d := range left {
		change.Moves = append(change.Moves, tasks.Move{
			Desktop: d, To: tasks.Failed, Attempts: d.Attempts, CallID: d.CallID, Note: d.Note,
			Failure: s.expired(d, last[d.ID], pause),
		})
	}
	now := s.now()
	done, err := persist(s.ctx, s.log, func() ([]tasks.Applied, error) {
		return s.record.Apply(s.ctx, now, []tasks.Change{change})
	})
	if err != nil {
		return 0, err
	}
	tellMoves(s.observer, change, done[0])
	if done[0].Ended {
		s.ended(c.Operation.ID)
	}
	return 0, nil
}

// expired says why a desktop was not detached by its deadline: for its last
// refusal, or because it never got so far.
func (s *sender) expired(d tasks.Desktop, last *tasks.Failure, pause *tasks.Pause) *tasks.Failure {
	f := &tasks.Failure{Code: "DEADLINE", Class: string(Transient), CallID: d.CallID}
	switch {
	case d.State == tasks.Sending:
		f.Code, f.Class = "UNCONFIRMED", string(Ambiguous)
		f.Message = "the deadline passed and it is not known whether the last call took effect: look at the desktop in the console"
	case last != nil:
		*f = *last
		f.Message = "the deadline passed after: " + last.Message
	case pause != nil:
		f.Message = fmt.Sprintf("the deadline passed while the project was paused (%s: %s)", pause.Kind, pause.Reason)
	default:
		f.Message = "the deadline passed before the desktop could be sent"
	}
	f.Attempts, f.At = d.Attempts, s.now()
	return f
}

func inState(ds []tasks.Desktop, state tasks.State) []tasks.Desktop {
	var out []tasks.Desktop
	for _, d := range ds {
		if d.State == state {
			out = append(out, d)
		}
	}
	return out
}
