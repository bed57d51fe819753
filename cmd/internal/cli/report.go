package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/cmd/internal/report"
	"github.com/detachd/detachd/tasks"
)

func (p *Program) reportCommand() *cobra.Command {
	var format, output string
	cmd := &cobra.Command{
		Use:   "report OPERATION",
		Short: "Write the evidence of an operation: what became of every desktop, and how that is known",
		Long: `Writes what became of every desktop of an operation, whose it was before, when it
was proven gone and by what. html is for people, csv for spreadsheets; json also
has the whole trail, so that it can be verified by itself.

The report of an operation that has not ended says that it is not final.
detachd verify tells whether a report is as it was written.`,
		Args: cobra.ExactArgs(1),
		RunE: p.run(func(cmd *cobra.Command, args []string) error {
			f, err := reportFormat(format, output)
			if err != nil {
				return err
			}
			c, err := p.connect("")
			if err != nil {
				return err
			}
			defer c.close()
			return p.writeReport(output, func(w io.Writer) error {
				return explainReport(ofOperation(args[0], c.Report(cmd.Context(), w, args[0], string(f))))
			})
		}),
	}
	cmd.Flags().StringVar(&format, "format", "", "html, csv or json (default: as the name of --output ends, or html)")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to that `file`, replacing it once all is written (default stdout)")
	return cmd
}

// writeReport has a report written to a file, or to stdout.
func (p *Program) writeReport(output string, write func(io.Writer) error) error {
	if output == "" || output == "-" {
		return write(p.Stdout)
	}
	return replaceFile(output, write)
}

// reportFormat is the format asked for, or else the one that the file is named
// after.
func reportFormat(name, output string) (report.Format, error) {
	if name != "" {
		f, err := report.ParseFormat(name)
		if err != nil {
			return "", usage("mend --format", "--format: %w", err)
		}
		return f, nil
	}
	if output == "" || output == "-" {
		return report.HTML, nil
	}
	f, err := report.ParseFormat(strings.TrimPrefix(filepath.Ext(output), "."))
	if err != nil {
		return "", usage("give --format html, csv or json, or a name that ends so", "--output %s does not say which format is wanted", shown(output))
	}
	return f, nil
}

// replaceFile puts what write writes in the place of a file, or leaves all as it
// was. The file can be read by its owner only: a report names people.
func replaceFile(name string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".detachd-report-*") // mode 0600
	if err != nil {
		return usage("give a file in a directory that exists and may be written to", "--output: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err = write(f); err != nil {
		return err
	}
	if err = errors.Join(f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fail(exitInternal, "nothing was written; look at the disk, then run it again", "--output: %w", err)
	}
	return nil
}

const askWho = "find out who can write to this Redis; compare with the log, whose line \"operation ended\" has trail_head, and with reports made before"

// explainReport says what to do about what packages below found out about
// reports.
func explainReport(err error) error {
	err = asItWas(err)
	switch {
	case errors.Is(err, report.ErrRecordAltered):
		return fail(exitFailed, askWho, "%w", err)
	case errors.Is(err, report.ErrUnsettled):
		return fail(exitRunning, "run it again in a minute", "%w", err)
	case errors.Is(err, report.ErrReportAltered):
		return fail(exitFailed, "do not rely on it; get it anew from who made it, or with detachd report", "%w", err)
	case errors.Is(err, report.ErrDiffers):
		return fail(exitFailed, "do not rely on either; compare both with trail_head of the line \"operation ended\" in the log", "%w", err)
	case errors.Is(err, report.ErrMovedOn):
		return fail(exitFailed, "make a new report, and a json one where it has to be compared later", "%w", err)
	}
	return err
}

var hexHead = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)

func (p *Program) verifyCommand() *cobra.Command {
	var o struct {
		record bool
		head   string
	}
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Tell whether a report is as it was written",
		Long: `Verifies a file that detachd report wrote ("-": stdin). Its SHA-256 finds every
change by somebody who did not compute the sum anew. Of a json report the trail's
hash chains are computed and replayed too.

Against somebody who did compute it anew there is the head of the trail, which
they cannot choose: --record holds the report against the record, and proves all of
it; --head takes the head from elsewhere, such as the line "operation ended" of
the log, and proves the request, the rows and the trail of a json report.`,
		Args: cobra.ExactArgs(1),
		RunE: p.run(func(cmd *cobra.Command, args []string) error {
			if o.head != "" && !hexHead.MatchString(o.head) {
				return usage("give the 64 hex digits of trail_head", "--head %s is no head of a trail", shown(o.head))
			}
			res, err := p.verifyFile(args[0])
			if err != nil {
				return err
			}
			if o.head != "" && !strings.EqualFold(o.head, res.Head) {
				return fail(exitFailed, "check that both are of operation "+res.Operation+" at its last end; if so, do not rely on the report",
					"the head of the report's trail is %s, and not %s", res.Head, strings.ToLower(o.head))
			}
			newer := 0
			if o.record {
				if newer, err = p.compare(cmd.Context(), res); err != nil {
					return err
				}
			}
			p.verified(res, o.head != "", o.record, newer)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&o.record, "record", false, "hold it against the record, in the configured Redis or of the server")
	cmd.Flags().StringVar(&o.head, "head", "", "hold the head of its trail against this one, in `hex`")
	return cmd
}

func (p *Program) verifyFile(name string) (report.Result, error) {
	in := p.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return report.Result{}, usage("give a file that detachd report wrote", "%w", err)
		}
		defer f.Close()
		in = f
	}
	res, err := report.Verify(in)
	return res, explainReport(err)
}

// compare holds a report against what the record gives now, which is kept in a file
// meanwhile: it may be large.
func (p *Program) compare(ctx context.Context, res report.Result) (newer int, err error) {
	c, err := p.connect("")
	if err != nil {
		return 0, err
	}
	defer c.close()
	now, err := os.CreateTemp("", "detachd-report-*") // mode 0600
	if err != nil {
		return 0, fail(exitInternal, "make $TMPDIR writable", "%w", err)
	}
	defer func() { _ = errors.Join(now.Close(), os.Remove(now.Name())) }()
	err = ofOperation(res.Operation, c.Report(ctx, now, res.Operation, string(report.JSON)))
	if errors.Is(err, tasks.ErrNotFound) {
		return 0, usage("check that it was made with this configuration or server; what ended is forgotten after the retention, "+
			"then --head with trail_head from the log does it", "%w", asItWas(err))
	}
	if err != nil {
		return 0, explainReport(err)
	}
	newer, err = report.Compare(now, res)
	return newer, explainReport(err)
}

// verified says what is proven now, and what is not.
func (p *Program) verified(res report.Result, head, record bool, newer int) {
	field := func(name, format string, args ...any) { p.out("%-12s%s", name, fmt.Sprintf(format, args...)) }
	field("operation", "%s", res.Operation)
	field("format", "%s", res.Format)
	field("made", "%s", clock(res.Made))
	field("rows", "%d", res.Rows)
	field("trail head", "%s", res.Head)
	field("sha256", "%s, fits", res.Sum)
	if res.Format == report.JSON {
		field("trail", "the hash chains fit the request and the rows, and every step was replayed")
	}
	if head {
		field("--head", "the same as the head of the report")
	}
	switch {
	case record && newer > 0:
		field("--record", "all of the report's trail is in the record, unchanged; %d newer entries are not in the report", newer)
	case record:
		field("--record", "the record gives this very report")
	}
	if !res.Final {
		p.say("this report is not final: the operation had not ended, or its trail was not sealed yet")
	}
	switch {
	case record:
	case !head:
		p.say("whoever changes a report can compute its SHA-256 anew: --record or --head tell that, too")
	case res.Format != report.JSON:
		p.say("the head proves no row of a %s report: --record does, or --head with the json report", res.Format)
	}
}
