package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/drill"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

const (
	projectID  = "00000000000000000000000000000001"
	leaver     = "leaver"
	colleague  = "colleague"
	somebody   = "somebody-else"
	heir       = "heir"        // who has the desktop as soon as the leaver is off
	givenAway  = "given-away-" // part of the ids of heirs' desktops
	nowhere    = "nowhere-"    // what ids begin with that are no desktop's
	cloudEvery = 5             // kills from one trouble of the cloud to the next
	patience   = 4 * time.Minute
)

// plan says what is going to happen.
type plan struct {
	Desktops, Operations    int
	Kills, Outages, Freezes int
	Workers                 int           // processes at a time
	Every                   time.Duration // from one kill to the next, on average
	Rest                    span          // from one outage, or freeze, to the next
	Pace                    time.Duration // from one operation to the next
	Calls, Away, Frozen     span          // how long a call, an outage, and a freeze take
	Seed                    uint64
	Binary, Dir             string
	Progress                io.Writer
}

// callTimeout is long enough for every call, so that one without a reply is one
// whose worker, or whose cloud, is gone.
func (p plan) callTimeout() time.Duration { return p.Calls.most + 5*time.Second }

// stage is what is running.
type stage struct {
	plan
	redis    *redistest.Server
	proxy    *redistest.Proxy // between redis-server and all but those who watch
	rdb      *redis.Client
	record   *record.Record // not through the proxy
	cloud    *fakecloud.Server
	through  *redis.Client
	producer *record.Producer
	config   string
	log      *os.File
	ops      []record.Operation
	next     int      // desktop
	missing  []string // ids handed over that are no desktop's
	watching sync.WaitGroup
	working  context.Context // ends when there is nothing left to do
	fail     context.CancelCauseFunc

	mu        sync.Mutex
	processes []*process // all that were ever started
	away      bool       // Redis is
	backAt    time.Time  // when it came back last
	verdict   verdict
}

// run lets it happen and says what came of it.
func (p plan) run(ctx context.Context) (*verdict, error) {
	s := &stage{plan: p}
	ctx, s.fail = context.WithCancelCause(ctx)
	defer s.fail(nil)
	var idle context.CancelFunc
	s.working, idle = context.WithCancel(ctx)
	defer s.end()
	defer idle() // before end, which waits for those who watch
	if err := s.begin(); err != nil {
		return nil, err
	}
	if err := s.trouble(ctx); err != nil {
		return nil, err
	}
	s.proxy.Delay(0, 0)
	s.cloud.ClearFaults()
	fmt.Fprintln(p.Progress, "the dust settles")
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	idle()
	s.watching.Wait()
	return &s.verdict, s.judge(ctx)
}

// trouble hands over the work and lets everything go wrong meanwhile, once calls
// are on the wire.
func (s *stage) trouble(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return s.handOver(ctx, s.drawing(1)) })
	if err := s.cloud.Wait(ctx, func() bool { return s.cloud.Calls() >= min(s.Workers, s.Operations) }); err != nil {
		return cmp.Or(all.Wait(), err)
	}
	for i, cause := range []func(context.Context, *rand.Rand) error{s.killWorkers, s.freezeWorkers, s.troubleRedis} {
		all.Go(func() error { return cause(ctx, s.drawing(uint64(i+2))) })
	}
	return all.Wait()
}

// drawing gives each that goes on beside others draws of its own.
func (s *stage) drawing(n uint64) *rand.Rand { return rand.New(rand.NewPCG(s.Seed, n)) }

func (s *stage) begin() error {
	var err error
	// Not everysec: with that, redis-server may answer before it has handed a
	// write to the kernel, and a kill would take back what was acknowledged.
	if s.redis, err = redistest.Run(s.Dir, "--appendfsync", "always"); err != nil {
		return err
	}
	if s.proxy, err = redistest.NewProxy(s.redis.Addr()); err != nil {
		return err
	}
	s.rdb = redis.NewClient(&redis.Options{Addr: s.redis.Addr(), ContextTimeoutEnabled: true})
	s.record = record.New(s.rdb, record.Config{})
	s.cloud, err = fakecloud.Serve(fakecloud.Config{
		Token: "made-up", Seed: s.Seed, Latency: s.Calls.least, Jitter: s.Calls.most - s.Calls.least, EarlyEffects: 0.3, KeepsTime: true,
		ReadLatency: 50 * time.Millisecond, DetachDelay: 300 * time.Millisecond,
	}, "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.through = redis.NewClient(&redis.Options{Addr: s.proxy.Addr()})
	if s.producer, err = record.NewProducer(s.through, record.ProducerConfig{Projects: []string{"hq"}}); err != nil {
		return err
	}
	if s.log, err = os.Create(filepath.Join(s.Dir, "workers.log")); err != nil {
		return err
	}
	s.config = filepath.Join(s.Dir, "config.yaml")
	text := fmt.Sprintf(`redis: {url: %q}
worker: {max_attempts: 100, retry_base: 100ms, retry_max: 2s, first_look: 500ms, shutdown_timeout: %s}
credentials:
- {name: main, kind: token, token: {env: CLOUD_TOKEN}, calls_per_minute: 0, reads_per_minute: 0}
projects:
- alias: hq
  project_id: %q
  endpoint: %q
  credentials: main
  limits: {max_in_flight: 8, call_timeout: %s}
`, s.proxy.URL(), s.callTimeout()+5*time.Second, projectID, s.cloud.URL, s.callTimeout())
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		return err
	}
	return s.replaceEnded() // none runs yet
}

func (s *stage) end() {
	s.mu.Lock()
	all := slices.Clone(s.processes)
	s.mu.Unlock()
	for _, w := range all {
		_ = s.kill(w)
	}
	s.watching.Wait()
	if s.cloud != nil {
		s.cloud.Close()
	}
	for _, c := range []*redis.Client{s.rdb, s.through} {
		if c != nil {
			_ = c.Close()
		}
	}
	if s.proxy != nil {
		s.proxy.Close()
	}
	if s.redis != nil {
		s.redis.Kill()
	}
	if s.log != nil {
		_ = s.log.Close()
	}
}

// lastOfLog is the end of what the workers wrote; the directory is gone afterwards.
func (s *stage) lastOfLog() string {
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// handOver enqueues all operations.
func (s *stage) handOver(ctx context.Context, r *rand.Rand) error {
	for n := range s.Operations {
		if err := s.enqueue(ctx, r, n); err != nil {
			return err
		}
		if err := drill.Wait(ctx, s.Pace); err != nil {
			return err
		}
	}
	return nil
}

// enqueue hands over the desktops of one operation, again with the same key until
// it is known to be accepted.
func (s *stage) enqueue(ctx context.Context, r *rand.Rand, n int) error {
	size := (s.Desktops - s.next) / (s.Operations - n)
	if size == 0 {
		return nil
	}
	req := tasks.Request{Project: "hq", IdempotencyKey: fmt.Sprint("operation-", n), RequestedBy: "chaos", Expect: map[string][]string{}}
	for range size {
		d, expect := s.desktop(r)
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
		if _, invalid := errors.AsType[*tasks.ValidationError](err); invalid {
			return err
		}
		if err := drill.Wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// desktop makes the next one. Its id begins with what it is. Half of all are given
// to an heir as soon as the leaver is off.
func (s *stage) desktop(r *rand.Rand) (d fakecloud.Desktop, expect string) {
	s.next++
	users := func(names ...string) (out []fakecloud.User) {
		for _, n := range names {
			out = append(out, fakecloud.User{Name: n})
		}
		return out
	}
	switch n := s.next; r.IntN(15) {
	case 0:
		return fakecloud.Desktop{ID: fmt.Sprintf("shared-%d", n), Type: fakecloud.Shared, Users: users(leaver, colleague)}, leaver
	case 1:
		return fakecloud.Desktop{ID: fmt.Sprintf("passed-on-%d", n), Users: users(somebody)}, leaver
	case 2:
		return fakecloud.Desktop{ID: fmt.Sprintf("named-%d", n), Users: users(leaver)}, leaver
	case 3:
		return fakecloud.Desktop{ID: fmt.Sprintf("pooled-%d", n), Type: fakecloud.Pooled, Users: users(leaver)}, ""
	case 4:
		return fakecloud.Desktop{ID: fmt.Sprintf("found-%d", n), ComputerName: fmt.Sprintf("PC-%d", n), Users: users(leaver)}, ""
	case 5:
		return fakecloud.Desktop{ID: fmt.Sprintf("found-given-away-%d", n), ComputerName: fmt.Sprintf("PC-%d", n), Users: users(leaver), AfterDetach: users(heir)}, ""
	case 6, 7, 8:
		return fakecloud.Desktop{ID: fmt.Sprintf("given-away-%d", n), Users: users(leaver), AfterDetach: users(heir)}, leaver
	case 9, 10, 11:
		return fakecloud.Desktop{ID: fmt.Sprintf("given-away-bare-%d", n), Users: users(leaver), AfterDetach: users(heir)}, ""
	case 12:
		return fakecloud.Desktop{ID: fmt.Sprintf("%s%d", nowhere, n)}, ""
	default:
		return fakecloud.Desktop{ID: fmt.Sprintf("plain-%d", n), Users: users(leaver)}, ""
	}
}

// settle waits until every operation has ended.
func (s *stage) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not all had ended after %s", patience))
	defer cancel()
	for i := range s.ops {
		for {
			op, err := s.record.Operation(ctx, s.ops[i].ID)
			if err == nil && op.Sealed() {
				s.ops[i] = op
				break
			}
			if err := drill.Wait(ctx, 100*time.Millisecond); err != nil {
				return fmt.Errorf("operation %s: %w (%+v)", s.ops[i].ID, err, op.Counts)
			}
		}
	}
	return nil
}
