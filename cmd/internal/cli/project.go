package cli

import (
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

func (p *Program) pauseCommand() *cobra.Command {
	var reason string
	var length time.Duration
	var all bool
	cmd := &cobra.Command{
		Use:   "pause PROJECT",
		Short: "Stop all calls of a project, or of all projects",
		Long: `No worker calls the cloud for the project until it is resumed. Queued desktops stay
queued; calls in flight complete. --all is the emergency stop: no call begins in any
project, also in those that are configured later, until detachd resume --all.`,
		Example: `  detachd pause hq --reason "maintenance of the cloud" --for 2h
  detachd pause --all --reason "a wrong feed"`,
		Args: projectOrAll(&all),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			if all {
				return p.stopAll(cmd, c, reason, length)
			}
			if length < time.Second && cmd.Flags().Changed("for") {
				return usage("use a duration such as 2h", "--for is less than a second")
			}
			if err := c.configured(cmd.Context(), args[0]); err != nil {
				return err
			}
			if _, err := c.Pause(cmd.Context(), args[0], api.PauseRequest{Reason: reason, ForSeconds: int(length / time.Second)}); err != nil {
				return err
			}
			p.out("project %s paused", args[0])
			p.note("resume it with: detachd resume %s", args[0])
			return nil
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`reason`, shown by detachd doctor")
	cmd.Flags().DurationVar(&length, "for", 0, "resume automatically after this `duration`, for example 2h (default: never)")
	cmd.Flags().BoolVar(&all, "all", false, "all projects at once; requires --reason, and the role admin")
	return cmd
}

// projectOrAll is for commands with one project, or --all.
func projectOrAll(all *bool) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if !*all {
			return needs("PROJECT", "detachd stats")(cmd, args)
		}
		return noArguments(cmd, args)
	}
}

func (p *Program) stopAll(cmd *cobra.Command, c *client, reason string, length time.Duration) error {
	if length != 0 {
		return usage("remove --for", "the stop of all projects has no end of its own; nothing was stopped")
	}
	if err := needReason("pause --all", reason); err != nil {
		return err
	}
	if _, err := c.StopAll(cmd.Context(), reason); err != nil {
		return err
	}
	p.out("all projects stopped: no call begins from now on")
	p.note("resume them with: detachd resume --all --reason …")
	return nil
}

func (p *Program) resumeAll(cmd *cobra.Command, c *client, reason string) error {
	if err := needReason("resume --all", reason); err != nil {
		return err
	}
	if _, err := c.ResumeAll(cmd.Context(), reason); err != nil {
		return err
	}
	p.out("the stop of all projects has ended")
	p.note("a project that is paused by itself stays paused: detachd stats shows it")
	return nil
}

func (p *Program) resumeCommand() *cobra.Command {
	var reason string
	var all bool
	cmd := &cobra.Command{
		Use:   "resume PROJECT",
		Short: "Resume a paused project, or end the stop of all",
		Long: `Calls start again, whoever paused the project. Before its next call each worker
reads secrets in files again, so a corrected password needs no restart. Secrets in
the environment need a restart of the worker. --all ends the stop of all projects.`,
		Example: `  detachd resume hq
  detachd resume --all --reason "the feed is corrected"`,
		Args: projectOrAll(&all),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			if all {
				return p.resumeAll(cmd, c, reason)
			}
			if err := c.configured(cmd.Context(), args[0]); err != nil {
				return err
			}
			if _, err := c.Resume(cmd.Context(), args[0], reason); err != nil {
				return err
			}
			p.out("project %s resumed", args[0])
			projects, err := c.Projects(cmd.Context())
			if err == nil && slices.ContainsFunc(projects, func(x api.Project) bool { return x.Pause != nil && x.Pause.Kind == tasks.PauseStop }) {
				p.say("warning: all projects are stopped, so nothing is sent: detachd resume --all --reason … ends that")
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", reasonHelp)
	cmd.Flags().BoolVar(&all, "all", false, "end the stop of all projects; requires --reason, and the role admin")
	return cmd
}
