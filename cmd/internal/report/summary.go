package report

import (
	"cmp"
	"slices"

	"github.com/detachd/detachd/tasks"
)

const (
	// longest is the number of rows up to which an HTML report shows each: more take a browser
	// too long to print, and nobody reads them.
	longest = 2000
	// longestList limits the rows of a summary, and mostReasons its table of outcomes.
	longestList, mostReasons = 500, 100
)

// summary is what an HTML report with more rows has instead of each row. Everything in it
// comes from the rows in their order, so that the same record gives the same bytes.
type summary struct {
	open     int // rows that are neither confirmed detached nor replaced by others
	shown    int // of those, in the list
	outcomes map[outcome]int
}

// outcome is a state with its reason: a code, or what proves it.
type outcome struct {
	State  tasks.State
	Reason string
}

// add counts a row, and reports whether it is in the list.
func (s *summary) add(r row) (listed bool) {
	o := outcome{r.State, r.NoteText}
	switch {
	case r.State == tasks.StateDetached:
		o.Reason = cmp.Or(r.NoteText, "confirmed by the cloud")
	case r.Failure != nil && r.Failure.Code != "":
		o.Reason = r.Failure.Code
	}
	if _, known := s.outcomes[o]; !known && len(s.outcomes) >= mostReasons {
		o.Reason = "other reasons"
	}
	s.outcomes[o]++
	switch r.State {
	case tasks.StateDetached, tasks.StateExpanded, tasks.StateNoDesktop:
		return false
	}
	if s.open++; s.shown == longestList {
		return false
	}
	s.shown++
	return true
}

// counted is a line of the table of outcomes.
type counted struct {
	outcome
	Rows int
}

// table lists the outcomes by state, the most frequent first.
func (s *summary) table() []counted {
	var out []counted
	for o, n := range s.outcomes {
		out = append(out, counted{o, n})
	}
	slices.SortFunc(out, func(a, b counted) int {
		return cmp.Or(cmp.Compare(slices.Index(tasks.States, a.State), slices.Index(tasks.States, b.State)),
			cmp.Compare(b.Rows, a.Rows), cmp.Compare(a.Reason, b.Reason))
	})
	return out
}

func newSummary() *summary { return &summary{outcomes: map[outcome]int{}} }
