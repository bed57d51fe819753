// Command bench measures detachd beside its baselines, on a redis-server that
// it starts (AOF, everysec) and with the fake cloud in a process of its own. It
// prints a line for each figure and writes the same as JSON. It is a benchmark,
// not a test: a figure that is not met does not make it fail.
//
// The first line says what the machine does without detachd. A ratio is the median of those
// of several turns, in each of which all sides run once; the least and the most stand beside
// it. With -scale it prints the table of docs/scale.md and the figures that take minutes each.
//
// The baselines are in baselines.go, and read each desktop before its call, too:
// "limit" is the same readings and calls made by a bare loop with no queue and no
// record, "bare asynq" the same chunks without a record, "naive" one asynq task, one
// reading and one call for each desktop, "group" asynq's own aggregator. Readings take
// as long as calls, and what is detached is there beforehand: ids are random UUIDs, and
// each desktop has a user with a name and an id of the usual length.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

// figure is one line of the result. Ratio is ours against the baseline or the goal, in the
// sense that Goal states. Baseline has the spread of a ratio.
type figure struct {
	Name     string  `json:"name"`
	Ours     string  `json:"ours"`
	Baseline string  `json:"baseline"`
	Ratio    float64 `json:"ratio"`
	Goal     string  `json:"goal"`
	Met      bool    `json:"met"`
}

const row = "%-49s %-22s %-56s %8s  %-12s %s\n"

func (f figure) print() {
	met := "NOT MET"
	if f.Met {
		met = "met"
	}
	fmt.Printf(row, f.Name, f.Ours, f.Baseline, fmt.Sprintf("%.2f", f.Ratio), f.Goal, met)
}

// result is what is written as JSON.
type result struct {
	Machine calibration `json:"machine"`
	Scale   []line      `json:"scale,omitempty"`
	Seconds float64     `json:"seconds"` // that all of it took
	Figures []figure    `json:"figures"`
}

// benchmarks in the order in which they run.
var benchmarks = []benchmark{
	{"B1", bulk}, {"B2", bulkInstant}, {"B3", singles}, {"B4", urgent},
	{"B5", cost(bulkSize)}, {"B5M", cost(10 * bulkSize)}, {"B6", sizes}, {"B7", takeover}, {"B8", proof}, {"B9", lists},
	{"B10", idle}, {"B11", manySchedules}, {"B12", cpu}, {"B13", bytesOf}, {"B14", bulkheads},
}

type benchmark struct {
	name string
	run  func(*env) ([]figure, error)
}

func main() {
	// The same binary is the fake cloud and the worker that B7 kills.
	if len(os.Args) > 1 && os.Args[1] == "cloud" {
		exit(serveCloud(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		exit(serveWorker(os.Args[2:]))
	}
	out := flag.String("json", "bench.json", "file for the result as JSON")
	only := flag.String("only", "", "comma-separated figures to run, for example B1,B4")
	large := flag.Bool("scale", false, "print the table of docs/scale.md, and the figures that take minutes each")
	one := flag.String("line", "", "only one line of the table of -scale: PROJECTSxWORKERSxRECORDED, as 100x16x10000")
	profiles := flag.String("profiles", "", "directory for profiles of each figure, and of workers that are processes of their own")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *one != "" {
		exit(measureOne(ctx, *one))
	}
	exit(runAll(ctx, options{*only, *out, *profiles, *large}))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

type options struct {
	only, out, profiles string
	scale               bool
}

// wants says whether a benchmark runs. Those that take minutes are for scale.
func (o options) wants(b benchmark) bool {
	if o.only != "" {
		return strings.Contains(","+o.only+",", ","+b.name+",")
	}
	return o.scale == slices.Contains([]string{"B5M", "B6", "B9"}, b.name)
}

func runAll(ctx context.Context, o options) error {
	var all result
	var errs []error
	began := time.Now()
	err := onEnv(ctx, func(e *env) (err error) {
		all.Machine, err = calibrate(e)
		return err
	})
	if err != nil {
		return fmt.Errorf("calibration: %w", err)
	}
	fmt.Println(all.Machine)
	if o.scale && o.only == "" {
		all.Scale, all.Figures, err = measureScale(ctx, 12*time.Minute)
		errs = append(errs, err)
	}
	fmt.Printf("\n"+row, "figure", "ours", "baseline", "ratio", "goal", "")
	for _, f := range all.Figures {
		f.print()
	}
	for _, b := range benchmarks {
		if !o.wants(b) {
			continue
		}
		figures, err := b.measure(ctx, o.profiles)
		for _, f := range figures {
			f.print()
		}
		all.Figures = append(all.Figures, figures...)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", b.name, err))
		}
	}
	all.Seconds = time.Since(began).Seconds()
	text, err := json.MarshalIndent(all, "", "  ")
	if err == nil {
		err = os.WriteFile(o.out, append(text, '\n'), 0o644)
	}
	return errors.Join(append(errs, err)...)
}

// measure runs a benchmark, and says how long it took.
func (b benchmark) measure(ctx context.Context, profiles string) (figures []figure, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Minute, errors.New("it took more than 10 minutes"))
	defer cancel()
	stop, err := profile(profiles, b.name)
	if err != nil {
		return nil, err
	}
	defer stop()
	began := time.Now()
	err = onEnv(ctx, func(e *env) error {
		e.profiles = profiles
		figures, err = b.run(e)
		return err
	})
	fmt.Fprintf(os.Stderr, "%s took %.0f s\n", b.name, time.Since(began).Seconds())
	return figures, err
}

// profile begins a CPU profile of this process, if there is a directory for it. stop writes a profile of
// all allocations, too.
func profile(dir, name string) (stop func(), err error) {
	if dir == "" {
		return func() {}, nil
	}
	f, err := os.Create(filepath.Join(dir, name+".pprof"))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
		var allocated bytes.Buffer
		_ = pprof.Lookup("allocs").WriteTo(&allocated, 0)
		_ = os.WriteFile(filepath.Join(dir, name+".allocs.pprof"), allocated.Bytes(), 0o600)
	}, nil
}

// onEnv does something on a Redis and a cloud of its own.
func onEnv(ctx context.Context, do func(*env) error) error {
	e, err := newEnv(ctx)
	if err != nil {
		return err
	}
	defer e.close()
	return do(e)
}
