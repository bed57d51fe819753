package cli

import (
	"errors"
	"strings"
	"time"

	"github.com/detachd/detachd/cmd/internal/when"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// parseTime reads the time that a flag gives, in the local zone if it has no offset.
func (p *Program) parseTime(flag, text string, way when.Way) (time.Time, error) {
	return p.parseTimeIn(p.Now().Location(), flag, text, way)
}

func (p *Program) parseTimeIn(zone *time.Location, flag, text string, way when.Way) (time.Time, error) {
	at, err := when.Parse(text, p.Now(), zone, way)
	if invalid, ok := errors.AsType[*when.Error](err); ok {
		return at, usage("correct "+flag+" and run the command again", "invalid %s %.60q: %s", flag, invalid.Text, invalid.Problem)
	}
	return at, err
}

// parseStart reads --at.
func (p *Program) parseStart(text string) (api.NotBefore, error) {
	if strings.TrimSpace(text) == "now" {
		return api.NotBefore{Now: true}, nil
	}
	at, err := p.parseTime("--at", text, when.Next)
	return api.NotBefore{At: at}, err
}

// checkZone refuses a TZ that Go cannot load: Go would silently use UTC instead.
func (p *Program) checkZone() error {
	tz := strings.TrimPrefix(p.env("TZ"), ":")
	if tz == "" || strings.HasPrefix(tz, "/") && when.File(tz) {
		return nil
	}
	if _, err := time.LoadLocation(tz); err != nil || tz == "Local" {
		return usage("set TZ to a zone such as Europe/Berlin or Asia/Shanghai, or unset it; nothing was done",
			"the time zone TZ=%s cannot be loaded; times would be read as UTC", shown(tz))
	}
	return nil
}

// schedule describes when an operation starts, is due and is given up.
func schedule(op tasks.Operation, now time.Time) string {
	out, running := "accepted", " and queued"
	if op.Replayed {
		out, running = "already recorded at "+clock(op.AcceptedAt), ", in progress"
	}
	switch op.State(now) {
	case tasks.OperationScheduled:
		out += " and scheduled: it starts " + clock(op.NotBefore) + ", in " + ahead(op.NotBefore.Sub(now))
	case tasks.OperationFinished:
		return out + ", finished " + clock(op.EndedAt)
	default:
		out += running
	}
	if !op.DueAt.Equal(op.Begins()) {
		out += ", remove access by " + clock(op.DueAt)
	}
	return out + ", deadline " + clock(op.Deadline)
}

// ahead formats the time until an event.
func ahead(d time.Duration) string {
	if d >= 48*time.Hour {
		return count(int(d/(24*time.Hour)), "day")
	}
	return seconds(d)
}

// planned describes the same for an operation that is not submitted.
func planned(t api.Times) string {
	start := "at once"
	if !t.NotBefore.IsZero() {
		start = clock(t.NotBefore)
	}
	return "it would start " + start + ", remove access by " + clock(t.DueAt) + ", deadline " + clock(t.Deadline)
}
