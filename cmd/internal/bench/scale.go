package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/drill"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// The dimensions. Desktops are recorded as operations of a hundred each; what fill writes for
// the largest would need more memory and time than a small machine has, so it is computed.
var (
	scaleProjects = []int{1, 10, 100}
	scaleWorkers  = []int{1, 4, 16}
	scaleRecorded = []int{10_000, 1_000_000, 10_000_000}
)

const (
	measuredUpTo = 1_000_000
	perOperation = 100
	scaleBulk    = 50_000 // desktops detached for each line, on top of what is recorded
	scaleUrgent  = 100    // urgent operations before them
)

// line is a line of the table. Times are in ms, memory in MB, CPU in microseconds a desktop.
type line struct {
	Projects    int     `json:"projects"`
	Workers     int     `json:"workers"`
	Recorded    int     `json:"recorded"`
	Computed    bool    `json:"computed"`
	Rate        float64 `json:"desktops_a_second"`
	WorkerCPU   float64 `json:"worker_cpu_us"`
	RedisCPU    float64 `json:"redis_cpu_us"`
	Accepted50  float64 `json:"accepted_p50_ms"`
	Accepted99  float64 `json:"accepted_p99_ms"`
	Urgent99    float64 `json:"urgent_p99_ms"`
	RedisMemory float64 `json:"redis_mb"`
	WorkerPeak  float64 `json:"worker_mb"`
	Page        float64 `json:"page_p95_ms"`
	PageName    string  `json:"page"`
}

const (
	scaleHead = "| projects | workers | recorded | desktops/s | CPU a desktop, workers / Redis | accepted p50 / p99 | urgent p99 " +
		"| Redis | largest worker | slowest page p95 | |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n"
	scaleRow = "| %d | %d | %s | %.0f | %.0f / %.0f us | %.1f / %.1f ms | %.1f ms | %.0f MB | %.0f MB | %.0f ms | %s |\n"
)

func (l line) String() string {
	how := "measured"
	if l.Computed {
		how = "computed"
	}
	return fmt.Sprintf(scaleRow, l.Projects, l.Workers, power(l.Recorded), l.Rate, l.WorkerCPU, l.RedisCPU, l.Accepted50, l.Accepted99,
		l.Urgent99, l.RedisMemory, l.WorkerPeak, l.Page, how)
}

// power writes a power of ten.
func power(n int) string { return fmt.Sprintf("10^%.0f", math.Log10(float64(n))) }

// columns are what may grow by the logarithm of what is recorded.
var columns = []struct {
	name string
	of   func(*line) *float64
}{
	{"CPU of workers a desktop", func(l *line) *float64 { return &l.WorkerCPU }},
	{"CPU of Redis a desktop", func(l *line) *float64 { return &l.RedisCPU }},
	{"an accepted request, p50", func(l *line) *float64 { return &l.Accepted50 }},
	{"an accepted request, p99", func(l *line) *float64 { return &l.Accepted99 }},
	{"urgent, p99", func(l *line) *float64 { return &l.Urgent99 }},
	{"the largest worker's memory", func(l *line) *float64 { return &l.WorkerPeak }},
	{"the slowest page", func(l *line) *float64 { return &l.Page }},
}

// measureScale prints the table, and returns its lines and how each column grows. After limit
// it ends with an error, and the table has what was measured.
func measureScale(ctx context.Context, limit time.Duration) (table []line, growth []figure, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not finished after %s", limit))
	defer cancel()
measuring:
	for _, projects := range scaleProjects {
		for _, recorded := range scaleRecorded {
			if recorded > measuredUpTo {
				continue
			}
			err = onEnv(ctx, func(e *env) error {
				lines, err := e.scaleLines(projects, recorded, scaleWorkers)
				table = append(table, lines...)
				return err
			})
			if err != nil {
				err = fmt.Errorf("%d projects, %s desktops: %w", projects, power(recorded), errors.Join(context.Cause(ctx), err))
				break measuring
			}
		}
	}
	table = append(table, computed(table)...)
	slices.SortFunc(table, func(a, b line) int {
		return cmp.Or(a.Projects-b.Projects, a.Workers-b.Workers, a.Recorded-b.Recorded)
	})
	fmt.Print(scaleHead)
	for _, l := range table {
		fmt.Print(l)
	}
	return table, growths(table), err
}

// measureOne prints one line of the table, given as PROJECTSxWORKERSxRECORDED.
func measureOne(ctx context.Context, which string) error {
	var projects, workers, recorded int
	if n, err := fmt.Sscanf(which, "%dx%dx%d", &projects, &workers, &recorded); err != nil || n != 3 {
		return fmt.Errorf("-line is %q: write PROJECTSxWORKERSxRECORDED, as 100x16x10000", which)
	}
	return onEnv(ctx, func(e *env) error {
		lines, err := e.scaleLines(projects, recorded, []int{workers})
		fmt.Print(scaleHead)
		for _, l := range lines {
			fmt.Print(l)
		}
		return err
	})
}

// scaleLines are the lines of so many projects and desktops recorded, for some numbers of workers.
func (e *env) scaleLines(projects, recorded int, numbers []int) (out []line, err error) {
	l, err := e.fill(shape{ops: recorded / perOperation, each: perOperation, projects: projects})
	if err != nil {
		return nil, err
	}
	if err := e.rewriteFile(); err != nil {
		return nil, err
	}
	first := line{Projects: projects, Recorded: recorded, RedisMemory: float64(e.info("memory", "used_memory")) / (1 << 20)}
	h, err := e.serve(l.projects)
	if err != nil {
		return nil, err
	}
	for _, pages := range []map[string]func(context.Context) (int, error){l.pages(), h.pages(l)} {
		name, p95, err := slowestOf(e.ctx, 20, pages)
		if err != nil {
			return nil, err
		}
		if p95 > first.Page {
			first.Page, first.PageName = p95, name
		}
	}
	next := recorded // the first desktop that no operation has named
	for _, workers := range numbers {
		x := first
		x.Workers = workers
		began := time.Now()
		if err := e.measureLine(&x, l.projects, h, next); err != nil {
			return out, fmt.Errorf("%d workers: %w", workers, err)
		}
		fmt.Fprintf(os.Stderr, "%d projects, %d workers, %s desktops: %.0f s; slowest page: %s\n",
			projects, workers, power(recorded), time.Since(began).Seconds(), x.PageName)
		out, next = append(out, x), next+scaleBulk+scaleUrgent
	}
	return out, nil
}

// rewriteFile makes Redis rewrite its file and waits until the disk has it, so that a line is not
// measured beside the rewriting of what was recorded before it.
func (e *env) rewriteFile() error {
	e.untilNoRewrite()
	if err := e.rdb.BgRewriteAOF(e.ctx).Err(); err != nil {
		return err
	}
	e.untilNoRewrite()
	syscall.Sync()
	return nil
}

// measureLine starts workers, sends them urgent operations one by one, and then a bulk.
func (e *env) measureLine(x *line, projects []string, h *site, first int) error {
	w := newWatched(projects, first)
	defer w.server.Close()
	workers, err := e.workers(x.Workers, x.Projects, w.server.URL)
	defer func() {
		for _, cmd := range workers {
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
		for _, cmd := range workers {
			_ = cmd.Wait()
		}
	}()
	if err != nil {
		return err
	}
	n := 0
	accepted, urgent, err := sample(e.ctx, scaleUrgent, func() (accepted, urgent float64, err error) {
		id := fakecloud.TypicalID(first + n)
		trip, start := w.begin(id), time.Now()
		if err := h.submit(e.ctx, projects[n%len(projects)], id); err != nil {
			return 0, 0, err
		}
		n++
		accepted = millis(time.Since(start))
		select {
		case <-trip.over:
			return accepted, millis(trip.at[reading].Sub(start)), nil
		case <-e.ctx.Done():
			return 0, 0, context.Cause(e.ctx)
		}
	})
	if err != nil {
		return err
	}
	x.Accepted50, x.Accepted99, x.Urgent99 = drill.Quantile(accepted, .5), drill.Quantile(accepted, .99), drill.Quantile(urgent, .99)
	return e.measureBulk(x, projects, w, workers, first+n)
}

// measureBulk measures a bulk from its acceptance until all of it is confirmed, and the rate of
// calls while the middle half of it leaves: what begins and ends does not count.
func (e *env) measureBulk(x *line, projects []string, w *watched, workers []*exec.Cmd, first int) error {
	p, err := e.producerOf(projects)
	if err != nil {
		return err
	}
	cpu, err := e.cpuSoFar(workers)
	if err != nil {
		return err
	}
	w.restart()
	ids := make([]string, len(projects))
	each := scaleBulk / len(projects)
	g, ctx := errgroup.WithContext(e.ctx)
	g.SetLimit(4)
	for i, project := range projects {
		g.Go(func() error {
			op, err := p.Enqueue(ctx, tasks.Request{Project: project, Desktops: desktopIDs(first+i*each, each)})
			ids[i] = op.ID
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	all, err := e.until(seldom, ids, record.Operation.Done)
	if err != nil {
		return err
	}
	if all.Detached != scaleBulk {
		return fmt.Errorf("%d of %d desktops were detached", all.Detached, scaleBulk)
	}
	used, err := e.cpuSoFar(workers)
	if err != nil {
		return err
	}
	x.WorkerCPU, x.RedisCPU = (used[0]-cpu[0])/scaleBulk, (used[1]-cpu[1])/scaleBulk
	x.Rate = w.rate()
	for _, cmd := range workers {
		x.WorkerPeak = max(x.WorkerPeak, peakMemory(cmd.Process.Pid))
	}
	return nil
}

// workers starts some at once. Those that started are returned with an error, too.
func (e *env) workers(n, projects int, url string) ([]*exec.Cmd, error) {
	var mu sync.Mutex
	var out []*exec.Cmd
	var g errgroup.Group
	for i := range n {
		g.Go(func() error {
			cmd, _, err := e.child("worker", "-redis", e.redis.Addr(), "-cloud", url, "-id", fmt.Sprint("scale-", i),
				"-projects", fmt.Sprint(projects), "-profiles", e.profiles)
			mu.Lock()
			defer mu.Unlock()
			if cmd != nil {
				out = append(out, cmd)
			}
			return err
		})
	}
	err := g.Wait()
	return out, err
}

// cpuSoFar is the CPU time of all workers and of Redis, in microseconds.
func (e *env) cpuSoFar(workers []*exec.Cmd) (out [2]float64, err error) {
	redis, err := cpuTime(int(e.info("server", "process_id")))
	out[1] = float64(redis.Microseconds())
	for _, cmd := range workers {
		one, cannot := cpuTime(cmd.Process.Pid)
		out[0] += float64(one.Microseconds())
		err = errors.Join(err, cannot)
	}
	return out, err
}

// submit is POST /v1/operations with an urgent desktop.
func (s *site) submit(ctx context.Context, project, desktop string) error {
	body, err := json.Marshal(map[string]any{"project": project, "desktops": []string{desktop}, "urgent": true})
	if err != nil {
		return err
	}
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/operations", bytes.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+string(s.key))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code/100 != 2 {
		return fmt.Errorf("POST /v1/operations answers %d: %s", w.Code, w.Body)
	}
	return nil
}

// watched is a fake cloud in this process that notes what arrives.
type watched struct {
	trips
	cloud  *fakecloud.Cloud
	server *httptest.Server

	mu    sync.Mutex
	calls []call
}

type call struct {
	at       time.Time
	desktops int
}

// newWatched has the desktops of one line in all projects.
func newWatched(projects []string, first int) *watched {
	const latency = 50 * time.Millisecond
	w := &watched{
		trips: trips{waiting: map[string]*trip{}},
		cloud: fakecloud.New(fakecloud.Config{Token: token, Latency: latency, ReadLatency: latency, DiscardLog: true}),
	}
	each := scaleBulk / len(projects)
	for i := range scaleUrgent {
		w.cloud.Add(cloudID(i%len(projects)), fakecloud.Typical(first+i))
	}
	for i := range projects {
		for n := range each {
			w.cloud.Add(cloudID(i), fakecloud.Typical(first+scaleUrgent+i*each+n))
		}
	}
	w.server = httptest.NewServer(w)
	return w
}

func (w *watched) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/desktops/detail"):
		w.note(reading, r.URL.Query()["desktop_id"])
	case strings.HasSuffix(r.URL.Path, "/desktops/detach"):
		body, err := io.ReadAll(r.Body)
		var req struct {
			IDs []string `json:"desktop_ids"`
		}
		if err != nil || json.Unmarshal(body, &req) != nil {
			http.Error(rw, "unreadable", http.StatusBadRequest)
			return
		}
		w.note(called, req.IDs)
		w.mu.Lock()
		w.calls = append(w.calls, call{time.Now(), len(req.IDs)})
		w.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	w.cloud.ServeHTTP(rw, r)
}

// restart forgets the calls so far.
func (w *watched) restart() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = nil
}

// rate is the desktops a second of the middle half of the calls.
func (w *watched) rate() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	some := w.calls[len(w.calls)/4 : len(w.calls)*3/4]
	desktops := 0
	for _, c := range some[1:] {
		desktops += c.desktops
	}
	return float64(desktops) / some[len(some)-1].at.Sub(some[0].at).Seconds()
}

// growth is the spread of how a column grows from the smallest record to the largest that was
// measured, over all numbers of projects and workers, and its values at both.
func growth(table []line, of func(*line) *float64) (r spread, before, after []float64) {
	for _, large := range table {
		if large.Recorded != measuredUpTo {
			continue
		}
		for _, small := range table {
			if small.Recorded == scaleRecorded[0] && small.Projects == large.Projects && small.Workers == large.Workers {
				before, after = append(before, *of(&small)), append(after, *of(&large))
			}
		}
	}
	if len(before) > 0 {
		r = ratios(after, before)
	}
	return r, before, after
}

// computed are the lines of records that are larger than what was measured. Redis needs as much
// for each further desktop, and everything else grows on as it did in all lines, by the same
// factor for each power of ten. What did not grow stays.
func computed(table []line) (out []line) {
	for _, recorded := range scaleRecorded {
		if recorded <= measuredUpTo {
			continue
		}
		further := math.Log(float64(recorded)/measuredUpTo) / math.Log(measuredUpTo/float64(scaleRecorded[0]))
		for _, x := range table {
			if x.Recorded != measuredUpTo {
				continue
			}
			for _, c := range columns {
				r, _, _ := growth(table, c.of)
				*c.of(&x) *= math.Pow(max(1, r.median), further)
			}
			r, _, _ := growth(table, func(l *line) *float64 { return &l.Rate })
			x.Rate *= math.Pow(min(1, r.median), further)
			x.RedisMemory *= float64(recorded) / measuredUpTo
			x.Recorded, x.Computed = recorded, true
			out = append(out, x)
		}
	}
	return out
}

// growths are the figures of all columns, beside the logarithm of what is recorded.
func growths(table []line) (out []figure) {
	goal := math.Log(measuredUpTo) / math.Log(float64(scaleRecorded[0]))
	for _, c := range columns {
		r, before, after := growth(table, c.of)
		if len(before) == 0 {
			continue
		}
		out = append(out, figure{fmt.Sprintf("S %s, %s beside %s", c.name, power(measuredUpTo), power(scaleRecorded[0])),
			fmt.Sprintf("%.1f", spreadOf(after).median), r.of(len(after), fmt.Sprintf("%.1f", spreadOf(before).median)),
			r.median, fmt.Sprintf("<= %.1f, the log", goal), r.median <= goal})
	}
	return out
}
