package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/drill"
)

// span is how long something takes.
type span struct{ least, most time.Duration }

func (s span) draw(r *rand.Rand) time.Duration {
	return s.least + time.Duration(r.Int64N(int64(s.most-s.least)+1))
}

// short draws from the first sixth of the span mostly, and now and then from all of
// it, so that what takes a minute at most takes nine seconds on average.
func (s span) short(r *rand.Rand) time.Duration {
	if r.IntN(7) > 0 {
		return span{s.least, s.least + (s.most-s.least)/6}.draw(r)
	}
	return s.draw(r)
}

// outage is a way in which Redis is away, and comes back.
type outage struct {
	kind        string
	begin, back func() error
}

func (s *stage) outages() []outage {
	quiet := func(do func()) func() error { return func() error { do(); return nil } }
	return []outage{
		{"killed", quiet(s.redis.Kill), s.redis.Restart},
		{"hanging", quiet(s.proxy.Pause), quiet(s.proxy.Resume)},
		{"frozen", s.redis.Freeze, s.redis.Thaw},
		{"cut off", quiet(s.proxy.Cut), quiet(s.proxy.Resume)},
	}
}

// troubleRedis has Redis away, in each way in turn, and slow half of the time.
func (s *stage) troubleRedis(ctx context.Context, r *rand.Rand) error {
	all := s.outages()
	for n := range s.Outages {
		if err := drill.Wait(ctx, s.Rest.draw(r)); err != nil {
			return err
		}
		if err := s.takeAway(ctx, all[n%len(all)], s.Away.short(r)); err != nil {
			return err
		}
		if n%2 == 0 {
			s.proxy.Delay(time.Millisecond, 20*time.Millisecond)
		} else {
			s.proxy.Delay(0, 0)
		}
	}
	return nil
}

func (s *stage) takeAway(ctx context.Context, o outage, d time.Duration) error {
	s.redisGoes(ctx)
	if err := o.begin(); err != nil {
		return fmt.Errorf("redis %s: %w", o.kind, err)
	}
	fmt.Fprintf(s.Progress, "redis %s for %s\n", o.kind, d.Round(100*time.Millisecond))
	if err := drill.Wait(ctx, d); err != nil {
		return err
	}
	if err := o.back(); err != nil {
		return fmt.Errorf("redis %s, coming back: %w", o.kind, err)
	}
	s.mu.Lock()
	s.away, s.backAt = false, time.Now()
	if s.verdict.Outages == nil {
		s.verdict.Outages = map[string]int{}
	}
	s.verdict.Outages[o.kind]++
	s.verdict.Away += d
	s.mu.Unlock()
	s.untilProgress("redis", time.Now())
	return s.replaceEnded()
}

// redisGoes notes which workers may end because of that.
func (s *stage) redisGoes(ctx context.Context) {
	known := s.known(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = true
	for _, w := range s.processes {
		w.excused = !known[w.id] || time.Since(w.started) < 5*time.Second
	}
}

// freezeWorkers stops one worker at a time for a while.
func (s *stage) freezeWorkers(ctx context.Context, r *rand.Rand) error {
	for range s.Freezes {
		if err := drill.Wait(ctx, s.Rest.draw(r)); err != nil {
			return err
		}
		w, err := s.some(ctx, r)
		if err != nil {
			return err
		}
		if err := s.freeze(w); err != nil {
			return fmt.Errorf("freezing %s: %w", w.id, err)
		}
		err = drill.Wait(ctx, s.Frozen.draw(r))
		if thawed := s.thaw(w); thawed != nil {
			return fmt.Errorf("thawing %s: %w", w.id, thawed)
		}
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.verdict.Freezes++
		s.mu.Unlock()
	}
	return nil
}

// killWorkers kills one after the other, and troubles the cloud between.
func (s *stage) killWorkers(ctx context.Context, r *rand.Rand) error {
	for n := 1; n <= s.Kills; n++ {
		if err := drill.Wait(ctx, s.Every/2+time.Duration(r.Int64N(int64(s.Every)))); err != nil {
			return err
		}
		if err := s.killWorker(ctx, r); err != nil {
			return err
		}
		if n%cloudEvery == 0 {
			if err := s.troubleCloud(ctx, r); err != nil {
				return err
			}
		}
		if n%20 == 0 {
			fmt.Fprintf(s.Progress, "%d of %d kills\n", n, s.Kills)
		}
	}
	return nil
}

// killWorker kills one, which may be frozen, starts another, and watches how long it
// takes until somebody has taken up what the dead one had in hand.
func (s *stage) killWorker(ctx context.Context, r *rand.Rand) error {
	w, err := s.some(ctx, r)
	if err != nil {
		return err
	}
	if err := s.kill(w); err != nil {
		return err
	}
	killed := time.Now()
	s.mu.Lock()
	s.verdict.Kills++
	s.mu.Unlock()
	s.watching.Go(func() {
		for {
			if known := s.known(s.working); known != nil && !known[w.id] {
				s.mu.Lock()
				since := killed
				if s.backAt.After(since) {
					since = s.backAt
				}
				s.mu.Unlock()
				s.recovered("worker", time.Since(since))
				return
			}
			if drill.Wait(s.working, 50*time.Millisecond) != nil {
				return
			}
		}
	})
	return s.startWorker()
}

// known are the workers that the record has; nil: Redis is away.
func (s *stage) known(ctx context.Context) map[string]bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	list, err := s.record.Workers(ctx)
	if err != nil {
		return nil
	}
	out := map[string]bool{}
	for _, w := range list {
		out[w.ID] = true
	}
	return out
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
			if drill.Wait(s.working, 50*time.Millisecond) != nil {
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

// troubleCloud has the cloud cut off, slow, or talk nonsense for a while.
func (s *stage) troubleCloud(ctx context.Context, r *rand.Rand) error {
	s.cloud.ClearFaults()
	s.mu.Lock()
	s.verdict.Troubles++
	s.mu.Unlock()
	switch r.IntN(5) {
	case 0:
		s.cloud.Stop()
		if err := drill.Wait(ctx, time.Duration(500+r.IntN(2000))*time.Millisecond); err != nil {
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
		s.cloud.Fail(fakecloud.Fault{Effect: fakecloud.DropAfter, Rate: 0.4}, fakecloud.Fault{Effect: fakecloud.DropBefore, Rate: 0.2},
			fakecloud.Fault{Op: fakecloud.OpDetail, Effect: fakecloud.Truncate, Rate: 0.3})
	case 4:
		s.cloud.Fail(fakecloud.Fault{Status: 500, Applied: true, Rate: 0.4}, fakecloud.Fault{Effect: fakecloud.HangAfter, Rate: 0.2},
			fakecloud.Fault{Status: 503, Code: "WKS.00050902", Rate: 0.2}, fakecloud.Fault{Op: fakecloud.OpDetail, Status: 500, Rate: 0.3})
	}
	return nil
}
