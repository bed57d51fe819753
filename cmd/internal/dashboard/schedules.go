package dashboard

import (
	"cmp"
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
)

// schedules is the list of schedules.
type schedules struct{ Table table }

func (schedules) refreshAfter() int { return 15 }

func (v *visit) schedules() error {
	rows, next, err := fill(v.token(), func(size int, token string) ([]tasks.ScheduleView, string, error) {
		return v.api.Schedules(v.Context(), "", size, token)
	})
	if err != nil {
		return err
	}
	t := table{
		Caption: "Schedules by name", Order: "by name", Page: v.more(next, len(rows)), Empty: "No schedules yet.",
		Columns: []column{{Name: "Schedule", Class: "first"}, {Name: "Project"}, {Name: "Expression"}, {Name: "Zone"}, {Name: "Next run"},
			{Name: "Last run"}, {Name: "Result"}, {Name: "Paused by"}, {Name: "Added by"}},
	}
	for _, x := range rows {
		last, result, paused := cell{Blank: true}, cell{Blank: true}, ""
		if len(x.Runs) > 0 {
			last, result = v.timeCell(x.Runs[0].At), resultCell(x.Runs[0])
		}
		if p := x.Paused; p != nil {
			paused = p.By
			if p.Note != "" {
				paused += ": " + p.Note
			}
		}
		t.Rows = append(t.Rows, row{Key: x.Name, Cells: []cell{
			mainOf(mainCell{Link: schedulePath(x.Name), Text: x.Name, Note: x.Source.String()}), textCell(x.Project), textCell(x.Cron),
			textCell(x.Zone), v.nextCell(x), last, result, textCell(paused), textCell(addedBy(x.Schedule)),
		}})
	}
	return v.page(http.StatusOK, "schedules", "Schedules", schedules{v.layOut(t)})
}

func schedulePath(name string) string { return "/schedules/" + name }

func addedBy(s tasks.Schedule) string {
	if s.Configured {
		return "configuration"
	}
	return cmp.Or(s.Owner, s.By)
}

// nextRun is the next run of a schedule in its list.
type nextRun struct {
	When   relative
	Mark   string
	Stands bool // it is not skipped
}

func (v *visit) nextCell(x tasks.ScheduleView) cell {
	switch {
	case x.Paused != nil:
		return tagCell("warn", "paused")
	case len(x.Next) == 0:
		return tagCell("", "no more")
	}
	next := x.Next[0]
	at := v.timeCell(next.At)
	run := nextRun{When: at.V.(relative), Mark: markText(next.Mark), Stands: x.Skip == nil || x.Skip.Tick.ID != next.ID}
	return cell{Kind: "special", V: run, Number: at.Number}
}

// markText is what is special about a tick, in words.
func markText(mark string) string { return strings.ReplaceAll(mark, "_", " ") }

// markMeanings explain the marks.
var markMeanings = map[string]string{
	"shifted":       "the clocks skip this time: it runs at the end of the gap",
	"first_of_two":  "the clocks show this time twice: it runs at the first",
	"second_of_two": "the clocks show this time twice: it runs at both",
}

// resultCell is what became of a run. The tooltip says why.
func resultCell(r tasks.ScheduleRun) cell {
	weight := map[tasks.ScheduleResult]string{tasks.RunStarted: "good", tasks.RunMissed: "warn", tasks.RunFailed: "bad"}[r.Result]
	text := string(r.Result)
	if r.Result == tasks.RunNothing {
		text = "nobody"
	}
	return tagCell(weight, text)
}

// schedule is the page of one schedule.
type schedule struct {
	X          tasks.ScheduleView
	Def        definition
	Key        string // of idempotency of a run
	Next, Runs table
}

func (schedule) refreshAfter() int { return 5 }

func (p schedule) titleState() string {
	switch {
	case p.X.Paused != nil:
		return "paused"
	case len(p.X.Runs) > 0 && p.X.Runs[0].Result == tasks.RunFailed:
		return "failed"
	}
	return ""
}

// Counts says what became of its ticks.
func (p schedule) Counts() string {
	c := p.X.Counts
	text := "Since it was added: " + plural(c.Runs, "run", "runs")
	for _, x := range []struct {
		n    int
		what string
	}{{c.Nothing, "found nobody"}, {c.Failed, "failed"}, {c.Skipped, "skipped"}, {c.Missed, "missed"},
		{c.Shifted, "shifted by a change of the clocks"}} {
		if x.n > 0 {
			text += ", " + thousands(x.n) + " " + x.what
		}
	}
	return text
}

// Skippable is the tick that a skip would be about; nil: there is none.
func (p schedule) Skippable() *tasks.ScheduleTick {
	if p.X.Skip != nil || len(p.X.Next) == 0 {
		return nil
	}
	return &p.X.Next[0]
}

func (v *visit) schedule() error {
	x, err := v.api.Schedule(v.Context(), v.PathValue("name"))
	if err != nil {
		return err
	}
	return v.page(http.StatusOK, "schedule", "Schedule "+x.Name, schedule{
		X: x, Def: definition{x.Schedule}, Key: rand.Text(), Next: v.nextTable(x.Next, x.Zone, x.Skip), Runs: v.runsTable(x),
	})
}

// nextTable lists ticks by the clocks of the schedule and of the page.
func (v *visit) nextTable(next []tasks.ScheduleTick, zone string, skip *tasks.ScheduleSkip) table {
	t := table{
		Caption: "Next runs", NoFoot: true, Fixed: true, Empty: "No more runs.",
		Columns: []column{{Name: zone}, {Name: v.zone().String()}, {Name: "Runs"}, {Name: "Mark"}, {Name: "Skipped"}},
	}
	for _, x := range next {
		here := v.stampCell(x.At)
		if zone == v.zone().String() {
			here.Blank = true
		}
		skipped := textCell("")
		if skip != nil && skip.Tick.ID == x.ID {
			skipped = tagCell("warn", "skipped")
		}
		mark := cell{Kind: "hint", V: hintText{markText(x.Mark), markMeanings[x.Mark]}, Blank: x.Mark == ""}
		t.Rows = append(t.Rows, row{Key: x.ID, Cells: []cell{mainOf(mainCell{Text: wallText(x.Wall)}), here, v.timeCell(x.At), mark, skipped}})
	}
	return v.layOut(t)
}

// wallText is the time on the clocks of a zone, with its weekday.
func wallText(wall string) string {
	t, err := time.Parse("2006-01-02T15:04", wall)
	if err != nil {
		return wall
	}
	return t.Format("Mon 2006-01-02 15:04")
}

func (v *visit) runsTable(x tasks.ScheduleView) table {
	t := table{
		Caption: "Last runs, the latest first", NoFoot: true, Fixed: true, Empty: "It has not run yet.",
		Columns: []column{{Name: "Scheduled"}, {Name: "Ran"}, {Name: "Late", Class: "num"}, {Name: "Result"}, {Name: "Mark"},
			{Name: "Operations"}, {Name: "Rows", Class: "num"}, {Name: "Missed before", Class: "num"}, {Name: "Why", Class: "wide wrap"},
			{Name: "Asked by"}},
	}
	for _, r := range x.Runs {
		late := cell{Blank: true}
		if d := r.At.Sub(r.Scheduled).Truncate(time.Second); d > 0 && r.By == "" {
			late = cell{Kind: "text", V: took(d)}
		}
		asked := r.By
		if r.Note != "" {
			asked += ": " + r.Note
		}
		t.Rows = append(t.Rows, row{Key: r.ID, Cells: []cell{
			v.stampCell(r.Scheduled), v.stampCell(r.At), late, resultCell(r), textCell(markText(r.Mark)),
			{Kind: "special", V: r.Operations, Blank: len(r.Operations) == 0}, numCell(r.Rows), numCell(r.Missed), textCell(r.Why), textCell(asked),
		}})
	}
	return v.layOut(t)
}

// changeSchedule makes a change of the schedule of the path, with a reason for the audit log.
func (v *visit) changeSchedule(
	change func(ctx context.Context, name, reason string) (tasks.ScheduleView, error), done func(tasks.ScheduleView) string,
) error {
	reason, err := v.reason()
	if err != nil {
		return err
	}
	x, err := change(v.Context(), v.PathValue("name"), reason)
	if err != nil {
		return err
	}
	return v.redirect(schedulePath(x.Name), done(x))
}

func (v *visit) pauseSchedule() error {
	return v.changeSchedule(v.api.PauseSchedule, func(tasks.ScheduleView) string { return "Paused: no run begins by itself." })
}

func (v *visit) resumeSchedule() error {
	return v.changeSchedule(v.api.ResumeSchedule, func(tasks.ScheduleView) string { return "Resumed: runs begin again at their times." })
}

func (v *visit) skipSchedule() error {
	x, err := v.api.Schedule(v.Context(), v.PathValue("name"))
	if err != nil {
		return err
	}
	if next := (schedule{X: x}).Skippable(); next == nil || next.ID != v.PostFormValue("tick") {
		return changed("nothing is skipped: the next run is another one than you saw. Look at the schedule again")
	}
	return v.changeSchedule(v.api.SkipTick, func(x tasks.ScheduleView) string {
		if x.Skip == nil {
			return "That run has begun already."
		}
		return "The run of " + wallText(x.Skip.Tick.Wall) + " in " + x.Zone + " will not happen."
	})
}

func (v *visit) unskipSchedule() error {
	return v.changeSchedule(v.api.UnskipTick, func(tasks.ScheduleView) string { return "No run is skipped." })
}

func (v *visit) runSchedule() error {
	reason, err := v.reason()
	if err != nil {
		return err
	}
	name := v.PathValue("name")
	if _, err := v.api.RunSchedule(v.Context(), name, reason, v.PostFormValue("key")); err != nil {
		return err
	}
	return v.redirect(schedulePath(name), "A worker begins the run within seconds. This page shows it.")
}

func (v *visit) removeSchedule() error {
	reason, err := v.reason()
	if err != nil {
		return err
	}
	x, err := v.api.RemoveSchedule(v.Context(), v.PathValue("name"), reason)
	if err != nil {
		return err
	}
	return v.redirect("/schedules", "The schedule "+x.Name+" is removed.")
}

// scheduleTodos lists the schedules whose last run failed.
func (v *visit) scheduleTodos() (out []todo, err error) {
	list, next, err := v.api.FailingSchedules(v.Context(), shownAtOnce, "")
	if err != nil {
		return nil, err
	}
	for _, x := range list {
		t := todo{Weight: "bad", Label: "failed", What: "Schedule " + x.Name + " of project " + x.Project,
			Acts: []act{{"Review", schedulePath(x.Name), false}}}
		if len(x.Runs) > 0 {
			t.Why, t.Ran = x.Runs[0].Why, x.Runs[0].At
		}
		if x.Paused != nil {
			t.What += ", paused by " + x.Paused.By
		}
		out = append(out, t)
	}
	if next != "" {
		out = append(out, todo{Weight: "bad", Label: "failed", What: "More schedules failed", Acts: []act{{"Review all", "/schedules", false}}})
	}
	return out, nil
}
