package worker

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/tasks/record"
)

// Times of the heart. A worker that is killed is silent for deadAfter, is noticed
// within another beat, and its chunks are in the queue again: well within 15 s.
const (
	beatInterval = 2 * time.Second
	beatDeadline = time.Second
	deadAfter    = 7 * time.Second
)

// heart says that the worker is alive, whatever else the worker is doing or waiting for.
type heart struct {
	worker string
	record *record.Record
	log    zerolog.Logger
	// The times of the constants of the same names; tests hurry.
	beatInterval, deadAfter time.Duration

	mu          sync.Mutex
	first, last time.Time // of the beats that came in time, one after the other
}

// run beats until ctx ends. A beat that fails is repeated soon.
func (h *heart) run(ctx context.Context) {
	for {
		next := h.beatInterval
		if err := h.beat(ctx); err != nil {
			if ctx.Err() == nil {
				h.log.Warn().Err(err).Msg("the heartbeat could not be written; trying again")
			}
			next /= 4
		}
		if !wait(ctx, next) {
			return
		}
	}
}

func (h *heart) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, beatDeadline)
	defer cancel()
	if err := h.record.Beat(ctx, h.worker); err != nil {
		return err
	}
	h.heard(time.Now())
	return nil
}

func (h *heart) heard(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.late(now) {
		h.first = now
	}
	h.last = now
}

// late says that the last beat is too long ago by now.
func (h *heart) late(now time.Time) bool { return now.Sub(h.last) > h.deadAfter/2 }

// mayJudge says whether the silence of other workers means anything. Whoever was not
// heard itself, as Redis was away, or as the process was frozen or has just started,
// has to give the others the time to be heard.
func (h *heart) mayJudge(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.late(now) && now.Sub(h.first) >= h.deadAfter
}
