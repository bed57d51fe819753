package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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
	cloudEvery = 5 // kills from one disturbance of the cloud to the next
	patience   = 4 * time.Minute
)

// kinds are drawn from with equal chances. Two desktops of five have an heir.
var kinds = []drill.Kind{
	drill.Shared, drill.PassedOn, drill.Expected, drill.Pooled, drill.Found, drill.FoundGivenAway,
	drill.GivenAway, drill.GivenAway, drill.GivenAway, drill.GivenAwayBare, drill.GivenAwayBare, drill.GivenAwayBare,
	drill.Nowhere, drill.Plain, drill.Plain, drill.Plain, drill.Plain,
}

// scenario says what is going to happen.
type scenario struct {
	drill.Site
	Desktops, Operations    int
	Schedules               int
	Kills, Outages, Freezes int
	Workers                 int           // processes at a time
	Every                   time.Duration // from one kill to the next, on average
	Rest                    span          // from one outage, or freeze, to the next
	Pace                    time.Duration // from one operation to the next
	Calls, Away, Frozen     span          // how long a call, an outage, and a freeze take
	Seed                    uint64
}

// callTimeout is longer than every call: a call without a reply is one whose worker,
// or whose cloud, is gone.
func (s scenario) callTimeout() time.Duration { return s.Calls.most + 5*time.Second }

// unapproved is how many desktops pass without an approval: the operations after a third of
// all wait for one.
func (s scenario) unapproved() int { return s.Desktops / 3 }

// undoneAlone is how many desktops are given back without an approval.
func (s scenario) undoneAlone() int { return s.Desktops / max(s.Operations, 1) / 3 }

// random gives each goroutine draws of its own.
func (s scenario) random(n uint64) *rand.Rand { return rand.New(rand.NewPCG(s.Seed, n)) }

// env is what a scenario runs on. The Redis client of drill.Env does not go through
// the proxy; workers and the producer do.
type env struct {
	scenario
	*drill.Env
	redis    *redistest.Server
	proxy    *redistest.Proxy
	producer *record.Producer
	ops      []record.Operation
	missing  []string        // submitted ids that no desktop has
	working  context.Context // ends when there is nothing left to do
	watching sync.WaitGroup
	undoing  errgroup.Group

	schedules []*scheduled

	mu       sync.Mutex
	undos    []record.Operation
	mistakes map[string]mistake      // by undo
	excused  map[*drill.Process]bool // it was starting while Redis was away, which may end it
	away     bool                    // Redis is
	backAt   time.Time               // when it was last back

	outagesOfRedis []period
	verdict        verdict
}

// run plays the scenario and returns the result.
func (s scenario) run(ctx context.Context) (*verdict, error) {
	e := &env{scenario: s, excused: map[*drill.Process]bool{}, mistakes: map[string]mistake{}}
	e.verdict.Outages, e.verdict.Recovery = map[string]int{}, map[string][]time.Duration{}
	var err error
	// Not everysec: with that, redis-server may answer before the kernel has a write,
	// and a kill would lose what was acknowledged.
	if e.redis, err = redistest.Run(s.Dir, "--appendfsync", "always"); err != nil {
		return nil, err
	}
	defer e.redis.Kill()
	if e.proxy, err = redistest.NewProxy(e.redis.Addr()); err != nil {
		return nil, err
	}
	defer e.proxy.Close()
	through := redis.NewClient(&redis.Options{Addr: e.proxy.Addr()})
	defer func() { _ = through.Close() }()
	if e.producer, err = record.NewProducer(through, record.ProducerConfig{Projects: []string{drill.Project}}); err != nil {
		return nil, err
	}
	e.Env, err = drill.Open(s.Site, drill.Setup{
		RedisURL: e.proxy.URL(), Redis: redis.NewClient(&redis.Options{Addr: e.redis.Addr(), ContextTimeoutEnabled: true}),
		Cloud: fakecloud.Config{
			Seed: s.Seed, Latency: s.Calls.least, Jitter: s.Calls.most - s.Calls.least, EarlyEffects: 0.3, KeepsTime: true,
			ReadLatency: 50 * time.Millisecond, DetachDelay: 300 * time.Millisecond,
		},
		Worker: drill.Patient + fmt.Sprintf(", shutdown_timeout: %s", s.callTimeout()+5*time.Second),
		Limits: fmt.Sprintf("max_in_flight: 8, call_timeout: %s", s.callTimeout()),
		Approval: fmt.Sprintf("desktops: %d, percent: 1, canary: {desktops: 2, above: 20}, undo_second_person_above: %d, ",
			s.unapproved(), s.undoneAlone()) + "stop_loss: {desktops: 100000, percent: 100}",
	})
	if err != nil {
		return nil, err
	}
	defer e.Close()
	e.MayEnd = func(p *drill.Process) bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.excused[p]
	}
	return &e.verdict, e.Do(ctx, e.play)
}

func (e *env) play(ctx context.Context) error {
	var idle context.CancelFunc
	e.working, idle = context.WithCancel(ctx)
	defer e.watching.Wait()
	defer idle() // before that, as watching ends with it
	if err := e.addSchedules(ctx); err != nil {
		return err
	}
	if err := e.startMissing(); err != nil {
		return err
	}
	if err := e.disturb(ctx); err != nil {
		return err
	}
	e.proxy.Delay(0, 0)
	e.Cloud.ClearFaults()
	fmt.Fprintln(e.Progress, "all disturbances are over")
	if err := e.settle(ctx); err != nil {
		return err
	}
	idle()
	e.watching.Wait()
	return e.judge(ctx)
}

// disturb submits the work and, once calls are on the wire, makes everything go wrong.
func (e *env) disturb(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return e.submitAll(ctx, e.random(1)) })
	e.watching.Go(e.approve)
	if err := e.Cloud.Wait(ctx, func() bool { return e.Cloud.Calls() >= min(e.Workers, e.Operations) }); err != nil {
		return cmp.Or(all.Wait(), err)
	}
	for i, cause := range []func(context.Context, *rand.Rand) error{e.killWorkers, e.freezeWorkers, e.disturbRedis, e.askRuns} {
		all.Go(func() error { return cause(ctx, e.random(uint64(i+2))) })
	}
	return all.Wait()
}

// submitAll submits all operations.
func (e *env) submitAll(ctx context.Context, r *rand.Rand) error {
	left := e.Desktops
	for n := range e.Operations {
		size := left / (e.Operations - n)
		left -= size
		if size > 0 {
			if err := e.submit(ctx, r, n, size); err != nil {
				return err
			}
		}
		if err := drill.Wait(ctx, e.Pace); err != nil {
			return err
		}
	}
	return nil
}

// submit submits an operation, again with the same key until it is known to be accepted. Some
// are mistakes, to be undone.
func (e *env) submit(ctx context.Context, r *rand.Rand, n, size int) error {
	req := tasks.Request{Project: drill.Project, RequestedBy: "chaos", Expect: map[string][]string{}}
	req.IdempotencyKey = fmt.Sprint("operation-", n)
	for range size {
		d, expect := e.Draw(r, kinds)
		if drill.Nowhere.Has(d.ID) {
			e.missing = append(e.missing, d.ID)
		}
		if d.ComputerName != "" {
			req.Computers = append(req.Computers, d.ComputerName)
			continue
		}
		req.Desktops = append(req.Desktops, d.ID)
		if expect != nil {
			req.Expect[d.ID] = expect
		}
	}
	op, err := accepted(ctx, func() (record.Operation, error) { return e.producer.Enqueue(ctx, req) })
	if err != nil {
		return err
	}
	e.ops = append(e.ops, op)
	if m, made := drawMistake(r, n); made {
		e.undoing.Go(func() error { return e.undo(e.working, op, m) })
	}
	return nil
}

// accepted submits, again until it is known that Redis has it.
func accepted(ctx context.Context, submit func() (record.Operation, error)) (op record.Operation, err error) {
	err = drill.Until(ctx, 100*time.Millisecond, func() (bool, error) {
		if op, err = submit(); err == nil {
			return true, nil
		}
		if invalid, ok := errors.AsType[*tasks.ValidationError](err); ok {
			return false, invalid
		}
		return false, nil
	})
	return op, err
}

// approve is a person who approves whatever waits, as soon as Redis lets them.
func (e *env) approve() {
	for drill.Wait(e.working, 300*time.Millisecond) == nil {
		waiting, _, err := e.producer.Record.Operations(e.working, tasks.OperationFilter{Waiting: true}, 10, "")
		for _, op := range waiting {
			if err == nil {
				_, err = e.producer.Approve(e.working, op, tasks.Approval{By: "approver", Reason: "chaos"})
			}
		}
		if err != nil {
			fmt.Fprintln(e.Progress, "approving:", err)
		}
	}
}

// settle waits until every operation is finished and sealed, and every undo.
func (e *env) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not all were finished after %s", patience))
	defer cancel()
	if err := e.sealed(ctx, e.ops); err != nil {
		return err
	}
	if err := e.undoing.Wait(); err != nil {
		return err
	}
	if err := e.settleSchedules(ctx); err != nil {
		return err
	}
	// Those that were undone now name their undos.
	return cmp.Or(e.sealed(ctx, e.undos), e.sealed(ctx, e.ops))
}

// sealed waits until all of a list are finished and sealed, and reads them.
func (e *env) sealed(ctx context.Context, list []record.Operation) error {
	for i, op := range list {
		err := drill.Until(ctx, 100*time.Millisecond, func() (bool, error) {
			now, err := e.Record.Operation(ctx, op.ID)
			if err == nil {
				list[i] = now
			}
			return err == nil && now.Sealed(), nil
		})
		if err != nil {
			return fmt.Errorf("operation %s: %w (%+v)", op.ID, err, list[i].Counts)
		}
	}
	return nil
}
