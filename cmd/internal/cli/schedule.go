package cli

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/detachd/detachd/cmd/internal/when"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

func (p *Program) scheduleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schedule",
		Short: "Run detaches at the times of cron expressions",
		Example: `  detachd schedule add leavers --project hq --cron "0 18 * * FRI" --zone Europe/Berlin --file "leavers-*.csv"
  detachd schedule show leavers
  detachd schedule pause leavers --reason "the office is closed"`,
		Long: `A schedule makes an operation at every tick of a cron expression in a time zone.
Workers run it, each tick once, whatever process dies. Schedules of the configuration
(schedules:) can be changed only there, but paused, skipped and run from here.

Documentation: https://github.com/detachd/detachd/blob/main/docs/schedules.md`,
	}
	return addSubcommands(cmd, p.scheduleAddCommand(), p.scheduleListCommand(), p.scheduleShowCommand(), p.scheduleNextCommand(),
		p.scheduleRunCommand(), p.schedulePauseCommand(), p.scheduleResumeCommand(), p.scheduleSkipCommand(), p.scheduleRemoveCommand(),
		p.scheduleCheckCommand())
}

// scheduleFlags are the flags of schedule add.
type scheduleFlags struct {
	req        api.ScheduleRequest
	start, end string
	missed     string
	overlap    string
	catchUp    string
	selector   tasks.Selector
	usersAre   string
	notIn      tasks.NotIn
	cameBack   string
	dryRun     bool
	json       bool
}

func (p *Program) scheduleAddCommand() *cobra.Command {
	var o scheduleFlags
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a schedule, and show its next runs",
		Example: `  detachd schedule add leavers --project hq --cron "0 18 * * FRI" --zone Europe/Berlin --file "leavers-*.csv"
  detachd schedule add unused --project hq --cron @weekly --pool e7d3c1f0-5b0a-4d5e-9b1c-2f6f0a7c8d90 --unused-days 90
  detachd schedule add staff --project hq --cron "0 6 * * *" --not-in staff.csv --rows 5000
  detachd schedule add back --project hq --cron @daily --came-back 30d --dry-run`,
		Long: `The cron expression has five fields: minute, hour, day of the month, month, day of
the week; or it is @hourly, @daily, @weekly, @monthly or @yearly. A day of the month
and a day of the week together mean either, as in crontab. The next runs are printed,
with what the clocks of the zone do then.

Name one source: rows (--desktop, --user, --computer); --file; a selector (--pool,
--tag, --pattern, --unused-days, --users-are: all must match); --not-in, also with
a selector; --came-back. Files are on the machines of the workers, and their names
relative to worker.lists of the configuration. Each content of a file runs once.`,
		Args: needs("NAME", "detachd schedule list"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			o.req.Name = args[0]
			if err := p.completeSchedule(&o); err != nil {
				return err
			}
			add := c.AddSchedule
			if o.dryRun {
				add = c.ValidateSchedule
			}
			added, err := add(cmd.Context(), o.req)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(p.Stdout, added)
			}
			done := "added"
			if o.dryRun {
				done = "is valid, and was not added"
			}
			p.out("schedule %s %s: %s", added.Name, done, printable(added.Text()))
			if err := p.showTicks(added, added.Next); err != nil {
				return err
			}
			if !o.dryRun {
				p.warnWithoutWorkers(cmd.Context(), c)
			}
			return nil
		}),
	}
	o.flags(cmd.Flags())
	p.outputFlag(cmd.Flags())
	return cmd
}

func (o *scheduleFlags) flags(f *pflag.FlagSet) {
	r := &o.req
	f.StringVar(&r.Project, "project", "", "project `alias`; required")
	f.StringVar(&r.Cron, "cron", "", "cron `expression`, such as \"0 18 * * FRI\" or @daily; required")
	f.StringVar(&r.Zone, "zone", "", "its time `zone`, such as Europe/Berlin (default UTC)")
	f.StringArrayVar(&r.Source.Desktops, "desktop", nil, "`id` of a desktop; may be repeated")
	f.StringArrayVar(&r.Source.Users, "user", nil, "`name` of a leaver; may be repeated")
	f.StringArrayVar(&r.Source.Computers, "computer", nil, "`name` of a computer; may be repeated")
	f.StringVar(&r.Source.File, "file", "", "list of leavers, or a `pattern` of several, below worker.lists on the machines of the workers")
	f.StringVar(&o.selector.Pool, "pool", "", "desktops of the pool with this `id`")
	f.StringVar(&o.selector.Tag, "tag", "", "desktops with this `tag`: key=value, or key for any value")
	f.StringVar(&o.selector.Computer, "pattern", "",
		"desktops whose computer name matches this `pattern`: * any characters, ? one, [a-z] one of these")
	f.IntVar(&o.selector.UnusedDays, "unused-days", 0, "desktops that nobody has used for this `number` of days")
	f.StringVar(&o.usersAre, "users-are", "", "desktops all of whose users are `locked or missing`")
	f.StringVar(&o.notIn.File, "not-in", "", "desktops none of whose users is in this `list` of those who stay, below worker.lists")
	f.IntVar(&o.notIn.AtLeast, "at-least", 0, "with --not-in: the list must have this `percentage` of the last time's rows (default 80)")
	f.IntVar(&o.notIn.Rows, "rows", 0,
		"with --not-in: the `number` of rows expected the first time; without it the first run only counts them")
	f.StringVar(&o.cameBack, "came-back", "", "desktops of people who were detached within this `duration`, such as 30d, and have one again")
	f.StringVar(&r.UnknownUsers, "unknown-users", "", "users whom Workspace does not know: `hold or ignore` (default: that of the project)")
	f.BoolVar(&r.AllowShared, "allow-shared", false, "detach shared desktops from all users")
	f.BoolVar(&r.ShutoffAfterDetach, "shutoff", false, "shut the desktops down afterwards")
	f.BoolVar(&r.Urgent, "urgent", false, "before everything else of the project")
	f.StringVar(&r.Reason, "reason", "", "`reason` of the operations")
	f.StringVar(&r.Ticket, "ticket", "", "`ticket` of the operations")
	f.StringVar(&o.start, "start", "", "no run before this `time`, in the zone of the schedule")
	f.StringVar(&o.end, "end", "", "no run after this `time`, in the zone of the schedule")
	f.StringVar(&o.missed, "missed", "", "runs that no process made in time: `once or skip`; once makes the latest (default once)")
	f.StringVar(&o.catchUp, "catch-up", "", "how late such a run may be, as a `duration` such as 6h (default 12h)")
	f.StringVar(&o.overlap, "overlap", "", "while the last run has not finished: `skip or allow` (default skip)")
	f.BoolVar(&r.PauseOnFailure, "pause-on-failure", false, "pause it after a run that failed")
	f.StringVar(&r.Note, "note", "", "why it exists, kept with it and in the audit log: a `text`")
	f.BoolVar(&o.dryRun, "dry-run", false, "check everything and show the next runs, and add nothing")
	f.BoolVar(&o.json, "json", false, "print JSON")
}

// completeSchedule makes the request of the flags.
func (p *Program) completeSchedule(o *scheduleFlags) (err error) {
	o.selector.User = tasks.SelectedUser(o.usersAre)
	o.req.Missed, o.req.Overlap = tasks.ScheduleMissed(o.missed), tasks.ScheduleOverlap(o.overlap)
	selector := &o.selector
	if o.selector == (tasks.Selector{}) {
		selector = nil
	}
	switch {
	case o.notIn.File != "":
		o.notIn.Selector = selector
		o.req.Source.NotIn = &o.notIn
	case o.notIn != (tasks.NotIn{}):
		return usage("add --not-in, or remove them", "--at-least and --rows are about the list of --not-in")
	default:
		o.req.Source.Selector = selector
	}
	if o.cameBack != "" {
		since, err := parseDuration("--came-back", o.cameBack)
		if err != nil {
			return err
		}
		o.req.Source.CameBack = &tasks.CameBack{Since: since}
	}
	if o.catchUp != "" {
		if o.req.CatchUp, err = parseDuration("--catch-up", o.catchUp); err != nil {
			return err
		}
	}
	zone, err := time.LoadLocation(cmp.Or(o.req.Zone, "UTC"))
	if err != nil {
		return usage("use a name such as Europe/Berlin or Asia/Shanghai", "unknown time zone %s", shown(o.req.Zone))
	}
	if o.req.Start, err = p.parseTimeIn(zone, "--start", o.start, when.Next); err != nil {
		return err
	}
	o.req.End, err = p.parseTimeIn(zone, "--end", o.end, when.Next)
	return err
}

func parseDuration(flag, text string) (d tasks.Duration, err error) {
	if err := d.UnmarshalText([]byte(text)); err != nil {
		return 0, usage("correct "+flag+" and run the command again", "%s: %w", flag, err)
	}
	return d, nil
}

func (p *Program) scheduleListCommand() *cobra.Command {
	var project string
	cmd := listing(p, &cobra.Command{
		Use:     "list",
		Short:   "List the schedules, each with its last and its next run",
		Example: "  detachd schedule list --project hq",
	}, "there are no schedules", scheduleTable,
		func(ctx context.Context, c *client, size int, token string) ([]tasks.ScheduleView, string, error) {
			return c.Schedules(ctx, project, size, token)
		})
	cmd.Flags().StringVar(&project, "project", "", "only this project `alias`")
	return cmd
}

func scheduleTable(all ...tasks.ScheduleView) *table {
	t := &table{
		header: []string{"SCHEDULE", "PROJECT", "WHEN", "STATE", "NEXT", "LAST", "RESULT", "ADDED BY", "SOURCE"},
		less:   []string{"ADDED BY", "PROJECT", "WHEN"},
	}
	for _, x := range all {
		next, last, result, by := "", "", "", x.By
		if len(x.Next) > 0 {
			next = inZone(x.Schedule, x.Next[0].At)
		}
		if len(x.Runs) > 0 {
			last, result = inZone(x.Schedule, x.Runs[0].At), string(x.Runs[0].Result)
		}
		if x.Configured {
			by = "configuration"
		}
		t.add(x.Name, x.Project, strings.TrimSpace(x.Cron+" "+x.Zone), scheduleState(x), next, last, result, by, x.Source.String())
	}
	return t
}

// scheduleState says in a word or two whether a schedule runs.
func scheduleState(x tasks.ScheduleView) string {
	switch {
	case x.Paused != nil:
		return "paused"
	case len(x.Next) == 0:
		return "ended"
	case x.Skip != nil:
		return "skips the next"
	}
	return "on"
}

// inZone formats a time as the clocks in the zone of a schedule show it, with its weekday.
func inZone(s tasks.Schedule, t time.Time) string {
	zone, err := time.LoadLocation(s.Zone)
	if err != nil { // of another version
		return clock(t)
	}
	return t.In(zone).Format("Mon ") + when.Show(t.In(zone))
}

func (p *Program) scheduleShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show SCHEDULE",
		Short:   "Show a schedule: what it is for, its last runs and its next ones",
		Example: "  detachd schedule show leavers",
		Args:    needs("SCHEDULE", "detachd schedule list"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			x, err := c.Schedule(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(p.Stdout, x)
			}
			p.saySchedule(x)
			if err := p.showTicks(x, x.Next); err != nil || len(x.Runs) == 0 {
				return err
			}
			p.out("")
			return p.show(runTable(x))
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	p.outputFlag(cmd.Flags())
	return cmd
}

// saySchedule says what a schedule is, and what people decided about it.
func (p *Program) saySchedule(x tasks.ScheduleView) {
	p.out("schedule %s of project %s: %s", printable(x.Name), printable(x.Project), printable(x.Text()))
	if x.Note != "" {
		p.out("note: %s", printable(x.Note))
	}
	if x.Configured {
		p.out("in the configuration: change it there, and restart workers and servers")
	} else {
		p.out("added by %s at %s", printable(x.By), clock(x.At))
	}
	if len(optionsOf(x.Schedule)) > 0 {
		p.out("options: %s", printable(strings.Join(optionsOf(x.Schedule), ", ")))
	}
	if s := x.Paused; s != nil {
		p.out("paused by %s at %s%s", printable(s.By), clock(s.At), reasonOf(s.Note))
	}
	if s := x.Skip; s != nil {
		p.out("the run of %s is skipped, by %s%s", inZone(x.Schedule, s.Tick.At), printable(s.By), reasonOf(s.Note))
	}
	n := x.Counts
	p.out("%s: %d found nobody, %d failed, %d skipped, %d missed, %d shifted",
		count(n.Runs, "run"), n.Nothing, n.Failed, n.Skipped, n.Missed, n.Shifted)
	p.out("")
}

func reasonOf(note string) string {
	if note == "" {
		return ""
	}
	return ": " + printable(note)
}

// optionsOf lists how a schedule differs from a plain one.
func optionsOf(s tasks.Schedule) (out []string) {
	for _, x := range []struct {
		text  string
		given bool
	}{
		{"unknown users " + s.UnknownUsers, s.UnknownUsers != ""}, {"shared desktops too", s.AllowShared},
		{"shut down afterwards", s.ShutoffAfterDetach}, {"urgent", s.Urgent},
		{"reason " + s.Reason, s.Reason != ""}, {"ticket " + s.Ticket, s.Ticket != ""},
		{"from " + clock(s.Start), !s.Start.IsZero()}, {"until " + clock(s.End), !s.End.IsZero()},
		{"missed runs are skipped", s.Missed == tasks.MissedSkip},
		{"missed runs up to " + s.CatchUp.String() + " late", s.Missed != tasks.MissedSkip && s.CatchUp != tasks.DefaultCatchUp},
		{"runs overlap", s.Overlap == tasks.OverlapAllow}, {"paused after a failure", s.PauseOnFailure},
	} {
		if x.given {
			out = append(out, x.text)
		}
	}
	return out
}

func runTable(x tasks.ScheduleView) *table {
	t := &table{
		header: []string{"SCHEDULED", "RAN", "RESULT", "ROWS", "OPERATIONS", "ASKED BY", "WHY"},
		less:   []string{"ROWS", "ASKED BY", "RAN"},
	}
	for _, r := range x.Runs {
		rows := ""
		if r.Rows > 0 {
			rows = strconv.Itoa(r.Rows)
		}
		var why []string
		for _, text := range []string{r.Why, r.Note} {
			if text != "" {
				why = append(why, text)
			}
		}
		if r.Missed > 0 {
			why = append(why, count(r.Missed, "run")+" before it missed")
		}
		t.add(inZone(x.Schedule, r.Scheduled), clock(r.At), string(r.Result), rows, strings.Join(r.Operations, " "), r.By,
			strings.Join(why, ", "))
	}
	return t
}

// showTicks shows when a schedule runs, in its zone and in that of the reader.
func (p *Program) showTicks(x tasks.ScheduleView, ticks []tasks.ScheduleTick) error {
	if len(ticks) == 0 {
		p.say("there are no further runs: correct --end, or the expression")
		return nil
	}
	t := &table{header: []string{"NEXT", "HERE", "CLOCKS"}}
	for _, tick := range ticks {
		mark := markText(tick)
		if x.Skip != nil && x.Skip.Tick.ID == tick.ID {
			mark = strings.TrimPrefix(mark+", skipped", ", ")
		}
		t.add(inZone(x.Schedule, tick.At), clock(tick.At), mark)
	}
	return p.show(t)
}

// markText says what the clocks of the zone do at a tick.
func markText(t tasks.ScheduleTick) string {
	_, wall, _ := strings.Cut(t.Wall, "T")
	wall = wall[:min(len(wall), len("15:04"))]
	switch t.Mark {
	case "shifted":
		return "shifted: the clocks skip " + wall
	case "first_of_two":
		return "the first of two " + wall
	case "second_of_two":
		return "the second of two " + wall
	}
	return t.Mark
}

func (p *Program) scheduleNextCommand() *cobra.Command {
	var in api.TicksRequest
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "next [SCHEDULE]",
		Short: "Show the next runs of a schedule, or of an expression",
		Example: `  detachd schedule next leavers --count 20
  detachd schedule next --cron "30 2 * * *" --zone Europe/Berlin --count 100`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return needs("SCHEDULE", "detachd schedule list")(cmd, args)
		},
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) (err error) {
			var x tasks.ScheduleView
			var ticks []tasks.ScheduleTick
			switch {
			case (len(args) == 0) == (in.Cron == ""), in.Cron == "" && in.Zone != "":
				return usage("give the name of a schedule (see detachd schedule list), or --cron, with --zone",
					"SCHEDULE or --cron is missing, or both are given")
			case in.Cron != "":
				x.Zone = cmp.Or(in.Zone, "UTC")
				ticks, err = c.PreviewTicks(cmd.Context(), in)
			default:
				if x, err = c.Schedule(cmd.Context(), args[0]); err == nil {
					ticks, err = c.NextTicks(cmd.Context(), args[0], in.Count)
				}
			}
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(p.Stdout, api.Page[tasks.ScheduleTick]{Items: ticks})
			}
			if x.Paused != nil {
				p.say("the schedule is paused: none of these happens until detachd schedule resume %s", printable(x.Name))
			}
			return p.showTicks(x, ticks)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&in.Cron, "cron", "", "cron `expression`")
	f.StringVar(&in.Zone, "zone", "", "with --cron: the time `zone` (default UTC)")
	f.IntVar(&in.Count, "count", 10, "`number` of runs, 1 to 100")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	p.outputFlag(f)
	return cmd
}

func (p *Program) scheduleRunCommand() *cobra.Command {
	var reason, key string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "run SCHEDULE",
		Short:   "Run a schedule now, besides its times",
		Long:    "A worker begins the run within a few seconds, also if the schedule is paused.",
		Example: `  detachd schedule run leavers --reason "HR has sent another list"`,
		Args:    needs("SCHEDULE", "detachd schedule list"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			asked, err := c.RunSchedule(cmd.Context(), args[0], reason, key)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(p.Stdout, asked)
			}
			p.out("run %s asked for", printable(asked.Run))
			p.note("see what became of it with: detachd schedule show %s", printable(asked.Schedule))
			p.warnWithoutWorkers(cmd.Context(), c)
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVar(&reason, "reason", "", "`reason`, kept with the run and in the audit log")
	f.StringVar(&key, "idempotency-key", "",
		"`text` that identifies this run: repeating the command with it runs once, until the run has ended")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// decided makes a command that decides something about a schedule and prints it.
func (p *Program) decided(
	cmd *cobra.Command, reason string, do func(ctx context.Context, c *client, name, reason string) (tasks.ScheduleView, error),
	say func(tasks.ScheduleView),
) *cobra.Command {
	var why string
	var asJSON bool
	cmd.Args = needs("SCHEDULE", "detachd schedule list")
	cmd.RunE = p.ask(func(cmd *cobra.Command, c *client, args []string) error {
		x, err := do(cmd.Context(), c, args[0], why)
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(p.Stdout, x)
		}
		say(x)
		return nil
	})
	cmd.Flags().StringVar(&why, "reason", "", reason)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

const (
	reasonNeeded = "`reason`, kept in the audit log; required"
	reasonKept   = "`reason`, kept in the audit log"
)

func (p *Program) schedulePauseCommand() *cobra.Command {
	return p.decided(&cobra.Command{
		Use:     "pause SCHEDULE",
		Short:   "Skip the runs of a schedule until it is resumed",
		Long:    "A run that has begun goes on: cancel its operations, if they must not.",
		Example: `  detachd schedule pause leavers --reason "the office is closed"`,
	}, reasonNeeded, func(ctx context.Context, c *client, name, reason string) (tasks.ScheduleView, error) {
		return c.PauseSchedule(ctx, name, reason)
	}, func(x tasks.ScheduleView) {
		p.out("schedule %s paused", printable(x.Name))
		p.note("what it made before goes on: detachd list shows it")
	})
}

func (p *Program) scheduleResumeCommand() *cobra.Command {
	return p.decided(&cobra.Command{
		Use:     "resume SCHEDULE",
		Short:   "End a pause; runs that were skipped meanwhile do not happen",
		Example: "  detachd schedule resume leavers",
	}, reasonKept, func(ctx context.Context, c *client, name, reason string) (tasks.ScheduleView, error) {
		return c.ResumeSchedule(ctx, name, reason)
	}, func(x tasks.ScheduleView) { p.out("schedule %s resumed%s", printable(x.Name), nextText(x)) })
}

// nextText says when a schedule runs next.
func nextText(x tasks.ScheduleView) string {
	if len(x.Next) == 0 {
		return "; it has no further runs"
	}
	return "; it runs next " + inZone(x.Schedule, x.Next[0].At)
}

func (p *Program) scheduleSkipCommand() *cobra.Command {
	var undo bool
	cmd := p.decided(&cobra.Command{
		Use:   "skip-next SCHEDULE",
		Short: "Skip the next run of a schedule; --undo takes that back",
		Example: `  detachd schedule skip-next leavers --reason "the list is late"
  detachd schedule skip-next leavers --undo`,
	}, reasonKept, func(ctx context.Context, c *client, name, reason string) (tasks.ScheduleView, error) {
		if undo {
			return c.UnskipTick(ctx, name, reason)
		}
		return c.SkipTick(ctx, name, reason)
	}, func(x tasks.ScheduleView) {
		if x.Skip == nil {
			p.out("schedule %s: nothing is skipped%s", printable(x.Name), nextText(x))
			return
		}
		p.out("schedule %s: the run of %s is skipped", printable(x.Name), inZone(x.Schedule, x.Skip.Tick.At))
		p.note("take that back until then: detachd schedule skip-next %s --undo", printable(x.Name))
	})
	cmd.Flags().BoolVar(&undo, "undo", false, "run it after all")
	return cmd
}

func (p *Program) scheduleRemoveCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     "remove SCHEDULE",
		Short:   "Remove a schedule; its operations stay",
		Example: `  detachd schedule remove leavers --reason "HR has another process"`,
		Args:    needs("SCHEDULE", "detachd schedule list"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			removed, err := c.RemoveSchedule(cmd.Context(), args[0], reason)
			if err != nil {
				return err
			}
			p.out("schedule %s removed", printable(removed.Name))
			p.note("what it made stays: detachd cancel --requested-by %s --since TIME cancels what was not sent",
				printable(tasks.ScheduleRequester(removed.Name)))
			return nil
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", reasonNeeded)
	return cmd
}
