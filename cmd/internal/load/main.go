// Command load hands over one-desktop operations to a real server over HTTP, many a
// second, kills the server in the middle of it, and holds what was answered against
// the record: every 202 must end proven, and none twice. It runs real processes on
// loopback, for a bounded time, and ends none that it did not start.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/detachd/detachd/cmd/internal/drill"
)

func main() {
	if err := load(); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func load() error {
	var p plan
	flag.IntVar(&p.Rate, "rate", 500, "operations a second")
	flag.DurationVar(&p.Steady, "for", time.Minute, "for that long, undisturbed")
	flag.DurationVar(&p.Killed, "killed", 20*time.Second, "and then for that long, with the server killed in the middle")
	limit := flag.Duration("limit", 10*time.Minute, "give up after that time")
	flag.Parse()

	dir, err := os.MkdirTemp("", "detachd-load-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	p.Dir = dir
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	if p.Binary, err = drill.Build(ctx, dir); err != nil {
		return err
	}
	v, err := p.run(ctx)
	if err != nil {
		return err
	}
	v.print(os.Stdout)
	if n := v.bad(); n > 0 {
		return fmt.Errorf("%d things that must not happen did", n)
	}
	return nil
}
