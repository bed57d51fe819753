package worker

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/tasks/record"
)

// committer writes moves to the record, reports them to the observer, and passes on
// operations that have ended.
type committer struct {
	record   *record.Record
	log      zerolog.Logger
	observer Observer
	ended    func(op string)
	brakes   *brakes
}

// commit writes changes and extras until Redis accepts them or ctx ends.
func (c *committer) commit(ctx context.Context, changes []record.Change, extras ...record.Extra) ([]record.Applied, error) {
	now := time.Now() // once: a repeated write must be the same
	applied, err := persist(ctx, c.log, func() ([]record.Applied, error) {
		return c.record.Apply(ctx, now, changes, extras...)
	})
	if err != nil {
		return nil, err
	}
	c.report(changes, applied)
	return applied, nil
}

// report reports changes that were written.
func (c *committer) report(changes []record.Change, applied []record.Applied) {
	c.brakes.note(changes, applied)
	for i, a := range applied {
		reportMoves(c.observer, changes[i], a)
		if a.Ended {
			c.ended(changes[i].Operation.ID)
		}
	}
}

// persist repeats a write until Redis accepts it or ctx ends.
func persist[T any](ctx context.Context, log zerolog.Logger, write func() (T, error)) (T, error) {
	for attempt := 0; ; attempt++ {
		v, err := write()
		if _, paused := errors.AsType[*record.PausedError](err); paused || err == nil || errors.Is(err, record.ErrIllegalMove) {
			return v, err
		}
		if attempt == 0 {
			log.Warn().Err(err).Msg("the record cannot be written; retrying until it can")
		}
		if !wait(ctx, backoff(50*time.Millisecond, 2*time.Second, attempt)) {
			return v, err
		}
	}
}
