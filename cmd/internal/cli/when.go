package cli

import (
	"strings"
	"time"

	"github.com/detachd/detachd/cmd/internal/when"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// parseWhen reads a point in time that is still to come; see when.Parse. Without an
// offset it is local.
func parseWhen(text string, now time.Time) (time.Time, error) {
	return when.Parse(text, now, now.Location(), when.Next)
}

// parseSince is parseWhen for times that have passed: a duration counts back.
func parseSince(text string, now time.Time) (time.Time, error) {
	return when.Parse(text, now, now.Location(), when.Last)
}

// parseStart reads --at.
func parseStart(text string, now time.Time) (api.NotBefore, error) {
	if strings.TrimSpace(text) == "now" {
		return api.NotBefore{Now: true}, nil
	}
	at, err := parseWhen(text, now)
	return api.NotBefore{At: at}, err
}

// checkZone refuses a TZ that Go cannot load, in whose place it would take UTC
// without a word.
func (p *Program) checkZone() error {
	tz := strings.TrimPrefix(p.env("TZ"), ":")
	if tz == "" || strings.HasPrefix(tz, "/") && when.File(tz) {
		return nil
	}
	if _, err := time.LoadLocation(tz); err != nil || tz == "Local" {
		return usage("set TZ to a zone such as Europe/Berlin or Asia/Shanghai, or leave it out; nothing was done",
			"the time zone TZ=%s cannot be loaded, and times would be taken for UTC", shown(tz))
	}
	return nil
}

// fate says when an operation starts, is due and is given up, for who has just
// handed it over.
func fate(op tasks.Operation, now time.Time) string {
	var out string
	switch op.State(now) {
	case tasks.OperationScheduled:
		out = "recorded and scheduled: it starts " + clock(op.NotBefore) + ", in " + ahead(op.NotBefore.Sub(now))
	case tasks.OperationFinished:
		return "recorded, and ended " + clock(op.EndedAt)
	default:
		out = "recorded and queued"
	}
	if !op.DueAt.Equal(op.Begins()) {
		out += ", due " + clock(op.DueAt)
	}
	return out + ", given up after " + clock(op.Deadline)
}

// ahead shows how long something is away.
func ahead(d time.Duration) string {
	if d >= 48*time.Hour {
		return count(int(d/(24*time.Hour)), "day")
	}
	return seconds(d)
}

// planned is the same of what would be handed over.
func planned(t api.Times) string {
	out := "it would start at once"
	if !t.NotBefore.IsZero() {
		out = "it would start " + clock(t.NotBefore)
	}
	return out + ", be due " + clock(t.DueAt) + " and be given up after " + clock(t.Deadline)
}
