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

func (e *env) outages() []outage {
	quiet := func(do func()) func() error { return func() error { do(); return nil } }
	return []outage{
		{"killed", quiet(e.redis.Kill), e.redis.Restart},
		{"hanging", quiet(e.proxy.Pause), quiet(e.proxy.Resume)},
		{"frozen", e.redis.Freeze, e.redis.Thaw},
		{"cut off", quiet(e.proxy.Cut), quiet(e.proxy.Resume)},
	}
}

// disturbRedis makes Redis unreachable, in each way in turn, and slow half of the time.
func (e *env) disturbRedis(ctx context.Context, r *rand.Rand) error {
	all := e.outages()
	for n := range e.Outages {
		if err := drill.Wait(ctx, e.Rest.draw(r)); err != nil {
			return err
		}
		if err := e.takeAway(ctx, all[n%len(all)], e.Away.short(r)); err != nil {
			return err
		}
		if n%2 == 0 {
			e.proxy.Delay(time.Millisecond, 20*time.Millisecond)
		} else {
			e.proxy.Delay(0, 0)
		}
	}
	return nil
}

func (e *env) takeAway(ctx context.Context, o outage, d time.Duration) error {
	e.excuse(ctx)
	begun := time.Now()
	if err := o.begin(); err != nil {
		return fmt.Errorf("redis %s: %w", o.kind, err)
	}
	fmt.Fprintf(e.Progress, "redis %s for %s\n", o.kind, d.Round(100*time.Millisecond))
	if err := drill.Wait(ctx, d); err != nil {
		return err
	}
	if err := o.back(); err != nil {
		return fmt.Errorf("redis %s, coming back: %w", o.kind, err)
	}
	e.count(func(v *verdict) {
		e.away, e.backAt = false, time.Now()
		e.outagesOfRedis = append(e.outagesOfRedis, period{begun, e.backAt})
		v.Outages[o.kind]++
		v.Away += d
	})
	e.untilProgress("redis")
	return e.startMissing()
}

// untilProgress measures from now on how long it takes until the cloud executes a call
// again, if there is anything left to call for.
func (e *env) untilProgress(what string) {
	now, before := time.Now(), e.executed()
	e.watch(what, func() time.Time { return now }, func() bool { return e.executed() != before })
}

// executed is how many detach calls had an effect.
func (e *env) executed() (n int) {
	for _, r := range e.Cloud.Requests() {
		if r.Op == fakecloud.OpDetach && r.Effect {
			n++
		}
	}
	return n
}

// disturbCloud cuts the cloud off for a while, or makes it slow or answer nonsense
// until the next time.
func (e *env) disturbCloud(ctx context.Context, r *rand.Rand) error {
	const detail = fakecloud.OpDetail
	e.Cloud.ClearFaults()
	e.count(func(v *verdict) { v.Disturbances++ })
	switch r.IntN(5) {
	case 0:
		e.Cloud.Stop()
		if err := drill.Wait(ctx, time.Duration(500+r.IntN(2000))*time.Millisecond); err != nil {
			return err
		}
		if err := e.Cloud.Restart(); err != nil {
			return err
		}
		e.untilProgress("cloud cut off")
	case 1:
		e.Cloud.Fail(fakecloud.Fault{Delay: 2 * time.Second}, fakecloud.Fault{Op: detail, Delay: time.Second})
	case 2:
		e.Cloud.Fail(fakecloud.Fault{Effect: fakecloud.Garbage, Rate: 0.5}, fakecloud.Fault{Op: detail, Effect: fakecloud.Garbage, Rate: 0.5})
	case 3:
		e.Cloud.Fail(fakecloud.Fault{Effect: fakecloud.DropAfter, Rate: 0.4}, fakecloud.Fault{Effect: fakecloud.DropBefore, Rate: 0.2},
			fakecloud.Fault{Op: detail, Effect: fakecloud.Truncate, Rate: 0.3})
	case 4:
		e.Cloud.Fail(fakecloud.Fault{Status: 500, Applied: true, Rate: 0.4}, fakecloud.Fault{Effect: fakecloud.HangAfter, Rate: 0.2},
			fakecloud.Fault{Status: 503, Code: "WKS.00050902", Rate: 0.2}, fakecloud.Fault{Op: detail, Status: 500, Rate: 0.3})
	}
	return nil
}
