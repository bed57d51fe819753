package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/cmd/internal/app"
)

func (p *Program) workerCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "worker",
		Short: "Do the detaching, as configured, until stopped",
		Long: `Takes the queued desktops of every configured project to the cloud. Start as many
as you like, on as many machines: they share work and limits. SIGINT or SIGTERM
ends it in good order; what is left is done by other workers, or the next start.`,
		Args: cobra.NoArgs,
		RunE: p.run(func(cmd *cobra.Command, _ []string) error { return p.work(cmd.Context()) }),
	}
}

func (p *Program) work(ctx context.Context) error {
	if err := p.localOnly("worker"); err != nil {
		return err
	}
	cfg, err := p.loadConfig()
	if err != nil {
		return err
	}
	log, err := p.logger(cfg.Log)
	if err != nil {
		return usage("mend the log section of the configuration", "%w", err)
	}
	a, err := app.New(cfg, p.LookupEnv, log, p.Version)
	if err != nil {
		return usage("mend the configuration", "%w", err)
	}
	return a.Run(ctx)
}
