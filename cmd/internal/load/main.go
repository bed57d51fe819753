// Command load submits one-desktop operations to a real server over HTTP, many a
// second, kills the server in the middle of it, and compares the answers with the
// record: every operation answered with 202 must end confirmed, and none twice. It runs
// real processes on loopback, for a bounded time, and ends none that it did not start.
package main

import (
	"context"
	"flag"
	"os"
	"time"

	"github.com/detachd/detachd/cmd/internal/drill"
)

func main() {
	var s scenario
	flag.IntVar(&s.Rate, "rate", 500, "operations a second")
	flag.DurationVar(&s.Steady, "for", time.Minute, "for that long, undisturbed")
	flag.DurationVar(&s.Killed, "killed", 20*time.Second, "and then for that long, with the server killed in the middle")
	drill.Main("load", 10*time.Minute, func(ctx context.Context, site drill.Site) (int, error) {
		s.Site = site
		v, err := s.run(ctx)
		if err != nil {
			return 0, err
		}
		v.print(os.Stdout)
		return v.bad(), nil
	})
}
