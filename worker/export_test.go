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

// SetIdle sets how long a worker that was not started yet serves a project after its last work.
func SetIdle(w *Worker, after time.Duration) {
	for _, r := range w.runners {
		r.idleAfter = after
	}
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

// SetLeft sets how long a worker that was not started yet leaves work to those that come before it.
func SetLeft(w *Worker, left, late time.Duration) {
	for _, r := range w.runners {
		r.leftAfter, r.lateAfter = left, late
	}
}

// Rank is the rank of a worker in its first project.
func Rank(w *Worker) int { return w.runners[0].rank() }

// LeftToOthers reports whether a worker has heard a ring for its first project, and does not serve it.
func LeftToOthers(w *Worker) bool {
	r := w.runners[0]
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.on == nil && !r.wanted && !r.lookNext.IsZero()
}

// HasLooked reports whether it has looked since a ring, and looks again when that lasts no more.
func HasLooked(w *Worker) bool {
	r := w.runners[0]
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.on == nil && time.Until(r.lookAt) > time.Second
}

// Precedes reports whether worker a comes before worker b in a project.
func Precedes(project, a, b string) bool { return precedes(project, a, b) }

// Waiting is how many desktops wait in the lanes of a worker for a call.
func Waiting(w *Worker) (n int) {
	for _, senders := range w.brakes.senders {
		for _, s := range senders {
			n += s.lanes.count()
		}
	}
	return n
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
