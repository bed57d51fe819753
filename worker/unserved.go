package worker

import (
	"context"
	"errors"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

const (
	unservedLease = time.Minute // of a look at what nobody proves
	unservedLooks = 100         // chunks that are looked at in a project, in one pass
)

// unserved sees to it that time runs out also for the rows of projects that no living
// worker serves, which takes no cloud: what is past its deadline fails, and so does
// what nobody has proven for as long as is borne where readings fail.
type unserved struct {
	overdue
	confirmWithin time.Duration
}

// pass looks at the chunks that a sweep has found, and at what is unproven in all
// projects that were ever served. Once the budget is used up it begins no further chunk.
func (u *unserved) pass(ctx context.Context, chunks []record.OpenChunk, budget time.Duration) error {
	begun := time.Now()
	over := func() bool { return time.Since(begun) >= budget }
	serving, err := u.record.Serving(ctx)
	if err != nil {
		return err
	}
	for _, c := range chunks {
		if serving.Of(c.Operation.Project) > 0 || u.now().Before(c.Operation.Deadline) {
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
		due, err := u.record.TakeDue(ctx, project, u.now(), unservedLease, unservedLooks)
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

// expire fails what is left of a chunk whose deadline has passed. Whether a call took
// effect may be read as long as a proof may take, should a worker come back.
func (u *unserved) expire(ctx context.Context, open record.OpenChunk) error {
	c, err := u.record.Chunk(ctx, open.Operation.ID, open.Number)
	if errors.Is(err, tasks.ErrNotFound) {
		return nil // removed meanwhile
	}
	if err != nil || u.now().Before(c.Operation.Deadline) {
		return err
	}
	left := inState(c.Desktops, tasks.StateQueued)
	if !u.now().Before(c.Operation.Deadline.Add(u.confirmWithin)) {
		left = append(left, inState(c.Desktops, tasks.StateSending)...)
	}
	return u.fail(ctx, c, left, "the deadline passed, and no worker serves the project")
}

// giveUp fails what the cloud has accepted and nobody has proven.
func (u *unserved) giveUp(ctx context.Context, f record.Followed) error {
	var left []record.Row
	var next time.Time // never again
	for _, d := range inState(f.Desktops, tasks.StateAccepted) {
		switch until := d.UpdatedAt.Add(2 * u.confirmWithin); {
		case !u.now().Before(until):
			left = append(left, d)
		case next.IsZero() || until.Before(next):
			next = until
		}
	}
	if soon := u.now().Add(unservedLease); next.After(soon) {
		next = soon // a worker may be back by then
	}
	return u.fail(ctx, f.Chunk, left, "no worker serves the project that could read it", record.Looks{{Followed: f, Next: next}})
}
