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
		Use:   "pause PROJECT",
		Short: "Stop all calls of a project",
		Long:  "No worker calls the cloud for the project until it is resumed. What is queued stays queued; calls in flight end.",
		Args:  cobra.ExactArgs(1),
		RunE: p.run(func(cmd *cobra.Command, args []string) error {
			if length < 0 || length > 0 && length < time.Second {
				return usage("give a duration such as 2h", "--for is negative, or less than a second")
			}
			c, err := p.connect("")
			if err != nil {
				return err
			}
			defer c.close()
			if err := c.configured(cmd.Context(), args[0]); err != nil {
				return err
			}
			if _, err := c.Pause(cmd.Context(), args[0], api.PauseRequest{Reason: reason, ForSeconds: int(length / time.Second)}); err != nil {
				return err
			}
			p.out("project %s paused", args[0])
			p.say("resume it with: detachd resume %s", args[0])
			return nil
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, shown by detachd doctor")
	cmd.Flags().DurationVar(&length, "for", 0, "resume by itself after that `time`, for example 2h (default: never)")
	return cmd
}

func (p *Program) resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resume PROJECT",
		Short: "Let a paused project go on",
		Long: "Calls leave again, whoever paused the project. Before the next one each worker reads the project's secrets again " +
			"where they are in files, so a corrected password needs no restart; what is in the environment needs one of the worker.",
		Args: cobra.ExactArgs(1),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			if err := c.configured(cmd.Context(), args[0]); err != nil {
				return err
			}
			if _, err := c.Resume(cmd.Context(), args[0]); err != nil {
				return err
			}
			p.out("project %s resumed", args[0])
			return nil
		}),
	}
}
