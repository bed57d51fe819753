package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/cmd/internal/config"
	"github.com/detachd/detachd/cmd/internal/metrics"
)

const (
	anyPort       = "127.0.0.1:0"
	embeddedToken = "token-of-the-fake-cloud"
)

func (p *Program) devCommand() *cobra.Command {
	var at devAddresses
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a Redis in memory, a fake cloud, a worker, the HTTP API and the dashboard, to try things by hand",
		Long: `Starts all parts on this machine and prints what to set in another terminal:
DETACHD_CONFIG to work on its Redis, or DETACHD_SERVER and DETACHD_API_KEY to go
through its HTTP API; with that key one signs in to the dashboard, too. The fake cloud has every desktop that it is asked for, in the
projects hq and branch. Everything is forgotten when it stops.`,
		Args: cobra.NoArgs,
		RunE: p.run(func(cmd *cobra.Command, _ []string) error { return p.dev(cmd.Context(), at) }),
	}
	cmd.Flags().StringVar(&at.redis, "redis", anyPort, "`address` for Redis to listen on")
	cmd.Flags().StringVar(&at.cloud, "cloud", anyPort, "`address` for the fake cloud to listen on")
	cmd.Flags().StringVar(&at.api, "listen", anyPort, "loopback `address` for the HTTP API and the dashboard to listen on")
	return cmd
}

// devAddresses are where the parts listen.
type devAddresses struct{ redis, cloud, api string }

func (p *Program) dev(ctx context.Context, at devAddresses) error {
	if err := p.localOnly("dev"); err != nil {
		return err
	}
	l, err := listenLoopback("--listen", at.api)
	if err != nil {
		return err
	}
	defer l.Close()
	e, err := app.StartEmbedded(fakecloud.Config{Token: embeddedToken, AutoCreate: true, Latency: 100 * time.Millisecond}, at.redis, at.cloud)
	if err != nil {
		return fail(exitInternal, "choose other addresses with --redis and --cloud", "%w", err)
	}
	defer e.Stop()
	projects := map[string]string{"hq": fmt.Sprintf("%032x", 1), "branch": fmt.Sprintf("%032x", 2)}
	cfg := embeddedConfig(e, projects)
	m := metrics.New(p.Version)
	a, err := app.New(cfg, p.LookupEnv, p.consoleLog(), p.Version, m)
	if err != nil {
		return err
	}
	defer a.Stop()
	if err := a.Start(ctx); err != nil {
		return err
	}
	file, err := writeDevConfig(e, projects)
	if err != nil {
		return fail(exitInternal, "make $TMPDIR writable", "%w", err)
	}
	defer func() { _ = os.RemoveAll(filepath.Dir(file)) }()
	try, err := p.tryAPI(ctx, a.Store, m, "dev")
	if err != nil {
		return err
	}
	p.say("dev: EVERYTHING IS FORGOTTEN WHEN THIS STOPS (ctrl-C): Redis is in memory and the cloud is fake")
	p.say("dev: set this in another terminal, then try: detachd detach --project hq desktop-1 --wait")
	p.out("redis       %s", e.RedisURL)
	p.out("fake cloud  %s", e.Cloud.URL)
	p.out("dashboard   http://%s", l.Addr())
	p.out("export DETACHD_CONFIG=%s", file)
	try.exports(p.Stdout, l)
	return serveOn(ctx, l, try.handler, zerolog.Nop())
}

// writeDevConfig writes what embeddedConfig gives for other processes, into a
// directory of its own.
func writeDevConfig(e *app.Embedded, projects map[string]string) (file string, err error) {
	dir, err := os.MkdirTemp("", "detachd-dev-")
	if err != nil {
		return "", err
	}
	token := filepath.Join(dir, "token")
	var b strings.Builder
	fmt.Fprintf(&b, "redis: {url: %q}\nprojects:\n", e.RedisURL)
	for alias, id := range projects {
		fmt.Fprintf(&b, "- alias: %s\n  project_id: %q\n  endpoint: %q\n  credentials: {kind: token, token: {file: %q}}\n",
			alias, id, e.Cloud.URL, token)
	}
	file = filepath.Join(dir, "detachd.yaml")
	return file, errors.Join(os.WriteFile(token, []byte(embeddedToken), 0o600), os.WriteFile(file, []byte(b.String()), 0o600))
}

// embeddedConfig is the configuration for embedded parts, with projects by
// alias.
func embeddedConfig(e *app.Embedded, projects map[string]string) config.Config {
	cfg := config.Defaults()
	cfg.Redis.URL = apiclient.Secret(e.RedisURL)
	cfg.Worker.BulkPollInterval = cfg.Worker.UrgentPollInterval
	for alias, id := range projects {
		limits := config.DefaultLimits()
		limits.CallsPerSecond, limits.MaxInFlight = 20, 2
		cfg.Projects = append(cfg.Projects, config.Project{
			Alias: alias, ProjectID: id, Endpoint: e.Cloud.URL, Limits: limits,
			Credentials: config.Credentials{Kind: "token", Token: config.SecretRef{Value: embeddedToken}},
		})
	}
	return cfg
}
