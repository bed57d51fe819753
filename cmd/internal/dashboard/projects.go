package dashboard

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// projects is the page of projects and their limits.
type projects struct{ Rows []projectRow }

func (projects) refreshAfter() int { return 5 }

// projectRow is a project with its limits.
type projectRow struct {
	tasks.Stats
	Limits api.Limits
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
	var p projects
	for _, x := range list {
		row := projectRow{Stats: by[x.Alias], Limits: x.Limits}
		row.Project, row.Pause = x.Alias, x.Pause
		p.Rows = append(p.Rows, row)
	}
	return v.page(http.StatusOK, "projects", "Projects", p)
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
	if err := v.ParseForm(); err != nil {
		return badForm(err)
	}
	done, err := v.api.Resume(v.Context(), v.PathValue("alias"), v.PostFormValue("reason"))
	if err != nil {
		return err
	}
	return v.redirect("/projects", "Project "+done.Project+" is resumed.")
}
