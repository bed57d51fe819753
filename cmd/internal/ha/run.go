package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/drill"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

const (
	projectID = "00000000000000000000000000000001"
	leaver    = "leaver"
	colleague = "colleague"
	heir      = "heir"
	workers   = 2 // processes
	posters   = 4 // that hand over small operations, each one at a time
)

// sets are what can be run on.
var sets = map[string]func(dir string) (*redistest.Set, error){
	"sentinel": redistest.RunSentinel,
	"cluster":  redistest.RunCluster,
}

// plan says what is going to happen.
type plan struct {
	Kind        string        // of sets
	Events      []string      // names of events, one after the other
	Bulk        int           // desktops of the large operation before each event
	Patience    time.Duration // from the last event until all has ended
	Seed        uint64
	Binary, Dir string
	Progress    io.Writer
}

func (p plan) random() *rand.Rand { return rand.New(rand.NewPCG(p.Seed, p.Seed)) }

// stage is what is running.
type stage struct {
	plan
	rand      *rand.Rand // of the events
	set       *redistest.Set
	rdb       redis.UniversalClient
	record    *record.Record
	cloud     *fakecloud.Server
	client    *api.Client
	config    string
	log       *os.File
	processes []*drill.Process

	mu      sync.Mutex
	next    int // desktop
	acks    []ack
	verdict verdict
}

// ack is an operation that was acknowledged.
type ack struct {
	op            tasks.Operation // as it was answered, later as it ended
	durability    tasks.Durability
	desktops      []string
	posted, acked time.Time // posted: for the first time
	lost          bool
}

// run lets it happen and says what came of it.
func (p plan) run(ctx context.Context) (*verdict, error) {
	s := &stage{plan: p, rand: p.random()}
	defer s.end()
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	posting, enough := context.WithCancel(ctx)
	defer enough()
	failed := make(chan error, posters)
	for i := range posters {
		go func() { failed <- s.post(posting, ctx, rand.New(rand.NewPCG(p.Seed, uint64(i)+1))) }()
	}
	if err := s.happen(ctx); err != nil {
		return nil, err
	}
	enough()
	var errs []error
	for range posters {
		errs = append(errs, <-failed)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	fmt.Fprintln(p.Progress, "the dust settles")
	return &s.verdict, s.judge(ctx)
}

func (s *stage) begin(ctx context.Context) error {
	begin := sets[s.Kind]
	if begin == nil {
		return fmt.Errorf("there is no %q to run on: sentinel or cluster", s.Kind)
	}
	err := os.Mkdir(s.Dir, 0o700)
	if err != nil {
		return err
	}
	if s.set, err = begin(s.Dir); err != nil {
		return err
	}
	s.rdb = s.set.Client()
	s.record = record.New(s.rdb, record.Config{})
	s.cloud, err = fakecloud.Serve(fakecloud.Config{
		Token: "made-up", Seed: s.Seed, Latency: 200 * time.Millisecond, Jitter: 1500 * time.Millisecond, ReadLatency: 50 * time.Millisecond, DetachDelay: 300 * time.Millisecond,
	}, "127.0.0.1:0")
	if err != nil {
		return err
	}
	if s.log, err = os.Create(filepath.Join(s.Dir, "detachd.log")); err != nil {
		return err
	}
	if err := s.writeConfig(); err != nil {
		return err
	}
	for i := range workers {
		if err := s.start(fmt.Sprint("w-", i+1), "worker"); err != nil {
			return err
		}
	}
	return s.serve(ctx)
}

func (s *stage) writeConfig() error {
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
`, s.set.URL(), projectID, s.cloud.URL)
	return os.WriteFile(s.config, []byte(text), 0o600)
}

func (s *stage) start(name string, args ...string) error {
	p, err := drill.Start(name, s.log, []string{"CLOUD_TOKEN=made-up", "DETACHD_WORKER_ID=" + name}, s.Binary, append(args, "--config", s.config)...)
	if err == nil {
		s.processes = append(s.processes, p)
	}
	return err
}

// serve starts the server, with a key for us, and waits until it is ready.
func (s *stage) serve(ctx context.Context) error {
	address, err := drill.FreeAddress()
	if err != nil {
		return err
	}
	var key bytes.Buffer
	cmd := exec.CommandContext(ctx, s.Binary, "keys", "create", "--name", "ha", "--role", "producer", "--config", s.config)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "CLOUD_TOKEN=made-up"), &key, s.log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	s.client, err = api.New(api.Config{Server: "http://" + address, Key: strings.TrimSpace(key.String()), HTTP: &http.Client{Timeout: 30 * time.Second}})
	if err != nil {
		return err
	}
	if err := s.start("server", "serve", "--listen", address); err != nil {
		return err
	}
	for begun := time.Now(); time.Since(begun) < 30*time.Second; {
		if resp, err := http.Get("http://" + address + "/readyz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		if err := drill.Wait(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("the server does not answer: %s", s.lastOfLog())
}

// running is an error if a process has ended: none is killed here.
func (s *stage) running() error {
	for _, p := range s.processes {
		if err := p.Ended(); err != nil {
			return fmt.Errorf("%w; the log ends with: %s", err, s.lastOfLog())
		}
	}
	return nil
}

// lastOfLog is the end of what the processes wrote.
func (s *stage) lastOfLog() string {
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

func (s *stage) end() {
	for _, p := range s.processes {
		p.Kill()
	}
	if s.cloud != nil {
		s.cloud.Close()
	}
	if s.rdb != nil {
		_ = s.rdb.Close()
	}
	if s.set != nil {
		s.set.Kill()
	}
	if s.log != nil {
		_ = s.log.Close()
	}
}

// post hands over small operations, one after the other, until posting ends.
func (s *stage) post(posting, ctx context.Context, r *rand.Rand) error {
	for posting.Err() == nil {
		if _, err := s.hand(ctx, r, 1+r.IntN(4)); err != nil {
			return err
		}
		if drill.Wait(posting, time.Duration(50+r.IntN(300))*time.Millisecond) != nil {
			return nil
		}
	}
	return nil
}

// hand hands over an operation of some desktops, again with the same key until it is
// acknowledged.
func (s *stage) hand(ctx context.Context, r *rand.Rand, size int) (tasks.Operation, error) {
	req := api.OperationRequest{Project: "hq", ExpectedUsers: map[string][]string{}}
	for range size {
		d, expect := s.desktop(r)
		s.cloud.Add(projectID, d)
		req.Desktops = append(req.Desktops, d.ID)
		if expect != "" {
			req.ExpectedUsers[d.ID] = []string{expect}
		}
	}
	req.IdempotencyKey = "key-" + req.Desktops[0]
	for posted := time.Now(); ; {
		op, err := s.client.CreateOperation(ctx, req)
		if err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.acks = append(s.acks, ack{op: op, durability: op.Durability, desktops: req.Desktops, posted: posted, acked: time.Now()})
			return op, nil
		}
		if err := s.refused(err); err != nil {
			return tasks.Operation{}, err
		}
		if err := errors.Join(s.running(), drill.Wait(ctx, 100*time.Millisecond)); err != nil {
			return tasks.Operation{}, err
		}
	}
}

// refused counts an answer that says to come again. Any other is an error.
func (s *stage) refused(err error) error {
	var p *api.Problem
	what := "no answer"
	if errors.As(err, &p) {
		what = fmt.Sprintf("%d %s", p.Status, p.Code)
		if p.Status < 500 && p.Status != http.StatusTooManyRequests {
			return fmt.Errorf("an operation was refused: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.verdict.Refused == nil {
		s.verdict.Refused = map[string]int{}
	}
	s.verdict.Refused[what]++
	return nil
}

// desktop makes the next one. Its id begins with what it is. Half of all are given
// to an heir as soon as the leaver is off.
func (s *stage) desktop(r *rand.Rand) (d fakecloud.Desktop, expect string) {
	s.mu.Lock()
	s.next++
	n := s.next
	s.mu.Unlock()
	users := func(names ...string) (out []fakecloud.User) {
		for _, name := range names {
			out = append(out, fakecloud.User{Name: name})
		}
		return out
	}
	switch r.IntN(8) {
	case 0:
		return fakecloud.Desktop{ID: fmt.Sprintf("shared-%d", n), Type: fakecloud.Shared, Users: users(leaver, colleague)}, leaver
	case 1:
		return fakecloud.Desktop{ID: fmt.Sprintf("named-%d", n), Users: users(leaver)}, leaver
	case 2, 3:
		return fakecloud.Desktop{ID: fmt.Sprintf("given-away-%d", n), Users: users(leaver), AfterDetach: users(heir)}, leaver
	case 4, 5:
		return fakecloud.Desktop{ID: fmt.Sprintf("given-away-bare-%d", n), Users: users(leaver), AfterDetach: users(heir)}, ""
	default:
		return fakecloud.Desktop{ID: fmt.Sprintf("plain-%d", n), Users: users(leaver)}, ""
	}
}
