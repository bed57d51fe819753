package worker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// expire fails what is left of a chunk whose deadline has passed. Desktops that another
// handler moves at the same time stay as that handler leaves them.
func (s *sender) expire(c record.Chunk) (after time.Duration, err error) {
	c, err = s.record.Chunk(s.inFlight, c.Operation.ID, c.Number)
	if err != nil {
		return 0, err
	}
	if s.clock.Now().Before(c.Operation.Deadline) {
		return immediately, nil // a retry moved the deadline
	}
	if unknown := inState(c.Desktops, tasks.StateSending); len(unknown) > 0 {
		// They may be detached: they are read in spite of the deadline, for as long as
		// a confirmation may take.
		_, after, err := s.resolve(s.inFlight, c.Operation, c.Number, unknown)
		if err != nil {
			return 0, err
		}
		if after > 0 && s.clock.Now().Before(c.Operation.Deadline.Add(s.cfg.ConfirmWithin)) {
			return after, nil
		}
		if c, err = s.record.Chunk(s.inFlight, c.Operation.ID, c.Number); err != nil {
			return 0, err
		}
	}
	left := append(inState(c.Desktops, tasks.StateQueued), inState(c.Desktops, tasks.StateSending)...)
	why := "the deadline passed before the desktop could be sent"
	if b := s.blackout(c.Operation, c.Operation.Deadline); b != nil {
		why = "the deadline passed in the " + b.Text() + ": submit it again, with a later deadline or urgent"
	}
	return 0, overdue{s.committer, s.cfg.ID}.fail(s.inFlight, c, left, why)
}

// overdue fails rows whose time is up.
type overdue struct {
	*committer
	worker string
}

// fail fails rows of a chunk as they were read. why is the message for those that the cloud
// has never refused.
func (o overdue) fail(ctx context.Context, c record.Chunk, left []record.Row, why string, more ...record.Extra) error {
	if len(left) == 0 {
		if len(more) == 0 {
			return nil
		}
		_, err := o.record.Apply(ctx, time.Now(), nil, more...)
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
			Failure: overdueFailure(d, last[d.ID], pause, why),
		})
	}
	_, err = o.commit(ctx, []record.Change{change}, more...)
	return err
}

// overdueFailure says why a desktop was not detached by its deadline: because of its last
// refusal, or because it was never refused.
func overdueFailure(d record.Row, last *tasks.Failure, pause *tasks.Pause, why string) *tasks.Failure {
	f := &tasks.Failure{Code: tasks.CodeDeadline, Class: tasks.ClassTransient, CallID: d.CallID}
	switch {
	case d.State == tasks.StateAccepted:
		f.Code, f.Class = tasks.CodeUnconfirmed, tasks.ClassAmbiguous
		f.Message = "the cloud accepted it, and " + why + ": look at the desktop in the console, then retry"
	case d.State == tasks.StateSending:
		f.Code, f.Class = tasks.CodeUnconfirmed, tasks.ClassAmbiguous
		f.Message = "the deadline passed and it is not known whether the last call took effect: look at the desktop in the console"
	case last != nil:
		*f = *last
		f.Message = "the deadline passed after: " + last.Message
	case pause != nil:
		f.Message = fmt.Sprintf("the deadline passed while the project was paused (%s: %s)", pause.Kind, pause.Reason)
	default:
		f.Message = why
	}
	f.Attempts, f.At = d.Attempts, time.Now()
	return f
}

// inState returns the rows in a state. Mostly that is all of a chunk, and then they are not copied.
func inState(ds []record.Row, state tasks.State) []record.Row {
	n := 0
	for i := range ds {
		if ds[i].State == state {
			n++
		}
	}
	if n == len(ds) {
		return slices.Clip(ds)
	}
	out := make([]record.Row, 0, n)
	for i := range ds {
		if ds[i].State == state {
			out = append(out, ds[i])
		}
	}
	return out
}
