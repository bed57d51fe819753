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
		Short: "Take desktops out of the inbox (detachd failures), for a reason",
		Long: `Takes desktops that need nothing more out of what detachd failures lists: those
that are named, or all that match a filter, what is held included. Nothing is done
about the desktops. Their operations stay as they are, and the trail says who
dismissed them and why; a desktop that fails anew is back.

With a filter the number of desktops has to be confirmed: by typing it, or in
scripts with --confirm.`,
		Example: `  detachd dismiss d6i2kg1ksdu9f6fldk0g 15e4a139-b7b4-4f95-96f6-b914a200fae3 --reason "a contractor who stays"
  detachd dismiss --project hq --code NOT_FOUND --dry-run
  detachd dismiss --project hq --code NOT_FOUND --reason "deleted last week" --confirm 12`,
		RunE: p.run(func(cmd *cobra.Command, args []string) error { return p.dismiss(cmd.Context(), args, o) }),
	}
	f := cmd.Flags()
	o.flags(f)
	f.BoolVar(&o.all, "all", false, "all of the inbox; needed where nothing else says which")
	f.StringVar(&o.reason, "reason", "", "why nothing is to be done about them; required")
	f.IntVar(&o.confirm, "confirm", -1, "dismiss only if exactly so `many` match")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what matches, and dismiss nothing")
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
			return p.showDismissable(match, o.json)
		}
		if err := p.confirmed(match, o.confirm); err != nil {
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
		p.say("left as they were, as they are not in the inbox: %s; detachd failures --operation %s lists what is", count(left, "desktop"), printable(args[0]))
	}
	return nil
}

// dismissRequest reads which are meant.
func (p *Program) dismissRequest(args []string, o dismissOptions) (api.DismissRequest, error) {
	req := api.DismissRequest{Reason: o.reason}
	if err := o.read(p); err != nil {
		return req, err
	}
	req.Filter = o.filter
	filtered := o.filter != (tasks.FailureFilter{})
	switch {
	case len(args) == 1:
		return req, usage("name its desktops, too, or give --operation "+printable(args[0])+" for all of it", "no desktop of operation %s is named; nothing was dismissed", shown(args[0]))
	case len(args) > 1 && (filtered || o.all), len(args) == 0 && filtered == o.all:
		return req, usage("name an operation and its desktops; or give a filter such as --code NOT_FOUND; or --all", "a dismissal takes desktops, a filter, or --all, and one of them only; nothing was dismissed")
	case strings.TrimSpace(o.reason) == "" && !o.dryRun:
		return req, usage("add --reason", "a dismissal needs a reason, for the trail; nothing was dismissed")
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
	if match.Matched == 0 {
		p.say("no failure matches")
		return nil
	}
	if err := matchTable(match).print(p.Stdout); err != nil {
		return err
	}
	p.say("%s would be dismissed; nothing was done", count(match.Matched, "desktop"))
	return nil
}

// confirmed refuses unless somebody has confirmed the number: with --confirm, or by
// typing it.
func (p *Program) confirmed(match api.FailureMatch, given int) error {
	if given < 0 {
		if !interactive(p.Stdin) {
			return usage(fmt.Sprintf("look at them with detachd failures, then add --confirm %d", match.Matched), "%s would be dismissed, and nobody has confirmed that; nothing was dismissed", count(match.Matched, "desktop"))
		}
		if err := matchTable(match).print(p.Stderr); err != nil {
			return err
		}
		var err error
		if given, err = p.askNumber(fmt.Sprintf("Type %d to dismiss them: ", match.Matched)); err != nil {
			return err
		}
	}
	if given != match.Matched {
		return usage("look at them with detachd failures, then confirm the number", "%s, and not %d; nothing was dismissed", count(match.Matched, "desktop"), given)
	}
	return nil
}

// interactive reports that somebody can be asked.
func interactive(in io.Reader) bool {
	w, ok := in.(io.Writer) // files are
	return ok && terminal(w)
}

func (p *Program) askNumber(question string) (int, error) {
	fmt.Fprint(p.Stderr, question)
	line, err := bufio.NewReader(p.Stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("reading the answer: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return 0, usage("type the number that stands there", "the answer %s is no number; nothing was dismissed", shown(strings.TrimSpace(line)))
	}
	return n, nil
}
