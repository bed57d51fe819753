package report

import "github.com/detachd/detachd/tasks"

// StateText names a state for people. In JSON and CSV states travel by their codes.
func StateText(s tasks.State) string {
	switch s {
	case tasks.StateAccepted:
		return "accepted by cloud"
	case tasks.StateHeld:
		return "on hold"
	case tasks.StateNoDesktop:
		return "no desktop"
	}
	return s.String()
}
