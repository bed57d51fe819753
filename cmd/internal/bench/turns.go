package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/detachd/detachd/cmd/internal/drill"
)

// How often two sides are run in turn: what a busy moment of the machine does to one run, it
// does not do to the median of so many.
const (
	shortTurns = 5
	longTurns  = 3
)

// turns runs every side once, and again, n times. It returns the results of each side, in
// the order of the turns.
func turns(n int, sides ...func() (float64, error)) ([][]float64, error) {
	out := make([][]float64, len(sides))
	for range n {
		for i, run := range sides {
			v, err := run()
			if err != nil {
				return nil, err
			}
			out[i] = append(out[i], v)
		}
	}
	return out, nil
}

// timed is a side whose result is the time of a run on a Redis and a cloud of its own.
func (e *env) timed(desktops int, latency time.Duration, run func(*cloud) (time.Duration, error)) func() (float64, error) {
	return func() (float64, error) {
		took, err := e.on(desktops, latency, run)
		return took.Seconds(), err
	}
}

// spread is the median of some results, and the least and the most of them.
type spread struct{ median, least, most float64 }

// MarshalJSON is for the calibration.
func (s spread) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]float64{"median": s.median, "least": s.least, "most": s.most})
}

func (s spread) String() string { return fmt.Sprintf("%.0f (%.0f-%.0f)", s.median, s.least, s.most) }

func spreadOf(v []float64) spread {
	v = slices.Clone(v)
	return spread{drill.Quantile(v, .5), slices.Min(v), slices.Max(v)}
}

// ratios is the spread of a/b within each turn.
func ratios(a, b []float64) spread {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] / b[i]
	}
	return spreadOf(out)
}

// of adds the spread of a ratio to the text about its baseline.
func (s spread) of(turns int, baseline string) string {
	return fmt.Sprintf("%s; %d turns %.2f-%.2f", baseline, turns, s.least, s.most)
}

func medianSeconds(v []float64) string { return fmt.Sprintf("%.2f s", spreadOf(v).median) }
