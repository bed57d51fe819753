package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/cmd/internal/when"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

func (p *Program) accessCommand() *cobra.Command {
	var o struct {
		since, project string
		json, csv      bool
	}
	cmd := &cobra.Command{
		Use:   "access [USER]",
		Short: "Show the desktops that a person has now, or who came back",
		Long: `With USER: reads from the cloud which desktops list the user, in all projects, within
the limits of readings. Names are compared exactly. If a project cannot be read, or
Workspace counts desktops that it does not list, the exit code is 1, and what was
found is not all.

With --since: reads who was detached since then and has a desktop again, in the project
in which they lost one. It detaches nobody. The exit code is 3 if somebody has a desktop
that no undo gave back, and 1 if not everything could be read. Readings come after all
real work, and a hundred people take one.`,
		Example: "  detachd access zoe.leaver\n  detachd access zoe.leaver --json\n  detachd access --since 30d\n" +
			"  detachd access --since 7d --project hq --csv > back.csv",
		Args: func(cmd *cobra.Command, args []string) error {
			if o.since == "" {
				return needs("USER", "the name in Workspace, or --since 30d for all who were detached")(cmd, args)
			}
			if len(args) > 0 {
				return fmt.Errorf("--since looks for everybody who was detached, and the user %s was given: give one of them", shown(args[0]))
			}
			return nil
		},
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			if o.since == "" {
				return p.accessOf(cmd.Context(), c, args[0], o.json)
			}
			since, err := p.parseTime("--since", o.since, when.Last)
			if err != nil {
				return err
			}
			x, err := p.review(cmd.Context(), c, api.AccessReviewRequest{Since: api.Since{At: since}, Project: o.project})
			if err != nil {
				return err
			}
			switch {
			case o.csv:
				err = c.CameBackCSV(cmd.Context(), p.Stdout, x.ID)
			case o.json:
				err = printJSON(p.Stdout, x)
			default:
				err = p.printReview(x)
			}
			if err != nil {
				return err
			}
			return reviewResult(x.AccessReview)
		}),
	}
	p.outputFlag(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&o.since, "since", "", "who was detached at or after this `time` and has a desktop again,\n"+
		"for example 30d (ago) or 2026-11-23T00:00:00Z")
	f.StringVar(&o.project, "project", "", "with --since: only of this project `alias`")
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.BoolVar(&o.csv, "csv", false, "with --since: print CSV, for a spreadsheet")
	cmd.MarkFlagsMutuallyExclusive("json", "csv")
	return cmd
}

// accessOf shows what a person has.
func (p *Program) accessOf(ctx context.Context, c *client, user string, asJSON bool) error {
	if problem := tasks.CheckUserName(user); problem != "" {
		return usage("give the name as Workspace has it", "invalid user name: %s %s", shown(user), problem)
	}
	a, err := c.Access(ctx, user)
	if err != nil {
		return err
	}
	if asJSON {
		if err := printJSON(p.Stdout, a); err != nil {
			return err
		}
	} else if err := p.printAccess(a); err != nil {
		return err
	}
	if a.Complete {
		return nil
	}
	var unread []string
	for _, x := range a.Projects {
		if !x.Read {
			unread = append(unread, x.Project)
		}
	}
	return fail(exitInternal, seeDoctor, "what %s has could not be read completely: %s", shown(a.User), strings.Join(unread, ", "))
}

const seeDoctor = "detachd doctor checks the connection to the cloud and the rights"

// reviewView is the JSON of access --since.
type reviewView struct {
	tasks.AccessReview
	Items []tasks.Returned `json:"items"`
}

// review has a review read, and shows the progress.
func (p *Program) review(ctx context.Context, c *client, q api.AccessReviewRequest) (v reviewView, err error) {
	if v.AccessReview, err = c.ReviewAccess(ctx, q); err != nil {
		return v, err
	}
	bar := p.newBar(v.People)
	defer bar.end()
	err = poll(ctx, func() (bool, error) {
		if v.State != tasks.PlanReading {
			return true, nil
		}
		now, err := c.AccessReview(ctx, v.ID)
		if err == nil {
			v.AccessReview = now
		}
		bar.of(v.People)
		bar.set(v.Read)
		return err == nil && v.State != tasks.PlanReading, err
	})
	if err != nil {
		return v, err
	}
	if v.State == tasks.PlanFailed {
		return v, fail(exitUsage, "give --project, or a later --since", "nothing was read: %s", v.Error)
	}
	v.Items, err = all(func(size int, token string) ([]tasks.Returned, string, error) {
		return c.CameBack(ctx, v.ID, size, token)
	})
	return v, err
}

// reviewResult is the exit code of a review.
func reviewResult(x tasks.AccessReview) error {
	if !x.Complete {
		var unread []string
		for _, project := range x.Projects {
			if !project.Read {
				unread = append(unread, project.Project)
			}
		}
		return fail(exitInternal, seeDoctor, "who has a desktop again could not be read completely: %s", strings.Join(unread, ", "))
	}
	if x.CameBack == 0 {
		return nil
	}
	have := "have"
	if x.CameBack == 1 {
		have = "has"
	}
	return fail(exitFailed, "detachd access USER shows all that a person has; detachd detach --user USER takes it away",
		"%s %s a desktop again", people(x.CameBack), have)
}

func people(n int) string { return plural(n, "person", "people") }

func (p *Program) printReview(v reviewView) error {
	for _, x := range v.Projects {
		if x.Error != "" {
			p.say("project %s: %s", printable(x.Project), printable(x.Error))
		}
	}
	if v.Groups > 0 {
		p.say("%s lost a desktop, too: no reading shows who is in them", plural(v.Groups, "user group", "user groups"))
	}
	p.out("Since %s %s lost %s: %s came back, %s got one by an undo (%s)", clock(v.Since), people(v.People), count(v.Desktops, "desktop"),
		people(v.CameBack), people(v.GivenBack), count(v.Readings, "reading"))
	if len(v.Items) == 0 {
		return nil
	}
	p.out("")
	t := &table{
		header: []string{"USER", "PROJECT", "HAS", "COMPUTER", "DESKTOP", "STATE", "USERS", "LOST AT", "BY OPERATION", "NOTE"},
		less:   []string{"USERS", "STATE", "BY OPERATION", "COMPUTER"},
	}
	for _, row := range v.Items {
		t.add(row.User, row.Project, hasText(row), row.ComputerName, row.DesktopID, row.AttachState, namesOf(row.Users),
			row.DetachedAt.Local().Format(time.DateOnly), row.DetachedOperationID, returnedNote(row))
	}
	return p.show(t)
}

func hasText(row tasks.Returned) string {
	switch row.How {
	case tasks.CameSame:
		return "the same desktop"
	case tasks.CameOther:
		return "another desktop"
	case tasks.CameShared:
		return "a shared desktop"
	case tasks.CameByUndo:
		return "given back"
	case tasks.CameByGroup:
		return "perhaps by a group"
	}
	return row.How
}

func returnedNote(row tasks.Returned) string {
	var notes []string
	if row.OtherUser {
		notes = append(notes, fmt.Sprintf("another account with the name (%s)", row.UserID))
	}
	if row.UndoID != "" {
		notes = append(notes, "undo "+row.UndoID)
	}
	if row.Why != "" {
		notes = append(notes, row.Why)
	}
	return strings.Join(notes, "; ")
}

func (p *Program) printAccess(a tasks.Access) error {
	known := false
	for _, x := range a.Projects {
		known = known || x.Known
		if x.Error != "" {
			p.say("project %s: %s", printable(x.Project), printable(x.Error))
		}
		if len(x.Similar) > 0 {
			p.say("project %s: similar names: %s", printable(x.Project), printable(strings.Join(x.Similar, ", ")))
		}
	}
	if len(a.Items) > 0 {
		t := &table{header: []string{"COMPUTER", "DESKTOP", "PROJECT", "STATE", "USERS", "LAST OPERATION"},
			less: []string{"LAST OPERATION", "STATE"}}
		for _, d := range a.Items {
			t.add(d.ComputerName, d.DesktopID, d.Project, d.AttachState, namesOf(d.Users), d.LastOperationID)
		}
		return p.show(t)
	}
	switch {
	case !a.Complete:
	case known:
		p.out("%s has no desktop", printable(a.User))
	default:
		p.out("%s has no desktop: Workspace knows no user of this name", printable(a.User))
	}
	return nil
}
