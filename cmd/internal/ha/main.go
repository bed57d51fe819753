// Command ha lets the primaries of a Redis with replicas die, freeze and be cut off,
// behind Sentinels and as a Cluster, while operations are posted to a server over
// HTTP, and counts what must not happen to any of them. It runs real processes on
// loopback, for a bounded time, and ends none that it did not start.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/detachd/detachd/cmd/internal/drill"
)

func main() {
	drill.QuietRedis()
	if err := ha(); err != nil {
		fmt.Fprintln(os.Stderr, "ha:", err)
		os.Exit(1)
	}
}

func ha() error {
	p := plan{Progress: os.Stderr}
	redis := flag.String("redis", "sentinel,cluster", "what to run on, one after the other")
	events := flag.String("events", "", "what is to happen, in that order, such as kill,cut (default: all, in an order that is drawn)")
	rounds := flag.Int("rounds", 2, "how often all of it is to happen")
	flag.IntVar(&p.Bulk, "bulk", 300, "desktops of the large operation that is under way in each event")
	flag.Uint64Var(&p.Seed, "seed", uint64(time.Now().UnixNano()%1e6), "draws desktops, primaries and times")
	flag.DurationVar(&p.Patience, "patience", 3*time.Minute, "from the last event until all has to have ended")
	keep := flag.String("dir", "", "keep logs in that directory (default: nothing is kept)")
	limit := flag.Duration("limit", 20*time.Minute, "give up after that time")
	flag.Parse()

	dir, err := os.MkdirTemp(*keep, "detachd-ha-")
	if err != nil {
		return err
	}
	if *keep == "" {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	if p.Binary, err = drill.Build(ctx, dir); err != nil {
		return err
	}
	fmt.Printf("seed %d: go run ./cmd/internal/ha -seed %d -redis %s -rounds %d\n", p.Seed, p.Seed, *redis, *rounds)
	bad := 0
	for kind := range strings.SplitSeq(*redis, ",") {
		p.Kind, p.Dir = kind, filepath.Join(dir, kind)
		if p.Events, err = p.draw(*events, *rounds); err != nil {
			return err
		}
		v, err := p.run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		v.print(os.Stdout)
		bad += v.bad()
	}
	if bad > 0 {
		return fmt.Errorf("%d things that must not happen did", bad)
	}
	return nil
}

// draw gives what is going to happen.
func (p plan) draw(wanted string, rounds int) (out []string, err error) {
	all := []string{}
	for name, e := range events {
		if wanted == "" && (e.on == "" || e.on == p.Kind) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	if wanted != "" {
		all = strings.Split(wanted, ",")
	}
	for _, name := range all {
		if events[name].do == nil {
			return nil, fmt.Errorf("no event is called %q", name)
		}
	}
	r := p.random()
	for range rounds {
		if wanted == "" {
			r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		}
		out = append(out, all...)
	}
	return out, nil
}
