package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/detachd/detachd/cmd/internal/leavers"
	"github.com/detachd/detachd/cmd/internal/when"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// detachOptions are the flags of detach.
type detachOptions struct {
	file, project, at, due, deadline string
	lastDay, zone                    string
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
		Short: "Detach desktops from their users",
		Long: `Submits desktops, computers by name, or users with all their desktops; workers
detach them. A file is CSV with a header row, in which a column names desktops
(desktop_id, id), computers (computer, host name, VM, …) or users (user, login,
e-mail, owner, …), and optionally projects; also in German, French, Spanish and
Chinese. Each project becomes an operation of its own. If one row is invalid,
nothing is queued, unless --skip-invalid is given. Columns that cannot name the
owner of a desktop are ignored and listed; if several columns may name the owner,
the list is refused until --user-column names the right one.

Who loses access: every desktop is read before it is sent. A desktop with a user (a
user column beside desktops or computers, or --expected-user) is detached from that
user only; if it belongs to somebody else, it is put on hold, with both names. A
user alone (only a user column, or --user) means every desktop of exactly that user
name when the operation runs. A computer name (a column, or --computer) means the
one desktop of that name at that time. Desktops of several users without a named
user, and desktops that are hibernated, frozen or in maintenance, are put on hold.

What was shown is what runs: --plan prints the hash of the plan, and --plan HASH
runs exactly that within an hour. A desktop that has other users than it showed is
put on hold, and so is one that a user got since.

"accepted" in the results means accepted by the cloud; the desktop is then followed
until its state is confirmed "detached" or it is "failed".`,
		Example: `  detachd detach --project hq 8f0e0c9a-4f4e-4c5b-9c53-0d0f5a3a2b11 --expected-user zoe
  detachd detach --project hq --user zoe --due-at 2026-11-30T18:00:00+08:00 --ticket HR-4711   # starts then
  detachd detach --project hq --user zoe --last-day 2026-11-30 --zone Asia/Singapore --ticket HR-4711
  detachd detach --file leavers.csv --project hq --ticket HR-4711 --wait
  detachd detach --file leavers.csv --project hq --plan
  detachd detach --plan 7d1f6d0f5c2f8f0b6f1c3a4b5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f80 --ticket HR-4711
  report | detachd detach --file - --at "2026-11-30 18:00" --idempotency-key leavers-2026-11`,
		RunE: p.run(func(cmd *cobra.Command, args []string) error {
			if o.plan && slices.ContainsFunc(args, isHash) {
				return p.runPlans(cmd.Context(), args, o, cmd.Flags())
			}
			return p.detach(cmd.Context(), args, o)
		}),
	}
	o.flags(p, cmd.Flags())
	return cmd
}

func (o *detachOptions) flags(p *Program, f *pflag.FlagSet) {
	f.StringVar(&o.file, "file", "", "CSV `file` of leavers, - for stdin")
	f.StringVar(&o.project, "project", "", "project `alias` of all desktops without a project in the file")
	f.StringArrayVar(&o.users, "user", nil, "`name` of a leaver: detach all their desktops; may be repeated")
	f.StringArrayVar(&o.computers, "computer", nil, "`name` of a computer: detach the desktop of that name; may be repeated")
	f.StringArrayVar(&o.expected, "expected-user", nil,
		"`name` of the user who must have the desktops and computers given as arguments or --computer; may be repeated")
	f.StringVar(&o.unknownUsers, "unknown-users", "", "users unknown to Workspace: `hold or ignore` (default: as the project is configured)")
	f.StringVar(&o.columns.User, "user-column", "", "`name` of the file's column of users, - for none (default: by its name)")
	f.StringVar(&o.columns.Computer, "computer-column", "", "`name` of the file's column of computers, - for none (default: by its name)")
	f.StringVar(&o.columns.Desktop, "desktop-column", "", "`name` of the file's column of desktop ids, - for none (default: by its name)")
	f.BoolVar(&o.allowShared, "allow-shared", false, "detach desktops of several users from all of them, if no user is named")
	f.BoolVar(&o.shutoff, "shutoff", false, "shut the desktops down once they are detached")
	f.BoolVar(&o.urgent, "urgent", false, "run ahead of bulk work")
	f.StringVar(&o.at, "at", "", "start `time`: "+when.Example+", or now. Without an offset it is local;\n"+
		"a date alone is its 00:00, a time alone the next one (default: --due-at if that is in the future, else at once)")
	f.StringVar(&o.due, "due-at", "", "remove access by this `time`, in the forms of --at. In the future, it is also the start,\n"+
		"unless --at is given (default: the start)")
	f.StringVar(&o.lastDay, "last-day", "", "remove access at the end of this last working `date`, such as 2026-11-30,\n"+
		"in place of --at and --due-at")
	f.StringVar(&o.zone, "zone", "", "`zone` of --last-day, such as Asia/Singapore (default: that of the project)")
	f.StringVar(&o.deadline, "deadline", "", "give up at this `time`, which must be after the start (default: 24 hours after the start)")
	f.StringVar(&o.reason, "reason", "", "`reason`, for the record")
	f.StringVar(&o.ticket, "ticket", "", "`ticket`, for the record")
	f.StringVar(&o.by, "requested-by", "", "`name` of the requester, for the record (default: the user of this session).\n"+
		"Not with a server, which records the name of the key")
	f.StringVar(&o.key, "idempotency-key", "", "`name` of this request, so that repeating it is safe (default: a new one, which is printed)")
	f.BoolVar(&o.skipInvalid, "skip-invalid", false, "skip invalid rows instead of refusing the whole list; the exit code is then 3")
	f.BoolVar(&o.plan, "plan", false, "show who would lose access and what would be put on hold, and queue nothing.\n"+
		"With the hash of such a plan, or several, as arguments: run exactly that")
	f.BoolVar(&o.json, "json", false, "print JSON")
	p.outputFlag(f)
	o.wait.flags(f)
}

// newKey makes an idempotency key.
func newKey() string { return "detach-" + strings.ToLower(rand.Text()) }

// check refuses flags and arguments that contradict each other.
func (o detachOptions) check(args []string) error {
	switch {
	case len(args) == 0 && o.file == "" && len(o.users)+len(o.computers) == 0:
		return usage("detachd detach --help shows examples", "nothing to detach: give desktop ids, --computer, --user or --file")
	case len(args)+len(o.computers) > 0 && len(o.users) > 0:
		return usage("for these desktops only, use --expected-user instead of --user; for both, run two commands",
			"--user means all desktops of a user and cannot be combined with desktop ids or --computer")
	case len(args)+len(o.computers) == 0 && len(o.expected) > 0:
		return usage("for all desktops of a user, use --user; in a file, use a column user",
			"--expected-user requires desktop ids or --computer")
	case o.file == "" && o.columns != leavers.Columns{}:
		return usage("add --file", "--user-column, --computer-column and --desktop-column require --file")
	case o.lastDay != "" && o.at+o.due != "":
		return usage("remove the others", "--last-day says the start and the due time, and --at or --due-at is given as well")
	case o.zone != "" && o.lastDay == "":
		return usage("add --last-day", "--zone is the zone of --last-day")
	case o.plan && o.wait.on:
		return usage("remove one of them", "--plan queues nothing, so there is nothing to --wait for")
	}
	return o.wait.check()
}

func (p *Program) detach(ctx context.Context, args []string, o detachOptions) error {
	if err := o.check(args); err != nil {
		return err
	}
	c, err := p.connect(o.by)
	if err != nil {
		return err
	}
	defer c.close()
	made := o.key == "" && !o.plan
	if made {
		o.key = newKey()
	}
	reqs, list, err := p.requests(ctx, c, args, o)
	if err != nil {
		return err
	}
	if o.plan {
		if err := p.plan(ctx, c, reqs, list, o); err != nil {
			return err
		}
		return skippedRows(list, nil)
	}
	return p.submit(ctx, c, reqs, list, o, made)
}

// submit creates the operations of requests, and follows them if wanted. made says that the
// idempotency key is new.
func (p *Program) submit(
	ctx context.Context, c *client, reqs []api.OperationRequest, list *leavers.List, o detachOptions, made bool,
) error {
	if made {
		p.note("idempotency key: %s", o.key)
	}
	ops, err := p.enqueue(ctx, c, reqs, o.key)
	if err != nil {
		return err
	}
	p.warnOneCopy(ops, o.key)
	p.warnWithoutWorkers(ctx, c)
	p.sayLongest(ops)
	if o.wait.on {
		return skippedRows(list, p.waitAndShow(ctx, c, ops, o.wait, o.json, readOf(list)))
	}
	if o.json {
		if err := printJSON(p.Stdout, p.detachView(ops, readOf(list))); err != nil {
			return err
		}
		return skippedRows(list, nil)
	}
	for _, op := range ops {
		p.out("operation %s: %s of project %s %s", op.ID, size(op), op.Project, schedule(op, p.Now()))
	}
	for _, op := range ops {
		p.note("follow it with: detachd status %s", op.ID)
	}
	return skippedRows(list, nil)
}

// listView is the JSON of what was ignored or skipped in a list.
type listView struct {
	IgnoredColumns []string     `json:"ignored_columns,omitempty"`
	SkippedRows    int          `json:"skipped_rows,omitempty"`
	Skipped        []skippedRow `json:"skipped,omitempty"` // the first 1,000
}

type skippedRow struct {
	Line    int    `json:"line,omitempty"` // omitted for an argument
	Problem string `json:"problem"`
}

// detachView is the JSON of detach.
type detachView struct {
	api.Page[api.OperationState]
	listView
}

func (p *Program) detachView(ops []tasks.Operation, list listView) detachView {
	return detachView{p.view(api.Page[tasks.Operation]{Items: ops}), list}
}

func readOf(list *leavers.List) listView {
	v := listView{IgnoredColumns: list.Unknown, SkippedRows: list.BadRows}
	for _, b := range list.Bad {
		v.Skipped = append(v.Skipped, skippedRow(b))
	}
	return v
}

// skippedRows fails if rows were skipped, so that the list does not pass for complete,
// unless err is a more serious failure.
func skippedRows(list *leavers.List, err error) error {
	var f *failure
	if list.BadRows == 0 || err != nil && !(errors.As(err, &f) && (f.code == exitHeld || f.code == exitFailed)) {
		return err
	}
	next, skipped := "correct the rows listed above and submit only those", plural(list.BadRows, "row was skipped", "rows were skipped")
	if f != nil {
		return fail(exitFailed, next+"; "+f.next, "%s, and %w", skipped, f.err)
	}
	return fail(exitFailed, next, "%s", skipped)
}

// requests makes one request for each project, or several if it is too large for the
// server.
func (p *Program) requests(ctx context.Context, c *client, args []string, o detachOptions) ([]api.OperationRequest, *leavers.List, error) {
	at, err := p.parseStart(o.at)
	if err != nil {
		return nil, nil, err
	}
	due, err := p.parseTime("--due-at", o.due, when.Next)
	if err != nil {
		return nil, nil, err
	}
	deadline, err := p.parseTime("--deadline", o.deadline, when.Next)
	if err != nil {
		return nil, nil, err
	}
	projects, err := c.projects(ctx)
	if err != nil {
		return nil, nil, err
	}
	list, err := p.gather(projects, args, o)
	if err != nil {
		return nil, nil, err
	}
	var day *api.LastWorkingDay
	if o.lastDay != "" {
		day = &api.LastWorkingDay{Date: o.lastDay, Zone: o.zone}
	}
	reqs := list.Requests(api.OperationRequest{
		ShutoffAfterDetach: o.shutoff, Urgent: o.urgent, NotBefore: at, Deadline: deadline, DueAt: due, LastWorkingDay: day,
		AllowShared: o.allowShared, UnknownUsers: o.unknownUsers, Reason: o.reason, Ticket: o.ticket, IdempotencyKey: o.key,
	})
	var out []api.OperationRequest
	for _, r := range reqs {
		if len(reqs) > 1 && o.key != "" {
			r.IdempotencyKey = o.key + "/" + r.Project
		}
		// Checked here, so that nothing is queued for one project if another request is
		// invalid. Times are not checked: all have the same, and those of a repeat may have passed.
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

// gather reads arguments and file. It refuses the whole list if a row is invalid and
// may not be skipped.
func (p *Program) gather(projects, args []string, o detachOptions) (*leavers.List, error) {
	list := leavers.New(o.project, func(alias string) bool { return slices.Contains(projects, alias) })
	list.Columns, list.AnyDate = o.columns, o.plan || o.at+o.due+o.lastDay != ""
	for _, x := range o.named(args) {
		if err := list.Add(x); err != nil {
			return nil, usage("submit several smaller lists", "%w", err)
		}
	}
	if o.file != "" {
		if err := p.readFile(list, o.file); errors.Is(err, context.Canceled) {
			return nil, err
		} else if err != nil {
			return nil, usage(howToRead(err), "%s: %w", o.file, err)
		}
	}
	if len(list.Unknown) > 0 {
		p.note("ignored columns: %s", printable(strings.Join(list.Unknown, ", ")))
	}
	for _, note := range list.Notes() {
		p.note("%s", printable(note))
	}
	if list.BadRows > 0 {
		if err := p.badRows(projects, list, o.skipInvalid); err != nil {
			return nil, err
		}
	}
	if len(list.Good) == 0 {
		return nil, usage("give at least one valid desktop, computer or user", "there is nothing to detach; nothing was queued")
	}
	return list, nil
}

// howToRead gives the next step for a list that cannot be read.
func howToRead(err error) string {
	var unclear *leavers.ColumnError
	if !errors.As(err, &unclear) {
		return "correct it and run it again; nothing was queued"
	}
	flag := "--" + unclear.What + "-column"
	if len(unclear.Columns) == 0 {
		return "name the columns, or remove them, or use " + flag + " - for none of them; nothing was queued"
	}
	return fmt.Sprintf("use %s %q or another of these columns, or %s - for none of them; nothing was queued", flag, unclear.Columns[0], flag)
}

// named gives the leavers of arguments and flags.
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

// badRows prints what is wrong with the list. It is an error unless bad rows may be
// skipped.
func (p *Program) badRows(projects []string, list *leavers.List, skip bool) error {
	const most = 20
	for _, b := range list.Bad[:min(most, len(list.Bad))] {
		p.say("%s", printable(b.String()))
	}
	if list.BadRows > most {
		p.say("… and %d more", list.BadRows-most)
	}
	if skip {
		p.say("skipped: %s; valid rows: %d", count(list.BadRows, "invalid row"), len(list.Good))
		return nil
	}
	next := "correct these rows, or skip them with --skip-invalid"
	if list.Early > 0 {
		next += ", or give a time for all rows: --at now, --last-day or --due-at"
	}
	return usage(next+"; --project sets one project for the whole list, configured: "+
		strings.Join(projects, ", "), "%s invalid; nothing was queued", share(list.BadRows, list.BadRows+len(list.Good), "row"))
}

// enqueue submits the requests one after the other. key is the idempotency key of them all.
func (p *Program) enqueue(ctx context.Context, c *client, reqs []api.OperationRequest, key string) ([]tasks.Operation, error) {
	var ops []tasks.Operation
	for _, req := range reqs {
		op, err := c.CreateOperation(ctx, req)
		if err == nil {
			ops = append(ops, op)
			continue
		}
		for _, done := range ops {
			p.say("already queued: operation %s, %s of project %s", done.ID, size(done), done.Project)
		}
		f := explain(err)
		if len(ops) > 0 || f.code != exitUsage {
			f.next += "; to repeat it safely, whatever was queued, add --idempotency-key " + printable(key)
		}
		what := "project " + req.Project
		if req.Plan != "" {
			what = "plan " + req.Plan[:12]
		}
		return nil, &failure{f.code, fmt.Errorf("%s: %w", what, f.err), f.next}
	}
	return ops, nil
}

// requestedBy is the requester to record: as given, or else the user of this session.
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

// person is the user of this session, for the audit log. The environment does not count:
// anybody can set it.
func (p *Program) person() string {
	u, err := user.Current()
	if err != nil {
		return p.requestedBy("")
	}
	return u.Username
}

// warnOneCopy warns of operations that a failover of Redis would lose.
func (p *Program) warnOneCopy(ops []tasks.Operation, key string) {
	for _, op := range ops {
		if op.Durability == tasks.OneCopy {
			p.say("warning: operation %s is accepted, but no replica of Redis confirmed it in time: a failover now would lose it. "+
				"Check later with detachd status %s; repeating the command with --idempotency-key %s is safe", op.ID, op.ID, printable(key))
		}
	}
}

// warnWithoutWorkers prints a note if no worker runs. The check is optional: if it
// fails, nothing is printed.
func (p *Program) warnWithoutWorkers(ctx context.Context, c *client) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	workers, err := c.Workers(ctx)
	if err != nil || slices.ContainsFunc(workers, api.Worker.Alive) {
		return
	}
	p.say("note: no worker is running; the desktops stay queued until one starts (detachd worker)")
}
