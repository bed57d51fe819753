package cli

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/worker/policy"
)

type failuresView struct {
	Failures []tasks.Failure   `json:"failures"`
	Advice   map[string]string `json:"advice"` // by code: what you can do
}

// adviceFor says what to do about each of the codes that failures have.
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
		limit     int
		json, csv bool
	}
	cmd := &cobra.Command{
		Use:   "failures",
		Short: "List the inbox: desktops that failed or are held, over all operations, the latest first",
		Long: `Lists desktops that failed or are held (class held), each once for the same users,
until any operation has detached them, or they are tried again or dismissed (detachd
dismiss); detachd desktops lists the rows of one operation. The CSV form can be given to detachd detach --file once the cause is
mended; what is held is in it only with --class held.`,
		Args: cobra.NoArgs,
		RunE: p.run(func(cmd *cobra.Command, _ []string) error {
			if err := o.read(p); err != nil {
				return err
			}
			c, err := p.connect("")
			if err != nil {
				return err
			}
			defer c.close()
			failures, err := pages(o.limit, func(size int, token string) ([]tasks.Failure, string, error) {
				return c.Failures(cmd.Context(), o.filter, size, token)
			})
			if err != nil {
				return err
			}
			switch {
			case o.json:
				return printJSON(p.Stdout, failuresView{failures, adviceFor(failures)})
			case o.csv:
				rows, left := failureRows(failures, o.filter.Class)
				if left > 0 {
					p.say("left out: %d that are held; detachd retry OPERATION --held looks at them again", left)
				}
				return printCSV(p.Stdout, rows)
			case len(failures) == 0:
				p.say("no failure matches")
				return nil
			}
			if err := failuresTable(failures).print(p.Stdout); err != nil {
				return err
			}
			advice := adviceFor(failures)
			for _, code := range slices.Sorted(maps.Keys(advice)) {
				if advice[code] != "" {
					p.say("%s: %s", printable(code), advice[code])
				}
			}
			return nil
		}),
	}
	f := cmd.Flags()
	o.flags(f)
	f.IntVar(&o.limit, "limit", 0, "at most so many (default: all)")
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.BoolVar(&o.csv, "csv", false, "print CSV")
	cmd.MarkFlagsMutuallyExclusive("json", "csv")
	return cmd
}

// failureFlags say which failures are meant.
type failureFlags struct {
	filter       tasks.FailureFilter
	since, until string
}

func (o *failureFlags) flags(f *pflag.FlagSet) {
	f.StringVar(&o.filter.Project, "project", "", "only of that project `alias`")
	f.StringVar(&o.filter.Code, "code", "", "only with that error code, for example WKS.00010032")
	f.StringVar(&o.filter.Class, "class", "", "only of that class, for example conflict")
	f.StringVar(&o.filter.Operation, "operation", "", "only of that operation")
	f.StringVar(&o.filter.User, "user", "", "only of desktops that this user had, or that were asked for by their `name`")
	f.StringVar(&o.filter.Source, "requested-by", "", "only of operations that this `name` has asked for")
	f.StringVar(&o.since, "since", "", "only at or after that `time`, for example 24h (ago) or 2026-11-23T00:00:00Z")
	f.StringVar(&o.until, "until", "", "only before that `time`")
}

// read completes the filter.
func (o *failureFlags) read(p *Program) (err error) {
	o.filter.From, o.filter.To, err = p.period(o.since, o.until)
	return err
}

// period reads --since and --until.
func (p *Program) period(since, until string) (from, to time.Time, err error) {
	if from, err = parseSince(since, p.Now()); err != nil {
		return from, to, usage("mend --since", "--since %w", err)
	}
	if to, err = parseSince(until, p.Now()); err != nil {
		return from, to, usage("mend --until", "--until %w", err)
	}
	return from, to, nil
}

func failuresTable(failures []tasks.Failure) *table {
	t := &table{header: []string{"AT", "PROJECT", "DESKTOP", "NAME", "CODE", "CLASS", "ATTEMPTS", "OPERATION", "MESSAGE"}}
	for _, f := range failures {
		t.add(clock(f.At), f.Project, f.DesktopID, f.DesktopName, f.Code, f.Class, strconv.Itoa(f.Attempts), f.OperationID, f.Message)
	}
	return t
}

// failureRows gives a row for each failure, or for each of its expected users, so
// that whoever hands them over again says the same about whose they are. What is
// held is left out unless its class was asked for: handed over again without the
// options of its operation it might not be held any more. A row that names a computer
// or a user has that in place of an id, as lists may.
func failureRows(failures []tasks.Failure, class string) (rows [][]string, left int) {
	rows = [][]string{{
		"project", "desktop_id", "user", "desktop_name", "code", "class", "message", "status", "attempts", "at",
		"operation_id", "call_id", "request_id",
	}}
	for _, f := range failures {
		if f.Class == tasks.ClassHeld && class != tasks.ClassHeld {
			left++
			continue
		}
		expected := f.Expect
		if len(expected) == 0 {
			expected = []string{""}
		}
		for _, user := range expected {
			rows = append(rows, []string{
				f.Project, f.DesktopID, user, f.DesktopName, f.Code, f.Class, f.Message, strconv.Itoa(f.Status), strconv.Itoa(f.Attempts),
				f.At.Format(time.RFC3339), f.OperationID, f.CallID, f.RequestID,
			})
		}
	}
	return rows, left
}
