package dashboard

import (
	"fmt"
	"strings"
	"time"

	"github.com/detachd/detachd/cmd/internal/when"
	"github.com/detachd/detachd/tasks"
)

// definition is a schedule in words.
type definition struct{ tasks.Schedule }

// Whose says whose access a run removes.
func (d definition) Whose() string {
	switch s := d.Source; {
	case s.File != "":
		return "Each run detaches what the file " + s.File + " on the workers' machines lists. The same content runs once."
	case s.Selector != nil:
		return "Each run detaches the desktops that match all of this: " + conditions(*s.Selector) + "."
	case s.NotIn != nil:
		text := "Each run detaches the desktops whose users are all missing from the list " + s.NotIn.File
		if s.NotIn.Selector != nil {
			text += ", of those that match: " + conditions(*s.NotIn.Selector)
		}
		text += fmt.Sprintf(". If the list has less than %d %% of the rows of last time, nothing happens.", s.NotIn.AtLeast)
		if s.NotIn.Rows == 0 {
			text += " The first run only counts its rows."
		}
		return text
	case s.CameBack != nil:
		return "Each run detaches the desktops of users who were detached within " + s.CameBack.Since.String() + " and have a desktop again."
	default:
		return "Each run detaches: " + s.String() + "."
	}
}

// When says when it runs, and when not.
func (d definition) When() string {
	text := "If no worker began runs in time, the latest of them follows, at most " + took(time.Duration(d.CatchUp)) + " late."
	if d.Missed == tasks.MissedSkip {
		text = "A run that no worker began in time is omitted."
	}
	if d.Overlap == tasks.OverlapAllow {
		text += " A run begins even if the one before has not finished."
	} else {
		text += " A run is skipped while an operation of the one before has not finished, or waits for an approval."
	}
	if d.PauseOnFailure {
		text += " After a failure it pauses itself."
	}
	zone, _ := zoneNamed(d.Zone)
	if !d.Start.IsZero() {
		text += " Nothing runs before " + when.Show(d.Start.In(zone)) + "."
	}
	if !d.End.IsZero() {
		text += " Nothing runs after " + when.Show(d.End.In(zone)) + "."
	}
	return text
}

// Options are the options of its operations.
func (d definition) Options() string {
	var out []string
	add := func(set bool, text string) {
		if set {
			out = append(out, text)
		}
	}
	add(d.AllowShared, "Shared desktops are detached from all their users.")
	add(d.ShutoffAfterDetach, "Desktops are shut down after detaching.")
	add(d.Urgent, "Its operations go before everything queued.")
	add(d.UnknownUsers == tasks.IgnoreUnknown, "Users unknown to Workspace are ignored.")
	add(d.UnknownUsers == tasks.HoldUnknown, "Users unknown to Workspace are put on hold.")
	return strings.Join(out, " ")
}

// Requester is the requester of its operations.
func (d definition) Requester() string { return tasks.ScheduleRequester(d.Name) }

// conditions are those of a selector.
func conditions(s tasks.Selector) string { return strings.TrimPrefix(s.String(), "desktops: ") }
