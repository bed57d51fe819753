package record

import (
	"slices"
	"strings"

	"github.com/detachd/detachd/tasks"
)

// The index of names leads from a user or a computer to the chunks that name them:
// users and computers that a request names, and users that it expects, from the
// acceptance on; of what failed or is held, the computer and the users that were
// read, from then on; and the users that were read of everything else when the
// operation ends. The computers of what was detached are not in it.

// foldName is what names are compared as.
func foldName(s string) string { return strings.ToLower(s) }

func (w indexWrites) addNames(op Operation, chunk int, names ...string) {
	for _, name := range names {
		if name != "" {
			w.add(op, chunk, foldName(name))
		}
	}
}

// addRow adds what a row names, as it was accepted.
func (w indexWrites) addRow(op Operation, chunk int, d Row) {
	w.addNames(op, chunk, d.Expect...)
	for _, named := range []func() (string, bool){d.User, d.Computer} {
		if name, is := named(); is {
			w.addNames(op, chunk, name)
		}
	}
}

// addMove adds what is known of a desktop that fails or is held. after is how it is
// stored then; zero: it did not move.
func (w indexWrites) addMove(ch Change, m Move, after Row) {
	if after.State != tasks.StateFailed && after.State != tasks.StateHeld {
		return
	}
	if m.Failure != nil {
		w.addNames(ch.Operation, ch.Chunk, m.Failure.DesktopName)
	}
	w.addNames(ch.Operation, ch.Chunk, after.Pinned...)
	if m.Before != nil {
		w.addReading(ch.Operation, ch.Chunk, after, *m.Before)
	}
}

// addReading adds whom, and what, a reading of a row showed.
func (w indexWrites) addReading(op Operation, chunk int, d Row, b tasks.Before) {
	if d.State == tasks.StateFailed || d.State == tasks.StateHeld {
		w.addNames(op, chunk, b.Name)
	}
	for _, p := range b.Users {
		if !slices.Contains(d.Expect, p.Name) { // those are there
			w.addNames(op, chunk, p.Name)
		}
	}
}

// addTrail adds the readings of a chunk that has ended.
func (w indexWrites) addTrail(op Operation, e Evidence) error {
	return eachBefore(e.Raw, func(position int, b tasks.Before) {
		if position < len(e.Desktops) {
			w.addReading(op, e.Chunk, e.Desktops[position], b)
		}
	})
}

// nameCalls enters names, which the operation's log tells of.
func (r *Record) nameCalls(w indexWrites) []*scriptCall {
	return append(r.logCalls(w, 0), w.calls(r.keys.named)...)
}
