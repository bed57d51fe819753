package worker

import "time"

// Hurry has a worker that was not started yet notice dead ones and lost tasks
// much sooner.
func Hurry(w *Worker) {
	w.heart.beatInterval, w.heart.deadAfter, w.reconciler.youngerThan = 100*time.Millisecond, 600*time.Millisecond, 200*time.Millisecond
}

// SetBeat sets how often a planner looks whether its plan is asked for.
func (p *Planner) SetBeat(d time.Duration) { p.beat = d }
