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

// heart records that the worker is alive, whatever else the worker does or waits for.
type heart struct {
	worker string
	record *record.Record
	log    zerolog.Logger
	// The constants of the same names; shorter in tests.
	beatInterval, deadAfter time.Duration

	mu          sync.Mutex
	first, last time.Time // of an unbroken series of beats
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
	if err := h.record.Beat(ctx, h.worker); err != nil {
		return err
	}
	h.beaten(time.Now())
	return nil
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
