package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/cmd/internal/drill"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/queue"
	"github.com/detachd/detachd/tasks/record"
)

const bulkSize = 100_000

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// bulk is B1.
func bulk(e *env) ([]figure, error) {
	var api *counting
	took, err := turns(longTurns,
		e.timed(bulkSize, 50*time.Millisecond, func(c *cloud) (time.Duration, error) { return limit(e.ctx, c, bulkSize) }),
		e.timed(bulkSize, 50*time.Millisecond, func(c *cloud) (time.Duration, error) {
			api = &counting{Client: c.Client}
			return e.took(api, 1, bulkSize)
		}))
	if err != nil {
		return nil, err
	}
	r, reads := ratios(took[0], took[1]), float64(api.before.Load()+api.proofs.Load())/(bulkSize/100)
	return []figure{
		{"B1 100,000 in one operation, 50 ms API", medianSeconds(took[1]), r.of(longTurns, "limit "+medianSeconds(took[0])),
			r.median, ">= 0.95", r.median >= 0.95},
		{"B1 readings a hundred desktops, until proven", fmt.Sprintf("%.2f", reads),
			"limit 1, which proves nothing", reads, "<= 2", reads <= 2},
	}, nil
}

// bulkInstant is B2. With an instant API everything is CPU.
func bulkInstant(e *env) ([]figure, error) {
	took, err := turns(shortTurns,
		e.timed(bulkSize, 0, func(c *cloud) (time.Duration, error) { return limit(e.ctx, c, bulkSize) }),
		e.timed(bulkSize, 0, func(c *cloud) (time.Duration, error) { return asynqTasks(e.ctx, e.rdb, c, bulkSize, 100, false) }),
		e.timed(bulkSize, 0, func(c *cloud) (time.Duration, error) { return e.took(c, 1, bulkSize) }))
	if err != nil {
		return nil, err
	}
	r := ratios(took[1], took[2])
	base := "bare asynq " + medianSeconds(took[1]) + ", limit " + medianSeconds(took[0])
	return []figure{
		{"B2 the same, instant API", medianSeconds(took[2]), r.of(shortTurns, base), r.median, ">= 0.5", r.median >= 0.5},
	}, nil
}

// counting counts the calls and readings of an API, and tells of them.
type counting struct {
	*apiclient.Client
	calls          atomic.Int64
	before, proofs atomic.Int64                    // readings before a call, and after
	tell           func(what moment, ids []string) // may be nil

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
func urgent(e *env) ([]figure, error) {
	const ops, each, idle, busy = 3, 50_000, 200, 80
	c, err := e.cloud(ops*each+idle+busy, 50*time.Millisecond)
	if err != nil {
		return nil, err
	}
	t := &trips{waiting: map[string]*trip{}}
	stop, err := e.run(&counting{Client: c.Client, tell: t.note})
	if err != nil {
		return nil, err
	}
	defer stop()
	p, err := e.producer()
	if err != nil {
		return nil, err
	}
	n := ops * each
	one := func() (toReading, toCall float64, err error) {
		id := desktopIDs(n, 1)[0]
		n++
		trip, start := t.begin(id), time.Now()
		if _, err := p.Enqueue(e.ctx, tasks.Request{Project: alias, Desktops: []string{id}, Urgent: true}); err != nil {
			return 0, 0, err
		}
		select {
		case <-trip.over:
			return millis(trip.at[reading].Sub(start)), millis(trip.at[called].Sub(trip.at[read])), nil
		case <-e.ctx.Done():
			return 0, 0, e.ctx.Err()
		}
	}
	idleReading, idleCall, err := sample(e.ctx, idle, one)
	if err != nil {
		return nil, err
	}
	ids, err := e.enqueue(ops, each)
	if err != nil {
		return nil, err
	}
	busyReading, busyCall, err := sample(e.ctx, busy, one)
	if err != nil {
		return nil, err
	}
	if op, err := e.record.Operation(e.ctx, ids[ops-1]); err != nil || taken(op) {
		return nil, fmt.Errorf("the bulk had ended before the urgent ones were measured: %w", err)
	}
	if _, err := e.until(often, ids, record.Operation.Done); err != nil {
		return nil, err
	}
	line := func(name string, v []float64, goal float64) figure {
		p50, p99 := drill.Quantile(v, .5), drill.Quantile(v, .99)
		return figure{name, fmt.Sprintf("p50 %.1f p99 %.1f ms", p50, p99), fmt.Sprintf("goal %.0f ms", goal), p99 / goal,
			fmt.Sprintf("p99 <= %.0f ms", goal), p99 <= goal}
	}
	return []figure{
		line("B4 urgent, accepted to reading, idle worker", idleReading, 15), line("B4 the same, during a bulk", busyReading, 250),
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
		if err := drill.Wait(ctx, time.Duration(5+i*7%37)*time.Millisecond); err != nil {
			return nil, nil, err
		}
	}
	return first, second, nil
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
func cost(desktops int) func(e *env) ([]figure, error) {
	return func(e *env) ([]figure, error) {
		c, err := e.cloud(desktops, 0)
		if err != nil {
			return nil, err
		}
		before, executed := e.info("memory", "used_memory"), e.info("stats", "total_commands_processed")
		var sent atomic.Int64
		e.rdb.AddHook(countCommands{&sent})
		ids, err := e.enqueue(desktops/bulkSize, bulkSize)
		if err != nil {
			return nil, err
		}
		stop, err := e.run(&refusing{Client: c.Client, names: map[string]string{}})
		if err != nil {
			return nil, err
		}
		_, err = e.until(seldom, ids, record.Operation.Sealed)
		stop()
		if err != nil {
			return nil, err
		}
		commands := float64(sent.Load()) / float64(desktops)
		inside := float64(e.info("stats", "total_commands_processed")-executed) / float64(desktops)
		e.untilNoRewrite()
		bytes := float64(e.info("memory", "used_memory")-before) / float64(desktops)
		of := fmt.Sprintf(" of %d", desktops)
		return []figure{
			{"B5 Redis at rest, bytes a desktop" + of, fmt.Sprintf("%.0f B", bytes),
				"goal 400 B, with 2 % failed", bytes / 400, "<= 400", bytes <= 400},
			{"B5 Redis commands sent a desktop" + of, fmt.Sprintf("%.3f", commands),
				"goal 0.3", commands / 0.3, "<= 0.3", commands <= 0.3},
			{"B5 Redis commands run a desktop, scripts' too", fmt.Sprintf("%.3f", inside), "goal 0.7", inside / 0.7, "<= 0.7", inside <= 0.7},
		}, nil
	}
}

// untilNoRewrite waits until Redis is not rewriting its file, which takes one of two cores.
func (e *env) untilNoRewrite() {
	for e.info("persistence", "aof_rewrite_in_progress") == 1 {
		time.Sleep(100 * time.Millisecond)
	}
}

func (e *env) info(section, field string) int64 { return int64(e.float(section, field)) }

func (e *env) float(section, field string) float64 {
	for line := range strings.Lines(e.rdb.Info(e.ctx, section).Val()) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), field+":"); ok {
			n, _ := strconv.ParseFloat(v, 64)
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

// sizes is B6. The worker is a process of its own, so that its memory is its alone. The
// clock starts when the worker does, not its process.
func sizes(e *env) ([]figure, error) {
	var peaks [3][]float64
	rate := func(size, n int) func() (float64, error) {
		return func() (float64, error) {
			took, peak, err := e.oneSize(n)
			peaks[size] = append(peaks[size], peak)
			return float64(n) / took.Seconds(), err
		}
	}
	some, err := turns(longTurns, rate(0, 10_000), rate(1, 100_000))
	if err != nil {
		return nil, err
	}
	million, err := rate(2, 1_000_000)()
	if err != nil {
		return nil, err
	}
	small, large := spreadOf(some[0]), spreadOf(some[1])
	worst := min(small.median, large.median, million) / max(small.median, large.median, million)
	peak := slices.Max(slices.Concat(peaks[:]...))
	before, after := spreadOf(peaks[1]).median, peaks[2][0]
	return []figure{
		{"B6 desktops/s at 10,000, 100,000, 1,000,000", fmt.Sprintf("%.0f %.0f %.0f", small.median, large.median, million),
			fmt.Sprintf("%.0f-%.0f, %.0f-%.0f, once", small.least, small.most, large.least, large.most), worst, ">= 0.9", worst >= 0.9},
		{"B6 the worker's peak memory", fmt.Sprintf("%.0f MB", peak), "goal 150 MB", peak / 150, "<= 150 MB", peak <= 150},
		{"B6 of that, at 1,000,000 beside 100,000", fmt.Sprintf("%.0f MB", after),
			fmt.Sprintf("%.0f MB", before), after / before, "<= 1.25", after/before <= 1.25},
	}, nil
}

// oneSize is the time that a worker takes for so many desktops, and its peak memory in MB.
func (e *env) oneSize(n int) (took time.Duration, peak float64, err error) {
	e.rdb.FlushAll(e.ctx)
	c, err := e.cloud(n, 50*time.Millisecond)
	if err != nil {
		return 0, 0, err
	}
	defer c.end()
	ids, err := e.enqueue(max(1, n/bulkSize), min(n, bulkSize))
	if err != nil {
		return 0, 0, err
	}
	cmd, err := e.worker(c, "scale", 0)
	if err != nil {
		return 0, 0, err
	}
	defer end(cmd)
	start := time.Now()
	if _, err = e.until(often, ids, taken); err != nil {
		return 0, 0, err
	}
	took = time.Since(start)
	_, err = e.until(seldom, ids, record.Operation.Sealed)
	return took, peakMemory(cmd.Process.Pid), err
}

// peakMemory is a process's largest resident size so far, in MB.
func peakMemory(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: peak memory needs /proc, which", runtime.GOOS, "lacks")
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
// hang in the cloud, half of them after their effect. It measures how long until the
// last chunk that the worker had claimed has moved on, apart from those whose calls were
// on the wire: they have to wait until their calls can have no effect any more.
func takeover(e *env) ([]figure, error) {
	c, err := e.cloud(bulkSize, 50*time.Millisecond)
	if err != nil {
		return nil, err
	}
	waiting, last, err := e.killOneOfTwo(c, bulkSize, 0, false, func(c tasks.Counts) bool { return c.Accepted+c.Detached > bulkSize/4 })
	c.end()
	if err != nil {
		return nil, err
	}
	e.rdb.FlushAll(e.ctx)
	const hanging, callTimeout = 20 * inFlight * 100, 10 * time.Second
	if c, err = e.cloud(hanging, 50*time.Millisecond, "-hang", strconv.Itoa(inFlight)); err != nil {
		return nil, err
	}
	sent, settled, err := e.killOneOfTwo(c, hanging, callTimeout, true, func(c tasks.Counts) bool { return c.Sending >= inFlight*100 })
	if err != nil {
		return nil, err
	}
	limit := callTimeout + 10*time.Second
	return []figure{
		{fmt.Sprintf("B7 a killed worker's work moves on, %d chunks", waiting), seconds(last),
			"goal 15 s (bare asynq 60 to 120 s)", last.Seconds() / 15, "<= 15 s", last <= 15*time.Second},
		{fmt.Sprintf("B7 its calls are settled, %d chunks", sent), seconds(settled),
			"goal call_timeout (10 s) + 10 s", settled.Seconds() / limit.Seconds(), "<= 20 s", settled <= limit},
	}, nil
}

// killOneOfTwo kills a worker when the counts of an operation of n desktops are as
// wanted, and another takes its place. It returns how many chunks moved on of those that
// the dead one had claimed and sent, or claimed and not sent, and when the last one had.
func (e *env) killOneOfTwo(
	c *cloud, n int, callTimeout time.Duration, sent bool, when func(tasks.Counts) bool,
) (chunks int, last time.Duration, err error) {
	ids, err := e.enqueue(1, n)
	if err != nil {
		return 0, 0, err
	}
	victim, err := e.worker(c, "victim", callTimeout)
	if err != nil {
		return 0, 0, err
	}
	defer end(victim) // again, if it was killed
	if _, err := e.until(often, ids, func(op record.Operation) bool { return when(op.Counts) }); err != nil {
		return 0, 0, err
	}
	other, err := e.worker(c, "other", callTimeout)
	if err != nil {
		return 0, 0, err
	}
	defer end(other)
	end(victim)
	killed := time.Now()
	held, err := e.record.InHand(e.ctx, "victim")
	if err == nil && len(held) == 0 {
		err = errors.New("the worker had claimed nothing when it was killed")
	}
	if err != nil {
		return 0, 0, err
	}
	// All are read before the first wait, as what is sent changes.
	var wanted []queue.Payload
	for _, p := range held {
		onWire, err := e.has(p, func(d record.Row) bool { return d.State == tasks.StateSending })
		if err != nil {
			return 0, 0, err
		}
		if onWire == sent {
			wanted = append(wanted, p)
		}
	}
	for _, p := range wanted {
		if err := e.untilSettled(p); err != nil {
			return 0, 0, err
		}
		last = time.Since(killed)
	}
	return len(wanted), last, nil
}

// has says whether some desktop of a chunk is so.
func (e *env) has(p queue.Payload, so func(record.Row) bool) (bool, error) {
	c, err := e.record.Chunk(e.ctx, p.Operation, p.Chunk)
	return slices.ContainsFunc(c.Desktops, so), err
}

// untilSettled waits until a chunk has no open desktop.
func (e *env) untilSettled(p queue.Payload) error {
	return drill.Until(e.ctx, 10*time.Millisecond, func() (bool, error) {
		open, err := e.has(p, func(d record.Row) bool { return d.State.Open() })
		return !open, err
	})
}

// proof is B8: what it costs to prove a bulk of which the cloud takes ten seconds for
// each desktop, beside the readings before the calls, and how long it takes beyond
// that.
func proof(e *env) ([]figure, error) {
	const delay = 10 * time.Second
	c, err := e.cloud(bulkSize, 50*time.Millisecond, "-delay", delay.String())
	if err != nil {
		return nil, err
	}
	api := &counting{Client: c.Client}
	took, proven, err := e.work(api, 1, bulkSize)
	if err != nil {
		return nil, err
	}
	proofs := api.proofs.Load()
	perRead := bulkSize / float64(proofs)
	return []figure{
		{"B8 desktops proven a reading that proves", fmt.Sprintf("%.0f (%d readings)", perRead, proofs),
			fmt.Sprintf("%d readings before calls", api.before.Load()), perRead / 50, ">= 50", perRead >= 50},
		{"B8 the last one proven after the last call", seconds(proven - took),
			"the cloud takes 10 s", (proven - took).Seconds() / 10, "no goal", true},
	}, nil
}
