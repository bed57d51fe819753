package dashboard

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// projects is the page of projects and their limits.
type projects struct {
	Paused, Blackouts []projectRow
	Table             table
}

func (projects) refreshAfter() int { return 5 }

func (p projects) titleState() string {
	if n := len(p.Paused); n > 0 {
		return thousands(n) + " paused"
	}
	return ""
}

// projectRow is a project with its limits.
type projectRow struct {
	tasks.Stats
	Limits   api.Limits
	Blackout *tasks.Blackout // nil: none is now
	Show     bool            // its state, otherwise its actions
}

// Weight is the colour of the state.
func (r projectRow) Weight() string {
	switch {
	case r.Pause == nil && r.Blackout == nil:
		return "good"
	case r.Pause == nil:
		return "warn"
	case slices.Contains([]tasks.PauseKind{tasks.PauseStop, tasks.PauseAuth, tasks.PauseNoRight, tasks.PauseNotAPI}, r.Pause.Kind):
		return "bad"
	}
	return "warn"
}

func (v *visit) projects() error {
	list, err := v.api.Projects(v.Context())
	if err != nil {
		return err
	}
	stats, err := v.api.Stats(v.Context(), "", tasks.LastDay)
	if err != nil {
		return err
	}
	by := map[string]tasks.Stats{}
	for _, s := range stats {
		by[s.Project] = s
	}
	p := projects{Table: table{
		Caption: "Projects as configured", NoFoot: true, Empty: "Your key is not valid for any project configured here.",
		Columns: []column{{Name: "Project"}, {Name: "State"}, {Name: "Queued", Class: "num"}, {Name: "Oldest", Class: "num"},
			{Name: "Awaiting", Class: "num"}, {Name: "Confirmed (24 h)", Class: "num"}, {Name: "Failed", Class: "num"},
			{Name: "On hold", Class: "num"}, {Name: "Calls a minute", Class: "num"}, {Name: "At a time", Class: "num"},
			{Name: "Reads a minute", Class: "num"}, {Name: "Throttled (1 h)", Class: "num"}, {Name: "Credentials"},
			{Name: "Actions", Class: "buttons"}},
	}}
	for _, x := range list {
		row := projectRow{Stats: by[x.Alias], Limits: x.Limits, Blackout: x.Blackout}
		row.Project, row.Pause = x.Alias, x.Pause
		if row.Pause != nil && row.Pause.Kind != tasks.PauseStop { // of which every page has a banner
			p.Paused = append(p.Paused, row)
		}
		if row.Blackout != nil {
			p.Blackouts = append(p.Blackouts, row)
		}
		p.Table.Rows = append(p.Table.Rows, v.projectRow(row))
	}
	p.Table.Page = more{From: 1, To: len(p.Table.Rows), Total: len(p.Table.Rows)}
	p.Table = v.layOut(p.Table)
	return v.page(http.StatusOK, "projects", "Projects", p)
}

func (v *visit) projectRow(x projectRow) row {
	failed := func(class string) string {
		link, _ := query("/failures", "project", x.Project, "class", class) // fails only for a parameter without a value
		return link
	}
	state, acts := x, cell{Blank: true}
	state.Show = true
	if v.may(access.Operator) && (x.Pause == nil || x.Pause.Kind != tasks.PauseStop) {
		acts = specialCell(x)
	}
	ratio := func(now float64, limit int) cell {
		if limit == 0 {
			return textCell(strconv.Itoa(int(now)) + ", no limit")
		}
		return cell{Kind: "text", V: strconv.Itoa(int(now)) + " of " + thousands(limit), Number: now}
	}
	reads := textCell("no limit")
	if n := x.Limits.ReadsPerMinute; n > 0 {
		reads = numCell(n)
	}
	oldest := cell{Blank: true}
	if x.OldestMS > 0 {
		oldest = cell{Kind: "text", V: took(time.Duration(x.OldestMS) * time.Millisecond), Number: float64(x.OldestMS)}
	}
	return row{Key: x.Project, Cells: []cell{
		mainOf(mainCell{Text: x.Project, Link: "/operations?project=" + url.QueryEscape(x.Project)}),
		{Kind: "special", V: state, By: x.Weight()}, numCell(x.Counts.Queued), oldest, numCell(x.Counts.Sending + x.Counts.Accepted),
		numCell(x.Counts.Detached), countCell(failed(""), x.Counts.Failed), countCell(failed(string(tasks.ClassHeld)), x.Counts.Held),
		ratio(x.CallsPerMinute, x.Limits.CallsPerMinute), numCell(x.Limits.MaxInFlight), reads, numCell(x.Throttled),
		textCell(x.Limits.Credential), acts,
	}}
}

// longestPause is a year in minutes, as very large values overflow a duration.
const longestPause = 365 * 24 * 60

func (v *visit) pause() error {
	if err := v.ParseForm(); err != nil {
		return badForm(err)
	}
	minutes, err := wholeNumber("minutes", v.PostFormValue("minutes"))
	if err != nil {
		return err
	}
	if minutes > longestPause {
		return invalidField("minutes", "is more than a year, "+strconv.Itoa(longestPause))
	}
	req := api.PauseRequest{Reason: strings.TrimSpace(v.PostFormValue("reason")), ForSeconds: 60 * minutes}
	done, err := v.api.Pause(v.Context(), v.PathValue("alias"), req)
	if err != nil {
		return err
	}
	return v.redirect("/projects", "Project "+done.Project+" is paused: workers send no calls for it.")
}

func (v *visit) resume() error {
	reason, err := v.reason()
	if err != nil {
		return err
	}
	done, err := v.api.Resume(v.Context(), v.PathValue("alias"), reason)
	if err != nil {
		return err
	}
	return v.redirect("/projects", "Project "+done.Project+" is resumed.")
}
