package cli

import (
	"context"
	"strings"
	"time"

	"github.com/detachd/detachd/cmd/internal/leavers"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// planView is the JSON of detach --plan.
type planView struct {
	Summary string     `json:"summary"` // one sentence about all rows of all plans
	Plans   []api.Plan `json:"plans"`   // with all of their rows
	listView
}

// plan shows what detach would do, and does nothing of it.
func (p *Program) plan(ctx context.Context, c *client, reqs []api.OperationRequest, list *leavers.List, asJSON bool) error {
	v := planView{listView: readOf(list)}
	for _, req := range reqs {
		plan, err := c.Plan(ctx, req)
		if err != nil {
			return err
		}
		v.Plans = append(v.Plans, plan)
	}
	if err := p.waitForPlans(ctx, c, v.Plans); err != nil {
		return err
	}
	var all []tasks.Plan
	for i, plan := range v.Plans {
		if plan.State == tasks.PlanFailed {
			return fail(exitInternal, "run it again; if it stays so, detachd doctor looks at the way to the cloud",
				"the plan of project %s was given up after %d of %d rows: %s; nothing was queued", plan.Project, plan.Read, plan.Total, plan.Error)
		}
		all = append(all, plan.Plan)
		if plan.NextPageToken == "" {
			continue
		}
		items, err := pages(0, func(size int, token string) ([]tasks.Planned, string, error) {
			page, err := c.PlanByID(ctx, plan.ID, size, token)
			return page.Items, page.NextPageToken, err
		})
		if err != nil {
			return err
		}
		v.Plans[i].Items, v.Plans[i].NextPageToken = items, ""
	}
	v.Summary = api.SummaryOf(all...)
	if asJSON {
		return printJSON(p.Stdout, v)
	}
	p.out("%s", v.Summary)
	p.out("")
	t := &table{header: []string{"DESKTOP", "PROJECT", "DOES", "CUTS OFF", "CODE", "WHY"}}
	for _, does := range []bool{true, false} { // what is held of all projects goes first
		for _, plan := range v.Plans {
			for _, row := range plan.Items {
				if (row.Does == "hold") == does {
					t.add(row.ID, plan.Project, row.Does, namesOf(row.From), row.Code, row.Why)
				}
			}
		}
	}
	if err := t.print(p.Stdout); err != nil {
		return err
	}
	first := v.Plans[0] // the times of each are the same
	p.say("plan: %s", planned(api.Times{NotBefore: first.NotBefore, DueAt: first.DueAt, Deadline: first.Deadline}))
	toSend := map[string]int{}
	for _, plan := range v.Plans {
		for _, row := range plan.Items {
			if row.Does == "send" {
				toSend[plan.Project]++
			}
		}
	}
	p.sayHowLong(ctx, c, toSend)
	p.say("plan: this is how the cloud is now; nothing was queued")
	return nil
}

// waitForPlans asks for plans until none is being read, and shows how far they are.
func (p *Program) waitForPlans(ctx context.Context, c *client, plans []api.Plan) error {
	bar := p.newBar(rowsOf(plans))
	defer bar.end()
	answered := time.Now()
	for pause := firstLook; ; pause = min(2*pause, longestPause) {
		read, reading := 0, false
		for i, plan := range plans {
			if plan.State == tasks.PlanReading {
				now, err := c.PlanByID(ctx, plan.ID, 1, "")
				switch {
				case err == nil:
					plans[i], answered = now, time.Now()
				case ctx.Err() == nil && mayPass(err) && time.Since(answered) < awayPatience:
					pause = max(pause, min(retryAfter(err), awayPatience))
				default:
					return err
				}
			}
			read += plans[i].Read
			reading = reading || plans[i].State == tasks.PlanReading
		}
		bar.of(rowsOf(plans))
		bar.set(read)
		if !reading {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func rowsOf(plans []api.Plan) (n int) {
	for _, plan := range plans {
		n += plan.Total
	}
	return n
}

// namesOf names people.
func namesOf(people []tasks.Person) string {
	names := make([]string, len(people))
	for i, x := range people {
		names[i] = x.Name
	}
	return strings.Join(names, ", ")
}
