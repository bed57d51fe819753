package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/cmd/internal/leavers"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// detachOptions are the flags of detach.
type detachOptions struct {
	file, project, at, due, deadline string
	reason, ticket, key, by          string
	users, expected                  []string
	allowShared                      bool
	shutoff, urgent                  bool
	skipInvalid, plan, json          bool
	wait                             waitOptions
}

func (p *Program) detachCommand() *cobra.Command {
	var o detachOptions
	cmd := &cobra.Command{
		Use:   "detach [ID…]",
		Short: "Have desktops detached",
		Long: `Records desktops, or users whose desktops are meant, and queues them for the
workers. A file is CSV with a header row that has a column desktop_id (or id, or
desktop) or a column user (or user_name), or both, and perhaps a column project;
other columns are ignored. Rows of several projects make one operation for each.
If one row is bad nothing is queued, unless --skip-invalid is given.

Who is cut off: every desktop is read before it is sent. One that comes with a
user (columns desktop_id and user, or --expected-user) is taken from that user
only; if somebody else has it, it is held, with both names. A user without a
desktop (column user alone, or --user) stands for every desktop that has a user
of exactly that name when the operation runs. Desktops of several users of whom
none is named, and those hibernated, frozen or in maintenance, are held.

"accepted" in the results means that the cloud took the request; the desktop is
then followed until it is proven "detached", or it is failed.`,
		Example: `  detachd detach --project hq 8f0e0c9a-4f4e-4c5b-9c53-0d0f5a3a2b11 --expected-user zoe
  detachd detach --project hq --user zoe --due-at 2026-11-30T18:00:00Z --ticket HR-4711
  detachd detach --file leavers.csv --project hq --ticket HR-4711 --wait
  detachd detach --file leavers.csv --project hq --plan
  report | detachd detach --file - --at "2026-11-30 18:00" --idempotency-key leavers-2026-11`,
		RunE: p.run(func(cmd *cobra.Command, args []string) error { return p.detach(cmd.Context(), args, o) }),
	}
	f := cmd.Flags()
	f.StringVar(&o.file, "file", "", "CSV `file` of desktops, - for stdin")
	f.StringVar(&o.project, "project", "", "`alias` of the project of all desktops that have none of their own in the file")
	f.StringArrayVar(&o.users, "user", nil, "a leaver's `name`: detach every desktop that they have; may be repeated")
	f.StringArrayVar(&o.expected, "expected-user", nil, "`name` of the user whom the ids given as arguments must belong to; may be repeated")
	f.BoolVar(&o.allowShared, "allow-shared", false, "take desktops of several users from all of them, if no user is named")
	f.BoolVar(&o.shutoff, "shutoff", false, "shut the desktops down once they are detached")
	f.BoolVar(&o.urgent, "urgent", false, "go ahead of bulk work")
	f.StringVar(&o.at, "at", "", `not before that `+"`time`"+`: 2026-11-23T18:00:00Z, "2026-11-23 18:00" or +2h`)
	f.StringVar(&o.due, "due-at", "", "when access should be gone, or should have been, for the record: a `time` as for --at (default: acceptance)")
	f.StringVar(&o.deadline, "deadline", "", "give up at that `time` (default 24 hours after acceptance or --at)")
	f.StringVar(&o.reason, "reason", "", "why, for the record")
	f.StringVar(&o.ticket, "ticket", "", "ticket, for the record")
	f.StringVar(&o.by, "requested-by", "", "who asks, for the record (default: the user of this session); over a server it is the name of the key, and this is refused")
	f.StringVar(&o.key, "idempotency-key", "", "makes sending the same again harmless")
	f.BoolVar(&o.skipInvalid, "skip-invalid", false, "leave bad rows out instead of refusing the whole list")
	f.BoolVar(&o.plan, "plan", false, "show who would be cut off and what would be held, as the cloud is now, and queue nothing")
	f.BoolVar(&o.json, "json", false, "print JSON")
	o.wait.flags(f)
	return cmd
}

func (p *Program) detach(ctx context.Context, args []string, o detachOptions) error {
	switch {
	case len(args) == 0 && o.file == "" && len(o.users) == 0:
		return usage("detachd detach --help shows how", "nothing was named: give desktop ids, --user or --file")
	case len(args) > 0 && len(o.users) > 0:
		return usage("for these desktops of theirs give --expected-user in place of --user; for both, run it twice",
			"--user means every desktop of a user, and desktop ids were given as well")
	case len(args) == 0 && len(o.expected) > 0:
		return usage("for every desktop of theirs give --user; in a file, a column user", "--expected-user is about desktop ids, and none was given")
	}
	if err := o.wait.check(); err != nil {
		return err
	}
	if o.plan && o.wait.on {
		return usage("leave one of them out", "--plan queues nothing, so there is nothing to --wait for")
	}
	c, err := p.connect(o.by)
	if err != nil {
		return err
	}
	defer c.close()
	reqs, err := p.requests(ctx, c, args, o)
	if err != nil {
		return err
	}
	if o.plan {
		return p.plan(ctx, c, reqs, o.json)
	}
	ops, err := p.enqueue(ctx, c, reqs)
	if err != nil {
		return err
	}
	p.warnWithoutWorkers(ctx, c)
	if o.wait.on {
		return p.waitAndShow(ctx, c, ops, o.wait, o.json)
	}
	if o.json {
		return printJSON(p.Stdout, operationsView{ops})
	}
	for _, op := range ops {
		p.out("operation %s: %s of project %s recorded and queued", op.ID, size(op), op.Project)
	}
	p.say("look at it with: detachd status %s", ops[0].ID)
	return nil
}

// requests makes one request for each project that is named, or more where a
// server would not take it in one.
func (p *Program) requests(ctx context.Context, c *client, args []string, o detachOptions) ([]api.OperationRequest, error) {
	at, err := parseWhen(o.at, p.Now())
	if err != nil {
		return nil, usage("mend --at", "--at %w", err)
	}
	due, err := parseWhen(o.due, p.Now())
	if err != nil {
		return nil, usage("mend --due-at", "--due-at %w", err)
	}
	deadline, err := parseWhen(o.deadline, p.Now())
	if err != nil {
		return nil, usage("mend --deadline", "--deadline %w", err)
	}
	projects, err := c.projects(ctx)
	if err != nil {
		return nil, err
	}
	list, err := p.gather(projects, args, o)
	if err != nil {
		return nil, err
	}
	reqs := list.Requests(api.OperationRequest{
		ShutoffAfterDetach: o.shutoff, Urgent: o.urgent, NotBefore: at, Deadline: deadline, DueAt: due,
		AllowShared: o.allowShared, Reason: o.reason, Ticket: o.ticket, IdempotencyKey: o.key,
	})
	var out []api.OperationRequest
	for _, r := range reqs {
		if len(reqs) > 1 && o.key != "" {
			r.IdempotencyKey = o.key + "/" + r.Project
		}
		// Here, so that nothing is queued for one project if another's request is bad.
		if err := r.Task(o.by).Validate(func(alias string) bool { return slices.Contains(projects, alias) }, p.Now()); err != nil {
			return nil, err
		}
		if c.remote {
			out = append(out, split(r, largestBody)...)
		} else {
			out = append(out, r)
		}
	}
	return out, nil
}

// gather reads arguments and file, and refuses the whole list if something in
// it is bad and may not be skipped.
func (p *Program) gather(projects, args []string, o detachOptions) (*leavers.List, error) {
	list := leavers.New(o.project, func(alias string) bool { return slices.Contains(projects, alias) })
	for _, x := range o.named(args) {
		if err := list.Add(x); err != nil {
			return nil, usage("give several lists, one after the other", "%w", err)
		}
	}
	if o.file != "" {
		if err := p.readFile(list, o.file); err != nil {
			return nil, usage("mend it and run it again; nothing was queued", "%s: %w", o.file, err)
		}
	}
	if len(list.Unknown) > 0 {
		p.say("columns that are ignored: %s", printable(strings.Join(list.Unknown, ", ")))
	}
	if list.BadRows > 0 {
		if err := p.badRows(projects, list, o.skipInvalid); err != nil {
			return nil, err
		}
	}
	if len(list.Good) == 0 {
		return nil, usage("name at least one desktop or user", "no desktop is left to detach; nothing was queued")
	}
	return list, nil
}

// named gives the leavers of the command line.
func (o detachOptions) named(ids []string) []leavers.Leaver {
	var out []leavers.Leaver
	for _, user := range o.users {
		out = append(out, leavers.Leaver{User: user})
	}
	for _, id := range ids {
		for _, user := range o.expected {
			out = append(out, leavers.Leaver{Desktop: id, User: user})
		}
		if len(o.expected) == 0 {
			out = append(out, leavers.Leaver{Desktop: id})
		}
	}
	return out
}

func (p *Program) readFile(list *leavers.List, name string) error {
	if name == "-" {
		return list.Read(p.Stdin)
	}
	f, err := os.Open(name)
	if pathErr := (*os.PathError)(nil); errors.As(err, &pathErr) {
		return pathErr.Err // the name is in the message already
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return list.Read(f)
}

// badRows lists what is wrong, and is an error unless that may be skipped.
func (p *Program) badRows(projects []string, list *leavers.List, skip bool) error {
	const most = 20
	for _, b := range list.Bad[:min(most, len(list.Bad))] {
		p.say("%s", printable(b.String()))
	}
	if list.BadRows > most {
		p.say("… and %d more", list.BadRows-most)
	}
	if skip {
		p.say("skipped: %s; %d of the list are queued", count(list.BadRows, "bad row"), len(list.Good))
		return nil
	}
	return usage(
		fmt.Sprintf("mend what is named, or leave it out with --skip-invalid; --project names one for the whole list, the configured ones are %s", strings.Join(projects, ", ")),
		"%d of %d rows are bad; nothing was queued", list.BadRows, list.BadRows+len(list.Good))
}

// enqueue hands the requests over, one after the other.
func (p *Program) enqueue(ctx context.Context, c *client, reqs []api.OperationRequest) ([]tasks.Operation, error) {
	var ops []tasks.Operation
	for _, req := range reqs {
		op, err := c.CreateOperation(ctx, req)
		if err == nil {
			ops = append(ops, op)
			continue
		}
		for _, done := range ops {
			p.say("queued already: operation %s, %s of project %s", done.ID, size(done), done.Project)
		}
		f := explain(err)
		if len(ops) > 0 {
			f.next += "; run it for the other projects only, or again for all with the same --idempotency-key"
		}
		return nil, &failure{f.code, fmt.Errorf("project %s: %w", req.Project, f.err), f.next}
	}
	return ops, nil
}

// requestedBy is who the record says has asked: as given, or else the user of
// this session.
func (p *Program) requestedBy(given string) string {
	for _, name := range []string{"LOGNAME", "USER", "USERNAME"} {
		if given == "" {
			given = p.env(name)
		}
	}
	if given != "" {
		return given
	}
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

// warnWithoutWorkers says when nobody is there to do the work. It is a service:
// when it cannot be found out, nothing is said.
func (p *Program) warnWithoutWorkers(ctx context.Context, c *client) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	workers, err := c.Workers(ctx)
	if err != nil || slices.ContainsFunc(workers, func(w api.Worker) bool { return w.SilentMS < silentAfter.Milliseconds() }) {
		return
	}
	p.say("note: no worker is running; the desktops stay queued until one is started (detachd worker)")
}

// silentAfter is when a worker that does not beat is taken for dead; they beat
// every few seconds.
const silentAfter = 30 * time.Second
