package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

type dismissOptions struct {
	failureFlags
	reason      string
	confirm     int // -1: not given
	all, dryRun bool
	json        bool
}

func (p *Program) dismissCommand() *cobra.Command {
	var o dismissOptions
	cmd := &cobra.Command{
		Use:   "dismiss [OPERATION DESKTOP…]",
		Short: "Remove desktops from the inbox (detachd failures), for a reason",
		Long: `Removes desktops that need no action from the list of detachd failures: the named
ones, or all that match a filter, including those on hold. The desktops and their
operations stay unchanged, and the audit trail records who dismissed them and why.
A desktop that fails again is listed again.

With a filter, confirm the number of desktops by typing it, or with --confirm in
scripts.`,
		Example: `  detachd dismiss d6i2kg1ksdu9f6fldk0g 15e4a139-b7b4-4f95-96f6-b914a200fae3 --reason "a contractor who stays"
  detachd dismiss --project hq --code NOT_FOUND --dry-run
  detachd dismiss --project hq --code NOT_FOUND --reason "deleted last week" --confirm 12`,
		RunE: p.run(func(cmd *cobra.Command, args []string) error { return p.dismiss(cmd.Context(), args, o) }),
	}
	f := cmd.Flags()
	o.flags(f)
	f.BoolVar(&o.all, "all", false, "the whole inbox; required if there is neither a filter nor a desktop")
	f.StringVar(&o.reason, "reason", "", "`reason` why no action is needed; required")
	f.IntVar(&o.confirm, "confirm", -1, "dismiss only if exactly this `number` of desktops matches")
	f.BoolVar(&o.dryRun, "dry-run", false, "count what matches, and dismiss nothing")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func (p *Program) dismiss(ctx context.Context, args []string, o dismissOptions) error {
	req, err := p.dismissRequest(args, o)
	if err != nil {
		return err
	}
	c, err := p.connect("")
	if err != nil {
		return err
	}
	defer c.close()
	if len(args) == 0 || o.dryRun || o.confirm >= 0 {
		match, err := c.MatchDismiss(ctx, req)
		if err != nil {
			return err
		}
		if o.dryRun || match.Matched == 0 && o.confirm < 0 {
			if match.Matched == 0 && !o.json {
				return p.nothing(ctx, c, "failure", o.filter.Project)
			}
			return p.showDismissable(match, o.json)
		}
		err = p.confirmed(match.Matched, o.confirm, question{
			thing: "desktop", asks: matchTable(match), look: "detachd failures", do: "dismiss", doing: "dismissing", done: "dismissed",
		})
		if err != nil {
			return err
		}
		req.Matched = match.Matched
	}
	done, err := c.Dismiss(ctx, req)
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(p.Stdout, done)
	}
	p.out("%s dismissed", count(done.Dismissed, "desktop"))
	if left := len(req.Desktops) - done.Dismissed; left > 0 {
		p.say("skipped because not in the inbox: %s; detachd failures --operation %s lists the inbox", count(left, "desktop"), printable(args[0]))
	}
	return nil
}

// dismissRequest makes the request from arguments and flags.
func (p *Program) dismissRequest(args []string, o dismissOptions) (api.DismissRequest, error) {
	req := api.DismissRequest{Reason: o.reason}
	if err := o.read(p); err != nil {
		return req, err
	}
	req.Filter = o.filter
	filtered := o.filter != (tasks.FailureFilter{})
	switch {
	case len(args) == 1:
		return req, usage("add the desktops, or use --operation "+printable(args[0])+" for the whole operation",
			"no desktop of operation %s is named; nothing was dismissed", shown(args[0]))
	case len(args) > 1 && (filtered || o.all), len(args) == 0 && filtered == o.all:
		return req, usage("give an operation and its desktops, or a filter such as --code NOT_FOUND, or --all",
			"dismiss needs exactly one of: desktops, a filter, --all; nothing was dismissed")
	case strings.TrimSpace(o.reason) == "" && !o.dryRun:
		return req, usage("add --reason", "dismiss needs a reason, for the audit trail; nothing was dismissed")
	}
	for _, desktop := range args[min(1, len(args)):] {
		req.Desktops = append(req.Desktops, tasks.DesktopRef{OperationID: args[0], DesktopID: desktop})
	}
	return req, nil
}

func (p *Program) showDismissable(match api.FailureMatch, asJSON bool) error {
	if asJSON {
		return printJSON(p.Stdout, match)
	}
	if err := p.show(matchTable(match)); err != nil {
		return err
	}
	p.note("%s would be dismissed; nothing was changed", count(match.Matched, "desktop"))
	return nil
}

// question is what a person confirms with a number.
type question struct {
	thing           string // that is counted
	asks            *table // shown before it is asked
	look            string // command that shows what matched
	do, doing, done string
}

// confirmed refuses unless the number is confirmed, with --confirm or by typing it.
func (p *Program) confirmed(matched, given int, q question) error {
	if given < 0 {
		if !interactive(p.Stdin) {
			return usage(fmt.Sprintf("check them with %s, then add --confirm %d", q.look, matched),
				"%s %s needs confirmation; nothing was %s", q.doing, count(matched, q.thing), q.done)
		}
		if err := q.asks.print(p.Stderr); err != nil {
			return err
		}
		var err error
		if given, err = p.askNumber(fmt.Sprintf("Type %d to %s them: ", matched, q.do), q.done); err != nil {
			return err
		}
	}
	if given != matched {
		return usage("check them with "+q.look+", then confirm the right number",
			"%s matched, not %d; nothing was %s", count(matched, q.thing), given, q.done)
	}
	return nil
}

// interactive reports whether input comes from a terminal.
func interactive(in io.Reader) bool {
	if i, ok := in.(*input); ok {
		in = i.Reader
	}
	w, ok := in.(io.Writer) // files are
	return ok && terminal(w)
}

func (p *Program) askNumber(question, done string) (int, error) {
	fmt.Fprint(p.Stderr, question)
	line, err := bufio.NewReader(p.Stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("reading the answer: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return 0, usage("type the number that is shown", "%s is not a number; nothing was %s", shown(strings.TrimSpace(line)), done)
	}
	return n, nil
}
