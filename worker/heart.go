package worker

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/tasks/record"
)

// Times of the heart. A worker that is killed is silent for deadAfter and is noticed within
// another beat: its chunks are in the queue again well within 15 s.
const (
	beatInterval = 2 * time.Second
	beatDeadline = time.Second
	deadAfter    = 7 * time.Second
)

// MostSkew is how far the clock of a worker may be from that of Redis: a worker beyond it takes no
// work. asynq and the record compare times that other workers wrote, by the clock of the machine: one
// that is ahead would retry at once, confirm nothing in time, and remove operations too early.
const MostSkew = time.Minute

// heart records that the worker is alive, whatever else the worker does or waits for, and compares
// its clock with that of Redis.
type heart struct {
	worker string
	record *record.Record
	log    zerolog.Logger
	// The constants of the same names; shorter in tests.
	beatInterval, deadAfter time.Duration
	clock                   record.Clock
	changed                 func() // called after a change of what mayWork reports

	mu          sync.Mutex
	first, last time.Time // of an unbroken series of beats
	skewed      bool
	complained  time.Time // of the skew
}

// run beats until ctx ends. A beat that fails is repeated soon.
func (h *heart) run(ctx context.Context) {
	for {
		next := h.beatInterval
		once, cancel := context.WithTimeout(ctx, beatDeadline)
		err := h.beat(once)
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				h.log.Warn().Err(err).Msg("the heartbeat could not be written; retrying")
			}
			next /= 4
		}
		if !wait(ctx, next) {
			return
		}
	}
}

// beat takes as long as Redis does: a worker that starts has no reason to give up early.
func (h *heart) beat(ctx context.Context) error {
	sent := time.Now()
	redis, err := h.record.Beat(ctx, h.worker)
	if err != nil {
		return err
	}
	now := time.Now()
	h.clock.Set(redis)
	h.compare(redis, sent, now)
	h.beaten(now)
	return nil
}

// compare finds out whether the clock is too far from the time of Redis, which was read between
// sent and now: a slow answer is not taken for one.
func (h *heart) compare(redis, sent, now time.Time) {
	ahead, behind := sent.Sub(redis), redis.Sub(now)
	skewed := max(ahead, behind) > MostSkew
	h.mu.Lock()
	was := h.skewed
	h.skewed = skewed
	complain := skewed && (!was || now.Sub(h.complained) >= complainAgain)
	if complain {
		h.complained = now
	}
	h.mu.Unlock()
	switch {
	case complain && ahead > 0:
		h.log.Error().Msgf(skewText, ahead.Round(time.Second), "ahead of", MostSkew)
	case complain:
		h.log.Error().Msgf(skewText, behind.Round(time.Second), "behind", MostSkew)
	case was && !skewed:
		h.log.Info().Msg("the clock of this machine agrees with that of Redis again: the worker takes work")
	}
	if was != skewed {
		h.changed()
	}
}

const (
	skewText = "the clock of this machine is %s %s that of Redis: the worker takes no work until they agree to %s; " +
		"synchronise both clocks with NTP"
	complainAgain = time.Minute
)

// mayWork reports whether the clock is right enough to take work.
func (h *heart) mayWork() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.skewed
}

// beaten notes a beat. After a gap a new series begins.
func (h *heart) beaten(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.late(now) {
		h.first = now
	}
	h.last = now
}

// late reports whether the last beat is too long ago.
func (h *heart) late(now time.Time) bool { return now.Sub(h.last) > h.deadAfter/2 }

// mayJudge reports whether the silence of other workers means anything. If this worker was
// silent itself, because Redis was away or the process was frozen or has just started,
// the others get the time to beat first.
func (h *heart) mayJudge(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.late(now) && now.Sub(h.first) >= h.deadAfter
}
