package app

import "slices"

// cleanups are run in reverse order, at a normal stop and after a failed start.
type cleanups []cleanup

type cleanup struct {
	name string
	do   func() error
}

func (cs *cleanups) add(name string, do func() error) { *cs = append(*cs, cleanup{name, do}) }

// run runs all cleanups, calls failed with each error, and removes them.
func (cs *cleanups) run(failed func(name string, err error)) {
	for _, c := range slices.Backward(*cs) {
		if err := c.do(); err != nil {
			failed(c.name, err)
		}
	}
	*cs = nil
}
