package dashboard

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// The kinds of a schedule's source, as the form names them.
const (
	kindList     = "list"
	kindFile     = "file"
	kindSelector = "selector"
	kindNotIn    = "not_in"
	kindCameBack = "came_back"
)

// newSchedule is the form of a schedule, and its next runs once they were asked for.
type newSchedule struct {
	choice
	F      map[string]string // the fields, as typed
	Zone   *time.Location    // of the times
	Faults []api.Fault
	Shown  string // identifies what the preview shows; empty: no preview
	Other  bool   // the form was changed after the preview
	Def    definition
	Next   table
}

// scheduleFields are the fields of the form.
var scheduleFields = []string{
	"name", "project", "cron", "zone", "note", "kind", "users", "computers", "desktops", "file", "pool", "tag", "computer", "unused_days",
	"user", "list", "at_least", "rows", "since", "reason", "ticket", "unknown_users", "allow_shared", "shutoff", "urgent", "start", "end",
	"missed", "catch_up", "overlap", "pause_on_failure",
}

// scheduleForm shows the form.
func (v *visit) scheduleForm() error {
	c, err := v.choose(v.param("project"))
	if err != nil {
		return err
	}
	p := newSchedule{choice: c, Zone: v.zone(), F: map[string]string{"kind": kindList, "zone": v.zone().String()}}
	for _, name := range scheduleFields {
		if text := v.param(name); text != "" {
			p.F[name] = text
		}
	}
	return v.page(http.StatusOK, "newschedule", "Add a schedule", p)
}

// addSchedule shows the next runs of what is in the form, or adds it if it was shown before.
func (v *visit) addSchedule() error {
	if err := v.ParseForm(); err != nil {
		return badForm(err)
	}
	p := newSchedule{F: map[string]string{}, Zone: v.times().zone}
	for _, name := range scheduleFields {
		p.F[name] = strings.TrimSpace(v.PostFormValue(name))
	}
	var err error
	if p.choice, err = v.choose(p.F["project"]); err != nil {
		return err
	}
	s, faults := v.scheduleOf(p.F)
	if p.Faults = faults; len(faults) > 0 {
		return v.page(http.StatusBadRequest, "newschedule", "Add a schedule", p)
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	p.Shown = hex.EncodeToString(sum[:])
	before := v.PostFormValue("shown")
	adds := v.PostFormValue("do") == "add"
	if adds && before == p.Shown {
		x, err := v.api.AddSchedule(v.Context(), s)
		if err == nil {
			return v.redirect(schedulePath(x.Name), "The schedule is added.")
		}
		return v.faultySchedule(p, err)
	}
	p.Other = adds
	shown, err := v.api.ValidateSchedule(v.Context(), s)
	if err != nil {
		return v.faultySchedule(p, err)
	}
	p.Def, p.Next = definition{shown.Schedule}, v.nextTable(shown.Next, shown.Zone, nil)
	return v.page(http.StatusOK, "newschedule", "Add a schedule", p)
}

// faultySchedule shows the form again if its content was refused.
func (v *visit) faultySchedule(p newSchedule, err error) error {
	var problem *api.Problem
	if !errors.As(err, &problem) || problem.Status >= http.StatusInternalServerError || problem.Status == http.StatusForbidden {
		return err
	}
	if p.Faults = problem.Errors; len(p.Faults) == 0 {
		p.Faults = []api.Fault{{Detail: problem.Detail}}
	}
	p.Shown = ""
	return v.page(http.StatusBadRequest, "newschedule", "Add a schedule", p)
}

// scheduleOf makes the schedule that a form describes.
func (v *visit) scheduleOf(f map[string]string) (api.ScheduleRequest, []api.Fault) {
	at := v.times()
	number := func(name string) int {
		n, err := wholeNumber(name, f[name])
		if err != nil {
			at.faults = append(at.faults, api.Fault{Pointer: name, Detail: "is not a whole number"})
		}
		return n
	}
	duration := func(name string) (d tasks.Duration) {
		if f[name] == "" {
			return 0
		}
		if err := d.UnmarshalText([]byte(f[name])); err != nil {
			at.faults = append(at.faults, api.Fault{Pointer: name, Detail: err.Error()})
		}
		return d
	}
	s := api.ScheduleRequest{
		Name: f["name"], Project: f["project"], Cron: f["cron"], Zone: f["zone"], Note: f["note"],
		UnknownUsers: f["unknown_users"], AllowShared: f["allow_shared"] != "", ShutoffAfterDetach: f["shutoff"] != "",
		Urgent: f["urgent"] != "", Reason: f["reason"], Ticket: f["ticket"],
		Start: at.parse("start", f["start"]), End: at.parse("end", f["end"]),
		Missed: tasks.ScheduleMissed(f["missed"]), CatchUp: duration("catch_up"), Overlap: tasks.ScheduleOverlap(f["overlap"]),
		PauseOnFailure: f["pause_on_failure"] != "",
	}
	selector := &tasks.Selector{
		Pool: f["pool"], Tag: f["tag"], Computer: f["computer"], UnusedDays: number("unused_days"), User: tasks.SelectedUser(f["user"]),
	}
	switch f["kind"] {
	case kindFile:
		s.Source.File = f["file"]
	case kindSelector:
		s.Source.Selector = selector
	case kindNotIn:
		s.Source.NotIn = &tasks.NotIn{File: f["list"], AtLeast: number("at_least"), Rows: number("rows")}
		if *selector != (tasks.Selector{}) {
			s.Source.NotIn.Selector = selector
		}
	case kindCameBack:
		s.Source.CameBack = &tasks.CameBack{Since: duration("since")}
	default:
		s.Source.Users, s.Source.Computers, s.Source.Desktops = linesOf(f["users"]), linesOf(f["computers"]), linesOf(f["desktops"])
	}
	return s, at.faults
}

// linesOf are the lines of a text that are not empty.
func linesOf(text string) (out []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}
