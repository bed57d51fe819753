package drill

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Process is one of detachd.
type Process struct {
	Name    string
	Started time.Time

	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended

	mu     sync.Mutex
	killed bool      // by us, or about to be
	died   time.Time // zero while it runs
	frozen []period
}

// start runs the process and calls byItself if it ends without Kill.
func (p *Process) start(byItself func()) error {
	p.ended = make(chan struct{})
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in ProcessState
		p.mu.Lock()
		p.died = time.Now()
		killed := p.killed
		p.mu.Unlock()
		if !killed {
			byItself()
		}
		close(p.ended)
	}()
	return nil
}

// Running is false from Kill or the end of the process on.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.killed && p.died.IsZero()
}

// Kill ends the process with SIGKILL, and returns when it has ended. It may have
// ended before.
func (p *Process) Kill() {
	p.mu.Lock()
	p.killed = true
	_ = p.cmd.Process.Kill()
	p.mu.Unlock()
	<-p.ended
}

// Freeze stops the process, as a paused machine would.
func (p *Process) Freeze() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = append(p.frozen, period{from: time.Now()})
	return p.signal(syscall.SIGSTOP)
}

// Thaw lets it go on.
func (p *Process) Thaw() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.signal(syscall.SIGCONT)
	p.frozen[len(p.frozen)-1].to = time.Now()
	return err
}

// signal is not an error if the process has ended.
func (p *Process) signal(s syscall.Signal) error {
	err := p.cmd.Process.Signal(s)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// period is a time from one moment to another; to is zero while it goes on.
type period struct{ from, to time.Time }

func (p period) overlaps(o period) bool {
	return (o.to.IsZero() || p.from.Before(o.to)) && (p.to.IsZero() || o.from.Before(p.to))
}

// lived says that the process could work during all of a period.
func (p *Process) lived(all period) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.died.IsZero() && p.died.Before(all.to) {
		return false
	}
	return !slices.ContainsFunc(p.frozen, all.overlaps)
}

// CalledDead looks in the log for workers that others called dead: how often that
// was, and which of them were alive. It is right to call a worker dead that was frozen
// for a part of its silence.
func (e *Env) CalledDead() (times int, living []string, err error) {
	text, err := os.ReadFile(e.log.Name())
	if err != nil {
		return 0, nil, err
	}
	all := e.Processes()
	for line := range bytes.Lines(text) {
		var x struct {
			Dead   string    `json:"dead_worker"`
			Silent float64   `json:"silent"` // ms
			Time   time.Time `json:"time"`   // to the second
		}
		if json.Unmarshal(line, &x) != nil || x.Dead == "" { // a kill may truncate a line
			continue
		}
		times++
		silence := period{from: x.Time.Add(-time.Duration(x.Silent * float64(time.Millisecond))), to: x.Time.Add(time.Second)}
		if i := slices.IndexFunc(all, func(p *Process) bool { return p.Name == x.Dead }); i < 0 || all[i].lived(silence) {
			living = append(living, fmt.Sprintf("%s at %s after %.1f s", x.Dead, x.Time.Format(time.TimeOnly), x.Silent/1000))
		}
	}
	return times, living, nil
}
