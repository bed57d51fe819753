package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/detachd/detachd/cmd/internal/leavers"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// planView is the JSON of detach --plan.
type planView struct {
	Summary string     `json:"summary"` // one sentence about all rows of all plans
	Items   []api.Plan `json:"items"`   // plans, each with all of its rows
	listView
}

// plan shows what detach would do, and submits nothing.
func (p *Program) plan(ctx context.Context, c *client, reqs []api.OperationRequest, list *leavers.List, o detachOptions) error {
	v := planView{listView: readOf(list)}
	for _, req := range reqs {
		plan, err := c.Plan(ctx, req)
		if err != nil {
			return err
		}
		v.Items = append(v.Items, plan)
	}
	summary, err := p.readPlans(ctx, c, v.Items)
	if err != nil {
		return err
	}
	if v.Summary = summary; o.json {
		return printJSON(p.Stdout, v)
	}
	if err := p.showPlans(v.Summary, v.Items); err != nil {
		return err
	}
	first := v.Items[0] // all have the same times
	p.note("plan: %s", planned(api.Times{NotBefore: first.NotBefore, DueAt: first.DueAt, Deadline: first.Deadline}))
	toSend := map[string]int{}
	for _, plan := range v.Items {
		for _, row := range plan.Items {
			if row.Does == "send" {
				toSend[plan.Project]++
			}
		}
	}
	p.sayEstimate(ctx, c, toSend)
	p.note("plan: based on the current state of the cloud; nothing was queued")
	command := "detachd detach --plan"
	for _, plan := range v.Items {
		command += " " + plan.Hash
	}
	for _, x := range [][2]string{{"--reason", o.reason}, {"--ticket", o.ticket}, {"--requested-by", o.by}, {"--idempotency-key", o.key}} {
		if x[1] != "" {
			command += " " + x[0] + " " + quoted(x[1])
		}
	}
	if o.urgent {
		command += " --urgent"
	}
	p.note("plan: run exactly this within an hour with: %s", command)
	return nil
}

// quoted is an argument for a shell.
func quoted(text string) string { return "'" + strings.ReplaceAll(printable(text), "'", `'\''`) + "'" }

// isHash reports whether an argument is the hash of a plan. No desktop has such an id.
func isHash(arg string) bool {
	hash, err := hex.DecodeString(arg)
	return err == nil && len(hash) == sha256.Size
}

// plannedFlags are part of a plan: they cannot be given to run it.
var plannedFlags = []string{
	"file", "project", "user", "computer", "expected-user", "unknown-users", "user-column", "computer-column", "desktop-column",
	"allow-shared", "shutoff", "at", "due-at", "last-day", "zone", "deadline", "skip-invalid",
}

// runPlans runs plans by their hashes.
func (p *Program) runPlans(ctx context.Context, hashes []string, o detachOptions, flags *pflag.FlagSet) error {
	for _, name := range plannedFlags {
		if flags.Changed(name) {
			return usage("leave it out, or make a new plan with it", "--%s is part of the plan, and cannot be changed", name)
		}
	}
	for _, hash := range hashes {
		if !isHash(hash) {
			return usage("give only hashes, to run plans, or none of them, to make one", "%q is not the hash of a plan", printable(hash))
		}
	}
	if err := o.wait.check(); err != nil {
		return err
	}
	c, err := p.connect(o.by)
	if err != nil {
		return err
	}
	defer c.close()
	made := o.key == ""
	if made {
		o.key = newKey()
	}
	reqs := make([]api.OperationRequest, len(hashes))
	for i, hash := range hashes {
		reqs[i] = api.OperationRequest{Plan: hash, Reason: o.reason, Ticket: o.ticket, Urgent: o.urgent, IdempotencyKey: o.key}
		if len(hashes) > 1 {
			reqs[i].IdempotencyKey += "/" + hash[:12]
		}
	}
	return p.submit(ctx, c, reqs, &leavers.List{}, o, made)
}

// readPlans waits until plans are done, reads all of their rows, and summarises them.
func (p *Program) readPlans(ctx context.Context, c *client, items []api.Plan) (summary string, err error) {
	if err := p.waitForPlans(ctx, c, items); err != nil {
		return "", err
	}
	var plans []tasks.Plan
	for i, plan := range items {
		if plan.State == tasks.PlanFailed {
			return "", fail(exitInternal, "run it again; if it fails again, detachd doctor checks the connection to the cloud",
				"the plan of project %s stopped after %s: %s; nothing was queued", plan.Project, share(plan.Read, plan.Total, "row"), plan.Error)
		}
		plans = append(plans, plan.Plan)
		if plan.NextPageToken == "" {
			continue
		}
		rows, err := all(func(size int, token string) ([]tasks.Planned, string, error) {
			page, err := c.PlanByID(ctx, plan.ID, size, token)
			return page.Items, page.NextPageToken, err
		})
		if err != nil {
			return "", err
		}
		items[i].Items, items[i].NextPageToken = rows, ""
	}
	return api.SummaryOf(plans...), nil
}

// showPlans prints plans, the rows on hold of all of them first.
func (p *Program) showPlans(summary string, plans []api.Plan) error {
	p.out("%s", summary)
	p.out("")
	t := &table{header: []string{"DESKTOP", "PROJECT", "ACTION", "LOSES ACCESS", "CODE", "WHY"}}
	for _, does := range []bool{true, false} {
		for _, plan := range plans {
			for _, row := range plan.Items {
				if (row.Does == "hold") == does {
					t.add(row.ID, plan.Project, row.Does, namesOf(row.From), row.Code, row.Why)
				}
			}
		}
	}
	return p.show(t)
}

// waitForPlans waits until all plans are read, and shows the progress.
func (p *Program) waitForPlans(ctx context.Context, c *client, plans []api.Plan) error {
	bar := p.newBar(rowsOf(plans))
	defer bar.end()
	return poll(ctx, func() (bool, error) {
		read, reading := 0, false
		for i, plan := range plans {
			if plan.State == tasks.PlanReading {
				now, err := c.PlanByID(ctx, plan.ID, 1, "")
				if err != nil {
					return false, err
				}
				plans[i] = now
			}
			read += plans[i].Read
			reading = reading || plans[i].State == tasks.PlanReading
		}
		bar.of(rowsOf(plans))
		bar.set(read)
		return !reading, nil
	})
}

// poll asks until it is done. A short outage of the server is waited out.
func poll(ctx context.Context, ask func() (done bool, err error)) error {
	answered := time.Now()
	for pause := firstPoll; ; pause = min(2*pause, longestPause) {
		done, err := ask()
		switch {
		case done:
			return nil
		case err == nil:
			answered = time.Now()
		case ctx.Err() == nil && mayPass(err) && time.Since(answered) < maxOutage:
			pause = max(pause, min(retryAfter(err), maxOutage))
		default:
			return err
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

// namesOf lists the names of people.
func namesOf(people []tasks.Person) string {
	names := make([]string, len(people))
	for i, x := range people {
		names[i] = x.Name
	}
	return strings.Join(names, ", ")
}
