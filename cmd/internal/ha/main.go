// Command ha kills, freezes and cuts off the primaries of a Redis with replicas,
// behind Sentinels and as a Cluster, while operations are submitted to a server over
// HTTP, and counts what must not happen to any of them. It runs real processes on
// loopback, for a bounded time, and ends none that it did not start.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/detachd/detachd/cmd/internal/drill"
)

func main() {
	var s scenario
	redis := flag.String("redis", "sentinel,cluster", "what to run on, one after the other")
	events := flag.String("events", "", "what is to happen, in that order, such as kill,cut (default: all, in a random order)")
	rounds := flag.Int("rounds", 2, "how often all of it is to happen")
	flag.IntVar(&s.Bulk, "bulk", 300, "desktops of the large operation that is under way in each event")
	flag.Uint64Var(&s.Seed, "seed", uint64(time.Now().UnixNano()%1e6), "decides on desktops, primaries and times")
	flag.DurationVar(&s.Patience, "patience", 3*time.Minute, "from the last event until every operation must be finished")
	drill.Main("ha", 20*time.Minute, func(ctx context.Context, site drill.Site) (violations int, err error) {
		fmt.Printf("seed %d: go run ./cmd/internal/ha -seed %d -redis %s -rounds %d\n", s.Seed, s.Seed, *redis, *rounds)
		for kind := range strings.SplitSeq(*redis, ",") {
			s.Kind, s.Site = kind, site
			s.Dir = filepath.Join(site.Dir, kind)
			if s.Events, err = s.draw(*events, *rounds); err != nil {
				return 0, err
			}
			v, err := s.run(ctx)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", kind, err)
			}
			v.print(os.Stdout)
			violations += v.violations().Count()
		}
		return violations, nil
	})
}

// draw returns what is going to happen.
func (s scenario) draw(wanted string, rounds int) (out []string, err error) {
	all := []string{}
	for name, e := range events {
		if wanted == "" && (e.on == "" || e.on == s.Kind) {
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
	r := s.random()
	for range rounds {
		if wanted == "" {
			r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		}
		out = append(out, all...)
	}
	return out, nil
}
