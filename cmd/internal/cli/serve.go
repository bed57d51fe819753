package cli

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/cmd/internal/metrics"
	"github.com/detachd/detachd/cmd/internal/server"
)

func (p *Program) serveCommand() *cobra.Command {
	var d door
	var withWorker bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the HTTP API, until stopped",
		Long: `Serves /v1 for systems that hand over operations and ask what became of them, and
/healthz, /readyz and /metrics. Every request under /v1, and for /metrics, takes a
key: see detachd keys. Beyond loopback give it a certificate, or put it behind a proxy that speaks TLS.`,
		Args: cobra.NoArgs,
		RunE: p.run(func(cmd *cobra.Command, _ []string) error { return p.serve(cmd.Context(), d, withWorker) }),
	}
	d.flags(cmd.Flags())
	cmd.Flags().BoolVar(&withWorker, "worker", false, "do the work in the same process, too")
	return cmd
}

// stopWithin is how long requests have to end when the server stops.
const stopWithin = 10 * time.Second

func (p *Program) serve(ctx context.Context, d door, withWorker bool) error {
	if err := p.localOnly("serve"); err != nil {
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
	s, err := p.open()
	if err != nil {
		return err
	}
	defer s.Close()
	keys := p.keys(s)
	if err := p.needKey(ctx, keys); err != nil {
		return err
	}
	m := metrics.New(p.Version)
	m.Watch(s.Record, s.Projects)
	if withWorker {
		a, err := app.New(cfg, p.LookupEnv, log, p.Version, m)
		if err != nil {
			return usage("mend the configuration", "%w", err)
		}
		defer a.Stop()
		if err := a.Start(ctx); err != nil {
			return err
		}
	}
	l, wrap, err := d.open(log)
	if err != nil {
		return err
	}
	return serveOn(ctx, l, wrap(server.New(server.Config{Store: s, Keys: keys, Log: log, Now: p.Now, Metrics: m})), log)
}

// needKey refuses to serve what nobody could use.
func (p *Program) needKey(ctx context.Context, keys *access.Keys) error {
	list, err := keys.List(ctx)
	if err != nil {
		return err
	}
	valid := func(k access.Key) bool {
		return k.RevokedAt.IsZero() && (k.ExpiresAt.IsZero() || p.Now().Before(k.ExpiresAt))
	}
	if !slices.ContainsFunc(list, valid) {
		return usage("make one: detachd keys create --name hr --role producer", "there is no valid key, so nobody could use the API")
	}
	return nil
}

func serveOn(ctx context.Context, l net.Listener, h http.Handler, log zerolog.Logger) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
	}
	log.Info().Str("address", l.Addr().String()).Msg("serving")
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	err := srv.Shutdown(stop)
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	log.Info().Msg("server stopped")
	return err
}

// keys are those in the configured Redis.
func (p *Program) keys(s *app.Store) *access.Keys { return access.NewKeys(s.Redis, s.Prefix, p.Now) }
