package worker

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/spans"
)

// job is the queued desktops of one handler's chunk while they are in a lane. It is over
// when each of them has been answered exactly once.
type job struct {
	op    record.Operation
	chunk int
	size  int           // desktops
	done  chan struct{} // closed when left is 0
	span  *spans.Span   // of the handler

	withdrawn bool // the handler's time is over; see lanes.withdraw

	mu    sync.Mutex
	left  int
	delay time.Duration // the shortest until a desktop is retried; 0: none is
}

// item is one desktop of a job.
type item struct {
	job     *job
	desktop record.Row
	since   time.Time // when it arrived
	sending bool      // in a batch, not yet answered

	readAt  time.Time            // when check last read it
	before  *tasks.Before        // what check read, until it is in the record
	leavers []apiclient.User     // users to remove, by name; nil: all
	back    apiclient.Attachment // of an undo: the users to give it to
	unsent  recorded             // as it was before begin
}

// recorded is a desktop and the reading to be recorded with it.
type recorded struct {
	desktop record.Row
	before  *tasks.Before
}

// answer ends an item. retryAfter 0: there is nothing left to do for it.
func (it *item) answer(retryAfter time.Duration) {
	j := it.job
	j.mu.Lock()
	defer j.mu.Unlock()
	j.delay = sooner(j.delay, retryAfter)
	if j.left--; j.left == 0 {
		close(j.done)
	}
}

// settled answers an item of a batch, unless that was done before.
func (it *item) settled(retryAfter time.Duration) {
	if it.sending {
		it.sending = false
		it.answer(retryAfter)
	}
}

func newJob(op record.Operation, chunk int, desktops []record.Row, now time.Time) (*job, []*item) {
	j := &job{op: op, chunk: chunk, size: len(desktops), done: make(chan struct{}), left: len(desktops)}
	items, all := make([]*item, len(desktops)), make([]item, len(desktops))
	for i, d := range desktops {
		all[i] = item{job: j, desktop: d, since: now}
		items[i] = &all[i]
	}
	return j, items
}

// laneKey is what the desktops of a call must share. A suspect shares calls with suspects
// only, so that it does not spoil the next call for others. The more often it failed, the
// smaller the calls.
type laneKey struct {
	shutoff bool
	undo    bool
	level   int // 0: not suspect
}

// limit is how many desktops a call of this lane may have.
func (k laneKey) limit() int {
	most := apiclient.MaxDesktopsPerCall
	if k.undo {
		most = apiclient.MaxAttachPerCall
	}
	return max(1, most>>k.level)
}

func laneOf(it *item) laneKey {
	k := laneKey{shutoff: it.job.op.ShutoffAfterDetach, undo: it.job.op.UndoOf != ""}
	switch it.desktop.Note {
	case tasks.NoteSuspect:
		k.level = min(max(1, it.desktop.Attempts), 7)
	case tasks.NoteDenied:
		k.level = 7
	}
	return k
}

// lanes gathers waiting desktops into batches. A free call slot gets all that wait, up to
// 100 (group commit).
type lanes struct {
	mu      sync.Mutex
	waiting map[laneKey][]*item // in order of arrival
	ready   chan struct{}       // holds one token while something may be waiting
	full    func(laneKey)       // told what was put; see untilFull
	closed  bool

	arriving atomic.Int32 // handlers that are reading their chunk, and will put it here
}

func newLanes() *lanes {
	return &lanes{waiting: map[laneKey][]*item{}, ready: make(chan struct{}, 1), full: func(laneKey) {}}
}

// put adds items at the end; after close it answers them at once.
func (l *lanes) put(items []*item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, it := range l.accept(items) {
		k := laneOf(it)
		l.waiting[k] = append(l.waiting[k], it)
		l.full(k)
	}
	l.signal()
}

// putBack returns items that could not be sent to the front.
func (l *lanes) putBack(items []*item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if items = l.accept(items); len(items) == 0 {
		return
	}
	k := laneOf(items[0])
	l.waiting[k] = append(items[:len(items):len(items)], l.waiting[k]...)
	l.full(k)
	l.signal()
}

// accept returns the items that may wait. It answers those whose job was withdrawn, and all after close.
func (l *lanes) accept(items []*item) []*item {
	return slices.DeleteFunc(items, func(it *item) bool {
		refused := l.closed || it.job.withdrawn
		if refused {
			it.answer(immediately)
		}
		return refused
	})
}

func (l *lanes) signal() {
	offer(l.ready, struct{}{})
}

// untilFull returns a context that ends when a lane has a full batch, or an item has waited for
// patience.
func (l *lanes) untilFull(ctx context.Context, patience time.Duration) (context.Context, context.CancelFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	since := time.Now()
	for _, q := range l.waiting {
		if q[0].since.Before(since) {
			since = q[0].since
		}
	}
	ctx, end := context.WithDeadline(ctx, since.Add(patience))
	l.full = func(k laneKey) {
		if q := l.waiting[k]; len(q) >= k.limit() || time.Since(q[0].since) >= patience {
			end()
		}
	}
	for k := range l.waiting {
		l.full(k)
	}
	return ctx, end
}

// pop returns the next batch, from the lane whose first item has waited longest: at most the
// lane's limit, and no desktop twice. It is empty if nothing waits.
func (l *lanes) pop() []*item {
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
	var twice []*item // a desktop of two operations: the second waits for the next call
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

// count returns how many items wait.
func (l *lanes) count() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, q := range l.waiting {
		n += len(q)
	}
	return n
}

// withdraw removes the waiting items of a job and answers them, also those that are put back later.
// Items in a call are answered by the call.
func (l *lanes) withdraw(j *job) {
	l.mu.Lock()
	j.withdrawn = true
	l.mu.Unlock()
	l.remove(func(it *item) bool { return it.job == j })
}

// close answers all items that wait, and those that are put later, so that their tasks
// return to the queue at once.
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

// immediately is the delay of a retry that need not wait; 0 would be none.
const immediately = time.Millisecond

// dispatcher turns what waits in lanes into batches as call slots become free. A project has
// two, for bulk and for urgent work, so that neither waits for the slots of the other.
type dispatcher struct {
	lanes *lanes
	// batches has the capacity of batches at a time. They are more than the call slots,
	// because the outcomes of some are written while others are in a call.
	batches chan struct{}
	// admit waits for permission to make a call, and unadmit gives it back unused.
	admit   func(ctx context.Context) error
	unadmit func()
	// send makes the call of a batch that was admitted, and answers its items. It makes
	// no further call after newCalls has ended. pause is how long the project stays
	// paused at least; 0: it is not paused.
	send func(newCalls context.Context, batch []*item) (pause time.Duration)
	// linger is how long a batch may wait for handlers that are arriving, while other
	// calls are in flight. An idle dispatcher never waits.
	linger func() time.Duration
	// paused checks how long the project stays paused at least; 0: it is not paused.
	paused func(ctx context.Context) time.Duration
}

// run dispatches until newCalls ends. It then closes the lanes, and returns when the calls
// in flight have ended too.
func (d *dispatcher) run(newCalls context.Context) {
	var calls sync.WaitGroup
	defer calls.Wait()
	defer d.lanes.close()
	pauses := make(chan time.Duration, 1) // one that a call met
	for {
		select {
		case <-newCalls.Done():
			return
		case <-d.lanes.ready:
		}
		select {
		case pause := <-pauses:
			for ; pause > 0; pause = d.paused(newCalls) {
				if !wait(newCalls, pause) {
					return
				}
			}
		default:
		}
		select {
		case <-newCalls.Done():
			return
		case d.batches <- struct{}{}:
		}
		if d.admit(newCalls) != nil {
			return
		}
		if len(d.batches) > 1 {
			d.gather(newCalls)
		}
		batch := d.lanes.pop()
		if len(batch) == 0 {
			d.unadmit()
			<-d.batches
			continue
		}
		calls.Go(func() {
			defer func() { <-d.batches }()
			if pause := d.send(newCalls, batch); pause > 0 {
				offer(pauses, pause)
			}
		})
	}
}

// gather lets a batch fill while desktops arrive.
func (d *dispatcher) gather(ctx context.Context) {
	end, waiting := time.Now().Add(d.linger()), d.lanes.count()
	for waiting < apiclient.MaxDesktopsPerCall && time.Now().Before(end) {
		quiet := d.lanes.arriving.Load() == 0
		if !wait(ctx, time.Millisecond) {
			return
		}
		was := waiting
		if waiting = d.lanes.count(); quiet && waiting == was {
			return
		}
	}
}

// offer sends v unless that would block.
func offer[T any](c chan<- T, v T) {
	select {
	case c <- v:
	default:
	}
}

// wait waits for d; false if ctx ended first.
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
