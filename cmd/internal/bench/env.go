package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/cmd/internal/drill"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
	"github.com/detachd/detachd/worker"
)

const (
	alias     = "bench"
	projectID = "0bec5db98280d2d02fd6c00c2de791ce"
	token     = "bench-token"
	inFlight  = 10
)

// env is what a benchmark runs on: a redis-server, the fake cloud, and what else it
// starts. close ends all of it.
type env struct {
	ctx    context.Context
	redis  *redistest.Server
	rdb    redis.UniversalClient
	record *record.Record // for watching, with a client of its own
	closes []func()

	profiles string // directory for profiles of workers; empty: none
}

func newEnv(ctx context.Context) (*env, error) {
	dir, err := os.MkdirTemp("", "detachd-bench-")
	if err != nil {
		return nil, err
	}
	e := &env{ctx: ctx, closes: []func(){func() { _ = os.RemoveAll(dir) }}}
	if e.redis, err = redistest.Run(dir); err != nil {
		e.close()
		return nil, err
	}
	e.closes = append(e.closes, e.redis.Stop)
	e.rdb = redis.NewClient(&redis.Options{Addr: e.redis.Addr(), PoolSize: 64})
	watch := redis.NewClient(&redis.Options{Addr: e.redis.Addr()})
	e.record = record.New(watch, record.Config{})
	e.closes = append(e.closes, func() { _ = e.rdb.Close() }, func() { _ = watch.Close() })
	return e, nil
}

func (e *env) close() {
	for i := len(e.closes) - 1; i >= 0; i-- {
		e.closes[i]()
	}
}

// cloud is the fake cloud in a process of its own, and a client of it.
type cloud struct {
	*apiclient.Client
	url string
	end func() // close ends it too
}

// cloud starts one that has the first n typical desktops, and nothing else, and in
// which calls and readings take as long as latency.
func (e *env) cloud(n int, latency time.Duration, more ...string) (*cloud, error) {
	cmd, url, err := e.child(append([]string{"cloud", "-desktops", strconv.Itoa(n), "-latency", latency.String()}, more...)...)
	if err != nil {
		return nil, err
	}
	c := &cloud{url: url, end: func() { end(cmd) }}
	e.closes = append(e.closes, c.end)
	c.Client, err = newClient(url)
	return c, err
}

func newClient(url string) (*apiclient.Client, error) { return clientOf(url, projectID) }

func clientOf(url, project string) (*apiclient.Client, error) {
	return apiclient.New(apiclient.Config{ProjectID: project, Endpoint: url, Auth: apiclient.StaticToken(token)})
}

// aliases are those of n projects, and cloudID is the id of one of them.
func aliases(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = alias
		if i > 0 {
			out[i] += fmt.Sprint("-", i)
		}
	}
	return out
}

func cloudID(i int) string {
	if i == 0 {
		return projectID
	}
	return fmt.Sprintf("%032x", i)
}

// child starts this binary in another role and reads the line it prints first.
func (e *env) child(args ...string) (*exec.Cmd, string, error) {
	cmd := exec.CommandContext(e.ctx, os.Args[0], args...)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // closed when this process ends, whatever ends it
		return nil, "", err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		end(cmd)
		return nil, "", fmt.Errorf("%s did not start: %w", args[0], err)
	}
	return cmd, strings.TrimSpace(line), nil
}

func end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// untilParentEnds returns when the parent process has gone, or on a signal.
func untilParentEnds() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	<-ctx.Done()
}

// serveCloud is the role "cloud".
func serveCloud(args []string) error {
	fs := flag.NewFlagSet("cloud", flag.ContinueOnError)
	desktops := fs.Int("desktops", 0, "typical desktops that exist")
	latency := fs.Duration("latency", 0, "of each detach call and each reading")
	delay := fs.Duration("delay", 0, "from the acceptance of a detach until it is done")
	hang := fs.Int("hang", 0, "the first detach calls that hang, every second one without an effect")
	if err := fs.Parse(args); err != nil {
		return err
	}
	cfg := fakecloud.Config{Token: token, Latency: *latency, ReadLatency: *latency, DetachDelay: *delay, DiscardLog: true}
	srv, err := fakecloud.Serve(cfg, "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer srv.Close()
	for i := range *desktops {
		srv.Add(projectID, fakecloud.Typical(i))
	}
	for n := range *hang {
		effect := fakecloud.HangBefore
		if n%2 == 0 {
			effect = fakecloud.HangAfter
		}
		srv.Fail(fakecloud.Fault{Calls: []int{n + 1}, Effect: effect})
	}
	fmt.Println(srv.URL)
	untilParentEnds()
	return nil
}

// serveWorker is the role "worker".
func serveWorker(args []string) error {
	fs := flag.NewFlagSet("worker", flag.ContinueOnError)
	addr, url, id := fs.String("redis", "", ""), fs.String("cloud", "", ""), fs.String("id", "", "")
	timeout := fs.Duration("timeout", 0, "call_timeout; 0: the default")
	projects := fs.Int("projects", 1, "that it serves")
	profiles := fs.String("profiles", "", "directory for a CPU profile")
	if err := fs.Parse(args); err != nil {
		return err
	}
	app.GrowHeap() // as the worker command does
	stop, err := profile(*profiles, "worker-"+*id)
	if err != nil {
		return err
	}
	defer stop()
	rdb := redis.NewClient(&redis.Options{Addr: *addr, PoolSize: 64})
	defer rdb.Close()
	apis := make([]worker.API, *projects)
	for i := range apis {
		if apis[i], err = clientOf(*url, cloudID(i)); err != nil {
			return err
		}
	}
	w, err := workerOf(rdb, *id, apis, *timeout)
	if err != nil {
		return err
	}
	if err := w.Start(context.Background()); err != nil {
		return err
	}
	defer w.Stop()
	fmt.Println(*id)
	untilParentEnds()
	return nil
}

// newWorker is a worker of one project.
func newWorker(
	rdb redis.UniversalClient, id string, api worker.API, callTimeout time.Duration, change ...func(*worker.Config),
) (*worker.Worker, error) {
	return workerOf(rdb, id, []worker.API{api}, callTimeout, change...)
}

// workerOf is a worker as a user runs it, without a rate limit, of a project for each API. Of
// its slots each takes a batch through reading and call, as each worker of the baselines does;
// proving has as many readings at a time.
func workerOf(
	rdb redis.UniversalClient, id string, apis []worker.API, callTimeout time.Duration, change ...func(*worker.Config),
) (*worker.Worker, error) {
	// What passes costs the same as what is within a limit. A canary would wait for readings, once.
	limit := tasks.Limit{Desktops: 1, Percent: 100, Window: time.Hour}
	stopLoss := tasks.StopLoss{Desktops: tasks.MaxDesktops, Percent: 99}
	cfg := worker.Config{Redis: rdb, ID: id, Log: zerolog.New(os.Stderr).Level(zerolog.ErrorLevel)}
	for i, name := range aliases(len(apis)) {
		cfg.Projects = append(cfg.Projects, worker.Project{
			Alias: name, API: apis[i], MaxInFlight: inFlight, MaxReads: inFlight, CallTimeout: callTimeout,
			Limit: &limit, Canary: &tasks.Canary{}, StopLoss: &stopLoss,
		})
	}
	for _, f := range change {
		f(&cfg)
	}
	return worker.New(cfg)
}

func (e *env) producer() (*record.Producer, error) { return e.producerOf(aliases(1)) }

func (e *env) producerOf(projects []string) (*record.Producer, error) {
	return record.NewProducer(e.rdb, record.ProducerConfig{Projects: projects})
}

// desktopIDs are the ids of n typical desktops.
func desktopIDs(first, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fakecloud.TypicalID(first + i)
	}
	return out
}

// enqueue accepts ops operations of n desktops each, all different.
func (e *env) enqueue(ops, n int) ([]string, error) {
	p, err := e.producer()
	if err != nil {
		return nil, err
	}
	var ids []string
	for i := range ops {
		op, err := p.Enqueue(e.ctx, tasks.Request{Project: alias, Desktops: desktopIDs(i*n, n)})
		if err != nil {
			return nil, err
		}
		ids = append(ids, op.ID)
	}
	return ids, nil
}

// How often a figure looks whether it is over: to know when, and to leave Redis alone.
const (
	often = 5 * time.Millisecond
	// At every 5 ms a sixth of Redis' CPU time in B12 was for the questions.
	seldom = 100 * time.Millisecond
)

// until waits until cond is true for every operation, and returns the counts of them all.
func (e *env) until(every time.Duration, ids []string, cond func(record.Operation) bool) (all tasks.Counts, err error) {
	for _, id := range ids {
		var op record.Operation
		err := drill.Until(e.ctx, every, func() (_ bool, err error) {
			op, err = e.record.Operation(e.ctx, id)
			return cond(op), err
		})
		if err != nil {
			return all, err
		}
		all.Accepted += op.Counts.Accepted
		all.Detached += op.Counts.Detached
		all.Failed += op.Counts.Failed
		all.Held += op.Counts.Held
	}
	return all, nil
}

// taken says that the cloud has answered for every desktop; what it accepted is
// not confirmed yet.
func taken(op record.Operation) bool {
	return op.Counts.Queued == 0 && op.Counts.Sending == 0
}

// on measures on a Redis without keys and a cloud of its own, which it ends.
func (e *env) on(desktops int, latency time.Duration, run func(*cloud) (time.Duration, error)) (time.Duration, error) {
	e.rdb.FlushAll(e.ctx)
	c, err := e.cloud(desktops, latency)
	if err != nil {
		return 0, err
	}
	defer c.end()
	return run(c)
}

// took is the first result of work.
func (e *env) took(api worker.API, ops, n int) (time.Duration, error) {
	took, _, err := e.work(api, ops, n)
	return took, err
}

// worker starts a worker in a process of its own.
func (e *env) worker(c *cloud, id string, callTimeout time.Duration) (*exec.Cmd, error) {
	cmd, _, err := e.child("worker", "-redis", e.redis.Addr(), "-cloud", c.url, "-id", id, "-timeout", callTimeout.String(),
		"-profiles", e.profiles)
	return cmd, err
}

// run starts a worker in this process.
func (e *env) run(api worker.API) (stop func(), err error) {
	w, err := newWorker(e.rdb, "bench-worker", api, 0)
	if err != nil {
		return nil, err
	}
	return w.Stop, w.Start(e.ctx)
}

// work runs a worker of this process until ops operations of n desktops each are
// finished. took is the time until the cloud had answered for every desktop, which is
// what the baselines do; proven is the time until each was confirmed detached.
func (e *env) work(api worker.API, ops, n int) (took, proven time.Duration, err error) {
	ids, err := e.enqueue(ops, n)
	if err != nil {
		return 0, 0, err
	}
	start := time.Now()
	stop, err := e.run(api)
	if err != nil {
		return 0, 0, err
	}
	defer stop()
	if _, err = e.until(often, ids, taken); err != nil {
		return 0, 0, err
	}
	took = time.Since(start)
	all, err := e.until(often, ids, record.Operation.Done)
	if n := all.Failed + all.Held; err == nil && n > 0 {
		err = fmt.Errorf("%d desktops were not detached", n)
	}
	return took, time.Since(start), err
}
