package record

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/queue"
)

const (
	openCounted = 10_000  // running operations that Stats sums up; that takes about 100 ms, and 40 ms the next time
	openSeen    = 100_000 // operations that have not ended and are read to find them
	openBatch   = 1000
)

// Stats reads the statistics of projects, in order, and of other projects that have running
// operations but no worker, as no configuration names them any more. It takes three round
// trips, one for the workers, three for the failures, and one per 1,000 open operations, however
// many projects there are.
func (r *Record) Stats(ctx context.Context, projects []string, within tasks.StatsRange, now time.Time) ([]tasks.Stats, error) {
	fail := func(err error) ([]tasks.Stats, error) {
		return nil, fmt.Errorf("reading the statistics of projects: %w", err)
	}
	if len(projects) == 0 {
		return []tasks.Stats{}, nil
	}
	serving, err := r.Serving(ctx)
	if err != nil {
		return fail(err)
	}
	open, partial, err := r.sumOpen(ctx, now)
	if err != nil {
		return fail(err)
	}
	for _, alias := range slices.Sorted(maps.Keys(open)) {
		if !slices.Contains(projects, alias) && serving.Of(alias) == 0 {
			projects = append(projects[:len(projects):len(projects)], alias)
		}
	}
	out := make([]tasks.Stats, len(projects))
	at := make(map[string]*tasks.Stats, len(projects))
	for i, alias := range projects {
		out[i] = tasks.Stats{Project: alias, Range: within, Workers: serving.Of(alias), Failures: []tasks.FailureCount{}, Partial: partial}
		at[alias] = &out[i]
		if sum := open[alias]; sum != nil {
			out[i].Open, out[i].Counts, out[i].DueToday = sum.operations, sum.counts, sum.dueToday
		}
	}
	if err := r.readTallies(ctx, out, now); err != nil {
		return fail(err)
	}
	failures, err := r.FailureCounts(ctx, tasks.FailureFilter{})
	if err == nil {
		err = r.addOldest(ctx, failures)
	}
	if err != nil {
		return nil, err
	}
	for _, f := range failures {
		s := at[f.Project]
		if s == nil {
			continue
		}
		s.Failures = append(s.Failures, f)
		if f.Class == tasks.ClassHeld {
			s.Counts.Held += f.Count
		} else {
			s.Counts.Failed += f.Count
		}
	}
	return out, nil
}

// addOldest adds the times of the oldest failures.
func (r *Record) addOldest(ctx context.Context, counts []tasks.FailureCount) error {
	if len(counts) == 0 {
		return nil
	}
	oldest := make([]*redis.ZSliceCmd, len(counts))
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, c := range counts {
			oldest[i] = p.ZRangeWithScores(ctx, r.keys.failures(failureGroup{c.Project, c.Class, c.Code}), 0, 0)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the oldest failures: %w", err)
	}
	for i := range counts {
		if z := oldest[i].Val(); len(z) > 0 {
			counts[i].OldestAt = time.UnixMilli(int64(z[0].Score)).UTC()
		}
	}
	return nil
}

// readTallies reads all values that are stored per project.
func (r *Record) readTallies(ctx context.Context, into []tasks.Stats, now time.Time) error {
	type reading struct {
		pause        *redis.SliceCmd
		ops          *redis.IntCmd
		later, today *redis.IntCmd
		waiting      *redis.IntCmd
		steps, calls tallyHashes   // of the range, and of the last hour
		depths       []*scriptCall // by queue
	}
	reads := make([]reading, len(into))
	var depths []*scriptCall
	for i, s := range into {
		for _, q := range queues {
			reads[i].depths = append(reads[i].depths, r.depthCall(s.Project, q, now))
		}
		depths = append(depths, reads[i].depths...)
	}
	period, back := periodOf(into[0].Range), time.Duration(into[0].Range.Steps())*into[0].Range.Step()
	var stop *redis.SliceCmd
	err := r.runScripts(ctx, depths, func(p redis.Pipeliner) {
		stop = p.HMGet(ctx, r.keys.stop(), pauseFields...)
		for i, s := range into {
			x := &reads[i]
			x.pause = p.HMGet(ctx, r.keys.gate(s.Project), pauseFields...)
			x.ops = p.ZCard(ctx, r.keys.operationsBy("project", s.Project))
			x.waiting = p.ZCard(ctx, r.keys.waiting(s.Project))
			x.later = r.countScheduled(ctx, p, s.Project, now, time.Time{})
			x.today = r.countScheduled(ctx, p, s.Project, now, midnightAfter(now))
			x.steps = r.tallyHashes(ctx, p, s.Project, period, now.Add(-back), now)
			x.calls = r.tallyHashes(ctx, p, s.Project, callsByMinute, now.Add(-time.Hour), now)
		}
	})
	if err != nil {
		return err
	}
	for i, x := range reads {
		s := &into[i]
		if s.Pause, err = strongerPause(stop, x.pause); err != nil {
			return err
		}
		s.Operations, s.Scheduled, s.AwaitingApproval = int(x.ops.Val()), int(x.later.Val()), int(x.waiting.Val())
		s.DueToday += int(x.today.Val())
		addBuckets(s, now, x.steps.decode(r, s.Project))
		addMinutes(s, now, x.calls.decode(r, s.Project))
		for n, q := range queues {
			d, err := decodeDepth(x.depths[n], q, now)
			if err != nil {
				return err
			}
			s.Queues = append(s.Queues, d)
			s.Waiting += d.Waiting
			s.OldestMS = max(s.OldestMS, d.OldestMS)
		}
	}
	return nil
}

// tallyHashes are the tallies of a period that are read.
type tallyHashes struct {
	period tallyPeriod
	read   map[int64]*redis.MapStringStringCmd
	known  map[int64]map[int]*Tally // of hashes that were read before
}

func (r *Record) tallyHashes(
	ctx context.Context, p redis.Pipeliner, alias string, period tallyPeriod, from, to time.Time,
) tallyHashes {
	out := tallyHashes{period, map[int64]*redis.MapStringStringCmd{}, map[int64]map[int]*Tally{}}
	first, _ := period.place(from)
	last, _ := period.place(to)
	for n := first; n <= last; n++ {
		key := r.keys.tallies(alias, period.name, n)
		if known := r.past.get(key); known != nil {
			out.known[n] = known
		} else {
			out.read[n] = p.HGetAll(ctx, key)
		}
	}
	return out
}

// decode returns a function that gives the tally of the step that has t. Most fields of a
// hash are missing, so it reads the fields and not the possible names.
func (x tallyHashes) decode(r *Record, alias string) func(t time.Time) Tally {
	all := x.known
	for hash, cmd := range x.read {
		steps := map[int]*Tally{}
		for field, n := range cmd.Val() {
			name := strings.TrimLeft(field, "0123456789")
			step, _ := strconv.Atoi(field[:len(field)-len(name)])
			if steps[step] == nil {
				steps[step] = &Tally{}
			}
			if counter := steps[step].counter(name); counter != nil {
				*counter = int(number(n))
			}
		}
		all[hash] = steps
		if ended := time.Unix((hash+1)*int64(seconds(x.period.span)), 0); time.Since(ended) > pastAfter {
			r.past.put(r.keys.tallies(alias, x.period.name, hash), steps)
		}
	}
	return func(t time.Time) Tally {
		hash, step := x.period.place(t)
		if t := all[hash][step]; t != nil {
			return *t
		}
		return Tally{}
	}
}

const (
	// pastAfter is the age after which the tallies of a hash rarely change: a worker that could
	// not reach Redis may still add to them.
	pastAfter = 10 * time.Minute
	// pastKept is how long they are not read again.
	pastKept = 5 * time.Minute
)

// pastTallies keeps the tallies of hashes that rarely change, by key: with many projects,
// reading them again and again would take most of the time of Stats.
type pastTallies struct {
	mu    sync.Mutex
	steps map[string]map[int]*Tally
	since time.Time // when the first of them was read
}

func (p *pastTallies) get(key string) map[int]*Tally {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.since) > pastKept {
		p.steps = nil
	}
	return p.steps[key]
}

func (p *pastTallies) put(key string, steps map[int]*Tally) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.steps == nil {
		p.steps, p.since = map[string]map[int]*Tally{}, time.Now()
	}
	p.steps[key] = steps
}

func addBuckets(s *tasks.Stats, now time.Time, of func(time.Time) Tally) {
	var all Tally
	step := s.Range.Step()
	for n := s.Range.Steps() - 1; n >= 0; n-- {
		from := now.UTC().Truncate(step).Add(-time.Duration(n) * step)
		t := of(from)
		all.add(t)
		s.Buckets = append(s.Buckets, tasks.StatsBucket{From: from, Tally: t.Tally})
	}
	s.Results = all.Tally
	s.Counts.Detached, s.Counts.Cancelled = all.Detached, all.Cancelled
	for i, n := range all.Removed {
		b := tasks.RemovedBucket{Desktops: n, SinceAccepted: all.RemovedSinceAccepted[i]}
		if i < len(RemovedSteps) {
			b.AtMostSeconds = RemovedSteps[i]
		}
		s.Removed = append(s.Removed, b)
	}
}

func addMinutes(s *tasks.Stats, now time.Time, of func(time.Time) Tally) {
	before := func(minutes int) Tally { return of(now.Add(-time.Duration(minutes) * time.Minute)) }
	for n := range 60 {
		s.Throttled += before(n).Throttled
	}
	// The share of the previous minute within the last 60 seconds.
	left := 1 - now.Sub(now.Truncate(time.Minute)).Minutes()
	s.CallsPerMinute = float64(before(0).Calls) + left*float64(before(1).Calls)
}

// running returns the operations that have not ended and are not scheduled, the oldest
// first; partial means that there may be more.
func (r *Record) running(ctx context.Context, now time.Time) (out []place, partial bool, err error) {
	for first := int64(0); first < openSeen; first += openCounted {
		ids, err := r.rdb.ZRange(ctx, r.keys.openOps(), first, first+openCounted-1).Result()
		if err != nil {
			return nil, false, err
		}
		some := make([]place, len(ids))
		for i, id := range ids {
			some[i].member = id
		}
		if some, err = r.started(ctx, some, now); err != nil {
			return nil, false, err
		}
		if out = append(out, some...); len(out) > openCounted {
			return out[:openCounted], true, nil
		}
		if len(ids) < openCounted {
			return out, false, nil
		}
	}
	return out, true, nil
}

// openSum sums up the running operations of a project.
type openSum struct {
	operations int
	counts     tasks.Counts // queued, sending, accepted
	dueToday   int          // later today
}

// midnightAfter is the end of the day (UTC).
func midnightAfter(now time.Time) time.Time {
	return now.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
}

// eachRunning passes on the running operations, in no order, as far as openOp and storedOpen have
// them; partial means that there may be more.
func (r *Record) eachRunning(ctx context.Context, now time.Time, each func(Operation)) (partial bool, err error) {
	running, partial, err := r.running(ctx, now)
	if err != nil {
		return false, err
	}
	known, found := r.open.get(), make(map[string]openOp, len(running))
	for some := range slices.Chunk(running, openBatch) {
		ops, err := r.openAt(ctx, some, known)
		if err != nil {
			return false, err
		}
		for _, op := range ops {
			found[op.ID] = openOp{op.Project, op.Urgent, op.AcceptedAt, op.NotBefore, op.DueAt}
			if op.State(now) == tasks.OperationRunning {
				each(op)
			}
		}
	}
	r.open.put(found)
	return partial, nil
}

// openOp is what statistics need of an open operation and never changes.
type openOp struct {
	project              string
	urgent               bool
	accepted, start, due time.Time
}

// storedOpen is what they need and may change.
type storedOpen struct {
	Deadline  msTime `redis:"deadline"`
	Ended     msTime `redis:"ended"`
	Expired   bool   `redis:"expired"`
	Clearance string `redis:"clearance"`
	Queued    int    `redis:"nQ"`
	Sending   int    `redis:"nS"`
	Accepted  int    `redis:"nA"`
}

var openFields = fieldsOf[storedOpen]()

// openAt reads open operations, and those whole that are not known.
func (r *Record) openAt(ctx context.Context, entries []place, known map[string]openOp) ([]Operation, error) {
	var again, whole []string
	for _, x := range entries {
		if _, ok := known[x.member]; ok {
			again = append(again, x.member)
		} else {
			whole = append(whole, x.member)
		}
	}
	out, err := r.operations(ctx, whole)
	if err != nil || len(again) == 0 {
		return out, err
	}
	cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, id := range again {
			p.HMGet(ctx, r.keys.op(id), openFields...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading operations: %w", err)
	}
	out = slices.Grow(out, len(again))
	for i, cmd := range cmds {
		x, s := known[again[i]], storedOpen{}
		if err := cmd.(*redis.SliceCmd).Scan(&s); err != nil {
			return nil, fmt.Errorf("operation %s cannot be read: %w", again[i], err)
		}
		if s.Deadline.IsZero() || s.Expired {
			continue // it is gone
		}
		op := Operation{Operation: tasks.Operation{
			ID: again[i], Project: x.project, Urgent: x.urgent, AcceptedAt: x.accepted, NotBefore: x.start, DueAt: x.due,
			EndedAt: s.Ended.Time, Counts: tasks.Counts{Queued: s.Queued, Sending: s.Sending, Accepted: s.Accepted},
		}}
		if s.Clearance != "" {
			if err := decodeJSON(s.Clearance, &op.Clearance); err != nil {
				return nil, fmt.Errorf("the clearance of operation %s cannot be read: %w", op.ID, err)
			}
		}
		out = append(out, op)
	}
	return out, nil
}

// openKept keeps what never changes of all open operations: to decode their requests again would
// take most of the time of Stats.
type openKept struct {
	mu    sync.Mutex
	ops   map[string]openOp
	since time.Time // when the first of them was read
}

// get returns what is kept. An operation with an idempotency key may come again with other
// content once it has expired, so nothing is kept for long.
func (k *openKept) get() map[string]openOp {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.since) > pastKept {
		k.ops, k.since = nil, time.Now()
	}
	return k.ops
}

func (k *openKept) put(ops map[string]openOp) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ops = ops
}

// sumOpen sums up the running operations by project.
func (r *Record) sumOpen(ctx context.Context, now time.Time) (out map[string]*openSum, partial bool, err error) {
	midnight := midnightAfter(now)
	out = map[string]*openSum{}
	partial, err = r.eachRunning(ctx, now, func(op Operation) {
		s := out[op.Project]
		if s == nil {
			s = &openSum{}
			out[op.Project] = s
		}
		if op.DueAt.After(now) && op.DueAt.Before(midnight) {
			s.dueToday++
		}
		s.operations++
		s.counts.Add(tasks.Counts{Queued: op.Counts.Queued, Sending: op.Counts.Sending, Accepted: op.Counts.Accepted})
	})
	return out, partial, err
}

// Backlog lists what running operations have to send: of the 10,000 oldest of them. Those of
// paused projects are included.
func (r *Record) Backlog(ctx context.Context, now time.Time) (out []tasks.Backlog, err error) {
	_, err = r.eachRunning(ctx, now, func(op Operation) {
		if op.Counts.Queued > 0 {
			out = append(out, tasks.Backlog{
				Operation: op.ID, Project: op.Project, Urgent: op.Urgent, AcceptedAt: op.AcceptedAt, Rows: op.Counts.Queued,
			})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("reading what is to be sent: %w", err)
	}
	return out, nil
}

var queues = []Queue{UrgentQueue, SmallQueue, BulkQueue}

var scriptDepth = script("depth")

func (r *Record) depthCall(project string, q Queue, now time.Time) *scriptCall {
	keys := queue.KeysOf(r.keys.queue(project, q))
	return &scriptCall{script: scriptDepth, keys: keys.Waiting(), args: []any{keys.Task(""), now.Unix()}}
}

func decodeDepth(c *scriptCall, q Queue, now time.Time) (tasks.QueueDepth, error) {
	d := tasks.QueueDepth{Queue: string(q)}
	reply, err := c.reply.Slice()
	if err != nil || len(reply) != 2 {
		return d, fmt.Errorf("unexpected reply %v: %w", reply, err)
	}
	n, _ := reply[0].(int64)
	d.Waiting = int(n)
	if since := number(reply[1]); since > 0 {
		d.OldestMS = max(0, now.UnixMilli()-since)
	}
	return d, nil
}
