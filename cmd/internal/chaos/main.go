// Command chaos kills and freezes workers and makes Redis slow or unreachable, while
// calls take long and the cloud is cut off, slow or answers nonsense. Some operations are
// undone meanwhile, and schedules tick. It counts what must not happen to a desktop, or to
// the person who has it next. It runs real processes on loopback, for a bounded time, and
// ends none that it did not start.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/detachd/detachd/cmd/internal/drill"
)

func main() {
	s := scenario{
		Workers: 5, Pace: 4 * time.Second, Rest: span{3 * time.Second, 10 * time.Second},
		Calls: span{100 * time.Millisecond, 15 * time.Second}, Away: span{2 * time.Second, time.Minute},
		Frozen: span{3 * time.Second, 30 * time.Second},
	}
	flag.IntVar(&s.Kills, "kills", 100, "workers to kill with SIGKILL")
	flag.IntVar(&s.Outages, "outages", 32, "times that Redis is away: killed, frozen, hanging or cut off")
	flag.IntVar(&s.Freezes, "freezes", 24, "workers to freeze with SIGSTOP for a while")
	flag.IntVar(&s.Desktops, "desktops", 6000, "desktops to detach")
	flag.IntVar(&s.Schedules, "schedules", 60, "schedules, nine of ten due each minute")
	flag.Uint64Var(&s.Seed, "seed", uint64(time.Now().UnixNano()%1e6), "decides which workers are killed, what goes wrong, and when")
	flag.DurationVar(&s.Every, "every", 5*time.Second, "from one kill to the next, on average")
	// The disturbances take up to 14 minutes, and then operations have four to end (patience).
	drill.Main("chaos", 18*time.Minute, func(ctx context.Context, site drill.Site) (int, error) {
		s.Site, s.Operations = site, max(s.Kills, 3*s.Outages, 3*s.Freezes, 20)
		fmt.Printf("seed %d: go run ./cmd/internal/chaos -seed %d -kills %d -outages %d -freezes %d -desktops %d -schedules %d\n",
			s.Seed, s.Seed, s.Kills, s.Outages, s.Freezes, s.Desktops, s.Schedules)
		v, err := s.run(ctx)
		if err != nil {
			return 0, err
		}
		v.print(os.Stdout)
		return v.violations().Count(), nil
	})
}
