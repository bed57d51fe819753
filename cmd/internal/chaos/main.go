// Command chaos lets worker processes be killed and frozen, and Redis be away or
// slow, while calls take long and the cloud is cut off, slow or talking nonsense, and
// counts what must not happen to any desktop, or to whoever has it next. It runs real
// processes on loopback, for a bounded time, and ends none that it did not start.
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
	drill.QuietRedis()
	if err := chaos(); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func chaos() error {
	p := plan{
		Progress: os.Stderr, Workers: 5,
		Calls: span{100 * time.Millisecond, 15 * time.Second}, Away: span{2 * time.Second, time.Minute}, Frozen: span{3 * time.Second, 30 * time.Second},
		Rest: span{3 * time.Second, 10 * time.Second},
	}
	flag.IntVar(&p.Kills, "kills", 100, "workers to kill with SIGKILL")
	flag.IntVar(&p.Outages, "outages", 32, "times that Redis is away: killed, frozen, hanging or cut off")
	flag.IntVar(&p.Freezes, "freezes", 24, "workers to freeze with SIGSTOP for a while")
	flag.IntVar(&p.Desktops, "desktops", 6000, "desktops to detach")
	flag.Uint64Var(&p.Seed, "seed", uint64(time.Now().UnixNano()%1e6), "draws who is killed, what goes wrong, and when")
	flag.DurationVar(&p.Every, "every", 5*time.Second, "from one kill to the next, on average")
	limit := flag.Duration("limit", 15*time.Minute, "give up after that time")
	flag.Parse()
	p.Operations = max(p.Kills, 3*p.Outages, 3*p.Freezes, 20)
	p.Pace = 4 * time.Second

	dir, err := os.MkdirTemp("", "detachd-chaos-")
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
	fmt.Printf("seed %d: go run ./cmd/internal/chaos -seed %d -kills %d -outages %d -freezes %d -desktops %d\n", p.Seed, p.Seed, p.Kills, p.Outages, p.Freezes, p.Desktops)
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
