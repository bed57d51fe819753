package worker

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rs/xid"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

const (
	countInterval = 3 * time.Second
	// countsKept is how many minutes, of all projects together, are kept while Redis is
	// away. The oldest are dropped first. A minute takes 200 bytes.
	countsKept = 5000
)

// counter is an Observer that counts, and adds the counts to the record every few seconds.
// Counting costs an uncontended lock and no round trip.
type counter struct {
	record *record.Record
	worker string
	log    zerolog.Logger
	now    func() time.Time
	kept   int // countsKept

	mu     sync.Mutex
	counts map[minuteOf]*record.Tally // since the last flush

	// Counts that may not be in the record yet. They are sent under the same name until
	// Redis confirms them, and the record counts them once.
	sending []record.MinuteTally
	batch   string
}

// minuteOf is a minute of a project.
type minuteOf struct {
	project string
	minute  int64 // since 1970
}

func newCounter(rec *record.Record, worker string, log zerolog.Logger) *counter {
	return &counter{record: rec, worker: worker, log: log, now: time.Now, kept: countsKept, counts: map[minuteOf]*record.Tally{}}
}

// Call counts a call.
func (c *counter) Call(x SeenCall) {
	c.count(x.Project, func(t *record.Tally) {
		t.Calls++
		if x.Class == tasks.ClassThrottled {
			t.Throttled++
		}
	})
}

// Reading counts nothing.
func (c *counter) Reading(SeenReading) {}

// Move counts a desktop.
func (c *counter) Move(x SeenMove) {
	c.count(x.Project, func(t *record.Tally) {
		switch x.State {
		case tasks.StateDetached:
			t.Detached++
		case tasks.StateFailed:
			t.Failed++
		case tasks.StateHeld:
			t.Held++
		case tasks.StateQueued:
			t.Retried++
		}
		if x.Proven {
			t.AddRemoved(x.Took)
		}
	})
}

func (c *counter) count(project string, add func(*record.Tally)) {
	at := minuteOf{project, c.now().Unix() / 60}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.counts[at]
	if t == nil {
		t = &record.Tally{}
		c.counts[at] = t
		if len(c.counts) > c.kept {
			delete(c.counts, slices.MinFunc(slices.Collect(maps.Keys(c.counts)), func(a, b minuteOf) int { return int(a.minute - b.minute) }))
		}
	}
	add(t)
}

// pop returns what was counted since the last call.
func (c *counter) pop() []record.MinuteTally {
	c.mu.Lock()
	counts := c.counts
	c.counts = map[minuteOf]*record.Tally{}
	c.mu.Unlock()
	out := make([]record.MinuteTally, 0, len(counts))
	for at, t := range counts {
		out = append(out, record.MinuteTally{Project: at.project, Minute: time.Unix(at.minute*60, 0), Tally: *t})
	}
	return out
}

// flush adds the counts to the record, first those that could not be added before. It is for
// one goroutine at a time.
func (c *counter) flush(ctx context.Context) error {
	for {
		if len(c.sending) == 0 {
			if c.sending, c.batch = c.pop(), xid.New().String(); len(c.sending) == 0 {
				return nil
			}
		}
		if err := c.record.AddTallies(ctx, c.worker, c.batch, c.sending); err != nil {
			return err
		}
		c.sending = nil
	}
}

// run flushes until ctx ends.
func (c *counter) run(ctx context.Context) {
	failing := false
	for wait(ctx, countInterval) {
		err := c.flush(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			c.log.Warn().Err(err).Msg("counts could not be added to the record; they are kept, and the next flush retries")
		}
		failing = err != nil
	}
}
