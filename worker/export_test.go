package worker

import "time"

// ShortenIntervals makes a worker that was not started yet notice dead workers and lost
// tasks much sooner.
func ShortenIntervals(w *Worker) {
	w.heart.beatInterval, w.heart.deadAfter, w.reconciler.minAge = 100*time.Millisecond, 600*time.Millisecond, 200*time.Millisecond
	w.reconciler.ringAfter = 200 * time.Millisecond
}

// SetBeat sets how often a planner checks whether clients ask for its plan.
func (p *Planner) SetBeat(d time.Duration) { p.beat = d }
