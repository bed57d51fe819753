package main

import (
	"context"
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
	"github.com/detachd/detachd/tasks"
)

const bulkSize = 100_000

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// bulk is B1.
func bulk(s *stage) ([]figure, error) {
	c, _, err := s.cloud(50 * time.Millisecond)
	if err != nil {
		return nil, err
	}
	base, err := limit(s.ctx, c, bulkSize)
	if err != nil {
		return nil, err
	}
	ids, err := s.enqueue(1, bulkSize, false)
	if err != nil {
		return nil, err
	}
	ours, _, err := s.work(c, ids)
	if err != nil {
		return nil, err
	}
	ratio := base.Seconds() / ours.Seconds()
	return []figure{{"B1 100,000 in one operation, 50 ms API", seconds(ours), "limit " + seconds(base), ratio, ">= 0.95", ratio >= 0.95}}, nil
}

// bulkInstant is B2. Three runs of each in turn; the medians count, because
// with an instant API everything is CPU and the machine is shared.
func bulkInstant(s *stage) ([]figure, error) {
	c, _, err := s.cloud(0)
	if err != nil {
		return nil, err
	}
	var base, ours []float64
	for range 3 {
		s.rdb.FlushAll(s.ctx)
		b, _, err := asynqTasks(s.ctx, s.rdb, c, bulkSize, 100, inFlight, false)
		if err != nil {
			return nil, err
		}
		s.rdb.FlushAll(s.ctx)
		ids, err := s.enqueue(1, bulkSize, false)
		if err != nil {
			return nil, err
		}
		o, _, err := s.work(c, ids)
		if err != nil {
			return nil, err
		}
		base, ours = append(base, b.Seconds()), append(ours, o.Seconds())
	}
	b, o := median(base), median(ours)
	return []figure{{"B2 the same, instant API", fmt.Sprintf("%.2f s", o), fmt.Sprintf("bare asynq %.2f s", b), b / o, ">= 0.5", b/o >= 0.5}}, nil
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// counting counts the calls of an API.
type counting struct {
	*apiclient.Client
	calls atomic.Int64
	reads atomic.Int64
	wire  func(ids []string) // called as a request leaves
}

func (c *counting) Detach(ctx context.Context, req apiclient.DetachRequest) (*apiclient.DetachResult, error) {
	c.calls.Add(1)
	if c.wire != nil {
		c.wire(req.DesktopIDs)
	}
	return c.Client.Detach(ctx, req)
}

func (c *counting) Desktops(ctx context.Context, ids []string) ([]apiclient.Desktop, error) {
	c.reads.Add(1)
	return c.Client.Desktops(ctx, ids)
}

// singles is B3: operations that wait when the worker starts.
func singles(s *stage) ([]figure, error) {
	const n = 1000
	c, _, err := s.cloud(50 * time.Millisecond)
	if err != nil {
		return nil, err
	}
	naive, _, err := asynqTasks(s.ctx, s.rdb, c, n, 1, inFlight, false)
	if err != nil {
		return nil, err
	}
	s.rdb.FlushAll(s.ctx)
	group, _, err := asynqTasks(s.ctx, s.rdb, c, n, 1, inFlight, true)
	if err != nil {
		return nil, err
	}
	s.rdb.FlushAll(s.ctx)
	ids, err := s.enqueue(n, 1, false)
	if err != nil {
		return nil, err
	}
	api := &counting{Client: c}
	ours, _, err := s.work(api, ids)
	if err != nil {
		return nil, err
	}
	rn, rg, calls := naive.Seconds()/ours.Seconds(), group.Seconds()/ours.Seconds(), api.calls.Load()
	return []figure{
		{"B3 1,000 one-desktop operations", seconds(ours), "naive " + seconds(naive), rn, ">= 12x", rn >= 12},
		{"B3 the same", seconds(ours), "group " + seconds(group), rg, ">= 25x", rg >= 25},
		{"B3 API calls", strconv.FormatInt(calls, 10), "naive 1000", 1000 / float64(calls), "<= 50 calls", calls <= 50},
	}, nil
}

// urgent is B4: from Enqueue to the request on the wire, with an idle worker and
// during a bulk.
func urgent(s *stage) ([]figure, error) {
	c, _, err := s.cloud(50 * time.Millisecond)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	waiting := map[string]chan time.Time{}
	api := &counting{Client: c, wire: func(ids []string) {
		now := time.Now()
		mu.Lock()
		defer mu.Unlock()
		for _, id := range ids {
			if ch := waiting[id]; ch != nil {
				ch <- now
			}
		}
	}}
	w, err := newWorker(s.rdb, "bench-worker", api)
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
	n := 0
	one := func() (float64, error) {
		n++
		id := fmt.Sprintf("urgent-%d", n)
		ch := make(chan time.Time, 1)
		mu.Lock()
		waiting[id] = ch
		mu.Unlock()
		start := time.Now()
		if _, err := p.Enqueue(s.ctx, tasks.Request{Project: alias, Desktops: []string{id}, Urgent: true}); err != nil {
			return 0, err
		}
		select {
		case at := <-ch:
			return float64(at.Sub(start).Microseconds()) / 1000, nil
		case <-s.ctx.Done():
			return 0, s.ctx.Err()
		}
	}
	idle, err := sample(s.ctx, 200, one)
	if err != nil {
		return nil, err
	}
	ids, err := s.enqueue(1, bulkSize, false)
	if err != nil {
		return nil, err
	}
	busy, err := sample(s.ctx, 80, one)
	if err != nil {
		return nil, err
	}
	record := tasks.NewRecord(s.rdb, tasks.RecordConfig{})
	if op, err := record.Operation(s.ctx, ids[0]); err != nil || taken(op) {
		return nil, fmt.Errorf("the bulk had ended before the urgent ones were measured: %w", err)
	}
	if _, err := s.until(ids, tasks.Operation.Done); err != nil {
		return nil, err
	}
	line := func(name string, v []float64, goal float64) figure {
		p50, p99 := quantile(v, .5), quantile(v, .99)
		return figure{name, fmt.Sprintf("p50 %.1f p99 %.1f ms", p50, p99), fmt.Sprintf("goal %.0f ms", goal), p99 / goal,
			fmt.Sprintf("p99 <= %.0f ms", goal), p99 <= goal}
	}
	return []figure{line("B4 urgent to the wire, idle worker", idle, 50), line("B4 urgent to the wire, during a bulk", busy, 250)}, nil
}

// sample measures n times with pauses that do not beat with a poll interval.
func sample(ctx context.Context, n int, one func() (float64, error)) ([]float64, error) {
	var out []float64
	for i := range n {
		v, err := one()
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Duration(5+i*7%37) * time.Millisecond):
		}
	}
	return out, nil
}

func quantile(v []float64, q float64) float64 {
	slices.Sort(v)
	return v[min(len(v)-1, int(math.Ceil(q*float64(len(v))))-1)]
}

// refusing is an API that refuses every fiftieth desktop for good, for B5.
type refusing struct{ *apiclient.Client }

func (c refusing) Detach(ctx context.Context, req apiclient.DetachRequest) (*apiclient.DetachResult, error) {
	res, err := c.Client.Detach(ctx, req)
	if err == nil {
		for i := 0; i < len(req.DesktopIDs); i += 50 {
			res.Failed = append(res.Failed, apiclient.DesktopFailure{
				DesktopID: req.DesktopIDs[i], DesktopName: fmt.Sprintf("DESKTOP-%05d", i), Code: "WKS.00010110",
				Message: "Desktops cannot obtain valid IP addresses.",
			})
		}
	}
	return res, err
}

// cost is B5: what ended operations of 100,000, one and ten of them, leave in Redis
// with the state before of every desktop, and what it took to get there. Commands
// are those that were sent; what scripts did inside Redis is not seen by a client
// and is told apart.
func cost(s *stage) ([]figure, error) {
	c, _, err := s.cloud(0)
	if err != nil {
		return nil, err
	}
	var sent atomic.Int64
	s.rdb.AddHook(countCommands{&sent})
	var out []figure
	for _, run := range []struct {
		ops  int
		name string
	}{{1, "100,000"}, {10, "1,000,000"}} {
		s.rdb.FlushAll(s.ctx)
		before, executed := s.info("memory", "used_memory"), s.info("stats", "total_commands_processed")
		sent.Store(0)
		ids, err := s.enqueue(run.ops, bulkSize, false)
		if err != nil {
			return nil, err
		}
		w, err := newWorker(s.rdb, "bench-worker", refusing{c})
		if err != nil {
			return nil, err
		}
		if err := w.Start(s.ctx); err != nil {
			return nil, err
		}
		_, err = s.until(ids, func(op tasks.Operation) bool { return op.Seal != "" }) // and the names are indexed
		w.Stop()
		if err != nil {
			return nil, err
		}
		total := float64(run.ops * bulkSize)
		bytes := float64(s.info("memory", "used_memory")-before) / total
		commands := float64(sent.Load()) / total
		inside := float64(s.info("stats", "total_commands_processed")-executed) / total
		out = append(out,
			figure{"B5 Redis at rest, bytes a desktop, of " + run.name, fmt.Sprintf("%.0f B", bytes), "goal 400 B, 2 % failed", bytes / 400, "<= 400", bytes <= 400},
			figure{"B5 Redis commands sent a desktop, of " + run.name, fmt.Sprintf("%.3f", commands), fmt.Sprintf("run by Redis, scripts' too: %.3f", inside), commands / 0.35, "<= 0.35", commands <= 0.35},
		)
	}
	return out, nil
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
	_, url, err := s.cloud(50 * time.Millisecond)
	if err != nil {
		return nil, err
	}
	var rates, peaks []float64
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		ids, err := s.enqueue(max(1, n/bulkSize), min(n, bulkSize), false)
		if err != nil {
			return nil, err
		}
		start := time.Now()
		cmd, _, err := s.child("worker", "-redis", s.redis.Addr(), "-cloud", url, "-id", "scale")
		if err != nil {
			return nil, err
		}
		_, err = s.until(ids, taken)
		took := time.Since(start)
		if err == nil {
			_, err = s.until(ids, tasks.Operation.Done)
		}
		peaks = append(peaks, peakMemory(cmd.Process.Pid))
		end(cmd)
		if err != nil {
			return nil, err
		}
		s.rdb.FlushAll(s.ctx)
		rates = append(rates, float64(n)/took.Seconds())
	}
	worst := slices.Min(rates) / slices.Max(rates)
	peak, flat := slices.Max(peaks), peaks[2]/peaks[1]
	return []figure{
		{"B6 desktops/s at 10,000, 100,000, 1,000,000", fmt.Sprintf("%.0f %.0f %.0f", rates[0], rates[1], rates[2]), "each other", worst, ">= 0.9", worst >= 0.9},
		{"B6 the worker's peak memory", fmt.Sprintf("%.0f MB", peak), "goal 150 MB", peak / 150, "<= 150 MB", peak <= 150},
		{"B6 of that, at 1,000,000 beside 100,000", fmt.Sprintf("%.0f MB", peaks[2]), fmt.Sprintf("%.0f MB", peaks[1]), flat, "<= 1.25", flat <= 1.25},
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

// takeover is B7: one of two workers is killed in mid-bulk; how long until the
// last chunk that it had in hand has moved on.
func takeover(s *stage) ([]figure, error) {
	_, url, err := s.cloud(50 * time.Millisecond)
	if err != nil {
		return nil, err
	}
	ids, err := s.enqueue(1, bulkSize, false)
	if err != nil {
		return nil, err
	}
	victim, _, err := s.child("worker", "-redis", s.redis.Addr(), "-cloud", url, "-id", "victim")
	if err != nil {
		return nil, err
	}
	other, _, err := s.child("worker", "-redis", s.redis.Addr(), "-cloud", url, "-id", "other")
	if err != nil {
		return nil, err
	}
	defer end(other)
	record := tasks.NewRecord(s.rdb, tasks.RecordConfig{})
	for {
		op, err := record.Operation(s.ctx, ids[0])
		if err != nil {
			return nil, err
		}
		if op.Counts.Accepted > bulkSize/4 {
			break
		}
	}
	end(victim)
	killed := time.Now()
	held, err := record.InHand(s.ctx, "victim")
	if err != nil {
		return nil, err
	}
	if len(held) == 0 {
		return nil, fmt.Errorf("the worker had nothing in hand when it was killed")
	}
	var moved time.Duration
	for _, p := range held {
		for {
			c, err := record.Chunk(s.ctx, p.Operation, p.Chunk)
			if err != nil {
				return nil, err
			}
			if !slices.ContainsFunc(c.Desktops, func(d tasks.Desktop) bool { return d.State.Open() }) {
				moved = max(moved, time.Since(killed))
				break
			}
			select {
			case <-s.ctx.Done():
				return nil, s.ctx.Err()
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	return []figure{{"B7 a killed worker's work is done, " + strconv.Itoa(len(held)) + " chunks", seconds(moved), "goal 15 s (bare asynq 60 to 120 s)", moved.Seconds() / 15, "<= 15 s", moved <= 15*time.Second}}, nil
}

// proof is B8: what it costs to prove a bulk of which the cloud takes ten
// seconds for each desktop, and how long it takes beyond that.
func proof(s *stage) ([]figure, error) {
	const delay = 10 * time.Second
	c, _, err := s.cloud(50*time.Millisecond, "-delay", delay.String())
	if err != nil {
		return nil, err
	}
	ids, err := s.enqueue(1, bulkSize, false)
	if err != nil {
		return nil, err
	}
	api := &counting{Client: c}
	took, proven, err := s.work(api, ids)
	if err != nil {
		return nil, err
	}
	perRead := bulkSize / float64(api.reads.Load())
	return []figure{
		{"B8 desktops proven an API read", fmt.Sprintf("%.0f (%d reads)", perRead, api.reads.Load()), "the cloud takes 10 s", perRead / 50, ">= 50", perRead >= 50},
		{"B8 the last one proven after the last call", seconds(proven - took), "the cloud takes 10 s", (proven - took).Seconds() / 10, "no goal", true},
	}, nil
}
