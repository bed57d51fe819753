package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/cmd/internal/leavers"
	"github.com/detachd/detachd/cmd/internal/when"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// detachOptions are the flags of detach.
type detachOptions struct {
	file, project, at, due, deadline string
	reason, ticket, key, by          string
	users, computers, expected       []string
	unknownUsers                     string
	columns                          leavers.Columns
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
		Long: `Records desktops, computers by their names, or users whose desktops are meant, and
queues them for the workers. A file is CSV, with a header row in which a column
names desktops (desktop_id, id), computers (computer, host name, VM, …) or users
(user, login, e-mail, owner, …), and perhaps projects; in German, French, Spanish
and Chinese, too. Rows of several projects make one operation for each. If one row
is bad nothing is queued, unless --skip-invalid is given. Columns that cannot say
whose a desktop is are ignored, and named; where it is not clear which column
says that, the list is refused until --user-column does.

Who is cut off: every desktop is read before it is sent. One that comes with a
user (a column of users beside the desktops or computers, or --expected-user) is
taken from that user only; if somebody else has it, it is held, with both names. A
user without a desktop (a column of users alone, or --user) stands for every desktop
that has a user of exactly that name when the operation runs. A computer's name
(a column, or --computer) stands for the one desktop that has it then. Desktops of
several users of whom none is named, and those hibernated, frozen or in
maintenance, are held.

"accepted" in the results means that the cloud took the request; the desktop is
then followed until it is proven "detached", or it is failed.`,
		Example: `  detachd detach --project hq 8f0e0c9a-4f4e-4c5b-9c53-0d0f5a3a2b11 --expected-user zoe
  detachd detach --project hq --user zoe --due-at 2026-11-30T18:00:00+08:00 --ticket HR-4711   # starts then
  detachd detach --file leavers.csv --project hq --ticket HR-4711 --wait
  detachd detach --file leavers.csv --project hq --plan
  report | detachd detach --file - --at "2026-11-30 18:00" --idempotency-key leavers-2026-11`,
		RunE: p.run(func(cmd *cobra.Command, args []string) error { return p.detach(cmd.Context(), args, o) }),
	}
	f := cmd.Flags()
	f.StringVar(&o.file, "file", "", "CSV `file` of desktops, - for stdin")
	f.StringVar(&o.project, "project", "", "`alias` of the project of all desktops that have none of their own in the file")
	f.StringArrayVar(&o.users, "user", nil, "a leaver's `name`: detach every desktop that they have; may be repeated")
	f.StringArrayVar(&o.computers, "computer", nil, "a computer's `name`: detach the desktop that has it; may be repeated")
	f.StringArrayVar(&o.expected, "expected-user", nil, "`name` of the user whom the ids given as arguments, and --computer, must belong to; may be repeated")
	f.StringVar(&o.unknownUsers, "unknown-users", "", "what becomes of users whom Workspace does not know: hold or ignore (default: as the project is configured)")
	f.StringVar(&o.columns.User, "user-column", "", "`name` of the file's column that says whose the desktops are, - if none does (default: by what it is called)")
	f.StringVar(&o.columns.Computer, "computer-column", "", "`name` of the file's column of computers, - if there is none (default: by what it is called)")
	f.StringVar(&o.columns.Desktop, "desktop-column", "", "`name` of the file's column of desktop ids, - if there is none (default: by what it is called)")
	f.BoolVar(&o.allowShared, "allow-shared", false, "take desktops of several users from all of them, if no user is named")
	f.BoolVar(&o.shutoff, "shutoff", false, "shut the desktops down once they are detached")
	f.BoolVar(&o.urgent, "urgent", false, "go ahead of bulk work")
	f.StringVar(&o.at, "at", "", `start at that `+"`time`"+`: `+when.Example+`, or now. Without an offset it is local; a date alone is its 00:00, a time alone the next one (default: at --due-at if that is still to come, else at once)`)
	f.StringVar(&o.due, "due-at", "", "when access should be gone, or should have been: a `time` as for --at. One that is still to come is the start, unless --at says otherwise (default: the start)")
	f.StringVar(&o.deadline, "deadline", "", "give up at that `time`, which is after the start (default: 24 hours after the start)")
	f.StringVar(&o.reason, "reason", "", "why, for the record")
	f.StringVar(&o.ticket, "ticket", "", "ticket, for the record")
	f.StringVar(&o.by, "requested-by", "", "who asks, for the record (default: the user of this session); over a server it is the name of the key, and this is refused")
	f.StringVar(&o.key, "idempotency-key", "", "makes sending the same again harmless")
	f.BoolVar(&o.skipInvalid, "skip-invalid", false, "leave bad rows out instead of refusing the whole list; the exit code is 3 then")
	f.BoolVar(&o.plan, "plan", false, "show who would be cut off and what would be held, as the cloud is now, and queue nothing")
	f.BoolVar(&o.json, "json", false, "print JSON")
	o.wait.flags(f)
	return cmd
}

func (p *Program) detach(ctx context.Context, args []string, o detachOptions) error {
	switch {
	case len(args) == 0 && o.file == "" && len(o.users)+len(o.computers) == 0:
		return usage("detachd detach --help shows how", "nothing was named: give desktop ids, --computer, --user or --file")
	case len(args)+len(o.computers) > 0 && len(o.users) > 0:
		return usage("for these desktops of theirs give --expected-user in place of --user; for both, run it twice",
			"--user means every desktop of a user, and desktop ids or computers were given as well")
	case len(args)+len(o.computers) == 0 && len(o.expected) > 0:
		return usage("for every desktop of theirs give --user; in a file, a column user", "--expected-user is about desktop ids and computers, and none was given")
	case o.file == "" && o.columns != leavers.Columns{}:
		return usage("give the file, too", "--user-column, --computer-column and --desktop-column are about a --file, and none was given")
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
	reqs, list, err := p.requests(ctx, c, args, o)
	if err != nil {
		return err
	}
	if o.plan {
		if err := p.plan(ctx, c, reqs, list, o.json); err != nil {
			return err
		}
		return leftOut(list, nil)
	}
	ops, err := p.enqueue(ctx, c, reqs)
	if err != nil {
		return err
	}
	p.warnOneCopy(ops)
	p.warnWithoutWorkers(ctx, c)
	p.sayHowLong(ctx, c, rowsByProject(ops))
	if o.wait.on {
		return leftOut(list, p.waitAndShow(ctx, c, ops, o.wait, o.json, readOf(list)))
	}
	if o.json {
		if err := printJSON(p.Stdout, detachView{p.view(ops), readOf(list)}); err != nil {
			return err
		}
		return leftOut(list, nil)
	}
	for _, op := range ops {
		p.out("operation %s: %s of project %s %s", op.ID, size(op), op.Project, fate(op, p.Now()))
	}
	p.say("look at it with: detachd status %s", ops[0].ID)
	return leftOut(list, nil)
}

// listView says in JSON what was not read of a list.
type listView struct {
	IgnoredColumns []string  `json:"ignored_columns,omitempty"`
	LeftOutRows    int       `json:"left_out_rows,omitempty"`
	LeftOut        []leftRow `json:"left_out,omitempty"` // the first 1,000
}

type leftRow struct {
	Line    int    `json:"line,omitempty"` // left out: an argument
	Problem string `json:"problem"`
}

// detachView is the JSON of detach.
type detachView struct {
	operationsView
	listView
}

func readOf(list *leavers.List) listView {
	v := listView{IgnoredColumns: list.Unknown, LeftOutRows: list.BadRows}
	for _, b := range list.Bad {
		v.LeftOut = append(v.LeftOut, leftRow(b))
	}
	return v
}

// leftOut makes a failure of rows that were left out, unless err is one that says
// more: nobody may take the list for done.
func leftOut(list *leavers.List, err error) error {
	var f *failure
	if list.BadRows == 0 || err != nil && !(errors.As(err, &f) && (f.code == exitHeld || f.code == exitFailed)) {
		return err
	}
	next := "correct the rows that are named above and hand them over by themselves"
	if f != nil {
		return fail(exitFailed, next+"; "+f.next, "%s left out of the list, and %w", were(list.BadRows, "row"), f.err)
	}
	return fail(exitFailed, next, "%s left out of the list", were(list.BadRows, "row"))
}

func were(n int, what string) string {
	if n == 1 {
		return "1 " + what + " was"
	}
	return strconv.Itoa(n) + " " + what + "s were"
}

// requests makes one request for each project that is named, or more where a
// server would not take it in one.
func (p *Program) requests(ctx context.Context, c *client, args []string, o detachOptions) ([]api.OperationRequest, *leavers.List, error) {
	at, err := parseStart(o.at, p.Now())
	if err != nil {
		return nil, nil, usage("mend --at", "--at %w", err)
	}
	due, err := parseWhen(o.due, p.Now())
	if err != nil {
		return nil, nil, usage("mend --due-at", "--due-at %w", err)
	}
	deadline, err := parseWhen(o.deadline, p.Now())
	if err != nil {
		return nil, nil, usage("mend --deadline", "--deadline %w", err)
	}
	projects, err := c.projects(ctx)
	if err != nil {
		return nil, nil, err
	}
	list, err := p.gather(projects, args, o)
	if err != nil {
		return nil, nil, err
	}
	reqs := list.Requests(api.OperationRequest{
		ShutoffAfterDetach: o.shutoff, Urgent: o.urgent, NotBefore: at, Deadline: deadline, DueAt: due,
		AllowShared: o.allowShared, UnknownUsers: o.unknownUsers, Reason: o.reason, Ticket: o.ticket, IdempotencyKey: o.key,
	})
	var out []api.OperationRequest
	for _, r := range reqs {
		if len(reqs) > 1 && o.key != "" {
			r.IdempotencyKey = o.key + "/" + r.Project
		}
		// Here, so that nothing is queued for one project if another's request is bad. The
		// times are the same for all, and those of what was accepted before may have passed.
		if err := r.Task(o.by).ValidateContent(func(alias string) bool { return slices.Contains(projects, alias) }); err != nil {
			return nil, nil, err
		}
		if c.remote {
			out = append(out, split(r, largestBody)...)
		} else {
			out = append(out, r)
		}
	}
	return out, list, nil
}

// gather reads arguments and file, and refuses the whole list if something in
// it is bad and may not be skipped.
func (p *Program) gather(projects, args []string, o detachOptions) (*leavers.List, error) {
	list := leavers.New(o.project, func(alias string) bool { return slices.Contains(projects, alias) })
	list.Columns = o.columns
	for _, x := range o.named(args) {
		if err := list.Add(x); err != nil {
			return nil, usage("give several lists, one after the other", "%w", err)
		}
	}
	if o.file != "" {
		if err := p.readFile(list, o.file); err != nil {
			return nil, usage(howToRead(err), "%s: %w", o.file, err)
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
		return nil, usage("name at least one desktop, computer or user", "no desktop is left to detach; nothing was queued")
	}
	return list, nil
}

// howToRead says what to do about a list that cannot be read.
func howToRead(err error) string {
	var unclear *leavers.ColumnError
	if !errors.As(err, &unclear) {
		return "correct it and run it again; nothing was queued"
	}
	flag := "--" + unclear.What + "-column"
	if len(unclear.Columns) == 0 {
		return "give the columns names, or take them out, or give " + flag + " - if none of them is meant; nothing was queued"
	}
	return fmt.Sprintf("give %s %q, or another of these columns, or %s - if none of them is meant; nothing was queued", flag, unclear.Columns[0], flag)
}

// named gives the leavers of the command line.
func (o detachOptions) named(ids []string) []leavers.Leaver {
	var out []leavers.Leaver
	for _, user := range o.users {
		out = append(out, leavers.Leaver{User: user})
	}
	var desktops []leavers.Leaver
	for _, id := range ids {
		desktops = append(desktops, leavers.Leaver{Desktop: id})
	}
	for _, name := range o.computers {
		desktops = append(desktops, leavers.Leaver{Computer: name})
	}
	for _, x := range desktops {
		if len(o.expected) == 0 {
			out = append(out, x)
		}
		for _, user := range o.expected {
			x.User = user
			out = append(out, x)
		}
	}
	return out
}

func (p *Program) readFile(list *leavers.List, name string) error {
	if name == "-" {
		return list.Read(p.Stdin)
	}
	f, err := os.Open(name)
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
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

// warnOneCopy says which operations a failover of Redis would lose.
func (p *Program) warnOneCopy(ops []tasks.Operation) {
	for _, op := range ops {
		if op.Durability == tasks.OneCopy {
			p.say("warning: operation %s is accepted, and no replica of Redis had it in time: if Redis fails over now it is lost. "+
				"Look for it later with detachd status %s; the same again with the same --idempotency-key is harmless", op.ID, op.ID)
		}
	}
}

// warnWithoutWorkers says when nobody is there to do the work. It is a service:
// when it cannot be found out, nothing is said.
func (p *Program) warnWithoutWorkers(ctx context.Context, c *client) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	workers, err := c.Workers(ctx)
	if err != nil || slices.ContainsFunc(workers, api.Worker.Alive) {
		return
	}
	p.say("note: no worker is running; the desktops stay queued until one is started (detachd worker)")
}
