package worker

import (
	"context"
	"errors"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

const (
	unservedLease = time.Minute // of chunks with accepted desktops
	unservedPolls = 100         // such chunks of a project in one pass
)

// unserved lets time run out for the rows of projects that no living worker serves, which
// needs no cloud. Rows past their deadline fail, and so do accepted desktops that were not
// confirmed for as long as the follower waits when readings fail.
type unserved struct {
	overdue
	confirmWithin time.Duration
}

// pass looks at the chunks that a sweep has found, and at accepted desktops of all projects
// that were ever served. It begins no chunk after the budget is used up.
func (u *unserved) pass(ctx context.Context, chunks []record.OpenChunk, budget time.Duration) error {
	begun := time.Now()
	over := func() bool { return time.Since(begun) >= budget }
	serving, err := u.record.Serving(ctx)
	if err != nil {
		return err
	}
	for _, c := range chunks {
		if serving.Of(c.Operation.Project) > 0 || time.Now().Before(c.Operation.Deadline) {
			continue
		}
		if over() {
			return nil
		}
		if err := u.expire(ctx, c); err != nil {
			return err
		}
	}
	projects, err := u.record.Projects(ctx)
	if err != nil {
		return err
	}
	for _, project := range projects {
		if serving.Of(project) > 0 {
			continue
		}
		due, err := u.record.TakeDue(ctx, project, time.Now(), unservedLease, unservedPolls)
		if err != nil {
			return err
		}
		for _, f := range due {
			if over() {
				return nil // their leases end by themselves
			}
			if err := u.giveUp(ctx, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// expire fails what is left of a chunk whose deadline has passed. Desktops with an unknown
// outcome wait for as long as a confirmation may take, in case a worker comes back.
func (u *unserved) expire(ctx context.Context, open record.OpenChunk) error {
	c, err := u.record.Chunk(ctx, open.Operation.ID, open.Number)
	if errors.Is(err, tasks.ErrNotFound) {
		return nil // it was removed meanwhile
	}
	if err != nil || time.Now().Before(c.Operation.Deadline) {
		return err
	}
	left := inState(c.Desktops, tasks.StateQueued)
	if !time.Now().Before(c.Operation.Deadline.Add(u.confirmWithin)) {
		left = append(left, inState(c.Desktops, tasks.StateSending)...)
	}
	return u.fail(ctx, c, left, "the deadline passed, and no worker serves the project")
}

// giveUp fails desktops that the cloud has accepted and no worker has confirmed.
func (u *unserved) giveUp(ctx context.Context, f record.Followed) error {
	var left []record.Row
	var next time.Time // never again
	for _, d := range inState(f.Desktops, tasks.StateAccepted) {
		switch until := d.UpdatedAt.Add(2 * u.confirmWithin); {
		case !time.Now().Before(until):
			left = append(left, d)
		case next.IsZero() || until.Before(next):
			next = until
		}
	}
	if soon := time.Now().Add(unservedLease); next.After(soon) {
		next = soon // a worker may be back by then
	}
	return u.fail(ctx, f.Chunk, left, "no worker serves the project to read it", record.Looks{{Followed: f, Next: next}})
}
