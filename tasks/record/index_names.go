package record

import (
	"slices"
	"strings"

	"github.com/detachd/detachd/tasks"
)

// The index of names leads from a user or a computer to the chunks that name them. The
// users and computers in a request, and its expected users, are in it from acceptance on.
// The computer and the users of a reading are added when a desktop fails, is held or is recalled, and
// the users of all other readings when the operation ends. The computers of detached
// desktops are not in it.

// foldName returns the form in which names are compared.
func foldName(s string) string { return strings.ToLower(s) }

// addRow adds the names in an accepted row.
func (w *nameWrites) addRow(op Operation, chunk int, d Row) {
	w.addNames(op, chunk, userName, d.Expect...)
	if name, is := d.User(); is {
		w.addNames(op, chunk, userName, name)
	}
	if name, is := d.Computer(); is {
		w.addNames(op, chunk, computerName, name)
	}
}

// addMove adds the known names of a desktop that fails, is held or was recalled. after is the row after
// the move; zero: it did not move.
func (w *nameWrites) addMove(ch Change, m Move, after Row) {
	if after.State != tasks.StateFailed && after.State != tasks.StateHeld && after.Note != tasks.NoteRecalled {
		return
	}
	if m.Failure != nil {
		w.addNames(ch.Operation, ch.Chunk, computerName, m.Failure.DesktopName)
	}
	w.addNames(ch.Operation, ch.Chunk, userName, after.Pinned...)
	if m.Before != nil {
		w.addReading(ch.Operation, ch.Chunk, after, *m.Before)
	}
}

// addReading adds the users, and for a failed or held row the computer, of a reading.
func (w *nameWrites) addReading(op Operation, chunk int, d Row, b tasks.Before) {
	if d.State == tasks.StateFailed || d.State == tasks.StateHeld {
		w.addNames(op, chunk, computerName, b.Name)
	}
	for _, p := range b.Users {
		if !slices.Contains(d.Expect, p.Name) { // expected users are already there
			w.addNames(op, chunk, userName, p.Name)
		}
	}
}

// addTrail adds the readings of a chunk that has ended.
func (w *nameWrites) addTrail(op Operation, e Evidence) error {
	return e.read.each(func(position int, b tasks.Before) {
		if position < len(e.Desktops) {
			w.addReading(op, e.Chunk, e.Desktops[position], b)
		}
	})
}
