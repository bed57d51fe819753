package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/tasks/record"
)

// requestKind is a kind of requests that has a limit of its own.
type requestKind int

const (
	callRequest requestKind = iota
	readRequest
	requestKinds
)

func (k requestKind) String() string { return [...]string{"calls", "reads"}[k] }

// priority orders the waiting requests of all processes that share a credential.
type priority int

const (
	urgentFirst priority = iota
	beforeCall
	toConfirm
	toHint
	notFull // of a call that would rather wait until it is full: only what no other request uses
	priorities
)

const (
	// defaultBurst is how many requests of a kind an idle credential may send at once. A
	// minute may have that many more than its limit.
	defaultBurst = 5
	// minBurst leaves each priority room of its own, see scriptLimit.
	minBurst = int(notFull)
)

// limiter shares the requests a minute of a credential among all processes that use it. A
// process asks Redis for all requests of a kind that wait, and not before some may be let
// through. So it runs at most one script per request, unless another process was quicker.
type limiter struct {
	kinds [requestKinds]*turns // nil: no limit
}

// newLimiter makes the limiter of a credential; key is record.Record.LimitKey. 0: unlimited.
// burst is how many requests may leave at once after a rest, at least minBurst.
func newLimiter(rdb redis.UniversalClient, key string, callsPerMinute, readsPerMinute, burst int, log zerolog.Logger) *limiter {
	l := &limiter{}
	for kind, perMinute := range map[requestKind]int{callRequest: callsPerMinute, readRequest: readsPerMinute} {
		if perMinute > 0 {
			l.kinds[kind] = &turns{
				rdb: rdb, key: fmt.Sprintf("%s:%s", key, kind), log: log,
				interval: intervalOf(perMinute), burst: max(burst, minBurst),
				wake: make(chan struct{}, 1), now: time.Now,
			}
		}
	}
	return l
}

// intervalOf is the time from one request to the next, in whole µs, rounded up.
func intervalOf(perMinute int) time.Duration {
	return time.Duration((time.Minute.Microseconds()+int64(perMinute)-1)/int64(perMinute)) * time.Microsecond
}

// limiterOf returns the limiter of a project's credential.
func limiterOf(rdb redis.UniversalClient, rec *record.Record, p Project, log zerolog.Logger) *limiter {
	p.setDefaults()
	return newLimiter(rdb, rec.LimitKey(p.Credential), p.CallsPerMinute, p.ReadsPerMinute, p.Burst, log)
}

// acquire waits until a request may be made; the error is that of ctx. While Redis is away
// nothing is let through.
func (l *limiter) acquire(ctx context.Context, kind requestKind, p priority) error {
	if err := ctx.Err(); err != nil || l.kinds[kind] == nil {
		return err
	}
	return l.kinds[kind].wait(ctx, p)
}

// between returns the time between requests of a kind; 0: there is no limit.
func (l *limiter) between(kind requestKind) time.Duration {
	if q := l.kinds[kind]; q != nil {
		return q.interval
	}
	return 0
}

// giveBack returns the permit of a request that was not made. It does not wait; a permit that
// does not reach Redis is lost.
func (l *limiter) giveBack(kind requestKind) {
	if q := l.kinds[kind]; q != nil {
		q.giveBack()
	}
}

// scriptLimit lets requests through, by GCRA: the key has the time at which, at one request
// an interval, all that were let through will have been made. Requests of the first
// priority may move it up to burst intervals ahead, those of each further priority a fifth
// less, at least one interval. So each priority finds room whatever those behind it use,
// and while it waits, in any process, those behind get nothing. The last priority may move it
// one interval ahead: it gets what would be lost, because nobody used it in time.
//
//	KEYS  limit
//	ARGV  interval in µs, burst, unused permits given back, waiting requests of each
//	      priority, and in tests the time in µs
//	Returns how many are let through, in the order of priorities, and how far ahead the
//	        key is in µs
var scriptLimit = redis.NewScript(`
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = tonumber(ARGV[9])
if not now then
  local t = redis.call('TIME')
  now = t[1]*1000000 + t[2]
end
local ahead = tonumber(redis.call('GET', KEYS[1]) or now) - now
if ahead > burst*interval then ahead = burst*interval end -- the clock went back, or the limit was made wider
ahead = math.max(0, ahead - tonumber(ARGV[3])*interval)
local step = math.max(1, math.floor(burst/5))
local through = 0
for p = 0, 4 do
  local wanted = tonumber(ARGV[4+p])
  local most = p < 4 and burst - p*step or 1
  local room = math.floor((most*interval - ahead) / interval)
  local n = math.max(0, math.min(wanted, room))
  ahead = ahead + n*interval
  through = through + n
end
if ahead > 0 then
  redis.call('SET', KEYS[1], string.format('%.0f', now + ahead), 'PX', math.ceil(ahead/1000) + 60000)
else
  redis.call('DEL', KEYS[1])
end
return {through, ahead}
`)

// turns is the line of requests of one kind that wait.
type turns struct {
	rdb      redis.UniversalClient
	key      string
	log      zerolog.Logger
	interval time.Duration
	burst    int
	now      func() time.Time
	fake     bool          // in tests: the script uses now too
	wake     chan struct{} // the line changed

	mu      sync.Mutex
	waiting [priorities][]*turn // in order of arrival
	unused  int                 // permits to give back
	asking  bool                // a goroutine asks for all
	giveUp  context.CancelFunc  // cancels the script, because no request waits any more
	made    time.Time           // when all that were let through will have been made, as of the last reply
}

// turn is a request that waits.
type turn struct{ come chan struct{} }

// wait lines up and waits.
func (q *turns) wait(ctx context.Context, p priority) error {
	t := q.lineUp(p)
	q.ask()
	select {
	case <-t.come:
		return nil
	case <-ctx.Done():
		q.leave(t, p)
		return ctx.Err()
	}
}

func (q *turns) lineUp(p priority) *turn {
	t := &turn{come: make(chan struct{})}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting[p] = append(q.waiting[p], t)
	return t
}

// leave takes a request out of the line, or gives its permit back if it has one already.
func (q *turns) leave(t *turn, p priority) {
	q.mu.Lock()
	for i, other := range q.waiting[p] {
		if other == t {
			q.waiting[p] = append(q.waiting[p][:i:i], q.waiting[p][i+1:]...)
			if _, _, some := q.line(); !some && q.giveUp != nil {
				q.giveUp()
			}
			q.mu.Unlock()
			q.signal()
			return
		}
	}
	q.mu.Unlock()
	q.giveBack()
}

func (q *turns) giveBack() {
	q.mu.Lock()
	q.unused++
	q.mu.Unlock()
	q.ask()
}

// line counts the waiting requests, and returns the first priority among them.
func (q *turns) line() (counts [priorities]int, first priority, some bool) {
	for p := priorities - 1; p >= 0; p-- {
		if counts[p] = len(q.waiting[p]); counts[p] > 0 {
			first, some = p, true
		}
	}
	return counts, first, some
}

func (q *turns) signal() {
	offer(q.wake, struct{}{})
}

// ask starts a goroutine, if there is none, that serves the line until it is empty.
func (q *turns) ask() {
	q.mu.Lock()
	serve := !q.asking
	q.asking = true
	q.mu.Unlock()
	if serve {
		go q.serve()
	}
	q.signal()
}

func (q *turns) serve() {
	for {
		delay, more := q.next()
		switch {
		case !more:
			return
		case delay <= 0:
			q.letThrough()
		default:
			// Processes that wait for the same moment take turns by chance; otherwise the
			// one nearest to Redis would always be first. A late request loses nothing.
			t := time.NewTimer(delay + rand.N(q.interval/2+1))
			select {
			case <-t.C:
			case <-q.wake: // perhaps by one that waits less long
			}
			t.Stop()
		}
	}
}

// next returns how long it is useless to ask. more is false if there is nothing to ask for;
// the next request starts again.
func (q *turns) next() (delay time.Duration, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, first, some := q.line()
	if q.unused > 0 {
		return 0, true
	}
	if !some {
		q.asking = false
		return 0, false
	}
	most := 1 // as in the script
	if first < notFull {
		most = q.burst - int(first)*max(1, q.burst/5)
	}
	return q.made.Add(-time.Duration(most-1) * q.interval).Sub(q.now()), true
}

// letThrough asks Redis once and lets the requests through that it grants.
func (q *turns) letThrough() {
	q.mu.Lock()
	ctx, cancel := context.WithCancel(context.Background())
	_, _, some := q.line()
	q.giveUp = cancel
	q.mu.Unlock()
	defer cancel()
	run := func() (granted, error) { return q.run(ctx) }
	var g granted
	var err error
	if some {
		g, err = persist(ctx, q.log, run)
	} else {
		g, err = run() // only to give back: once
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.giveUp = nil
	if err != nil {
		return
	}
	q.made = q.now().Add(g.ahead)
	for ; g.through > 0; g.through-- {
		_, first, some := q.line()
		if !some {
			q.unused += g.through // they left meanwhile
			return
		}
		close(q.waiting[first][0].come)
		q.waiting[first] = q.waiting[first][1:]
	}
}

// granted is the reply of the script.
type granted struct {
	through int
	ahead   time.Duration
}

// run runs the script for the requests that wait now. Unused permits are given back once: if
// the reply is lost, it is unknown whether they were.
func (q *turns) run(ctx context.Context) (granted, error) {
	q.mu.Lock()
	counts, _, _ := q.line()
	args := []any{q.interval.Microseconds(), q.burst, q.unused}
	q.unused = 0
	q.mu.Unlock()
	for _, n := range counts {
		args = append(args, n)
	}
	if q.fake {
		args = append(args, q.now().UnixMicro())
	}
	reply, err := scriptLimit.Run(ctx, q.rdb, []string{q.key}, args...).Int64Slice()
	if err != nil {
		return granted{}, err
	}
	return granted{through: int(reply[0]), ahead: time.Duration(reply[1]) * time.Microsecond}, nil
}
