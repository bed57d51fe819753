package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/redistest"
)

const (
	projectID  = "00000000000000000000000000000001"
	leaver     = "leaver"
	colleague  = "colleague"
	somebody   = "somebody-else"
	nowhere    = "nowhere-" // what ids begin with that are no desktop's
	workers    = 3          // processes at a time
	redisEvery = 12         // kills from one kill of redis-server to the next
	cloudEvery = 5          // kills from one trouble of the cloud to the next
	patience   = 3 * time.Minute
)

// plan says what is going to happen.
type plan struct {
	Kills, Desktops int
	Seed            uint64
	Every           time.Duration
	Binary, Dir     string
	Progress        io.Writer
}

// stage is what is running.
type stage struct {
	plan
	rand     *rand.Rand
	redis    *redistest.Server
	rdb      *redis.Client
	cloud    *fakecloud.Server
	producer *tasks.Producer
	config   string
	log      *os.File
	alive    []*process
	started  int
	ops      []tasks.Operation
	next     int      // desktop
	missing  []string // ids handed over that are no desktop's
	watching sync.WaitGroup
	working  context.Context // ends when there is nothing left to do

	mu      sync.Mutex
	verdict verdict
}

type process struct {
	id    string
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has
	young bool          // Redis was killed while it was starting, which may end it
}

// kill ends the process, which must not have ended before.
func (w *process) kill() error {
	select {
	case <-w.ended:
		if w.young {
			return nil
		}
		return fmt.Errorf("worker %s ended by itself: %s", w.id, w.cmd.ProcessState)
	default:
	}
	err := w.cmd.Process.Kill()
	<-w.ended
	return err
}

// run lets it happen and says what came of it.
func (p plan) run(ctx context.Context) (*verdict, error) {
	s := &stage{plan: p, rand: rand.New(rand.NewPCG(p.Seed, p.Seed))}
	var idle context.CancelFunc
	s.working, idle = context.WithCancel(ctx)
	defer s.end()
	defer idle() // before end, which waits for those who watch
	if err := s.begin(); err != nil {
		return nil, err
	}
	for n := 1; n <= p.Kills; n++ {
		if err := s.enqueue(ctx, n); err != nil {
			return nil, err
		}
		if err := wait(ctx, p.Every/2+time.Duration(s.rand.Int64N(int64(p.Every)))); err != nil {
			return nil, err
		}
		if err := s.killWorker(ctx); err != nil {
			return nil, err
		}
		if n%cloudEvery == 0 {
			if err := s.troubleCloud(ctx); err != nil {
				return nil, err
			}
		}
		if n%redisEvery == redisEvery/2 {
			if err := s.killRedis(ctx); err != nil {
				return nil, err
			}
		}
		if n%20 == 0 {
			fmt.Fprintf(p.Progress, "%d of %d kills, %d desktops handed over\n", n, p.Kills, s.next)
		}
	}
	s.cloud.ClearFaults()
	fmt.Fprintln(p.Progress, "the dust settles")
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	idle()
	s.watching.Wait()
	return &s.verdict, s.judge(ctx)
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *stage) begin() error {
	var err error
	// Not everysec: with that, redis-server may answer before it has handed a
	// write to the kernel, and a kill would take back what was acknowledged.
	if s.redis, err = redistest.Run(s.Dir, "--appendfsync", "always"); err != nil {
		return err
	}
	s.rdb = redis.NewClient(&redis.Options{Addr: s.redis.Addr()})
	s.cloud, err = fakecloud.Serve(fakecloud.Config{
		Token: "made-up", Seed: s.Seed, Latency: 50 * time.Millisecond, Jitter: 200 * time.Millisecond, ReadLatency: 50 * time.Millisecond, DetachDelay: 300 * time.Millisecond,
	}, "127.0.0.1:0")
	if err != nil {
		return err
	}
	if s.producer, err = tasks.NewProducer(s.rdb, tasks.ProducerConfig{Projects: []string{"hq"}}); err != nil {
		return err
	}
	if s.log, err = os.Create(filepath.Join(s.Dir, "workers.log")); err != nil {
		return err
	}
	s.config = filepath.Join(s.Dir, "config.yaml")
	text := fmt.Sprintf(`redis: {url: %q}
worker: {max_attempts: 100, retry_base: 100ms, retry_max: 2s, first_look: 500ms, shutdown_timeout: 10s}
credentials:
- {name: main, kind: token, token: {env: CLOUD_TOKEN}, calls_per_minute: 0, reads_per_minute: 0}
projects:
- alias: hq
  project_id: %q
  endpoint: %q
  credentials: main
  limits: {max_in_flight: 4, call_timeout: 3s}
`, s.redis.URL(), projectID, s.cloud.URL)
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		return err
	}
	for range workers {
		if err := s.startWorker(); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) end() {
	for _, w := range s.alive {
		_ = w.kill()
	}
	s.watching.Wait()
	if s.cloud != nil {
		s.cloud.Close()
	}
	if s.rdb != nil {
		_ = s.rdb.Close()
	}
	if s.redis != nil {
		s.redis.Kill()
	}
	if s.log != nil {
		_ = s.log.Close()
	}
}

func (s *stage) startWorker() error {
	s.started++
	w := &process{id: fmt.Sprintf("w-%d", s.started), ended: make(chan struct{})}
	w.cmd = exec.Command(s.Binary, "worker", "--config", s.config)
	w.cmd.Env = append(os.Environ(), "CLOUD_TOKEN=made-up", "DETACHD_WORKER_ID="+w.id)
	w.cmd.Stderr = s.log
	if err := w.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = w.cmd.Wait() // how it ended is in ProcessState
		close(w.ended)
	}()
	s.alive = append(s.alive, w)
	return nil
}

// lastOfLog is the end of what the workers wrote; the directory is gone afterwards.
func (s *stage) lastOfLog() string {
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// killWorker kills one, starts another, and watches how long it takes until
// somebody has taken up what the dead one had in hand.
func (s *stage) killWorker(ctx context.Context) error {
	i := s.rand.IntN(len(s.alive))
	w := s.alive[i]
	s.alive = slices.Delete(s.alive, i, i+1)
	known := s.knows(ctx, w.id)
	if err := w.kill(); err != nil {
		return fmt.Errorf("%w; the log ends with: %s", err, s.lastOfLog())
	}
	killed := time.Now()
	s.verdict.Kills++
	if known {
		s.watching.Go(func() {
			for s.knows(s.working, w.id) {
				if wait(s.working, 50*time.Millisecond) != nil {
					return
				}
			}
			s.recovered("worker", time.Since(killed))
		})
	}
	return s.startWorker()
}

// knows says whether the record has a worker; while Redis is away it has.
func (s *stage) knows(ctx context.Context, id string) bool {
	list, err := s.producer.Record.Workers(ctx)
	return err != nil || slices.ContainsFunc(list, func(w tasks.Worker) bool { return w.ID == id })
}

func (s *stage) recovered(what string, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.verdict.Recovery == nil {
		s.verdict.Recovery = map[string][]time.Duration{}
	}
	s.verdict.Recovery[what] = append(s.verdict.Recovery[what], took)
}

// untilProgress notes how long it takes until the cloud takes a call again, if
// there is anything left to call for.
func (s *stage) untilProgress(what string, since time.Time) {
	before := s.taken()
	s.watching.Go(func() {
		for s.taken() == before {
			if wait(s.working, 20*time.Millisecond) != nil {
				return
			}
		}
		s.recovered(what, time.Since(since))
	})
}

// taken is how many detach calls have had an effect.
func (s *stage) taken() (n int) {
	for _, r := range s.cloud.Requests() {
		if r.Op == fakecloud.OpDetach && r.Effect {
			n++
		}
	}
	return n
}

func (s *stage) killRedis(ctx context.Context) error {
	for _, w := range s.alive {
		w.young = !s.knows(ctx, w.id)
	}
	s.redis.Kill()
	s.verdict.RedisKills++
	if err := wait(ctx, time.Duration(s.rand.IntN(1500))*time.Millisecond); err != nil {
		return err
	}
	if err := s.redis.Restart(); err != nil {
		return err
	}
	s.untilProgress("redis-server", time.Now())
	return nil
}

// troubleCloud has the cloud cut off, slow, or talk nonsense for a while.
func (s *stage) troubleCloud(ctx context.Context) error {
	s.cloud.ClearFaults()
	s.verdict.Troubles++
	switch s.rand.IntN(5) {
	case 0:
		s.cloud.Stop()
		if err := wait(ctx, time.Duration(500+s.rand.IntN(2000))*time.Millisecond); err != nil {
			return err
		}
		if err := s.cloud.Restart(); err != nil {
			return err
		}
		s.untilProgress("cloud cut off", time.Now())
	case 1:
		s.cloud.Fail(fakecloud.Fault{Delay: 2 * time.Second}, fakecloud.Fault{Op: fakecloud.OpDetail, Delay: time.Second})
	case 2:
		s.cloud.Fail(fakecloud.Fault{Effect: fakecloud.Garbage, Rate: 0.5}, fakecloud.Fault{Op: fakecloud.OpDetail, Effect: fakecloud.Garbage, Rate: 0.5})
	case 3:
		s.cloud.Fail(fakecloud.Fault{Effect: fakecloud.DropAfter, Rate: 0.5}, fakecloud.Fault{Op: fakecloud.OpDetail, Effect: fakecloud.Truncate, Rate: 0.3})
	case 4:
		s.cloud.Fail(fakecloud.Fault{Status: 500, Applied: true, Rate: 0.4}, fakecloud.Fault{Effect: fakecloud.HangAfter, Rate: 0.2},
			fakecloud.Fault{Status: 503, Code: "WKS.00050902", Rate: 0.2}, fakecloud.Fault{Op: fakecloud.OpDetail, Status: 500, Rate: 0.3})
	}
	return nil
}

// enqueue hands over the desktops of one operation, again with the same key until
// it is known to be accepted.
func (s *stage) enqueue(ctx context.Context, n int) error {
	size := (s.Desktops - s.next) / (s.Kills - n + 1)
	if size == 0 {
		return nil
	}
	req := tasks.Request{Project: "hq", IdempotencyKey: fmt.Sprint("operation-", n), RequestedBy: "chaos", Expect: map[string][]string{}}
	for range size {
		d, expect := s.desktop()
		if strings.HasPrefix(d.ID, nowhere) {
			s.missing = append(s.missing, d.ID)
		} else {
			s.cloud.Add(projectID, d)
		}
		if d.ComputerName != "" {
			req.Computers = append(req.Computers, d.ComputerName)
			continue
		}
		req.Desktops = append(req.Desktops, d.ID)
		if expect != "" {
			req.Expect[d.ID] = []string{expect}
		}
	}
	for {
		op, err := s.producer.Enqueue(ctx, req)
		if err == nil {
			s.ops = append(s.ops, op)
			return nil
		}
		if invalid := (*tasks.ValidationError)(nil); errors.As(err, &invalid) {
			return err
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// desktop makes the next one. Its id begins with what it is.
func (s *stage) desktop() (d fakecloud.Desktop, expect string) {
	s.next++
	users := func(names ...string) (out []fakecloud.User) {
		for _, n := range names {
			out = append(out, fakecloud.User{Name: n})
		}
		return out
	}
	switch s.rand.IntN(13) {
	case 0:
		return fakecloud.Desktop{ID: fmt.Sprintf("shared-%d", s.next), Type: fakecloud.Shared, Users: users(leaver, colleague)}, leaver
	case 1:
		return fakecloud.Desktop{ID: fmt.Sprintf("passed-on-%d", s.next), Users: users(somebody)}, leaver
	case 2, 3:
		return fakecloud.Desktop{ID: fmt.Sprintf("named-%d", s.next), Users: users(leaver)}, leaver
	case 4:
		return fakecloud.Desktop{ID: fmt.Sprintf("pooled-%d", s.next), Type: fakecloud.Pooled, Users: users(leaver)}, ""
	case 5:
		return fakecloud.Desktop{ID: fmt.Sprintf("given-away-%d", s.next), Users: users(leaver), AfterDetach: users(somebody)}, leaver
	case 6:
		return fakecloud.Desktop{ID: fmt.Sprintf("given-away-bare-%d", s.next), Users: users(leaver), AfterDetach: users(somebody)}, ""
	case 7:
		return fakecloud.Desktop{ID: fmt.Sprintf("found-%d", s.next), ComputerName: fmt.Sprintf("PC-%d", s.next), Users: users(leaver)}, ""
	case 8:
		return fakecloud.Desktop{ID: fmt.Sprintf("%s%d", nowhere, s.next)}, ""
	default:
		return fakecloud.Desktop{ID: fmt.Sprintf("plain-%d", s.next), Users: users(leaver)}, ""
	}
}

// settle waits until every operation has ended.
func (s *stage) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not all had ended after %s", patience))
	defer cancel()
	for i := range s.ops {
		for {
			op, err := s.producer.Record.Operation(ctx, s.ops[i].ID)
			if err == nil && op.Done() && op.Seal != "" {
				s.ops[i] = op
				break
			}
			if err := wait(ctx, 100*time.Millisecond); err != nil {
				return fmt.Errorf("operation %s: %w (%+v)", s.ops[i].ID, err, op.Counts)
			}
		}
	}
	return nil
}
