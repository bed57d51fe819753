package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/detachd/detachd/cmd/internal/drill"
)

func (e *env) startWorker() error {
	e.mu.Lock() // until it is excused: it may end at once
	defer e.mu.Unlock()
	w, err := e.Start("w", "worker")
	e.excused[w] = e.away
	return err
}

// startMissing starts workers until there are as many as there should be: some may have
// ended because Redis was away when they started.
func (e *env) startMissing() error {
	running := 0
	for _, w := range e.Processes() {
		if w.Running() {
			running++
		}
	}
	for ; running < e.Workers; running++ {
		if err := e.startWorker(); err != nil {
			return err
		}
	}
	return nil
}

// excuse marks the workers that may end because Redis goes away.
func (e *env) excuse(ctx context.Context) {
	known := e.known(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.away = true
	for _, w := range e.Processes() {
		e.excused[w] = !known[w.Name] || time.Since(w.Started) < 5*time.Second
	}
}

// some draws one of the workers that run and that the record knows, as soon as there
// is one.
func (e *env) some(ctx context.Context, r *rand.Rand) (w *drill.Process, err error) {
	err = drill.Until(ctx, 50*time.Millisecond, func() (bool, error) {
		known := e.known(ctx)
		var list []*drill.Process
		for _, p := range e.Processes() {
			if p.Running() && (known == nil || known[p.Name]) {
				list = append(list, p)
			}
		}
		if len(list) > 0 {
			w = list[r.IntN(len(list))]
		}
		return w != nil, nil
	})
	return w, err
}

// known are the workers in the record; nil: Redis is away.
func (e *env) known(ctx context.Context) map[string]bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	list, err := e.Record.Workers(ctx)
	if err != nil {
		return nil
	}
	out := map[string]bool{}
	for _, w := range list {
		out[w.ID] = true
	}
	return out
}

// killWorkers kills one after the other, and disturbs the cloud now and then.
func (e *env) killWorkers(ctx context.Context, r *rand.Rand) error {
	for n := 1; n <= e.Kills; n++ {
		w, err := e.victim(ctx, r, e.Every/2+time.Duration(r.Int64N(int64(e.Every))))
		if err != nil {
			return err
		}
		if err := e.killWorker(w); err != nil {
			return err
		}
		if n%cloudEvery == 0 {
			if err := e.disturbCloud(ctx, r); err != nil {
				return err
			}
		}
		if n%20 == 0 {
			fmt.Fprintf(e.Progress, "%d of %d kills\n", n, e.Kills)
		}
	}
	return nil
}

// killWorker kills a worker, which may be frozen, and starts another. It measures how
// long it takes until others have the work of the dead one.
func (e *env) killWorker(w *drill.Process) error {
	w.Kill()
	killed := time.Now()
	e.count(func(v *verdict) { v.Kills++ })
	e.watch("worker", func() time.Time {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.backAt.After(killed) {
			return e.backAt
		}
		return killed
	}, func() bool {
		known := e.known(e.working)
		return known != nil && !known[w.Name]
	})
	return e.startWorker()
}

// freezeWorkers stops one worker at a time for a while.
func (e *env) freezeWorkers(ctx context.Context, r *rand.Rand) error {
	for range e.Freezes {
		if err := drill.Wait(ctx, e.Rest.draw(r)); err != nil {
			return err
		}
		w, err := e.some(ctx, r)
		if err != nil {
			return err
		}
		if err := w.Freeze(); err != nil {
			return fmt.Errorf("freezing %s: %w", w.Name, err)
		}
		err = drill.Wait(ctx, e.Frozen.draw(r))
		if thawed := w.Thaw(); thawed != nil {
			return fmt.Errorf("thawing %s: %w", w.Name, thawed)
		}
		if err != nil {
			return err
		}
		e.count(func(v *verdict) { v.Freezes++ })
	}
	return nil
}

// count changes the verdict while others do.
func (e *env) count(change func(*verdict)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&e.verdict)
}

// watch measures a recovery: from a moment, which is asked for when it is over.
func (e *env) watch(what string, since func() time.Time, over func() bool) {
	e.watching.Go(func() {
		if drill.Until(e.working, 50*time.Millisecond, func() (bool, error) { return over(), nil }) == nil {
			took := time.Since(since())
			e.count(func(v *verdict) { v.Recovery[what] = append(v.Recovery[what], took) })
		}
	})
}
