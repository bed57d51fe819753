package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/drill"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

const (
	patience = 3 * time.Minute
	again    = 10 // every so many-th is sent once more when it was answered
)

// scenario says what is going to happen.
type scenario struct {
	drill.Site
	Rate           int
	Steady, Killed time.Duration
}

// steady is how many requests are submitted undisturbed, requests how many in all.
func (s scenario) steady() int   { return int(s.Steady.Seconds() * float64(s.Rate)) }
func (s scenario) requests() int { return s.steady() + int(s.Killed.Seconds()*float64(s.Rate)) }

// desktop is the one that a request names.
func desktop(request int) string { return fmt.Sprintf("desktop-%d", request) }

// env is what a scenario runs on.
type env struct {
	scenario
	*drill.Env

	mu      sync.Mutex
	verdict verdict
	ids     map[string]int // operation -> request
}

// run plays the scenario and returns the result.
func (s scenario) run(ctx context.Context) (*verdict, error) {
	server, err := redistest.Run(s.Dir)
	if err != nil {
		return nil, err
	}
	defer server.Kill()
	e := &env{scenario: s, ids: map[string]int{}}
	e.Env, err = drill.Open(s.Site, drill.Setup{
		RedisURL: server.URL(), Redis: redis.NewClient(redistest.Options(server.Addr())),
		Cloud:  fakecloud.Config{Latency: 50 * time.Millisecond, ReadLatency: 50 * time.Millisecond},
		Worker: "first_look: 500ms", Limits: "max_in_flight: 10",
	})
	if err != nil {
		return nil, err
	}
	defer e.Close()
	return &e.verdict, e.Do(ctx, e.play)
}

func (e *env) play(ctx context.Context) error {
	for i := range e.requests() {
		e.Cloud.Add(drill.ProjectID, fakecloud.Desktop{ID: desktop(i)})
	}
	server, err := e.Serve(ctx, "--worker")
	if err != nil {
		return err
	}
	if err := e.submitAll(ctx, 0, e.steady(), &e.verdict.Steady); err != nil {
		return err
	}
	all, both := errgroup.WithContext(ctx)
	all.Go(func() error { return e.submitAll(both, e.steady(), e.requests(), &e.verdict.Killed) })
	all.Go(func() error {
		if err := drill.Wait(both, e.Killed/2); err != nil {
			return err
		}
		return e.replace(both, server)
	})
	if err := all.Wait(); err != nil {
		return err
	}
	return e.judge(ctx)
}

// replace kills the server and starts another at the same address.
func (e *env) replace(ctx context.Context, server *drill.Process) error {
	killed := time.Now()
	server.Kill()
	_, err := e.Serve(ctx, "--worker")
	e.verdict.Away = time.Since(killed)
	return err
}

// submitAll submits requests at the rate, whether or not those before were answered,
// and counts the time of each from when it was due.
func (e *env) submitAll(ctx context.Context, first, end int, into *phase) error {
	var all sync.WaitGroup
	begun := time.Now()
	into.Requests = end - first
	for i := first; i < end; i++ {
		due := begun.Add(time.Duration(i-first) * time.Second / time.Duration(e.Rate))
		if err := drill.Wait(ctx, time.Until(due)); err != nil {
			return err
		}
		all.Go(func() { e.submit(ctx, i, due, into) })
	}
	all.Wait()
	return context.Cause(ctx)
}

// submit submits a request, again with the same key until it is answered with 202.
func (e *env) submit(ctx context.Context, i int, due time.Time, into *phase) {
	req := api.OperationRequest{Project: drill.Project, Desktops: []string{desktop(i)}, IdempotencyKey: fmt.Sprint("request-", i)}
	err := drill.Until(ctx, 50*time.Millisecond, func() (bool, error) {
		op, err := e.Client.CreateOperation(ctx, req)
		if err != nil {
			e.refused(err, into)
			return false, nil
		}
		e.accepted(i, op.ID, time.Since(due), into)
		return true, nil
	})
	if err != nil || i%again != 0 {
		return
	}
	if op, err := e.Client.CreateOperation(ctx, req); err == nil {
		e.accepted(i, op.ID, 0, nil)
	}
}

func (e *env) accepted(i int, id string, took time.Duration, into *phase) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if into != nil {
		into.Took = append(into.Took, took)
	}
	if j, known := e.ids[id]; known && j != i {
		e.verdict.Twice = append(e.verdict.Twice, fmt.Sprintf("requests %d and %d are both operation %s", i, j, id))
	}
	e.ids[id] = i
}

func (e *env) refused(err error, into *phase) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, answered := errors.AsType[*api.Problem](err)
	switch {
	case !answered:
		into.Unanswered++
	case p.Status >= 500:
		into.Errors++
	default:
		into.Refused++
	}
}

// judge waits until no operation is open, and compares the record with the answers.
func (e *env) judge(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not all were finished after %s", patience))
	defer cancel()
	var open int64
	err := drill.Until(ctx, 100*time.Millisecond, func() (_ bool, err error) {
		open, err = e.Redis.ZCard(ctx, record.DefaultPrefix+":open").Result()
		return open == 0, err
	})
	if err != nil {
		return fmt.Errorf("%w: %d are open", err, open)
	}
	v, requests := &e.verdict, e.requests()
	recorded, requested := 0, map[string]bool{}
	for token := ""; ; {
		ops, next, err := e.Record.Operations(ctx, tasks.OperationFilter{}, 1000, token)
		if err != nil {
			return err
		}
		for _, op := range ops {
			recorded++
			i, known := e.ids[op.ID]
			requested[op.ID] = true
			id := desktop(i)
			switch {
			case !known:
				v.Twice = append(v.Twice, "operation "+op.ID+" was never answered for")
			case op.Counts.Detached != 1 || !op.Sealed():
				v.Unproven = append(v.Unproven, op.ID)
			case e.Cloud.DetachedTimes(drill.ProjectID, id) != 1:
				v.Untrue = append(v.Untrue, id)
			}
		}
		if next == "" {
			break
		}
		token = next
	}
	for id := range e.ids {
		if !requested[id] {
			v.Lost = append(v.Lost, id)
		}
	}
	if len(e.ids) != requests || recorded != requests {
		v.Twice = append(v.Twice, fmt.Sprintf("%d requests made %d operations, and %d are recorded", requests, len(e.ids), recorded))
	}
	return nil
}
