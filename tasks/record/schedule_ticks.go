package record

import (
	"fmt"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/cron"
)

// Ticks are the ticks of a schedule between its start and its end.
type Ticks struct {
	s    tasks.Schedule
	spec cron.Spec
}

// NewTicks reads the expression and the zone of a schedule.
func NewTicks(s tasks.Schedule) (Ticks, error) {
	s = s.WithDefaults()
	spec, err := cron.Parse(s.Cron, s.Zone)
	return Ticks{s, spec}, err
}

// After returns the first tick after an instant; false if there is none.
func (t Ticks) After(at time.Time) (tasks.ScheduleTick, bool) {
	if at.Before(t.s.Start) {
		at = t.s.Start.Add(-1)
	}
	return t.tick(t.spec.After(at))
}

// Next returns the tick that follows a tick; several may be at one instant.
func (t Ticks) Next(tick tasks.ScheduleTick) (tasks.ScheduleTick, bool) {
	return t.tick(t.spec.Next(cron.Tick{Wall: tick.Wall, At: tick.At, Mark: cron.Mark(tick.Mark)}))
}

func (t Ticks) tick(tick cron.Tick, ok bool) (tasks.ScheduleTick, bool) {
	if !ok || !t.s.End.IsZero() && tick.At.After(t.s.End) {
		return tasks.ScheduleTick{}, false
	}
	return tasks.ScheduleTick{
		ID: t.s.Name + "@" + tick.Wall + " " + t.s.Zone, Wall: tick.Wall, At: tick.At.UTC(), Mark: string(tick.Mark),
	}, true
}

// Following returns the first n ticks after an instant.
func (t Ticks) Following(at time.Time, n int) []tasks.ScheduleTick {
	out := []tasks.ScheduleTick{}
	for tick, ok := t.After(at); ok && len(out) < n; tick, ok = t.Next(tick) {
		out = append(out, tick)
	}
	return out
}

// encodeTick is what a state keeps of its last tick: when it was, its wall clock, its mark.
func encodeTick(t tasks.ScheduleTick) string {
	return fmt.Sprintf("%d %s %s", t.At.UnixMilli(), t.Wall, t.Mark)
}

func decodeTick(text string) (t tasks.ScheduleTick) {
	parts := strings.SplitN(text, " ", 3)
	if len(parts) == 3 {
		t.At, t.Wall, t.Mark = time.UnixMilli(number(parts[0])).UTC(), parts[1], parts[2]
	}
	return t
}
