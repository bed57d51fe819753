package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/cmd/internal/report"
)

func (p *Program) reportCommand() *cobra.Command {
	var format, file string
	cmd := &cobra.Command{
		Use:   "report OPERATION",
		Short: "Write the evidence of an operation, for an auditor",
		Long: `Writes, for every desktop of an operation: who asked, why, the ticket, whose it
was before, the calls with their request ids and job ids, every change of state
with its time, and the proof. html is a page of its own, json has everything and
can be verified by itself, csv is for a spreadsheet. The last line of each is the
SHA-256 of what stands before it: see detachd verify.`,
		Example: `  detachd report dc2a3i9ksdufo53f6ahg -o evidence.html
  detachd report dc2a3i9ksdufo53f6ahg --format json > evidence.json`,
		Args: cobra.ExactArgs(1),
		RunE: p.run(func(cmd *cobra.Command, args []string) error {
			s, err := p.open()
			if err != nil {
				return err
			}
			defer s.Close()
			return p.writeReport(cmd.Context(), s, args[0], format, file)
		}),
	}
	cmd.Flags().StringVar(&format, "format", "", "`html, csv or json` (default: by the name of the file, else html)")
	cmd.Flags().StringVarP(&file, "output", "o", "", "`file` to write, whole or not at all (default: stdout)")
	return cmd
}

// writeReport writes the report of an operation to a file, or to stdout if file is
// empty. Without a format it goes by the file's name.
func (p *Program) writeReport(ctx context.Context, s *app.Store, id, format, file string) error {
	if format == "" {
		if format = strings.TrimPrefix(filepath.Ext(file), "."); format == "" || format == "htm" {
			format = string(report.HTML)
		}
	}
	if !slices.Contains(report.Formats, report.Format(format)) {
		return usage("give --format html, csv or json", "there is no format %s", shown(format))
	}
	write := func(w io.Writer) error {
		return report.Write(ctx, w, s.Record, id, report.Format(format), s.Target, p.Now())
	}
	var err error
	if file == "" {
		err = write(p.Stdout)
	} else {
		err = replaceFile(file, write)
	}
	if errors.Is(err, report.ErrAltered) {
		return fail(exitFailed, "compare the trail_head that was logged when the operation ended, and find out who writes to Redis", "%w", err)
	}
	return err
}

// replaceFile writes a file whole or not at all. It may hold names of people, so
// it is for its owner only.
func replaceFile(name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".detachd-report-*")
	if err != nil {
		return usage("name a file in a directory that can be written to", "%w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already when all went well
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func (p *Program) verifyCommand() *cobra.Command {
	var head string
	var withRecord bool
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Find out whether a report was altered",
		Long: `Reads a report (- for stdin) and finds it altered if a single byte of it is not
what was written. Of a report in JSON the hash chain of the trail is computed anew
as well, and every row is held against it.

Somebody who alters a report and computes all hashes anew is found by the head of
the trail, when that is compared with what was kept elsewhere: --record compares
it with the record in Redis, --head with the trail_head that was logged when the
operation ended. The exit code is 3 if anything differs.`,
		Args: cobra.ExactArgs(1),
		RunE: p.run(func(cmd *cobra.Command, args []string) error {
			in := p.Stdin
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return usage("name a file that detachd report has written", "%w", err)
				}
				defer func() { _ = f.Close() }()
				in = f
			}
			res, err := report.Verify(in)
			if errors.Is(err, report.ErrAltered) {
				return altered(args[0], err.Error())
			}
			if err != nil {
				return err
			}
			if head != "" && !strings.EqualFold(head, res.Head) {
				return altered(args[0], fmt.Sprintf("its trail's head is %s, not the one of --head", res.Head))
			}
			if withRecord {
				if err := p.compare(cmd.Context(), args[0], res); err != nil {
					return err
				}
			}
			p.out("operation   %s", printable(res.Operation))
			p.out("rows        %d", res.Rows)
			p.out("trail head  %s", res.Head)
			p.out("sha256      not altered since it was written")
			if res.Replayed {
				p.out("trail       computed anew, every row agrees with it")
			}
			if withRecord {
				p.out("record      has the same trail")
			}
			if !res.Final {
				p.say("note: the report is not final: the operation had not ended when it was written")
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&head, "head", "", "the trail_head `hex` that the report must have")
	cmd.Flags().BoolVar(&withRecord, "record", false, "compare it with the record in Redis")
	return cmd
}

func altered(file, what string) error {
	return fail(exitFailed, "do not rely on it; write a new one with detachd report", "%s: %s", file, what)
}

// compare holds a report's head against the record's.
func (p *Program) compare(ctx context.Context, file string, res report.Result) error {
	s, err := p.open()
	if err != nil {
		return err
	}
	defer s.Close()
	op, err := s.Record.Operation(ctx, res.Operation)
	if err != nil {
		return err
	}
	head, err := s.Record.TrailHead(ctx, op)
	if err != nil {
		return err
	}
	if head != res.Head {
		return altered(file, fmt.Sprintf(
			"its trail's head is %s, the record's %s: it was altered, or the operation has gone on since it was written", res.Head, head))
	}
	return nil
}
