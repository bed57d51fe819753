package cli

import (
	"context"
	"strconv"
	"strings"

	"github.com/detachd/detachd/cmd/internal/leavers"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// projectPlan is what detach would do in a project.
type projectPlan struct {
	Project string `json:"project"`
	api.Plan
}

// plan shows what detach would do, and does nothing of it.
func (p *Program) plan(ctx context.Context, c *client, reqs []api.OperationRequest, list *leavers.List, asJSON bool) error {
	v := struct {
		Plans []projectPlan `json:"plans"`
		listView
	}{listView: readOf(list)}
	for _, req := range reqs {
		plan, err := c.Plan(ctx, req)
		if err != nil {
			return err
		}
		v.Plans = append(v.Plans, projectPlan{req.Project, plan})
	}
	if asJSON {
		return printJSON(p.Stdout, v)
	}
	t := &table{header: []string{"DESKTOP", "PROJECT", "DOES", "CUTS OFF", "CODE", "WHY"}}
	does, left := map[string]int{}, 0
	for _, x := range v.Plans {
		left += x.Left
		for _, row := range x.Items {
			does[row.Does]++
			t.add(row.ID, x.Project, row.Does, namesOf(row.From), row.Code, row.Why)
		}
	}
	if err := t.print(p.Stdout); err != nil {
		return err
	}
	var parts []string
	for _, what := range []struct{ does, is string }{
		{"send", "to be detached"}, {"hold", "to be held"}, {"done", "with nothing to do"}, {"follow", "being detached already"}, {"later", "busy"},
	} {
		if n := does[what.does]; n > 0 {
			parts = append(parts, strconv.Itoa(n)+" "+what.is)
		}
	}
	p.say("plan: %s; nothing was queued", strings.Join(parts, ", "))
	p.say("plan: %s", planned(v.Plans[0].Times)) // those of each project are the same
	if left > 0 {
		p.say("plan: %d more were not looked at", left)
	}
	return nil
}

// namesOf names people.
func namesOf(people []tasks.Person) string {
	names := make([]string, len(people))
	for i, x := range people {
		names[i] = x.Name
	}
	return strings.Join(names, ", ")
}
