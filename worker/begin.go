package worker

import (
	"context"
	"fmt"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/gather"
	"github.com/detachd/detachd/tasks/record"
)

// beginner begins runs: those that come while one reading of the record is under way share the
// next one.
type beginner struct {
	record   *record.Record
	worker   string
	handled  *handled
	inFlight context.Context
	runs     gather.Group[beginning]
}

// beginning is a run that begins.
type beginning struct {
	run   record.Run
	chunk record.Chunk
	err   error
}

// mostBegun limits how many chunks one reading has in its reply.
const mostBegun = 64

func newBeginner(rec *record.Record, worker string, handled *handled, inFlight context.Context) *beginner {
	b := &beginner{record: rec, worker: worker, handled: handled, inFlight: inFlight}
	b.runs.Most = mostBegun
	b.runs.Together = func(_ context.Context, some []*beginning) error {
		b.read(some)
		return nil
	}
	return b
}

// begin reads the chunk of a run that is in hand, and lists the run for others to see. The error
// is ErrNotFound if the operation is gone.
func (b *beginner) begin(ctx context.Context, run record.Run) (record.Chunk, error) {
	x := &beginning{run: run}
	if err := b.runs.Do(ctx, x); err != nil {
		return record.Chunk{}, err
	}
	return x.chunk, x.err
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
	}
}
