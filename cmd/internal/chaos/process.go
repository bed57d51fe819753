package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"github.com/detachd/detachd/cmd/internal/drill"
)

// process is one worker. What changes is under the stage's lock.
type process struct {
	id    string
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has

	started, died time.Time // died: zero while it runs
	killed        bool      // by us, or about to be
	excused       bool      // it was starting while Redis was away, which may end it
	frozen        []period
}

// period is a time from one moment to another; to is zero while it goes on.
type period struct{ from, to time.Time }

func (p period) overlaps(o period) bool {
	return (o.to.IsZero() || p.from.Before(o.to)) && (p.to.IsZero() || o.from.Before(p.to))
}

// lived says that the process could work during all of a time.
func (w *process) lived(all period) bool {
	if !w.died.IsZero() && w.died.Before(all.to) {
		return false
	}
	return !slices.ContainsFunc(w.frozen, all.overlaps)
}

func (s *stage) startWorker() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &process{id: fmt.Sprintf("w-%d", len(s.processes)+1), ended: make(chan struct{}), started: time.Now(), excused: s.away}
	w.cmd = exec.Command(s.Binary, "worker", "--config", s.config)
	w.cmd.Env = append(os.Environ(), "CLOUD_TOKEN=made-up", "DETACHD_WORKER_ID="+w.id)
	w.cmd.Stderr = s.log
	if err := w.cmd.Start(); err != nil {
		return err
	}
	s.processes = append(s.processes, w)
	go func() {
		_ = w.cmd.Wait() // how it ended is in ProcessState
		s.mu.Lock()
		defer s.mu.Unlock()
		w.died = time.Now()
		close(w.ended)
		if !w.killed && !w.excused {
			s.fail(fmt.Errorf("worker %s ended by itself: %s; the log ends with: %s", w.id, w.cmd.ProcessState, s.lastOfLog()))
		}
	}()
	return nil
}

// some draws one of the processes that run and that the record knows, as soon as
// there is one.
func (s *stage) some(ctx context.Context, r *rand.Rand) (*process, error) {
	for {
		known := s.known(ctx)
		s.mu.Lock()
		var list []*process
		for _, w := range s.processes {
			if w.died.IsZero() && !w.killed && (known == nil || known[w.id]) {
				list = append(list, w)
			}
		}
		s.mu.Unlock()
		if len(list) > 0 {
			return list[r.IntN(len(list))], nil
		}
		if err := drill.Wait(ctx, 50*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// kill ends a process and returns when it is gone.
func (s *stage) kill(w *process) error {
	s.mu.Lock()
	w.killed = true
	err := w.cmd.Process.Kill()
	s.mu.Unlock()
	<-w.ended
	if errors.Is(err, os.ErrProcessDone) { // by itself, which fails the run unless it is excused
		return nil
	}
	return err
}

// freeze stops a process, as a paused machine would.
func (s *stage) freeze(w *process) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.frozen = append(w.frozen, period{from: time.Now()})
	return ignoreGone(w.cmd.Process.Signal(syscall.SIGSTOP))
}

// thaw lets it go on.
func (s *stage) thaw(w *process) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := ignoreGone(w.cmd.Process.Signal(syscall.SIGCONT))
	w.frozen[len(w.frozen)-1].to = time.Now()
	return err
}

// ignoreGone is err, unless the process was killed meanwhile.
func ignoreGone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// replaceEnded starts workers in place of those that ended because Redis was away
// when they started.
func (s *stage) replaceEnded() error {
	s.mu.Lock()
	running := 0
	for _, w := range s.processes {
		if w.died.IsZero() {
			running++
		}
	}
	s.mu.Unlock()
	for ; running < s.Workers; running++ {
		if err := s.startWorker(); err != nil {
			return err
		}
	}
	return nil
}
