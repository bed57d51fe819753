package cli

import (
	"bufio"
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
		Short: "Write the evidence report of an operation",
		Long: `Writes the result for every desktop of an operation: whose it was, when its removal
was confirmed, and by which reading. html is for people, and a summary if there are
more than 2,000 rows; csv is for spreadsheets; json also contains the whole audit
trail, so that it can be verified on its own.

The report of an operation that has not finished says that it is not final.
detachd verify verifies a report.

On a terminal, without --format and --output, it verifies the report itself and
prints a summary.`,
		Example: `  detachd report d6i2kg1ksdu9f6fldk0g
  detachd report d6i2kg1ksdu9f6fldk0g -o evidence.html
  detachd report d6i2kg1ksdu9f6fldk0g --format json > evidence.json`,
		Args: needs("OPERATION", "detachd list"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			if format == "" && output == "" && terminal(p.Stdout) {
				return p.summarize(cmd.Context(), c, args[0])
			}
			f, err := reportFormat(format, output)
			if err != nil {
				return err
			}
			return p.writeReport(output, func(w io.Writer) error {
				return explainReport(ofOperation(args[0], c.Report(cmd.Context(), w, args[0], string(f))))
			})
		}),
	}
	cmd.Flags().StringVar(&format, "format", "", "`format`: html, csv or json (default: by the extension of --output, or html)")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to this `file`, which is replaced once the report is complete (default stdout)")
	return cmd
}

// summarize verifies the report of an operation and prints a summary.
func (p *Program) summarize(ctx context.Context, c *client, id string) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := c.Report(ctx, w, id, string(report.JSON))
		_ = w.CloseWithError(err)
		written <- err
	}()
	res, invalid := report.Verify(r)
	_ = r.CloseWithError(invalid) // so that writing ends, too
	if err := <-written; err != nil && !errors.Is(err, invalid) {
		invalid = ofOperation(id, err)
	}
	if invalid != nil {
		return explainReport(invalid)
	}
	v, err := statusOf(ctx, c, id)
	if err != nil {
		return err
	}
	if err := p.showStatus(v); err != nil {
		return err
	}
	p.out("%-14s%s", "audit trail", "verified: its hash chains match the request and its "+count(res.Rows, "row"))
	if !res.Final {
		p.say("this is not final: the operation has not finished, or has no audit seal yet")
	}
	p.note("write the whole report with: detachd report %s -o %s.html", id, id)
	return nil
}

// writeReport writes a report to a file, or to stdout.
func (p *Program) writeReport(output string, write func(io.Writer) error) error {
	if output == "" || output == "-" {
		return write(p.Stdout)
	}
	info, err := os.Stat(output)
	switch {
	case err != nil: // a new file
	case info.Mode().IsRegular():
		if output, err = filepath.EvalSymlinks(output); err != nil {
			return usage("use another file", "cannot write --output: %w", err)
		}
	default:
		return writeInto(output, write)
	}
	return replaceFile(output, write)
}

// writeInto writes to a device or a pipe, such as /dev/stdout: renaming would put a file in its place.
func writeInto(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return usage("use a file, a device or a pipe that you may write", "cannot write --output: %w", err)
	}
	return errors.Join(write(&output{Writer: f}), f.Close())
}

// reportFormat is the format by its name, or else by the extension of the file.
func reportFormat(name, output string) (report.Format, error) {
	if name != "" {
		f, err := report.ParseFormat(name)
		if err != nil {
			return "", usage("correct --format", "invalid --format: %w", err)
		}
		return f, nil
	}
	if output == "" || output == "-" {
		return report.HTML, nil
	}
	f, err := report.ParseFormat(strings.TrimPrefix(filepath.Ext(output), "."))
	if err != nil {
		return "", usage("add --format, or use a file name with that extension",
			"--output %s: the name does not say the format, html, csv or json", shown(output))
	}
	return f, nil
}

// replaceFile replaces a file by the output of write, or leaves it unchanged on an
// error. Only the owner can read the file: a report names people.
func replaceFile(name string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".detachd-report-*") // mode 0600
	if err != nil {
		return usage("use a file in an existing directory with write permission", "cannot write --output: %w", err)
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
		return fail(exitInternal, "nothing was written; check the disk, then run it again", "cannot write --output: %w", err)
	}
	return nil
}

const checkAccess = "find out who can write to this Redis; " +
	"compare with trail_head in the log line \"operation ended\", and with earlier reports"

// explainReport gives the next step for errors of package report.
func explainReport(err error) error {
	err = localCause(err)
	switch {
	case errors.Is(err, report.ErrRecordAltered):
		return fail(exitFailed, checkAccess, "%w", err)
	case errors.Is(err, report.ErrUnsettled):
		return fail(exitRunning, "run it again in a minute", "%w", err)
	case errors.Is(err, report.ErrAuditAltered):
		return fail(exitFailed, "do not rely on it; read it again with detachd audit --json, and if that fails too, "+checkAccess, "%w", err)
	case errors.Is(err, report.ErrReportAltered):
		return fail(exitFailed, "do not rely on it; get it again from its author, or with detachd report", "%w", err)
	case errors.Is(err, report.ErrDiffers):
		return fail(exitFailed, "do not rely on either; compare both with trail_head in the log line \"operation ended\"", "%w", err)
	case errors.Is(err, report.ErrMovedOn):
		return fail(exitFailed, "write a new report, as json if it will be compared later", "%w", err)
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
		Short: "Verify a report, or the audit log",
		Long: `Verifies a file that detachd report wrote ("-": stdin). Its SHA-256 reveals any
change, unless the sum was recomputed. For a json report the hash chains of the
audit trail are computed and replayed, too.

A recomputed sum is revealed by the audit seal, which nobody can choose: --record
compares the report with the record, and proves all of it. --head takes the audit
seal from elsewhere, such as trail_head in the log line "operation ended", and
proves the request, the rows and the audit trail of a json report.

Of a file that detachd audit --json wrote, each entry must have the hash of its
content and be chained to the one before, without a gap. --head takes the hash of
an entry, from a log line "audit"; --record looks for its last entry in the record.`,
		Example: `  detachd verify evidence.html
  detachd verify evidence.json --record`,
		Args: needs("FILE", "detachd report --output FILE"),
		RunE: p.run(func(cmd *cobra.Command, args []string) error {
			if o.head != "" && !hexHead.MatchString(o.head) {
				return usage("give the 64 hex digits of trail_head", "invalid --head %s", shown(o.head))
			}
			file, err := p.openFile(args[0])
			if err != nil {
				return err
			}
			defer file.Close()
			in := bufio.NewReader(file)
			if report.IsAudit(in) {
				return p.verifyAudit(cmd.Context(), in, o.head, o.record)
			}
			res, err := report.Verify(in)
			if err != nil {
				return explainReport(err)
			}
			if o.head != "" && !strings.EqualFold(o.head, res.Head) {
				return fail(exitFailed, "check that both are of operation "+res.Operation+" when it last finished; if so, do not rely on the report",
					"the audit seal of the report is %s, not %s", res.Head, strings.ToLower(o.head))
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
	cmd.Flags().BoolVar(&o.record, "record", false, "compare it with the record, in the configured Redis or of the server")
	cmd.Flags().StringVar(&o.head, "head", "", "compare its audit seal with this one, in `hex`")
	return cmd
}

func (p *Program) openFile(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(p.Stdin), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, usage("give a file written by detachd report or detachd audit --json", "%w", err)
	}
	return f, nil
}

// compare compares a report with one made from the record now. That goes to a
// temporary file, because it may be large.
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
		return 0, usage("check that the report is from this configuration or server; finished operations are deleted after the retention, "+
			"then use --head with trail_head from the log", "%w", localCause(err))
	}
	if err != nil {
		return 0, explainReport(err)
	}
	newer, err = report.Compare(now, res)
	return newer, explainReport(err)
}

// verified prints what the verification proved, and what it did not.
func (p *Program) verified(res report.Result, head, record bool, newer int) {
	field := func(name, format string, args ...any) { p.out("%-12s%s", name, fmt.Sprintf(format, args...)) }
	field("operation", "%s", res.Operation)
	field("format", "%s", res.Format)
	field("written", "%s", clock(res.Made))
	field("rows", "%d", res.Rows)
	field("audit seal", "%s", res.Head)
	field("sha256", "%s, matches", res.Sum)
	if res.Format == report.JSON {
		field("audit trail", "the hash chains match the request and the rows, and every step was replayed")
	}
	if head {
		field("--head", "matches the audit seal of the report")
	}
	switch {
	case record && newer > 0:
		field("--record", "the record contains the whole audit trail of the report, unchanged; not in the report: %s",
			plural(newer, "newer entry", "newer entries"))
	case record:
		field("--record", "the record gives exactly this report")
	}
	if !res.Final {
		p.say("this report is not final: the operation had not finished, or had no audit seal yet")
	}
	switch {
	case record:
	case !head:
		p.say("a changed report may have a recomputed SHA-256: use --record or --head to detect that")
	case res.Format != report.JSON:
		p.say("the audit seal proves no rows of a %s report: use --record, or --head with the json report", res.Format)
	}
}
