package worker

import (
	"context"
	"fmt"
	"sync"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// beginner begins runs: while one reading of the record is under way, the runs that come are
// gathered for the next one. Alone a run waits for nothing.
type beginner struct {
	record   *record.Record
	worker   string
	handled  *handled
	inFlight context.Context

	mu      sync.Mutex
	waiting []*beginning
	reading bool
}

// beginning is a run that begins.
type beginning struct {
	run   record.Run
	chunk record.Chunk
	err   error
	done  chan struct{}
}

// mostBegun limits how many chunks one reading has in its reply.
const mostBegun = 64

// begin reads the chunk of a run that is in hand, and lists the run for others to see. The error
// is ErrNotFound if the operation is gone.
func (b *beginner) begin(ctx context.Context, run record.Run) (record.Chunk, error) {
	x := &beginning{run: run, done: make(chan struct{})}
	b.mu.Lock()
	b.waiting = append(b.waiting, x)
	lead := !b.reading
	b.reading = true
	b.mu.Unlock()
	if lead {
		b.readNext()
	}
	select {
	case <-x.done:
		return x.chunk, x.err
	case <-ctx.Done():
		return record.Chunk{}, ctx.Err()
	}
}

// readNext begins all that wait, and those that come meanwhile in another goroutine.
func (b *beginner) readNext() {
	b.mu.Lock()
	some := b.waiting[:min(len(b.waiting), mostBegun)]
	b.waiting = b.waiting[len(some):]
	b.reading = len(some) > 0
	b.mu.Unlock()
	if len(some) == 0 {
		return
	}
	b.read(some)
	go b.readNext()
}

func (b *beginner) read(some []*beginning) {
	runs := make([]record.Run, len(some))
	for i, x := range some {
		runs[i] = x.run
	}
	chunks, err := b.record.Begin(b.inFlight, b.worker, runs, b.handled.popDone())
	if err != nil && len(some) > 1 { // the record of one of them may be unreadable
		for i := range some {
			b.read(some[i : i+1])
		}
		return
	}
	for i, x := range some {
		switch {
		case err != nil:
			x.err = err
		case chunks[i].Operation.ID == "":
			x.err = fmt.Errorf("operation %s, chunk %d: %w", x.run.Operation, x.run.Chunk, tasks.ErrNotFound)
		default:
			x.chunk = chunks[i]
		}
		close(x.done)
	}
}
