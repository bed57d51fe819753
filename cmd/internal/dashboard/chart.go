package dashboard

import (
	"time"

	"github.com/detachd/detachd/tasks"
)

// chart shows the outcomes of the last day as a stack of bars for each step. Lengths are
// in units of the picture.
type chart struct {
	Width, Height float64
	Base          float64 // y of the base line
	Bars          []chartBar
	Hours         []chartLabel
	Max           int // desktops of a full stack
	Steps         []chartStep
	Empty         bool
}

// chartBar is one state in a stack.
type chartBar struct {
	State               tasks.State
	X, Y, Width, Height float64
}

// chartLabel is a time below the base line.
type chartLabel struct {
	X    float64
	Text string
}

// chartStep has the numbers of a stack, for the table below the chart.
type chartStep struct {
	From                           time.Time
	Detached, Failed, Held, Others int
}

const (
	chartWidth, chartHeight = 760.0, 190.0
	chartBase, chartTop     = 165.0, 10.0
)

// outcomesOf adds up the steps of projects; all projects have the same steps.
func outcomesOf(stats []tasks.Stats, zone *time.Location) chart {
	c := chart{Width: chartWidth, Height: chartHeight, Base: chartBase, Empty: true}
	for _, s := range stats {
		for i, b := range s.Buckets {
			if i == len(c.Steps) {
				c.Steps = append(c.Steps, chartStep{From: b.From})
			}
			x := &c.Steps[i]
			x.Detached, x.Failed, x.Held, x.Others = x.Detached+b.Detached, x.Failed+b.Failed, x.Held+b.Held, x.Others+b.Cancelled
			c.Max = max(c.Max, x.Detached+x.Failed+x.Held)
		}
	}
	if c.Max == 0 {
		return c
	}
	c.Empty = false
	width := chartWidth / float64(len(c.Steps))
	for i, x := range c.Steps {
		left, y := float64(i)*width, chartBase
		for _, part := range []stateCount{{tasks.StateDetached, x.Detached}, {tasks.StateHeld, x.Held}, {tasks.StateFailed, x.Failed}} {
			if part.N == 0 {
				continue
			}
			height := max(1.5, float64(part.N)/float64(c.Max)*(chartBase-chartTop)) // few beside many stay visible
			y -= height
			c.Bars = append(c.Bars, chartBar{part.State, left + 0.5, y, width - 1, height})
		}
		if at := x.From.In(zone); at.Minute() == 0 && at.Hour()%3 == 0 && left > 20 && left < chartWidth-20 {
			c.Hours = append(c.Hours, chartLabel{left, at.Format("15:04")})
		}
	}
	return c
}

// removedRow counts the desktops whose access was removed within a time.
type removedRow struct {
	Label    string
	N        int
	Share    float64
	Accepted int // the same, since the operation was accepted
}

func removedOf(stats []tasks.Stats) (rows []removedRow, all int) {
	var sums []tasks.RemovedBucket
	for _, s := range stats {
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
		before = b.AtMostSeconds
		rows = append(rows, removedRow{label, b.Desktops, share(b.Desktops, most), b.SinceAccepted})
	}
	// Omit leading and trailing empty rows.
	for len(rows) > 0 && rows[0].N+rows[0].Accepted == 0 {
		rows = rows[1:]
	}
	for len(rows) > 0 && rows[len(rows)-1].N+rows[len(rows)-1].Accepted == 0 {
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
