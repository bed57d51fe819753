package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks/api"
)

func (p *Program) pauseCommand() *cobra.Command {
	var reason string
	var length time.Duration
	cmd := &cobra.Command{
		Use:     "pause PROJECT",
		Short:   "Stop all calls of a project",
		Long:    "No worker calls the cloud for the project until it is resumed. Queued desktops stay queued; calls in flight complete.",
		Example: `  detachd pause hq --reason "maintenance of the cloud" --for 2h`,
		Args:    needs("PROJECT", "detachd stats"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			if length < 0 || length > 0 && length < time.Second {
				return usage("use a duration such as 2h", "--for is negative or less than a second")
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
	return cmd
}

func (p *Program) resumeCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "resume PROJECT",
		Short: "Resume a paused project",
		Long: `Calls start again, whoever paused the project. Before its next call each worker
reads secrets in files again, so a corrected password needs no restart. Secrets in
the environment need a restart of the worker.`,
		Example: "  detachd resume hq",
		Args:    needs("PROJECT", "detachd stats"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			if err := c.configured(cmd.Context(), args[0]); err != nil {
				return err
			}
			if _, err := c.Resume(cmd.Context(), args[0], reason); err != nil {
				return err
			}
			p.out("project %s resumed", args[0])
			return nil
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", reasonHelp)
	return cmd
}
