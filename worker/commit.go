package worker

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/tasks"
)

// committer writes moves to the record, reports them to the observer, and passes on
// operations that have ended.
type committer struct {
	record   *tasks.Record
	log      zerolog.Logger
	observer Observer
	ended    func(op string)
}

// commit writes changes and extras until Redis accepts them or ctx ends.
func (c *committer) commit(ctx context.Context, changes []tasks.Change, extras ...tasks.Extra) ([]tasks.Applied, error) {
	now := time.Now() // once: a repeated write must be the same
	applied, err := persist(ctx, c.log, func() ([]tasks.Applied, error) {
		return c.record.Apply(ctx, now, changes, extras...)
	})
	if err != nil {
		return nil, err
	}
	c.report(changes, applied)
	return applied, nil
}

// report reports changes that were written.
func (c *committer) report(changes []tasks.Change, applied []tasks.Applied) {
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
		if _, paused := errors.AsType[*tasks.PausedError](err); paused || err == nil || errors.Is(err, tasks.ErrIllegalMove) {
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
