package main

import (
	"fmt"
	"io"
	"time"

	"github.com/detachd/detachd/cmd/internal/drill"
)

// phase is what was seen over some time.
type phase struct {
	Requests, Errors, Refused, Unanswered int // Errors: 5xx; Refused: 4xx; Unanswered: the connection broke
	Took                                  []time.Duration
}

// verdict is the result of a run.
type verdict struct {
	Steady, Killed phase
	Away           time.Duration // from the kill until the next server answered
	// What must not happen.
	Lost     []string // answered with 202, and not in the record
	Twice    []string // made two operations
	Unproven []string // finished, but not detached and sealed
	Untrue   []string // called detached, and the cloud does not say so, or detached it twice
}

func (v *verdict) violations() drill.Violations {
	return drill.Violations{
		{What: "lost", IDs: v.Lost}, {What: "twice", IDs: v.Twice}, {What: "unproven", IDs: v.Unproven}, {What: "untrue", IDs: v.Untrue},
	}
}

// bad also counts bad answers. Only a killed server may leave a request unanswered.
func (v *verdict) bad() int {
	return v.violations().Count() + v.Steady.Errors + v.Steady.Refused + v.Steady.Unanswered + v.Killed.Errors + v.Killed.Refused
}

func (v *verdict) print(w io.Writer) {
	for _, p := range []struct {
		name string
		*phase
	}{{"undisturbed", &v.Steady}, {"with a kill", &v.Killed}} {
		at := func(q float64) string { return ms(drill.Quantile(p.Took, q)) }
		fmt.Fprintf(w, "%-12s %6d submitted, %d answered 5xx, %d 4xx, %d not at all (and sent again); p50 %s, p99 %s, worst %s\n",
			p.name, p.Requests, p.Errors, p.Refused, p.Unanswered, at(0.5), at(0.99), at(1))
	}
	fmt.Fprintf(w, "goal of p99 undisturbed: 100 ms; the server was away for %s\n", ms(v.Away))
	v.violations().Print(w)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }
