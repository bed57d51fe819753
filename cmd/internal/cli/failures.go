package cli

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/detachd/detachd/cmd/internal/when"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/worker/policy"
)

type failuresView struct {
	api.Page[tasks.Failure]
	Advice map[string]string `json:"advice"` // by code: what you can do
}

// adviceFor says what to do about each code of failures.
func adviceFor(failures []tasks.Failure) map[string]string {
	out := map[string]string{}
	for _, f := range failures {
		out[f.Code] = policy.Advice(f.Code, f.Class)
	}
	return out
}

func (p *Program) failuresCommand() *cobra.Command {
	var o struct {
		failureFlags
		page      pageFlags
		json, csv bool
	}
	cmd := &cobra.Command{
		Use:   "failures",
		Short: "List the inbox: desktops of all operations that failed or are on hold, the latest first",
		Long: `Lists desktops that failed or are on hold (class held), each once for the same
users. A desktop leaves the inbox when any operation detaches it, when it is
retried, or when it is dismissed (detachd dismiss). detachd desktops lists the
rows of one operation. Once the cause is fixed, detachd detach --file accepts
the CSV output, which includes desktops on hold only with --class held.`,
		Example: `  detachd failures --project hq --since 24h
  detachd failures --class held
  detachd failures --code WKS.00010032 --csv > again.csv && detachd detach --file again.csv`,
		Args: noArguments,
		RunE: p.ask(func(cmd *cobra.Command, c *client, _ []string) error {
			if err := o.read(p); err != nil {
				return err
			}
			read := func(size int, token string) ([]tasks.Failure, string, error) {
				return c.Failures(cmd.Context(), o.filter, size, token)
			}
			v, err := pages(o.page.of(o.json || o.csv), read)
			if err != nil {
				return err
			}
			switch {
			case o.json:
				return printJSON(p.Stdout, failuresView{v, adviceFor(v.Items)})
			case o.csv:
				rows, skipped := failureRows(v.Items, o.filter.Class)
				if skipped > 0 {
					p.say("skipped: %s on hold; detachd retry OPERATION --held retries them", count(skipped, "desktop"))
				}
				return printCSV(p.Stdout, rows)
			case len(v.Items) == 0:
				return p.nothing(cmd.Context(), c, "failure", o.filter.Project)
			}
			if err := p.show(failuresTable(v.Items)); err != nil {
				return err
			}
			sayMore(p, v, read)
			advice := adviceFor(v.Items)
			for _, code := range slices.Sorted(maps.Keys(advice)) {
				if advice[code] != "" {
					p.note("%s: %s", printable(code), advice[code])
				}
			}
			return nil
		}),
	}
	f := cmd.Flags()
	o.flags(f)
	o.page.flags(f)
	p.outputFlag(f)
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.BoolVar(&o.csv, "csv", false, "print CSV")
	cmd.MarkFlagsMutuallyExclusive("json", "csv")
	return cmd
}

// failureFlags filter failures.
type failureFlags struct {
	filter       tasks.FailureFilter
	since, until string
}

func (o *failureFlags) flags(f *pflag.FlagSet) {
	f.StringVar(&o.filter.Project, "project", "", "only of this project `alias`")
	f.StringVar(&o.filter.Code, "code", "", "only with this error `code`, for example WKS.00010032")
	f.StringVar((*string)(&o.filter.Class), "class", "", "only of this `class`, for example conflict, or held for desktops on hold")
	f.StringVar(&o.filter.Operation, "operation", "", "only of this `operation`")
	f.StringVar(&o.filter.User, "user", "", "only desktops that this user had, or that were requested by the user's `name`")
	f.StringVar(&o.filter.Source, "requested-by", "", "only of operations requested by this `name`")
	f.StringVar(&o.since, "since", "", "only at or after this `time`, for example 24h (ago) or 2026-11-23T00:00:00Z")
	f.StringVar(&o.until, "until", "", "only before this `time`")
}

// read completes the filter.
func (o *failureFlags) read(p *Program) (err error) {
	if o.filter.From, o.filter.To, err = p.period(o.since, o.until); err != nil {
		return err
	}
	known := func(x policy.ClassRow) bool { return x.Class == o.filter.Class }
	if o.filter.Class != "" && !slices.ContainsFunc(policy.Classes(), known) {
		return usage("detachd codes shows the classes", "there is no class %s", shown(string(o.filter.Class)))
	}
	return nil
}

// nothing tells that nothing matches, or why: a project is not configured. What it had before it was
// removed can still be found.
func (p *Program) nothing(ctx context.Context, c *client, what, project string) error {
	if project != "" {
		if err := c.configured(ctx, project); err != nil {
			return err
		}
	}
	p.note("no %s matches", what)
	return nil
}

// period reads --since and --until.
func (p *Program) period(since, until string) (from, to time.Time, err error) {
	if from, err = p.parseTime("--since", since, when.Last); err == nil {
		to, err = p.parseTime("--until", until, when.Last)
	}
	return from, to, err
}

func failuresTable(failures []tasks.Failure) *table {
	t := &table{header: []string{"FAILED", "PROJECT", "DESKTOP", "NAME", "CODE", "CLASS", "ATTEMPTS", "OPERATION", "MESSAGE"},
		less: []string{"ATTEMPTS", "CLASS", "FAILED", "OPERATION", "PROJECT"}}
	for _, f := range failures {
		t.add(clock(f.At), f.Project, f.DesktopID, f.DesktopName, f.Code, string(f.Class), strconv.Itoa(f.Attempts), f.OperationID, f.Message)
	}
	return t
}

// failureRows gives a row for each failure, or for each of its expected users, so that
// submitting the rows again checks the same owners. Desktops on hold are skipped
// unless their class is requested: without the options of their operation they might
// not be put on hold again. A row for a computer or a user has that in place of an id,
// as lists may.
func failureRows(failures []tasks.Failure, class tasks.Class) (rows [][]string, skipped int) {
	rows = [][]string{{
		"project", "desktop_id", "user", "desktop_name", "code", "class", "message", "status", "attempts", "at",
		"operation_id", "call_id", "request_id",
	}}
	for _, f := range failures {
		if f.Class == tasks.ClassHeld && class != tasks.ClassHeld {
			skipped++
			continue
		}
		expected := f.Expect
		if len(expected) == 0 {
			expected = []string{""}
		}
		for _, user := range expected {
			rows = append(rows, []string{
				f.Project, f.DesktopID, user, f.DesktopName, f.Code, string(f.Class), f.Message, strconv.Itoa(f.Status), strconv.Itoa(f.Attempts),
				f.At.Format(time.RFC3339), f.OperationID, f.CallID, f.RequestID,
			})
		}
	}
	return rows, skipped
}
