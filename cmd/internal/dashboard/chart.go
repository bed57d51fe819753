package dashboard

import (
	"fmt"
	"time"

	"github.com/detachd/detachd/tasks"
)

// chart shows outcomes as a stack of bars for each step. Lengths are in units of the picture.
type chart struct {
	Width, Height float64
	Base, Half    float64 // y of the base line, and of the line at half of Max
	Bars          []chartBar
	Labels        []chartLabel
	Max           int // desktops of a full stack
	Steps         []chartStep
	Empty         bool
}

// chartBar is a step: its stack, and a link to what it is about.
type chartBar struct {
	Link, Title string
	X, Width    float64
	Parts       []chartPart
}

// chartPart is one state in a stack.
type chartPart struct {
	State     tasks.State
	Y, Height float64
}

// chartLabel is a time below the base line.
type chartLabel struct {
	X    float64
	Text string
}

// chartStep has the numbers of a stack, for the table below the charts.
type chartStep struct {
	From, To               time.Time
	Detached, Failed, Held int
}

const (
	chartWidth = 640.0
	chartTop   = 14.0
	chartFoot  = 18.0
	// stepsAtOnce is how many steps of the statistics a bar has, so that it can be seen and hit.
	stepsAtOnce = 2
)

// outcomesOf adds up the steps of projects, which all have the same: detached, and what
// needs attention with a scale of its own.
func outcomesOf(stats []tasks.Stats, zone *time.Location) (detached, faults chart) {
	var steps []chartStep
	for _, s := range stats {
		step := s.Range.Step() * stepsAtOnce
		for i, b := range s.Buckets {
			at := (i + len(s.Buckets)%stepsAtOnce) / stepsAtOnce
			if at == len(steps) {
				steps = append(steps, chartStep{From: b.From, To: b.From.Add(step)})
			}
			x := &steps[at]
			x.Detached, x.Failed, x.Held = x.Detached+b.Detached, x.Failed+b.Failed, x.Held+b.Held
		}
	}
	detached = chartOf(steps, zone, 150, func(x chartStep) []stateCount { return []stateCount{{tasks.StateDetached, x.Detached}} })
	faults = chartOf(steps, zone, 90, func(x chartStep) []stateCount {
		return []stateCount{{tasks.StateHeld, x.Held}, {tasks.StateFailed, x.Failed}}
	})
	return detached, faults
}

func chartOf(steps []chartStep, zone *time.Location, height float64, parts func(chartStep) []stateCount) chart {
	c := chart{Width: chartWidth, Height: height, Base: height - chartFoot, Steps: steps, Empty: true}
	c.Half = (c.Base + chartTop) / 2
	for _, x := range steps {
		sum := 0
		for _, part := range parts(x) {
			sum += part.N
		}
		c.Max = max(c.Max, sum)
	}
	if c.Max == 0 {
		return c
	}
	c.Empty = false
	width := chartWidth / float64(len(steps))
	label := max(1, len(steps)/6)
	for i, x := range steps {
		left := float64(i) * width
		bar := chartBar{Link: x.link(), Title: x.title(zone), X: left + 1, Width: width - 2}
		y := c.Base
		for _, part := range parts(x) {
			if part.N > 0 {
				h := max(2, float64(part.N)/float64(c.Max)*(c.Base-chartTop)) // few beside many stay visible
				y -= h
				bar.Parts = append(bar.Parts, chartPart{part.State, y, h})
			}
		}
		if len(bar.Parts) > 0 {
			c.Bars = append(c.Bars, bar)
		}
		if (len(steps)-1-i)%label == 0 && left > 20 && left < chartWidth-20 {
			layout := "15:04"
			if x.To.Sub(x.From) > time.Hour {
				layout = "Mon 15:04"
			}
			c.Labels = append(c.Labels, chartLabel{left + width/2, x.From.In(zone).Format(layout)})
		}
	}
	return c
}

// link leads to the failures of the step, or to the operations that were accepted in it.
func (x chartStep) link() string {
	path := "/operations"
	if x.Failed+x.Held > 0 {
		path = "/failures"
	}
	link, _ := query(path, "from", x.From, "to", x.To) // fails only for a parameter without a value
	return link
}

func (x chartStep) title(zone *time.Location) string {
	from, to := x.From.In(zone), x.To.In(zone)
	return fmt.Sprintf("%s to %s: %s detached, %s on hold, %s failed", from.Format("Mon 15:04"), to.Format("15:04"),
		thousands(x.Detached), thousands(x.Held), thousands(x.Failed))
}

// within is the share of desktops whose access was removed within the target.
type within struct {
	Target  time.Duration
	Percent string
	Late    int
	All     int
	Good    bool
}

// withinOf counts up to the last step that is within the target, so it never claims too much.
func withinOf(stats []tasks.Stats) (w within) {
	in := 0
	for _, s := range stats {
		w.Target = time.Duration(s.TargetSeconds) * time.Second
		for _, b := range s.Removed {
			w.All += b.Desktops
			if b.AtMostSeconds > 0 && b.AtMostSeconds <= s.TargetSeconds {
				in += b.Desktops
			}
		}
	}
	w.Late = w.All - in
	if w.All > 0 {
		tenths := 1000 * in / w.All // rounded down: 100 % is not said of 999 of 1,000
		w.Percent = fmt.Sprintf("%d.%d %%", tenths/10, tenths%10)
		if tenths == 1000 {
			w.Percent = "100 %"
		}
		w.Good = tenths >= 950
	}
	return w
}

// removedRow counts the desktops whose access was removed within a time.
type removedRow struct {
	Label    string
	N        int
	Share    float64
	Accepted int  // the same, since the operation was accepted
	Late     bool // longer than the target
	Target   bool // the target is between the row before and this one
}

func removedOf(stats []tasks.Stats) (rows []removedRow, all int) {
	var sums []tasks.RemovedBucket
	target := 0
	for _, s := range stats {
		target = s.TargetSeconds
		for i, b := range s.Removed {
			if i == len(sums) {
				sums = append(sums, tasks.RemovedBucket{AtMostSeconds: b.AtMostSeconds})
			}
			sums[i].Desktops += b.Desktops
			sums[i].SinceAccepted += b.SinceAccepted
		}
	}
	most, before := 0, 0
	for _, b := range sums {
		all, most = all+b.Desktops, max(most, b.Desktops)
	}
	for _, b := range sums {
		label := "up to " + short(time.Duration(b.AtMostSeconds)*time.Second)
		if b.AtMostSeconds == 0 {
			label = "over " + short(time.Duration(before)*time.Second)
		}
		late := b.AtMostSeconds == 0 || b.AtMostSeconds > target
		rows = append(rows, removedRow{label, b.Desktops, share(b.Desktops, most), b.SinceAccepted, late, late && before <= target})
		before = b.AtMostSeconds
	}
	// Omit leading and trailing empty rows, but for those beside the target.
	for len(rows) > 0 && rows[0].N+rows[0].Accepted == 0 && !rows[0].Target {
		rows = rows[1:]
	}
	for len(rows) > 0 && rows[len(rows)-1].N+rows[len(rows)-1].Accepted == 0 && !rows[len(rows)-1].Target {
		rows = rows[:len(rows)-1]
	}
	return rows, all
}

// short gives a round duration in its largest unit.
func short(d time.Duration) string {
	switch {
	case d < time.Minute:
		return plural(int(d.Seconds()), "second", "seconds")
	case d < time.Hour:
		return plural(int(d.Minutes()), "minute", "minutes")
	}
	return plural(int(d.Hours()), "hour", "hours")
}
