package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/cmd/internal/config"
	"github.com/detachd/detachd/cmd/internal/leavers"
	"github.com/detachd/detachd/cmd/internal/metrics"
	"github.com/detachd/detachd/deploy"
)

const (
	anyPort       = "127.0.0.1:0"
	embeddedToken = "token-of-the-fake-cloud"
)

func (p *Program) devCommand() *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine with a fake cloud, to try detachd by hand",
		Long: `Runs a Redis, a fake cloud, a worker, the HTTP API and the dashboard, and prints what
to set in another terminal: DETACHD_CONFIG to work on its Redis, or DETACHD_SERVER
and DETACHD_API_KEY to use its HTTP API. The same key signs in to the dashboard. The
fake cloud has, in the projects hq and branch, the desktops of the example list, one
shared desktop each, and those of --desktops and --list. As in a real cloud, any
other id is unknown. Only an undo of more than 100 desktops waits for an approval there;
no operation has a canary or is stopped for its failures.

The Redis is a redis-server of its own if PATH has one, which only this user can
reach. Otherwise, and with --redis, it is a Redis in memory of this process. Both
carry 100,000 desktops. All data is deleted when dev stops.`,
		Example: `  detachd dev
  detachd dev --desktops 10000 --listen 127.0.0.1:8080
  detachd dev --list leavers.csv`,
		Args: noArguments,
		RunE: p.run(func(cmd *cobra.Command, _ []string) error { return p.dev(cmd.Context(), o) }),
	}
	f := cmd.Flags()
	f.StringVar(&o.redis, "redis", "", "`address` of a Redis in memory, used even if there is a redis-server")
	f.StringVar(&o.cloud, "cloud", anyPort, "`address` of the fake cloud")
	f.StringVar(&o.api, "listen", anyPort, "loopback `address` of the HTTP API and the dashboard")
	f.IntVar(&o.desktops, "desktops", 0, "also create desktop-1 to desktop-`n` in each project, of user-1 to user-n")
	f.StringArrayVar(&o.lists, "list", nil, "also create the desktops and users of this CSV `file` of leavers; may be repeated")
	return cmd
}

// devOptions are the addresses of the parts, and what exists besides the example list.
type devOptions struct {
	redis, cloud, api string
	desktops          int
	lists             []string
}

// devProjects are the project ids in the fake cloud, by alias.
var devProjects = map[string]string{"hq": fmt.Sprintf("%032x", 1), "branch": fmt.Sprintf("%032x", 2)}

// What exists in each project besides the example list.
const (
	devTeam  = "team-1"
	devIdler = "ida.idle" // known to the cloud, without a desktop
)

// devScene is the content of the fake cloud, and the first desktop of the example list.
func (p *Program) devScene(o devOptions) (*scene, leavers.Leaver, error) {
	s := newScene()
	read := func(name string, into func(*leavers.List) error) ([]leavers.Leaver, error) {
		list := leavers.New("hq", func(alias string) bool { return devProjects[alias] != "" })
		list.Mixed, list.AnyStatus = true, true
		if err := into(list); err != nil {
			return nil, usage("correct the list and run the command again", "%s: %w", name, err)
		}
		for _, b := range list.Bad {
			p.say("%s: %s", printable(name), printable(b.String()))
		}
		if list.BadRows > 0 {
			return nil, usage("correct the list and run the command again; the projects of dev are hq and branch",
				"%s: %s", name, count(list.BadRows, "invalid row"))
		}
		s.addLeavers(list.Good)
		return list.Good, nil
	}
	example, err := read("the example list", func(l *leavers.List) error { return l.Read(strings.NewReader(deploy.Leavers)) })
	if err != nil {
		return nil, leavers.Leaver{}, err
	}
	for _, name := range o.lists {
		if _, err := read(name, func(l *leavers.List) error { return p.readFile(l, name) }); err != nil {
			return nil, leavers.Leaver{}, err
		}
	}
	for alias := range devProjects {
		s.add(alias, devTeam, "ann.other", "col.league")
		s.addNumbered(alias, o.desktops)
		s.people[alias] = append(s.people[alias], fakecloud.Person{Name: devIdler, Email: devIdler + "@example.com"})
	}
	return s, example[0], nil
}

func (p *Program) dev(ctx context.Context, o devOptions) error {
	if err := p.localOnly("dev"); err != nil {
		return err
	}
	scene, leaver, err := p.devScene(o)
	if err != nil {
		return err
	}
	l, err := listenLoopback("--listen", o.api)
	if err != nil {
		return err
	}
	defer l.Close()
	program := ""
	if o.redis == "" {
		program = p.lookPath("redis-server")
	}
	e, err := app.StartEmbedded(fakecloud.Config{Token: embeddedToken, Latency: 100 * time.Millisecond}, program,
		cmp.Or(o.redis, anyPort), o.cloud)
	if err != nil {
		return fail(exitInternal, "choose other addresses with --redis and --cloud", "%w", err)
	}
	defer e.Stop()
	scene.stage(e.Cloud.Cloud, devProjects)
	cfg := embeddedConfig(e, devProjects)
	m := metrics.New(p.Version)
	a, err := app.New(cfg, p.LookupEnv, p.consoleLog(), p.Version, nil, m)
	if err != nil {
		return err
	}
	defer a.Stop()
	if err := a.Start(ctx); err != nil {
		return err
	}
	file, err := writeDevConfig(e, devProjects)
	if err != nil {
		return fail(exitInternal, "make $TMPDIR writable", "%w", err)
	}
	defer func() { _ = os.RemoveAll(filepath.Dir(file)) }()
	srv, err := p.newDemoServer(ctx, a.Store, m, "dev")
	if err != nil {
		return err
	}
	p.say("dev: ALL DATA IS DELETED WHEN THIS STOPS (ctrl-C): the cloud is fake, and Redis is %s", kindOfRedis(e, program))
	p.sayWhatToTry(scene, leaver, o)
	p.out("redis       %s", e.RedisURL)
	p.out("fake cloud  %s", e.Cloud.URL)
	p.out("dashboard   http://%s", l.Addr())
	p.out("export DETACHD_CONFIG=%s", file)
	srv.exports(p.Stdout, l)
	return serveOn(ctx, l, srv.handler, zerolog.Nop())
}

// lookPath finds a program in PATH; "" if there is none.
func (p *Program) lookPath(name string) string {
	for _, dir := range filepath.SplitList(p.env("PATH")) {
		if file, err := exec.LookPath(filepath.Join(dir, name)); err == nil && filepath.IsAbs(file) {
			return file
		}
	}
	return ""
}

// kindOfRedis says which Redis runs, and what it carries.
func kindOfRedis(e *app.Embedded, program string) string {
	if e.Server {
		return "a " + program + " that saves nothing"
	}
	text := "in memory of this process, for up to 100,000 desktops at a time"
	if e.Unusable != nil {
		text += " (" + printable(e.Unusable.Error()) + ")"
	}
	return text
}

func (p *Program) sayWhatToTry(s *scene, leaver leavers.Leaver, o devOptions) {
	p.say("dev: the fake cloud has only %s: those of deploy/examples/leavers.csv, %s in each project%s",
		count(s.size(), "desktop"), devTeam, o.more())
	p.say("dev: run the export lines below in another terminal, then try:")
	for _, hint := range []struct{ args, result string }{
		{"--project " + leaver.Project + " " + leaver.Desktop, "one of the list"},
		{"--project hq " + devTeam, "two users share it: on hold"},
		{"--project hq no-such-desktop", "unknown to the cloud: on hold"},
		{"--project hq --user " + devIdler, "a known user without a desktop"},
		{"--file deploy/examples/leavers.csv", "the whole list"},
	} {
		p.say("  %-80s # %s", "detachd detach "+hint.args+" --wait", hint.result)
	}
}

// more lists what exists besides the example list.
func (o devOptions) more() string {
	text := ""
	if o.desktops > 0 {
		text += fmt.Sprintf(", desktop-1 to desktop-%d in each", o.desktops)
	}
	if len(o.lists) > 0 {
		text += ", and those of " + printable(strings.Join(o.lists, ", "))
	}
	return text
}

// writeDevConfig writes the configuration of embeddedConfig for other processes, into
// a new directory.
func writeDevConfig(e *app.Embedded, projects map[string]string) (file string, err error) {
	dir, err := os.MkdirTemp("", "detachd-dev-")
	if err != nil {
		return "", err
	}
	token := filepath.Join(dir, "token")
	var b strings.Builder
	fmt.Fprintf(&b, "redis: {url: %q}\ncredentials:\n"+
		"- {name: fake, kind: token, token: {file: %q}, calls_per_minute: 1200, reads_per_minute: 0}\n",
		e.RedisURL, token)
	b.WriteString("projects:\n")
	for alias, id := range projects {
		fmt.Fprintf(&b, "- alias: %s\n  project_id: %q\n  endpoint: %q\n  credentials: fake\n",
			alias, id, e.Cloud.URL)
	}
	file = filepath.Join(dir, "detachd.yaml")
	return file, errors.Join(os.WriteFile(token, []byte(embeddedToken), 0o600), os.WriteFile(file, []byte(b.String()), 0o600))
}

// embeddedConfig is the configuration for embedded parts, with projects by alias.
func embeddedConfig(e *app.Embedded, projects map[string]string) config.Config {
	cfg := config.Defaults()
	cfg.Redis.URL = apiclient.Secret(e.RedisURL)
	cfg.Worker.BulkPollInterval = 20 * time.Millisecond
	c := config.DefaultCredential()
	c.Name, c.Kind, c.Token = "fake", "token", config.SecretRef{Value: embeddedToken}
	c.CallsPerMinute, c.ReadsPerMinute = 1200, 0 // a fake cloud needs no protection
	cfg.Credentials = []config.Credential{c}
	for alias, id := range projects {
		limits := config.DefaultLimits()
		limits.MaxInFlight = 2
		limits.CallTimeout = 3 * time.Second // a lost reply is noticed early
		cfg.Projects = append(cfg.Projects, config.Project{Alias: alias, ProjectID: id, Endpoint: e.Cloud.URL, Credential: c.Name,
			Limits: limits, Approval: config.NoApproval()})
	}
	return cfg
}
