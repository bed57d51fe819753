package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// expire fails what is left of a chunk whose deadline has passed. Desktops that
// another handler moves at the same time are left to it.
func (s *sender) expire(c record.Chunk) (after time.Duration, err error) {
	c, err = s.record.Chunk(s.ctx, c.Operation.ID, c.Number)
	if err != nil {
		return 0, err
	}
	if s.now().Before(c.Operation.Deadline) {
		return immediately, nil // a retry moved the deadline
	}
	if unknown := inState(c.Desktops, tasks.StateSending); len(unknown) > 0 {
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
	left := append(inState(c.Desktops, tasks.StateQueued), inState(c.Desktops, tasks.StateSending)...)
	return 0, s.overdue().fail(s.ctx, c, left, "the deadline passed before the desktop could be sent")
}

func (s *sender) overdue() overdue {
	return overdue{record: s.record, worker: s.worker, log: s.log, now: s.now, observer: s.observer, ended: s.ended}
}

// overdue fails rows for which the time is up.
type overdue struct {
	record   *record.Record
	worker   string
	log      zerolog.Logger
	now      func() time.Time
	observer Observer
	ended    func(op string)
}

// fail fails rows of a chunk as they were read; why is what is said of those that
// never got so far as to be refused.
func (o overdue) fail(ctx context.Context, c record.Chunk, left []record.Row, why string, more ...record.Extra) error {
	if len(left) == 0 {
		if len(more) == 0 {
			return nil
		}
		_, err := o.record.Apply(ctx, o.now(), nil, more...)
		return err
	}
	pause, err := o.record.ProjectPause(ctx, c.Operation.Project)
	if err != nil {
		return err
	}
	last, err := o.record.LastFailures(ctx, c.Operation, left)
	if err != nil {
		return err
	}
	change := record.Change{Operation: c.Operation, Chunk: c.Number, By: o.worker}
	for _, d := range left {
		change.Moves = append(change.Moves, record.Move{
			Desktop: d, To: tasks.StateFailed, Attempts: d.Attempts, CallID: d.CallID, Note: d.Note,
			Failure: o.failure(d, last[d.ID], pause, why),
		})
	}
	now := o.now()
	done, err := persist(ctx, o.log, func() ([]record.Applied, error) {
		return o.record.Apply(ctx, now, []record.Change{change}, more...)
	})
	if err != nil {
		return err
	}
	tellMoves(o.observer, change, done[0])
	if done[0].Ended {
		o.ended(c.Operation.ID)
	}
	return nil
}

// failure says why a desktop was not detached by its deadline: for its last
// refusal, or because it never got so far.
func (o overdue) failure(d record.Row, last *tasks.Failure, pause *tasks.Pause, why string) *tasks.Failure {
	f := &tasks.Failure{Code: "DEADLINE", Class: tasks.ClassTransient, CallID: d.CallID}
	switch {
	case d.State == tasks.StateAccepted:
		f.Code, f.Class = "UNCONFIRMED", tasks.ClassAmbiguous
		f.Message = "the cloud accepted it, and " + why + ": look at the desktop in the console, then retry"
	case d.State == tasks.StateSending:
		f.Code, f.Class = "UNCONFIRMED", tasks.ClassAmbiguous
		f.Message = "the deadline passed and it is not known whether the last call took effect: look at the desktop in the console"
	case last != nil:
		*f = *last
		f.Message = "the deadline passed after: " + last.Message
	case pause != nil:
		f.Message = fmt.Sprintf("the deadline passed while the project was paused (%s: %s)", pause.Kind, pause.Reason)
	default:
		f.Message = why
	}
	f.Attempts, f.At = d.Attempts, o.now()
	return f
}

func inState(ds []record.Row, state tasks.State) []record.Row {
	var out []record.Row
	for _, d := range ds {
		if d.State == state {
			out = append(out, d)
		}
	}
	return out
}
