package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/cmd/internal/config"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

const (
	// feedProject is a project of the demo with the limits that projects have by default.
	feedProject   = "wrong-feed"
	feedProjectID = "ffffffffffffffffffffffffffffffff"
	feedFleet     = 400 // desktops of the project: up to 80 pass without an approval
	feedSize      = 120 // that the feed names: the operation has a canary
	feedUndone    = 20  // that are given back
)

// demoBrakes is what happened to a feed that named too many desktops.
type demoBrakes struct {
	OperationID string          `json:"operation_id"`
	Clearance   tasks.Clearance `json:"clearance"`
	Unapproved  int             `json:"desktops_called_before_approval"`
	Canary      int             `json:"desktops_in_first_call"`
	Detached    int             `json:"detached"`
	UndoID      string          `json:"undo_id"`
	GivenBack   int             `json:"given_back"`
	Cleared     int             `json:"desktops_that_lost_data"`
	TookMS      int64           `json:"took_ms"`
}

func feedDesktop(i int) string { return fmt.Sprintf("feed-%03d", i) }

// stageFeed adds the project of the feed.
func stageFeed(cloud *fakecloud.Cloud) {
	for i := range feedFleet {
		cloud.Add(feedProjectID, fakecloud.Desktop{ID: feedDesktop(i), Users: []fakecloud.User{{Name: fmt.Sprintf("employee.%03d", i)}}})
	}
}

// withFeed adds the project of the feed to the configuration, with default limits.
func withFeed(cfg config.Config) config.Config {
	p := cfg.Projects[0]
	p.Alias, p.ProjectID, p.Approval = feedProject, feedProjectID, config.DefaultApproval()
	cfg.Projects = append(slices.Clone(cfg.Projects), p)
	return cfg
}

// performFeed has a feed name too many desktops. It waits, a person approves it, the canary goes
// first, and some desktops are given back.
func (p *Program) performFeed(ctx context.Context, e *app.Embedded, a *app.App) (b demoBrakes, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, demoTimeout, fmt.Errorf("the demo took longer than %s", demoTimeout))
	defer cancel()
	started := time.Now()
	req := tasks.Request{Project: feedProject, RequestedBy: "hr-feed", Reason: "a list that names a whole site"}
	for i := range feedSize {
		req.Desktops = append(req.Desktops, feedDesktop(i))
	}
	op, err := a.Producer.Enqueue(ctx, req)
	if err != nil {
		return b, err
	}
	b.OperationID = op.ID
	for !op.AwaitsApproval() && !op.Done() && err == nil {
		select {
		case <-ctx.Done():
			return b, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
			op, err = a.Record.Operation(ctx, op.ID)
		}
	}
	if err != nil {
		return b, err
	}
	b.Unapproved = len(slices.Concat(feedCalls(e.Cloud.Cloud)...))
	if op, err = a.Producer.Approve(ctx, op, tasks.Approval{By: "ann", Owner: "ann", Reason: "checked with the site"}); err != nil {
		return b, err
	}
	b.Clearance = *op.Clearance
	if op, err = p.demoEnd(ctx, a, op); err != nil {
		return b, err
	}
	b.Detached = op.Counts.Detached
	if calls := feedCalls(e.Cloud.Cloud); len(calls) > 0 {
		b.Canary = len(calls[0])
	}
	undo, err := a.Producer.Undo(ctx, op, tasks.UndoRequest{
		Desktops: req.Desktops[:feedUndone], RequestedBy: "ann", Owner: "ann", Reason: "these people stay",
	})
	if err != nil {
		return b, err
	}
	b.UndoID = undo.ID
	if undo, err = p.demoEnd(ctx, a, undo); err != nil {
		return b, err
	}
	for _, x := range e.Cloud.Assignments(feedProjectID) {
		d, _ := e.Cloud.Get(feedProjectID, x.DesktopID)
		if len(x.Users) == 1 && has(d, x.Users[0].Name) {
			b.GivenBack++
		}
		if x.Cleared {
			b.Cleared++
		}
	}
	b.GivenBack = min(b.GivenBack, undo.Counts.Detached) // what the record and the cloud agree on
	b.TookMS = time.Since(started).Milliseconds()
	return b, nil
}

// demoEnd waits for the end of an operation.
func (p *Program) demoEnd(ctx context.Context, a *app.App, op record.Operation) (record.Operation, error) {
	if _, err := p.wait(ctx, fromRecord(a.Record), []tasks.Operation{op.Operation}, demoTimeout); err != nil {
		return op, err
	}
	return a.Record.Operation(ctx, op.ID)
}

// feedCalls are the desktops of each detach call to the project of the feed.
func feedCalls(cloud *fakecloud.Cloud) (out [][]string) {
	for _, r := range cloud.Requests() {
		if r.Op == fakecloud.OpDetach && r.Project == feedProjectID {
			out = append(out, r.DesktopIDs)
		}
	}
	return out
}

// surprises are what should not have happened.
func (b demoBrakes) surprises() (out []string) {
	for _, x := range []struct {
		what      string
		got, want int
	}{
		{"desktops of the feed were called before the approval", b.Unapproved, 0},
		{"desktops of the feed were in the first call", b.Canary, tasks.DefaultCanary.Desktops},
		{"desktops of the feed are detached", b.Detached, feedSize},
		{"desktops of the feed were given back", b.GivenBack, feedUndone},
		{"desktops lost the data on them", b.Cleared, 0},
	} {
		if x.got != x.want {
			out = append(out, fmt.Sprintf("%d %s, not %d", x.got, x.what, x.want))
		}
	}
	return out
}

func (b demoBrakes) print(w io.Writer) {
	c := b.Clearance
	fmt.Fprintf(w, "A feed named %d of the %d desktops of a project, where %d pass without an approval. It waited, and no call left. "+
		"%s approved it: the first %d were detached and confirmed, then the others. An undo gave %d back to their users, "+
		"with their data (%s).\n\n", c.Desktops, c.Assigned, c.Allowed, c.DecidedBy, b.Canary, b.GivenBack,
		(time.Duration(b.TookMS) * time.Millisecond).Round(100*time.Millisecond))
}
