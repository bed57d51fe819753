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
	"github.com/detachd/detachd/cmd/internal/dashboard"
	"github.com/detachd/detachd/cmd/internal/metrics"
	"github.com/detachd/detachd/cmd/internal/server"
)

func (p *Program) serveCommand() *cobra.Command {
	var d door
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the HTTP API and the dashboard, until stopped",
		Long: `Serves /v1 for systems that hand over operations and ask what became of them, and
the dashboard at / for people. Both take a key, as does /metrics: see detachd keys.
/healthz, /readyz and /openapi.json are for everybody. Beyond loopback give it a
certificate, or put it behind a proxy that speaks TLS: browsers keep the dashboard's
cookie over TLS, or on this machine, only.`,
		Args: cobra.NoArgs,
		RunE: p.run(func(cmd *cobra.Command, _ []string) error { return p.serve(cmd.Context(), d, o) }),
	}
	d.flags(cmd.Flags())
	cmd.Flags().BoolVar(&o.worker, "worker", false, "do the work in the same process, too")
	cmd.Flags().IntVar(&o.rateLimit, "rate-limit", 1000, "the most `requests` a second of each key, and twice as many at once; 0 for no limit")
	return cmd
}

type serveOptions struct {
	worker    bool
	rateLimit int
}

// stopWithin is how long requests have to end when the server stops.
const stopWithin = 10 * time.Second

func (p *Program) serve(ctx context.Context, d door, o serveOptions) error {
	if err := p.localOnly("serve"); err != nil {
		return err
	}
	if o.rateLimit < 0 {
		return usage("give a number of requests a second, or 0 for no limit", "--rate-limit is negative")
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
	if o.worker {
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
	return serveOn(ctx, l, wrap(dashboard.Serve(server.Config{Store: s, Keys: keys, Log: log, Now: p.Now, RateLimit: o.rateLimit, Metrics: m})), log)
}

// needKey refuses to serve what nobody could use.
func (p *Program) needKey(ctx context.Context, keys *access.Keys) error {
	list, err := keys.List(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(k access.Key) bool { return k.Valid(p.Now()) }) {
		return usage("make one: detachd keys create --name hr --role producer", "there is no valid key, so nobody could use the API")
	}
	return nil
}

// httpServer gives nobody who is slow a connection for long: answers have half a
// minute to be made and the rest of WriteTimeout to be taken, and those that stream
// move that along with each part. When it shuts down streams of events end at once.
func httpServer(h http.Handler) *http.Server {
	stop := make(chan struct{})
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 90 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 32 << 10,
		BaseContext:    func(net.Listener) context.Context { return server.WithStop(context.Background(), stop) },
	}
	srv.RegisterOnShutdown(func() { close(stop) })
	return srv
}

func serveOn(ctx context.Context, l net.Listener, h http.Handler, log zerolog.Logger) error {
	srv := httpServer(h)
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
	if err != nil {
		err = errors.Join(err, srv.Close())
	}
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	log.Info().Msg("server stopped")
	return err
}

// keys are those in the configured Redis.
func (p *Program) keys(s *app.Store) *access.Keys { return access.NewKeys(s.Redis, s.Prefix, p.Now) }
