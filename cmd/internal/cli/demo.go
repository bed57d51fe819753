package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/deploy"
	"github.com/detachd/detachd/tasks"
)

// demoTimeout ends a demo that does not end by itself.
const demoTimeout = 28 * time.Second

type demoOptions struct {
	file, report  string
	seed          uint64
	verbose, json bool
}

func (p *Program) demoCommand() *cobra.Command {
	o := demoOptions{seed: 1}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch a list of leavers being worked on, with a Redis in memory and a fake cloud",
		Long: `Starts a Redis in memory, a fake cloud and a worker, and has a list of leavers
detached while the cloud throttles, conflicts, loses replies, ends late or never,
and refuses some desktops; and then some leavers by name, with colleagues on their
desktops. It needs nothing, touches nothing, and ends by itself. The exit code is
0 if exactly those desktops failed, and were held, that the demo planned to, each
desktop called detached is so in the cloud, and nobody else lost access; else 3.`,
		Args: cobra.NoArgs,
		RunE: p.run(func(cmd *cobra.Command, _ []string) error { return p.demo(cmd.Context(), o) }),
	}
	f := cmd.Flags()
	f.StringVar(&o.file, "file", "", "another CSV `file` of leavers, - for stdin")
	f.Uint64Var(&o.seed, "seed", o.seed, "draws which desktops have trouble")
	f.StringVar(&o.report, "report", "", "write the evidence of the leavers by name to that `file` (.html, .csv or .json)")
	f.BoolVar(&o.verbose, "verbose", false, "show the log")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func (p *Program) demo(ctx context.Context, o demoOptions) error {
	list, err := p.demoList(o)
	if err != nil {
		return err
	}
	plan := newDemoPlan(list.Good, o.seed)
	e, err := app.StartEmbedded(fakecloud.Config{
		Token: embeddedToken, Seed: o.seed, Latency: 200 * time.Millisecond, Jitter: 200 * time.Millisecond,
		DetachDelay: 500 * time.Millisecond, JobLag: time.Second,
	}, anyPort, anyPort)
	if err != nil {
		return err
	}
	defer e.Stop()
	plan.stage(e.Cloud.Cloud)
	p.say("demo: Redis in memory and a fake cloud on this machine; nothing real is touched, and all of it is forgotten at the end")
	p.say("demo: %s of %s, and some leavers by name; %d are going to fail, %d to be held, and the cloud throttles, conflicts and loses a reply",
		count(len(list.Good), "desktop"), count(len(plan.projects), "project"), len(plan.fails), len(plan.holds))
	report, err := p.perform(ctx, e, plan, o)
	if err != nil {
		return err
	}
	if o.json {
		err = printJSON(p.Stdout, report)
	} else {
		err = report.print(p.Stdout)
	}
	if err == nil && !report.AsPlanned {
		err = fail(exitFailed, "run it again with --verbose and look at the log", "the demo did not go as planned: %s", count(len(report.Surprises), "surprise"))
	}
	return err
}

// demoList reads the leavers. Every project they name exists in the fake cloud.
func (p *Program) demoList(o demoOptions) (*leavers, error) {
	list := newLeavers("hq", func(string) bool { return true })
	list.mixed = true
	if o.file != "" {
		if err := p.readFile(list, o.file); err != nil {
			return nil, usage("mend it and run it again", "%s: %w", o.file, err)
		}
	} else if err := list.read(strings.NewReader(deploy.Leavers)); err != nil {
		return nil, err
	}
	for _, b := range list.Bad {
		p.say("%s", printable(b.String()))
	}
	if list.BadRows > 0 || len(list.Good) == 0 {
		return nil, usage("mend it and run it again", "%s, %s", count(list.BadRows, "bad row"), count(len(list.Good), "good one"))
	}
	return list, nil
}

// perform runs a worker and lets it do the list.
func (p *Program) perform(ctx context.Context, e *app.Embedded, plan *demoPlan, o demoOptions) (demoReport, error) {
	format, err := reportFormat("", o.report)
	if err != nil {
		return demoReport{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, demoTimeout, fmt.Errorf("the demo took longer than %s", demoTimeout))
	defer cancel()
	cfg := embeddedConfig(e, plan.projects)
	cfg.Worker.FirstLook, cfg.Worker.ConfirmWithin = time.Second, 7*time.Second
	cfg.Worker.MaxAttempts, cfg.Worker.RetryBase, cfg.Worker.RetryMax = 6, 100*time.Millisecond, time.Second
	log := zerolog.Nop()
	if o.verbose {
		log = p.consoleLog()
	}
	a, err := app.New(cfg, p.LookupEnv, log, p.Version)
	if err != nil {
		return demoReport{}, err
	}
	defer a.Stop()
	if err := a.Start(ctx); err != nil {
		return demoReport{}, err
	}
	begun := time.Now()
	var ops []tasks.Operation
	for _, alias := range plan.aliases() {
		op, err := a.Producer.Enqueue(ctx, tasks.Request{
			Project: alias, Desktops: plan.desktops[alias], RequestedBy: "demo", Reason: "leavers of the demo",
		})
		if err != nil {
			return demoReport{}, err
		}
		ops = append(ops, op)
	}
	op, err := a.Producer.Enqueue(ctx, plan.people)
	if err != nil {
		return demoReport{}, err
	}
	ops = append(ops, op)
	if ops, err = p.wait(ctx, a.Record.Operation, ops, demoTimeout); err != nil {
		return demoReport{}, err
	}
	if o.report != "" {
		if err := p.writeReport(context.WithoutCancel(ctx), a.Store, op.ID, format, o.report); err != nil {
			return demoReport{}, err
		}
		p.say("demo: the evidence of operation %s is in %s; detachd verify tells whether it is altered", op.ID, o.report)
	}
	report, err := newDemoReport(context.WithoutCancel(ctx), a.Store, e.Cloud.Cloud, plan, ops)
	report.Seed, report.TookMS = o.seed, time.Since(begun).Milliseconds()
	return report, err
}
