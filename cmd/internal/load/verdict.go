package main

import (
	"fmt"
	"io"
	"time"
)

// verdict is what came of it.
type verdict struct {
	Steady, Killed phase
	Away           time.Duration // from the kill until the next server answered
	// What must not happen.
	Lost     []string // answered with 202, and not in the record
	Twice    []string // made two operations
	Unproven []string // ended otherwise than detached and sealed
	Untrue   []string // called detached, and the cloud does not say so, or detached it twice
}

func (v *verdict) bad() int {
	return len(v.Lost) + len(v.Twice) + len(v.Unproven) + len(v.Untrue) + v.Steady.Errors + v.Steady.Refused + v.Steady.Unanswered + v.Killed.Errors + v.Killed.Refused
}

func (v *verdict) print(w io.Writer) {
	for _, p := range []struct {
		name string
		*phase
	}{{"undisturbed", &v.Steady}, {"with a kill", &v.Killed}} {
		fmt.Fprintf(w, "%-12s %6d handed over, %d answered 5xx, %d 4xx, %d not at all (and sent again); p50 %s, p99 %s, worst %s\n",
			p.name, p.Requests, p.Errors, p.Refused, p.Unanswered, ms(p.at(0.5)), ms(p.at(0.99)), ms(p.at(1)))
	}
	fmt.Fprintf(w, "goal of p99 undisturbed: 100 ms; the server was away for %s\n", ms(v.Away))
	for _, x := range []struct {
		name string
		list []string
	}{{"lost", v.Lost}, {"twice", v.Twice}, {"unproven", v.Unproven}, {"untrue", v.Untrue}} {
		fmt.Fprintf(w, "%-12s %6d", x.name, len(x.list))
		for _, id := range x.list[:min(5, len(x.list))] {
			fmt.Fprintf(w, "  %s", id)
		}
		fmt.Fprintln(w)
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }
