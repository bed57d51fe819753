package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/cmd/internal/leavers"
	"github.com/detachd/detachd/cmd/internal/metrics"
	"github.com/detachd/detachd/cmd/internal/report"
	"github.com/detachd/detachd/deploy"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// demoTimeout ends a demo that hangs. A demo takes about ten seconds; on a busy machine
// with the race detector, several times as long.
const demoTimeout = 3 * time.Minute

type demoOptions struct {
	file, report  string
	serve         string
	seed          uint64
	verbose, json bool
}

func (p *Program) demoCommand() *cobra.Command {
	o := demoOptions{seed: 1}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Detach a list of leavers from a fake cloud",
		Long: `Runs a Redis in memory, a fake cloud and a worker, and detaches a list of leavers
while the cloud throttles, reports conflicts, loses replies, finishes late or never,
and refuses some desktops; then leavers by name, who share desktops with colleagues;
then a feed that names too many, which waits for an approval, and an undo.
It needs no setup, touches nothing real, and stops by itself. The exit code is 0 if
exactly the planned desktops failed or were put on hold, every desktop reported as
detached is detached in the cloud, and nobody else lost access; otherwise 3.`,
		Example: `  detachd demo
  detachd demo --serve 127.0.0.1:8080 --report evidence.html`,
		Args: noArguments,
		RunE: p.run(func(cmd *cobra.Command, _ []string) error { return p.demo(cmd.Context(), o) }),
	}
	f := cmd.Flags()
	f.StringVar(&o.file, "file", "", "use this CSV `file` of leavers, - for stdin")
	f.Uint64Var(&o.seed, "seed", o.seed, "random `seed` that selects the desktops with faults")
	f.StringVar(&o.report, "report", "", "write the evidence report of the leavers by name to this `file` (.html, .csv or .json)")
	f.StringVar(&o.serve, "serve", "", "afterwards serve the dashboard and the HTTP API at this loopback `address` until interrupted")
	f.BoolVar(&o.verbose, "verbose", false, "show the log")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func (p *Program) demo(ctx context.Context, o demoOptions) error {
	if err := p.localOnly("demo"); err != nil {
		return err
	}
	var l net.Listener
	if o.serve != "" {
		var err error
		if l, err = listenLoopback("--serve", o.serve); err != nil {
			return err
		}
		defer l.Close()
	}
	list, err := p.demoList(o)
	if err != nil {
		return err
	}
	requests := list.Requests(api.OperationRequest{Reason: "leavers of the demo"})
	for _, r := range requests {
		if len(r.Users)+len(r.Computers) > 0 {
			return usage("give every row a desktop id", "the demo creates the desktops of the list, but project %s has rows without a desktop id",
				r.Project)
		}
	}
	plan := newDemoPlan(requests, o.seed)
	e, err := app.StartEmbedded(fakecloud.Config{
		Token: embeddedToken, Seed: o.seed, Latency: 200 * time.Millisecond, Jitter: 200 * time.Millisecond,
		DetachDelay: 500 * time.Millisecond, JobLag: time.Second,
	}, "", anyPort, anyPort)
	if err != nil {
		return err
	}
	defer e.Stop()
	plan.stage(e.Cloud.Cloud)
	stageFeed(e.Cloud.Cloud)
	p.say("demo: Redis in memory and a fake cloud on this machine; nothing real is touched, and all data is deleted at the end")
	p.say("demo: %s of %s, and some leavers by name; planned: %d fail, %d are put on hold, "+
		"and the cloud throttles, reports conflicts and loses a reply",
		count(len(list.Good), "desktop"), count(len(plan.projects), "project"), len(plan.fails), len(plan.holds))
	format, err := reportFormat("", o.report)
	if err != nil {
		return err
	}
	m := metrics.New(p.Version)
	a, err := p.demoApp(e, plan, o, m)
	if err != nil {
		return err
	}
	defer a.Stop()
	summary, err := p.perform(ctx, e, a, plan, o, format)
	if err != nil {
		return err
	}
	if o.json {
		err = printJSON(p.Stdout, summary)
	} else {
		err = summary.print(p.Stdout)
	}
	if err == nil && l != nil {
		err = p.demoServe(ctx, a, m, l)
	}
	if err == nil && !summary.AsPlanned {
		err = fail(exitFailed, "run it again with --verbose and check the log",
			"the demo did not go as planned: %s", count(len(summary.Surprises), "surprise"))
	}
	return err
}

// demoServe serves the result of the demo; its worker continues to run.
func (p *Program) demoServe(ctx context.Context, a *app.App, m *metrics.Metrics, l net.Listener) error {
	srv, err := p.newDemoServer(ctx, a.Store, m, "demo")
	if err != nil {
		return err
	}
	p.say("demo: the dashboard is at http://%s until ctrl-C; sign in with the key below, "+
		"or run both lines in another terminal and try: detachd list",
		l.Addr())
	srv.exports(p.Stderr, l)
	return serveOn(ctx, l, srv.handler, zerolog.Nop())
}

// demoList reads the leavers. Every project that they name exists in the fake cloud.
func (p *Program) demoList(o demoOptions) (*leavers.List, error) {
	list := leavers.New("hq", func(string) bool { return true })
	list.Mixed = true
	if o.file != "" {
		if err := p.readFile(list, o.file); err != nil {
			return nil, usage(howToRead(err), "%s: %w", o.file, err)
		}
	} else if err := list.Read(strings.NewReader(deploy.Leavers)); err != nil {
		return nil, err
	}
	for _, b := range list.Bad {
		p.say("%s", printable(b.String()))
	}
	if slices.ContainsFunc(list.Good, func(x leavers.Leaver) bool { return x.Desktop == "" }) {
		return nil, usage("give every row a desktop id", "the demo creates the desktops of the list, but some rows have no desktop id")
	}
	if list.BadRows > 0 || len(list.Good) == 0 {
		return nil, usage("correct the list and run the command again", "%s, %s", count(list.BadRows, "invalid row"),
			count(len(list.Good), "valid row"))
	}
	return list, nil
}

// demoApp is a worker with short intervals.
func (p *Program) demoApp(e *app.Embedded, plan *demoPlan, o demoOptions, m *metrics.Metrics) (*app.App, error) {
	cfg := withFeed(embeddedConfig(e, plan.projects))
	cfg.Worker.FirstLook, cfg.Worker.ConfirmWithin = time.Second, 7*time.Second
	cfg.Worker.MaxAttempts, cfg.Worker.RetryBase, cfg.Worker.RetryMax = 6, 100*time.Millisecond, time.Second
	log := zerolog.Nop()
	if o.verbose {
		log = p.consoleLog()
	}
	return app.New(cfg, p.LookupEnv, log, p.Version, nil, m)
}

// perform starts the worker, submits the list and waits for the end.
func (p *Program) perform(
	interrupted context.Context, e *app.Embedded, a *app.App, plan *demoPlan, o demoOptions, format report.Format,
) (demoReport, error) {
	ctx, cancel := context.WithTimeoutCause(interrupted, demoTimeout, fmt.Errorf("the demo took longer than %s", demoTimeout))
	defer cancel()
	if err := a.Start(interrupted); err != nil {
		return demoReport{}, err
	}
	started := time.Now()
	var ops []tasks.Operation
	for _, r := range plan.requests {
		op, err := a.Producer.Enqueue(ctx, r.Task("demo"))
		if err != nil {
			return demoReport{}, err
		}
		ops = append(ops, op.Operation)
	}
	op, err := a.Producer.Enqueue(ctx, plan.byName)
	if err != nil {
		return demoReport{}, err
	}
	ops = append(ops, op.Operation)
	if ops, err = p.wait(ctx, fromRecord(a.Record), ops, demoTimeout); err != nil {
		return demoReport{}, err
	}
	if o.report != "" {
		if err := p.writeReport(o.report, func(w io.Writer) error {
			return explainReport(report.Write(context.WithoutCancel(ctx), w, a.Record, op.ID, format, p.Now()))
		}); err != nil {
			return demoReport{}, err
		}
		p.say("demo: the evidence report of operation %s is in %s; check it with detachd verify", op.ID, o.report)
	}
	summary, err := newDemoReport(context.WithoutCancel(ctx), a.Store, e.Cloud.Cloud, plan, ops)
	if err != nil {
		return summary, err
	}
	summary.Seed, summary.TookMS = o.seed, time.Since(started).Milliseconds()
	summary.Brakes, err = p.performFeed(ctx, e, a)
	summary.Surprises = append(summary.Surprises, summary.Brakes.surprises()...)
	summary.AsPlanned = len(summary.Surprises) == 0
	return summary, err
}
