package worker

import (
	"context"
	"errors"
	"time"

	"github.com/rs/xid"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/tasks/record"
)

const (
	// claimLease is the lease of desktops that are not in a call yet: if the worker
	// dies, others continue soon. A reading that takes longer does no harm, because
	// begin finds out whether another has claimed the desktops since.
	claimLease = 10 * time.Second
	// busyDelay is the delay before another try of a desktop that another call has claimed.
	busyDelay = time.Second
)

// claims claims desktops of one project, so that only one call at a time names a desktop.
type claims struct {
	record          *record.Record
	log             zerolog.Logger
	project, worker string
	inFlight        context.Context // see shared
}

// newClaim returns a claim with a holder of its own. Nothing is claimed yet.
func (c *claims) newClaim(ids ...string) record.Claim {
	return record.Claim{Project: c.project, Holder: c.worker + "/" + xid.New().String(), Desktops: ids}
}

// claimed is a claim as Redis granted it.
type claimed struct {
	record.Claim
	mine []bool        // per desktop: false if another has claimed it
	free time.Duration // until the last lease of those others ends
}

// withClaim claims ids, runs f, and releases the claim. f is not run while the project is
// paused. after > 0 asks for another run.
func (c *claims) withClaim(ctx context.Context, ids []string, f func(claimed) (time.Duration, error)) (after time.Duration, err error) {
	got := claimed{Claim: c.newClaim(ids...)}
	got.mine, got.free, err = c.record.Claim(ctx, got.Claim, claimLease)
	if paused, ok := errors.AsType[*record.PausedError](err); ok {
		return retryAfterPause(paused), nil
	}
	if err != nil {
		return 0, err
	}
	after, err = f(got)
	return after, errors.Join(err, c.record.Release(c.inFlight, got.Claim))
}

// release releases items of a claim before its lease ends.
func (c *claims) release(claim record.Claim, items []*item) {
	claim.Desktops = idsOf(items)
	if err := c.record.Release(c.inFlight, claim); err != nil {
		c.log.Warn().Err(err).Msg("claims were not released; their lease will end")
	}
}
