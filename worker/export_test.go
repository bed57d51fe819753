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

// Drowse makes a worker that was not started yet end the servers of a project as soon as it has
// nothing to do, and its sweep pass over what it would find.
func Drowse(w *Worker) {
	for _, r := range w.runners {
		r.idleAfter, r.dueSoon = time.Millisecond, 0
	}
	w.reconciler.minAge = time.Hour
}

// Asleep reports whether a worker serves none of its projects.
func Asleep(w *Worker) bool {
	for _, r := range w.runners {
		r.mu.Lock()
		on := r.on != nil
		r.mu.Unlock()
		if on {
			return false
		}
	}
	return true
}

// MakesNoCalls reports whether a worker that is being stopped makes no new calls any more.
func MakesNoCalls(w *Worker) bool {
	for _, senders := range w.brakes.senders {
		for _, s := range senders {
			s.lanes.mu.Lock()
			closed := s.lanes.closed
			s.lanes.mu.Unlock()
			if !closed {
				return false
			}
		}
	}
	return true
}
