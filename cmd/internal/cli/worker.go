package cli

import (
	"context"
	"net"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/cmd/internal/metrics"
	"github.com/detachd/detachd/cmd/internal/server"
)

func (p *Program) workerCommand() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Do the detaching, as configured, until stopped",
		Long: `Takes the queued desktops of every configured project to the cloud. Start as many
as you like, on as many machines: they share work and limits. SIGINT or SIGTERM
ends it in good order; what is left is done by other workers, or the next start.`,
		Args: cobra.NoArgs,
		RunE: p.run(func(cmd *cobra.Command, _ []string) error { return p.work(cmd.Context(), listen) }),
	}
	cmd.Flags().StringVar(&listen, "listen", "", "serve /healthz, /readyz and /metrics (Prometheus) at that `address`, to everybody who reaches it: not for the public (default: nothing)")
	return cmd
}

func (p *Program) work(ctx context.Context, listen string) error {
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
	m := metrics.New(p.Version)
	a, err := app.New(cfg, p.LookupEnv, log, p.Version, m)
	if err != nil {
		return usage("mend the configuration", "%w", err)
	}
	if listen == "" {
		return a.Run(ctx)
	}
	defer a.Stop()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fail(exitInternal, "choose another --listen address", "%w", err)
	}
	defer l.Close()
	if err := a.Start(ctx); err != nil {
		return err
	}
	m.Watch(a.Record, a.Projects)
	return serveOn(ctx, l, server.Probes(server.Config{Store: a.Store, Log: log, Now: p.Now, Metrics: m}), log)
}
