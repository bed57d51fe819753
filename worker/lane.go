package worker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// job is what one handler has in a lane: the queued desktops of its chunk. It
// is over when every one of them has been answered exactly once.
type job struct {
	op    record.Operation
	chunk int
	done  chan struct{} // closed when left is 0

	mu    sync.Mutex
	left  int
	delay time.Duration // the shortest after which a desktop wants another try; 0: none does
}

// item is one desktop of a job.
type item struct {
	job     *job
	desktop record.Row
	since   time.Time
	sending bool          // in a batch, not yet answered
	delay   time.Duration // what its verdict says

	readAt  time.Time        // when check last read it
	heldAs  string           // the code that check held it for
	before  *tasks.Before    // what check read, until it is in the record
	was     record.Row       // as it was before begin; see rewrite
	wasRead *tasks.Before    // the before of that time
	leavers []apiclient.User // who is to be taken off, by name; nil: everybody
}

// answer ends an item; retryAfter 0 means that nothing is left to do for it.
func (it *item) answer(retryAfter time.Duration) {
	j := it.job
	j.mu.Lock()
	defer j.mu.Unlock()
	if retryAfter > 0 && (j.delay == 0 || retryAfter < j.delay) {
		j.delay = retryAfter
	}
	if j.left--; j.left == 0 {
		close(j.done)
	}
}

// settled answers an item that a batch was sending, once.
func (it *item) settled(retryAfter time.Duration) {
	if it.sending {
		it.sending = false
		it.answer(retryAfter)
	}
}

func newJob(op record.Operation, chunk int, desktops []record.Row, now time.Time) (*job, []*item) {
	j := &job{op: op, chunk: chunk, done: make(chan struct{}), left: len(desktops)}
	items, all := make([]*item, len(desktops)), make([]item, len(desktops))
	for i, d := range desktops {
		all[i] = item{job: j, desktop: d, since: now}
		items[i] = &all[i]
	}
	return j, items
}

// laneKey is what desktops of a call must share. Suspects go with suspects
// only, so that one that spoiled a call does not spoil the next for others, and
// in smaller calls the more often they failed.
type laneKey struct {
	shutoff bool
	level   int // 0: not suspect
}

// limit is the most desktops of a call of this lane.
func (k laneKey) limit() int { return max(1, apiclient.MaxDesktopsPerCall>>k.level) }

func laneOf(it *item) laneKey {
	k := laneKey{shutoff: it.job.op.ShutoffAfterDetach}
	switch it.desktop.Note {
	case tasks.NoteSuspect:
		k.level = min(max(1, it.desktop.Attempts), 7)
	case tasks.NoteDenied:
		k.level = 7
	}
	return k
}

// lanes gathers waiting desktops into batches: whenever a call slot is free it
// takes what waits, up to 100 (group commit).
type lanes struct {
	mu      sync.Mutex
	waiting map[laneKey][]*item // in order of arrival
	ready   chan struct{}       // holds one token while something may be waiting
	closed  bool

	arriving atomic.Int32 // handlers that are reading their chunk and will put it here
}

func newLanes() *lanes {
	return &lanes{waiting: map[laneKey][]*item{}, ready: make(chan struct{}, 1)}
}

// put adds items at the end; after close it answers them at once.
func (l *lanes) put(items []*item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		for _, it := range items {
			it.answer(immediately)
		}
		return
	}
	for _, it := range items {
		k := laneOf(it)
		l.waiting[k] = append(l.waiting[k], it)
	}
	l.signal()
}

// putBack returns items that could not be sent to the front.
func (l *lanes) putBack(items []*item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		for _, it := range items {
			it.answer(immediately)
		}
		return
	}
	if len(items) > 0 {
		k := laneOf(items[0])
		l.waiting[k] = append(items[:len(items):len(items)], l.waiting[k]...)
		l.signal()
	}
}

func (l *lanes) signal() {
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

// take gives the next batch: from the lane whose head waits longest, at most
// its limit, no desktop id twice. It is empty when nothing waits.
func (l *lanes) take() []*item {
	l.mu.Lock()
	defer l.mu.Unlock()
	var key laneKey
	var oldest *item
	for k, q := range l.waiting {
		if oldest == nil || q[0].since.Before(oldest.since) {
			key, oldest = k, q[0]
		}
	}
	if oldest == nil {
		return nil
	}
	queue, limit := l.waiting[key], key.limit()
	batch := make([]*item, 0, min(limit, len(queue)))
	seen := make(map[string]bool, limit)
	var twice []*item // the same desktop in two operations: the second waits for the next call
	n := 0
	for ; n < len(queue) && len(batch) < limit; n++ {
		if id := queue[n].desktop.ID; seen[id] {
			twice = append(twice, queue[n])
		} else {
			seen[id] = true
			batch = append(batch, queue[n])
		}
	}
	if rest := queue[n:]; len(twice)+len(rest) == 0 {
		delete(l.waiting, key)
	} else if len(twice) == 0 {
		l.waiting[key] = rest
	} else {
		l.waiting[key] = append(twice, rest...)
	}
	if len(l.waiting) > 0 {
		l.signal()
	}
	return batch
}

// filling reports that less than a call waits and that more is about to.
func (l *lanes) filling() bool {
	if l.arriving.Load() == 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, q := range l.waiting {
		n += len(q)
	}
	return n < apiclient.MaxDesktopsPerCall
}

// withdraw takes out what a job still has waiting and answers it; what is in a
// call already is answered by the call.
func (l *lanes) withdraw(j *job) {
	l.remove(func(it *item) bool { return it.job == j })
}

// close answers everything that waits, and whatever is put later, so that its
// tasks go back to the queue at once.
func (l *lanes) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.remove(func(*item) bool { return true })
}

func (l *lanes) remove(which func(*item) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, q := range l.waiting {
		kept := make([]*item, 0, len(q))
		for _, it := range q {
			if which(it) {
				it.answer(immediately)
			} else {
				kept = append(kept, it)
			}
		}
		if len(kept) == 0 {
			delete(l.waiting, k)
		} else {
			l.waiting[k] = kept
		}
	}
}

// immediately asks for another try as soon as the queue can.
const immediately = time.Millisecond

// dispatcher turns what waits in the lanes of one project into batches as call
// slots come free. There are two per
// project, for bulk and for urgent work, so that neither waits for the other's
// slots.
type dispatcher struct {
	lanes   *lanes
	batches chan struct{} // capacity: batches at a time, a few more than there are call slots: their outcomes are written beside other calls
	// admit waits for the right to make a call, and unadmit gives it back unused.
	admit   func(ctx context.Context) error
	unadmit func()
	// send makes a call of a batch that was admitted and answers its items. A
	// positive pause means that the project's gate is closed, for so long at least.
	send func(batch []*item) (pause time.Duration)
	// linger is how long a batch may wait for handlers that are arriving while
	// other calls are in flight anyway; an idle dispatcher never waits.
	linger func() time.Duration
	// paused looks at the gate: for how long at least it stays closed, 0 when
	// it is open.
	paused func(ctx context.Context) time.Duration
}

// run dispatches until ctx ends, and returns when the calls in flight have
// ended too.
func (d *dispatcher) run(ctx context.Context) {
	var calls sync.WaitGroup
	defer calls.Wait()
	pauses := make(chan time.Duration, 1) // the latest that a call met
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.lanes.ready:
		}
		select {
		case pause := <-pauses:
			for ; pause > 0; pause = d.paused(ctx) {
				if !wait(ctx, pause) {
					return
				}
			}
		default:
		}
		select {
		case <-ctx.Done():
			return
		case d.batches <- struct{}{}:
		}
		if d.admit(ctx) != nil {
			return
		}
		if len(d.batches) > 1 {
			d.gather(ctx)
		}
		batch := d.lanes.take()
		if len(batch) == 0 {
			d.unadmit()
			<-d.batches
			continue
		}
		calls.Go(func() {
			defer func() { <-d.batches }()
			if pause := d.send(batch); pause > 0 {
				select {
				case pauses <- pause:
				default: // there is one to wait for already
				}
			}
		})
	}
}

// gather lets a batch fill while it is worth it.
func (d *dispatcher) gather(ctx context.Context) {
	for end := time.Now().Add(d.linger()); d.lanes.filling() && time.Now().Before(end); {
		if !wait(ctx, time.Millisecond) {
			return
		}
	}
}

// wait lets d pass; false if ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
