// Package drill is the rig of chaos, ha and load: they start real detachd processes
// on a real Redis and a fake cloud, break something, and compare the record with what
// the cloud knows. It starts, kills and freezes processes, makes up desktops, waits,
// and prints violations. What breaks, and what must not happen then, is the caller's.
package drill

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// silence is the log of a client that would report every failed dial; here Redis is
// meant to go away.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// QuietRedis keeps go-redis from writing to stderr.
func QuietRedis() { redis.SetLogger(silence{}) }

// Site is where a drill runs.
type Site struct {
	Binary   string // detachd
	Dir      string // for Redis, the configuration and logs
	Progress io.Writer
}

// Main is the main function of a drill. It parses the flags, those of the caller too,
// and runs the drill until it returns, -limit passes or the user interrupts it. The
// exit code is 1 after an error or a violation.
func Main(name string, limit time.Duration, run func(context.Context, Site) (violations int, err error)) {
	QuietRedis()
	flag.DurationVar(&limit, "limit", limit, "give up after that time")
	keep := flag.String("dir", "", "keep logs in that directory (default: nothing is kept)")
	flag.Parse()
	if err := inTemp(name, *keep, limit, run); err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
}

func inTemp(name, keep string, limit time.Duration, run func(context.Context, Site) (int, error)) error {
	dir, err := os.MkdirTemp(keep, "detachd-"+name+"-")
	if err != nil {
		return err
	}
	if keep == "" {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not finished after %s", limit))
	defer cancel()
	binary, err := Build(ctx, dir)
	if err != nil {
		return err
	}
	n, err := run(ctx, Site{Binary: binary, Dir: dir, Progress: os.Stderr})
	if err == nil && n > 0 {
		err = fmt.Errorf("%d things happened that must not happen", n)
	}
	return err
}

// Build compiles detachd into dir and returns the path of the binary.
func Build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "detachd")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/detachd/detachd/cmd/detachd").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building detachd: %w\n%s", err, out)
	}
	return binary, nil
}

// freeAddress returns host:port of loopback that nothing listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// Wait returns after d, or with the cause of ctx's end.
func Wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Until calls done, with pauses, until it returns true or an error. When ctx ends
// first, the error is the cause.
func Until(ctx context.Context, pause time.Duration, done func() (bool, error)) error {
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if err := Wait(ctx, pause); err != nil {
			return err
		}
	}
}

// Quantile is the nearest-rank quantile of v, which it sorts; 0 if v is empty.
func Quantile[T cmp.Ordered](v []T, q float64) (out T) {
	if len(v) > 0 {
		slices.Sort(v)
		out = v[max(0, int(math.Ceil(q*float64(len(v))))-1)]
	}
	return out
}

// Violation is something that must not happen, and the ids for which it did.
type Violation struct {
	What string
	IDs  []string
}

// Violations are all of a drill.
type Violations []Violation

// Count is how many ids there are.
func (v Violations) Count() (n int) {
	for _, x := range v {
		n += len(x.IDs)
	}
	return n
}

// Print writes the number of each, and the first ids.
func (v Violations) Print(w io.Writer) {
	for _, x := range v {
		fmt.Fprintf(w, "%-28s%d\n", x.What, len(x.IDs))
		for _, id := range x.IDs[:min(8, len(x.IDs))] {
			fmt.Fprintf(w, "    %s\n", id)
		}
	}
}

// causeOf is err, or the cause of ctx's end if err does not have it.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return cause
	}
	return err
}
