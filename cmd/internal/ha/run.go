package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/drill"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/redistest"
)

const (
	workers = 2 // processes
	posters = 4 // that submit small operations, each one at a time
)

// kinds are drawn from with equal chances. Half of all desktops have an heir.
var kinds = []drill.Kind{
	drill.Shared, drill.Expected, drill.GivenAway, drill.GivenAway, drill.GivenAwayBare, drill.GivenAwayBare, drill.Plain, drill.Plain,
}

// sets are what can be run on.
var sets = map[string]func(dir string) (*redistest.Set, error){
	"sentinel": redistest.RunSentinel,
	"cluster":  redistest.RunCluster,
}

// scenario says what is going to happen.
type scenario struct {
	drill.Site
	Kind     string        // of sets
	Events   []string      // names of events, one after the other
	Bulk     int           // desktops of the large operation before each event
	Patience time.Duration // from the last event until all is finished
	Seed     uint64
}

func (s scenario) random() *rand.Rand { return rand.New(rand.NewPCG(s.Seed, s.Seed)) }

// env is what a scenario runs on.
type env struct {
	scenario
	*drill.Env
	rand *rand.Rand // of the events
	set  *redistest.Set

	mu      sync.Mutex
	acks    []ack
	verdict verdict
}

// ack is an operation that was acknowledged.
type ack struct {
	op            tasks.Operation // as it was answered, later as it finished
	durability    tasks.Durability
	desktops      []string
	posted, acked time.Time // posted: for the first time
	lost          bool
}

// run plays the scenario and returns the result.
func (s scenario) run(ctx context.Context) (*verdict, error) {
	begin := sets[s.Kind]
	if begin == nil {
		return nil, fmt.Errorf("%q is not a set to run on: sentinel or cluster", s.Kind)
	}
	err := os.Mkdir(s.Dir, 0o700)
	if err != nil {
		return nil, err
	}
	e := &env{scenario: s, rand: s.random(), verdict: verdict{Kind: s.Kind, Refused: map[string]int{}}}
	if e.set, err = begin(s.Dir); err != nil {
		return nil, err
	}
	defer e.set.Kill()
	e.Env, err = drill.Open(s.Site, drill.Setup{
		RedisURL: e.set.URL(), Redis: e.set.Client(),
		Cloud: fakecloud.Config{
			Seed: s.Seed, Latency: 200 * time.Millisecond, Jitter: 1500 * time.Millisecond,
			ReadLatency: 50 * time.Millisecond, DetachDelay: 300 * time.Millisecond,
		},
		Worker: drill.Patient + ", shutdown_timeout: 10s",
		Limits: "max_in_flight: 4, call_timeout: 3s",
	})
	if err != nil {
		return nil, err
	}
	defer e.Close()
	return &e.verdict, e.Do(ctx, e.play)
}

func (e *env) play(ctx context.Context) error {
	for range workers {
		if _, err := e.Start("w", "worker"); err != nil {
			return err
		}
	}
	if _, err := e.Serve(ctx); err != nil {
		return err
	}
	all, running := errgroup.WithContext(ctx)
	posting, enough := context.WithCancel(running)
	for i := range posters {
		all.Go(func() error { return e.post(posting, running, rand.New(rand.NewPCG(e.Seed, uint64(i)+1))) })
	}
	all.Go(func() error {
		defer enough()
		return e.happen(running)
	})
	if err := all.Wait(); err != nil {
		return err
	}
	fmt.Fprintln(e.Progress, "all events are over")
	return e.judge(ctx)
}

// post submits small operations, one after the other, until posting ends.
func (e *env) post(posting, ctx context.Context, r *rand.Rand) error {
	for posting.Err() == nil {
		if _, err := e.submit(ctx, r, 1+r.IntN(4)); err != nil {
			return err
		}
		if drill.Wait(posting, time.Duration(50+r.IntN(300))*time.Millisecond) != nil {
			return nil
		}
	}
	return nil
}

// submit submits an operation of some desktops, again with the same key until it is
// acknowledged.
func (e *env) submit(ctx context.Context, r *rand.Rand, size int) (op tasks.Operation, err error) {
	req := api.OperationRequest{Project: drill.Project, ExpectedUsers: map[string][]string{}}
	for range size {
		d, expect := e.Draw(r, kinds)
		req.Desktops = append(req.Desktops, d.ID)
		if expect != nil {
			req.ExpectedUsers[d.ID] = expect
		}
	}
	req.IdempotencyKey = "key-" + req.Desktops[0]
	posted := time.Now()
	err = drill.Until(ctx, 100*time.Millisecond, func() (bool, error) {
		var err error
		if op, err = e.Client.CreateOperation(ctx, req); err != nil {
			return false, e.refused(err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.acks = append(e.acks, ack{op: op, durability: op.Durability, desktops: req.Desktops, posted: posted, acked: time.Now()})
		return true, nil
	})
	return op, err
}

// refused counts an answer that says to come again. Any other is an error.
func (e *env) refused(err error) error {
	what := "no answer"
	if p, ok := errors.AsType[*api.Problem](err); ok {
		what = fmt.Sprintf("%d %s", p.Status, p.Code)
		if p.Status < 500 && p.Status != http.StatusTooManyRequests {
			return fmt.Errorf("an operation was refused: %w", err)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.verdict.Refused[what]++
	return nil
}
