package report

import "github.com/detachd/detachd/tasks"

// StateText names a state for people. In JSON and CSV states travel by their codes.
func StateText(s tasks.State) string { return StateOf("", s) }

// StateOf is StateText of a row of an undo, or of none.
func StateOf(undoOf string, s tasks.State) string {
	if s == tasks.StateAccepted {
		return "accepted by cloud"
	}
	return tasks.Operation{UndoOf: undoOf}.StateText(s)
}
