package cli

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strconv"
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
	var l listenOptions
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the HTTP API and the dashboard",
		Long: `Serves the HTTP API at /v1 and the dashboard at /, until stopped. Both need an API
key, as does /metrics: see detachd keys. /healthz, /readyz and /openapi.json need
none. For access from other machines add a certificate, or use a proxy with TLS:
browsers keep the cookie of the dashboard only over TLS or on this machine.`,
		Example: `  detachd serve --worker --listen 127.0.0.1:8080
  detachd serve --listen :8443 --tls-cert cert.pem --tls-key key.pem`,
		Args: noArguments,
		RunE: p.run(func(cmd *cobra.Command, _ []string) error { return p.serve(cmd.Context(), l, o) }),
	}
	l.flags(cmd.Flags())
	cmd.Flags().BoolVar(&o.worker, "worker", false, "also run a worker in this process")
	cmd.Flags().IntVar(&o.rateLimit, "rate-limit", 1000,
		"maximum `requests` per second of each key, with bursts of twice as many; 0: unlimited")
	return cmd
}

type serveOptions struct {
	worker    bool
	rateLimit int
}

// shutdownTimeout is how long requests may take to end when the server stops.
const shutdownTimeout = 10 * time.Second

func (p *Program) serve(ctx context.Context, listen listenOptions, o serveOptions) error {
	if err := p.localOnly("serve"); err != nil {
		return err
	}
	if o.rateLimit < 0 {
		return usage("use a number of requests per second, or 0 for unlimited", "--rate-limit is negative")
	}
	cfg, err := p.loadConfig()
	if err != nil {
		return err
	}
	log, err := p.logger(cfg.Log)
	if err != nil {
		return usage("correct the log section of the configuration", "%w", err)
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
	if err := s.Record.EnterFormat(ctx); err != nil {
		return err
	}
	guards := cfg.Guards()
	guards["serve.rate_limit"] = strconv.Itoa(o.rateLimit)
	if err := p.auditGuards(ctx, s, log, "serve", guards); err != nil {
		return err
	}
	t := p.startTraces(ctx, log)
	defer t.Stop(shutdownTimeout)
	m := metrics.New(p.Version)
	watch(m, s)
	if o.worker {
		app.GrowHeap()
		a, err := app.New(cfg, p.LookupEnv, log, p.Version, t.Spans, m)
		if err != nil {
			return unusable(err)
		}
		defer a.Stop()
		if err := a.Start(ctx); err != nil {
			return err
		}
	}
	l, wrap, err := listen.open(log)
	if err != nil {
		return err
	}
	handler := dashboard.Serve(server.Config{Store: s, Keys: keys, Log: log, Now: p.Now, RateLimit: o.rateLimit, Metrics: m, Spans: t.Spans})
	return serveOn(ctx, l, wrap(handler), log)
}

// needKey refuses to serve without a valid key: nobody could use the server.
func (p *Program) needKey(ctx context.Context, keys *access.Keys) error {
	list, err := keys.List(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(k access.Key) bool { return k.Valid(p.Now()) }) {
		return usage("create one: detachd keys create --name hr --role producer", "there is no valid API key, so nobody could use the server")
	}
	return nil
}

// httpServer limits how long slow clients keep a connection: an answer has half a
// minute to be made and the rest of WriteTimeout to be read. Streams extend that with
// each part; on shutdown, streams of events end at once.
func httpServer(h http.Handler, log zerolog.Logger) *http.Server {
	stop := make(chan struct{})
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 90 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 32 << 10, ErrorLog: server.ErrorLog(log),
		BaseContext: func(net.Listener) context.Context { return server.WithStop(context.Background(), stop) },
	}
	srv.RegisterOnShutdown(func() { close(stop) })
	return srv
}

func serveOn(ctx context.Context, l net.Listener, h http.Handler, log zerolog.Logger) error {
	srv := httpServer(h, log)
	log.Info().Str("address", l.Addr().String()).Msg("serving")
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
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

// keys are the API keys in the configured Redis.
func (p *Program) keys(s *app.Store) *access.Keys { return access.NewKeys(s.Redis, s.Prefix, p.Now) }

// watch has the metrics show the record and the projects of a store.
func watch(m *metrics.Metrics, s *app.Store) {
	var projects []metrics.Project
	for _, p := range s.Limits() {
		projects = append(projects, metrics.Project{Alias: p.Alias, Credential: p.Credential.Name, CallsPerMinute: p.Credential.CallsPerMinute})
	}
	m.Watch(s.Record, projects)
}
