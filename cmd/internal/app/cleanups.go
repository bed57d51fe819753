package app

import "slices"

// cleanups are what has to be undone, the last acquired first. They serve an
// orderly end as well as a start that fails half-way.
type cleanups []cleanup

type cleanup struct {
	name string
	do   func() error
}

func (cs *cleanups) add(name string, do func() error) { *cs = append(*cs, cleanup{name, do}) }

// run does all of them, whatever fails, and forgets them. failed is told which.
func (cs *cleanups) run(failed func(name string, err error)) {
	for _, c := range slices.Backward(*cs) {
		if err := c.do(); err != nil {
			failed(c.name, err)
		}
	}
	*cs = nil
}
