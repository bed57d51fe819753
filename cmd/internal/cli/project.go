package cli

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/tasks"
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
			if length < 0 {
				return usage("give a duration such as 2h", "--for is negative")
			}
			s, err := p.openProject(args[0])
			if err != nil {
				return err
			}
			defer s.Close()
			if err := s.Record.PauseProject(cmd.Context(), args[0], tasks.ByOperator, length, reason); err != nil {
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
		Args:  cobra.ExactArgs(1),
		RunE: p.run(func(cmd *cobra.Command, args []string) error {
			s, err := p.openProject(args[0])
			if err != nil {
				return err
			}
			defer s.Close()
			if err := s.Record.ResumeProject(cmd.Context(), args[0]); err != nil {
				return err
			}
			p.out("project %s resumed", args[0])
			return nil
		}),
	}
}

// openProject opens the store for a command about one project.
func (p *Program) openProject(alias string) (*app.Store, error) {
	s, err := p.open()
	if err != nil {
		return nil, err
	}
	if !slices.Contains(s.Projects, alias) {
		s.Close()
		return nil, usage("use one of "+strings.Join(s.Projects, ", "), "project %s is not configured", shown(alias))
	}
	return s, nil
}
