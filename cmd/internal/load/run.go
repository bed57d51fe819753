package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	patience  = 3 * time.Minute
	again     = 10 // every so many-th is sent once more when it was answered
)

// plan says what is going to happen.
type plan struct {
	Rate           int
	Steady, Killed time.Duration
	Binary, Dir    string
}

// steady is how many requests are handed over undisturbed, requests how many in all.
func (p plan) steady() int   { return int(p.Steady.Seconds() * float64(p.Rate)) }
func (p plan) requests() int { return p.steady() + int(p.Killed.Seconds()*float64(p.Rate)) }

// desktop is the one that a request names.
func desktop(request int) string { return fmt.Sprintf("desktop-%d", request) }

// stage is what is running.
type stage struct {
	plan
	redis   *redistest.Server
	rdb     *redis.Client
	record  *record.Record
	cloud   *fakecloud.Server
	address string
	config  string
	log     *os.File
	server  *exec.Cmd
	client  *api.Client

	mu      sync.Mutex
	verdict verdict
	ids     map[string]int // operation -> request
}

func (p plan) run(ctx context.Context) (*verdict, error) {
	s := &stage{plan: p, ids: map[string]int{}}
	defer s.end()
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	steady := p.steady()
	if err := s.hand(ctx, 0, steady, &s.verdict.Steady); err != nil {
		return nil, err
	}
	killed := make(chan error, 1)
	go func() {
		err := drill.Wait(ctx, p.Killed/2)
		if err == nil {
			err = s.kill(ctx)
		}
		killed <- err
	}()
	err := s.hand(ctx, steady, p.requests(), &s.verdict.Killed)
	if err := errors.Join(err, <-killed); err != nil {
		return nil, err
	}
	return &s.verdict, s.judge(ctx, p.requests())
}

func (s *stage) begin(ctx context.Context) error {
	var err error
	if s.redis, err = redistest.Run(s.Dir); err != nil {
		return err
	}
	s.rdb = redis.NewClient(redistest.Options(s.redis.Addr()))
	s.record = record.New(s.rdb, record.Config{})
	s.cloud, err = fakecloud.Serve(fakecloud.Config{Token: "made-up", Latency: 50 * time.Millisecond, ReadLatency: 50 * time.Millisecond}, "127.0.0.1:0")
	if err != nil {
		return err
	}
	for i := range s.requests() {
		s.cloud.Add(projectID, fakecloud.Desktop{ID: desktop(i)})
	}
	if s.log, err = os.Create(filepath.Join(s.Dir, "server.log")); err != nil {
		return err
	}
	s.config = filepath.Join(s.Dir, "config.yaml")
	text := fmt.Sprintf(`redis: {url: %q}
worker: {first_look: 500ms}
credentials:
- {name: main, kind: token, token: {env: CLOUD_TOKEN}, calls_per_minute: 0, reads_per_minute: 0}
projects:
- alias: hq
  project_id: %q
  endpoint: %q
  credentials: main
  limits: {max_in_flight: 10}
`, s.redis.URL(), projectID, s.cloud.URL)
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		return err
	}
	if s.address, err = drill.FreeAddress(); err != nil {
		return err
	}
	var key bytes.Buffer
	cmd := exec.CommandContext(ctx, s.Binary, "keys", "create", "--name", "load", "--role", "producer", "--config", s.config)
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env(), &key, s.log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	s.client, err = api.New(api.Config{
		Server: "http://" + s.address, Key: strings.TrimSpace(key.String()), HTTP: &http.Client{Timeout: 30 * time.Second, Transport: transport},
	})
	if err != nil {
		return err
	}
	return s.start(ctx)
}

func (s *stage) env() []string { return append(os.Environ(), "CLOUD_TOKEN=made-up") }

// start starts the server and waits until it answers.
func (s *stage) start(ctx context.Context) error {
	s.server = exec.Command(s.Binary, "serve", "--worker", "--listen", s.address, "--config", s.config)
	s.server.Env, s.server.Stderr = s.env(), s.log
	if err := s.server.Start(); err != nil {
		return err
	}
	for begun := time.Now(); ; {
		resp, err := http.Get("http://" + s.address + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		if time.Since(begun) > 30*time.Second {
			return fmt.Errorf("the server does not answer; see %s: %w", s.log.Name(), err)
		}
		if err := drill.Wait(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// kill ends the server with SIGKILL and starts another at the same address.
func (s *stage) kill(ctx context.Context) error {
	if err := s.server.Process.Kill(); err != nil {
		return fmt.Errorf("the server had ended before it was killed; see %s: %w", s.log.Name(), err)
	}
	killed := time.Now()
	_ = s.server.Wait()
	err := s.start(ctx)
	s.verdict.Away = time.Since(killed)
	return err
}

func (s *stage) end() {
	if s.server != nil && s.server.Process != nil {
		_ = s.server.Process.Kill()
		_ = s.server.Wait()
	}
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

// hand hands over requests at the rate, whether or not those before were answered,
// and counts the time of each from when it was to be sent.
func (s *stage) hand(ctx context.Context, first, end int, into *phase) error {
	var all sync.WaitGroup
	begun := time.Now()
	into.Requests = end - first
	for i := first; i < end; i++ {
		due := begun.Add(time.Duration(i-first) * time.Second / time.Duration(s.Rate))
		if err := drill.Wait(ctx, time.Until(due)); err != nil {
			return err
		}
		all.Go(func() { s.one(ctx, i, due, into) })
	}
	all.Wait()
	return context.Cause(ctx)
}

// one hands over a request, again with the same key until it is answered with 202.
func (s *stage) one(ctx context.Context, i int, due time.Time, into *phase) {
	req := api.OperationRequest{Project: "hq", Desktops: []string{desktop(i)}, IdempotencyKey: fmt.Sprint("request-", i)}
	for {
		op, err := s.client.CreateOperation(ctx, req)
		if err == nil {
			s.accepted(i, op.ID, time.Since(due), into)
			break
		}
		s.refused(err, into)
		if drill.Wait(ctx, 50*time.Millisecond) != nil {
			return
		}
	}
	if i%again != 0 {
		return
	}
	op, err := s.client.CreateOperation(ctx, req)
	if err == nil {
		s.accepted(i, op.ID, 0, nil)
	}
}

func (s *stage) accepted(i int, id string, took time.Duration, into *phase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if into != nil {
		into.Took = append(into.Took, took)
	}
	if j, known := s.ids[id]; known && j != i {
		s.verdict.Twice = append(s.verdict.Twice, fmt.Sprintf("requests %d and %d are both operation %s", i, j, id))
	}
	s.ids[id] = i
}

func (s *stage) refused(err error, into *phase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var p *api.Problem
	switch {
	case !errors.As(err, &p):
		into.Unanswered++
	case p.Status >= 500:
		into.Errors++
	default:
		into.Refused++
	}
}

// judge waits until all has ended, and holds the record against what was answered.
func (s *stage) judge(ctx context.Context, requests int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not all had ended after %s", patience))
	defer cancel()
	for {
		open, err := s.rdb.ZCard(ctx, record.DefaultPrefix+":open").Result()
		if err != nil {
			return err
		}
		if open == 0 {
			break
		}
		if err := drill.Wait(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("%w: %d are open", err, open)
		}
	}
	v := &s.verdict
	recorded, requested := 0, map[string]bool{}
	for token := ""; ; {
		ops, next, err := s.record.Operations(ctx, tasks.OperationFilter{}, 1000, token)
		if err != nil {
			return err
		}
		for _, op := range ops {
			recorded++
			i, known := s.ids[op.ID]
			requested[op.ID] = true
			id := desktop(i)
			switch {
			case !known:
				v.Twice = append(v.Twice, "operation "+op.ID+" was never answered for")
			case op.Counts.Detached != 1 || !op.Sealed():
				v.Unproven = append(v.Unproven, op.ID)
			case s.cloud.DetachedTimes(projectID, id) != 1:
				v.Untrue = append(v.Untrue, id)
			}
		}
		if next == "" {
			break
		}
		token = next
	}
	for id := range s.ids {
		if !requested[id] {
			v.Lost = append(v.Lost, id)
		}
	}
	if len(s.ids) != requests || recorded != requests {
		v.Twice = append(v.Twice, fmt.Sprintf("%d requests made %d operations, and %d are recorded", requests, len(s.ids), recorded))
	}
	return nil
}

// phase is what was seen over some time.
type phase struct {
	Requests, Errors, Refused, Unanswered int // Errors: 5xx; Refused: 4xx; Unanswered: the connection broke
	Took                                  []time.Duration
}

func (p *phase) at(share float64) time.Duration {
	if len(p.Took) == 0 {
		return 0
	}
	slices.Sort(p.Took)
	return p.Took[min(len(p.Took)-1, int(share*float64(len(p.Took))))]
}
