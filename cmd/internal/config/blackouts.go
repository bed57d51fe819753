package config

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/detachd/detachd/tasks/cron"
	"github.com/detachd/detachd/worker"
)

// Blackout is a time in which a project sends only urgent operations and undos: either from
// each tick of Cron on, for For, or once, from From to Until.
type Blackout struct {
	Name   string        `yaml:"name"`   // shown where something waits: 1 to 40 of a-z, 0-9 and -. Required.
	Reason string        `yaml:"reason"` // for people. Defaults to "".
	Zone   string        `yaml:"zone"`   // IANA time zone of the others. Defaults to "", that of the project.
	Cron   string        `yaml:"cron"`   // when it begins, such as 0 0 L * *. Defaults to "", once.
	For    time.Duration `yaml:"for"`    // how long it lasts from then on, 1m to 744h, required with Cron. Defaults to 0.
	From   string        `yaml:"from"`   // when it begins once, such as 2026-12-24 18:00. Required without Cron.
	Until  string        `yaml:"until"`  // when that ends. Required with From.
}

// window returns the times of the blackout; the error begins with the key that is wrong.
func (b Blackout) window(zone string) (cron.Window, string, error) {
	zone = cmp.Or(b.Zone, zone)
	loc, err := cron.Zone(zone)
	switch {
	case err != nil:
		return cron.Window{}, "zone", err
	case b.Cron != "" && (b.From != "" || b.Until != ""):
		return cron.Window{}, "cron", errors.New("is set, and from or until as well: write cron and for, or from and until")
	case b.Cron == "" && (b.From == "" || b.Until == ""):
		return cron.Window{}, "cron", errors.New("is missing, and from and until are not both set: write cron and for, or from and until")
	case b.Cron == "" && b.For != 0:
		return cron.Window{}, "for", errors.New("is set without cron: remove it, or write cron")
	case b.Cron == "":
		if _, err := cron.Instant(b.From, loc); err != nil {
			return cron.Window{}, "from", err
		}
		w, err := cron.Once(b.From, b.Until, loc)
		return w, "until", err
	}
	spec, err := cron.Parse(b.Cron, zone)
	if err != nil {
		return cron.Window{}, "cron", err
	}
	w, err := cron.Recurring(spec, b.For)
	return w, "for", err
}

// text says it in one line.
func (b Blackout) text(zone string) string {
	zone = cmp.Or(b.Zone, zone)
	if b.Cron != "" {
		return fmt.Sprintf("%s: %s %s for %s", b.Name, b.Cron, zone, b.For)
	}
	return fmt.Sprintf("%s: %s to %s %s", b.Name, b.From, b.Until, zone)
}

func (p Project) validateBlackouts(bad func(field, format string, args ...any)) {
	if _, err := cron.Zone(p.Zone); err != nil {
		bad("zone", "%v", err)
		return
	}
	seen := map[string]bool{}
	for i, b := range p.Blackouts {
		key := fmt.Sprintf("blackouts[%d].", i)
		if !aliasSyntax.MatchString(b.Name) || seen[b.Name] {
			bad(key+"name", "is %q: 1 to 40 lower-case letters, digits or dashes, once in a project", b.Name)
		}
		seen[b.Name] = true
		if _, field, err := b.window(p.Zone); err != nil {
			bad(key+field, "%v", err)
		}
	}
}

// BlackoutTimes are the blackouts of the project as a worker has them.
func (p Project) BlackoutTimes() worker.Blackouts {
	var out worker.Blackouts
	for _, b := range p.Blackouts {
		if w, _, err := b.window(p.Zone); err == nil {
			out = append(out, worker.Blackout{Name: b.Name, Reason: b.Reason, Window: w})
		}
	}
	return out
}
