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
		Short: "Run a worker",
		Long: `Runs a worker that detaches the queued desktops of all configured projects, until
stopped. Run any number of workers on any number of machines: they share work and
limits. SIGINT or SIGTERM stops a worker cleanly; others continue its work, or the
next one that starts.`,
		Example: `  detachd worker --config /etc/detachd/config.yaml
  detachd worker --listen 127.0.0.1:9100`,
		Args: noArguments,
		RunE: p.run(func(cmd *cobra.Command, _ []string) error { return p.work(cmd.Context(), listen) }),
	}
	cmd.Flags().StringVar(&listen, "listen", "",
		"serve /healthz, /readyz and /metrics (Prometheus) at this `address`, without keys: not for a public network (default: none)")
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
		return usage("correct the log section of the configuration", "%w", err)
	}
	t := p.startTraces(ctx, log)
	defer t.Stop(cfg.Worker.ShutdownTimeout)
	m := metrics.New(p.Version)
	app.GrowHeap()
	a, err := app.New(cfg, p.LookupEnv, log, p.Version, t.Spans, m)
	if err != nil {
		return unusable(err)
	}
	defer a.Stop()
	if err := a.Store.Record.EnterFormat(ctx); err != nil {
		return err
	}
	if err := p.auditGuards(ctx, a.Store, log, "worker", cfg.Guards()); err != nil {
		return err
	}
	if listen == "" {
		return a.Run(ctx)
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fail(exitInternal, "choose another --listen address", "%w", err)
	}
	defer l.Close()
	if err := a.Start(ctx); err != nil {
		return err
	}
	watch(m, a.Store)
	return serveOn(ctx, l, server.Probes(server.Config{Store: a.Store, Log: log, Now: p.Now, Metrics: m}), log)
}
