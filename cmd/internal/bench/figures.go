package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/queue"
	"github.com/detachd/detachd/tasks/record"
)

const bulkSize = 100_000

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// bulk is B1: two runs of each in turn, summed up.
func bulk(s *stage) ([]figure, error) {
	var base, ours time.Duration
	var api *counting
	for range 2 {
		c, err := s.cloud(bulkSize, 50*time.Millisecond)
		if err != nil {
			return nil, err
		}
		b, err := limit(s.ctx, c, bulkSize)
		c.end()
		if err != nil {
			return nil, err
		}
		if c, err = s.cloud(bulkSize, 50*time.Millisecond); err != nil {
			return nil, err
		}
		api = &counting{Client: c.Client}
		s.rdb.FlushAll(s.ctx)
		ids, err := s.enqueue(1, bulkSize)
		if err != nil {
			return nil, err
		}
		o, _, err := s.work(api, ids)
		c.end()
		if err != nil {
			return nil, err
		}
		base, ours = base+b, ours+o
	}
	ratio, reads := base.Seconds()/ours.Seconds(), float64(api.before.Load()+api.proofs.Load())/(bulkSize/100)
	return []figure{
		{"B1 100,000 in one operation, 50 ms API", seconds(ours / 2), "limit " + seconds(base/2), ratio, ">= 0.95", ratio >= 0.95},
		{"B1 readings a hundred desktops, until proven", fmt.Sprintf("%.2f", reads), "limit 1, which proves nothing", reads, "<= 2", reads <= 2},
	}, nil
}

// bulkInstant is B2. Three runs of each in turn; the medians count, because
// with an instant API everything is CPU and the machine is shared.
func bulkInstant(s *stage) ([]figure, error) {
	var bare, base, ours []float64
	for range 3 {
		for _, one := range []struct {
			into *[]float64
			run  func(c *cloud) (time.Duration, error)
		}{
			{&bare, func(c *cloud) (time.Duration, error) { return limit(s.ctx, c, bulkSize) }},
			{&base, func(c *cloud) (time.Duration, error) { return asynqTasks(s.ctx, s.rdb, c, bulkSize, 100, false) }},
			{&ours, func(c *cloud) (time.Duration, error) {
				ids, err := s.enqueue(1, bulkSize)
				if err != nil {
					return 0, err
				}
				took, _, err := s.work(c, ids)
				return took, err
			}},
		} {
			c, err := s.cloud(bulkSize, 0)
			if err != nil {
				return nil, err
			}
			s.rdb.FlushAll(s.ctx)
			took, err := one.run(c)
			c.end()
			if err != nil {
				return nil, err
			}
			*one.into = append(*one.into, took.Seconds())
		}
	}
	l, b, o := median(bare), median(base), median(ours)
	return []figure{
		{"B2 the same, instant API", fmt.Sprintf("%.2f s", o), fmt.Sprintf("bare asynq %.2f s, limit %.2f s", b, l), b / o, ">= 0.5", b/o >= 0.5},
	}, nil
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// counting counts the calls and readings of an API, and tells of them.
type counting struct {
	*apiclient.Client
	calls          atomic.Int64
	before, proofs atomic.Int64                    // readings before a call, and after
	tell           func(what moment, ids []string) // nil: nobody

	mu   sync.Mutex
	sent map[string]bool
}

// moment is when a request leaves or is answered.
type moment int

const (
	reading moment = iota // a reading leaves
	read                  // a reading was answered
	called                // a call leaves
	moments
)

func (c *counting) told(what moment, ids []string) {
	if c.tell != nil {
		c.tell(what, ids)
	}
}

func (c *counting) Detach(ctx context.Context, req apiclient.DetachRequest) (*apiclient.DetachResult, error) {
	c.told(called, req.DesktopIDs)
	c.calls.Add(1)
	c.mu.Lock()
	if c.sent == nil {
		c.sent = map[string]bool{}
	}
	for _, id := range req.DesktopIDs {
		c.sent[id] = true
	}
	c.mu.Unlock()
	return c.Client.Detach(ctx, req)
}

func (c *counting) Desktops(ctx context.Context, ids []string) ([]apiclient.Desktop, error) {
	c.told(reading, ids)
	c.mu.Lock()
	after := slices.ContainsFunc(ids, func(id string) bool { return c.sent[id] })
	c.mu.Unlock()
	if after {
		c.proofs.Add(1)
	} else {
		c.before.Add(1)
	}
	list, err := c.Client.Desktops(ctx, ids)
	c.told(read, ids)
	return list, err
}

// singles is B3: operations that wait when the worker starts.
func singles(s *stage) ([]figure, error) {
	const n = 1000
	var api *counting
	var took [3]time.Duration
	for i, run := range []func(c *cloud) (time.Duration, error){
		func(c *cloud) (time.Duration, error) { return asynqTasks(s.ctx, s.rdb, c, n, 1, false) },
		func(c *cloud) (time.Duration, error) { return asynqTasks(s.ctx, s.rdb, c, n, 1, true) },
		func(c *cloud) (time.Duration, error) {
			ids, err := s.enqueue(n, 1)
			if err != nil {
				return 0, err
			}
			api = &counting{Client: c.Client}
			t, _, err := s.work(api, ids)
			return t, err
		},
	} {
		c, err := s.cloud(n, 50*time.Millisecond)
		if err != nil {
			return nil, err
		}
		s.rdb.FlushAll(s.ctx)
		if took[i], err = run(c); err != nil {
			return nil, err
		}
		c.end()
	}
	naive, group, ours := took[0], took[1], took[2]
	rn, rg, calls := naive.Seconds()/ours.Seconds(), group.Seconds()/ours.Seconds(), api.calls.Load()
	return []figure{
		{"B3 1,000 one-desktop operations", seconds(ours), "naive " + seconds(naive), rn, ">= 12x", rn >= 12},
		{"B3 the same", seconds(ours), "group " + seconds(group), rg, ">= 25x", rg >= 25},
		{"B3 API calls", strconv.FormatInt(calls, 10), "naive 1000", 1000 / float64(calls), "<= 50 calls", calls <= 50},
	}, nil
}

// trips notes when requests left and were answered that are about single desktops.
type trips struct {
	mu      sync.Mutex
	waiting map[string]*trip
}

type trip struct {
	at   [moments]time.Time // the first of each
	over chan struct{}      // closed when the call leaves
}

func (t *trips) begin(id string) *trip {
	one := &trip{over: make(chan struct{})}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting[id] = one
	return one
}

func (t *trips) note(what moment, ids []string) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range ids {
		one := t.waiting[id]
		if one == nil || !one.at[what].IsZero() {
			continue
		}
		one.at[what] = now
		if what == called {
			delete(t.waiting, id)
			close(one.over)
		}
	}
}

// urgent is B4: from before Enqueue to the reading on the wire, and from its answer
// to the call on the wire, with an idle worker and during a bulk.
func urgent(s *stage) ([]figure, error) {
	const ops, each, idle, busy = 3, 50_000, 200, 80
	c, err := s.cloud(ops*each+idle+busy, 50*time.Millisecond)
	if err != nil {
		return nil, err
	}
	t := &trips{waiting: map[string]*trip{}}
	w, err := newWorker(s.rdb, "bench-worker", &counting{Client: c.Client, tell: t.note}, 0)
	if err != nil {
		return nil, err
	}
	if err := w.Start(s.ctx); err != nil {
		return nil, err
	}
	defer w.Stop()
	p, err := s.producer()
	if err != nil {
		return nil, err
	}
	n := ops * each
	one := func() (toReading, toCall float64, err error) {
		id := desktopIDs(n, 1)[0]
		n++
		trip, start := t.begin(id), time.Now()
		if _, err := p.Enqueue(s.ctx, tasks.Request{Project: alias, Desktops: []string{id}, Urgent: true}); err != nil {
			return 0, 0, err
		}
		select {
		case <-trip.over:
			return millis(trip.at[reading].Sub(start)), millis(trip.at[called].Sub(trip.at[read])), nil
		case <-s.ctx.Done():
			return 0, 0, s.ctx.Err()
		}
	}
	idleReading, idleCall, err := sample(s.ctx, idle, one)
	if err != nil {
		return nil, err
	}
	ids, err := s.enqueue(ops, each)
	if err != nil {
		return nil, err
	}
	busyReading, busyCall, err := sample(s.ctx, busy, one)
	if err != nil {
		return nil, err
	}
	if op, err := s.record.Operation(s.ctx, ids[ops-1]); err != nil || taken(op) {
		return nil, fmt.Errorf("the bulk had ended before the urgent ones were measured: %w", err)
	}
	if _, err := s.until(ids, record.Operation.Done); err != nil {
		return nil, err
	}
	line := func(name string, v []float64, goal float64) figure {
		p50, p99 := quantile(v, .5), quantile(v, .99)
		return figure{name, fmt.Sprintf("p50 %.1f p99 %.1f ms", p50, p99), fmt.Sprintf("goal %.0f ms", goal), p99 / goal,
			fmt.Sprintf("p99 <= %.0f ms", goal), p99 <= goal}
	}
	return []figure{
		line("B4 urgent, accepted to reading, idle worker", idleReading, 50), line("B4 the same, during a bulk", busyReading, 250),
		line("B4 urgent, reading to call, idle worker", idleCall, 10), line("B4 the same, during a bulk", busyCall, 10),
	}, nil
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// sample measures n times with pauses that do not beat with a poll interval.
func sample(ctx context.Context, n int, one func() (float64, float64, error)) (first, second []float64, err error) {
	for i := range n {
		a, b, err := one()
		if err != nil {
			return nil, nil, err
		}
		first, second = append(first, a), append(second, b)
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(time.Duration(5+i*7%37) * time.Millisecond):
		}
	}
	return first, second, nil
}

func quantile(v []float64, q float64) float64 {
	slices.Sort(v)
	return v[min(len(v)-1, int(math.Ceil(q*float64(len(v))))-1)]
}

// refusing is an API that refuses every fiftieth desktop of a call for good, for B5.
type refusing struct {
	*apiclient.Client
	mu    sync.Mutex
	names map[string]string // of computers, by desktop
}

func (c *refusing) Desktops(ctx context.Context, ids []string) ([]apiclient.Desktop, error) {
	list, err := c.Client.Desktops(ctx, ids)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range list {
		c.names[d.ID] = d.ComputerName
	}
	return list, err
}

func (c *refusing) Detach(ctx context.Context, req apiclient.DetachRequest) (*apiclient.DetachResult, error) {
	res, err := c.Client.Detach(ctx, req)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := 0; i < len(req.DesktopIDs); i += 50 {
		id := req.DesktopIDs[i]
		res.Failed = append(res.Failed, apiclient.DesktopFailure{
			DesktopID: id, DesktopName: c.names[id], Code: "WKS.00010110", Message: "Desktops cannot obtain valid IP addresses.",
		})
	}
	return res, nil
}

// cost is B5: what ended operations of so many desktops leave in Redis, and what it
// took to get there. Commands are those that were sent; what scripts did inside
// Redis is not seen by a client and is told apart.
func cost(desktops int) func(s *stage) ([]figure, error) {
	return func(s *stage) ([]figure, error) {
		c, err := s.cloud(desktops, 0)
		if err != nil {
			return nil, err
		}
		before, executed := s.info("memory", "used_memory"), s.info("stats", "total_commands_processed")
		var sent atomic.Int64
		s.rdb.AddHook(countCommands{&sent})
		ids, err := s.enqueue(desktops/bulkSize, bulkSize)
		if err != nil {
			return nil, err
		}
		w, err := newWorker(s.rdb, "bench-worker", &refusing{Client: c.Client, names: map[string]string{}}, 0)
		if err != nil {
			return nil, err
		}
		if err := w.Start(s.ctx); err != nil {
			return nil, err
		}
		_, err = s.until(ids, record.Operation.Sealed)
		w.Stop()
		if err != nil {
			return nil, err
		}
		commands := float64(sent.Load()) / float64(desktops)
		inside := float64(s.info("stats", "total_commands_processed")-executed) / float64(desktops)
		s.untilNoRewrite()
		bytes := float64(s.info("memory", "used_memory")-before) / float64(desktops)
		of := fmt.Sprintf(" of %d", desktops)
		return []figure{
			{"B5 Redis at rest, bytes a desktop" + of, fmt.Sprintf("%.0f B", bytes), "goal 400 B, with 2 % failed", bytes / 400, "<= 400",
				bytes <= 400},
			{"B5 Redis commands sent a desktop" + of, fmt.Sprintf("%.3f", commands), fmt.Sprintf("run by Redis, scripts' too: %.3f", inside),
				commands / 0.35, "<= 0.35", commands <= 0.35},
		}, nil
	}
}

// untilNoRewrite waits until Redis is not rewriting its file, which takes one of two cores.
func (s *stage) untilNoRewrite() {
	for s.info("persistence", "aof_rewrite_in_progress") == 1 {
		time.Sleep(100 * time.Millisecond)
	}
}

func (s *stage) info(section, field string) int64 {
	for line := range strings.Lines(s.rdb.Info(s.ctx, section).Val()) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), field+":"); ok {
			n, _ := strconv.ParseInt(v, 10, 64)
			return n
		}
	}
	return 0
}

// countCommands counts what a client sends.
type countCommands struct{ n *atomic.Int64 }

func (h countCommands) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h countCommands) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.n.Add(1)
		return next(ctx, cmd)
	}
}
func (h countCommands) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.n.Add(int64(len(cmds)))
		return next(ctx, cmds)
	}
}

// scale is B6. The worker is a process of its own, so that its memory is its
// alone.
func scale(s *stage) ([]figure, error) {
	var rates, peaks []float64
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		c, err := s.cloud(n, 50*time.Millisecond)
		if err != nil {
			return nil, err
		}
		ids, err := s.enqueue(max(1, n/bulkSize), min(n, bulkSize))
		if err != nil {
			return nil, err
		}
		start := time.Now()
		cmd, _, err := s.child("worker", "-redis", s.redis.Addr(), "-cloud", c.url, "-id", "scale")
		if err != nil {
			return nil, err
		}
		_, err = s.until(ids, taken)
		took := time.Since(start)
		if err == nil {
			_, err = s.until(ids, record.Operation.Done)
		}
		peaks = append(peaks, peakMemory(cmd.Process.Pid))
		end(cmd)
		c.end()
		if err != nil {
			return nil, err
		}
		s.rdb.FlushAll(s.ctx)
		rates = append(rates, float64(n)/took.Seconds())
	}
	worst := slices.Min(rates) / slices.Max(rates)
	peak, flat := slices.Max(peaks), peaks[2]/peaks[1]
	return []figure{
		{"B6 desktops/s at 10,000, 100,000, 1,000,000", fmt.Sprintf("%.0f %.0f %.0f", rates[0], rates[1], rates[2]), "each other", worst,
			">= 0.9", worst >= 0.9},
		{"B6 the worker's peak memory", fmt.Sprintf("%.0f MB", peak), "goal 150 MB", peak / 150, "<= 150 MB", peak <= 150},
		{"B6 of that, at 1,000,000 beside 100,000", fmt.Sprintf("%.0f MB", peaks[2]), fmt.Sprintf("%.0f MB", peaks[1]), flat, "<= 1.25",
			flat <= 1.25},
	}, nil
}

// peakMemory is a process's largest resident size so far, in MB.
func peakMemory(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: peak memory needs /proc, which", runtime.GOOS, "has not")
		return math.Inf(1)
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(v)[0], 64)
			return kb / 1024
		}
	}
	return math.Inf(1)
}

// takeover is B7: one of two workers is killed in mid-bulk, and again while its calls
// hang in the cloud; how long until the last chunk that it had in hand has moved on,
// apart from those whose calls were on the wire: those have to wait until their calls
// can have no effect any more.
func takeover(s *stage) ([]figure, error) {
	waiting, _, err := killInMidBulk(s)
	if err != nil {
		return nil, err
	}
	s.rdb.FlushAll(s.ctx)
	const callTimeout = 10 * time.Second
	_, sent, err := killWhileCallsHang(s, callTimeout)
	if err != nil {
		return nil, err
	}
	limit := callTimeout + 10*time.Second
	return []figure{
		{fmt.Sprintf("B7 a killed worker's work moves on, %d chunks", waiting.chunks), seconds(waiting.last),
			"goal 15 s (bare asynq 60 to 120 s)", waiting.last.Seconds() / 15, "<= 15 s", waiting.last <= 15*time.Second},
		{fmt.Sprintf("B7 its calls are settled, %d chunks", sent.chunks), seconds(sent.last), "goal call_timeout (10 s) + 10 s",
			sent.last.Seconds() / limit.Seconds(), "<= 20 s", sent.last <= limit},
	}, nil
}

func killInMidBulk(s *stage) (waiting, sent moved, err error) {
	c, err := s.cloud(bulkSize, 50*time.Millisecond)
	if err != nil {
		return waiting, sent, err
	}
	defer c.end()
	return s.killOneOfTwo(c, bulkSize, 0, func(c tasks.Counts) bool { return c.Accepted+c.Detached > bulkSize/4 })
}

// killWhileCallsHang has every call of the worker hang when it is killed; half of them
// have had their effect.
func killWhileCallsHang(s *stage, callTimeout time.Duration) (waiting, sent moved, err error) {
	const desktops = 20 * inFlight * 100
	c, err := s.cloud(desktops, 50*time.Millisecond, "-hang", strconv.Itoa(inFlight))
	if err != nil {
		return waiting, sent, err
	}
	defer c.end()
	return s.killOneOfTwo(c, desktops, callTimeout, func(c tasks.Counts) bool { return c.Sending >= inFlight*100 })
}

// moved is how many chunks did, and when the last one had.
type moved struct {
	chunks int
	last   time.Duration
}

// killOneOfTwo kills a worker, whose place another takes, when the counts of an
// operation of n desktops are as wanted. waiting are the chunks that it had in hand and
// not sent, sent are the others.
func (s *stage) killOneOfTwo(c *cloud, n int, callTimeout time.Duration, when func(tasks.Counts) bool) (waiting, sent moved, err error) {
	ids, err := s.enqueue(1, n)
	if err != nil {
		return waiting, sent, err
	}
	start := func(id string) (*exec.Cmd, error) {
		cmd, _, err := s.child("worker", "-redis", s.redis.Addr(), "-cloud", c.url, "-id", id, "-timeout", callTimeout.String())
		return cmd, err
	}
	victim, err := start("victim")
	if err != nil {
		return waiting, sent, err
	}
	if _, err := s.until(ids, func(op record.Operation) bool { return when(op.Counts) }); err != nil {
		end(victim)
		return waiting, sent, err
	}
	other, err := start("other")
	if err != nil {
		end(victim)
		return waiting, sent, err
	}
	defer end(other)
	end(victim)
	killed := time.Now()
	held, err := s.record.InHand(s.ctx, "victim")
	if err != nil {
		return waiting, sent, err
	}
	wire := map[queue.Payload]bool{}
	for _, p := range held {
		if wire[p], err = s.has(p, func(d record.Row) bool { return d.State == tasks.StateSending }); err != nil {
			return waiting, sent, err
		}
	}
	for _, part := range []struct {
		of   *moved
		wire bool
	}{{&waiting, false}, {&sent, true}} {
		for _, p := range held {
			if wire[p] != part.wire {
				continue
			}
			if err := s.untilSettled(p); err != nil {
				return waiting, sent, err
			}
			part.of.chunks++
			part.of.last = time.Since(killed)
		}
	}
	if len(held) == 0 {
		err = fmt.Errorf("the worker had nothing in hand when it was killed")
	}
	return waiting, sent, err
}

// has says whether some desktop of a chunk is so.
func (s *stage) has(p queue.Payload, so func(record.Row) bool) (bool, error) {
	c, err := s.record.Chunk(s.ctx, p.Operation, p.Chunk)
	return slices.ContainsFunc(c.Desktops, so), err
}

// untilSettled waits until nothing is left to be called for in a chunk.
func (s *stage) untilSettled(p queue.Payload) error {
	for {
		open, err := s.has(p, func(d record.Row) bool { return d.State.Open() })
		if err != nil || !open {
			return err
		}
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// proof is B8: what it costs to prove a bulk of which the cloud takes ten seconds for
// each desktop, beside the readings before the calls, and how long it takes beyond
// that.
func proof(s *stage) ([]figure, error) {
	const delay = 10 * time.Second
	c, err := s.cloud(bulkSize, 50*time.Millisecond, "-delay", delay.String())
	if err != nil {
		return nil, err
	}
	ids, err := s.enqueue(1, bulkSize)
	if err != nil {
		return nil, err
	}
	api := &counting{Client: c.Client}
	took, proven, err := s.work(api, ids)
	if err != nil {
		return nil, err
	}
	proofs := api.proofs.Load()
	perRead := bulkSize / float64(proofs)
	return []figure{
		{"B8 desktops proven a reading that proves", fmt.Sprintf("%.0f (%d readings)", perRead, proofs),
			fmt.Sprintf("%d readings before calls", api.before.Load()), perRead / 50, ">= 50", perRead >= 50},
		{"B8 the last one proven after the last call", seconds(proven - took), "the cloud takes 10 s", (proven - took).Seconds() / 10,
			"no goal", true},
	}, nil
}
